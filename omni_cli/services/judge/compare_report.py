"""A stored comparison's report: scores, the judge's figures, and what routing learns from it."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from omni_cli.domain.chat import Completion
from omni_cli.domain.compare import Outcome, Results, results
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.scoring import KINDS, Score, Scorer, score
from omni_cli.domain.statistics import spearman
from omni_cli.plugins import Plugin, plugins
from omni_cli.ports import Clock
from omni_cli.records import JudgementRow, ResultRow
from omni_cli.repositories import Comparisons, Learning
from omni_cli.services.engine.checks import command, is_json
from omni_cli.services.engine.routing import prompt_form
from omni_cli.services.judge import judge
from omni_cli.services.judge.compare_plan import Plan

#: JSON that parses and does not fit its schema is half the way.
_PARSES = 0.5


def score_answer(
    scorers: Sequence[Scorer], answer: str, judged: float | None = None
) -> Score | None:
    """The mean of a case's scorers; None where there are none, or only a judge that is silent.

    Args:
        judged: the judge's score of this answer, None where it gave none.

    Raises:
        UsageError: a scorer lacks what it needs.
    """
    found: list[Score] = []
    failed: list[str] = []
    for scorer in scorers:
        if scorer.kind == "judge":
            if judged is not None:
                found.append(Score(judged, f"judged {judged:.2f}"))
        elif scorer.kind in KINDS:
            found.append(_score(scorer, answer))
        else:
            said = _added(plugins("omni.scorers")[scorer.kind], scorer, answer)
            if isinstance(said, str):
                failed.append(said)
            else:
                found.append(said)
    if not found:
        return None
    why = "; ".join([*(one.why for one in found if one.why), *failed])
    return Score(sum(one.value for one in found) / len(found), why)


def _added(plugin: Plugin, scorer: Scorer, answer: str) -> Score | str:
    """What another package's scorer says; where it fails, why: the answer is paid, and others
    may still judge it."""
    function = plugin.load()
    try:
        said = function(answer, scorer.expect)
        found = said if isinstance(said, Score) else Score(float(said))
    except Exception as exc:  # noqa: BLE001  # whatever a stranger's function raises
        return f"{plugin.package} failed: {type(exc).__name__}: {exc}"
    if not 0.0 <= found.value <= 1.0:
        return f"{plugin.package} says {found.value}, which is not 0 to 1"
    return Score(1.0 - found.value, found.why) if scorer.negate else found


def _score(scorer: Scorer, answer: str) -> Score:
    if scorer.kind == "command":
        said = command(scorer.settings["command"])(Completion(text=answer))
    elif scorer.kind == "json-schema":
        parses = is_json(None)(Completion(text=answer))
        said = parses or is_json(scorer.settings["schema"])(Completion(text=answer))
        if said and not parses and not scorer.negate:
            return Score(_PARSES, said)
    else:
        return score(scorer, answer)
    good = not said
    return Score(float(good != scorer.negate), said if not scorer.negate else "")


_JUDGE = Scorer("judge")


class JudgeReport(Struct, frozen=True):
    """``agreement``: share of prompts where both orders name the same best answer.
    ``first_bonus``: how much higher an answer scores when it stands first.
    ``rated``: answers that the user rated too; ``with_user``: the share of them where judge and
    user are on the same side of the middle; ``rank``: Spearman's correlation with the ratings."""

    model: str
    calls: int
    unreadable: int
    cost_nusd: int | None
    agreement: float | None
    first_bonus: float | None
    rated: int
    with_user: float | None
    rank: float | None


class Answer(Struct, frozen=True):
    """One stored answer with its score, for reading views and reports."""

    row: ResultRow
    score: float | None
    why: str


class Report(Struct, frozen=True):
    id: int
    state: str
    plan: Plan
    results: Results
    answers: Sequence[Answer]
    judge: JudgeReport | None
    #: What is known of it; ``unknown`` calls cost more that is not.
    spent_nusd: int
    unknown: int
    missing: int


