"""Providers' health as a live stream: server-sent events, or a WebSocket where one is wanted."""

import asyncio
from collections.abc import Callable, Mapping
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
    """Args:
    admit: who sends these headers now. Raises Refused.
    """

    def __init__(self, desk: Desk, admit: Callable[[Mapping[str, str]], Principal]) -> None:
        self._desk = desk
        self._admit = admit
        self._streams = 0
        self._room = asyncio.Lock()
        #: What was told last, and when, by organisation.
        self._told: dict[str, tuple[float, dict[str, Any]]] = {}

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
        while not (left.is_set() or request.ending) and self._welcome(request):
            document = await self._document(who, fresh=not seen)
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

    def _welcome(self, request: Request) -> bool:
        """Whether its key is still good: one that is revoked hears no more."""
        try:
            return self._admit(request.headers).may("read")
        except Refused:
            return False

    async def _document(self, who: Principal, *, fresh: bool) -> dict[str, Any]:
        """Worked out once a look, however many streams there are: the desk has other work.

        Who begins to listen hears what is so now (``fresh``), as who asks for it does.
        """
        async with self._room:
            now = asyncio.get_running_loop().time()
            self._told = {o: t for o, t in self._told.items() if now - t[0] < _LOOK_S / 2}
            if fresh or who.org not in self._told:
                document = await self._desk.do(
                    lambda app: SpecDocuments.status(app.reporter.report()), who
                )
                self._told[who.org] = (now, document)
            return self._told[who.org][1]
