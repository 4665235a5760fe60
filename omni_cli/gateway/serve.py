"""Run the gateway: one process, or several that share a socket and a store."""

import logging
import socket
from typing import Any

import uvicorn

from omni_cli.bootstrap import App
from omni_cli.gateway.app import Gateway, Options

#: Seconds that requests under way have to end when the gateway is asked to stop.
DRAIN_S = 30


def server(app: App, options: Options, *, drain_s: int = DRAIN_S) -> uvicorn.Server:
    """A server for this process."""
    fast = _fast()
    config = uvicorn.Config(
        Gateway(app, options),
        loop="uvloop" if fast else "asyncio",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=drain_s,
        timeout_keep_alive=75,
        backlog=4096,
    )
    return uvicorn.Server(config)


def _fast() -> bool:
    try:
        import uvloop  # noqa: F401  # only whether it is there
    except ImportError:
        return False
    return True


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    sock.listen(4096)
    sock.set_inheritable(True)
    return sock


def run(app: App, options: Options, sock: socket.socket, **settings: Any) -> None:
    """Serve until SIGTERM or SIGINT."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    server(app, options, **settings).run(sockets=[sock])
