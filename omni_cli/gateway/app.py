"""The gateway: its life, and who may ask."""

import asyncio
import logging
import random
import sys
import time
from collections.abc import Callable

from msgspec import Struct, field

from omni_cli.bootstrap import App
from omni_cli.domain.aftermath import Hint
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.domain.shadow import Shadow
from omni_cli.gateway import cors
from omni_cli.gateway.auth import KeyRing, Principal
from omni_cli.gateway.batches import BatchPaths
from omni_cli.gateway.chats import Aftermath, Chats, Classifying, Ids
from omni_cli.gateway.commands import Commands
from omni_cli.gateway.deadlines import Deadlines
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.fleet import Fleets, LiveBreakers
from omni_cli.gateway.live_status import LiveStatus
from omni_cli.gateway.long_jobs import LongJobs
from omni_cli.gateway.management import Management
from omni_cli.gateway.meter import NO_LIMIT, Meter, Quota, SharedCounts
from omni_cli.gateway.own_api import OwnApi
from omni_cli.gateway.receipts import Tools
from omni_cli.gateway.remembering import Memory
from omni_cli.gateway.routes import Route, meant
from omni_cli.gateway.sessions import Sessions
from omni_cli.gateway.shadowing import Shadowing
from omni_cli.gateway.shared_counts import StoreCounts, shared_counts
from omni_cli.gateway.stored import StoredResponses
from omni_cli.gateway.subscriptions import Subscriptions
from omni_cli.gateway.surface import Surface
from omni_cli.gateway.terminals import Terminals
from omni_cli.gateway.traces import Traces
from omni_cli.http.client import UpstreamPool
from omni_cli.http.environment import Proxies
from omni_cli.http.outside import Guarded
from omni_cli.http.request import Gone, Limits, Request
from omni_cli.http.server import ServerState
from omni_cli.records import SCOPES
from omni_cli.services.engine.commits import Commits
from omni_cli.services.judge.alerts import budget_alerts
from omni_cli.wire.server import Refused

log = logging.getLogger("omni.gateway")

#: How often the same failure is logged again, seconds.
_AGAIN_S = 30.0


class Watcher:
    """Does ``work`` every ``period_s`` seconds. What it raises is logged and counted, and it goes
    on: a watcher that ended would leave a revoked key valid for good.

    Args:
        name: what it looks at, for the log.
    """

    def __init__(self, name: str, period_s: float, work: Callable[[], None]) -> None:
        self.name = name
        self.failures = 0
        #: Why it failed the last time, "" when it did not.
        self.trouble = ""
        self._period_s = period_s
        self._work = work
        self._told_at = -_AGAIN_S
        self._stopped = False
        self._task = self._begin()

    def _begin(self) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(self._run())
        task.add_done_callback(self._ended)
        return task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._period_s)
            self.look()

    def look(self) -> None:
        """Once, now."""
        try:
            self._work()
        except OmniError as exc:
            self._failed(exc.message)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the next look may be better
            self._failed(f"{type(exc).__name__}: {exc}")
        else:
            if self.trouble:
                log.warning("%s: well again", self.name)
                self.trouble = ""

    def _failed(self, why: str) -> None:
        self.failures += 1
        now = time.monotonic()
        if why != self.trouble or now - self._told_at >= _AGAIN_S:
            self._told_at = now
            log.error("%s failed, trying again: %s", self.name, why)
        self.trouble = why

    def _ended(self, task: "asyncio.Task[None]") -> None:
        if self._stopped or asyncio.get_running_loop().is_closed():
            return
        self.failures += 1
        why = "cancelled" if task.cancelled() else repr(task.exception())
        log.error("%s ended (%s); starting it again", self.name, why)
        self._task = self._begin()

    def stop(self) -> None:
        self._stopped = True
        self._task.cancel()


#: How often the store is looked at for changes, and streams are written down, seconds.
_POLL_S = 0.25
#: How long a thread keeps the interpreter from the others, seconds (by default ten times as long).
_SWITCH_S = 0.0005
#: How long the event loop waits for an answer of the store, and when it asks no more, seconds.
_PATIENCE_S = 2.0
_SAVE_S = 1.0
#: How often requests are held against what they may take, seconds.
_LIMIT_S = 1.0
_RECOVER_S = 30.0
_WATCH_S = 5.0
_BATCHES_S = 15.0
#: How often it is asked whether old requests are to be removed, which is once a day.
_RETENTION_S = 600.0
_ANYBODY = Principal()


