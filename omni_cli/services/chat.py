"""One chat: decide, open the ledger row, dispatch, settle, report."""

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from omni_cli.domain.chat import ChatChunk, ChatRequest, Completion, Message, Usage
from omni_cli.domain.errors import (
    BudgetExceeded,
    Cancelled,
    NoRoute,
    NotFound,
    OmniError,
    UnknownPrice,
)
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import NewRequest, RequestEnd, RequestRow, RequestState, Source
from omni_cli.domain.models import Chain
from omni_cli.domain.preferences import PRIORITIES
from omni_cli.domain.routing import Decision
from omni_cli.ports import Clock
from omni_cli.repositories import (
    Assignments,
    Conversations,
    Learning,
    Ledger,
    Models,
    Providers,
)
from omni_cli.services.answer_cache import AnswerCache, Remembered
from omni_cli.services.attempts import Consent, Progress, Target
from omni_cli.services.cascade import ladder
from omni_cli.services.checks import Check, checks_for
from omni_cli.services.dispatch import Dispatcher
from omni_cli.services.names import Names, Selector
from omni_cli.services.prices import PriceBook, cost_or_none
from omni_cli.services.recovery import Recovery
from omni_cli.services.routing import RouteOptions, RoutingService, decision_document

_TITLE_CHARS = 60
#: Sources whose requests may be in an A/B test: comparisons and probes are no one's work.
_TESTED = ("chat", "gateway")
#: How many models stand in after the chosen one when nobody named a chain.
_AUTO_FALLBACKS = 2


@dataclass(frozen=True, slots=True)
class ChatJob:
    """What the caller wants: messages, who should answer, and what to note in the ledger.

    ``fallback``: may other models stand in for a model that was named. ``conversation``: id of
    the one this goes on with, or None. ``keep``: store messages for later turns. ``checks``: try
    a cheaper model first and go up where an answer fails these, or those that fit the request;
    None: no cascade. ``settled`` is called within the transaction that settles the request: what
    it writes is there if and only if the request is settled.
    """

    request: ChatRequest
    selector: Selector
    options: RouteOptions = field(default_factory=RouteOptions)
    source: Source = "chat"
    conversation: int | None = None
    keep: bool = True
    fallback: bool = False
    checks: tuple[Check, ...] | None = None
    org: str = ""
    key: str = ""
    external_id: str | None = None
    settled: "Callable[[ChatRun], None] | None" = None


class Arm(Protocol):
    """An arm of an A/B test (services/abtest.py): who leads the role."""

    @property
    def model(self) -> str: ...


class Experiments(Protocol):
    """The seam of requirement B7: which model leads a role for one request."""

    def arm(self, role: str, conversation: int | None) -> Any: ...
    def join(self, arm: Any, unit: int) -> None: ...


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """A decision made and not yet carried out. ``arm``: of the A/B test that it is part of.
    ``hedge_ms``: the chain's, which only the gateway keeps."""

    job: ChatJob
    decision: Decision
    targets: tuple[Target, ...]
    consent: Consent
    chain: str | None = None
    arm: Arm | None = None
    hedge_ms: int | None = None


@dataclass(slots=True)
class ChatRun:
    """A chat under way. Iterate ``chunks()`` once; then ``row`` and ``completion`` are final.

    ``remembered``: the answer is from the cache, and nothing is sent."""

    id: int
    plan: ChatPlan
    progress: Progress
    row: RequestRow | None = None
    remembered: Remembered | None = None

    @property
    def completion(self) -> Completion:
        return self.progress.completion or Completion()


