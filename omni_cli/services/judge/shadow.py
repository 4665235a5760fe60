"""A challenger answers a share of a role's requests in the shadow: nobody waits for it, and nobody
is given what it says (B7).

Its answer is compared with the one that went out: by the checks that fit the request, and where
both pass by a judge who reads them in both orders, or by the user who reads them without names.
Scores stay, texts do not, but where the user lets omni keep the conversation: there the
challenger's answer is kept as long as it. What challenger and judge cost is money of a budget of
its own, kept as any budget is.

A request is claimed before its challenger is asked: of two processes one pays. A claim ends with
its process.
"""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest, Completion, Message
from omni_cli.domain.document import document
from omni_cli.domain.errors import (
    BudgetExceeded,
    NoRoute,
    NotFound,
    OmniError,
    ProviderError,
    UsageError,
)
from omni_cli.domain.ids import id_time_ms
from omni_cli.domain.ledger import RequestRow, Source
from omni_cli.domain.money import format_usd, usd
from omni_cli.domain.periods import iso
from omni_cli.domain.record import asdict, replace
from omni_cli.domain.shadow import (
    ALPHA,
    AUTO,
    MARGIN,
    WORDS,
    Claim,
    Evidence,
    How,
    Pair,
    Shadow,
    evidence,
    least_pairs,
)
from omni_cli.domain.words import counted
from omni_cli.ports import Clock
from omni_cli.repositories import Learning, Ledger, Questions, Shadows
from omni_cli.services.engine.chat import ChatRun, ChatService
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.checks import checks_for
from omni_cli.services.engine.decisions import FREE
from omni_cli.services.engine.names import Names
from omni_cli.services.engine.routing import RouteOptions, prompt_form
from omni_cli.services.judge import judge
from omni_cli.services.judge.alerts import Alert

if TYPE_CHECKING:
    from omni_cli.services.fleet.fleet import FleetService
    from omni_cli.services.money.budget_admin import BudgetAdmin

#: Stored requests that are looked through for those to pair, the newest.
_LOOKED_THROUGH = 2_000


class Settings(Struct, frozen=True):
    """``judge``: a model's id, "": checks alone. ``alpha``, ``margin``: see domain/shadow.py.
    ``budget``: the id of the budget that challenger and judge are paid from. ``wait``: a chat is
    compared at once, before its command ends; else ``omni watch`` does that."""

    wait: bool = False
    judge: str = ""
    alpha: float = ALPHA
    margin: float = MARGIN
    budget: int = 0


class Answer(Struct, frozen=True):
    """An answer that went out: which request's, by which model, at what cost (None: unknown).
    ``decision``: the JSON that its receipt has; its row may come into the store after it."""

    request: int
    model: str
    decision: str | None
    task: str
    form: str
    completion: Completion
    cost_nusd: int | None


