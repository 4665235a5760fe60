"""The terminal interface from afar: ``omni --remote URL``, with a real pseudo terminal."""

import asyncio
import io
import os
import re
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from unittest.mock import Mock

import httpx
import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request as Head
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.sync.client import connect
from websockets.uri import parse_uri

from omni_cli.bootstrap import App
from omni_cli.cli.app import main
from omni_cli.domain.commands import AFAR
from omni_cli.domain.errors import UsageError
from omni_cli.gateway import terminals
from omni_cli.gateway.auth import OWNER
from omni_cli.gateway.terminals import Terminal
from omni_cli.http.websocket import WebSocket
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from omni_cli.tui.actions import put_provider
from omni_cli.tui.comparing import Draft
from omni_cli.tui.data import Loader
from omni_cli.tui.screens.comparing_forms import options_form, suite_form
from tests.gateway_server import Served, serving
from tests.paths import REPO

pty = pytest.importorskip("pty")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Simulator(seed=5) as sim, serving(tmp_path_factory.mktemp("screen"), sim) as found:
        store = GatewayKeyStore(found.app.store)
        for name, scope, org in (
            ("boss", "admin", ""), ("viewer", "read", ""), ("doer", "operate", ""),
            ("acme", "admin", "acme"),
        ):  # fmt: skip
            made = ClientKey(name=name, shown="omni-...", created_at=1, scope=scope, org=org)
            store.add(made, f"omni-{name}")
        time.sleep(0.5)  # the gateway looks for changes four times a second
        yield found


class Screen:
    """A terminal that a command runs on. ``text``: all that was drawn, without what moves."""

    def __init__(self, *args: str, home: Path, url: str, key: str) -> None:
        self._master, slave = pty.openpty()
        self._resize(140, 40)
        self.raw = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "omni_cli", *args],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=home,
            env={**os.environ, "OMNI_HOME": str(home), "OMNI_REMOTE": url, "TERM": "xterm-256color",
                 "OMNI_REMOTE_KEY": f"omni-{key}", "PYTHONPATH": str(REPO)},
        )  # fmt: skip
        os.close(slave)

    def _resize(self, columns: int, lines: int) -> None:
        import fcntl
        import termios

        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def resize(self, columns: int, lines: int) -> None:
        self._resize(columns, lines)
        self.process.send_signal(signal.SIGWINCH)  # it has no controlling terminal here

    def press(self, keys: str) -> None:
        os.write(self._master, keys.encode())

    @property
    def text(self) -> str:
        return re.sub(rb"\x1b\[[0-9;?<>=]*[A-Za-z]", b" ", self.raw).decode("utf-8", "replace")

    def sees(self, words: str, limit_s: float = 60.0) -> None:
        end = time.monotonic() + limit_s
        while words not in self.text:
            assert time.monotonic() < end, f"{words!r} was not drawn: {self.text[-1500:]!r}"
            self._read(0.2)

    def grows(self, size: int, limit_s: float = 60.0) -> None:
        end = time.monotonic() + limit_s
        while len(self.raw) <= size:
            assert time.monotonic() < end, "nothing more was drawn"
            self._read(0.2)

    def _read(self, wait_s: float) -> bool:
        if not select.select([self._master], [], [], wait_s)[0]:
            return True
        try:
            piece = os.read(self._master, 65536)
        except OSError:
            return False
        self.raw += piece
        return bool(piece)

    def ends(self, limit_s: float = 40.0) -> int:
        end = time.monotonic() + limit_s
        while self.process.poll() is None and time.monotonic() < end:
            self._read(0.1)
        while self._read(0.0) and select.select([self._master], [], [], 0)[0]:
            pass
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)


@contextmanager
def screen(served: Served, home: Path, *args: str, key: str = "boss") -> Iterator[Screen]:
    found = Screen(*args, home=home, url=served.url, key=key)
    try:
        yield found
    finally:
        found.close()


