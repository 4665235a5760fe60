"""The router spec's endpoints that no model answers: usage, debug, health."""

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from omni_cli.bootstrap import App
from omni_cli.domain.errors import NotFound
from omni_cli.domain.ids import id_text
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.fleet import Fleets
from omni_cli.gateway.options import with_options
from omni_cli.http.request import Request
from omni_cli.services.engine.routing import decision_document
from omni_cli.services.judge.metrics import process_lines
from omni_cli.services.money.ledger_names import CHECKED
from omni_cli.services.money.receipt import receipt_document
from omni_cli.services.money.report_documents import usage_document
from omni_cli.services.money.usage import UsageQuery
from omni_cli.wire.omni.server import own_request
from omni_cli.wire.server import object_of


def query_of(request: Request) -> dict[str, str]:
    """The query's fields; of repeated ones the last counts."""
    return dict(parse_qsl(request.query.decode("latin-1"), keep_blank_values=True))


class OwnApi:
    """Args:
    trouble: why this process should get no callers; "" when it should.
    figures: of this process, for metrics.
    """

    def __init__(
        self,
        fleets: Fleets,
        desk: Desk,
        trouble: Callable[[], str],
        figures: Callable[[], Mapping[str, int]],
    ) -> None:
        self._trouble = trouble
        self._figures = figures
        self._fleets = fleets
        self._desk = desk

    async def usage(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        """What the caller's organisation used; all of them for those who manage."""
        query = usage_query(query_of(request), who)
        await request.json(await self._desk.do(lambda app: usage_of(app, query)))

    async def receipt(self, request: Request, who: Principal, at: dict[str, str]) -> None:
        """The receipt that ``omni why`` shows, of one of the caller's own requests."""
        name, scope = at["request"], scope_of(who)

        def job(app: App) -> dict[str, Any]:
            found = app.receipts.read(name)
            mine = all(getattr(found.row, key) == value for key, value in scope.items())
            if not mine or (scope and id_text(found.row.id) != name):
                raise NotFound(f"no request {name!r} in the ledger")
            return receipt_document(found)

        await request.json(await self._desk.do(job))

    async def debug(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        """Which model would answer, and why; nothing is sent."""
        await self.explain(request, who, object_of(await request.body()))

    async def explain(self, request: Request, who: Principal, body: dict[str, Any]) -> None:
        """The same of a body that was read."""
        model = body.pop("model", "auto")
        asked, given = own_request({**body, "model": "auto"})
        fleet = self._fleets.of(who.org)
        options = with_options(fleet.options, given)
        selector = fleet.selector(model if isinstance(model, str) else "auto")
        decision = fleet.explain(asked, selector, options, allowed=who.may_call)
        await request.json(decision_document(decision))

    async def health(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        await request.json({"status": "ok"})

    async def ready(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """Whether the store can be read and a model may be called."""
        trouble = self._trouble()
        if trouble:
            await request.json({"status": trouble, "models": 0}, 503)
            return
        models = sum(1 for _ in self._fleets.shared.models())
        self._fleets.shared.app.store.probe()
        await request.json(
            {"status": "ready" if models else "no active model", "models": models},
            200 if models else 503,
        )

    async def metrics(self, request: Request, _: Principal, __: dict[str, str]) -> None:
        """Prometheus' text form."""
        text = await self._desk.do(lambda app: app.metrics.text())
        text += process_lines(os.getpid(), self._figures())
        kind = b"text/plain; version=0.0.4; charset=utf-8"
        await request.answer(200, text.encode(), [(b"content-type", kind)])


def scope_of(who: Principal) -> dict[str, str]:
    """What a caller may see: its organisation's rows; all where it is of none and may look at the
    fleet, else its key's."""
    if who.org:
        return {"org": who.org}
    return {} if who.scope else {"key": who.key}


def usage_query(asked: Mapping[str, str], who: Principal) -> UsageQuery:
    """What a caller asks of its usage, within what it may see."""
    by: Any = asked.get("by", "model")
    return UsageQuery(
        by=by,
        period=asked.get("period"),
        from_date=asked.get("from"),
        to_date=asked.get("to"),
        filters={**{k: v for k, v in asked.items() if k in CHECKED}, **scope_of(who)},
    )


def usage_of(app: App, query: UsageQuery) -> dict[str, Any]:
    """The same document as of ``omni usage --json``."""
    return usage_document(app.usage.report(query), app.savings.saved(query))