class CompareReports(Struct, eq=False):
    """Args:
    decision: a request's stored routing decision, JSON text or None.
    """

    store: Comparisons
    learning: Learning
    decision: Callable[[int], str | None]
    clock: Clock

    def report(self, comparison: int, plan: Plan, state: str = "") -> Report:
        """Score what is stored. Raises UsageError: a scorer lacks what it needs."""
        judgements = self.store.judgements(comparison)
        judged: dict[tuple[str, int], dict[str, float]] = {}
        for key in {(row.prompt, row.iteration) for row in judgements}:
            turns = [row.scores for row in judgements if (row.prompt, row.iteration) == key]
            judged[key] = judge.combined(turns)
        answers: list[Answer] = []
        outcomes: list[Outcome] = []
        for row in self.store.results(comparison):
            case = plan.cases.get(row.prompt)
            if case is None or row.contender not in plan.contenders:
                continue
            ok = row.state == "ok"
            by_judge = judged.get((row.prompt, row.iteration), {}).get(row.contender)
            scorers = case.scorers
            if plan.judged and not any(scorer.kind == "judge" for scorer in scorers):
                scorers = (*scorers, _JUDGE)
            found = score_answer(scorers, row.output, by_judge) if ok else None
            value = None if found is None else found.value
            answers.append(Answer(row, value, "" if found is None else found.why))
            outcomes.append(
                Outcome(
                    row.contender,
                    row.prompt,
                    row.iteration,
                    ok,
                    value,
                    row.latency_ms,
                    row.cost_nusd,
                    row.output,
                )
            )
        order = {name: place for place, name in enumerate(plan.contenders)}
        prompts = {key: place for place, key in enumerate(plan.cases)}
        answers.sort(key=lambda a: (prompts[a.row.prompt], a.row.iteration, order[a.row.contender]))
        outcomes.sort(key=lambda o: (prompts[o.prompt], o.iteration, order[o.contender]))
        return Report(
            comparison,
            state or self.store.find(id_text(comparison)).state,
            plan,
            results(outcomes, plan.contenders),
            answers,
            self._judge_report(plan, judgements, answers) if plan.judged else None,
            self.store.spent_nusd(comparison),
            sum(answer.row.cost_nusd is None for answer in answers)
            + sum(row.cost_nusd is None for row in judgements),
            self.missing(plan, comparison),
        )

    def missing(self, plan: Plan, comparison: int) -> int:
        """Answers that are not there yet."""
        good = sum(row.state == "ok" for row in self.store.results(comparison))
        return len(plan.cases) * len(plan.contenders) * plan.settings.iterations - good

    def _judge_report(
        self, plan: Plan, rows: Sequence[JudgementRow], answers: Sequence[Answer]
    ) -> JudgeReport:
        both: list[bool] = []
        bonus: list[float] = []
        by_key: dict[tuple[str, int], dict[int, Mapping[str, float]]] = {}
        for row in rows:
            by_key.setdefault((row.prompt, row.iteration), {})[row.turn] = row.scores
        for turns in by_key.values():
            same = judge.agrees([turns.get(turn, {}) for turn in judge.TURNS])
            if same is not None:
                both.append(same)
            first, second = turns.get(0, {}), turns.get(1, {})
            if len(first) > 1 and first.keys() == second.keys():
                names = [name for name in plan.contenders if name in first]
                bonus.append(first[names[0]] - second[names[0]])
                bonus.append(second[names[-1]] - first[names[-1]])
        ratings = self.store.ratings([answer.row.request for answer in answers])
        scores = {
            answer.row.request: value
            for answer in answers
            if (
                value := judge.combined(
                    list(by_key.get((answer.row.prompt, answer.row.iteration), {}).values())
                ).get(answer.row.contender)
            )
            is not None
        }
        pairs = [(scores[r], rating) for r, rating in ratings.items() if r in scores]
        costs = [row.cost_nusd for row in rows if row.cost_nusd is not None]
        return JudgeReport(
            plan.settings.judge,
            len(rows),
            sum(not row.scores for row in rows),
            sum(costs) if len(costs) == len(rows) else None,
            sum(both) / len(both) if both else None,
            sum(bonus) / len(bonus) if bonus else None,
            len(pairs),
            sum((a >= 0.5) == (b >= 0.5) for a, b in pairs) / len(pairs) if pairs else None,
            spearman(pairs),
        )

    def learn(self, comparison: int, plan: Plan) -> None:
        """Scores are outcomes that routing learns from; asked again they replace themselves."""
        try:
            report = self.report(comparison, plan)
        except UsageError:
            return
        for answer in report.answers:
            row = answer.row
            if answer.score is None or not row.task:
                continue
            kinds = {scorer.kind for scorer in plan.cases[row.prompt].scorers}
            self.learning.add_outcome(
                request=row.request,
                at_ms=int(self.clock() * 1000),
                model=row.model,
                task=row.task,
                form=prompt_form(self.decision(row.request)),
                kind="compare",
                value=answer.score,
                weight=1.0 if kinds - {"judge"} else judge.WEIGHT,
                note=f"comparison {id_text(comparison)}",
            )
