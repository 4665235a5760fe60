"""Proof of a recommendation: some of the user's own questions, asked of the candidate.

The answers that the present model gave are stored already and are not paid for again; only the
candidate is asked, and a judge reads both in both orders. It is a comparison like any other:
within a money limit, resumable, and its outcome feeds routing.
"""

import random

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.scoring import Scorer
from omni_cli.records import ResultRow, StoredAdvice
from omni_cli.repositories import Comparisons, Questions
from omni_cli.services.engine.names import Names
from omni_cli.services.judge.compare import CompareService
from omni_cli.services.judge.compare_plan import Plan, Settings, keyed, plan_from
from omni_cli.services.judge.compare_report import CompareReports, Report
from omni_cli.services.judge.judge import reader
from omni_cli.services.judge.suite import Case

#: Stored requests that a sample is drawn from, the newest.
_DRAWN_FROM = 2_000
#: Fewer questions than this show nothing.
LEAST = 5


class Proof(Struct, frozen=True):
    """A comparison of ``current``, whose answers are there, with ``candidate``.

    ``paid_nusd``: what the stored answers had cost; a money limit comes on top of it.
    """

    comparison: int
    plan: Plan
    current: str
    candidate: str
    paid_nusd: int


class Prover(Struct, kw_only=True, eq=False):
    """Args:
    premium: the premium model, which judges where nobody else is named; None without one.
    """

    questions: Questions
    kept: Comparisons
    compare: CompareService
    reports: CompareReports
    names: Names
    premium: str | None

    def prepare(self, advice: StoredAdvice, *, size: int, judge: str | None) -> Proof:
        """The proof of a recommendation, a stopped one or a new one; nothing is asked yet.

        Args:
            size: questions to draw, always the same ones for the same recommendation.
            judge: a model's name; None takes the premium model where it is not one of both.

        Raises:
            UsageError: it is not about another model, too few questions are stored, or the judge
                is one of both models.
            NotFound: no such judge.
        """
        finding = advice.finding
        if finding.type not in ("cheaper_model", "repetitive_traffic"):
            raise UsageError(
                f"recommendation {advice.id} is not about another model, so nothing can be asked"
            )
        current, candidate = finding.current, finding.recommended
        open_one = self._find(advice.id, complete=False)
        if open_one is not None:
            return open_one
        grader = self._judge(judge, current, candidate)
        ((scope, name),) = finding.scope.items()
        found = self.questions.answered(scope, name, current, most=_DRAWN_FROM)
        drawn = random.Random(advice.id).sample(found, min(size, len(found)))  # a sample, no secret
        questions = self.questions.load(scope, name, current, drawn, most=_DRAWN_FROM)
        if len(questions) < LEAST:
            raise UsageError(
                f"{len(questions)} questions of {scope} {name} to {current} are stored, and fewer "
                f"than {LEAST} show nothing",
                hint="omni keeps those of `omni chat` while chat.keep_conversations is true; "
                f"omni compare --suite FILE -m {current} -m {candidate} asks your own",
            )
        cases = keyed(
            [
                # Without a judge, likeness to the present answer is all that can be measured.
                Case(q.messages, () if grader else (Scorer("similarity", (q.answer,)),))
                for q in questions
            ]
        )
        plan = Plan((current, candidate), cases, Settings(judge=grader), _name(advice.id))
        comparison = self.compare.create(plan)
        for key, question in zip(cases, questions, strict=True):
            self.kept.put_result(
                comparison,
                ResultRow(
                    prompt=key,
                    contender=current,
                    iteration=0,
                    request=question.request,
                    state="ok",
                    model=current,
                    task=question.task,
                    output=question.answer,
                    finish_reason=question.finish_reason,
                    latency_ms=question.latency_ms,
                    ttft_ms=question.ttft_ms,
                    cost_nusd=question.cost_nusd,
                    earlier_nusd=0,
                    error_code=None,
                    error_message=None,
                ),
            )
        return self._proof(comparison, plan)

    def last(self, number: int) -> Report | None:
        """What the newest complete proof of a recommendation showed, None without one."""
        found = self._find(number, complete=True)
        return None if found is None else self.reports.report(found.comparison, found.plan)

    def told(self, number: int) -> str | None:
        """The same in a sentence."""
        report = self.last(number)
        return None if report is None else verdict(report)

    def _judge(self, judge: str | None, current: str, candidate: str) -> str:
        both, hint = (current, candidate), "--judge names a third model"
        return reader(self.names, judge, self.premium or "", both, hint)

    def _find(self, number: int, *, complete: bool) -> Proof | None:
        for row in self.kept.recent(limit=1_000):
            if row.plan["name"] == _name(number) and (row.state == "complete") == complete:
                return self._proof(row.id, plan_from(row.plan))
        return None

    def _proof(self, comparison: int, plan: Plan) -> Proof:
        current, candidate = plan.contenders
        paid = sum(
            row.cost_nusd or 0 for row in self.kept.results(comparison) if row.contender == current
        )
        return Proof(comparison, plan, current, candidate, paid)


def _name(number: int) -> str:
    return f"proof of recommendation {number}"


def verdict(report: Report) -> str:
    """What a proof shows, in a sentence."""
    current, candidate = report.plan.contenders
    figures = report.results.figures[candidate]
    count = len(report.plan.cases)
    if figures.accuracy is None:
        return f"{candidate} answered none of the {count} questions"
    if not report.plan.judged:
        likeness = figures.accuracy
        return (
            f"on {count} of your own questions {candidate} says what {current} said to "
            f"{likeness.value:.0%} [{likeness.low:.0%} to {likeness.high:.0%}]; likeness of words "
            "is not quality: --judge MODEL reads both"
        )
    was = report.results.figures[current].accuracy
    best = report.results.best["accuracy"].name
    shown = {
        candidate: "is shown to be better",
        current: "is shown to be worse",
    }.get(best or "", "no difference shown")
    before = "-" if was is None else f"{was.value:.0%} [{was.low:.0%} to {was.high:.0%}]"
    now = figures.accuracy
    return (
        f"on {count} of your own questions {candidate}: {shown} "
        f"({now.value:.0%} [{now.low:.0%} to {now.high:.0%}] good, {current} {before})"
    )
