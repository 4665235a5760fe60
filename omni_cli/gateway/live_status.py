"""Providers' health as a live stream: server-sent events, or a WebSocket where one is wanted."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from omni_cli.domain.errors import UsageError
from omni_cli.domain.record import replace
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.own_api import query_of
from omni_cli.http.request import Request, header_lines
from omni_cli.http.websocket import WebSocket
from omni_cli.services.fleet.organisation import check_org
from omni_cli.services.judge.spec_documents import SpecDocuments
from omni_cli.wire.server import Refused, encode, sse

#: How often a live stream looks for a change, and says that it is still there, seconds.
_LOOK_S = 1.0
_ALIVE_S = 15.0
#: Most live streams at once.
_MOST_STREAMS = 64


def as_org(who: Principal, org: str) -> Principal:
    """Who asks, as one of an organisation that is named. Raises UsageError, Refused."""
    if not org or org == who.org:
        return who
    if who.org:
        raise Refused(403, "forbidden", f"this key is of {who.org}, not of {org}")
    return replace(who, org=check_org(org))


class LiveStatus:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._streams = 0

    async def handle(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        """One event now, and one at each change; comments, or pings, keep the connection open."""
        who = as_org(who, query_of(request).get("org", ""))
        if self._streams >= _MOST_STREAMS:
            raise UsageError("too many live streams are open")
        self._streams += 1
        left = asyncio.Event()
        request.on_gone = left.set
        try:
            socket = await WebSocket.accept(request, left.set)
            if socket is None:
                headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
                request.begin(header_lines(headers))
                await self._tell(
                    request, who, left, lambda told: sse(told, "status"), b": alive\n\n"
                )
                request.end()
            else:
                await self._tell(
                    request, who, left, lambda told: socket.text(encode(told)), socket.ping
                )
                socket.close()
        finally:
            self._streams -= 1

    async def _tell(
        self,
        request: Request,
        who: Principal,
        left: asyncio.Event,
        event: Callable[[dict[str, Any]], bytes],
        alive: bytes | Callable[[], bytes],
    ) -> None:
        seen, quiet_s = "", 0.0
        while not (left.is_set() or request.ending):
            document = await self._desk.do(
                lambda app: SpecDocuments.status(app.reporter.report()), who
            )
            told = str([(p["id"], p["status"], p["last_error"]) for p in document["providers"]])
            piece = b""
            if told != seen:
                seen, piece = told, event(document)
            elif quiet_s >= _ALIVE_S:
                piece = alive if isinstance(alive, bytes) else alive()
            if piece:
                quiet_s = 0.0
                await request.piece(piece)
            quiet_s += _LOOK_S
            with suppress(TimeoutError):
                await asyncio.wait_for(left.wait(), _LOOK_S)