class Report(Struct, frozen=True):
    """Where a shadow stands. Sums in nano-dollars, None where a price is unknown.

    ``agreement``: of how many answers that a user rated and the judge scored both fall on the same
    side of the middle, as (those, of these); ``blind``: of how many pairs that the user judged
    without names the judge had named the same better answer, or none, as (those, of these);
    ``steady``: judgements that named the same better answer in both orders, as (those, of these).
    ``by_task``: evidence by type of task. ``by_user``: of the pairs alone that the user judged.
    """

    shadow: Shadow
    settings: Settings
    evidence: Evidence
    by_task: dict[str, Evidence]
    by_how: dict[How, int]
    champion_nusd: int | None
    challenger_nusd: int | None
    judge_nusd: int | None
    agreement: tuple[int, int]
    steady: tuple[int, int]
    by_user: Evidence
    blind: tuple[int, int]

    @property
    def shown(self) -> str:
        return self.evidence.shown(self.settings.alpha)

    @property
    def founded(self) -> bool:
        """Whether a change may rest on it: that answers pass checks shows nobody that they are
        good, so a judge or the user must have read them."""
        enough = ("better", "good enough")
        read = self.settings.judge or self.by_user.shown(self.settings.alpha) in enough
        return bool(read) and self.shown in enough

    @property
    def advised(self) -> bool:
        """Whether ``omni recommend`` has it. The router needs no advice: it learns from scores."""
        return self.founded and self.shadow.role != AUTO

    @property
    def cost_ratio(self) -> float | None:
        """The challenger's cost as a share of the champion's, for the same questions."""
        if not self.champion_nusd or self.challenger_nusd is None:
            return None
        return self.challenger_nusd / self.champion_nusd

    @property
    def verdict(self) -> str:
        found, settings = self.evidence, self.settings
        words = {
            "better": "the challenger is shown to be better",
            "good enough": "the challenger is shown to be worse by less than "
            f"{100 * settings.margin:g} points, or not at all",
            "worse": f"the challenger is shown to be worse by more than {100 * settings.margin:g} "
            "points",
        }
        if self.shown:
            read = settings.judge or self.founded
            return words[self.shown] + ("" if read else ", as far as checks tell")
        if not found.pairs:
            own = "; what the challenger or the judge answered itself is not compared"
            return "no pair yet" + own * (self.shadow.role == AUTO)
        least = least_pairs(margin=settings.margin, alpha=settings.alpha)
        return f"nothing shown so far: answers that never differ take {least} pairs"


def report_document(report: Report) -> dict[str, Any]:
    """What ``omni shadow status --json`` prints for each."""
    shadow = report.shadow

    def told(found: Evidence) -> dict[str, Any]:
        return {
            "pairs": found.pairs,
            "difference": None if found.mean is None else round(found.mean, 6),
            "interval": None
            if found.low is None or found.high is None
            else [round(found.low, 6), round(found.high, 6)],
            "e_value_good_enough": round(found.good_enough, 4),
            "e_value_better": round(found.better, 4),
            "e_value_worse": round(found.worse, 4),
        }

    return {
        **document(shadow, "id", "role", "champion", "challenger", "share", "state"),
        "reason": shadow.reason or None,
        "started_at": iso(shadow.started_at),
        "ended_at": iso(shadow.ended_at),
        "judge": report.settings.judge or None,
        **document(report.settings, "alpha", "margin"),
        **told(report.evidence),
        "by_task": {task: told(found) for task, found in report.by_task.items()},
        "scored_by": dict(report.by_how),
        "judge_agrees_with_ratings": {"same": report.agreement[0], "of": report.agreement[1]},
        "judge_agrees_with_you": {"same": report.blind[0], "of": report.blind[1]},
        "by_you": told(report.by_user),
        "judge_same_in_both_orders": {"same": report.steady[0], "of": report.steady[1]},
        "champion_cost_usd": usd(report.champion_nusd),
        "challenger_cost_usd": usd(report.challenger_nusd),
        "judge_cost_usd": usd(report.judge_nusd),
        "cost_ratio": None if report.cost_ratio is None else round(report.cost_ratio, 4),
        "shown": report.shown or None,
        "verdict": report.verdict,
    }


class Blind(Struct, frozen=True):
    """A pair for the user to judge without names: the question, and both answers in an order that
    depends on the request alone. ``swapped``: the challenger's is the first."""

    pair: Pair
    question: str
    first: str
    second: str
    swapped: bool


