"""A protocol of a test's own takes one folder and one registry line: nobody asks its name."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.simulator import Simulator
from omni_cli.wire import registry
from tests.gateway_server import Served, serving
from tests.integration.cli.conftest import Omni

SAY = {"model": "openai/gpt-4o", "say": [["user", "Reply with exactly: toys"]]}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(registry.FOLDERS, "toy", "tests.toy_protocol")
    yield
    for known in (registry.facts, registry.adapter, registry.callers):
        known.cache_clear()


@pytest.fixture
def gateway(tmp_path: Path, sim: Simulator, toy: None) -> Iterator[Served]:
    (tmp_path / "served").mkdir()
    with serving(tmp_path / "served", sim) as served:
        yield served


def test_the_gateway_speaks_it(gateway: Served) -> None:
    with httpx.Client(base_url=gateway.url, trust_env=False) as http:
        whole = http.post("/toy/say", json=SAY)
        assert whole.json()["said"].endswith("toys")
        assert whole.json()["why"] == "end"
        assert whole.json()["id"].startswith("toy_")
        assert whole.headers["toy-id"]
        streamed = http.post("/toy/say", json=SAY | {"stream": True})
        assert streamed.headers["content-type"].startswith("text/event-stream")
        events = [json.loads(e.removeprefix("data: ")) for e in streamed.text.split("\n\n") if e]
        assert "".join(e.get("bit", "") for e in events) == whole.json()["said"]
        assert events[-1]["out"] == whole.json()["out"]
        claude = SAY | {"most": 2, "model": "anthropic/claude-sonnet-4-20250514"}
        short = http.post("/toy/say", json=claude)
        assert (short.json()["why"], short.json()["out"]) == ("most", 2)
        assert "openai/gpt-4o" in http.get("/toy/who").json()["who"]
        assert http.get("/toy/nothing").json()["oops"].startswith("no such path")
        assert "model" in http.post("/toy/say", json={}).json()["oops"]
        assert "/toy/say" in http.get("/openapi.json").json()["paths"]


def test_the_command_line_speaks_it(gateway: Served, omni: Omni) -> None:
    """To a provider of that protocol: the gateway, asked as one."""
    base = f"{gateway.url}/toy"
    told = ("--base-url", base, "--no-auth", "--protocol")
    assert omni("providers", "add", "box", *told, "toy").code == 0
    assert omni("providers", "test", "box").code == 0
    add = omni("models", "add", "box/openai/gpt-4o", "--price-in", "1", "--price-out", "2")
    assert add.code == 0, add.err
    for how in ((), ("--no-stream",)):
        said = omni("chat", "-m", "box/openai/gpt-4o", *how, "Reply with exactly: toys")
        assert said.code == 0, said.err
        assert said.out.strip().endswith("toys")
    wrong = omni("providers", "add", "b", *told, "toys")
    assert wrong.code == 2
    assert "toy" in wrong.err
