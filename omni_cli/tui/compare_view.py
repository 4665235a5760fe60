"""How a comparison reads: what is asked, how far it is, and the verdict."""

from textual.content import Content

from omni_cli.domain.ids import id_text
from omni_cli.domain.pricing import format_usd
from omni_cli.domain.words import counted
from omni_cli.services.judge import compare_documents as documents
from omni_cli.services.judge.compare_report import Report
from omni_cli.tui import text
from omni_cli.tui.comparing import NONE, Compared, Draft, News, Offer
from omni_cli.tui.widgets.table import Column, Row, flexible

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


def verdict_text(report: Report, value: Compared) -> Content:
    """Winner, bests, recommendations with trade-offs, the judge, and what may be done next."""
    first, *rest = documents.summary_lines(report)
    won = report.results.winner is not None
    head = (f"★ {first}", "bold $accent") if won else (first, "bold")
    parts: list[Content | str | tuple[str, str]] = [head, "\n"]
    parts += [f"  {line}\n" for line in rest]
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


def title_text(report: Report, value: Compared) -> Content:
    """Which comparison this is, in a line."""
    plan = report.plan
    at = next((row.created_at for row in value.rows if row.id == report.id), None)
    made = "" if at is None else f"{text.clock(at, value.zone)[:16]} · "
    times = "" if plan.settings.iterations == 1 else f" × {plan.settings.iterations}"
    prompts = f"{counted(len(plan.cases), 'prompt')}{times}"
    return Content.assemble(
        (f" {plan.name or 'Comparison'} ", "bold"),
        (f"{report.state} · {prompts} · {format_usd(report.spent_nusd)} spent · ", _MUTED),
        (f"{made}{id_text(report.id)}", _MUTED),
    )