class ShadowService(Struct, kw_only=True, eq=False):
    """Args:
    premium: the premium model, which judges where nobody else is named; "" without one.
    note: told of shadows that end by themselves.
    """

    shadows: Shadows
    questions: Questions
    ledger: Ledger
    learning: Learning
    chat: ChatService
    names: Names
    fleet: "Callable[[], FleetService]"
    budgets: "Callable[[], BudgetAdmin]"
    clock: Clock
    premium: str = ""
    note: Callable[[str], None] = lambda _: None

    # --- the user's commands -----------------------------------------------------------------

    def start(
        self,
        role_name: str,
        challenger: str,
        *,
        share: float,
        budget_nusd: int,
        judge: str | None,
        settings: Settings = Settings(),  # noqa: B008  # a frozen value
    ) -> Shadow:
        """Begin. The challenger is activated, and a budget a day made for it and the judge.

        Args:
            role_name: AUTO for what the router decides.
            judge: a model's name, "" for checks alone; None: the premium model, where one of the
                providers that the role or the challenger has anyway serves it.

        Raises:
            NotFound: no such role or model.
            UsageError: a number out of range, a shadow that runs already, an empty role, or a
                judge who would read answers of its own.
        """
        if not 0 < share <= 1:
            raise UsageError("--share lies between 0 and 100 %", hint="for example --share 5%")
        if budget_nusd <= 0:
            raise UsageError("--budget is more than 0", hint="for example --budget 1.00/day")
        if not 0 < settings.alpha <= 0.5 or not 0 < settings.margin < 1:
            raise UsageError("--alpha lies between 0 and 0.5, --margin between 0 and 100 %")
        fleet = self.fleet()
        model = fleet.model(challenger)
        champion, slugs = "", {model.provider}
        if role_name != AUTO:
            role = fleet.role(role_name)
            if not role.models:
                raise UsageError(f"role {role_name} has no model to compare with")
            champion = role.models[0].model
            slugs |= {item.model.partition("/")[0] for item in role.models}
        elif judge is None and self.premium and fleet.model(self.premium).status == "active":
            slugs.add(fleet.model(self.premium).provider)  # the router may choose it anyway
        if model.id == champion:
            raise UsageError(f"{model.id} is the first model of role {role_name} already")
        for there in self.shadows.all(role_name, running=True):
            raise UsageError(
                f"a shadow of {there.of} is running", hint=f"omni shadow stop {role_name}"
            )
        reader = self._judge(judge, (champion, model.id), slugs)
        with fleet.change("shadow.start", role_name, champion, model.id):
            if model.status != "active":
                fleet.set_status(model.id, "active")
            budget = self.budgets().set(f"agent:{purse(role_name)}", budget_nusd, "day", {})
            shadow = Shadow(
                id=0,
                role=role_name,
                champion=champion,
                challenger=model.id,
                share=share,
                settings=asdict(replace(settings, judge=reader, budget=budget.id)),
                started_at=self._now(),
                ended_at=None,
                state="running",
                reason="",
            )
            number = self.shadows.start(shadow)
        return replace(shadow, id=number)

    def _judge(self, named: str | None, both: tuple[str, str], slugs: set[str]) -> str:
        if named == "":
            return ""
        hint = "--judge names a third model; --judge none compares by checks alone"
        reader = judge.reader(self.names, named, self.premium, both, hint)
        # Its provider would read the role's questions: only the user can say that it may.
        return reader if named or reader.partition("/")[0] in slugs else ""

    def stop(self, role: str, reason: str = "stopped by the user") -> Shadow:
        """Raises NotFound: no shadow of the role is running."""
        return self._end(self.running(role), reason)

    def running(self, role: str) -> Shadow:
        """Raises NotFound: there is none."""
        found = self.shadows.all(role, running=True)
        if not found:
            raise NotFound(
                f"no shadow of {'what the router decides' if role == AUTO else f'role {role!r}'} is"
                " running",
                hint=f"omni shadow start {role} --challenger MODEL --share 5% --budget 1.00/day",
            )
        return found[0]

    def every(self, role: str | None = None, *, ended: bool = False) -> list[Shadow]:
        """Newest first."""
        return self.shadows.all(role, running=not ended)

    def _end(self, shadow: Shadow, reason: str) -> Shadow:
        fleet = self.fleet()
        with fleet.change("shadow.stop", shadow.role, shadow.challenger, reason):
            if self.shadows.end(shadow.id, reason=reason, at_ms=self._now()):
                self.note(f"shadow of {shadow.of}: stopped, {reason}")
                self._close_purse(shadow)
        return next(one for one in self.shadows.all(shadow.role) if one.id == shadow.id)

    def _close_purse(self, shadow: Shadow) -> None:
        number = Settings(**shadow.settings).budget
        if any(budget.id == number for budget in self.budgets().all()):
            self.budgets().remove(number)

    # --- pairs -------------------------------------------------------------------------------

    def due(self, shadow: Shadow) -> list[int]:
        """Requests of the share whose texts the user lets omni keep, oldest first."""
        found = self.questions.answered(*_asked(shadow), most=_LOOKED_THROUGH)
        ours = [r for r in found if id_time_ms(r) >= shadow.started_at and chosen(shadow, r)]
        rest = self.shadows.unpaired(shadow.id, ours)
        return sorted(r for r in rest if _led(shadow, self.ledger.decision(r)))

    def work(self, shadow: Shadow, *, most: int | None = None) -> Iterator[Pair]:
        """Pair what is due; each pair is kept when it is yielded.

        Raises BudgetExceeded: the shadow's budget, or another one, leaves no room.
        """
        due = self.due(shadow)[:most]
        loaded = self.questions.load(*_asked(shadow), due, most=_LOOKED_THROUGH)
        for asked in sorted(loaded, key=lambda one: one.request):
            decision = self.ledger.decision(asked.request)
            answer = Answer(
                asked.request,
                asked.model,
                decision,
                asked.task,
                prompt_form(decision),
                Completion(text=asked.answer),
                asked.cost_nusd,
            )
            pair = self.pair(shadow, ChatRequest(asked.messages, stream=False), answer)
            if pair is not None:
                yield pair

    def at_once(self, run: ChatRun) -> Pair | None:
        """Pair a request of ``omni chat`` that was just answered, where its role's shadow waits
        for that and the request is of the share.

        Raises BudgetExceeded: the shadow's budget leaves no room.
        """
        row = run.row
        if row is None or row.state != "ok" or run.remembered is not None:
            return None
        for shadow in self.shadows.all(row.role or AUTO, running=True):
            ours = shadow.champion in ("", row.model) and chosen(shadow, row.id)
            if ours and Settings(**shadow.settings).wait:
                form = run.plan.decision.task.form
                decision = self.ledger.decision(row.id)
                answer = Answer(
                    row.id, row.model, decision, row.task, form, run.completion, _cost(run.row)
                )
                return self.pair(shadow, run.plan.job.request, answer)
        return None

    def pair(self, shadow: Shadow, request: ChatRequest, answer: Answer) -> Pair | None:
        """Ask the challenger what was asked, and score both answers; None where it cannot be
        asked this, where a rule had chosen, or where another process is at it or was.

        Raises BudgetExceeded: the budget does not hold challenger and judge; nothing is asked.
        """
        settings = Settings(**shadow.settings)
        if answer.model in (shadow.challenger, settings.judge):
            return None  # the router chose it: nobody is compared with itself, nor judges itself
        if not _led(shadow, answer.decision):
            return None
        claim = self.shadows.claim(shadow.id, answer.request)
        if claim is None:
            return None
        try:
            pair = self._pair(shadow, settings, request, answer, claim)
            if pair is not None:
                self.shadows.put(shadow.id, pair)
        finally:
            self.shadows.release(shadow.id, answer.request)
        if pair is not None:
            self._learn(shadow, answer.form, answer.model, pair)
        return pair

    def _pair(
        self, shadow: Shadow, settings: Settings, request: ChatRequest, answer: Answer, claim: Claim
    ) -> Pair | None:
        said = answer.completion
        asks = claim.answer is None
        self._check_room(shadow, settings, request, said, asks=asks)
        check = checks_for(request)
        request = replace(request, stream=False)
        error: OmniError | None = None
        if claim.answer is not None and claim.shadowed is not None:
            # Paid for by a process that died before it was scored.
            shadowed, other = claim.shadowed, Completion(text=claim.answer)
            other_nusd = _cost(self.ledger.get(shadowed))
        else:
            run, error = self._ask(shadow, request, shadow.challenger)
            if run is None:
                return None
            shadowed, other, other_nusd = run.id, run.completion, _cost(run.row)
            if error is None and not other.tool_calls:
                self.shadows.keep(shadow.id, answer.request, shadowed=shadowed, answer=other.text)
        agreed: bool | None = None
        judge_nusd: int | None = 0
        how: How
        good, other_good = not check(said), not check(other)
        if error is not None:
            how, scores = "failed", (1.0 if good else 0.0, 0.0)
        elif not (good and other_good) or not settings.judge or _text(said) == _text(other):
            how, scores = "check", (float(good), float(other_good))
        else:
            found = self._judged(shadow, settings, request, _text(said), _text(other))
            if found is None:
                return None
            how, (scores, agreed, judge_nusd) = "judge", found
        return Pair(
            answer.request,
            shadowed,
            self._now(),
            answer.task,
            scores[0],
            scores[1],
            how,
            agreed,
            answer.cost_nusd,
            other_nusd,
            judge_nusd,
        )

    def _check_room(
        self,
        shadow: Shadow,
        settings: Settings,
        request: ChatRequest,
        said: Completion,
        *,
        asks: bool,
    ) -> None:
        """Half a pair would be paid for in vain. Raises BudgetExceeded."""
        budget = self.budgets().get(settings.budget)
        status = self.budgets().status(budget)
        jobs = [(request, shadow.challenger)] if asks else []
        if settings.judge:
            both = {"champion": _text(said), "challenger": _text(said)}
            jobs += [
                (judge.request(_question(request), both, (), turn, schema=False), settings.judge)
                for turn in judge.TURNS
            ]
        worst = 0
        for asked, model in jobs:
            with suppress(OmniError):  # told of when it is asked
                plan = self.chat.plan(self._job(shadow, asked, model, "judge"))
                worst += self.chat.worst_nusd(plan) or 0
        if status.left_nusd < worst:
            raise BudgetExceeded(
                f"the {budget.label} has {format_usd(max(status.left_nusd, 0))} left, and a pair "
                f"takes up to {format_usd(worst)}",
                hint=f"omni budgets raise {budget.id} --by USD --for 1d makes room for a day",
            )

    def _job(self, shadow: Shadow, request: ChatRequest, model: str, source: Source) -> ChatJob:
        return ChatJob(
            request,
            self.names.select(model),
            RouteOptions(agent=purse(shadow.role)),
            source=source,
            keep=False,
        )

    def _ask(
        self, shadow: Shadow, request: ChatRequest, model: str, *, judging: bool = False
    ) -> tuple[ChatRun | None, OmniError | None]:
        """One call, paid from the shadow's budget. (None, error) where it cannot be asked."""
        source: Source = "judge" if judging else "shadow"
        try:
            plan = self.chat.plan(self._job(shadow, request, model, source))
        except BudgetExceeded:
            raise
        except OmniError as exc:
            return None, exc
        run = self.chat.start(replace(plan, targets=plan.targets[:1]))
        try:
            for _ in self.chat.chunks(run):
                pass
        except BudgetExceeded:
            raise
        except ProviderError as exc:
            return run, exc
        except OmniError as exc:
            return None, exc
        return run, None

    def _judged(
        self, shadow: Shadow, settings: Settings, request: ChatRequest, said: str, other: str
    ) -> tuple[tuple[float, float], bool | None, int | None] | None:
        """Scores of both, whether both orders agree, and what it cost; None: no readable word."""
        question = _question(request)
        answers = {"champion": said, "challenger": other}
        turns, costs = [], []
        for turn in judge.TURNS:
            asked = judge.request(question, answers, (), turn, schema=True)
            run, error = self._ask(shadow, asked, settings.judge, judging=True)
            if run is None and isinstance(error, NoRoute):
                asked = judge.request(question, answers, (), turn, schema=False)
                run, error = self._ask(shadow, asked, settings.judge, judging=True)
            if run is None or error is not None:
                return None
            turns.append(judge.read(run.completion.text, tuple(answers), turn))
            costs.append(_cost(run.row))
        scores = judge.combined(turns)
        if not scores:
            return None
        known = [cost for cost in costs if cost is not None]
        total = sum(known) if len(known) == len(costs) else None
        return (scores["champion"], scores["challenger"]), judge.agrees(turns), total

    def _learn(self, shadow: Shadow, form: str, champion: str, pair: Pair) -> None:
        """What routing learns of both; of a pair that it knows already, what the user says now."""
        if not pair.task:
            return
        judged = pair.scored_by in ("judge", "user")
        mine = pair.user_champion, pair.user_challenger
        scores = (pair.champion, pair.challenger) if None in mine else mine
        both = zip(
            (pair.request, pair.shadowed), (champion, shadow.challenger), scores, strict=True
        )
        for request, model, value in both:
            if value is None or (value and not judged):
                continue  # an answer that only passed its checks may be bad all the same
            self.learning.add_outcome(
                request=request,
                at_ms=pair.at_ms,
                model=model,
                task=pair.task,
                form=form,
                kind="compare",
                value=value,
                weight=judge.WEIGHT if pair.scored_by == "judge" else 1.0,
                note=f"shadow {shadow.id}",
            )

    # --- the user's own word -----------------------------------------------------------------

    def blind(self, shadow: Shadow) -> list[Blind]:
        """Pairs whose texts are kept, and of which the user has not said yet which is better, in an
        order that tells nothing of who said what."""
        kept = self.shadows.answers(shadow.id)
        left = {
            pair.request: pair
            for pair in self.shadows.pairs(shadow.id)
            if pair.user_champion is None and pair.request in kept
        }
        loaded = self.questions.load(*_asked(shadow), list(left), most=_LOOKED_THROUGH)
        found = []
        for asked in loaded:
            dice = random.Random(f"{shadow.id}:{asked.request}:blind")
            both = asked.answer, kept[asked.request]
            swapped = dice.random() < 0.5
            first, second = reversed(both) if swapped else both
            question = asked.messages[-1].text
            item = Blind(left[asked.request], question, first, second, swapped)
            found.append((dice.random(), item))
        return [item for _, item in sorted(found, key=lambda one: one[0])]

    def say(self, shadow: Shadow, one: Blind, word: str) -> Pair:
        """Keep the user's word: "1", "2", "same" or "bad" (both). Raises UsageError: another."""
        if word not in WORDS:
            raise UsageError(f"{word!r} is none of {', '.join(WORDS)}")
        first, second = WORDS[word]
        champion, challenger = (second, first) if one.swapped else (first, second)
        pair = replace(one.pair, user_champion=champion, user_challenger=challenger)
        self.shadows.say(shadow.id, pair.request, champion=champion, challenger=challenger)
        row = self.ledger.get(pair.request)
        form = prompt_form(self.ledger.decision(pair.request))
        self._learn(shadow, form, shadow.champion if row is None else row.model, pair)
        return pair

    # --- what they show ----------------------------------------------------------------------

    def report(self, shadow: Shadow) -> Report:
        settings = Settings(**shadow.settings)
        pairs = self.shadows.pairs(shadow.id)

        def show(own: Sequence[Pair]) -> Evidence:
            return evidence(
                [pair.difference for pair in own], margin=settings.margin, alpha=settings.alpha
            )

        tasks = sorted({pair.task for pair in pairs if pair.task})
        rated = self.shadows.rated(shadow.id)
        agreed = [pair.agreed for pair in pairs if pair.agreed is not None]
        by_how: dict[How, int] = {}
        for pair in pairs:
            by_how[pair.scored_by] = by_how.get(pair.scored_by, 0) + 1
        own = [pair for pair in pairs if pair.user_champion is not None]
        both = [
            _sides(pair.challenger - pair.champion) == _sides(pair.difference)
            for pair in own
            if pair.how == "judge"
        ]
        return Report(
            shadow,
            settings,
            show(pairs),
            {task: show([p for p in pairs if p.task == task]) for task in tasks},
            by_how,
            _sum(pair.champion_nusd for pair in pairs),
            _sum(pair.challenger_nusd for pair in pairs),
            _sum(pair.judge_nusd for pair in pairs),
            (sum((a >= 0.5) == (b >= 0.5) for a, b in rated), len(rated)),
            (sum(agreed), len(agreed)),
            show(own),
            (sum(both), len(both)),
        )

    def evaluate(self, shadow: Shadow) -> Report:
        """Where it stands; it ends by itself where it is shown to be worse, or where the role got
        another first model."""
        report = self.report(shadow)
        if shadow.state != "running" or shadow.role == AUTO:
            return report
        try:
            models = self.fleet().role(shadow.role).models
        except NotFound:
            models = ()
        if not models or models[0].model != shadow.champion:
            shadow = self._end(shadow, f"role {shadow.role} has another first model now")
        elif report.shown == "worse":
            shadow = self._end(shadow, report.verdict)
        return replace(report, shadow=shadow)

    def _now(self) -> int:
        return int(self.clock() * 1000)