def running(served: Served) -> list[str]:
    """Screens that run for the gateway, by the process table."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            said = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"OMNI_HOME={served.home}\0".encode() in said and b"OMNI_TERMINAL_AFAR=1" in said:
            found.append(folder.name)
    return found


def test_the_screens_show_and_change_the_gateways_fleet(served: Served, tmp_path: Path) -> None:
    with screen(served, tmp_path, "dash", "--tab", "roles") as shown:
        shown.sees("heartbeat")  # a role of the gateway's fleet
        assert len(running(served)) == 1
        drawn = len(shown.raw)
        shown.press("1")  # the fleet's tab: keys arrive
        shown.grows(drawn)
        shown.sees("GPT-4o")
        drawn = len(shown.raw)
        shown.press("\x1a")  # there is no shell there to come back from
        shown.resize(90, 30)
        shown.grows(drawn)
        assert b"\x1b[?1049l" not in shown.raw
        shown.press("q")
        assert shown.ends() == 0
        assert b"\x1b[?1049l" in shown.raw  # the screen of before is back
    assert not (tmp_path / "omni.db").exists()  # nothing was done here
    for _ in range(50):
        if not running(served):
            break
        time.sleep(0.1)
    assert not running(served)


def test_who_goes_away_leaves_nothing_running(served: Served, tmp_path: Path) -> None:
    with screen(served, tmp_path) as shown:
        shown.sees("Fleet")
        shown.process.kill()
    for _ in range(100):
        if not running(served):
            break
        time.sleep(0.1)
    assert not running(served)


def test_a_revoked_key_sees_no_more(served: Served, tmp_path: Path) -> None:
    store = GatewayKeyStore(served.app.store)
    made = ClientKey(name="passing", shown="omni-...", created_at=1, scope="admin", org="")
    store.add(made, "omni-passing")
    time.sleep(0.5)
    with screen(served, tmp_path, key="passing") as shown:
        shown.sees("Fleet")
        store.revoke("passing", now_ms=served.app.now_ms())
        assert shown.ends() != 0
        assert "ended the connection" in shown.text or "revoked" in shown.text


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_who_may_not_is_told_why(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("OMNI_HOME", str(tmp_path)), ("OMNI_REMOTE", served.url),
                        ("TERM", "xterm"), ("OMNI_ORG", "")):  # fmt: skip
        monkeypatch.setenv(name, value)
    for key, args, code, words in (
        ("viewer", (), 3, "scope admin"),
        ("doer", ("dash",), 3, "scope admin"),
        ("acme", (), 3, "of the whole fleet"),
        ("nobody", (), 3, "OMNI_REMOTE_KEY"),
        ("boss", ("dash", "--web"), 2, "does not work from afar"),
        ("boss", ("--org", "acme", "dash"), 2, "organisation alone"),
    ):
        said = Tty()
        for name, value in (("stdin", Tty()), ("stdout", Tty()), ("stderr", said)):
            monkeypatch.setattr(sys, name, value)
        monkeypatch.setattr(sys, "argv", ["omni", *args])
        monkeypatch.setenv("OMNI_REMOTE_KEY", f"omni-{key}")
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == code, said.getvalue()
        assert words in said.getvalue()
    assert not running(served)


def test_only_a_websocket_with_a_key_of_admins_opens_one(served: Served) -> None:
    boss = {"authorization": "Bearer omni-boss"}
    plain = httpx.get(f"{served.url}/api/terminal", headers=boss, trust_env=False)
    assert plain.status_code == 400
    address = served.url.replace("http:", "ws:") + "/api/terminal"
    for headers in ({}, {"authorization": "Bearer omni-viewer"}):
        with pytest.raises(InvalidStatus) as refused, connect(address, additional_headers=headers):
            pass
        assert refused.value.response.status_code in (401, 403)
    for size in ("columns=0", "columns=wide", "lines=-1", "lines=99999", "columns=%C2%B2"):
        with (
            pytest.raises(InvalidStatus) as refused,
            connect(f"{address}?{size}", additional_headers=boss),
        ):
            pass
        assert refused.value.response.status_code == 400, size
    assert not running(served)


def test_nothing_that_is_sent_breaks_a_screen_or_fills_the_memory() -> None:
    terminal = Terminal((80, 24))
    for odd in (b"[]", b"9", b"{", b"[" * 60_000, b'{"columns": Infinity}', b'{"lines": 1e999}',
                b'{"lines": true}', b'{"columns": "x"}', b"\xff"):  # fmt: skip
        assert terminal.heard(odd, True)
    assert terminal.said.empty()
    assert terminal.heard(b'{"columns": 1, "lines": 1000}', True)
    assert terminal.said.get_nowait() == (1, 1000)
    # Nobody reads what is typed: it is taken up to a bound.
    taken = sum(terminal.heard(b"x" * 65_536, False) for _ in range(200))
    assert 1024 * 1024 < taken * 65_536 < 8 * 1024 * 1024
    terminal = Terminal((80, 24))
    assert sum(terminal.heard(b"", False) for _ in range(100_000)) < 50_000


def test_a_gateway_that_was_killed_leaves_no_screen_behind(tmp_path: Path) -> None:
    """All that its screens see of it is that their terminals end; nohup's ignore that by birth."""
    terminal = Terminal((80, 24))
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        terminal.start(
            ([], {"TERM": "xterm"}),
            {**os.environ, "OMNI_HOME": str(tmp_path), "PYTHONPATH": str(REPO), AFAR: "1"},
        )
    finally:
        signal.signal(signal.SIGHUP, before)
    try:
        assert terminal.read()
        os.close(terminal._master)
        terminal._master = -1
        assert terminal._process is not None
        assert terminal._process.wait(20) == -signal.SIGHUP
    finally:
        terminal.close()


