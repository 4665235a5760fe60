"""Every path of the gateway: the protocols', the router spec's, and the management's."""

import re
from collections.abc import Callable
from typing import Any

from omni_cli import __version__
from omni_cli.domain.errors import UsageError
from omni_cli.gateway import ollama_paths
from omni_cli.gateway.asks import Ask, decode_object
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.chats import Chats, Wish
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.listing import Listing
from omni_cli.gateway.management import Management
from omni_cli.gateway.options import with_options
from omni_cli.gateway.own_api import OwnApi
from omni_cli.gateway.routes import Route, Router, openapi
from omni_cli.http.request import Request
from omni_cli.services.engine.routing import input_estimate
from omni_cli.services.money.ledger_names import CHECKED
from omni_cli.wire.anthropic.server import AnthropicMessages
from omni_cli.wire.gemini.server import GeminiContent
from omni_cli.wire.omni.server import OPTIONS, OmniChat
from omni_cli.wire.openai.server import OpenAiChat
from omni_cli.wire.responses.server import OpenAiResponses
from omni_cli.wire.server import Caller, text_field, wrong

OPENAI, RESPONSES = OpenAiChat(), OpenAiResponses()
ANTHROPIC, GEMINI, OMNI = AnthropicMessages(), GeminiContent(), OmniChat()
_GEMINI = re.compile(r"^/v1/models/.+:(generateContent|streamGenerateContent|countTokens)$")
_OURS = re.compile(r"/v1/(chat|agent-step|usage|router/debug)$")


def caller_of(path: str) -> Caller:
    """Whose words an error at this path is told in."""
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    if path.startswith("/v1beta/") or _GEMINI.search(path):
        return GEMINI
    if path in ollama_paths.PATHS:
        return ollama_paths.CHAT
    return OMNI if path.startswith("/api/") or _OURS.match(path) else OPENAI


