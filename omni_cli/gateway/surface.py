"""Every path of the gateway: the protocols', the router spec's, and the management's."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from omni_cli import __version__
from omni_cli.domain.errors import NotFound
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.periods import iso
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.batches import BatchPaths
from omni_cli.gateway.chats import Chats, Wish
from omni_cli.gateway.fleet import Fleets
from omni_cli.gateway.management import Management
from omni_cli.gateway.options import with_options
from omni_cli.gateway.own_api import OwnApi
from omni_cli.gateway.routes import Handler, Route, Router, openapi
from omni_cli.gateway.stored import StoredResponses
from omni_cli.gateway.subscriptions import Subscriptions
from omni_cli.http.request import Request
from omni_cli.services.engine.names import AmbiguousName, Selector, shown
from omni_cli.services.engine.routing import input_estimate
from omni_cli.services.fleet.describe import price_document
from omni_cli.services.money.ledger_names import CHECKED
from omni_cli.services.money.prices import PriceBook
from omni_cli.wire.facts import Operation
from omni_cli.wire.multipart import Form
from omni_cli.wire.registry import FOLDERS, callers
from omni_cli.wire.server import Caller, object_of, wrong


class Surface:
    def __init__(
        self,
        fleets: Fleets,
        chats: Chats,
        own: OwnApi,
        management: Management,
        stored: StoredResponses,
        batches: BatchPaths,
        subscriptions: Subscriptions,
    ) -> None:
        self._subscriptions = subscriptions
        self._stored_responses = stored
        self._batch_paths = batches
        self._fleets = fleets
        self._chats = chats
        self._listing = Listing(fleets)
        self._own = own
        self._management = management
        self.router = Router(self._routes())

    def _routes(self) -> list[Route]:
        own = self._own
        return [
            *self._protocols(),
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
                "POST",
                "/v1/outcomes",
                own.outcome,
                "How good an answer was",
                tag="omni",
                body="OutcomeReport",
                whole=True,  # what one organisation tells would change the choice for all
            ),
            Route(
                "POST", "/v1/router/debug", own.debug, "Explain a decision", tag="omni", body="Chat"
            ),
            *(
                Route(
                    method,
                    "/subscription/{vendor}/{rest+}",
                    self._subscriptions.handle,
                    "A launched agent's own login, passed through and accounted",
                    "open",  # by the session's key, which stands in a header of its own
                    tag="omni",
                )
                for method in ("GET", "POST")
            ),
            Route("GET", "/", self._root, "Who is here", "open", tag="omni"),
            Route("GET", "/health", own.health, "Alive", "open", tag="omni"),
            Route("GET", "/ready", own.ready, "Ready to answer", "open", tag="omni"),
            Route(
                "GET", "/metrics", own.metrics, "Prometheus metrics", "read", tag="omni", whole=True
            ),
            Route("GET", "/openapi.json", self._openapi, "This document", "open", tag="omni"),
            *self._management.routes(),
        ]

    def _protocols(self) -> Iterator[Route]:
        """What the protocols' callers may ask for. Where two have a path, the first has it."""
        taken: set[tuple[str, str]] = set()
        for name in FOLDERS:
            for caller in callers(name):
                for operation in caller.operations:
                    for prefix in operation.prefixes or caller.prefixes:
                        at = (operation.method, prefix + operation.path)
                        if at not in taken:
                            taken.add(at)
                            yield self._route(caller, operation, *at, tag=name)

    def _route(
        self, caller: Caller, operation: Operation, method: str, path: str, *, tag: str
    ) -> Route:
        return Route(
            method,
            path,
            _HANDLERS[operation.does](self, caller, operation),
            operation.summary,
            operation.access,
            tag,
            operation.query,
            operation.body,
            caller=caller,
        )

    def caller_of(self, path: str) -> Caller:
        """Whose words an error at this path is told in."""
        found = self.router.caller(path)
        if found is None:
            every = [caller for name in FOLDERS for caller in callers(name)]
            found = next((c for c in every if c.owns and path.startswith(c.owns)), every[0])
        return found

    async def _root(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """Clients look here whether anybody answers."""
        await request.json({"name": "omni", "version": __version__, "openapi": "/openapi.json"})

    async def _openapi(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        # pydantic is imported for it, once.
        document = await asyncio.to_thread(openapi, self.router.routes, __version__)
        await request.json(document)

    # --- what protocols ask for ------------------------------------------------------------------

    def _chat(self, caller: Caller, operation: Operation) -> Handler:
        chats, needs, stream = self._chats, operation.needs, operation.stream

        async def loads(request: Request, who: Principal, _: dict[str, str]) -> None:
            nothing = caller.nothing_asked(await request.body())
            if nothing is None:
                await chats.handle(caller, request, who)
            else:
                self._listing.model(nothing[0], who)
                await request.json(nothing[1])

        async def routed(request: Request, who: Principal, _: dict[str, str]) -> None:
            def wish(body: bytes) -> Wish:
                model, given = caller.options(object_of(body), operation.given)
                options = with_options(self._fleets.shared.options, given)
                return Ask(caller, body, model=model, stream=stream), options

            await chats.handle(caller, request, who, wish=wish)

        async def named(request: Request, who: Principal, at: dict[str, str]) -> None:
            if needs.encode() not in request.query:
                what = request.path.rpartition(":")[2]
                raise wrong(f"{what} answers server-sent events only: add ?{needs}")
            await chats.handle(
                caller,
                request,
                who,
                wish=lambda body: (Ask(caller, body, model=at["model"], stream=stream), None),
            )

        if operation.routed:
            return routed
        if operation.loads:
            return loads
        return partial(chats.handle, caller) if caller.names_model else named

    def _pass(self, caller: Caller, operation: Operation) -> Handler:
        what = operation.path.lstrip("/")

        async def handle(request: Request, who: Principal, _: dict[str, str]) -> None:
            kind = request.headers.get("content-type", "")

            def wish(body: bytes) -> Wish:
                if not kind.lower().startswith("multipart/form-data"):
                    return Ask(caller, body, operation=what), None
                form, sent_on = Form(body, kind), {"content-type": kind}
                return Ask(caller, body, forwarded=sent_on, operation=what, form=form), None

            await self._chats.handle(caller, request, who, wish=wish)

        return handle

    def _embed(self, caller: Caller, _: Operation) -> Handler:
        async def handle(request: Request, who: Principal, at: dict[str, str]) -> None:
            def wish(body: bytes) -> Wish:
                model = at.get("model")
                return Ask(caller, body, model=model, stream=False, operation="embeddings"), None

            await self._chats.handle(caller, request, who, wish=wish)

        return handle

    def _stored(self, caller: Caller, operation: Operation) -> Handler:
        stored, method = self._stored_responses, operation.method
        tail = operation.path.partition("}")[2]

        async def handle(request: Request, who: Principal, at: dict[str, str]) -> None:
            await stored.handle(caller, request, who, method, at["response"], tail)

        return handle

    def _batch(self, caller: Caller, operation: Operation) -> Handler:
        batches = self._batch_paths

        async def handle(request: Request, who: Principal, at: dict[str, str]) -> None:
            await batches.handle(caller, operation, request, who, at)

        return handle

    def _count(self, caller: Caller, _: Operation) -> Handler:
        async def handle(request: Request, _: Principal, __: dict[str, str]) -> None:
            """Estimated: the exact count is known to the provider that bills, after the call."""
            asked = caller.counted(object_of(await request.body()))
            await request.json(caller.count(input_estimate(asked)), x_omni_estimated="true")

        return handle

    def _models(self, caller: Caller, _: Operation) -> Handler:
        async def handle(request: Request, who: Principal, _: dict[str, str]) -> None:
            await request.json(caller.models(*self._listing.models(who)))

        return handle

    def _model(self, caller: Caller, _: Operation) -> Handler:
        async def handle(request: Request, who: Principal, at: dict[str, str]) -> None:
            name = at.get("model")
            if name is None:
                name = caller.asked_model(object_of(await request.body()))
            await request.json(caller.model(self._listing.model(name, who)))

        return handle

    def _document(self, _: Caller, operation: Operation) -> Handler:
        async def handle(request: Request, _: Principal, __: dict[str, str]) -> None:
            await request.json(dict(operation.given))

        return handle


_HANDLERS: dict[str, Callable[[Surface, Caller, Operation], Handler]] = {
    "chat": Surface._chat,
    "embeddings": Surface._embed,
    "pass": Surface._pass,
    "stored": Surface._stored,
    **dict.fromkeys(
        (
            *("files", "file", "file_content"),
            *("batches", "batch", "batch_cancel", "batch_results"),
        ),
        Surface._batch,
    ),
    "count": Surface._count,
    "models": Surface._models,
    "model": Surface._model,
    "document": Surface._document,
}


#: When a model was added is not known for those of the catalogue.
_SOME_TIME = 1_577_836_800


class Listing:
    """Args:
    fleets: whose active models are listed, to each caller those that its key may call.
    """

    def __init__(self, fleets: Fleets) -> None:
        self._fleets = fleets

    def visible(self, who: Principal) -> list[ModelInfo]:
        return [model for model in self._fleets.of(who.org).models() if who.may_call(model.id)]

    def models(self, who: Principal) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Models, and names that are no model's, in OpenAI's form with the registry's own fields
        (``provider``, ``cost_input``, ``max_tokens``...) beside it."""
        shown = self.visible(who)
        prices = self._prices(shown, who)
        others = [self._virtual(name, what) for name, what in self._others(who)]
        return [self._model(model, prices) for model in shown], others

    def model(self, name: str, who: Principal) -> dict[str, Any]:
        """One model, by its id or alias. Raises NotFound."""
        for other, what in self._others(who):
            if other == name:
                return self._virtual(name, what)
        selector: Selector | None = None
        with suppress(NotFound, AmbiguousName):
            selector = self._fleets.of(who.org).selector(name)
        # What the list does not show is not here either.
        for model in self.visible(who):
            if selector == Selector("model", model.id):
                return self._model(model, self._prices([model], who))
        raise NotFound(
            f"no model is called {shown(name)}",
            hint=self._fleets.of(who.org).near(name, who.may_call),
        )

    def _others(self, who: Principal) -> list[tuple[str, str]]:
        """Names that are no model's: what a decision is left to. A key that may call some models
        learns of roles and chains that hold one of these."""
        fleet = self._fleets.of(who.org)
        app, usable = fleet.app, fleet.usable
        names: list[tuple[str, str]] = [(name, "automatic choice") for name in _AUTOS]
        others = [Selector("role", role.name) for role in app.assignments.roles()]
        others += [Selector("chain", chain.name) for chain in app.assignments.chains()]
        return names + [
            (f"{other.kind}:{other.name}", other.kind)
            for other in others
            if not who.models or usable(other, who.may_call)
        ]

    def _prices(self, models: list[ModelInfo], who: Principal) -> PriceBook:
        app = self._fleets.of(who.org).app
        book = PriceBook(app.models, now_ms=app.now_ms())
        book.load(model.id for model in models)
        return book

    def _model(self, model: ModelInfo, prices: PriceBook) -> dict[str, Any]:
        rates = price_document(prices.current(model.id))
        return {
            "id": model.id,
            "object": "model",
            "created": (model.added_at or _SOME_TIME * 1000) // 1000,
            "owned_by": model.provider,
            "type": "model",
            "display_name": model.name,
            "created_at": iso(model.added_at or _SOME_TIME * 1000),
            "provider": model.provider,
            "model_name": model.wire_name,
            "cost_input": rates.get("input"),
            "cost_output": rates.get("output"),
            "strengths": list(model.strengths),
            "supports_functions": "function-calling" in model.badges,
            "supports_vision": "vision" in model.badges,
            "max_tokens": model.max_output,
            "context_window": model.context_window,
            "parameters_b": model.parameters_b,
            "output_types": list(model.output_types),
            "badges": sorted(model.badges),
            "aliases": list(model.aliases),
        }

    def _virtual(self, name: str, what: str) -> dict[str, Any]:
        return {
            "id": name,
            "object": "model",
            "created": _SOME_TIME,
            "owned_by": "omni",
            "type": "model",
            "display_name": f"{name} ({what})",
            "created_at": iso(_SOME_TIME * 1000),
        }


_AUTOS = ("auto", "auto:cheap", "auto:balanced", "auto:best", "auto:fast")
