"""An agent's own login, passed through to its vendor untouched, and only accounted.

``omni launch --subscription`` has the agent ask here in place of its vendor: method, path, query,
headers and body go on as they came, its login among them, which is neither kept nor logged. What
the answer says of its usage is written down as imported calls are: nothing is billed for it by the
call, and omni chose no model, so it is in no budget and in no saving. Only a session that was
launched may ask, by its key in a header of its own.

Sources: Claude Code docs, "LLM gateway" (ANTHROPIC_CUSTOM_HEADERS); openai/codex, model_providers
(requires_openai_auth, http_headers).
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

from msgspec import Struct

from omni_cli.domain.chat import CompletionFolder
from omni_cli.domain.errors import ConfigError, NotFound, OmniError
from omni_cli.domain.imports import ImportedCall
from omni_cli.domain.sessions import Session
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.fleet import Fleets
from omni_cli.gateway.sessions import Sessions
from omni_cli.http.answer import Answer
from omni_cli.http.client import UpstreamPool, encode_head, locate
from omni_cli.http.request import Request, header_lines
from omni_cli.ports import HttpCall
from omni_cli.wire.framing import MAX_EVENT_BYTES
from omni_cli.wire.reader import AnswerReader
from omni_cli.wire.registry import adapter, callers
from omni_cli.wire.server import Refused

log = logging.getLogger("omni.gateway")

#: The importer's name that these calls are filed under, and the header that has a session's key.
SOURCE, KEY_HEADER = "subscription", "x-omni-key"
_SILENCE_S = 600.0
#: Of a request what is this hop's; its body comes unpacked.
_OURS = frozenset(
    {
        *("host", "connection", "keep-alive", "content-length", "transfer-encoding", "expect"),
        *("te", "trailer", "upgrade", "accept-encoding", "content-encoding"),
        *("proxy-authorization", "proxy-connection"),
    }
)
_THEIRS = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length",
                     "content-encoding", "upgrade", "trailer"})  # fmt: skip


class Vendor(Struct, frozen=True):
    """``url``: where its subscribers' clients ask, unless a provider of the fleet with this slug
    says where. ``chat``: how the path of a model's call ends. ``last``: what a stream's last event
    is called. ``bills``: whose prices say what it would have cost."""

    slug: str
    url: str
    protocol: str
    chat: str
    last: bytes
    bills: str


VENDORS: Mapping[str, Vendor] = {
    vendor.slug: vendor
    for vendor in (
        Vendor(
            "anthropic",
            "https://api.anthropic.com",
            "anthropic",
            "/messages",
            b"message_stop",
            "anthropic",
        ),
        Vendor(
            "chatgpt",
            "https://chatgpt.com/backend-api/codex",
            "openai-responses",
            "/responses",
            b"response.completed",
            "openai",
        ),
    )
}


class Subscriptions:
    """Args:
    admit: who sends these headers. Raises Refused.
    """

    def __init__(
        self,
        fleets: Fleets,
        desk: Desk,
        pool: UpstreamPool,
        sessions: Sessions,
        admit: Callable[[Mapping[str, str]], Principal],
    ) -> None:
        self._fleets = fleets
        self._desk = desk
        self._pool = pool
        self._sessions = sessions
        self._admit = admit

    async def handle(self, request: Request, _: Principal, at: dict[str, str]) -> None:
        """Raises NotFound, Refused: no such vendor, or no launched session; ProviderError: the
        vendor cannot be reached."""
        vendor = VENDORS.get(at["vendor"])
        if vendor is None:
            raise NotFound(f"no subscription of {at['vendor']!r} is passed through")
        who = self._admit({"x-api-key": request.headers.get(KEY_HEADER, "")})
        if who.session is None:
            raise Refused(403, "forbidden", "only a session that omni launch began may ask here")
        body = await request.body()
        app = self._fleets.shared.app
        session = self._session(request, vendor, body, who, app.now_ms())
        self._sessions.admit(session, who)
        provider = app.routing.provider(vendor.slug)
        base = vendor.url if provider is None else provider.base_url
        query = request.query.decode("latin-1")
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in _OURS and not name.startswith("x-omni-")
        }
        try:
            url = f"{base.rstrip('/')}/{at['rest']}{'?' if query else ''}{query}"
            origin, path, host = locate(url)
            head = encode_head(request.method, path, host, headers)
        except ValueError as exc:
            raise ConfigError(f"the request cannot be passed on: {exc}") from exc
        began_ms, is_chat = app.now_ms(), f"/{at['rest']}".endswith(vendor.chat)
        answer = await self._pool.send(origin, head, body, timeout_s=_SILENCE_S)
        folder = CompletionFolder()

        async def count() -> None:
            """Before the last byte goes out: who has the whole answer finds it in the ledger."""
            if folder.usage is not None:
                call = _call(vendor, session, folder, answer, began_ms, app.now_ms())
                folder.usage = None
                with suppress(OmniError):
                    await self._desk.do(lambda app: app.importing.record(SOURCE, [call]))

        try:
            await self._pass(request, answer, vendor, url, folder if is_chat else None, count)
        finally:
            answer.close()
            await count()

    def _session(
        self, request: Request, vendor: Vendor, body: bytes, who: Principal, now_ms: int
    ) -> Session:
        assert who.session is not None
        try:
            ask = Ask(callers(vendor.protocol)[0], body)
        except OmniError:
            return who.session
        return self._sessions.of(request.headers, ask, who, now_ms)

    async def _pass(
        self,
        request: Request,
        answer: Answer,
        vendor: Vendor,
        url: str,
        folder: CompletionFolder | None,
        count: Callable[[], Awaitable[None]],
    ) -> None:
        kind = answer.headers.get("content-type", "")
        lines = header_lines(
            [
                (name.encode("latin-1"), value.encode("latin-1", "replace"))
                for name, value in answer.headers.items()
                if name not in _THEIRS
            ]
        )
        reader = AnswerReader(
            adapter(vendor.protocol), HttpCall("POST", url, {}, None, "sse"), kind
        )
        reads = folder is not None and 200 <= answer.status < 300

        def read(data: bytes, *, end: bool = False) -> None:
            """What cannot be read is not counted; it goes on all the same."""
            nonlocal reads
            if folder is None or not reads:
                return
            try:
                for chunk in (*reader.feed(data), *(reader.end() if end else ())):
                    folder.add(chunk)
            except OmniError as exc:
                reads = False
                log.warning("an answer of %s cannot be read: %s", vendor.slug, exc.message)

        if answer.status != 200 or not kind.lower().startswith("text/event-stream"):
            whole = await answer.whole(MAX_EVENT_BYTES)
            read(whole, end=True)
            await count()
            request.respond(answer.status, lines, whole)
            return
        request.begin(lines)
        while data := await answer.read():
            answer.progress()
            read(data)
            if vendor.last in data:
                await count()
            await request.piece(data)
        await count()
        request.end()


def _call(
    vendor: Vendor,
    session: Session,
    folder: CompletionFolder,
    answer: Answer,
    began_ms: int,
    ended_ms: int,
) -> ImportedCall:
    """Of tier "free": nothing is billed by the call."""
    request_id = answer.headers.get("request-id") or answer.headers.get("x-request-id")
    ident = folder.response_id or request_id or f"{session.id}:{began_ms}"
    return ImportedCall(
        SOURCE,
        ident,
        began_ms,
        vendor.bills,
        folder.model,
        folder.usage,
        message_id=folder.response_id,
        provider_request_id=request_id,
        session_id=session.id,
        agent=session.agent or None,
        project=session.project or None,
        about=session,
        tier="free",
        latency_ms=ended_ms - began_ms,
        outcome="success",
    )