class Options(Struct, frozen=True):
    """How a gateway runs.

    ``require_key``: also on this machine, also where no key was ever made. ``origins``: web
    pages that may ask. ``org``: what each organisation may use. ``workers``: processes that
    share the limits. ``notice_s``: seconds that a gateway serves on once
    it has said that it will end.
    """

    limits: Limits = field(default_factory=Limits)
    require_key: bool = False
    origins: tuple[str, ...] = ()
    org: Quota = NO_LIMIT
    workers: int = 1
    notice_s: float = 0.0


class Gateway:
    """Args:
    app: where the fleet is; others are made of it for writing and for reports.
    """

    def __init__(self, app: App, options: Options | None = None) -> None:
        self._app = app
        self._options = options or Options()
        self._watchers: list[Watcher] = []
        #: The callers' connections, once there is a server.
        self.state: ServerState | None = None
        #: Why nobody is served: the store is gone, or cannot be read.
        self._lost: OmniError | None = None
        #: It was asked to end, and serves those who come meanwhile.
        self.leaving = False
        self._ids = Ids(app.now_ms)
        self._version = -1
        self._looking: asyncio.Task[None] | None = None
        self._retaining: asyncio.Task[None] | None = None
        self._stopped = False

    # --- life ---------------------------------------------------------------------------------

    @property
    def limits(self) -> Limits:
        return self._options.limits

    def start(self) -> None:
        """Open the store and begin to look after it. Raises StoreError, ConfigError."""
        options = self._options
        self._writing = writing = App(self._app.env, clock=self._app.clock, durable=False)
        self._commits = Commits(writing.writer, new_id=self._ids, note=log.warning)
        self._commits.start()
        store = self._app.store
        store.bears_s = max(store.bears_s, writing.writer.away_s)
        store.hurry(_PATIENCE_S)
        if store.remote:  # batches are written in a thread, which the loop must not wait for
            sys.setswitchinterval(_SWITCH_S)
        self._keys = KeyRing(
            self._app.client_keys,
            clock=self._app.clock,
            always=options.require_key,
            origins=options.origins,
            used=self._note_use,
        )
        self._fleets = fleets = Fleets(
            self._app,
            lambda changed: LiveBreakers(
                writing.stored_breakers,
                seen=self._app.stored_breakers.all,
                later=self._commits.job,
                changed=changed,
            ),
        )
        fleet = fleets.shared
        self._guarded = Guarded(self._app.origins)  # where organisations' own providers are
        self._pool = UpstreamPool(proxies=Proxies(self._app.env), outside=self._guarded)
        self._traces = Traces.of(self._app.env)
        deadlines = Deadlines(self._pool.loop)
        tools = Tools(fleet, self._pool, self._commits, random.Random(), deadlines, self._traces)
        self._staying = tools.staying
        self._meter = Meter(options.org, share=1 / options.workers, shared=self._shared_counts())
        self._desk = Desk(self._app)
        own = OwnApi(fleets, self._desk, self._trouble, self._figures)
        memory = Memory(fleet, self._commits, writing)
        sessions = Sessions(lambda row: self._commits.job(lambda: writing.sessions.note([row])))
        self._sessions = sessions
        self._shadowing = Shadowing(self._app, deadlines)
        self._classifying = Classifying(self._app)
        chats = Chats(
            tools,
            fleets,
            self._commits,
            self._meter,
            self._ids,
            self._app.now_ms,
            memory,
            lambda: writing.abtests,
            sessions,
            self._shadowing,
            Aftermath(lambda request, found: self._commits.job(_hint(writing, request, found))),
            self._classifying,
            lambda: writing.learning,
        )
        self._long = LongJobs(self._app)
        stored = StoredResponses(fleets, self._desk, self._pool, self._meter)
        live = LiveStatus(self._desk, self._keys.admit)
        self._terminals = Terminals(self._app, self._keys.admit)
        commands = Commands(self._app)
        management = Management(self._desk, own, self._long, commands, live, self._terminals)
        self._batches = BatchPaths(self._app, self._pool, self._meter)
        subscribed = Subscriptions(fleets, self._desk, self._pool, sessions, self._keys.admit)
        self._surface = Surface(fleets, chats, own, management, stored, self._batches, subscribed)
        self._recover()
        self._commits.reclaim = self._recover
        self._watchers = [
            Watcher("watching the store", _POLL_S, self._poll),
            Watcher("watching the fleet", _POLL_S, self._fleet_poll),
            Watcher("writing down streams", _SAVE_S, tools.save_streams),
            Watcher("watching time limits", _LIMIT_S, deadlines.sweep),
            Watcher("closing what dead processes left", _RECOVER_S, self._recover),
            Watcher("watching budgets and deploys", _WATCH_S, self._look),
            Watcher("settling batches", _BATCHES_S, self._batches.sync),
            Watcher("removing old requests", _RETENTION_S, self._retain),
        ]

    async def stop(self) -> None:
        """Write what is left, close what is open. Requests under way were waited for before."""
        for watcher in self._watchers:
            watcher.stop()
        self._stopped = True
        for task in (self._looking, self._retaining):
            if task is not None:
                await asyncio.wait([task])
        await self._terminals.close()
        await self._long.close()
        await self._shadowing.close()
        await asyncio.to_thread(self._classifying.close)
        await self._batches.close()
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        await self._leave_answers()
        self._pool.close()
        await self._meter.close()
        await asyncio.sleep(0)
        try:
            await self._commits.close()
        finally:
            self._desk.close()
            self._writing.close()
            self._app.close()

    async def _leave_answers(self) -> None:
        """Give up answers whose callers have gone: what they may cost stays held."""
        for call in list(self._staying):
            call.give_up()
        for _ in range(100):
            if not self._staying:
                break
            await asyncio.sleep(0.01)

    def _shared_counts(self) -> SharedCounts | None:
        counts = shared_counts(self._app.env)
        if counts is None and (limits := self._app.place.limits()) is not None:
            return StoreCounts(limits)
        return counts

    def _note_use(self, key: str, now_ms: int) -> None:
        keys = self._writing.client_keys
        self._commits.job(lambda: keys.used(key, now_ms=now_ms))

    def _poll(self) -> None:
        """Nobody is served by what cannot be known any more: keys, budgets, the ledger."""
        store = self._app.store
        try:
            store.check_file()
            if store.remote:  # how long it may stay away was decided there
                self._lost = None
            version = store.data_version(calls=False)
            # Somebody wrote: a key may be revoked.
            if version != self._version and store.away_s() < _PATIENCE_S:
                self._keys.reload()
                self._sessions.stopped = self._app.sessions.stopped()
                self._version = version
        except OmniError as exc:
            if not store.remote or store.away_s() > store.bears_s:
                self._lost = exc
            raise
        self._lost = None

    def _fleet_poll(self) -> None:
        silent = self._app.store.away_s() >= _PATIENCE_S
        if self._lost is None and not silent and self._fleets.poll():
            self._guarded.renew()
            self._look()  # a shadow may have begun, or ended

    def _trouble(self) -> str:
        """Why this process should get no callers; "" when it should."""
        if self._lost is not None:
            return self._lost.message
        return "ending" if self.leaving else ""

    def _figures(self) -> dict[str, int]:
        """For metrics, of this process."""
        state = self.state
        return {
            "connections": 0 if state is None else len(state.connections),
            "idle_connections_closed_total": 0 if state is None else state.put_out,
            "callers_turned_away_total": 0 if state is None else state.turned_away,
            "shadowed_total": self._shadowing.paired,
            "shadows_dropped_total": self._shadowing.dropped,
            "watch_failures_total": sum(watcher.failures for watcher in self._watchers),
        }

    def _recover(self) -> None:
        """Close what dead processes left open."""
        ledger = self._writing.ledger
        self._commits.beside(
            lambda: ledger.catch_up() and (bool(ledger.abandoned()) or ledger.forsaken()),
            lambda: self._commits.job(lambda: _call(self._writing.recovery.run)),
        )

    def _look(self) -> None:
        """At budgets, the deploy under way, and models that change. Alerts go where the settings
        say, as those of ``omni watch``, and to the log."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.get_running_loop().create_task(self._look_now())

    def _retain(self) -> None:
        """What the settings do not keep goes, in a thread: it takes as long as it takes."""
        keeps = not self._app.config.store.keep_days
        if keeps or (self._retaining is not None and not self._retaining.done()):
            return

        def retain() -> None:
            with App(self._app.env, clock=self._app.clock, org="") as app:
                done = app.maintenance.retain(lambda: not self._stopped)
            if done is not None and done.removed:
                log.info("removed %d old requests (store.keep_days)", done.removed)

        async def run() -> None:
            try:
                await asyncio.to_thread(retain)
            except OmniError as exc:
                log.warning("old requests were not removed: %s", exc.message)

        self._retaining = asyncio.get_running_loop().create_task(run())

    async def _look_now(self) -> None:
        try:
            self._shadowing.running = await self._desk.do(_tell)
        except OmniError as exc:
            log.warning("budgets, deploys and drift are not looked at: %s", exc.message)

    # --- requests -----------------------------------------------------------------------------

    async def handle(self, request: Request) -> None:
        """Answer one request; whatever goes wrong is told to its caller."""
        try:
            origin = request.headers.get("origin")
            if origin is not None and await self._at_page(request, origin):
                return
            found = self._surface.router.find(request.method, request.path)
            if found is None:
                found = self._meant(request)
            route, at = found
            if self._lost is not None and route.access != "open":
                raise self._lost
            who = _ANYBODY if route.access == "open" else self._keys.admit(request.headers)
            if route.access in SCOPES and not who.may(route.access):
                raise _too_little(who, request, route.access)
            if route.whole and who.org:
                raise Refused(
                    403,
                    "forbidden",
                    f"{request.path} is of the whole fleet: a key of {who.org} has no part in it",
                    hint="a key of no organisation has: omni keys create --scope SCOPE",
                )
            await route.handler(request, who, at)
        except Gone:
            pass
        except OmniError as exc:
            await self._refuse(request, exc)
        except Exception:
            # Its place, not its words: these may hold what a caller sent.
            log.exception("unexpected error at %s %s", request.method, request.path)
            if not request.begun:
                error = OmniError("an unexpected error; the gateway's log has it")
                await self._refuse(request, error)

    async def _at_page(self, request: Request, origin: str) -> bool:
        """A web page asks: what its browser wants to hear. Returns whether that is all."""
        named = cors.is_named(origin, self._options.origins)
        if named:
            request.extra = cors.answer_lines(origin)
        if not cors.is_preflight(request.method, request.headers):
            return False
        if not named:
            raise Refused(403, "forbidden", "no --origin of omni serve names this page")
        request.respond(200, cors.preflight_lines(request.headers), b"")
        return True

    def _meant(self, request: Request) -> tuple[Route, dict[str, str]]:
        """The route of a path that is nearly right. Raises Refused: there is none."""
        router = self._surface.router
        if not router.methods(request.path):
            for path in meant(request.path):
                if found := router.find(request.method, path):
                    request.path = path
                    return found
        raise self._unknown(request)

    def _unknown(self, request: Request) -> Refused:
        methods = self._surface.router.methods(request.path)
        if methods:
            return Refused(405, "method_not_allowed", f"{request.path} takes {', '.join(methods)}")
        near = ", ".join(self._surface.router.near(request.path))
        return Refused(
            404,
            "not_found",
            f"no such path: {request.path}",
            hint=f"there are {near}; GET /openapi.json lists all"
            if near
            else "a client's base URL is this address, or, for OpenAI's, the address and /v1; "
            "GET /openapi.json lists all paths",
        )

    async def _refuse(self, request: Request, error: OmniError) -> None:
        caller = self._surface.caller_of(request.path)
        request_id = f"req_{id_text(self._ids())}"
        body = caller.error(error, request_id)
        await request.refuse(error, body, (caller.request_id, request_id))


def _too_little(who: Principal, request: Request, scope: str) -> Refused:
    has = f"its scope is {who.scope}" if who.scope else "it has none"
    return Refused(
        403,
        "forbidden",
        f"{request.method} {request.path} needs a key of scope {scope}: {has}",
        hint=f"omni keys create --scope {scope} makes one",
    )


def _hint(app: App, request: int, found: Hint) -> Callable[[], None]:
    return lambda: _call(lambda: app.ratings.hint(request, found))


def _call(work: Callable[[], object]) -> None:
    work()


def _tell(app: App) -> dict[str, Shadow]:
    """In the desk's thread. Returns the shadows that run, by role."""
    alerter = app.alerter(lambda alert: log.warning("%s: %s", alert.title, alert.text))
    money = budget_alerts(app.budget_admin.statuses())
    for alert in (*money, *app.deploys.check(), *app.drift.alerts()):
        alerter.consider(alert)
    alerter.finish()
    return {shadow.role: shadow for shadow in app.shadow.every()}
