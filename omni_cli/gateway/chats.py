"""Requests that a model answers: who may, who is to, and the exchange between them."""

import asyncio
import secrets
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from omni_cli.bootstrap import App
from omni_cli.domain.aftermath import Hint, asked_before, digest, hint
from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.errors import NoRoute, NotFound, OmniError, UsageError
from omni_cli.domain.ids import RANDOM_BITS, id_text, make_id
from omni_cli.domain.ledger import NewRequest
from omni_cli.domain.record import replace
from omni_cli.domain.sessions import Session
from omni_cli.domain.shadow import AUTO
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.exchange import Exchange
from omni_cli.gateway.fleet import Fleet, Fleets
from omni_cli.gateway.meter import Entry, Meter
from omni_cli.gateway.options import from_headers, hedge_s, limit_s
from omni_cli.gateway.plans import Plan, PlanQuery
from omni_cli.gateway.receipts import Tools, receipt_headers
from omni_cli.gateway.remembering import Memory
from omni_cli.gateway.sessions import Sessions
from omni_cli.gateway.shadowing import Shadowing
from omni_cli.http.request import Request
from omni_cli.repositories import Learning
from omni_cli.services.engine.checks import Check, checks_for, learn
from omni_cli.services.engine.commits import Commits
from omni_cli.services.engine.names import AmbiguousName, Selector, shown
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.services.judge.abtest import AbTests, Arm
from omni_cli.wire.server import Caller, Refused

#: Classifications at once.
_AT_ONCE = 8


class Classifying:
    """Args:
    app: made into one for each thread.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self._pool: ThreadPoolExecutor | None = None
        self._own = threading.local()
        self._made: list[App] = []
        self._known: dict[bytes, str] = {}

    async def of(self, request: ChatRequest, name: str, key: str) -> str | None:
        """The type of a request by the model that ``name`` is, None where it does not say.

        Args:
            key: the caller's, whose budgets hold for this, too.
        """
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_AT_ONCE, "classifying")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._ask, request, name, key)

    def _ask(self, request: ChatRequest, name: str, key: str) -> str | None:
        app: App | None = getattr(self._own, "app", None)
        if app is None:
            app = self._own.app = App(self._app.env, clock=self._app.clock, org="")
            self._made.append(app)
        if app.classifier.name != name:  # the setting is another now
            app.refresh()
        app.classifier.known = self._known
        return app.classifier.of(request, key)

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
        for app in self._made:
            app.close()


#: Prompts that are known again.
_KNOWN = 4096


class Aftermath:
    """Args:
    note: writes an outcome of a request down, with the next batch.
    """

    def __init__(self, note: Callable[[int, Hint], None]) -> None:
        self._note = note
        self._answered: dict[bytes, int] = {}

    def look(self, ask: Ask) -> bytes:
        """What a request tells of the one before; returns the mark to keep once it is answered.

        Raises BadRequest: the body cannot be read.
        """
        messages = ask.parsed().request.messages
        mark = digest(messages)
        again = self._answered.pop(mark, None)
        if again is not None:
            self._note(again, Hint("retry", 0.0, "the same prompt came again"))
            return mark
        before = asked_before(messages)
        request = self._answered.pop(digest(before), None) if before else None
        found = None if request is None else hint(messages)
        if request is not None and found is not None:
            self._note(request, found)
        return mark

    def answered(self, mark: bytes, request: int) -> None:
        while len(self._answered) >= _KNOWN:
            del self._answered[next(iter(self._answered))]
        self._answered[mark] = request


class Ids:
    """Ids of requests, counted on from a random start: one process never gives one twice."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._next = secrets.randbits(RANDOM_BITS)

    def __call__(self) -> int:
        self._next += 1
        return make_id(self._now_ms(), self._next)


#: An ask and how it is to be served; None: as its headers say.
Wish = tuple[Ask, RouteOptions | None]


