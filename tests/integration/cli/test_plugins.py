"""What another package adds: the example under tests/plugin, found by its metadata."""

import json
import shutil
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from omni_cli import plugins
from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.errors import BadRequest
from omni_cli.domain.record import replace
from omni_cli.ports import Endpoint
from omni_cli.wire import registry
from tests.integration.cli.conftest import Omni
from tests.paths import REPO

EXAMPLE = REPO / "tests" / "plugin"


class _Toy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self._say({"models": ["parrot"]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._say({"reply": f"please: {asked['text']}", "read": 12, "wrote": 7})

    def _say(self, document: object) -> None:
        body = json.dumps(document).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def toy() -> Iterator[str]:
    """The base URL of a server that speaks the toy protocol."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Toy)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages with the example in it, as an installer leaves it."""
    folder = tmp_path / "site"
    shutil.copytree(EXAMPLE / "omni_toy", folder / "omni_toy")
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = folder / "omni_toy-1.0.dist-info"
    info.mkdir()
    named = f"Name: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{named}")
    groups = (
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    )
    (info / "entry_points.txt").write_text("\n".join(groups))
    monkeypatch.syspath_prepend(str(folder))
    caches = (plugins.plugins, registry.facts, registry.adapter, registry.callers)
    for cached in caches:
        cached.cache_clear()
    yield folder
    for cached in caches:
        cached.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "omni_toy"]:
        del sys.modules[name]


@pytest.mark.usefixtures("site")
def test_a_protocol_of_another_package_is_called_and_paid(omni: Omni, toy: str) -> None:
    added = omni("providers", "add", "pet", "--protocol", "toy", "--base-url", toy, "--no-auth")
    assert added.code == 0, added.err
    assert omni("providers", "test", "pet").code == 0
    priced = omni("models", "add", "pet/parrot", "--price-in", "1", "--price-out", "2")
    assert priced.code == 0, priced.err
    said = omni("chat", "-m", "pet/parrot", "--json", "hello")
    assert said.code == 0, said.err
    assert said.data["output"] == "please: hello"
    assert said.data["cost_usd"] == "0.000026"


@pytest.mark.usefixtures("site")
def test_a_protocol_of_another_package_says_which_wishes_it_can_be_told() -> None:
    wishes = {"top_k": 7, "min_p": 0.5}
    request = ChatRequest((Message.text_of("user", "go"),), wishes=wishes)
    endpoint = Endpoint("https://models.example", None)
    call = registry.adapter("toy").build(request, "parrot", endpoint)
    assert json.loads(call.body)["likely"] == {"most": 7}
    assert call.told == ("min_p",)
    with pytest.raises(BadRequest, match="logit_bias"):
        registry.adapter("toy").build(
            replace(request, wishes={"logit_bias": {"1": 5}}), "parrot", endpoint
        )


@pytest.mark.usefixtures("site")
def test_an_importer_of_another_package_fills_the_ledger(omni: Omni, home: Path) -> None:
    noted = home / "march.toy"
    noted.write_text("2026-03-01T10:00:00Z openai/gpt-4o-mini 120 30\nnonsense\n")
    done = omni("import", "toy-notes", str(noted), "--yes")
    assert done.code == 0, done.err
    assert "march.toy:2" in done.out + done.err
    with App({"OMNI_HOME": str(home)}) as app:
        (row,) = app.ledger.recent(limit=5)
    assert (row.usage.input_tokens, row.usage.output_tokens) == (120, 30)


@pytest.mark.usefixtures("site")
def test_a_scorer_of_another_package_judges_answers(omni: Omni, toy: str) -> None:
    omni("providers", "add", "pet", "--protocol", "toy", "--base-url", toy, "--no-auth")
    for name in ("parrot", "crow"):
        omni("models", "add", f"pet/{name}", "--price-in", "1", "--price-out", "2")
    pair = ("-m", "pet/parrot", "-m", "pet/crow")
    for scorer, wanted in (("polite", 1.0), ("not-polite", 0.0)):
        run = omni("compare", "say so", *pair, "--scorer", scorer, "--json")
        assert run.code in (0, 7), run.err
        assert [answer["score"] for answer in run.data["answers"]] == [wanted, wanted]


def test_a_package_that_cannot_be_loaded_is_named_and_stops_nobody_else(
    omni: Omni, toy: str, site: Path
) -> None:
    (site / "omni_toy" / "protocol" / "client.py").write_text("import nothing_of_that_name")
    (site / "omni_toy" / "notes.py").write_text("1 / 0")
    (site / "omni_toy" / "scorers.py").write_text("")
    doctor = omni("doctor")
    assert "omni-toy 1.0" in doctor.out
    assert "ZeroDivisionError" in doctor.out
    omni("providers", "add", "pet", "--protocol", "toy", "--base-url", toy, "--no-auth")
    omni("models", "add", "pet/parrot", "--price-in", "1", "--price-out", "2")
    unsent = omni("chat", "-m", "pet/parrot", "hello")
    assert unsent.code == 3
    assert "omni-toy 1.0" in unsent.err
    refused = omni("import", "toy-notes", str(site), "--yes")
    assert refused.code == 3
    assert "omni-toy 1.0" in refused.err
    unpaid = omni("compare", "x", "-m", "pet/parrot", "--scorer", "polite")
    assert unpaid.code != 0
    assert omni("models", "list").code == 0
    assert omni("import", "claude-code", str(site), "--yes").code == 0


def test_names_of_its_own_cost_omni_no_look_at_the_metadata(omni: Omni) -> None:
    plugins.plugins.cache_clear()
    assert omni("route", "hello").out
    assert omni("models", "list").code == 0
    assert plugins.plugins.cache_info().misses == 0