def chosen(shadow: Shadow, request: int) -> bool:
    """Whether a request is of the share: the same answer whoever asks, and whenever."""
    return random.Random(f"{shadow.id}:{request}").random() < shadow.share


def purse(role: str) -> str:
    """The agent in whose name a role's challenger and judge are asked: its budget's subject."""
    return f"shadow:{role}"


def shadow_alerts(service: ShadowService, *, most: int) -> list[Alert]:
    """Compare what is due, ``most`` requests of each shadow, and say what is shown by now."""
    found = []
    for shadow in service.every():
        full = ""
        try:
            for _ in service.work(shadow, most=most):
                pass
        except BudgetExceeded as exc:
            full = exc.message
        found += told(service.evaluate(shadow), full)
    return found


def told(report: Report, full: str = "") -> list[Alert]:
    """What of a shadow is worth telling. ``full``: why its budget leaves no room."""
    shadow = report.shadow
    title = f"{shadow.challenger} in the shadow of {shadow.of}"
    found = []
    if report.shown:
        more = "; omni recommend has it as a change" if report.advised else ""
        pairs = counted(report.evidence.pairs, "pair")
        text = f"{report.verdict}, by {pairs}{more}"
        found.append(Alert(f"shadow:{shadow.id}:{report.shown}", "info", title, text))
    if full:
        found.append(Alert(f"shadow:{shadow.id}:money", "info", title, f"waits: {full}"))
    return found


def _led(shadow: Shadow, decision: str | None) -> bool:
    """Whether the role chose, or for AUTO the router, and no rule before it: else another leader
    changes nothing."""
    by = FREE if shadow.role == AUTO else ("role",)
    return decision is not None and json.loads(decision).get("by") in by


def _asked(shadow: Shadow) -> tuple[str, str, str]:
    """What its requests are found by (store/history.py)."""
    if shadow.role == AUTO:
        return "auto", "", shadow.challenger
    return "role", shadow.role, shadow.champion


def _sides(difference: float) -> int:
    return (difference > 0) - (difference < 0)


def _question(request: ChatRequest) -> Message:
    turns = (m for m in reversed(request.messages) if m.role == "user")
    return next(turns, Message.text_of("user", ""))


def _text(answer: Completion) -> str:
    """An answer as a judge reads it, its calls of tools, too."""
    calls = [f"call {call.name}({call.arguments})" for call in answer.tool_calls]
    return "\n".join(filter(None, (answer.text.strip(), *calls)))


def _cost(row: RequestRow | None) -> int | None:
    return None if row is None else row.known_nusd


def _sum(costs: Iterator[int | None]) -> int | None:
    total = 0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total
