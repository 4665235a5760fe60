"""Money held for calls whose end nobody saw: shown, asked for at the provider, released."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.integration.cli.conftest import Omni
from tests.integration.cli.money import Run, checked

MODEL = "cutter/m"


@pytest.fixture
def run(omni: Omni, home: Path) -> Run:
    return checked(omni)


class _Cutter(BaseHTTPRequestHandler):
    """Breaks every stream off, and knows afterwards what it charged."""

    charged: object = 0.0123

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        chunk = {"id": "gen-1", "choices": [{"index": 0, "delta": {"content": "Half an"}}]}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    def do_GET(self) -> None:
        body = json.dumps({"data": {"id": "gen-1", "total_cost": self.charged}}).encode()
        self.send_response(200 if self.path == "/v1/generation?id=gen-1" else 404)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its base's name
        """Nothing: the tests' output is theirs."""


@pytest.fixture
def cut(run: Run) -> Iterator[Run]:
    """A call was cut off under a budget of $5 a day."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Cutter)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    run("providers", "add", "cutter", "--protocol", "openai", "--base-url", url, "--no-auth")
    run("models", "add", MODEL, "--price-in", "1", "--price-out", "10", "--max-output", "4000")
    run("models", "activate", MODEL)
    run("budgets", "set", "all", "5", "--per", "day")
    run("chat", "hello", "-m", MODEL, code=5)
    try:
        yield run
    finally:
        server.shutdown()
        server.server_close()


def _figures(run: Run) -> tuple[float, float, float]:
    (status,) = run("budgets", "status", "--json").data
    return tuple(float(status[key]) for key in ("spent_usd", "reserved_usd", "held_usd"))  # type: ignore[return-value]  # three


def test_what_was_cut_is_held_and_shown(cut: Run) -> None:
    spent, reserved, held = _figures(cut)
    assert 0 < spent < 0.001
    # 4,000 tokens of answer at $10 per million, and its input, less what came.
    assert held == reserved
    assert held == pytest.approx(0.04, abs=0.001)
    assert "held for calls not seen to end" in cut("budgets", "status").out
    (item,) = cut("budgets", "held", "--json").data
    assert (item["model"], item["provider_request_id"]) == (MODEL, "gen-1")
    assert "its end was not seen" in cut("why", item["request"]).out
    assert cut("db", "check", "--json").data["budget_problems"] == []


def test_its_provider_is_asked_what_it_cost(cut: Run) -> None:
    (told,) = cut("reconcile", "--held", "--json").data
    assert (told["reported_usd"], told["applied"]) == ("0.0123", False)
    assert _figures(cut)[2] > 0
    cut("reconcile", "--held", "--check", code=7)
    cut("reconcile", "--held", "--apply")
    assert _figures(cut) == (0.0123, 0, 0)
    assert cut("budgets", "held", "--json").data == []
    assert cut("audit", "--json").data[0]["action"] == "budget.release"


def test_a_provider_that_does_not_know_leaves_it_held(
    cut: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Cutter, "charged", None)
    before = _figures(cut)
    (told,) = cut("reconcile", "--held", "--apply", "--json").data
    assert (told["reported_usd"], told["applied"]) == (None, False)
    assert "not over yet" in told["why"]
    assert _figures(cut) == before


def test_it_is_released_by_hand(cut: Run) -> None:
    spent, _, held = _figures(cut)
    (item,) = cut("budgets", "held", "--json").data
    cut("budgets", "release", code=2)
    cut("budgets", "release", item["request"], "--cost", "9", code=2)
    assert _figures(cut)[2] == held
    done = cut("budgets", "release", item["request"], "--reason", "seen", "--json").data
    assert (done["released"], float(done["cost_usd"])) == (1, spent)
    assert _figures(cut) == (spent, 0, 0)
    assert cut("audit", "--json").data[0]["after"]["reason"] == "seen"
    cut("budgets", "release", item["request"], code=1)
    assert cut("db", "check", "--json").data["sound"]


def test_a_bill_for_several_is_shared_out_by_what_each_holds(cut: Run) -> None:
    cut("chat", "hello again, with more words than before", "-m", MODEL, code=5)
    day = cut("budgets", "held", "--json").data[0]["at"][:10]
    cut("budgets", "release", "--model", MODEL, "--day", day, "--cost", "0.05")
    assert _figures(cut) == (0.05, 0, 0)


def test_a_corrected_cost_frees_what_was_held(cut: Run) -> None:
    (item,) = cut("budgets", "held", "--json").data
    cut("reprice", "--request", item["request"], "--cost", "0.02", "--apply")
    assert _figures(cut) == (0.02, 0, 0)
