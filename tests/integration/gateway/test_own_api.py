"""The router spec's own API, the management endpoints, and the document that lists them."""

import io
import json
import re
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from omni_cli.cli.app import main
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.record import replace
from omni_cli.simulator import Simulator
from omni_cli.wire.server import encode
from tests.gateway_server import Served, serving
from tests.integration.test_recommend import DAY_MS, NOON_MS, spend

MESSAGES = [{"role": "user", "content": "Fix this Python function that raises KeyError."}]


def test_chat_as_the_router_spec_has_it(gateway: Served, http: httpx.Client) -> None:
    answer = http.post(
        "/v1/chat", json={"messages": MESSAGES, "priority": "cheap", "max_cost": 0.5}
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["output"]
    assert body["task_type"] in ("coding", "debugging")
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert body["model_used"] == row.model
    assert row.total_nusd is not None
    assert row.savings_nusd is not None
    assert Decimal(str(body["cost"])) * 10**9 == row.total_nusd
    assert Decimal(str(body["savings_estimate"])) * 10**9 == row.savings_nusd
    assert isinstance(body["latency_ms"], int)


def test_an_agents_step_is_routed_as_one(gateway: Served, http: httpx.Client) -> None:
    answer = http.post("/v1/agent-step", json={"messages": MESSAGES, "agent": "fixer"})
    assert answer.status_code == 200
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert (row.task, row.agent) == ("agent_step", "fixer")


def test_a_role_may_be_named(gateway: Served, http: httpx.Client) -> None:
    answer = http.post("/v1/chat", json={"messages": MESSAGES, "role": "heartbeat"})
    assert answer.json()["model_used"] == "anthropic/claude-3-haiku-20240307"


@pytest.mark.parametrize("setting", ["priority", "latency_pref"])
def test_who_says_nothing_gets_what_the_settings_say(
    tmp_path: Path,
    sim: Simulator,
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    value, other = {"priority": ("best", "cheap"), "latency_pref": ("fast", "normal")}[setting]
    (tmp_path / "config.toml").write_text(f'[routing]\n{setting} = "{value}"\n')
    question = "Fix this Python function that raises KeyError."
    asked = {"messages": [{"role": "user", "content": question}]}
    with (
        serving(tmp_path, sim) as served,
        httpx.Client(base_url=served.url, timeout=20, trust_env=False) as client,
    ):
        monkeypatch.setenv("OMNI_HOME", str(tmp_path))
        monkeypatch.setattr("sys.argv", ["omni", "route", "--json", question])
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
        with pytest.raises(SystemExit):
            main()
        on_the_command_line = json.loads(capsys.readouterr().out)["model"]

        def chosen(more: dict[str, str]) -> str:
            return str(client.post("/v1/router/debug", json=asked | more).json()["model"])

        assert chosen({}) == chosen({setting: value}) == on_the_command_line
        assert chosen({setting: other}) != on_the_command_line
        answer = client.post("/v1/chat/completions", json=asked | {"model": "auto"})
        assert answer.status_code == 200, answer.text
        served.settle(1)
        (row,) = served.app.ledger.recent(limit=2)
        assert row.model == on_the_command_line


def test_debug_explains_and_sends_nothing(gateway: Served, http: httpx.Client) -> None:
    found = http.post("/v1/router/debug", json={"messages": MESSAGES, "priority": "best"}).json()
    assert found["model"]
    assert len(found["candidates"]) == 7
    assert all(candidate["reason"] for candidate in found["candidates"])
    assert gateway.sim.stats()["requests"] == 0
    assert not list(gateway.app.ledger.recent(limit=1))


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({"messages": MESSAGES, "priority": "dear"}, "priority"),
        ({"messages": MESSAGES, "max_cost": "much"}, "max_cost"),
        ({"messages": []}, "messages"),
        ({"messages": MESSAGES, "stream": True}, "stream"),
        ({"messages": MESSAGES, "banana": 1}, "banana"),
        ({"messages": MESSAGES, "task_type": "cooking"}, "task_type"),
        ({"messages": MESSAGES, "role": "nobody"}, "nobody"),
    ],
)
def test_wrong_fields_are_named(http: httpx.Client, body: dict[str, Any], word: str) -> None:
    answer = http.post("/v1/chat", json=body)
    assert 400 <= answer.status_code < 500, answer.text
    assert word in answer.json()["error"]["message"]
    assert answer.json()["error"]["request_id"].startswith("req_")