async def test_whose_network_is_gone_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """It closes nothing, and answers no ping any more."""
    monkeypatch.setattr(terminals, "_LOOK_S", 0.01)
    watch = terminals.Terminals(Mock(), lambda _: OWNER)._watch
    request, terminal, now = Mock(ending=False), Terminal((80, 24)), time.monotonic()
    socket = Mock(heard_at=now + 9, ping=lambda: b"")
    watching = asyncio.create_task(watch(request, socket, terminal, asyncio.Event()))
    await asyncio.sleep(0.1)
    assert not terminal.cut
    socket.heard_at = now - 61
    await asyncio.wait_for(watching, 5)
    assert terminal.cut


def test_who_types_while_much_is_drawn_stays() -> None:
    """Only what makes the gateway answer (pings) is refused of one who reads nothing."""
    caller, protocol = ClientProtocol(parse_uri("ws://gateway/")), ServerProtocol()
    caller.send_request(caller.connect())
    protocol.receive_data(b"".join(caller.data_to_send()))
    (head,) = protocol.events_received()
    assert isinstance(head, Head)
    protocol.send_response(protocol.accept(head))
    caller.receive_data(b"".join(protocol.data_to_send()))
    assert caller.state is State.OPEN
    full, left = Mock(send=Mock(return_value=True)), Mock()
    heard: list[bytes] = []
    socket = WebSocket(protocol, full, left, lambda data, _: heard.append(data))
    socket.heard_at = 0.0
    caller.send_binary(b"j")
    socket._receive(b"".join(caller.data_to_send()))
    assert heard == [b"j"]
    assert socket.heard_at
    assert not left.called
    caller.send_ping(b"")
    socket._receive(b"".join(caller.data_to_send()))
    assert full.break_off.called
    assert left.called


def test_what_is_not_the_fleets_does_not_work_from_afar(tmp_path: Path) -> None:
    """Variables, files and programs of the gateway's machine, which its screens reach there."""
    values = {
        "slug": "mine", "name": "", "protocol": "openai", "base_url": "http://127.0.0.1:9/v1",
        "key_env": "ITS_SECRET", "key": "", "max_concurrency": "",
    }  # fmt: skip
    (tmp_path / "suite.toml").write_text('[[cases]]\nprompt = "hi"\n')
    for afar in ({AFAR: "1"}, {}):
        env = {"OMNI_HOME": str(tmp_path), "USER": "test", **afar}
        refused = pytest.raises(UsageError, match="does not work from afar")
        taken: list[object] = []
        loader = Loader(env, clock=time.time)
        forms = (
            (suite_form(loader, Draft(), taken.append), {"suite": f"{tmp_path}/suite.toml"}),
            (options_form(loader, Draft(), (), taken.append), {"schema": "x", "max_cost": ""}),
        )  # fmt: skip
        with App(env) as app:
            with refused if afar else nullcontext():
                put_provider(app, values)
            for form, said in forms:
                with refused if afar else nullcontext():
                    form._work(app, said)
        assert len(taken) == (0 if afar else 2)
