"""What is chosen rests on what is known: no measurement, size or address stands for more (B4)."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect

SONNET = "anthropic/claude-sonnet-4-20250514"
DEEPSEEK = "deepseek/deepseek-chat"
CODE = "Write a python function that parses ISO dates"


def _took(home: Path, model: str, task: str, latency_ms: float, calls: int) -> None:
    """As if ``calls`` calls of a model at a task had taken so long."""
    with App({"OMNI_HOME": str(home)}) as app, app.store.transaction() as db:
        db.execute(
            "INSERT OR REPLACE INTO model_stats VALUES (?, ?, ?, ?, ?, ?, ?)",
            (model, task, calls, calls, 200 * calls, latency_ms, latency_ms),
        )


def test_one_call_does_not_lock_a_task_onto_a_dear_model(
    omni: Omni, home: Path, sim: Simulator
) -> None:
    connect(home, sim)
    for model in ("openai/gpt-4o", "google/gemini-2.0-flash", "anthropic/claude-3-haiku-20240307"):
        assert omni("models", "disable", model).code == 0
    assert omni("route", "--json", CODE).data["model"] == DEEPSEEK
    said = "Write a python function that reverses a list"
    assert omni("chat", "-m", SONNET, said).code == 0
    decided = omni("route", "--json", said).data
    basis = {c["model"]: c["latency_basis"] for c in decided["candidates"] if c["eligible"]}
    assert basis == {SONNET: "measured", DEEPSEEK: "by its class"}
    answered = [omni("chat", "--json", f"{said}, variant {n}").data["model_used"] for n in range(8)]
    assert answered == [DEEPSEEK] * 8


@pytest.mark.parametrize(("latency_ms", "calls"), [(150.0, 1), (1_200.0, 1), (300.0, 30)])
def test_a_measured_model_does_not_beat_a_far_cheaper_unmeasured_one(
    omni: Omni, home: Path, sim: Simulator, latency_ms: float, calls: int
) -> None:
    connect(home, sim)
    decided = omni("route", "--json", CODE).data
    _took(home, SONNET, decided["task_type"], latency_ms, calls)
    again = omni("route", "--json", CODE).data
    assert again["model"] == decided["model"] != SONNET
    table = omni("route", "--explain", CODE).out
    assert " ~" in table  # what nobody measured is an estimate, and marked


# --- size -----------------------------------------------------------------------------------

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """``serve(document)`` starts a server that answers every GET with it, and those of a path in
    ``at`` with that; returns its address."""
    servers: list[ThreadingHTTPServer] = []

    def start(document: Any, at: Mapping[str, Any] | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps((at or {}).get(self.path, document)).encode()
                self.send_response(200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


TINY, SMALL = "ollama/smollm-135m-instruct", "ollama/tinyllama-1.1b"


@pytest.fixture
def two_small(serve: Serve, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tags = [{"name": name.partition("/")[2]} for name in (TINY, SMALL)]
    monkeypatch.setenv("OLLAMA_HOST", serve({"models": tags}))


@pytest.mark.usefixtures("two_small")
def test_small_local_models_stand_in_for_nobody(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789abcdefXYZW")
    done = omni("init", "--yes", "--json").data
    assert {TINY, SMALL} <= {row["model"] for row in done["models"]}
    assert len(done["roles"]) == 5
    for role, models in done["roles"].items():
        assert not {TINY, SMALL} & set(models), role
        assert len(models) == 2, role
    links = [link["model"] for link in done["chain"]["links"]]
    assert links
    assert not {TINY, SMALL} & set(links)
    for prompt in ("hello there", "Prove that the square root of 2 is irrational"):
        for priority in ("cheap", "balanced", "best"):
            found = omni("route", "--json", "--priority", priority, prompt).data
            eligible = [c["model"] for c in found["candidates"] if c["eligible"]]
            assert eligible[-2:] == [SMALL, TINY], (prompt, priority)


@pytest.mark.usefixtures("two_small")
def test_of_small_models_alone_the_larger_one_comes_first(omni: Omni) -> None:
    done = omni("init", "--yes", "--json").data
    for role, models in done["roles"].items():
        assert models[0] == SMALL, role
    assert [link["model"] for link in done["chain"]["links"]] == [SMALL, TINY]
    assert omni("route", "--json", "hello there").data["model"] == SMALL
    shown = omni("models", "show", SMALL, "--json").data
    assert shown["quality_basis"] == "by its size, 1.1 B"
    assert "by its size, 1.1 B" in omni("models", "show", SMALL).out


def test_a_listing_tells_sizes_that_names_do_not(
    omni: Omni, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    tags = [
        {"name": "house-large:latest", "details": {"parameter_size": "70.6B"}},
        {"name": "house-small:latest", "details": {"parameter_size": "134.52M"}},
    ]
    monkeypatch.setenv("OLLAMA_HOST", serve({"models": tags}))
    done = omni("init", "--yes", "--json").data
    assert done["roles"]["primary_coder"][0] == "ollama/house-large:latest"
    small = omni("models", "show", "ollama/house-small:latest", "--json").data
    assert small["parameters_b"] == pytest.approx(0.13452)
    assert small["quality"] < 0.2


def test_an_unknown_model_is_not_an_average_one(omni: Omni, home: Path, sim: Simulator) -> None:
    connect(home, sim)
    omni("providers", "add", "ollama", "--base-url", sim.base_url("ollama"))
    for name, size in (("tinyllama:1.1b", ("--parameters-b", "1.1")), ("mystery", ())):
        assert omni("models", "add", f"ollama/{name}", "--free", *size).code == 0
        omni("models", "activate", f"ollama/{name}")
    hard = "Implement a lock-free concurrent hash map in Rust"
    for priority in ("cheap", "balanced", "best"):
        found = omni("route", "--json", "--priority", priority, hard).data
        order = [c["model"] for c in found["candidates"] if c["eligible"]]
        assert set(order[-2:]) == {"ollama/mystery", "ollama/tinyllama:1.1b"}, priority
    rows = {c["model"]: c for c in found["candidates"]}
    assert rows["ollama/mystery"]["quality"] is None
    assert rows["ollama/mystery"]["quality_spread"] > 0.25
    assert rows["ollama/mystery"]["quality_evidence"] is False
    # The models' page and the router say the same.
    assert omni("models", "show", "ollama/mystery", "--json").data["quality"] is None
    assert rows["ollama/tinyllama:1.1b"]["quality"] < 0.5
    table = omni("route", "--explain", hard).out
    assert "unknown" in table
    assert "~" in table


# --- prices of servers on this machine ------------------------------------------------------


def _listing(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"object": "list", "data": [{"object": "model", **entry} for entry in entries]}


def _discovered(omni: Omni, slug: str, url: str) -> dict[str, dict[str, Any]]:
    added = omni(
        "providers", "add", slug, "--protocol", "openai", "--base-url", f"{url}/v1", "--no-auth"
    )
    assert added.code == 0, added.err
    assert omni("discover", "--provider", slug, "--apply").code == 0
    rows = omni("models", "list", "--all", "--json").data
    return {row["wire_name"]: row for row in rows if row["provider"] == slug}


def test_a_proxy_takes_the_prices_of_its_listing(omni: Omni, serve: Serve) -> None:
    url = serve(
        _listing(
            {"id": "house", "pricing": {"prompt": "0.000001", "completion": "0.000002"}},
            {"id": "lite", "input_cost_per_token": 3e-6, "output_cost_per_token": 1.5e-5},
            {"id": "silent"},
        )
    )
    rows = _discovered(omni, "proxy", url)
    prices = {name: row["price"] for name, row in rows.items()}
    assert (prices["house"]["input"], prices["house"]["output"]) == ("1", "2")
    assert (prices["lite"]["input"], prices["lite"]["output"]) == ("3", "15")
    assert prices["silent"]["state"] == "unknown"
    assert {row["status"] for row in rows.values()} == {"standby"}


def test_a_litellm_proxy_is_asked_for_its_prices(omni: Omni, serve: Serve) -> None:
    made = {"created": 1677610602, "owned_by": "openai"}
    info = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}"},
            "model_info": {
                "id": "112f",
                "input_cost_per_token": cost,
                "output_cost_per_token": 2 * cost,
                "max_input_tokens": 128_000,
                "max_output_tokens": 16_384,
                "mode": "chat",
                "supports_vision": True,
                "supports_function_calling": True,
            },
        }
        # One name, two deployments: the dearer one bounds the cost.
        for name, cost in (("team-chat", 1e-6), ("team-chat", 2e-6), ("free-looking", 0))
    ]
    url = serve(
        _listing({"id": "team-chat", **made}, {"id": "free-looking", **made}),
        {"/v1/model/info": {"data": info}},
    )
    rows = _discovered(omni, "company", url)
    assert rows["team-chat"]["price"]["input"] == "2"
    assert rows["team-chat"]["price"]["output"] == "4"
    assert rows["team-chat"]["context_window"] == 128_000
    assert set(rows["team-chat"]["badges"]) == {"vision", "function-calling"}
    # LiteLLM writes zero where it knows no price.
    assert rows["free-looking"]["price"]["state"] == "unknown"


@pytest.mark.parametrize(
    "entry",
    [
        {"id": "gemma-4-12b", "owned_by": "llamacpp", "meta": {"n_params": 11_907_350_576}},
        {"id": "Qwen/Qwen3-30B-A3B", "owned_by": "vllm", "max_model_len": 32_768},
        {"id": "qwen/qwen3.5-9b", "owned_by": "organization_owner"},
    ],
)
def test_a_server_that_runs_weights_is_free(
    omni: Omni, serve: Serve, entry: dict[str, Any]
) -> None:
    (row,) = _discovered(omni, "box", serve(_listing(entry))).values()
    assert (row["price"]["state"], row["status"]) == ("free", "active")


@pytest.mark.parametrize("slug", ["vllm", "llamacpp", "lmstudio"])
@pytest.mark.parametrize(
    ("entry", "state"),
    [
        ({"id": "my-finetune"}, "free"),
        ({"id": "gpt-4o"}, "unknown"),
        ({"id": "anything", "owned_by": "anthropic"}, "unknown"),
        ({"id": "anything", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}, "priced"),
    ],
)
def test_a_known_kind_of_server_is_believed_until_its_list_says_otherwise(
    omni: Omni, serve: Serve, slug: str, entry: dict[str, Any], state: str
) -> None:
    (row,) = _discovered(omni, slug, serve(_listing(entry))).values()
    assert row["price"]["state"] == state


def test_init_activates_nothing_of_unknown_price(
    omni: Omni, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve(
        {
            "models": [
                {"name": "llama3.2:3b", "details": {"parameter_size": "3.2B"}},
                {
                    "name": "gpt-oss:120b-cloud",
                    "remote_host": "https://ollama.com:443",
                    "remote_model": "gpt-oss:120b",
                },
            ]
        }
    )
    monkeypatch.setenv("OLLAMA_HOST", url)
    done = omni("init", "--yes", "--json").data
    assert done["unpriced"] == ["ollama/gpt-oss:120b-cloud"]
    assert [row["model"] for row in done["models"]] == ["ollama/llama3.2:3b"]
    shown = omni("models", "list", "--json").data
    assert [(row["id"], row["price"]["state"]) for row in shown if row["status"] == "active"] == [
        ("ollama/llama3.2:3b", "free")
    ]


def test_init_starts_nobody_on_a_preview(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_KEY", "planted-0123456789abcdef")
    models = [
        row["model"] for row in omni("init", "--no-local", "--dry-run", "--json").data["models"]
    ]
    assert models
    assert not [model for model in models if "preview" in model]


def test_nothing_that_answers_by_batch_is_proposed_or_chosen(
    omni: Omni, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenRouter's cheapest names answer within a day."""
    monkeypatch.setenv("OPENROUTER_API_KEY", "planted-0123456789abcdef")
    proposed = omni("init", "--no-local", "--dry-run", "--json").data["models"]
    assert proposed
    assert not [row["model"] for row in proposed if row["model"].endswith(":batch")]
    batch = "openrouter/anthropic/claude-sonnet-5.5:batch"
    assert omni("init", "--no-local", "--yes").code == 0
    assert omni("models", "activate", batch).code == 0
    decision = omni("route", "Write a haiku.", "--priority", "cheap", "--json").data
    assert decision["model"] != batch
    fate = next(row for row in decision["candidates"] if row["model"] == batch)
    assert "batch" in fate["reason"]
