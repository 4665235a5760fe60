"""One chat: decide, open the ledger row, have it carried out, settle, report."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.json import encode

from omni_cli.domain.chat import ChatChunk, ChatRequest, Completion, Message, Usage
from omni_cli.domain.errors import Cancelled, OmniError, StoreError
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import NewRequest, RequestEnd, RequestRow, RequestState
from omni_cli.domain.record import replace
from omni_cli.ports import Clock
from omni_cli.services.engine.answer_cache import AnswerCache, Remembered
from omni_cli.services.engine.attempts import Progress, Target, carried_out
from omni_cli.services.engine.chat_plan import ChatJob, ChatPlan, ChatPlanner, Experiments
from omni_cli.services.engine.checks import checks_for, learn
from omni_cli.services.engine.names import Names
from omni_cli.services.engine.recovery import Recovery
from omni_cli.services.engine.routing import RoutingService, decision_document
from omni_cli.services.engine.turns import ended
from omni_cli.services.money.prices import PriceBook, cost_or_none

if TYPE_CHECKING:
    from omni_cli.repositories import Assignments, Conversations, Learning, Ledger, Models
    from omni_cli.services.engine.own import Give, Steps, Tools

_TITLE_CHARS = 60


class ChatRun(Struct):
    """A chat under way. Iterate ``chunks()`` once; then ``row`` and ``completion`` are final.

    ``remembered``: the answer is from the cache, and nothing is sent."""

    new: NewRequest
    plan: ChatPlan
    progress: Progress
    row: RequestRow | None = None
    remembered: Remembered | None = None
    #: The store did not take its end: what its user is to be told, once the answer is shown.
    late: StoreError | None = None

    @property
    def id(self) -> int:
        return self.new.id

    @property
    def created_at(self) -> int:
        return self.new.created_at

    @property
    def completion(self) -> Completion:
        return self.progress.completion or Completion()


class ChatService:
    """Args:
    tools: what calls are made with; nothing that only plans loads it.
    steps: the event loop of code that has none.
    random_bits: 20 random bits for a new id.
    org: whose requests they are where a job does not say.
    classify: what kind of job a request is, where something other than the router is to say;
        it may take a while. None: the router says.
    """

    def __init__(
        self,
        *,
        models: Models,
        assignments: Assignments,
        conversations: Conversations,
        ledger: Ledger,
        learning: Learning,
        routing: RoutingService,
        tools: Callable[[], Tools],
        steps: Callable[[], Steps],
        recovery: Recovery,
        names: Names,
        clock: Clock,
        random_bits: Callable[[], int],
        premium_model: str,
        default_retries: int,
        default_timeout_ms: int,
        failover: bool = True,
        experiments: Experiments | None = None,
        answers: AnswerCache | None = None,
        org: str = "",
        classify: Callable[[ChatRequest], str | None] | None = None,
    ) -> None:
        self._org = org
        self._classify = classify
        self._models = models
        self._experiments = experiments
        self._planner = ChatPlanner(
            assignments=assignments,
            routing=routing,
            experiments=experiments,
            default_retries=default_retries,
            default_timeout_ms=default_timeout_ms,
            failover=failover,
        )
        self._conversations = conversations
        self._ledger = ledger
        self._learning = learning
        self._tools = tools
        self._steps = steps
        self._recovery = recovery
        self._names = names
        self._clock = clock
        self._random_bits = random_bits
        self._premium_model = premium_model
        self._answers = answers

    def plan(self, job: ChatJob) -> ChatPlan:
        """Decide, without writing or sending anything, unless a model is to classify. Raises as
        ``ChatPlanner.plan``."""
        chosen = job.selector.kind in ("auto", "role") and job.options.task_type is None
        if self._classify is not None and chosen and job.source == "chat":
            found = self._classify(job.request)
            if found is not None:
                job = replace(job, options=replace(job.options, task_type=found))
        return self._planner.plan(job)

    def worst_nusd(self, plan: ChatPlan) -> int | None:
        """The most that one call of the plan's first model can cost; None where unknown."""
        return self._tools().worst_nusd(plan.job.request, plan.targets[0])

    def start(self, plan: ChatPlan) -> ChatRun:
        """Write the request's row; the returned run's chunks must then be read."""
        self._recovery.run()
        job = plan.job
        now = self._now()
        text = encode(decision_document(plan.decision)).decode()
        remembered = None if self._answers is None else self._answers.look(plan)
        if remembered is not None:
            plan = replace(plan, job=replace(job, source="cache"))

        def write(request: NewRequest) -> None:
            if job.keep and job.conversation is None:
                title = job.request.last_user_text.strip().split("\n")[0][:_TITLE_CHARS]
                self._conversations.create(request.id, at_ms=now, title=title)
            if plan.arm is not None and self._experiments is not None:
                self._experiments.join(plan.arm, request.conversation or request.id)
            if remembered is not None and self._answers is not None:
                self._ledger.adopt(request.id)
                self._answers.hit(request.id, remembered)

        commits = self._tools().commits
        request = commits.begin(lambda: self._new_request(plan, now, commits.owner), text, write)
        job = replace(plan.job, conversation=request.conversation)
        progress = Progress(plan.passed(), most_nusd=job.options.max_cost_nusd)
        run = ChatRun(request, replace(plan, job=job), progress, remembered=remembered)
        if remembered is not None:
            run.progress.keep(remembered.completion, remembered.usage)
        return run

    def _new_request(self, plan: ChatPlan, now: int, owner: str) -> NewRequest:
        job, task = plan.job, plan.decision.task
        request_id = make_id(now, self._random_bits())
        starts_conversation = job.keep and job.conversation is None
        return NewRequest(
            id=request_id,
            created_at=now,
            source=job.source,
            owner=owner,
            org=job.org or self._org,
            key=job.key,
            role=job.options.role or "",
            agent=job.options.agent or "",
            task=task.task_type,
            complexity=task.complexity,
            difficulty=task.difficulty,
            conversation=request_id if starts_conversation else job.conversation,
            chain=plan.chain,
        )

    def chunks(self, run: ChatRun, *, new_turns: Sequence[Message] = ()) -> Generator[ChatChunk]:
        """As ``stream``, for code without an event loop of its own."""
        from omni_cli.services.engine.own import Handover

        handover = Handover(lambda give: self.carry_out(run, give, new_turns))
        return self._steps().chunks(handover)

    async def stream(
        self, run: ChatRun, *, new_turns: Sequence[Message] = ()
    ) -> AsyncGenerator[ChatChunk]:
        """The answer as it arrives; the request is settled when this ends, however it ends.

        Raises: as ``carry_out``.
        """
        from omni_cli.services.engine.own import Handover

        handover = Handover(lambda give: self.carry_out(run, give, new_turns))
        try:
            while (chunk := await handover.next()) is not None:
                yield chunk
        except BaseException as exc:
            await handover.leave(exc)
            raise

    async def carry_out(self, run: ChatRun, give: Give, new_turns: Sequence[Message] = ()) -> None:
        """Have a request answered, and settle it, however it ends.

        Args:
            give: takes each chunk.
            new_turns: the messages that are new in this conversation, stored with the answer.

        Raises: as OwnCall.answer.
        """
        from omni_cli.services.engine.own import OwnCall

        plan, job = run.plan, run.plan.job
        call = OwnCall(
            self._tools(),
            run.new,
            job.request,
            plan.targets,
            plan.consent,
            run.progress,
            give,
            accept=None if job.checks is None else checks_for(job.request, job.checks),
            hedge_s=None if plan.hedge_ms is None else plan.hedge_ms / 1000,
        )
        try:
            if run.remembered is not None:
                for chunk in run.remembered.chunks():
                    await give(chunk)
            else:
                await call.answer()
        except OmniError as exc:
            self._end(run, call.asked, ended(exc, run.progress), exc)
            raise
        except Exception as exc:
            error = OmniError(f"unexpected {type(exc).__name__}")
            self._end(run, call.asked, "failed", error)
            raise
        except BaseException:
            self._end(run, call.asked, "cancelled", Cancelled("interrupted by the user"))
            raise
        self._end(run, call.asked, "ok", None, new_turns)

    def _end(
        self,
        run: ChatRun,
        asked: Target | None,
        state: RequestState,
        error: OmniError | None,
        new_turns: Sequence[Message] = (),
    ) -> None:
        from omni_cli.services.engine.call import request_end

        progress = run.progress
        end = request_end(
            progress,
            asked or run.plan.targets[0],
            state,
            error,
            created_ms=run.created_at,
            now_ms=self._now(),
            premium=(
                self.premium(progress.usage)
                if state == "ok"
                else (self._premium_model or None, None)
            ),
        )
        if run.remembered is not None:
            end.latency_ms = None  # a memory's speed says nothing about a model's
        run.late = self._tools().commits.end(
            run.id, end, lambda: self._write_end(run, end, new_turns)
        )

    def _write_end(self, run: ChatRun, end: RequestEnd, new_turns: Sequence[Message]) -> None:
        progress, job, cached = run.progress, run.plan.job, run.remembered
        if job.checks is not None:
            task = run.plan.decision.task
            learn(
                self._learning,
                progress.attempts,
                request=run.id,
                at_ms=end.settled_at,
                task=task.task_type,
                form=task.form,
            )
        if end.state == "ok" and job.keep and job.conversation is not None:
            self._conversations.append(
                job.conversation,
                [*new_turns, run.completion.as_message()],
                request=run.id,
                at_ms=end.settled_at,
            )
        if more := carried_out(progress):
            self._ledger.note_carried_out(run.id, more)
        run.row = row = self._ledger.get(run.id)
        if self._answers is not None and end.state == "ok" and cached is None and row is not None:
            self._answers.keep(run.plan, run.id, end.model, run.completion, row.known_nusd)
        if job.settled is not None:
            job.settled(run)

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

    def _now(self) -> int:
        return int(self._clock() * 1000)
