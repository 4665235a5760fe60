"""The router spec's endpoints that no model answers: usage, debug, health."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from omni_cli.bootstrap import App
from omni_cli.domain.errors import NotFound
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import RequestRow
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

#: Rows are written behind: whoever tells at once how good an answer was waits for them, seconds.
_WAITS_S = (0.05, 0.15, 0.4)


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
            mine(app, name, scope)
            return receipt_document(app.receipts.read(name))

        await request.json(await self._desk.do(job))

    async def outcome(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        """How good an answer was, of one of the caller's own requests: what routing learns from.

        Raises:
            NotFound: no such request of the caller's.
            UsageError, BadRequest: the body does not say how good.
        """
        body, scope = await request.body(), scope_of(who)

        def job(app: App) -> dict[str, Any]:
            from omni_cli.gateway.bodies import OutcomeReport, read

            report = read(OutcomeReport, object_of(body), field="field")
            kind, value = report.verdict()
            row = mine(app, report.request, scope)
            if row.state == "pending":
                raise NotFound(f"request {id_text(row.id)} is still being answered")
            rated = app.ratings.rate(id_text(row.id), kind, value, report.note)
            return {
                "request": id_text(row.id),
                "model": row.model,
                "task": row.task or None,
                "kind": kind,
                "value": rated.value,
                "wins": round(rated.wins, 6),
                "losses": round(rated.losses, 6),
            }

        for wait_s in (*_WAITS_S, 0.0):  # rows are written behind
            try:
                await request.json(await self._desk.do(job))
                return
            except NotFound:
                if not wait_s:
                    raise
                await asyncio.sleep(wait_s)

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


def mine(app: App, name: str, scope: Mapping[str, str]) -> RequestRow:
    """A request of the caller's, by its id; by its first part only for who may see all. Raises
    NotFound: it is not there, or another's."""
    row = app.ledger.find(name)
    own = all(getattr(row, key) == value for key, value in scope.items())
    if not own or (scope and id_text(row.id) != name.removeprefix("req_")):
        raise NotFound(f"no request {name[:64]!r} in the ledger")
    return row


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