class Chats:
    """Args:
    now_ms: the clock of the ledger.
    """

    def __init__(
        self,
        tools: Tools,
        fleets: Fleets,
        commits: Commits,
        meter: Meter,
        ids: Ids,
        now_ms: Callable[[], int],
        memory: Memory,
        abtests: Callable[[], AbTests],
        sessions: Sessions,
        shadowing: Shadowing,
        aftermath: Aftermath,
        classifying: Classifying,
        learning: Callable[[], Learning],
    ) -> None:
        self._classifying = classifying
        self._aftermath = aftermath
        self._sessions = sessions
        self._shadowing = shadowing
        self._learning = learning
        self._memory = memory
        self._abtests = abtests
        self._tools = tools
        self._fleets = fleets
        self._commits = commits
        self._meter = meter
        self._ids = ids
        self._now_ms = now_ms

    async def handle(
        self,
        caller: Caller,
        request: Request,
        who: Principal,
        _: Mapping[str, str] | None = None,  # what its route found in the path
        *,
        wish: Callable[[bytes], Wish] | None = None,
    ) -> None:
        """Answer one request, or refuse it in the caller's protocol.

        Args:
            wish: makes the ask from the body; by default it is the protocol's own.
        """
        ident = self._ids()
        name = id_text(ident)
        request_id = f"req_{name}"
        call: Exchange | None = None
        entry: Entry | None = None
        error: BaseException | None = None
        try:
            body = request.content() if request.complete else await request.body()
            if wish is None:
                told = {n: request.headers[n] for n in caller.forwards if n in request.headers}
                ask, options = Ask(caller, body, forwarded=told), None
            else:
                ask, options = wish(body)
            if options is None:
                options = from_headers(request.headers, self._tools.fleet.options)
            now_ms = self._now_ms()
            session = self._sessions.of(request.headers, ask, who, now_ms)
            if self._sessions.stopped:
                self._sessions.admit(session, who)
            warm = self._sessions.warm(session, now_ms) if session.id else None
            if warm is not None or (session.agent and options.agent is None):
                agent = options.agent or session.agent
                options = replace(options, agent=agent, conversation_model=warm)
            mark = None
            learns = self._tools.fleet.app.config.routing.learn_from_next_turns
            if learns and session.agent and not who.org:
                mark = self._aftermath.look(ask)
            check = _check(ask) if options.escalate else None
            model = self._tools.fleet.app.config.routing.classifying_model
            if model and options.task_type is None and not who.org and self._free(ask):
                if self._meter.limits(who):  # it costs something
                    entry = await self._meter.enter(who, len(body) // 4)
                    request.extra += entry.lines()
                found = await self._classifying.of(ask.request, model, who.key)
                options = options if found is None else replace(options, task_type=found)
            plan = self._plan(ask, options, request, who)
            if entry is None and self._meter.limits(who):
                entry = await self._meter.enter(who, len(body) // 4)
                request.extra += entry.lines()
            row, most = self._row(ident, plan, options, who, session), options.max_cost_nusd
            tools = self._tools
            if who.org and (fleet := self._fleets.of(who.org)) is not tools.fleet:
                tools = replace(tools, fleet=fleet)
            call = Exchange(tools, ask, plan, row, request, request_id, name, most)
            if plan.arm is not None:
                self._join(plan.arm, plan.conversation or ident)
            if self._tools.traces is not None:
                call.trace = self._tools.traces.request(request.headers, ask.model, ask.operation)
            if plan.asked is not None and self._memory.applies(ask, plan, request):
                remembered = self._memory.look(plan)
                if remembered is not None:
                    await self._memory.answer(call, remembered)
                    return
                call.cached = "miss"
            if (plan.role or not (plan.named or plan.chain)) and not who.org:
                call.shadow = self._shadowing.chosen(plan.role or AUTO, ident)
            if check is None:
                call.hedge_s = hedge_s(request.headers, plan.hedge_ms)
            else:
                call.accept = check
            request.stops_when_gone = True
            await call.run(limit_s(request.headers, request.limits.request_s))
            if check is not None:
                self._learn(call)
            if session.id and call.asked is not None:
                self._sessions.answered(session, call.asked.model.id, self._now_ms())
            if mark is not None:
                self._aftermath.answered(mark, call.new.id)
            if call.cached:
                self._memory.keep(call)
            if call.shadow is not None:
                self._shadowing.offer(call, call.shadow)
        except OmniError as exc:
            error = exc
            if call is not None and call.started:
                raise
            refusal = caller.error(exc, request_id)
            await request.refuse(
                exc, refusal, (caller.request_id, request_id), receipt_headers(call)
            )
        except asyncio.CancelledError as exc:
            error = exc
            if not request.gone:
                raise
        finally:
            if call is not None and call.trace is not None:
                call.trace.end(call.name, call.total_nusd, error)
            request.stops_when_gone = False
            if entry is not None:
                entry.leave(0 if call is None else call.usage.total_tokens)

    def _learn(self, call: Exchange) -> None:
        attempts, task, ident = call.progress.attempts, call.plan.task, call.new.id
        if task is not None:
            now, kind, form = self._now_ms(), task.task_type, task.form
            self._commits.job(
                lambda: learn(
                    self._learning(), attempts, request=ident, at_ms=now, task=kind, form=form
                )
            )

    def _free(self, ask: Ask) -> bool:
        """Whether the choice hangs on what kind of job it is."""
        if ask.operation != "chat":
            return False
        return self._tools.fleet.selector(ask.model).kind in ("auto", "role")

    def _join(self, arm: Arm, unit: int) -> None:
        """Count the request in its A/B test, with the next batch that is written."""
        self._commits.job(lambda: self._abtests().join(arm, unit))

    def _plan(self, ask: Ask, options: RouteOptions, request: Request, who: Principal) -> Plan:
        """Who is to answer.

        Raises:
            NotFound, UsageError: the model's name, or an option, is wrong.
            Refused: the key may not call it.
            NoRoute, BudgetExceeded, UnknownPrice: no model may take it, or none at that cost.
        """
        fleet = self._fleets.of(who.org)
        try:
            if who.models and not fleet.usable(fleet.selector(ask.model), who.may_call):
                # In the caller's word: an alias must not tell what it stands for.
                raise Refused(403, "forbidden", f"this key may not call {shown(ask.model)}")
            return self._plan_of(fleet, ask, options, request, who)
        except NotFound as exc:
            if not exc.hint:
                exc.hint = fleet.near(ask.model, who.may_call)
            raise
        except AmbiguousName as exc:
            if who.models:
                raise UsageError(f"{shown(ask.model)} may mean several models") from exc
            raise
        except NoRoute as exc:
            if who.models:  # its words tell of every model that was thought of
                raise NoRoute("no model that this key may call can take it") from exc
            raise

    def _plan_of(
        self, fleet: Fleet, ask: Ask, options: RouteOptions, request: Request, who: Principal
    ) -> Plan:
        most = options.max_cost_nusd
        falls_back = request.headers.get("x-omni-fallback", "") in ("1", "true", "yes")
        plan: Plan | None = None
        if ask.operation != "chat":
            plan = fleet.direct(ask.model)
        elif not (falls_back or options.escalate) and most is None:
            # Else the plan depends on the request.
            plan = fleet.named(ask.model)
        if plan is None:
            selector: Selector = fleet.selector(ask.model)
            query = PlanQuery(
                ask.request, selector, options, who.org, who.key, falls_back, bool(who.models)
            )
            plan = fleet.decide(query, allowed=who.may_call)
        elif who.models and not who.may_call(plan.targets[0].model.id):
            raise Refused(403, "forbidden", f"this key may not call {shown(ask.model)}")
        return plan

    def _row(
        self, ident: int, plan: Plan, options: RouteOptions, who: Principal, session: Session
    ) -> NewRequest:
        task = plan.task
        return NewRequest(
            id=ident,
            created_at=self._now_ms(),
            source="gateway",
            owner=self._commits.owner,
            org=who.org,
            key=who.key,
            role=plan.role,
            agent=options.agent or "",
            task=options.task_type or "" if task is None else task.task_type,
            complexity="" if task is None else task.complexity,
            difficulty=None if task is None else task.difficulty,
            conversation=plan.conversation,
            chain=plan.chain,
            session=session.id,
            project=session.project,
        )


def _check(ask: Ask) -> Check:
    """Raises UsageError: what it asks for is not checked."""
    if ask.operation != "chat":
        raise UsageError(f"x-omni-escalate checks answers of chats, not of /{ask.operation}")
    if ask.stream:
        raise UsageError(
            "x-omni-escalate checks whole answers, and this one is streamed",
            hint="send it without stream, or stream without x-omni-escalate",
        )
    return checks_for(ask.request)
