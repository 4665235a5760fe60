"""Run the gateway: in this process, or in several that share a socket and a store."""

import asyncio
import contextlib
import ctypes
import errno
import gc
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from omni_cli import system
from omni_cli.bootstrap import App
from omni_cli.domain.record import asdict
from omni_cli.gateway.app import Gateway, Options
from omni_cli.gateway.meter import Quota
from omni_cli.http.request import Limits
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


#: Seconds that requests under way have to end when the gateway is asked to stop.
DRAIN_S = 30
#: Where a worker finds how it is to run.
_SETTINGS = "OMNI_SERVE_WORKER"
#: How long a port that is taken is waited for, seconds.
_PORT_S = 1.0
#: File descriptors that a process takes where it may.
_FILES = 65_536
#: A worker that ends sooner than this after its start is not started again at once, seconds.
_SHORT_LIFE_S = 2.0


def server(
    app: App, options: Options, *, drain_s: float = DRAIN_S, lifeline: int | None = None
) -> Server:
    """A server for this process."""
    return Server(
        Gateway(app, options), drain_s=drain_s, notice_s=options.notice_s, lifeline=lifeline
    )


def bind(host: str, port: int, *, beside: bool = False) -> socket.socket:
    """A listening socket, which child processes may inherit. Raises OSError.

    Args:
        beside: others of ours may listen on the same port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if beside:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def bind_each(host: str, port: int, workers: int) -> list[socket.socket]:
    """A listening socket for each worker. Raises OSError.

    Of one socket a worker takes all callers that come together, and keeps them; Linux spreads
    them over several. This process keeps the sockets too: callers of a worker that died wait for
    the one that takes its place.
    """
    first = _bind_soon(host, port)  # which fails where anybody else listens, be it a gateway
    if workers == 1 or sys.platform != "linux":
        return [first] * workers
    port = first.getsockname()[1]
    first.close()
    return [bind(host, port, beside=True) for _ in range(workers)]


def _bind_soon(host: str, port: int) -> socket.socket:
    """Workers whose master was killed give their port up within a moment. Raises OSError."""
    end = time.monotonic() + _PORT_S
    while True:
        try:
            return bind(host, port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or time.monotonic() > end:
                raise
            time.sleep(0.05)


def run(app: App, options: Options, sockets: Sequence[socket.socket]) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        sockets: one for each worker, which may be the same.
    """
    if options.workers > 1:
        app.store.probe()  # made and migrated before anybody shares it
        app.close()
        _supervise(options, sockets)
        return
    _settle_down()
    server(app, options).run(sockets)


def _settle_down() -> None:
    """Log to stderr; let the collector pass over what stays, and look less often at the rest:
    a request's objects hold no cycles."""
    _log_to_stderr()
    # The usual soft limit of 1,024 is there for programs that use select().
    system.allow_open_files(_FILES)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _supervise(options: Options, sockets: Sequence[socket.socket]) -> None:
    """Start the workers, start again those that die, and end them all when asked to."""
    command = [sys.executable, "-m", "omni_cli.gateway.serve"]
    # Nothing is ever written: when this process ends, however it does, its end of the pipe closes.
    lifeline, _held = os.pipe()

    def start(sock: socket.socket) -> subprocess.Popen[bytes]:
        files = [sock.fileno(), lifeline]
        settings = json.dumps({"fd": files[0], "lifeline": lifeline, "options": asdict(options)})
        env = {**os.environ, _SETTINGS: settings}
        return subprocess.Popen(command, env=env, pass_fds=files)  # noqa: S603  # ourselves

    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in system.STOPS:
        signal.signal(number, stop)
    workers = [_Worker(start(sock), time.monotonic(), sock) for sock in sockets]
    while not stopping:
        time.sleep(0.2)
        workers = [_alive(worker, start) for worker in workers]
    for sock in sockets:
        sock.close()  # so that new callers are refused, and do not wait, once workers close theirs
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        try:
            worker.process.wait(options.notice_s + DRAIN_S + 5)
        except subprocess.TimeoutExpired:
            worker.process.kill()


class _Worker(Struct, frozen=True):
    """``since``: of the monotonic clock."""

    process: subprocess.Popen[bytes]
    since: float
    sock: socket.socket


def _alive(worker: _Worker, start: Callable[[socket.socket], subprocess.Popen[bytes]]) -> _Worker:
    """The worker, or the one that takes its place. What it had open is closed by recovery."""
    process = worker.process
    if process.poll() is None:
        return worker
    sys.stderr.write(f"worker {process.pid} ended with {process.returncode}; starting another\n")
    if time.monotonic() - worker.since < _SHORT_LIFE_S:
        time.sleep(1.0)
    return _Worker(start(worker.sock), time.monotonic(), worker.sock)


def _work() -> None:
    """One worker: the settings come in a variable, the socket is inherited."""
    settings = json.loads(os.environ.pop(_SETTINGS))
    given = settings["options"]
    options = Options(
        limits=Limits(**given["limits"]),
        require_key=given["require_key"],
        origins=tuple(given["origins"]),
        org=Quota(**given["org"]),
        workers=given["workers"],
        notice_s=given["notice_s"],
    )
    _settle_down()
    with App() as app:
        serving = server(app, options, lifeline=settings["lifeline"])
        serving.run([socket.socket(fileno=settings["fd"])])


if __name__ == "__main__":
    _work()
