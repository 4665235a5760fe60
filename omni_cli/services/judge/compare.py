"""Comparisons: the same prompts to several models, scored, judged, within a money limit (D2)."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from omni_cli.domain.chat import Message
from omni_cli.domain.errors import BudgetExceeded, NoRoute, OmniError, UnknownPrice
from omni_cli.domain.ids import make_id
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.ports import Clock
from omni_cli.records import JudgementRow, ResultRow
from omni_cli.repositories import Budgets, Comparisons
from omni_cli.services.engine.chat import ChatRun, ChatService
from omni_cli.services.engine.chat_plan import ChatJob, ChatPlan
from omni_cli.services.engine.names import Names
from omni_cli.services.engine.own import Steps
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.services.judge import judge
from omni_cli.services.judge.compare_plan import (
    Done,
    Plan,
    Pool,
    Purse,
    Task,
    plan_document,
    plan_from,
)
from omni_cli.services.judge.compare_report import CompareReports

#: What a judge is assumed to read of each answer in an estimate, characters.
_TYPICAL_ANSWER = "word " * 160


class Estimate(Struct, frozen=True):
    """Of the calls that are still to be made. ``expected_nusd`` sums what is known;
    ``unknown``: contenders without a price."""

    calls: int
    judge_calls: int
    done: int
    expected_nusd: int
    unknown: tuple[str, ...]


class Progress(Struct, frozen=True):
    """``left_nusd``: of the limit, None without one."""

    done: int
    calls: int
    spent_nusd: int
    left_nusd: int | None
    last: str
    error: OmniError | None


class CompareService(Struct, kw_only=True, eq=False):
    """Args:
    steps: the event loop that all calls share.
    random_bits: 20 random bits for a new id.
    """

    chat: ChatService
    names: Names
    store: Comparisons
    reports: CompareReports
    budgets: Budgets
    steps: Callable[[], Steps]
    clock: Clock
    random_bits: Callable[[], int]
    options: RouteOptions

    def create(self, plan: Plan) -> int:
        """Store a new comparison; nothing is asked yet. Returns its id."""
        comparison = make_id(self._now(), self.random_bits())
        self.store.create(comparison, plan_document(plan), at_ms=self._now())
        return comparison

    def load(self, text: str) -> tuple[int, Plan]:
        """A stored comparison by its id, the first part of it, or "last". Raises NotFound."""
        row = self.store.find(text)
        return row.id, plan_from(row.plan)

    # --- what it will cost -------------------------------------------------------------------

    def estimate(self, plan: Plan, comparison: int | None = None) -> Estimate:
        """Raises NotFound, NoRoute: a contender is unknown or cannot be called."""
        tasks = list(self._tasks(plan, comparison))
        expected = [task.plan.targets[0].expected_nusd for task in tasks]
        unknown = {task.group for task, cost in zip(tasks, expected, strict=True) if cost is None}
        total = sum(cost or 0 for cost in expected)
        every = len(plan.cases) * len(plan.contenders) * plan.settings.iterations
        judged, judge_nusd = self._judge_estimate(plan, comparison)
        if judge_nusd is None:
            unknown.add(plan.settings.judge)
        return Estimate(
            len(tasks),
            judged,
            every - len(tasks),
            total + (judge_nusd or 0),
            tuple(sorted(unknown)),
        )

    def _judge_estimate(self, plan: Plan, comparison: int | None) -> tuple[int, int | None]:
        if not plan.judged:
            return 0, 0
        there = 0 if comparison is None else len(self.store.judgements(comparison))
        calls, total = 0, 0
        answers = dict.fromkeys(plan.contenders, _TYPICAL_ANSWER)
        for prompt in plan.cases:
            made = self._judge_plan(plan, prompt, answers, 0)
            cost = made.targets[0].expected_nusd
            if cost is None:
                return 0, None
            number = plan.settings.iterations * len(judge.TURNS)
            calls += number
            total += cost * number
        left = max(calls - there, 0)
        return left, total * left // calls if calls else 0

    def check_money(self, estimate: Estimate, max_cost_nusd: int | None) -> None:
        """Before anything is sent.

        Raises:
            BudgetExceeded: more is expected than the limit or a budget leaves.
            UnknownPrice: a limit cannot be kept at an unknown price.
        """
        expected = estimate.expected_nusd
        if max_cost_nusd is not None and estimate.unknown:
            raise UnknownPrice(
                f"the price of {', '.join(estimate.unknown)} is unknown, so --max-cost cannot be "
                "kept",
                hint="omni models price MODEL --price-in USD --price-out USD sets one",
            )
        if max_cost_nusd is not None and expected > max_cost_nusd:
            raise BudgetExceeded(
                f"{format_usd(expected)} is expected, more than --max-cost "
                f"{format_usd(max_cost_nusd)}; nothing was sent",
                hint="fewer prompts or iterations, a smaller --max-tokens, or a higher limit",
            )
        for budget in self.budgets.all():
            if not budget.enabled or budget.scope != "all":
                continue
            status = self.budgets.status(budget, self._now())
            if status.left_nusd < expected:
                raise BudgetExceeded(
                    f"{format_usd(expected)} is expected, and the {budget.label} has "
                    f"{format_usd(max(status.left_nusd, 0))} left; nothing was sent",
                    hint=f"omni budgets raise {budget.id} --by USD --for 1d makes room for a day",
                )

    # --- running -----------------------------------------------------------------------------

    def run(
        self,
        comparison: int,
        plan: Plan,
        *,
        max_cost_nusd: int | None,
        progress: Callable[[Progress], None],
        stop: Callable[[], bool],
        interrupted: Callable[[], None],
    ) -> bool:
        """Ask what was not answered yet, then let the judge read; True when all is done.

        Args:
            stop: True starts no more calls.
            interrupted: told of Ctrl-C; ``stop`` should then be True. A second one is raised.

        Raises:
            BudgetExceeded: the limit or a budget was reached; what was answered is kept.
        """
        self.store.set_state(comparison, "running", at_ms=self._now())
        spent = self.store.spent_nusd(comparison)
        purse = Purse(max_cost_nusd, spent)
        complete = False
        try:
            tasks = list(self._tasks(plan, comparison))
            self._pool(purse, plan, tasks, progress, max_cost_nusd, stop, interrupted)
            if plan.judged and not stop():
                judging = list(self._judge_tasks(plan, comparison))
                self._pool(purse, plan, judging, progress, max_cost_nusd, stop, interrupted)
            complete = not stop() and not self.reports.missing(plan, comparison)
        finally:
            state = "complete" if complete else "stopped"
            self.store.set_state(comparison, state, at_ms=self._now())
        self.reports.learn(comparison, plan)
        return complete

    def _pool(
        self,
        purse: Purse,
        plan: Plan,
        tasks: Sequence[Task],
        progress: Callable[[Progress], None],
        limit: int | None,
        stop: Callable[[], bool],
        interrupted: Callable[[], None],
    ) -> None:
        at_once = plan.settings.concurrency
        pool = Pool(self.chat, self.steps(), purse, concurrency=at_once, stop=stop)
        number = 0

        def done(one: Done) -> None:
            nonlocal number
            if one.skipped:
                return
            number += 1
            left = None if limit is None else max(limit - purse.spent_nusd, 0)
            progress(
                Progress(number, len(tasks), purse.spent_nusd, left, one.task.group, one.error)
            )

        try:
            pool.run(tasks, done)
        except KeyboardInterrupt:
            # What is under way is paid for: let it come in, so that nobody pays for it twice.
            interrupted()
            pool.drain(done)

    def _tasks(self, plan: Plan, comparison: int | None) -> Iterator[Task]:
        there = set()
        if comparison is not None:
            there = {
                (row.prompt, row.contender, row.iteration)
                for row in self.store.results(comparison)
                if row.state == "ok"
            }
        for prompt in plan.cases:
            for contender in plan.contenders:
                wanted = [
                    n
                    for n in range(plan.settings.iterations)
                    if (prompt, contender, n) not in there
                ]
                if not wanted:
                    continue
                made = self._plan_call(plan, contender, prompt)
                worst = self._worst(made, plan.settings.retries)
                for iteration in wanted:
                    keep = self._keeper(comparison or 0, prompt, contender, iteration)
                    yield Task(contender, made, worst, keep)

    def _plan_call(self, plan: Plan, contender: str, prompt: str) -> ChatPlan:
        job = ChatJob(
            plan.request(prompt),
            self.names.select(contender),
            self.options,
            source="compare",
            keep=False,
        )
        return self._limited(self.chat.plan(job), plan)

    def _limited(self, made: ChatPlan, plan: Plan) -> ChatPlan:
        """Only the model that was chosen: a stand-in's answer would count as the other's."""
        settings = plan.settings
        first = replace(
            made.targets[0],
            max_retries=settings.retries,
            timeout_ms=int(settings.timeout_s * 1000),
        )
        return replace(made, targets=(first,))

    def _keeper(
        self, comparison: int, prompt: str, contender: str, iteration: int
    ) -> Callable[[ChatRun], None]:
        def keep(run: ChatRun) -> None:
            row = run.row
            if row is None or row.state == "refused":
                return
            self.store.put_result(
                comparison,
                ResultRow(
                    prompt=prompt,
                    contender=contender,
                    iteration=iteration,
                    request=run.id,
                    state="ok" if row.state == "ok" else "failed",
                    model=row.model,
                    task=row.task,
                    output=run.completion.text,
                    finish_reason=row.finish_reason,
                    latency_ms=row.latency_ms,
                    ttft_ms=row.ttft_ms,
                    cost_nusd=row.known_nusd,
                    earlier_nusd=0,
                    error_code=row.error_code,
                    error_message=row.error_message,
                ),
            )

        return keep

    # --- the judge ---------------------------------------------------------------------------

    def _judge_tasks(self, plan: Plan, comparison: int) -> Iterator[Task]:
        there = {
            (row.prompt, row.iteration, row.turn): row.scores
            for row in self.store.judgements(comparison)
        }
        for (prompt, iteration), answers in self._answers(plan, comparison).items():
            for turn in judge.TURNS:
                known = there.get((prompt, iteration, turn))
                # Scores of fewer answers than there are now: one came in on a later run.
                if known is not None and (not known or set(known) == set(answers)):
                    continue
                made = self._judge_plan(plan, prompt, answers, turn)
                keep = self._judge_keeper(comparison, prompt, iteration, turn, tuple(answers))
                yield Task(f"judge {plan.settings.judge}", made, self._worst(made, 1), keep)

    def _answers(self, plan: Plan, comparison: int) -> dict[tuple[str, int], dict[str, str]]:
        """Good answers by prompt and iteration, by contender in the plan's order."""
        rows = {
            (row.prompt, row.iteration, row.contender): row.output
            for row in self.store.results(comparison)
            if row.state == "ok"
        }
        found: dict[tuple[str, int], dict[str, str]] = {}
        for prompt in plan.cases:
            for iteration in range(plan.settings.iterations):
                mine = {
                    name: rows[prompt, iteration, name]
                    for name in plan.contenders
                    if (prompt, iteration, name) in rows
                }
                if mine:
                    found[prompt, iteration] = mine
        return found

    def _judge_plan(
        self, plan: Plan, prompt: str, answers: Mapping[str, str], turn: int
    ) -> ChatPlan:
        case = plan.cases[prompt]
        question = next(
            (m for m in reversed(case.messages) if m.role == "user"), Message.text_of("user", "")
        )
        selector = self.names.select(plan.settings.judge)

        def job(*, schema: bool) -> ChatJob:
            request = judge.request(question, answers, case.scorers, turn, schema=schema)
            return ChatJob(request, selector, self.options, source="judge", keep=False)

        try:
            made = self.chat.plan(job(schema=True))
        except NoRoute:
            made = self.chat.plan(job(schema=False))
        return self._limited(made, plan)

    def _judge_keeper(
        self, comparison: int, prompt: str, iteration: int, turn: int, names: tuple[str, ...]
    ) -> Callable[[ChatRun], None]:
        def keep(run: ChatRun) -> None:
            row = run.row
            if row is None or row.state != "ok":
                return
            self.store.put_judgement(
                comparison,
                JudgementRow(
                    prompt=prompt,
                    iteration=iteration,
                    turn=turn,
                    request=run.id,
                    scores=judge.read(run.completion.text, names, turn),
                    cost_nusd=row.known_nusd,
                ),
            )

        return keep

    def _worst(self, made: ChatPlan, retries: int) -> int | None:
        """The most that a call and its retries can cost."""
        one = self.chat.worst_nusd(made)
        return None if one is None else one * (retries + 1)

    def _now(self) -> int:
        return int(self.clock() * 1000)
