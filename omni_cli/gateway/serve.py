"""Run the gateway: in this process, or in several that share a socket and a store."""

import gc
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict

from omni_cli.bootstrap import App
from omni_cli.gateway.app import Gateway, Options
from omni_cli.gateway.http import Limits
from omni_cli.gateway.meter import Quota
from omni_cli.gateway.server import BACKLOG, Server

#: Seconds that requests under way have to end when the gateway is asked to stop.
DRAIN_S = 30
#: Where a worker finds how it is to run.
_SETTINGS = "OMNI_SERVE_WORKER"
#: A worker that ends sooner than this after its start is not started again at once, seconds.
_SHORT_LIFE_S = 2.0


def server(app: App, options: Options, *, drain_s: float = DRAIN_S) -> Server:
    """A server for this process."""
    return Server(Gateway(app, options), drain_s=drain_s)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, which child processes may inherit. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def run(app: App, options: Options, sock: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT."""
    if options.workers > 1:
        app.store.db.execute("SELECT 1")  # made and migrated before anybody shares it
        app.close()
        _supervise(options, sock)
        return
    _settle_down()
    server(app, options).run([sock])


def _settle_down() -> None:
    """Log to stderr; let the collector pass over what stays, and look less often at the rest:
    a request's objects hold no cycles."""
    _log_to_stderr()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")


def _supervise(options: Options, sock: socket.socket) -> None:
    """Start the workers, start again those that die, and end them all when asked to."""
    sock.set_inheritable(True)
    settings = json.dumps({"fd": sock.fileno(), "options": asdict(options)})
    env = {**os.environ, _SETTINGS: settings}
    command = [sys.executable, "-m", "omni_cli.gateway.serve"]

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, env=env, pass_fds=[sock.fileno()])  # noqa: S603  # ourselves

    stopping = False

    def stop(*_: object) -> None:
        nonlocal stopping
        stopping = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    workers = [(start(), time.monotonic()) for _ in range(options.workers)]
    while not stopping:
        time.sleep(0.2)
        workers = [_alive(worker, start) for worker in workers]
    for worker, _ in workers:
        worker.terminate()
    for worker, _ in workers:
        try:
            worker.wait(DRAIN_S + 5)
        except subprocess.TimeoutExpired:
            worker.kill()


def _alive(
    worker: tuple[subprocess.Popen[bytes], float], start: Callable[[], subprocess.Popen[bytes]]
) -> tuple[subprocess.Popen[bytes], float]:
    """The worker, or the one that takes its place. What it had open is closed by recovery."""
    process, since = worker
    if process.poll() is None:
        return worker
    sys.stderr.write(f"worker {process.pid} ended with {process.returncode}; starting another\n")
    if time.monotonic() - since < _SHORT_LIFE_S:
        time.sleep(1.0)
    return start(), time.monotonic()


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
    )
    _settle_down()
    with App() as app:
        server(app, options).run([socket.socket(fileno=settings["fd"])])


if __name__ == "__main__":
    _work()
