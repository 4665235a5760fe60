"""Responses that a provider keeps: fetched, stopped and deleted there, by whoever had them made.

Nothing of it is billed. A response that was still being made when its call ended is settled once it
is fetched whole. Source: OpenAI API reference, "Get a model response", "Delete", "Cancel", "List
input items"; "Background mode".
"""

import asyncio
from urllib.parse import parse_qsl, urlencode

from omni_cli.bootstrap import App
from omni_cli.domain.errors import NotFound, ProviderError
from omni_cli.domain.ledger import AttemptRow
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.record import replace
from omni_cli.gateway import relay
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.fleet import Fleets
from omni_cli.gateway.meter import Meter
from omni_cli.gateway.own_api import query_of, scope_of
from omni_cli.http.access import addressed, signed
from omni_cli.http.client import UpstreamPool
from omni_cli.http.request import Request
from omni_cli.ports import Method, TellsCost
from omni_cli.wire.framing import MAX_EVENT_BYTES
from omni_cli.wire.reader import refused
from omni_cli.wire.registry import adapter
from omni_cli.wire.server import Caller, wrong

_TIMEOUT_S = 60.0
#: Rows are written behind: whoever asks at once waits for them, seconds.
_WAITS_S = (0.05, 0.15, 0.4)
_MOST_ID = 256
#: For how long a provider keeps a response (OpenAI: 30 days), ms.
_KEPT_MS = 31 * DAY_MS
#: What of a query is the provider's business.
_PASSED = frozenset({"after", "limit", "order", "include", "include[]"})


class StoredResponses:
    def __init__(self, fleets: Fleets, desk: Desk, pool: UpstreamPool, meter: Meter) -> None:
        self._fleets = fleets
        self._desk = desk
        self._pool = pool
        self._meter = meter

    async def handle(
        self,
        caller: Caller,
        request: Request,
        who: Principal,
        method: Method,
        ident: str,
        tail: str,
    ) -> None:
        """Ask its provider, and pass the answer on as it came.

        Args:
            tail: of the path after the id.

        Raises:
            NotFound: the caller had no such response made, or its provider keeps it no more.
            ProviderError: its provider refuses, or cannot be reached.
        """
        await request.body()
        asked = query_of(request)
        if asked.get("stream", "false") != "false":
            raise wrong("a stored response is not streamed: ask without 'stream'")
        entry = await self._meter.enter(who, 0) if self._meter.limits(who) else None
        try:
            attempt = await self._find(ident, who, caller.name)
            status, kind, body = await self._ask(caller, request, who, method, attempt, tail)
        finally:
            if entry is not None:
                entry.leave(0)
        if attempt.held_nusd and method == "GET" and not tail:
            await self._desk.do(lambda app: _settle(app, attempt, body))
        await request.answer(
            status,
            body,
            [
                (b"content-type", (kind or "application/json").encode("latin-1", "replace")),
                (b"x-omni-model", attempt.model.encode("latin-1", "replace")),
            ],
        )

    async def _find(self, ident: str, who: Principal, protocol: str) -> AttemptRow:
        scope = scope_of(who)

        def job(app: App) -> AttemptRow | None:
            keepers = [p.slug for p in app.providers.all() if p.protocol == protocol]
            for attempt in app.ledger.made(ident, keepers, app.now_ms() - _KEPT_MS):
                row = app.ledger.get(attempt.request)
                if row is not None and all(getattr(row, k) == v for k, v in scope.items()):
                    return attempt
            return None

        if len(ident) <= _MOST_ID:
            for wait_s in (0.0, *_WAITS_S):
                await asyncio.sleep(wait_s)
                found = await self._desk.do(job)
                if found is not None:
                    return found
        raise NotFound(
            f"no response {ident[:_MOST_ID]!r} of yours is kept by a provider",
            hint="only whole answers of a provider of the Responses API are kept there; what omni "
            "translated from another protocol is stored nowhere",
        )

    async def _ask(
        self,
        caller: Caller,
        request: Request,
        who: Principal,
        method: Method,
        attempt: AttemptRow,
        tail: str,
    ) -> tuple[int, str, bytes]:
        slug, ident = attempt.provider, attempt.provider_request_id or ""
        gone = f"response {ident!r} was made by {slug}"
        provider = await self._desk.do(lambda app: app.providers.get(slug), who)
        if provider is None or provider.protocol != caller.name:
            raise NotFound(f"{gone}, which is not connected any more")
        if not provider.enabled:
            raise NotFound(f"{gone}, which is switched off", hint=f"omni providers enable {slug}")
        fleet = self._fleets.of(who.org)
        client, endpoint = adapter(provider.protocol), fleet.endpoint(provider)
        call = client.ask_cost(endpoint, ident) if isinstance(client, TellsCost) else None
        if call is None:
            raise NotFound(f"{gone}, which keeps none")
        pairs = parse_qsl(request.query.decode("latin-1"))
        query = urlencode([(name, value) for name, value in pairs if name in _PASSED])
        url, _, version = call.url.partition("?")
        asked = "&".join(filter(None, (version, query)))
        url = f"{url}{tail}{'?' if asked else ''}{asked}"
        origin, head = addressed(replace(call, method=method, url=url))
        try:
            head += await signed(self._pool, call, b"")
            answer = await self._pool.send(origin, head, b"", timeout_s=_TIMEOUT_S)
            try:
                if not 200 <= answer.status < 300:
                    said = await relay.error_body(answer)
                    raise refused(client, call, answer.status, answer.headers, said)
                body = await answer.whole(MAX_EVENT_BYTES)
            finally:
                answer.close()
        except ProviderError as exc:
            relay.conceal(exc, slug, origin.host)
            if exc.status == 404:
                message = f"{slug} keeps no response {ident!r} any more: {exc.message}"
                raise NotFound(message) from exc
            raise
        return answer.status, answer.headers.get("content-type", ""), body


def _settle(app: App, attempt: AttemptRow, body: bytes) -> None:
    """In the desk's thread: what was held for it, where it says now what it counted."""
    provider = app.providers.get(attempt.provider)
    tells = None if provider is None else adapter(provider.protocol)
    if not isinstance(tells, TellsCost):
        return
    for charge in app.held.all():
        if (charge.request.id, charge.attempt.n) == (attempt.request, attempt.n):
            report = app.held.read(charge, tells, body.decode("utf-8", "replace"))
            if report.cost_nusd is not None:
                app.held.settle([(charge, report.cost_nusd)], reason="reported by its provider")
