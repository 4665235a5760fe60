"""The paths of Ollama's API, for its clients.

Source: ollama/ollama docs/api.md.
"""

from datetime import UTC, datetime
from typing import Any

from omni_cli.gateway.asks import Ask, decode_object
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.chats import Chats, Wish
from omni_cli.gateway.listing import Listing
from omni_cli.gateway.routes import Route
from omni_cli.gateway.sending import fields_of
from omni_cli.http.request import Request
from omni_cli.wire.ollama.generate import OllamaGenerate
from omni_cli.wire.ollama.server import OllamaChat
from omni_cli.wire.server import text_field

CHAT, GENERATE = OllamaChat(), OllamaGenerate()
PATHS = frozenset(
    f"/api/{name}" for name in ("chat", "generate", "embed", "tags", "show", "ps", "version")
)
#: Version of Ollama's API that this speaks: clients look at it before they ask for tools.
_VERSION = "0.12.0"
#: What a field says when there is nothing to answer.
_EMPTY = (b"", b"null", b'""', b"[]")
#: How long a model is to be kept that is to be unloaded.
_AT_ONCE = (0, "0", "0s")
#: Longest body that may be a wish to load a model: it holds no more than a name.
_SHORT = 512


class OllamaPaths:
    def __init__(self, chats: Chats, listing: Listing) -> None:
        self._chats = chats
        self._listing = listing

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/api/chat", self._chat, "Chat", tag="ollama"),
            Route("POST", "/api/generate", self._generate, "One answer", tag="ollama"),
            Route("POST", "/api/embed", self._embed, "Embeddings", tag="ollama"),
            Route("GET", "/api/tags", self._tags, "Models", tag="ollama"),
            Route("GET", "/api/ps", self._running, "Loaded models: none", tag="ollama"),
            Route("POST", "/api/show", self._show, "One model", tag="ollama"),
            Route("GET", "/api/version", self._version, "Version", "open", tag="ollama"),
        ]

    async def _chat(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        if not await self._loaded(request, who, ("messages",)):
            await self._chats.handle(CHAT, request, who)

    async def _generate(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        if not await self._loaded(request, who, ("prompt", "images")):
            await self._chats.handle(GENERATE, request, who)

    async def _loaded(self, request: Request, who: Principal, asks: tuple[str, ...]) -> bool:
        """Answer a request that asks nothing: clients so load a model, or unload it, ahead of
        time. There is nothing to load here; who answers is decided when something is asked."""
        body = await request.body()
        if len(body) > _SHORT:
            return False
        fields = fields_of(body)
        if any(bytes(fields.get(name, b"")) not in _EMPTY for name in asks):
            return False
        wish = decode_object(body)
        name = text_field(wish, "model")
        self._listing.model(name, who)
        over = wish.get("keep_alive") in _AT_ONCE
        said = {"message": {"role": "assistant", "content": ""}}
        document: dict[str, Any] = {
            "model": name,
            "created_at": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            **(said if "messages" in asks else {"response": ""}),
            "done": True,
            "done_reason": "unload" if over else "load",
        }
        await request.json(document)
        return True

    async def _embed(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        def wish(body: bytes) -> Wish:
            return Ask(CHAT, body, stream=False, operation="embeddings"), None

        await self._chats.handle(CHAT, request, who, wish)

    async def _tags(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        await request.json(self._listing.tags(who))

    async def _running(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """The gateway holds no model in memory."""
        await request.json({"models": []})

    async def _show(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        body = decode_object(await request.body())
        name = text_field(body, "model", text_field(body, "name", ""))
        await request.json(self._listing.show(name, who))

    async def _version(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        await request.json({"version": _VERSION})
