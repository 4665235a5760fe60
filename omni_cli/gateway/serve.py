"""Run the gateway: in this process, or in several that share a socket and a store."""

import errno
import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from omni_cli import system
from omni_cli.bootstrap import App
from omni_cli.domain.record import asdict
from omni_cli.gateway.app import Gateway, Options
from omni_cli.gateway.meter import Quota
from omni_cli.gateway.server import BACKLOG, Server
from omni_cli.http.request import Limits

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
