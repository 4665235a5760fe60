"""``omni discover`` against the simulator and a listing that changes (A7)."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.models import Provider
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import SLUGS, connect


@pytest.fixture
def listing() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An OpenAI-compatible server whose models the test sets."""
    models: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"object": "list", "data": models}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1", models
    server.shutdown()
    server.server_close()


def _model(name: str, context: int = 8_000, price: str = "0.000001") -> dict[str, Any]:
    return {
        "id": name,
        "context_length": context,
        "pricing": {"prompt": price, "completion": price},
    }


@pytest.fixture
def changing(home: Path, listing: tuple[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The models of provider ``fresh``, which is in the fleet, marked as simulated."""
    url, models = listing
    with App({"OMNI_HOME": str(home), "USER": "tester"}) as app:
        app.fleet.put_provider(
            Provider("fresh", "Fresh", "openai", url, auth_method="none", simulated=True)
        )
    models[:] = [_model("one"), _model("two"), _model("embed-3")]
    return models


def test_first_look_and_apply(omni: Omni, changing: list[dict[str, Any]]) -> None:
    data = omni("discover", "--json").data
    assert data["status"] == "complete"
    assert [(m["id"], m["recommended"]) for m in data["new"]] == [
        ("fresh/embed-3", None),
        ("fresh/one", "add"),
        ("fresh/two", "add"),
    ]
    applied = omni("discover", "--apply", "--json").data["applied"]
    assert applied == ["fresh/one", "fresh/two"]
    shown = omni("models", "show", "fresh/one", "--json").data
    assert shown["status"] == "standby"
    assert shown["context_window"] == 8000
    assert shown["price"]["input"] == "1"
    assert shown["price"]["origin"] == "provider"
    again = omni("discover", "--apply", "--json").data
    assert again["applied"] == []


def test_updated_gone_and_loud(omni: Omni, changing: list[dict[str, Any]]) -> None:
    omni("discover", "--apply")
    assert omni("roles", "assign", "writer", "fresh/one").code == 0
    changing[:] = [_model("one", 16_000, "0.0000005"), _model("three")]
    data = omni("discover", "--json").data
    assert [m["id"] for m in data["new"]] == ["fresh/three"]
    (update,) = data["updated"]
    assert update["id"] == "fresh/one"
    assert {c["field"]: c["after"] for c in update["changes"]} == {
        "context_window": "16000",
        "price input": "0.5",
        "price output": "0.5",
    }
    assert [m["id"] for m in data["gone"]] == ["fresh/two"]
    omni("discover", "--apply")
    assert omni("models", "show", "fresh/one", "--json").data["price"]["input"] == "0.5"

    changing[:] = [_model("three")]
    ran = omni("discover")
    assert "! fresh/one: its provider no longer lists it; used by role writer" in ran.out
    assert "omni roles switch writer MODEL" in ran.out
    kinds = [row["kind"] for row in omni("discover", "--history", "--json").data]
    assert kinds[0] == "gone"
    assert set(kinds) == {"new", "updated", "gone"}


def test_an_empty_list_is_no_news(omni: Omni, changing: list[dict[str, Any]]) -> None:
    omni("discover")
    changing.clear()
    ran = omni("discover", "--json")
    assert ran.code == 5
    assert ran.data["gone"] == []
    assert ran.data["providers"][0]["error"]["code"] == "malformed"


def test_apply_is_one_revision_that_can_be_undone(
    omni: Omni, changing: list[dict[str, Any]]
) -> None:
    before = omni("history", "--json").data
    omni("discover", "--apply")
    after = omni("history", "--json").data
    assert len(after) == len(before) + 1


@pytest.mark.parametrize("fault", ["hang", "500", "429", "truncate", "wrong-json", "401"])
def test_one_bad_provider_holds_up_nobody(
    omni: Omni, home: Path, sim: Simulator, fault: str
) -> None:
    connect(home, sim)
    sim.fault(fault, "openai/*")
    began = time.monotonic()
    ran = omni("discover", "--timeout", "1.5", "--json")
    assert time.monotonic() - began < 4
    assert ran.code == 0
    by_id = {p["id"]: p for p in ran.data["providers"]}
    assert set(by_id) == set(SLUGS)
    assert by_id["openai"]["error"] is not None
    assert all(by_id[slug]["took_ms"] < 1400 for slug in SLUGS if slug != "openai")
    assert all(by_id[slug]["listed"] for slug in SLUGS if slug != "openai")
    assert ran.data["gone"] == []
    assert ran.data["status"] == "error"


def test_watch_tells_new_models_and_models_in_use_that_go(
    omni: Omni, home: Path, changing: list[dict[str, Any]]
) -> None:
    first = omni("watch", "--once").out
    assert "2 new models at fresh: fresh/one, fresh/two" in first
    assert "fresh/one" not in omni("watch", "--once").out  # not due again
    omni("discover", "--apply")
    omni("roles", "assign", "writer", "fresh/one")
    changing[:] = [_model("two")]
    with App({"OMNI_HOME": str(home)}) as app, app.store.transaction() as db:
        db.execute("UPDATE listings SET at = at - 90000000")
    told = omni("watch", "--once").out
    assert "fresh/one: its provider no longer lists it; used by role writer" in told


def test_retirement_of_a_model_in_use(omni: Omni, home: Path, listing: Any) -> None:
    """The catalogue knows the day; a real provider's retirement is told, loudly."""
    url, models = listing
    models[:] = [{"id": "claude-3-opus-20240229"}]
    with App({"OMNI_HOME": str(home), "USER": "tester"}) as app:
        app.fleet.put_provider(
            Provider("anthropic", "Anthropic", "openai", url, auth_method="none")
        )
        app.fleet.set_status("anthropic/claude-3-opus-20240229", "active")
        day = app.fleet.model("anthropic/claude-3-opus-20240229").retired_on
    assert day
    data = omni("discover", "--json").data
    (one,) = data["deprecated"]
    assert one["retires_on"] == day
    assert f"! anthropic/claude-3-opus-20240229: its provider retired it on {day}" in (
        omni("discover").out
    )
