"""The TUI in a browser: textual-serve with a page of our own, closed to other sites, and with
nothing on it that is fetched from elsewhere."""

from pathlib import Path

from aiohttp import web
from textual_serve.server import Server

_PAGE = Path(__file__).parent / "page"
#: What the page may load and speak to: the server that it came from, and nobody else.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self' ws://{host}; frame-ancestors 'none'"
)


class WebServer(Server):
    """Serves on loopback to pages of its own only: any page that a person opens could otherwise
    open a socket to it, and press keys."""

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.router.add_static("/page", _PAGE)
        return app

    async def handle_index(self, request: web.Request) -> web.FileResponse:
        self._keep_out(request)
        policy = _POLICY.format(host=request.host)
        return web.FileResponse(_PAGE / "index.html", headers={"Content-Security-Policy": policy})

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        self._keep_out(request)
        return await super().handle_websocket(request)

    def _keep_out(self, request: web.Request) -> None:
        """Raises HTTPForbidden for a page of another site, or another name for this machine."""
        own = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")}
        origin = request.headers.get("Origin")
        if request.host not in own or (
            origin is not None and origin not in {f"http://{host}" for host in own}
        ):
            raise web.HTTPForbidden(text="this page is for this machine's own browser tabs")
