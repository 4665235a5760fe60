"""A comparison as it is put together, estimated and run, away from the widgets."""

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from omni_cli.bootstrap import App
from omni_cli.domain.chat import Message
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.pricing import usd_to_nusd
from omni_cli.domain.record import asdict, replace
from omni_cli.records import ComparisonRow
from omni_cli.services.judge.compare import Estimate, Progress
from omni_cli.services.judge.compare_plan import Plan, Settings, Wanted, plan_of
from omni_cli.services.judge.compare_report import Report
from omni_cli.services.judge.suite import Case, load
from omni_cli.tui.role_switching import read_roles

#: Models that are shown side by side; more are ``omni compare``'s.
MOST_MODELS = 4
#: Stands between prompts in the editor, and for "no scorer", "no judge".
SEPARATOR = "---"
NONE = "none"


class Draft(Struct, frozen=True):
    """What is to be compared, as texts, so that it survives a restart."""

    models: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    suite: str = ""
    scorer: str = NONE
    expect: str = ""
    schema: str = ""
    judge: str = NONE
    iterations: str = "1"
    max_tokens: str = "1024"
    max_cost: str = ""

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> "Draft":
        """From what was kept; anything that is not as it should be is left out."""
        usual, values = cls(), dict[str, Any]()
        for name in cls.__struct_fields__:
            value, default = kept.get(name), getattr(usual, name)
            if isinstance(default, tuple) and isinstance(value, list | tuple):
                values[name] = tuple(str(v) for v in value)
            elif isinstance(default, str) and isinstance(value, str):
                values[name] = value
        found = cls(**values)
        return replace(found, models=found.models[:MOST_MODELS])

    @property
    def ready(self) -> bool:
        return bool(self.models and (self.prompts or self.suite))

    @property
    def limit_nusd(self) -> int | None:
        """Raises UsageError."""
        if not self.max_cost:
            return None
        try:
            value = Decimal(self.max_cost.removeprefix("$"))
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or value <= 0:
            raise UsageError(f"the most it may cost is an amount above 0, not {self.max_cost!r}")
        return usd_to_nusd(value)


def plan_from_draft(omni: App, draft: Draft) -> Plan:
    """Raises UsageError, NotFound: something in it cannot be."""
    cases = [Case((Message.text_of("user", text),)) for text in draft.prompts]
    name = ""
    if draft.suite:
        path = Path(draft.suite).expanduser()
        suite = load(path)
        if suite.unmapped:
            raise UsageError(
                f"{path} asks for what omni has no word for: {'; '.join(suite.unmapped[:3])}",
                hint="omni compare --suite FILE --lenient leaves these out",
            )
        cases += suite.cases
        name = suite.name
    if not cases:
        raise UsageError("there is no prompt", hint="p writes one, f names a suite")
    scoring: dict[str, object] = {}
    if draft.expect:
        scoring["expect"] = [draft.expect]
    if draft.scorer != NONE:
        scoring["scorers"] = [draft.scorer]
    if draft.schema:
        scoring["schema"] = str(Path(draft.schema).expanduser().resolve())
    judge = "" if draft.judge == NONE else draft.judge
    settings = Settings(iterations=_whole(draft.iterations), max_tokens=_whole(draft.max_tokens))
    return plan_of(
        omni.names, Wanted(draft.models, cases, scoring, Path.cwd(), judge, settings, name)
    )