class Surface:
    def __init__(self, fleet: Fleet, chats: Chats, own: OwnApi, management: Management) -> None:
        self._fleet = fleet
        self._chats = chats
        self._listing = Listing(fleet)
        self._ollama = ollama_paths.OllamaPaths(chats, self._listing)
        self._own = own
        self._management = management
        self.router = Router(self._routes())

    def _routes(self) -> list[Route]:
        def chat(caller: Caller) -> Any:
            return lambda request, who, _: self._chats.handle(caller, request, who)

        def both(method: str, path: str, handler: Any, summary: str, body: str = "") -> list[Route]:
            """With and without /v1: clients differ in what they take for the base URL."""
            return [
                Route(method, f"/v1{path}", handler, summary, tag="openai", body=body),
                Route(method, path, handler, summary, tag="openai", body=body),
            ]

        own = self._own
        return [
            *both("POST", "/chat/completions", chat(OPENAI), "Chat completion", "Completion"),
            *both("POST", "/responses", chat(RESPONSES), "Response"),
            *both("POST", "/embeddings", self._embed, "Embeddings"),
            *both("GET", "/models", self._models, "Models, roles and chains"),
            Route("GET", "/v1/models/{id+}", self._model, "One model", tag="openai"),
            Route("POST", "/v1/messages", chat(ANTHROPIC), "Message", tag="anthropic"),
            Route(
                "POST",
                "/v1/messages/count_tokens",
                self._count,
                "Tokens of a message, estimated",
                tag="anthropic",
            ),
            *self._ollama.routes(),
            *self._gemini_routes("/v1beta"),
            *self._gemini_routes("/v1"),
            Route("GET", "/v1beta/models", self._gemini_models, "Models", tag="gemini"),
            Route(
                "POST", "/v1/chat", self._chat, "The right model answers", tag="omni", body="Chat"
            ),
            Route("POST", "/v1/agent-step", self._step, "One agent step", tag="omni", body="Chat"),
            Route(
                "GET",
                "/v1/usage",
                own.usage,
                "Usage",
                tag="omni",
                query=("from", "to", "by", *CHECKED),
            ),
            Route("GET", "/v1/requests/{request}", own.receipt, "A request's receipt", tag="omni"),
            Route(
                "POST", "/v1/router/debug", own.debug, "Explain a decision", tag="omni", body="Chat"
            ),
            Route("GET", "/", self._root, "Who is here", "open", tag="omni"),
            Route("GET", "/health", own.health, "Alive", "open", tag="omni"),
            Route("GET", "/ready", own.ready, "Ready to answer", "open", tag="omni"),
            Route("GET", "/metrics", own.metrics, "Prometheus metrics", "manage", tag="omni"),
            Route("GET", "/openapi.json", self._openapi, "This document", "open", tag="omni"),
            *self._management.routes(),
        ]

    def _gemini_routes(self, version: str) -> list[Route]:
        """Google's own packages differ in the version that they ask for."""
        path = version + "/models/{model+}"
        return [
            Route("POST", f"{path}:generateContent", self._gemini, "Content", tag="gemini"),
            Route(
                "POST",
                f"{path}:streamGenerateContent",
                self._gemini_stream,
                "Content, streamed",
                tag="gemini",
                query=("alt",),
            ),
            Route("POST", f"{path}:countTokens", self._gemini_count, "Tokens", tag="gemini"),
        ]

    # --- listings -----------------------------------------------------------------------------

    async def _models(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        await request.json(self._listing.models(who))

    async def _model(self, request: Request, who: Principal, at: dict[str, str]) -> None:
        await request.json(self._listing.model(at["id"], who))

    async def _gemini_models(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        await request.json(self._listing.gemini(who))

    async def _root(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """Clients look here whether anybody answers."""
        await request.json({"name": "omni", "version": __version__, "openapi": "/openapi.json"})

    async def _openapi(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        await request.json(openapi(self.router.routes, __version__))

    # --- requests -----------------------------------------------------------------------------

    async def _embed(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        def wish(body: bytes) -> Wish:
            return Ask(OPENAI, body, stream=False, operation="embeddings"), None

        await self._chats.handle(OPENAI, request, who, wish)

    async def _count(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """Estimated: the exact count is known to the provider that bills, after the call."""
        body = decode_object(await request.body())
        body.setdefault("max_tokens", 1)
        text_field(body, "model")
        tokens = input_estimate(ANTHROPIC.parse(body).request)
        await request.json({"input_tokens": tokens}, x_omni_estimated="true")

    async def _gemini(self, request: Request, who: Principal, at: dict[str, str]) -> None:
        await self._chats.handle(GEMINI, request, who, _named(at["model"], stream=False))

    async def _gemini_stream(self, request: Request, who: Principal, at: dict[str, str]) -> None:
        if b"alt=sse" not in request.query:
            raise wrong("streamGenerateContent answers server-sent events only: add ?alt=sse")
        await self._chats.handle(GEMINI, request, who, _named(at["model"], stream=True))

    async def _gemini_count(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        body = decode_object(await request.body())
        inner = body.get("generateContentRequest", body)
        if not isinstance(inner, dict):
            raise wrong("'generateContentRequest' must be an object")
        tokens = input_estimate(GEMINI.parse(inner).request)
        await request.json({"totalTokens": tokens}, x_omni_estimated="true")

    async def _chat(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        await self._chats.handle(OMNI, request, who, _own_wish(self._fleet, {}))

    async def _step(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        """Each step of an agent's work is routed by itself."""
        wish = _own_wish(self._fleet, {"task_type": "agent_step"})
        await self._chats.handle(OMNI, request, who, wish)


def _named(model: str, *, stream: bool) -> Callable[[bytes], Wish]:
    """Gemini's path names the model."""

    def wish(body: bytes) -> Wish:
        return Ask(GEMINI, body, model=model, stream=stream), None

    return wish


def _own_wish(fleet: Fleet, defaults: dict[str, Any]) -> Callable[[bytes], Wish]:
    def wish(body: bytes) -> Wish:
        fields = decode_object(body)
        given = {**defaults, **{k: v for k, v in fields.items() if k in OPTIONS and v is not None}}
        model = fields.get("model", "auto")
        if not isinstance(model, str):
            raise UsageError("model must name a model, a role, a chain, or auto")
        if "role" in given and model == "auto":
            model = f"role:{given.pop('role')}"
        options = with_options(fleet.options, given)
        return Ask(OMNI, body, model=model, stream=False), options

    return wish