class ChatService:
    """Args:
    random_bits: 20 random bits for a new id.
    """

    def __init__(
        self,
        *,
        providers: Providers,
        models: Models,
        assignments: Assignments,
        conversations: Conversations,
        ledger: Ledger,
        learning: Learning,
        routing: RoutingService,
        dispatcher: Dispatcher,
        recovery: Recovery,
        names: Names,
        clock: Clock,
        random_bits: Callable[[], int],
        premium_model: str,
        default_retries: int,
        default_timeout_ms: int,
        experiments: Experiments | None = None,
        answers: AnswerCache | None = None,
    ) -> None:
        self._providers = providers
        self._models = models
        self._assignments = assignments
        self._conversations = conversations
        self._ledger = ledger
        self._learning = learning
        self._routing = routing
        self._dispatcher = dispatcher
        self._recovery = recovery
        self._names = names
        self._clock = clock
        self._random_bits = random_bits
        self._premium_model = premium_model
        self._retries = default_retries
        self._timeout_ms = default_timeout_ms
        self._experiments = experiments
        self._answers = answers

    def plan(self, job: ChatJob) -> ChatPlan:
        """Decide, without writing or sending anything.

        Raises:
            NoRoute: no model is eligible; the message says why for each.
            UnknownPrice: the named model's price is unknown and that is forbidden.
        """
        kind = job.selector.kind
        chain = self._assignments.chain(job.selector.name) if kind == "chain" else None
        options = job.options
        if kind == "role":
            options = replace(options, role=job.selector.name)
        if kind == "auto" and job.selector.name:
            options = _auto_options(options, job.selector.name)
        among: list[str] | None = None
        if kind == "model":
            among = [job.selector.name]
        elif chain is not None:
            among = [link.model for link in chain.links]
        arm = self._arm(job, options) if among is None else None
        lead = None if arm is None else arm.model
        decision = self._routing.decide(job.request, replace(options, role_lead=lead), among=among)
        if decision.by != "role" or decision.model != lead:
            arm = None  # a rule or a filter came first: this answer tells nothing of the arm
        if arm is not None:
            decision = replace(decision, reason=f"{decision.reason}; an arm of its A/B test")
        job = replace(job, options=options)
        if decision.model is None:
            raise self._no_route(decision, options)
        prices = PriceBook(self._models, now_ms=self._now())
        if chain is not None:
            return self._chain_plan(job, chain, decision, prices)
        ranked = decision.ranked() if kind != "model" or job.fallback else [decision.model]
        expected = _expected(decision)
        if kind == "model" and job.fallback:
            others = self._routing.decide(job.request, options)
            ranked += others.ranked()
            expected = _expected(others) | expected
        if job.checks is not None and kind != "model":
            ranked = ladder(decision)
        names = list(dict.fromkeys(ranked))[: 1 + _AUTO_FALLBACKS]
        targets = [
            self._target(name, expected, prices, self._retries, self._timeout_ms) for name in names
        ]
        # Whoever asks for a cascade asks for the dearer models in it too.
        consent = Consent() if job.checks is None else Consent(None, allow_free_to_paid=True)
        return ChatPlan(job, decision, tuple(targets), consent, arm=arm)

    def _arm(self, job: ChatJob, options: RouteOptions) -> Any:
        """The arm of an A/B test of the role, for real traffic only."""
        if self._experiments is None or not options.role or job.source not in _TESTED:
            return None
        return self._experiments.arm(options.role, job.conversation)

    def _chain_plan(
        self, job: ChatJob, chain: Chain, decision: Decision, prices: PriceBook
    ) -> ChatPlan:
        """The chain's own order counts; links that cannot be called are passed over."""
        eligible = {c.model for c in decision.candidates if c.eligible}
        expected = _expected(decision)
        targets = [
            self._target(link.model, expected, prices, link.max_retries, link.timeout_ms)
            for link in chain.links
            if link.model in eligible
        ]
        place = {link.model: position for position, link in enumerate(chain.links)}
        decision = replace(
            decision,
            model=targets[0].model.id,
            by="chain",
            reason=f"chain {chain.name}, first callable link",
            candidates=tuple(
                sorted(decision.candidates, key=lambda c: (not c.eligible, place[c.model]))
            ),
        )
        # Named one by one, so that no rule or role comes before the price.
        others = [m.id for m in self._routing.active_models() if m.id not in place]
        spare = self._routing.decide(
            job.request, replace(job.options, priority="cheap", latency_pref="normal"), among=others
        )
        if spare.model is not None:
            targets.append(
                self._target(spare.model, _expected(spare), prices, self._retries, self._timeout_ms)
            )
        consent = Consent(chain.max_cost_multiple, chain.allow_free_to_paid)
        return ChatPlan(job, decision, tuple(targets), consent, chain.name, hedge_ms=chain.hedge_ms)

    def start(self, plan: ChatPlan) -> ChatRun:
        """Write the request's row; the returned run's chunks must then be read."""
        self._recovery.run()
        job = plan.job
        now = self._now()
        text = json.dumps(decision_document(plan.decision), separators=(",", ":"))
        remembered = None if self._answers is None else self._answers.look(plan)
        if remembered is not None:
            plan = replace(plan, job=replace(job, source="cache"))
        with self._ledger.unit():
            # Two processes may draw the same id in the same millisecond.
            while not self._ledger.open(request := self._new_request(plan, now), text):
                pass
            if job.keep and job.conversation is None:
                title = job.request.last_user_text.strip().split("\n")[0][:_TITLE_CHARS]
                self._conversations.create(request.id, at_ms=now, title=title)
            if plan.arm is not None and self._experiments is not None:
                self._experiments.join(plan.arm, request.conversation or request.id)
            if remembered is not None and self._answers is not None:
                self._answers.hit(request.id, remembered)
        job = replace(plan.job, conversation=request.conversation)
        run = ChatRun(request.id, replace(plan, job=job), Progress(), remembered=remembered)
        if remembered is not None:
            run.progress.completion = remembered.completion
        return run

    def _new_request(self, plan: ChatPlan, now: int) -> NewRequest:
        job, task = plan.job, plan.decision.task
        request_id = make_id(now, self._random_bits())
        starts_conversation = job.keep and job.conversation is None
        return NewRequest(
            id=request_id,
            created_at=now,
            source=job.source,
            owner=self._ledger.owner,
            org=job.org,
            key=job.key,
            role=job.options.role or "",
            agent=job.options.agent or "",
            task=task.task_type,
            complexity=task.complexity,
            difficulty=task.difficulty,
            conversation=request_id if starts_conversation else job.conversation,
            chain=plan.chain,
            external_id=job.external_id,
        )

    def chunks(self, run: ChatRun, *, new_turns: Sequence[Message] = ()) -> Generator[ChatChunk]:
        """The answer as it arrives; the request is settled when this ends, however it ends.

        Args:
            new_turns: the messages that are new in this conversation, stored with the answer.

        Raises: as Dispatcher.stream.
        """
        plan, started = run.plan, self._now()
        job = plan.job
        accept = None if job.checks is None else checks_for(job.request, job.checks)
        try:
            if run.remembered is not None:
                yield from run.remembered.chunks()
            else:
                yield from self._dispatcher.stream(
                    run.id, job.request, plan.targets, plan.consent, run.progress, accept=accept
                )
        except OmniError as exc:
            refused = isinstance(exc, BudgetExceeded | UnknownPrice) and not run.progress.tries
            self._end(run, started, "refused" if refused else "failed", exc)
            raise
        except Exception as exc:
            self._end(run, started, "failed", OmniError(f"unexpected {type(exc).__name__}"))
            raise
        except BaseException:
            self._end(run, started, "cancelled", Cancelled("interrupted by the user"))
            raise
        self._end(run, started, "ok", None, new_turns)

    def _end(
        self,
        run: ChatRun,
        started: int,
        state: RequestState,
        error: OmniError | None,
        new_turns: Sequence[Message] = (),
    ) -> None:
        now = self._now()
        progress, job = run.progress, run.plan.job
        last = progress.target or run.plan.targets[0]
        cached = run.remembered
        usage = progress.usage if cached is None else cached.usage
        premium, premium_cost = (
            self.premium(usage) if state == "ok" else (self._premium_model or None, None)
        )
        first = progress.first_token_at
        if job.checks is not None:
            self._learn(run, now)
        with self._ledger.unit():
            self._ledger.end_request(
                run.id,
                RequestEnd(
                    state=state,
                    settled_at=now,
                    model=last.model.id,
                    provider=last.provider.slug,
                    premium_model=premium,
                    premium_cost_nusd=premium_cost,
                    # A memory's speed says nothing about a model's.
                    latency_ms=now - started if cached is None else None,
                    ttft_ms=None if first is None else first - started,
                    finish_reason=run.completion.finish_reason,
                    error_code=None if error is None else error.code,
                    error_message=None if error is None else error.message[:500],
                ),
            )
            if state == "ok" and job.keep and job.conversation is not None:
                self._conversations.append(
                    job.conversation,
                    [*new_turns, run.completion.as_message()],
                    request=run.id,
                    at_ms=now,
                )
            run.row = row = self._ledger.get(run.id)
            if self._answers is not None and state == "ok" and cached is None and row is not None:
                cost = None if row.price_state == "unknown" else row.total_nusd
                self._answers.keep(run.plan, run.id, last.model.id, run.completion, cost)
            if job.settled is not None:
                job.settled(run)

    def _learn(self, run: ChatRun, now: int) -> None:
        """A check's verdict is an outcome that routing learns from."""
        for attempt in run.progress.attempts:
            if attempt.outcome in ("ok", "rejected"):
                self._learning.add_outcome(
                    request=run.id,
                    at_ms=now,
                    model=attempt.model,
                    task=run.plan.decision.task.task_type,
                    form=run.plan.decision.task.form,
                    kind="test",
                    value=1.0 if attempt.outcome == "ok" else 0.0,
                    note=attempt.message,
                )

    def premium(self, usage: Usage) -> tuple[str | None, int | None]:
        """The premium model and what this usage costs there; None where unknown or unset."""
        if not self._premium_model:
            return None, None
        try:
            model_id = self._names.model(self._premium_model)
        except OmniError:
            return self._premium_model, None
        row = PriceBook(self._models, now_ms=self._now()).current(model_id)
        return model_id, cost_or_none(usage, None if row is None else row.price)

    def _target(
        self,
        model_id: str,
        expected: Mapping[str, int | None],
        prices: PriceBook,
        max_retries: int,
        timeout_ms: int,
    ) -> Target:
        model = self._models.get(model_id)
        provider = None if model is None else self._providers.get(model.provider)
        if model is None or provider is None:
            raise NotFound(f"{model_id} is not in the fleet", hint="omni models list shows it")
        return Target(
            model,
            provider,
            prices.current(model_id),
            max_retries,
            timeout_ms,
            expected.get(model_id),
        )

    def _no_route(self, decision: Decision, options: RouteOptions) -> OmniError:
        reasons = [f"{c.model}: {decision.reason_of(c)}" for c in decision.candidates]
        if not reasons:
            return NoRoute(
                "the fleet has no active model",
                hint="omni init finds keys and local servers and proposes a fleet; "
                "omni demo shows omni at work without any",
            )
        shown = "; ".join(reasons[:6]) + (f"; and {len(reasons) - 6} more" if reasons[6:] else "")
        if all("price unknown" in reason for reason in reasons):
            return UnknownPrice(
                f"no price is known: {shown}",
                hint="omni models price MODEL --price-in USD --price-out USD sets one",
            )
        if options.max_cost_nusd is not None and any("above the maximum" in r for r in reasons):
            return BudgetExceeded(f"no model fits --max-cost: {shown}", hint="raise --max-cost")
        return NoRoute(f"no model can take this: {shown}", hint="omni doctor looks for the cause")

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _expected(decision: Decision) -> dict[str, int | None]:
    return {c.model: c.expected_cost_nusd for c in decision.candidates}


def _auto_options(options: RouteOptions, word: str) -> RouteOptions:
    """``auto:fast`` is a latency preference, ``auto:cheap`` and the like are priorities."""
    if word == "fast":
        return replace(options, latency_pref="fast")
    return replace(options, priority=next(p for p in PRIORITIES if p == word))
