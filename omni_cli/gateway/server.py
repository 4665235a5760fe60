"""One process's server: it listens, hands requests to the gateway, and ends in good order."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence

from omni_cli import system
from omni_cli.gateway.app import Gateway
from omni_cli.http.server import Connection, ServerState

BACKLOG = 4096
#: How often connections are looked at for their age, and those that end for whether they did,
#: seconds.
_SWEEP_S = 5.0
_DRAIN_LOOK_S = 0.02
#: File descriptors that are no caller's and no call's: the store, the log, the loop, threads.
_OWN_FILES = 64
_FEWEST = 8
#: How long callers that were at the door still come in once nobody new does, seconds.
_LAST_S = 0.3
#: Linux' filter of a socket (socket(7), SO_ATTACH_FILTER): drops what asks for a new connection (of
#: TCP's flags SYN alone), so that its sender tries again, and by then is told that nobody listens.
_SO_ATTACH_FILTER = 26
_NO_NEWCOMERS = b"".join(
    struct.pack("HBBI", *step)
    for step in (
        (0x30, 0, 0, 13),  # load the byte of the flags
        (0x54, 0, 0, 0x12),  # and SYN | ACK
        (0x15, 0, 1, 0x02),  # is it SYN?
        (0x06, 0, 0, 0),  # drop
        (0x06, 0, 0, 0xFFFFFFFF),  # take it
    )
)

log = logging.getLogger("omni.gateway")


def most_connections() -> int:
    """Callers that this process has room for: each may need a connection to a provider, too."""
    files = system.most_open_files()
    return 1_000_000 if files is None else max((files - _OWN_FILES) // 2, _FEWEST)


class Server:
    """Args:
    drain_s: seconds that requests under way have to end when the server is asked to stop.
    notice_s: seconds before, in which it serves on and says at ``/ready`` that it will end, so
        that whoever spreads callers over several gateways sends no more here. Ctrl-C waits for
        nobody.
    lifeline: the reading end of a pipe that another process holds open; when that process is
        gone, this one ends, too.
    """

    def __init__(
        self,
        gateway: Gateway,
        *,
        drain_s: float,
        notice_s: float = 0.0,
        lifeline: int | None = None,
    ) -> None:
        self._notice_s = notice_s
        self._lifeline = lifeline
        self._gateway = gateway
        self._drain_s = drain_s
        self.started = False
        self._interrupted = False
        self._asked = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def run(self, sockets: Sequence[socket.socket]) -> None:
        """Serve until SIGTERM or SIGINT; a second one ends the notice, or does not wait for
        requests under way.

        Raises:
            OmniError: the store cannot be opened.
            KeyboardInterrupt: it was SIGINT, and everything is closed.
        """
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(self.serve(sockets))
        if self._interrupted:
            raise KeyboardInterrupt

    def end(self) -> None:
        """Have it end, from any thread; a second time: without waiting for requests under way."""
        if self._loop is None:
            self._asked.set()
            return
        with contextlib.suppress(RuntimeError):  # the loop is closed: it has ended
            self._loop.call_soon_threadsafe(self._asked.set)

    async def serve(self, sockets: Sequence[socket.socket]) -> None:
        """Serve until it is asked to end."""
        loop = self._loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            system.on_signals(loop, system.STOPS, self._signalled)
        self._gateway.start()
        state = ServerState(self._gateway.handle, self._gateway.limits, most_connections())
        self._gateway.state = state
        if self._lifeline is not None:
            loop.add_reader(self._lifeline, self._orphaned)
        listening = [
            await loop.create_server(lambda: Connection(state), sock=sock, backlog=BACKLOG)
            for sock in sockets
        ]
        self.started = True
        while not await self._asked_within(_SWEEP_S):
            state.sweep()
        if self._notice_s and not self._interrupted:
            await self._give_notice(state, sockets)
        for server in listening:
            server.close()
        await self._drain(state)
        await self._gateway.stop()

    async def _give_notice(self, state: ServerState, sockets: Sequence[socket.socket]) -> None:
        self._asked.clear()
        self._gateway.leaving = state.closing = True
        if await self._asked_within(self._notice_s):
            return
        if sys.platform == "linux":
            # A connection that the system has accepted and this process has not is reset when its
            # socket is closed, with the request in it.
            steps = ctypes.create_string_buffer(_NO_NEWCOMERS)
            program = struct.pack("HP", len(_NO_NEWCOMERS) // 8, ctypes.addressof(steps))
            for sock in sockets:
                with contextlib.suppress(OSError):  # a system that only looks like Linux
                    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
            await asyncio.sleep(_LAST_S)

    async def _drain(self, state: ServerState) -> None:
        """Let requests under way end, for a while; then end them."""
        self._asked.clear()
        state.close()
        end = time.monotonic() + self._drain_s
        while state.busy and time.monotonic() < end:
            if await self._asked_within(_DRAIN_LOOK_S):
                break
        state.abort()
        # What was cancelled settles what it has; its rows go into the last batch.
        while state.busy and time.monotonic() < end + 1.0:
            await asyncio.sleep(_DRAIN_LOOK_S)

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                return await self._asked.wait()
        except TimeoutError:
            return False

    def _orphaned(self) -> None:
        """Nobody supervises this process any more, and its port is wanted by whoever does next."""
        assert self._lifeline is not None
        asyncio.get_running_loop().remove_reader(self._lifeline)
        os.close(self._lifeline)
        log.error("the process that started this worker is gone: ending")
        self.end()

    def _signalled(self, number: int) -> None:
        self._interrupted = self._interrupted or number == signal.SIGINT
        self.end()


def _loop_factory() -> "type[asyncio.AbstractEventLoop] | None":
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop
