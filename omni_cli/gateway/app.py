"""The gateway as an ASGI application: finds who answers a path, and who may ask."""

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import RANDOM_BITS, id_text, make_id
from omni_cli.domain.ledger import NewRequest
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.breakers import LiveBreakers
from omni_cli.gateway.commits import Commits
from omni_cli.gateway.exchange import Exchange, Tools, forwarded_headers
from omni_cli.gateway.fleet import Fleet, Plan
from omni_cli.gateway.http import Gone, Limits, Receive, Request, Scope, Send, Watch
from omni_cli.gateway.protocols.base import Caller, Refused
from omni_cli.gateway.protocols.openai_chat import OpenAiChat
from omni_cli.gateway.receipts import Receipt, Streams
from omni_cli.gateway.upstream import UpstreamPool
from omni_cli.store.batch_writer import BatchWriter

log = logging.getLogger("omni.gateway")

#: How often the store is looked at for changes of the fleet, and streams are written down.
_POLL_S = 0.25
_SAVE_S = 1.0
_RECOVER_S = 30.0


@dataclass(frozen=True, slots=True)
class Options:
    """How a gateway runs."""

    limits: Limits = field(default_factory=Limits)


class Gateway:
    """Args:
    app: where the fleet is; a second one is made for writing.
    """

    def __init__(self, app: App, options: Options | None = None) -> None:
        self._app = app
        self._options = options or Options()
        self._ids = secrets.randbits(RANDOM_BITS)
        self._tasks: list[asyncio.Task[None]] = []
        self._openai = OpenAiChat()
        self._posts: dict[str, Callable[[Request], Awaitable[None]]] = {
            "/v1/chat/completions": lambda request: self._chat(self._openai, request),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(Request.of(scope, receive, send, self._options.limits))
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})

    # --- life ---------------------------------------------------------------------------------

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self.start()
                except OmniError as exc:
                    await send({"type": "lifespan.startup.failed", "message": exc.message})
                    return
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.stop()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def start(self) -> None:
        """Open the store and begin to look after it. Raises StoreError, ConfigError."""
        self._writing = App(self._app.env, clock=self._app.clock, durable=False)
        writing = self._writing
        writer = BatchWriter(writing.store, writing.ledger, writing.budgets)
        self._commits = Commits(
            writer, store_path=self._app.paths.store, new_id=self._new_id, note=log.warning
        )
        self._commits.start()
        self.fleet = Fleet(self._app)
        self.fleet.use(
            LiveBreakers(
                writing.breakers,
                later=self._commits.job,
                changed=self.fleet.breakers_changed,
            )
        )
        self.fleet.poll()
        self._streams = Streams(self._commits)
        self._pool = UpstreamPool()
        self._tools = Tools(self.fleet, self._pool, self._streams, random.Random())
        self._recover()
        for period, work in (
            (_POLL_S, self._poll),
            (_SAVE_S, self._streams.save),
            (_RECOVER_S, self._recover),
        ):
            self._tasks.append(asyncio.get_running_loop().create_task(_every(period, work)))

    async def stop(self) -> None:
        """Write what is left, close what is open. Requests under way were waited for before."""
        for task in self._tasks:
            task.cancel()
        self._pool.close()
        await asyncio.sleep(0)
        try:
            await self._commits.close()
        finally:
            self._writing.close()
            self._app.close()

    def _poll(self) -> None:
        self.fleet.poll()

    def _recover(self) -> None:
        recovery = self._writing.recovery
        if self._writing.ledger.abandoned():
            self._commits.job(lambda: _run(recovery.run))

    def _new_id(self) -> int:
        # Counted, not drawn: two of one process never share an id.
        self._ids += 1
        return make_id(self._app.now_ms(), self._ids)

    # --- requests -----------------------------------------------------------------------------

    async def _http(self, request: Request) -> None:
        handler = self._posts.get(request.path) if request.method == "POST" else None
        if handler is None:
            await request.json({"error": {"message": f"no such path: {request.path}"}}, 404)
            return
        with suppress(Gone):
            await handler(request)

    async def _chat(self, caller: Caller, request: Request) -> None:
        ident = self._new_id()
        request_id = f"req_{id_text(ident)}"
        exchange: Exchange | None = None
        watch: Watch | None = None
        try:
            ask = Ask(
                caller, await request.body(), forwarded=forwarded_headers(request.headers, ())
            )
            plan = self.fleet.named(ask.model)
            if plan is None:
                raise Refused(501, "not_yet", "auto")
            receipt = Receipt(
                self._commits, self.fleet, self._new_request(ident, plan), plan.decision
            )
            exchange = Exchange(self._tools, ask, plan, receipt, request.send, request_id)
            watch = Watch(request.receive)
            await exchange.run()
        except OmniError as exc:
            if exchange is not None and exchange.started:
                raise
            body = caller.error(exc, request_id)
            await request.refuse(exc, body, (caller.request_id, request_id))
        except asyncio.CancelledError:
            if watch is None or not (watch.gone or exchange is None):
                raise
        finally:
            if watch is not None:
                watch.end()

    def _new_request(self, ident: int, plan: Plan) -> NewRequest:
        task = plan.task
        return NewRequest(
            id=ident,
            created_at=self._app.now_ms(),
            source="gateway",
            owner=self._commits.owner,
            role=plan.role,
            task="" if task is None else task.task_type,
            complexity="" if task is None else task.complexity,
            difficulty=None if task is None else task.difficulty,
            chain=plan.chain,
        )


def _run(work: Callable[[], object]) -> None:
    work()


async def _every(seconds: float, work: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        try:
            work()
        except OmniError as exc:
            log.warning("%s", exc.message)
