"""A comparison as it is put together, estimated, run and shown, away from the widgets."""

import contextlib
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from msgspec import Struct, field
from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.chat import Message
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import NUSD_PER_USD, figure, format_sum, format_usd, usd_to_nusd
from omni_cli.domain.record import asdict, replace
from omni_cli.domain.words import counted, percent
from omni_cli.records import ComparisonRow
from omni_cli.services.judge import compare_documents as documents
from omni_cli.services.judge.compare import Estimate, Progress
from omni_cli.services.judge.compare_plan import Plan, Settings, Wanted, plan_of
from omni_cli.services.judge.compare_report import Report
from omni_cli.services.judge.suite import Case, load
from omni_cli.tui import text
from omni_cli.tui.actions import read_roles
from omni_cli.tui.colours import series
from omni_cli.tui.plot import Point, Whisker, dollars, scatter, whisker
from omni_cli.tui.widgets.table import Column, Row, flexible

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
        value = figure(self.max_cost)
        if value is None or value <= 0:
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


_MUTED = "$foreground-muted"
#: Columns of the figures, the most telling first: heading in compare_documents, and title.
_COLUMNS = (
    ("accuracy", "Accuracy"),
    ("response", "Response"),
    ("per request", "Per request"),
    ("success", "Success"),
    ("cost", "Total"),
    ("per accurate", "Per accurate"),
    ("accurate", "Accurate"),
    ("partial", "Partial"),
    ("failed", "Failed"),
    ("consistency", "Consistency"),
)
#: Cells of a model's name at least.
_NAME = 20
#: From so many cells on the pictures stand beside each other; lines of the second at most.
_BESIDE, _SCATTER = 110, 16


def setup_text(draft: Draft, width: int) -> Content:
    """What is asked of whom, a line each with the key that changes it."""
    room = max(width - 16, 20)
    prompts = [prompt.split("\n")[0] for prompt in draft.prompts]
    if draft.suite:
        prompts.append(f"suite {draft.suite}")
    shown = f"{len(prompts)}: " + " · ".join(prompts) if len(prompts) > 1 else "".join(prompts)
    scoring = [] if draft.scorer == NONE else [draft.scorer]
    if draft.expect:
        scoring.append(repr(draft.expect))
    if draft.schema:
        scoring.append(f"schema {draft.schema}")
    if draft.judge != NONE:
        scoring.append(f"judge {draft.judge}")
    times = "once each" if draft.iterations == "1" else f"{draft.iterations} times each"
    limit = f", at most ${draft.max_cost.removeprefix('$')}" if draft.max_cost else ""
    lines = (
        ("m", "Models", "  ".join(draft.models) or "nobody yet", bool(draft.models)),
        ("p", "Prompts", shown or "none yet; f names a suite", bool(prompts)),
        ("o", "Scoring", f"{', '.join(scoring) or 'none'}; {times}{limit}", True),
    )
    parts: list[Content | str | tuple[str, str]] = []
    for key, name, value, there in lines:
        style = "" if there else _MUTED
        parts += [
            (f" {key} ", "bold $primary"),
            (f"{name:<9}", _MUTED),
            (text.clip(value, room), style),
            "\n",
        ]
    return Content.assemble(*parts[:-1])


def offer_lines(made: Offer) -> str:
    """What a confirmation says before money flows."""
    plan, estimate = made.plan, made.estimate
    judged = f" and {estimate.judge_calls} of the judge" if estimate.judge_calls else ""
    there = f"; {estimate.done} are there already" if estimate.done else ""
    unknown = f"\nOf unknown price: {', '.join(estimate.unknown)}" if estimate.unknown else ""
    limit = "" if made.limit_nusd is None else f", {format_usd(made.limit_nusd)} at most"
    return (
        f"{', '.join(plan.contenders)}\n"
        f"{counted(len(plan.cases), 'prompt')}: {counted(estimate.calls, 'call')}{judged}{there}\n"
        f"{format_usd(estimate.expected_nusd)} expected{limit}{unknown}"
    )


