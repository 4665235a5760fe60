"""The terminal interface from afar: ``omni --remote URL`` shows the screen of an ``omni dash`` that
runs here, on this gateway's fleet, in a process and a pseudo terminal of its own.

What goes through the WebSocket is what a terminal is sent, and what was typed; a text message says
how large the terminal is, and at the end how the process ended. Whoever may see it may change
everything, so that a key needs the scope admin and no organisation; what the screens do beside the
fleet (files and variables of this machine) is refused there (``AFAR``).
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from omni_cli.bootstrap import App
from omni_cli.domain.commands import AFAR
from omni_cli.domain.errors import UsageError
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.commands import DROPPED
from omni_cli.gateway.own_api import query_of
from omni_cli.http.request import Request
from omni_cli.http.websocket import WebSocket
from omni_cli.system import new_terminal, size_terminal
from omni_cli.wire.server import Refused

Value = TypeVar("Value")
#: Screens at once: each is a process with some 100 MB.
_MOST = 4
#: How often the key is looked at again, seconds, how often the connection is kept open, and for how
#: long nothing may come from there: whose network is gone closes nothing, and would keep its place.
_LOOK_S, _ALIVE_S, _SILENT_S = 2.0, 15.0, 60.0
#: How long a process has to end, seconds.
_END_S = 5.0
_PIECE = 32 * 1024
_MOST_SIDE = 1_000
#: Bytes that were typed, or pasted, and are not read yet, and in how many messages.
_MOST_TYPED, _MOST_SAID = 4 * 1024 * 1024, 4_096
#: What the process does: its terminal is the one that it was given, so that it hears of its end.
_MAIN = (
    "from omni_cli.system import take_terminal; take_terminal(); "
    "from omni_cli.cli.app import main; main()"
)


class Terminals:
    """Args:
    admit: who sends these headers now. Raises Refused.
    """

    def __init__(self, app: App, admit: Callable[[Mapping[str, str]], Principal]) -> None:
        self._app = app
        self._admit = admit
        self._open: set[Terminal] = set()
        # Each reads, writes and ends: beside the threads of everybody else.
        self._threads = ThreadPoolExecutor(3 * _MOST, "terminals")

    async def handle(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        if request.headers.get("upgrade", "").lower() != "websocket":
            raise UsageError("a terminal is a WebSocket", hint="omni --remote URL opens one")
        if sys.platform == "win32":
            raise Refused(501, "not_supported", "a gateway on Windows has no terminals")
        if len(self._open) >= _MOST:
            raise Refused(429, "rate_limited", f"{_MOST} screens are open here", retry_after_s=30)
        terminal = Terminal(_size(query_of(request)))
        self._open.add(terminal)
        try:
            left = asyncio.Event()
            request.on_gone = left.set

            def heard(data: bytes, text: bool) -> None:
                if not terminal.heard(data, text):
                    left.set()

            socket = await WebSocket.accept(request, left.set, heard)
            if socket is None or left.is_set():
                return
            words = _words(query_of(request))
            await self._do(lambda: terminal.start(words, self._env(who)))
            await self._carry(request, socket, terminal, left)
        finally:
            await self._do(terminal.close)
            self._open.discard(terminal)

    async def _do(self, work: Callable[[], Value]) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def _carry(
        self, request: Request, socket: WebSocket, terminal: "Terminal", left: asyncio.Event
    ) -> None:
        writing = asyncio.create_task(self._write(terminal))
        watching = asyncio.create_task(self._watch(request, socket, terminal, left))
        try:
            while piece := await self._do(terminal.read):
                if left.is_set():
                    return
                await request.piece(socket.binary(piece))
            code = await self._do(terminal.end)
            if not terminal.cut:
                await request.piece(socket.text(json.dumps({"code": code}).encode()))
        finally:
            for task in (writing, watching):
                task.cancel()
            socket.close()

    async def _watch(
        self, request: Request, socket: WebSocket, terminal: "Terminal", left: asyncio.Event
    ) -> None:
        """End it once nobody looks, the key is revoked, or the gateway ends."""
        quiet_s = 0.0
        while not (left.is_set() or request.ending) and self._welcome(request):
            with suppress(TimeoutError):
                await asyncio.wait_for(left.wait(), _LOOK_S)
            if time.monotonic() - socket.heard_at > _SILENT_S:
                break
            quiet_s += _LOOK_S
            if quiet_s >= _ALIVE_S:
                quiet_s = 0.0
                request.send(socket.ping())  # a slow reader is no reason not to look at the key
        terminal.cut = True
        await self._do(terminal.end)

    async def _write(self, terminal: "Terminal") -> None:
        while True:
            said = await terminal.said.get()
            await self._do(partial(terminal.take, said))
            terminal.waiting -= len(said)

    def _welcome(self, request: Request) -> bool:
        try:
            who = self._admit(request.headers)
        except Refused:
            return False
        return who.may("admin") and not who.org

    def _env(self, who: Principal) -> dict[str, str]:
        env = {
            key: value
            for key, value in self._app.env.items()
            if key not in DROPPED and not key.startswith(("TEXTUAL", "COLUMNS", "LINES"))
        }
        env[AFAR] = "1"
        if who.key:
            env["OMNI_USER"] = f"key {who.key}"
        return env

    async def close(self) -> None:
        for terminal in list(self._open):
            terminal.cut = True
            await self._do(terminal.end)
        self._threads.shutdown(wait=False)


class Terminal:
    """A process and its pseudo terminal. All but ``heard`` may wait: for threads of their own."""

    def __init__(self, size: tuple[int, int]) -> None:
        self._size = size
        self._master = -1
        self._process: subprocess.Popen[bytes] | None = None
        #: What was typed, and sizes, in their order.
        self.said: asyncio.Queue[bytes | tuple[int, int]] = asyncio.Queue()
        #: How much of that waits: whoever does not read it must not fill this process's memory.
        self.waiting = 0
        #: Ended by the gateway, not by who used it.
        self.cut = False
        # A descriptor that is closed while somebody reads it may be somebody else's by then.
        self._reading, self._writing = threading.Lock(), threading.Lock()

    def start(self, words: tuple[list[str], dict[str, str]], env: dict[str, str]) -> None:
        with self._writing:
            self._start(*words, env)

    def _start(self, args: list[str], shown: dict[str, str], env: dict[str, str]) -> None:
        self._master, slave = new_terminal(*self._size)
        try:
            self._process = subprocess.Popen(  # noqa: S603  # omni itself, without a shell
                # -P: no module is taken from the folder it runs in
                [sys.executable, "-P", "-c", _MAIN, "dash", *args],
                stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                env={**env, **shown}, cwd=env.get("OMNI_HOME") or "/",
            )  # fmt: skip
        finally:
            os.close(slave)

    def read(self) -> bytes:
        """What it draws next; empty once it is over."""
        with self._reading:
            try:
                return os.read(self._master, _PIECE)
            except OSError:
                return b""

    def heard(self, data: bytes, text: bool) -> bool:
        """What was typed, or how large the terminal is by now; False: more than it takes."""
        if self.waiting > _MOST_TYPED or self.said.qsize() > _MOST_SAID:
            return False
        with suppress(ValueError, RecursionError, UsageError):
            said = _size(json.loads(data)) if text else data
            self.waiting += len(said)
            self.said.put_nowait(said)
        return True

    def take(self, said: bytes | tuple[int, int]) -> None:
        """Type it, or be of that size."""
        with self._writing:
            if isinstance(said, tuple):
                with suppress(OSError, ValueError):  # -1 once it is closed
                    size_terminal(self._master, *said)
                return
            with suppress(OSError):
                while said:
                    said = said[os.write(self._master, said) :]

    def end(self) -> int:
        """Have the process end, if it has not, and return its exit code."""
        process = self._process
        if process is None:
            return 1
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def close(self) -> None:
        if self._process is None:
            with self._writing:  # it may just be starting
                pass
        self.end()  # so that whoever reads or writes comes back
        with self._reading, self._writing:
            master, self._master = self._master, -1
            if master >= 0:
                os.close(master)


def _size(said: Any) -> tuple[int, int]:
    """Columns and lines. Raises UsageError."""
    found = []
    for name, usual in (("columns", 80), ("lines", 24)):
        text = str(said.get(name, usual)) if isinstance(said, Mapping) else ""
        digits = text.isascii() and text.isdigit() and len(text) <= len(str(_MOST_SIDE))
        if not digits or not 1 <= int(text) <= _MOST_SIDE:
            raise UsageError(f"{name} is a number from 1 to {_MOST_SIDE}")
        found.append(int(text))
    return found[0], found[1]


def _words(query: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Its arguments, and what the environment says of the terminal that shows it."""
    args = [f"--{name}={query[name]}" for name in ("tab", "theme") if query.get(name)]
    shown = {
        variable: query[name]
        for name, variable in (("term", "TERM"), ("colors", "COLORTERM"))
        if query.get(name, "").replace("-", "").replace("_", "").isalnum()
    }
    return args, {"TERM": "xterm-256color", **shown}
