"""Filters of reports name what there is, and what a hint about prices says works."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving
from tests.integration.cli.conftest import Omni
from tests.unit.importers.support import IMPORTS

#: (model_provider of Codex, model): a catalogue's name under a stranger, a name of nobody's, odd.
STRANGERS = [
    ("acc", "gpt-5.1-codex"),
    ("acc", "aide-gpt-5"),
    ("my proxy", "gpt 5; rm -rf"),
    ("omni", "role:writer"),
    ("acc", "team/gpt-4o"),
]


def _codex(folder: Path, provider: str, model: str, day: int = 1) -> Path:
    """One session of Codex with one answer of 1,000 tokens in and 100 out."""
    at = f"2026-11-{day:02}T10:00:00.000Z"
    usage = {"input_tokens": 1000, "cached_input_tokens": 0, "output_tokens": 100}
    usage |= {"reasoning_output_tokens": 0, "total_tokens": 1100}
    meta = {"id": f"s{provider}{model}{day}", "timestamp": at, "model_provider": provider}
    info = {"total_token_usage": usage, "last_token_usage": usage}
    lines = [
        {"timestamp": at, "type": "session_meta", "payload": {**meta, "cwd": "/x"}},
        {"timestamp": at, "type": "turn_context", "payload": {"model": model, "cwd": "/x"}},
        {"timestamp": at, "type": "event_msg", "payload": {"type": "token_count", "info": info}},
    ]
    place = folder / "sessions" / "2026" / "11" / f"{day:02}"
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"rollout-2026-11-{day:02}T10-00-00-{len(list(place.iterdir()))}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize(("provider", "model"), STRANGERS)
def test_the_printed_command_prices_the_calls(
    omni: Omni, tmp_path: Path, provider: str, model: str
) -> None:
    ran = omni("import", "codex", str(_codex(tmp_path / "log", provider, model)), "--yes")
    assert ran.code == 0, ran.err
    (line,) = [line.strip() for line in ran.err.splitlines() if "omni reprice" in line]
    command = line.replace("--price-in USD", "--price-in 1.25").replace("-out USD", "-out 10")
    ran = omni(*shlex.split(command)[1:])
    assert ran.code == 0, ran.err
    (row,) = omni("usage", "--json", "--from", "2026-11-01").data["rows"]
    assert (row["model"], row["cost_usd"], row["unknown_attempts"]) == (model, "0.00225", 0)
    with App() as app:
        assert not app.models.user_prices()  # no model of the same name was priced anew


def test_a_price_never_goes_to_another_model_of_the_same_name(omni: Omni, tmp_path: Path) -> None:
    log = _codex(tmp_path / "log", "acc", "gpt-5.1-codex")
    _codex(log, "openai", "gpt-5.1-codex", 2)
    omni("import", "codex", str(log), "--yes")
    rates = ("--price-in", "1", "--price-out", "2")
    ran = omni("models", "price", "gpt-5.1-codex", *rates)
    assert ran.code == 2
    assert "openai/gpt-5.1-codex or the imported calls of acc/gpt-5.1-codex" in ran.err
    ran = omni("reprice", "--model", "gpt-5.1-codex", *rates, "--apply")
    assert ran.code == 2
    assert "may mean acc/gpt-5.1-codex, openai/gpt-5.1-codex" in ran.err
    before = _cost(omni, "openai/gpt-5.1-codex")
    assert omni("reprice", "--model", "acc/gpt-5.1-codex", *rates, "--apply").code == 0
    assert _cost(omni, "openai/gpt-5.1-codex") == before
    assert _cost(omni, "acc/gpt-5.1-codex") == _cost(omni, "gpt-5.1-codex") == "0.0012"
    assert omni("models", "price", "openai/gpt-5.1-codex", *rates).code == 0


def _cost(omni: Omni, model: str) -> str:
    ran = omni("usage", "--model", model, "--from", "2026-11-01", "--json")
    assert ran.code == 0, ran.err
    return str(ran.data["total"]["cost_usd"])


def test_two_strangers_of_one_name_are_told_apart(omni: Omni, tmp_path: Path) -> None:
    log = _codex(tmp_path / "log", "a", "same-name")
    omni("import", "codex", str(_codex(log, "b", "same-name", 2)), "--yes")
    rates = ("--price-in", "1", "--price-out", "2", "--apply")
    assert "may mean a/same-name, b/same-name" in omni("reprice", "-m", "same-name", *rates).err
    assert omni("reprice", "-m", "b/same-name", *rates, "--json").data["changed"] == 1
    assert "no model of the fleet, but the name of" in omni("models", "price", "a/same-name").err


def test_a_known_model_is_not_shown_as_a_question_mark(omni: Omni) -> None:
    log = IMPORTS / "litellm" / "spend_logs.json"
    ran = omni("import", "litellm", str(log), "--dry-run", "--json")
    known = {row["recorded"]: row["model"] for row in ran.data["models"]}
    assert known.get("openai/gpt-4o", "openai/gpt-4o") == "openai/gpt-4o"
    assert any(known.values())


# --- filters ------------------------------------------------------------------------------------


@pytest.fixture
def used(omni: Omni, tmp_path: Path) -> Omni:
    log = _codex(tmp_path / "log", "openai", "gpt-5.1-codex")
    _codex(log, "openai", "gpt-5.1-codex-mini", 2)
    omni("import", "codex", str(log), "--yes")
    return omni


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--model", "codex", "may mean"),
        ("--model", "gpt-5.1-codx", "did you mean openai/gpt-5.1-codex"),
        ("--model", "nope", "no model 'nope'"),
        ("--provider", "openia", "did you mean openai"),
        ("--role", "writer", "no role 'writer'"),
        ("--agent", "codexx", "did you mean codex"),
        ("--task", "codin", "did you mean coding"),
        ("--source", "imports", "did you mean import"),
    ],
)
def test_a_typo_in_a_filter_is_no_saving(used: Omni, option: str, value: str, said: str) -> None:
    for command in ("usage", "logs"):
        if command == "logs" and option in ("--provider", "--agent", "--task"):
            continue
        ran = used(command, option, value)
        assert ran.code in (1, 2)
        assert said in ran.err
        assert "nothing was used" not in ran.err


def test_what_is_known_and_was_not_used_is_no_error(used: Omni) -> None:
    for args in (
        ("--model", "openai/gpt-4o"),
        ("--model", "gpt-4o-mini"),
        ("--provider", "anthropic"),
        ("--source", "gateway"),
        ("--task", "coding"),
    ):
        ran = used("usage", *args, "--from", "2026-11-01")
        assert (ran.code, "nothing was used" in ran.err) == (0, True), (args, ran.err)
    assert _cost(used, "gpt-5.1-codex-mini") == _cost(used, "openai/gpt-5.1-codex-mini") != "0"


def test_csv_holds_data_only(used: Omni) -> None:
    rows = used("usage", "--csv", "--from", "2026-11-01").out.splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == sorted(
        ("openai/gpt-5.1-codex", "openai/gpt-5.1-codex-mini"), key=len
    )
    assert len(used("usage", "--csv", "--period", "today").out.splitlines()) == 1


@pytest.fixture
def served(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    home = tmp_path / "gateway"
    home.mkdir()
    with serving(home, sim) as found:
        yield found


def test_the_gateways_filters_are_checked_too(served: Served) -> None:
    with httpx.Client(base_url=served.url) as http:
        for path in (
            "/v1/usage?model=nope",
            "/v1/usage?provider=openia",
            "/api/models/analytics/usage?task=codin",
            "/api/models/nope/usage",
            "/api/models?provider=openia",
        ):
            answer = http.get(path)
            assert answer.status_code == 404, (path, answer.text)
        assert http.get("/api/models?status=actve").status_code == 400
        assert http.get("/v1/usage?model=openai/gpt-4o").is_success
        assert re.search("did you mean", http.get("/v1/usage?provider=openia").text)