def _whole(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise UsageError(f"{text!r} is no whole number of 1 or more")
    return int(text)


class Offer(Struct, frozen=True):
    """A plan with what it will cost, before anything is sent. ``comparison`` 0: a new one."""

    plan: Plan
    estimate: Estimate
    limit_nusd: int | None
    comparison: int = 0


def offer(omni: App, draft: Draft) -> Offer:
    """Raises:
    UsageError, NotFound, NoRoute: it cannot be run.
    BudgetExceeded, UnknownPrice: it may not be.
    """
    plan = plan_from_draft(omni, draft)
    return _checked(omni, Offer(plan, omni.compare.estimate(plan), draft.limit_nusd))


def offer_again(omni: App, comparison: int, limit_nusd: int | None) -> Offer:
    """To ask only what is missing. Raises as ``offer``; UsageError when nothing is."""
    _, plan = omni.compare.load(id_text(comparison))
    estimate = omni.compare.estimate(plan, comparison)
    if not estimate.calls and not estimate.judge_calls:
        raise UsageError("every answer is there", hint="m, p and o change what is asked")
    return _checked(omni, Offer(plan, estimate, limit_nusd, comparison))


def _checked(omni: App, made: Offer) -> Offer:
    omni.compare.check_money(made.estimate, made.limit_nusd)
    return made


# --- running ---------------------------------------------------------------------------------


class News(Struct, frozen=True):
    """How far it is. ``groups``: (contender or judge, answered or failed, failed, of how many).
    ``done``: nothing more will come; ``error`` then says why it ended early."""

    groups: tuple[tuple[str, int, int, int], ...] = ()
    spent_nusd: int = 0
    left_nusd: int | None = None
    last: str = ""
    comparison: int = 0
    done: bool = False
    error: OmniError | None = None


class Running(Struct):
    """One run of a comparison, in a worker thread.

    Args:
        tell: called in the worker's thread with each change.
    """

    offer: Offer
    tell: Callable[[News], None]
    _stop: threading.Event = field(default_factory=threading.Event)
    _counts: dict[str, list[int]] = field(default_factory=dict)
    _news: News = News()

    @property
    def stopping(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Start no more calls. Those under way are paid for, so they are waited for."""
        self._stop.set()

    def run(self, omni: App) -> None:
        """To its end; ends with News that are done."""
        made = self.offer
        each = len(made.plan.cases) * made.plan.settings.iterations
        self._counts = {name: [0, 0, each] for name in made.plan.contenders}
        if made.comparison:
            for row in omni.comparisons.results(made.comparison):
                if row.state == "ok" and row.contender in self._counts:
                    self._counts[row.contender][0] += 1
        error: OmniError | None = None
        comparison = made.comparison
        try:
            comparison = comparison or omni.compare.create(made.plan)
            self._say(comparison=comparison)
            omni.compare.run(
                comparison,
                made.plan,
                max_cost_nusd=made.limit_nusd,
                progress=self._heard,
                stop=self._stop.is_set,
                interrupted=self.stop,
            )
        except OmniError as exc:
            error = exc
        self._say(comparison=comparison, done=True, error=error)

    def _heard(self, step: Progress) -> None:
        counts = self._counts.setdefault(step.last, [0, 0, step.calls])
        counts[0] += 1
        counts[1] += step.error is not None
        self._say(spent_nusd=step.spent_nusd, left_nusd=step.left_nusd, last=step.last)

    def _say(self, **news: Any) -> None:
        groups = tuple((name, a, b, c) for name, (a, b, c) in self._counts.items())
        self._news = replace(self._news, groups=groups, **news)
        self.tell(self._news)


# --- what is there ---------------------------------------------------------------------------


class Compared(Struct, frozen=True):
    """What the tab shows: the chosen comparison's report, all comparisons, and what may be
    compared: (id, name, provider) of active models, and roles with their first models."""

    report: Report | None
    rows: tuple[ComparisonRow, ...]
    models: tuple[tuple[str, str, str], ...]
    roles: tuple[tuple[str, str], ...]
    simulated: frozenset[str]
    testing: tuple[str, ...]
    zone: str


def read_compared(omni: App, comparison: int | None) -> Compared:
    """Args: ``comparison``: the one to show; the newest without."""
    rows = omni.comparisons.recent()
    report = None
    wanted = comparison or (rows[0].id if rows else 0)
    if wanted:
        with contextlib.suppress(NotFound):
            found, plan = omni.compare.load(id_text(wanted))
            report = omni.compare_reports.report(found, plan)
    providers = omni.providers.all()
    models = omni.models.of_providers([p.slug for p in providers])
    return Compared(
        report,
        tuple(rows),
        tuple((m.id, m.name, m.provider) for m in models if m.status == "active"),
        read_roles(omni),
        frozenset(p.slug for p in providers if p.simulated),
        tuple(test.role for test in omni.abtests.tests()),
        omni.zone,
    )


def split_prompts(text: str) -> tuple[str, ...]:
    """Prompts of the editor: between lines that are only ``---``."""
    parts: list[list[str]] = [[]]
    for line in text.splitlines():
        if line.strip() == SEPARATOR:
            parts.append([])
        else:
            parts[-1].append(line)
    found = ("\n".join(lines).strip() for lines in parts)
    return tuple(prompt for prompt in found if prompt)


def join_prompts(prompts: Sequence[str]) -> str:
    return f"\n{SEPARATOR}\n".join(prompts)
