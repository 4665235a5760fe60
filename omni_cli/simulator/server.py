"""The simulator as an object: a server in a thread, for the length of a ``with`` block."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar

from omni_cli.http.request import Limits
from omni_cli.http.server import Connection, ServerState
from omni_cli.simulator import fleet
from omni_cli.simulator.app import App, Options
from omni_cli.simulator.clouds import TokenDesk
from omni_cli.simulator.faults import FaultBook, Rule

HOST = "127.0.0.1"
BACKLOG = 2048
MAX_BODY = 64 * 1024 * 1024
Value = TypeVar("Value")


class Simulator:
    """A loopback server that speaks the providers' protocols.

    Args:
        seed: with model and messages, decides every answer.
        tokens_per_second: speed of every answer; None sends at once.
        latency: how much of each fleet model's own demo latency to wait, 0 none, 1 all.
        port: 0 takes a free one.
        faults: rules, as ``Rule`` or in their written form (``"anthropic/*=503*2"``).
        key: the only API key accepted; None accepts any key, or none.

    Raises:
        OSError: on ``start``, when the port is taken.
        ValueError: a fault rule does not parse.
    """

    def __init__(
        self,
        seed: int = 0,
        tokens_per_second: float | None = None,
        port: int = 0,
        *,
        latency: float = 0.0,
        faults: Iterable[str | Rule] = (),
        key: str | None = None,
    ) -> None:
        rules = [rule if isinstance(rule, Rule) else Rule.written(rule) for rule in faults]
        options = Options(seed, tokens_per_second, latency, key)
        self._app = App(options, FaultBook(rules, seed))
        self._want_port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://{HOST}:{self.port}"

    def base_url(self, slug: str) -> str:
        """The base URL of one of the fleet's providers. Raises KeyError."""
        return fleet.base_url(self.url, slug)

    def fault(
        self,
        fault: str,
        match: str = "*",
        *,
        probability: float = 1.0,
        first: int | None = None,
        after: int = 0,
    ) -> None:
        """Add a rule: requests to ``match`` (``provider/model`` or model) get ``fault``.

        Raises ValueError.
        """
        self._app.faults.add(Rule(fault, match, probability, first, after))

    def heal(self) -> None:
        """Drop all rules."""
        self._app.faults.clear()

    def stats(self) -> dict[str, Any]:
        """The same as ``GET /__sim/stats``."""
        return self._in_turn(self._app.recorder.stats)

    def answered(self) -> list[dict[str, Any]]:
        """The same as the list of ``GET /__sim/answered``, oldest first."""
        return self._in_turn(self._app.recorder.answered)

    def hold_batches(self, how: str) -> None:
        """Whether batches end: "" at their first look, "hold": not, "expire": half done."""
        self._in_turn(lambda: setattr(self._app.shelf, "hold", how))

    @property
    def tokens(self) -> TokenDesk:
        """Who gives tokens for calls of Google's and Microsoft's clouds."""
        return self._app.tokens

    def reset(self) -> None:
        """Forget rules, counters and cached prompts."""
        self._in_turn(self._app.reset)

    def _in_turn(self, what: Callable[[], Value]) -> Value:
        """Run in the server's loop: whatever a client has received is then recorded."""
        if self._loop is None or self._thread is None:
            return what()
        done: Future[Value] = Future()
        self._loop.call_soon_threadsafe(lambda: done.set_result(what()))
        return done.result()

    async def serve(self, sock: socket.socket, ready: threading.Event) -> None:
        """Serve until ``stop``; ends with no connection and no task left."""
        loop = asyncio.get_running_loop()
        self._loop, self._stop = loop, asyncio.Event()
        state = ServerState(self._app.handle, Limits(MAX_BODY))
        server = await loop.create_server(lambda: Connection(state), sock=sock, backlog=BACKLOG)
        ready.set()
        try:
            await self._stop.wait()
        finally:
            server.close()
            state.abort()
            while state.connections or state.busy:
                await asyncio.sleep(0.001)
            await server.wait_closed()

    def bind(self) -> socket.socket:
        """A listening socket; ``port`` is known from here on. Raises OSError."""
        sock = socket.create_server((HOST, self._want_port), backlog=BACKLOG)
        # asyncio leaves this out for such sockets; with it missing, an answer in two writes waits
        # 40 ms for the peer's delayed acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port = sock.getsockname()[1]
        return sock

    def start(self) -> "Simulator":
        sock = self.bind()
        ready = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self.serve(sock, ready)), name="simulator", daemon=True
        )
        self._thread.start()
        ready.wait()
        return self

    def stop(self) -> None:
        """Close all connections and end the thread; may be called twice, and before start."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stop.set)
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def __enter__(self) -> "Simulator":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