def running_text(news: News, width: int, *, stopping: bool) -> Content:
    """A bar for each contender, and the money."""
    name_room = max((len(name) for name, *_ in news.groups), default=0)
    name_room = min(name_room, max(width // 2 - 12, 12))
    bar_room = max(width - name_room - 24, 8)
    parts: list[Content | str | tuple[str, str]] = []
    for name, done, failed, of in news.groups:
        filled, empty = text.bar(done / of if of else 0.0, bar_room)
        parts += [
            f" {text.clip(name, name_room):<{name_room}} ",
            (filled, "$primary"),
            (empty, _MUTED),
            f" {done:,} of {of:,}",
            (f" ✗ {failed} failed", "$error") if failed else "",
            "\n",
        ]
    left = "" if news.left_nusd is None else f", {format_usd(news.left_nusd)} left"
    parts.append(f" {format_usd(news.spent_nusd)} spent{left}")
    if stopping:
        parts.append((" · ○ stopping: calls under way are paid for and may finish", "$warning"))
    else:
        parts.append((" · Esc stops; what was paid is kept", _MUTED))
    return Content.assemble(*parts)


def columns(report: Report, width: int) -> tuple[Column, ...]:
    """As many figures as there is room for, without those that say nothing."""
    rows = documents.rows(report)
    longest = max(len(name) for name in report.plan.contenders)
    name_room = min(longest, max(_NAME, width // 3))
    kept = [Column("model", "Model", width=name_room)]
    room = width - 3 - name_room - 2
    for head, title in _COLUMNS:
        at = documents.HEADS.index(head)
        if all(row[at] == "-" for row in rows):
            continue
        need = max(len(title), *(len(row[at]) for row in rows))
        if need + 2 > room:
            continue
        room -= need + 2
        kept.append(Column(head, title, "right", need))
    return flexible(kept, "model", width)


def figures(report: Report, shown: tuple[Column, ...]) -> list[Row]:
    found = []
    for row in documents.rows(report):
        cells = dict(zip(documents.HEADS, row, strict=True))
        found.append(Row(row[0], [cells[column.key] for column in shown]))
    return found


def verdict_text(report: Report, value: Compared, width: int) -> Content:
    """Winner, bests, recommendations with trade-offs, the judge, and what may be done next."""
    first, *rest = documents.summary_lines(report)
    won = report.results.winner is not None
    head = (f"★ {first}", "bold $accent") if won else (first, "bold")
    parts: list[Content | str | tuple[str, str]] = [head, "\n"]
    for line in rest:
        lines = textwrap.wrap(line, max(width, 30) - 4)
        parts.append("  " + "\n    ".join(lines) + "\n")
    if report.judge is not None:
        parts.append((f"  {documents.judge_line(report)}\n", _MUTED))
    if report.missing:
        missing = counted(report.missing, "answer is missing", "answers are missing")
        parts.append((f"▲ {missing}: c asks for them\n", "$warning"))
    if any(name.partition("/")[0] in value.simulated for name in report.plan.contenders):
        parts.append(("  simulated providers: figures of the simulator, not of models\n", _MUTED))
    parts += [
        (" v", "bold $primary"),
        " answers side by side  ",
        ("w", "bold $primary"),
        " switch a role  ",
        ("b", "bold $primary"),
        " begin an A/B test",
    ]
    if value.testing:
        parts += ["  ", ("t", "bold $primary"), f" A/B tests: {', '.join(value.testing)}"]
    return Content.assemble(*parts)


def pictures(report: Report, size: tuple[int, int]) -> Content:
    """Accuracy, or the time of answers where nothing was scored, as bars with their 95 %
    intervals; and cost against accuracy. Beside each other where there is room."""
    width, height = size
    looks = series(sorted(report.plan.contenders))
    own = {name: look.style for name, look in looks.items()}
    marks = dict(zip(report.plan.contenders, "ABCDEFGH", strict=False))
    beside = width >= _BESIDE
    half = width // 2 - 1 if beside else width
    bars = _whiskers(report, own, marks, half)
    room = max(height - (0 if beside else len(bars) + 1), 0)
    points = _scatter(report, own, marks, (half, min(room, _SCATTER)))
    if not beside or not points:
        return Content("\n").join([*bars, *([Content("")] if points else []), *points])
    lines = []
    for at in range(max(len(bars), len(points))):
        left = bars[at] if at < len(bars) else Content("")
        right = points[at] if at < len(points) else Content("")
        lines.append(left.pad_right(max(half + 2 - left.cell_length, 0)) + right)
    return Content("\n").join(lines)


def _whiskers(
    report: Report, own: Mapping[str, str], marks: Mapping[str, str], width: int
) -> list[Content]:
    results = report.results
    known = [
        (name, found)
        for name, figures in results.figures.items()
        if (found := figures.accuracy if results.scored else figures.latency_ms) is not None
    ]
    if not known:
        return []
    head = "ACCURACY" if results.scored else "RESPONSE TIME"
    tell = percent if results.scored else text.seconds
    # Of one measurement nobody knows how far it is off.
    ends = [end for _, found in known for end in (found.value, found.high) if isfinite(end)]
    top = 1.0 if results.scored else max(ends)
    name_room = min(max(len(name) for name, _ in known), max(width // 3, 12))
    said = [
        f"{tell(found.value)} ({tell(found.low)} to {tell(found.high)})"
        if isfinite(found.high)
        else f"{tell(found.value)} (asked once)"
        for _, found in known
    ]
    room = max(width - name_room - max(map(len, said)) - 5, 3)
    lines = [Content.assemble((head, "bold $primary"), ("  ├─┤ 95 of 100 times", _MUTED))]
    for (name, found), words in zip(known, said, strict=True):
        low, high = max(found.low, 0.0), found.high
        if not isfinite(high):
            low = high = found.value
        drawn = Whisker(found.value, low, high, own[name])
        label = f"{marks.get(name, ' ')} {text.clip(name, name_room):<{name_room}} "
        lines.append(Content(label) + whisker(drawn, top, room) + f" {words}")
    return lines


def _scatter(
    report: Report, own: Mapping[str, str], marks: Mapping[str, str], size: tuple[int, int]
) -> list[Content]:
    if not report.results.scored:
        return []
    points = [
        Point(marks[name], each.value / NUSD_PER_USD, 100 * accuracy.value, own[name])
        for name, figures in report.results.figures.items()
        if (each := figures.per_request_nusd) and (accuracy := figures.accuracy) and name in marks
    ]
    drawn = scatter(
        points, (size[0], size[1] - 1), x_scale=dollars, y_scale=lambda value: f"{value:.0f}%"
    )
    if not drawn:
        return []
    head = Content.assemble(("ACCURACY", "bold $primary"), (" against cost per request, $", _MUTED))
    return [head, *drawn]


def title_text(report: Report, value: Compared, width: int) -> Content:
    """Which comparison this is, in a line; its id where there is room."""
    plan = report.plan
    at = next((row.created_at for row in value.rows if row.id == report.id), None)
    made = "" if at is None else f" · {text.clock(at, value.zone)[:16]}"
    times = "" if plan.settings.iterations == 1 else f" × {plan.settings.iterations}"
    prompts = f"{counted(len(plan.cases), 'prompt')}{times}"
    spent = format_sum(report.spent_nusd, report.unknown)
    shown = Content.assemble(
        (f" {plan.name or 'Comparison'} ", "bold"),
        (f"{report.state} · {prompts} · {spent} spent{made}", _MUTED),
    )
    named = f" · {id_text(report.id)}"
    return shown + Content.styled(named if shown.cell_length + len(named) <= width else "", _MUTED)
