"""A month in one page: what it cost and saved, how good it was, what was tried, what to do next."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from msgspec import Struct

from omni_cli.domain.analytics import Totals, change
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd, usd
from omni_cli.domain.periods import local_date, parse_span
from omni_cli.domain.statistics import Interval, rate_difference, wilson
from omni_cli.domain.words import counted
from omni_cli.ports import Clock
from omni_cli.repositories import Comparisons, Deploys, Learning
from omni_cli.services.judge.abtest import AbTests
from omni_cli.services.judge.advice_document import Telling, Told
from omni_cli.services.judge.shadow import ShadowService
from omni_cli.services.money.savings import SavingsReport, SavingsService
from omni_cli.services.money.usage import UsageQuery, UsageReport, UsageService

#: Rows of a table.
_MOST = 12
_COMPARISONS = 1_000
_NO_OUTCOMES = (
    "No outcomes: nobody rated, checked or compared an answer. `omni rate`, `omni chat --check`, "
    "`POST /v1/outcomes` and `omni shadow` give some."
)


class Quality(Struct, frozen=True):
    """Of a role: how many outcomes, the share of good ones with its 95 % interval, and the
    difference from the month before; None where one of both has too little."""

    role: str
    outcomes: int
    rate: Interval | None
    difference: Interval | None

    @property
    def shown(self) -> str:
        """What the difference shows."""
        gap = self.difference
        if gap is None:
            return "nothing to compare with"
        if not gap.excludes():
            return "no difference shown"
        return "better" if gap.value > 0 else "worse"


class Tried(Struct, frozen=True):
    """Something that was tried out in the month. ``at_ms``: when it began."""

    at_ms: int
    what: str
    found: str


class Monthly(Struct, frozen=True):
    """``last`` is included, and today where the month is not over."""

    month: str
    first: date
    last: date
    zone: str
    whole: bool
    usage: UsageReport
    roles: UsageReport
    before: Totals
    savings: SavingsReport
    quality: tuple[Quality, ...]
    tried: tuple[Tried, ...]
    next: tuple[Told, ...]


class MonthlyReports(Struct, kw_only=True, eq=False):
    usage: UsageService
    savings: SavingsService
    learning: Learning
    shadows: ShadowService
    abtests: AbTests
    deploys: Deploys
    comparisons: Comparisons
    telling: Callable[[], Telling]
    clock: Clock

    def of(self, month: str | None) -> Monthly:
        """
        Args:
            month: YYYY-MM; None: the one that is now.

        Raises:
            UsageError: no such month, or one to come.
        """
        zone, now = self.usage.zone(), int(self.clock() * 1000)
        today = local_date(now, zone)
        first = _first(month, today)
        after = _after(first)
        last = min(after - timedelta(days=1), today)
        span = first.isoformat(), (last + timedelta(days=1)).isoformat()
        earlier = (first - timedelta(days=1)).replace(day=1), first

        def used(by: Any, start: str, end: str) -> UsageReport:
            return self.usage.report(UsageQuery(by=by, from_date=start, to_date=end))

        before = used("model", earlier[0].isoformat(), earlier[1].isoformat())
        return Monthly(
            month=f"{first:%Y-%m}",
            first=first,
            last=last,
            zone=zone,
            whole=last < today,
            usage=used("model", *span),
            roles=used("role", *span),
            before=before.total.totals,
            savings=self.savings.report(period=None, from_date=span[0], to_date=span[1]),
            quality=tuple(self._quality(_ms(first, zone, now), _ms(after, zone, now), zone, now)),
            tried=tuple(self._tried(_ms(first, zone, now), _ms(after, zone, now))),
            next=tuple(t for t in self.telling().every() if t.advice.status == "pending"),
        )

    def _quality(self, start: int, end: int, zone: str, now: int) -> Iterator[Quality]:
        previous = (local_date(start, zone) - timedelta(days=1)).replace(day=1)
        mine = self.learning.by_role(start, end)
        old = self.learning.by_role(_ms(previous, zone, now), start)
        for role, (number, good) in sorted(mine.items()):
            was = old.get(role, (0, 0.0))
            yield Quality(
                role, number, wilson(good, number), rate_difference(good, number, was[1], was[0])
            )

    def _tried(self, start: int, end: int) -> list[Tried]:
        found = [
            Tried(
                shadow.started_at,
                f"{shadow.challenger} in the shadow of {shadow.of}",
                f"{report.verdict} ({counted(report.evidence.pairs, 'pair')})",
            )
            for shadow in self.shadows.every(ended=True)
            if start <= shadow.started_at < end
            for report in (self.shadows.report(shadow),)
        ]
        found += [
            Tried(
                test.started_at,
                f"{test.challenger} on {test.share:.0%} of role {test.role}",
                test.reason or self.abtests.report(test).verdict,
            )
            for test in self.abtests.tests(ended=True)
            if start <= test.started_at < end
        ]
        found += [
            Tried(
                deploy.started_at,
                f"deploy {deploy.id}"
                + ("" if deploy.share is None else f" on {deploy.share:.0%} of traffic"),
                f"{deploy.state}{': ' if deploy.reason else ''}{deploy.reason}",
            )
            for deploy in self.deploys.recent(limit=_COMPARISONS)
            if start <= deploy.started_at < end
        ]
        compared = [
            row
            for row in self.comparisons.recent(limit=_COMPARISONS)
            if start <= row.created_at < end
        ]
        if compared:
            what = counted(len(compared), "comparison")
            found.append(Tried(compared[-1].created_at, what, "omni compare --list has them"))
        return sorted(found, key=lambda one: one.at_ms)


def _first(month: str | None, today: date) -> date:
    if month is None:
        return today.replace(day=1)
    try:
        first = date.fromisoformat(f"{month}-01")
    except ValueError:
        raise UsageError(f"{month!r} is no month", hint="for example: 2026-10") from None
    if first > today:
        raise UsageError(f"{month} is still to come")
    return first


def _after(first: date) -> date:
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1)


def _ms(day: date, zone: str, now: int) -> int:
    """When a day begins, ms UTC."""
    end = (day + timedelta(days=1)).isoformat()
    return parse_span(now_ms=now, zone=zone, from_date=day.isoformat(), to_date=end).start_ms


# --- as a document, and as text ------------------------------------------------------------------


def monthly_document(report: Monthly) -> dict[str, Any]:
    """What ``omni report --json`` prints."""

    def interval(found: Interval | None) -> list[float] | None:
        return None if found is None else [round(found.low, 4), round(found.high, 4)]

    savings = report.savings
    return {
        "month": report.month,
        "from": report.first.isoformat(),
        "through": report.last.isoformat(),
        "zone": report.zone,
        "whole": report.whole,
        "cost_usd": usd(report.usage.total.totals.known_nusd),
        "before_cost_usd": usd(report.before.known_nusd if report.before.calls else None),
        "calls": report.usage.total.totals.calls,
        "by_model": [_row(row.name, row.totals) for row in report.usage.rows],
        "by_role": [_row(row.name, row.totals) for row in report.roles.rows],
        "saving_usd": usd(savings.saving_nusd),
        "saving_measured_share": savings.measured_share,
        "evaluation_usd": usd(sum(savings.evaluation_nusd.values())),
        "quality": [
            {
                "role": one.role or None,
                "outcomes": one.outcomes,
                "good": None if one.rate is None else round(one.rate.value, 4),
                "interval": interval(one.rate),
                "difference": None if one.difference is None else round(one.difference.value, 4),
                "difference_interval": interval(one.difference),
                "shown": one.shown,
            }
            for one in report.quality
        ],
        "tried": [
            {"began": local_date(one.at_ms, report.zone).isoformat(), "what": one.what,
             "found": one.found}
            for one in report.tried
        ],
        "next": [told.document() for told in report.next],
    }  # fmt: skip


def _row(name: str, totals: Totals) -> dict[str, Any]:
    return {"name": name or None, "calls": totals.calls, "cost_usd": usd(totals.known_nusd)}


def markdown(report: Monthly) -> str:
    """The page. What is not known says so."""
    usage, savings = report.usage.total.totals, report.savings
    until = "" if report.whole else f", through {report.last.isoformat()}"
    lines = [f"# Models in {report.month}{until}", ""]
    if not usage.calls:
        return "\n".join([*lines, "Nothing was used."]) + "\n"
    lines += [f"**{format_usd(usage.known_nusd)}** for {counted(usage.calls, 'call')}."]
    if report.before.calls:
        moved = change(usage.cost_nusd, report.before.cost_nusd)
        was = format_usd(report.before.known_nusd)
        part = "" if report.whole else ", all of it"
        lines[-1] += f" The month before{part}: {was}" + (
            "." if moved is None or not report.whole else f" ({moved:+.0f} %)."
        )
    if usage.unknown_attempts:
        lines += [f"{counted(usage.unknown_attempts, 'call')} of unknown price are in no amount."]
    lines += ["", *_table(("model", "calls", "cost"), _sums(report.usage)), ""]
    if any(row.name for row in report.roles.rows):
        lines += [*_table(("role", "calls", "cost"), _sums(report.roles)), ""]
    lines += ["## Saved", "", *_saved(savings), "", "## Quality", ""]
    if report.quality:
        rows = [
            (
                one.role or "(no role)",
                str(one.outcomes),
                "-" if one.rate is None else _percent(one.rate),
                "-" if one.difference is None else _points(one.difference),
                one.shown,
            )
            for one in report.quality
        ]
        head = ("role", "outcomes", "good", "against the month before", "shown")
        lines += [*_table(head, rows), "", "Brackets are 95 % intervals."]
    else:
        lines += [_NO_OUTCOMES]
    lines += ["", "## Tried", ""]
    lines += [
        f"- {local_date(one.at_ms, report.zone).isoformat()}: {one.what}: {one.found}"
        for one in report.tried
    ] or ["Nothing was tried out."]
    lines += ["", "## Next", ""]
    lines += [
        f"- **{told.advice.finding.title}**{_worth(told)}. {told.advice.finding.reasoning} "
        f"`omni recommend apply {told.advice.id}`"
        if told.advice.finding.action.kind != "none"
        else f"- **{told.advice.finding.title}**. {told.advice.finding.reasoning}"
        for told in report.next[:_MOST]
    ] or ["Nothing to recommend."]
    return "\n".join(lines) + "\n"


def _worth(told: Told) -> str:
    monthly = told.advice.finding.saving_monthly_nusd
    return f", {format_usd(monthly)} a month" if monthly else ""


def _sums(report: UsageReport) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        (row.name or "(none)", f"{row.totals.calls:,}", format_usd(row.totals.known_nusd))
        for row in report.rows[:_MOST]
    ]
    rest = len(report.rows) - _MOST
    return [*rows, (f"and {rest} more", "", "")] if rest > 0 else rows


def _saved(savings: SavingsReport) -> list[str]:
    if savings.saving_nusd is None or savings.total is None:
        return ["Not known: no request could be compared with a premium model."]
    names = ", ".join(baseline.model for baseline in savings.baselines)
    word = "saved" if savings.saving_nusd >= 0 else "more paid"
    calls = counted(savings.total.calls, "request")
    amount = format_usd(abs(savings.saving_nusd))
    text = f"**{amount}** {word} against {names}, over {calls} that could be compared."
    spent = sum(savings.evaluation_nusd.values())
    if spent:
        text += f" Trying models out cost {format_usd(spent)}, which is taken off."
    if savings.measured_share is not None:
        share = f"For {savings.measured_share:.0%} of it the quality of the cheaper answers"
        text += f" {share} is measured, on your own outcomes or published results"
        text += "." if savings.measured_share >= 1 else "; for the rest it is estimated."
    return [text]


def _percent(found: Interval) -> str:
    return f"{found.value:.0%} [{found.low:.0%} to {found.high:.0%}]"


def _points(found: Interval) -> str:
    return f"{found.value:+.0%} [{found.low:+.0%} to {found.high:+.0%}]"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    return [line(head), "| " + " | ".join("---" for _ in head) + " |", *map(line, rows)]


_STYLE: Mapping[str, str] = {
    "body": "font:15px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem",
    "table": "border-collapse:collapse",
    "td,th": "border:1px solid #8886;padding:.3rem .6rem;text-align:left",
    "code": "background:#8882;padding:0 .2rem",
}


def html(report: Monthly) -> str:
    """One file, without scripts or anything fetched."""
    from markdown_it import MarkdownIt

    page = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown(report))
    style = "".join(f"{name}{{{rule}}}" for name, rule in _STYLE.items())
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>Models in {report.month}</title><style>{style}</style>{page}</html>\n"
    )