def test_usage_over_a_range(gateway: Served, http: httpx.Client) -> None:
    for _ in range(2):
        http.post("/v1/chat", json={"messages": MESSAGES})
    gateway.settle(2)
    found = http.get("/v1/usage?by=task&period=today").json()
    assert found["total"]["calls"] == 2
    assert http.get("/v1/usage?from=2020-01-01&to=2020-01-02").json()["total"]["calls"] == 0
    assert http.get("/v1/usage?by=colour").status_code == 400
    assert http.get("/v1/usage?from=yesterweek").status_code == 400


def test_health_ready_metrics_and_document(gateway: Served, http: httpx.Client) -> None:
    assert http.get("/health").json() == {"status": "ok"}
    assert http.get("/ready").status_code == 200
    http.post("/v1/chat", json={"messages": MESSAGES})
    gateway.settle(1)
    families = text_string_to_metric_families(http.get("/metrics").text)
    samples = [sample for family in families for sample in family.samples]
    assert any(s.name.startswith("gen_ai") and s.value > 0 for s in samples)
    document = http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert "/v1/chat/completions" in document["paths"]
    assert "/api/models/{id}" in document["paths"]


def test_odd_names_do_not_break_metrics(gateway: Served, http: httpx.Client) -> None:
    name = 'we"ird\\\\{x=1} 7'
    model = ModelInfo(f"openai/{name}", "openai", name, "weird")
    gateway.app.fleet.put_model(model, set_fields=())
    gateway.app.fleet.set_status(model.id, "active")
    time.sleep(0.5)
    http.post("/v1/chat/completions", json={"model": model.id, "messages": MESSAGES})
    gateway.settle(1)
    families = list(text_string_to_metric_families(http.get("/metrics").text))
    named = [s for f in families for s in f.samples if name in "".join(s.labels.values())]
    assert named


#: What only a call of its own makes, and what a vendor answers; each has a test of its own.
MADE_BY_CALLERS = ("{comparison}", "{request}", "{response}", "{file}", "{batch}", "{vendor}")


