"""The TUI in a browser: textual-serve, closed to other sites, and with the keyboard in it."""

from typing import Any

from aiohttp import web
from textual_serve.server import Server

#: Keys go where the focus is, and a page that was just opened has it nowhere.
_FOCUS = """<script>
const give = setInterval(() => {
  const keys = document.querySelector(".xterm-helper-textarea");
  if (keys) { keys.focus(); clearInterval(give); }
}, 50);
</script></body>"""


class WebServer(Server):
    """Serves on loopback to pages of its own only: any page that a person opens could otherwise
    open a socket to it, and press keys."""

    async def handle_index(self, request: web.Request) -> Any:  # its base says: a template's values
        self._keep_out(request)
        page = await super().handle_index(request)
        assert isinstance(page, web.Response)
        page.text = (page.text or "").replace("</body>", _FOCUS)
        return page

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