def test_every_documented_get_answers(gateway: Served, http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        if "get" not in operations or path.endswith("/stream") or path == "/api/terminal":
            continue  # what goes on for as long as somebody looks
        if any(made in path for made in MADE_BY_CALLERS):
            continue
        real = re.sub(r"\{(id|model)\}", "openai/gpt-4o", path).replace("{slug}", "openai")
        answer = http.get(real.replace("{name}", "heartbeat"))
        assert answer.status_code == 200, (path, answer.text)


JUNK: tuple[Any, ...] = (
    None,
    7,
    "x",
    [],
    {},
    {"messages": 1, "model": "openai/gpt-4o", "contents": "a", "input": {}, "max_tokens": -1},
    {"model": "auto", "messages": [7], "contents": [7], "input": [7], "max_tokens": 5},
    {"model": "auto", "messages": [{"role": {}, "content": {}}], "max_tokens": 5, "tools": 7},
    {"model": "auto", "messages": [{"role": "user", "content": [{"type": []}]}], "max_tokens": 5},
    {"model": "auto", "contents": [{"role": "user", "parts": [{"functionCall": 7}]}]},
    {"model": "auto", "input": [{"type": "function_call"}], "tools": [{"type": "function"}]},
    {"enabled": "maybe", "status": [], "price": 7, "roles": 7, "max_concurrency": -1},
)


def test_junk_is_never_a_servers_fault(gateway: Served, http: httpx.Client) -> None:
    paths = http.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        real = re.sub(r"\{(id|model)\}", "openai/gpt-4o", path).replace("{slug}", "openai")
        real = real.replace("{model}", "openai/gpt-4o").replace("{name}", "heartbeat")
        if path.endswith("/test"):
            continue  # limited to one in 5 s: it answers that it is busy
        for method in set(operations) & {"post", "put"}:
            for body in JUNK:
                answer = http.request(method, real, content=encode(body))
                assert answer.status_code < 500, (method, path, body, answer.text)


def test_changes_over_the_api_hold_at_once(gateway: Served, http: httpx.Client) -> None:
    changed = http.put("/api/models/openai/gpt-4o/config", json={"status": "standby"})
    assert changed.json()["status"] == "standby"
    priced = http.put(
        "/api/models/openai/gpt-4o-mini/config", json={"price": {"input": 1, "output": "2.5"}}
    )
    assert priced.json()["price"]["input"] == "1"
    role = http.put("/api/roles/heartbeat", json={"model": "openai/gpt-4o-mini"})
    assert role.json()["models"][0]["model"] == "openai/gpt-4o-mini"
    off = http.put("/api/providers/anthropic", json={"enabled": False})
    assert off.json()["enabled"] is False
    entries = gateway.app.audit.entries(limit=10)
    assert {"model.price", "provider.put"} & {entry.action for entry in entries}
    answer = http.post("/v1/chat", json={"messages": MESSAGES, "role": "heartbeat"})
    assert answer.json()["model_used"] in (
        "openai/gpt-4o-mini",
        "anthropic/claude-3-haiku-20240307",
    )


def test_a_live_stream_tells_of_a_change(gateway: Served, http: httpx.Client) -> None:
    with http.stream("GET", "/api/provider-status/stream") as answer:
        assert answer.headers["content-type"] == "text/event-stream"
        lines = answer.iter_lines()
        assert next(lines) == "event: status"
        gateway.sim.fault("401", "openai/*")
        other = threading.Thread(
            target=lambda: httpx.post(
                f"{gateway.url}/v1/chat/completions",
                json={"model": "openai/gpt-4o", "messages": MESSAGES},
                trust_env=False,
            )
        )
        other.start()
        events = (line for line in lines if line.startswith("data: ") and "error" in line)
        assert '"openai"' in next(events)
        other.join()


def test_embeddings_pass_with_their_bill(gateway: Served, http: httpx.Client) -> None:
    body = {"model": "openai/text-embedding-3-small", "input": "hello there"}
    answer = http.post("/v1/embeddings", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["embedding"]
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert row.usage.input_tokens == answer.json()["usage"]["prompt_tokens"] > 0
    refused = http.post(
        "/v1/embeddings", json={**body, "model": "anthropic/claude-3-haiku-20240307"}
    )
    assert refused.status_code == 400


def test_gemini_clients(gateway: Served, http: httpx.Client) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Is all well?"}]}]}
    for model in ("google/gemini-2.0-flash", "openai/gpt-4o", "anthropic/claude-3-haiku-20240307"):
        plain = http.post(f"/v1beta/models/{model}:generateContent", json=body).json()
        assert plain["candidates"][0]["content"]["parts"][0]["text"]
        assert plain["usageMetadata"]["candidatesTokenCount"] > 0
        stream = http.post(f"/v1beta/models/{model}:streamGenerateContent?alt=sse", json=body)
        assert stream.text.count("data: ") >= 2
        assert '"finishReason"' in stream.text
    assert http.post("/v1beta/models/auto:countTokens", json=body).json()["totalTokens"] > 0
    wrong = http.post("/v1beta/models/auto:generateContent", json={})
    assert wrong.json()["error"]["status"] == "INVALID_ARGUMENT"
    gateway.settle(6)


def test_recommendations_are_those_of_the_command_line(
    gateway: Served,
    http: httpx.Client,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = gateway.app
    day = (app.now_ms() - NOON_MS) // DAY_MS
    app.fleet.assign_role("coder", "anthropic/claude-sonnet-4-20250514", 1)
    for role, failed in (("coder", 0), ("coder", 30)):
        spend(
            app,
            "anthropic/claude-sonnet-4-20250514",
            role=role,
            task="coding",
            day=day,
            calls=40,
            tokens=(3_000, 900),
            failed=failed,
        )
    told = http.get("/api/models/recommendations").json()["recommendations"]
    monkeypatch.setenv("OMNI_HOME", str(gateway.home))
    monkeypatch.setattr("sys.argv", ["omni", "recommend", "--json"])
    with pytest.raises(SystemExit):
        main()
    assert told == json.loads(capsys.readouterr().out)
    assert {"cheaper_model", "unhealthy_model"} <= {one["type"] for one in told}
    assert {"savings", "impact", "priority", "implementation"} <= set(told[0])


def test_a_retired_model_is_not_put_to_work_unless_sure(
    gateway: Served, http: httpx.Client
) -> None:
    gone = "anthropic/claude-2"  # retired in 2025
    provider = gateway.app.fleet.provider("anthropic")
    gateway.app.fleet.put_provider(replace(provider, simulated=False))
    for path, body in (
        (f"/api/models/{gone}/config", {"status": "active"}),
        (f"/api/models/{gone}/roles", {"roles": ["coder"]}),
        ("/api/roles/coder", {"model": gone}),
    ):
        refused = http.put(path, json=body)
        assert refused.status_code == 400, refused.text
        assert "stopped serving it on 2025-07-21" in refused.text
        assert gateway.app.fleet.model(gone).status == "standby"
    taken = http.put("/api/roles/coder", json={"model": gone, "sure": True})
    assert taken.status_code == 200, taken.text
    assert gateway.app.fleet.model(gone).status == "active"


def test_a_wrong_body_is_named_by_its_place_and_changes_nothing(
    gateway: Served, http: httpx.Client
) -> None:
    model = "/api/models/openai/gpt-4o/config"
    before = http.get("/api/models/openai/gpt-4o").json()
    for path, body, said in (
        (model, {"price": {"output": -1}}, "price.output is a number of 0 or more"),
        (model, {"price": {"output": True}}, "price.output is a number of 0 or more"),
        (model, {"price": {"output": "NaN"}}, "price.output is a number of 0 or more"),
        (model, {"price": {"outptu": 1}}, "price.outptu is no field: did you mean output?"),
        (model, {"price": 3}, "price is a table, not 3"),
        (model, {"status": "asleep"}, "status is one of active, standby, disabled, not 'asleep'"),
        (model, {"statuss": "active"}, "statuss is no field: did you mean status?"),
        ("/api/models/openai/gpt-4o/roles", {"roles": "coder"}, "roles is a list of texts"),
        ("/api/models/openai/gpt-4o/roles", {"roles": ["a", 2]}, "roles[2] is a text in quotes"),
        ("/api/roles/coder", {}, "model is missing"),
        ("/api/providers/openai", {"max_concurrency": 0}, "max_concurrency is a whole number of 1"),
        ("/api/providers/openai", {"enabled": "no"}, "enabled is true or false, not 'no'"),
    ):
        refused = http.put(path, json=body)
        assert refused.status_code == 400, (body, refused.text)
        assert said in refused.json()["error"]["message"], refused.text
    for path, body, said in (
        ("/api/models/compare", {"prompts": [1]}, "prompts"),
        ("/api/models/compare", {"prompts": ["x"], "iterations": 21}, "iterations is a whole numb"),
        ("/api/models/optimize", {"days": 0}, "days is a whole number from 1 to 366, not 0"),
        ("/api/models/discover", {"providr": "x"}, "providr is no field: did you mean provider?"),
    ):
        refused = http.post(path, json=body)
        assert refused.status_code == 400, (body, refused.text)
        assert said in refused.json()["error"]["message"], refused.text
    assert http.get("/api/models/openai/gpt-4o").json() == before


def test_the_openapi_document_holds_the_schemas_of_the_bodies(http: httpx.Client) -> None:
    document = http.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, method, name in (
        ("/api/models/{id}/config", "put", "ModelChange"),
        ("/api/models/{id}/roles", "put", "ModelRoles"),
        ("/api/providers/{slug}", "put", "ProviderChange"),
        ("/api/roles/{name}", "put", "RoleFirst"),
        ("/api/models/compare", "post", "Comparison"),
        ("/api/models/optimize", "post", "Optimizing"),
        ("/api/models/discover", "post", "Discovery"),
    ):
        content = document["paths"][path][method]["requestBody"]["content"]["application/json"]
        assert content["schema"] == {"$ref": f"#/components/schemas/{name}"}
        assert schemas[name]["additionalProperties"] is False
    assert schemas["ModelChange"]["properties"]["status"]["anyOf"][0]["enum"] == [
        "active",
        "standby",
        "disabled",
    ]
    refs = {part.partition('"')[0] for part in json.dumps(document).split("#/components/schemas/")}
    assert {ref for ref in refs if ref[:1].isupper()} <= set(schemas)
