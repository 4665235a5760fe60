"""A comparison on the terminal: what it will cost, how far it is, and what came of it."""

import shutil
import sys
import textwrap

from omni_cli.bootstrap import App
from omni_cli.cli.render import note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import format_usd
from omni_cli.domain.scoring import verdict
from omni_cli.domain.words import counted
from omni_cli.services.judge import compare_documents as documents
from omni_cli.services.judge.compare import Estimate, Progress
from omni_cli.services.judge.compare_documents import Checked
from omni_cli.services.judge.compare_plan import Plan
from omni_cli.services.judge.compare_report import Report

_NARROWEST = 36
#: Of the figures that may be left out of a narrow table; a lower one goes first.
_WORTH = {"accuracy": 9, "score": 8, "failed": 7, "latency": 6}
#: Prompts whose answers are shown unasked where nothing scores them.
_MOST_SHOWN = 12


def announce(plan: Plan, estimate: Estimate) -> None:
    """What will be asked and what that is expected to cost, on stderr."""
    done = f", {estimate.done} there already" if estimate.done else ""
    judged = f" and {estimate.judge_calls} of the judge" if estimate.judge_calls else ""
    unknown = f", {', '.join(estimate.unknown)} at unknown prices" if estimate.unknown else ""
    note(
        f"{counted(len(plan.contenders), 'model')}, {counted(len(plan.cases), 'prompt')}: "
        f"{counted(estimate.calls, 'call')}"
        f"{judged}{done}; {format_usd(estimate.expected_nusd)} expected{unknown}"
    )


def run(omni_app: App, comparison: int, plan: Plan, limit: int | None, *, quiet: bool) -> None:
    """Ask what is missing, with progress on stderr.

    Raises OmniError, KeyboardInterrupt: it ended early; what was answered is kept.
    """
    stopping = False
    live = sys.stderr.isatty()

    def interrupted() -> None:
        nonlocal stopping
        stopping = True
        note(
            "\nstopping: calls under way are paid for, so they may finish; Ctrl-C again drops them"
        )

    def progress(step: Progress) -> None:
        if quiet:
            return
        left = "" if step.left_nusd is None else f", {format_usd(step.left_nusd)} left"
        line = f"{step.done}/{step.calls}  {format_usd(step.spent_nusd)} spent{left}  {step.last}"
        if step.error is not None:
            line += f": {step.error.code}"
        if live:
            sys.stderr.write(f"\r\x1b[K{line}")
            sys.stderr.flush()
            if step.done == step.calls:
                sys.stderr.write("\n")
        elif step.error is not None or step.done in (1, step.calls) or step.done % 20 == 0:
            note(line)

    try:
        complete = omni_app.compare.run(
            comparison,
            plan,
            max_cost_nusd=limit,
            progress=progress,
            stop=lambda: stopping,
            interrupted=interrupted,
        )
    except OmniError:
        note(f"what was answered is kept: omni compare --resume {id_text(comparison)} goes on")
        raise
    if stopping:
        note(f"stopped; omni compare --resume {id_text(comparison)} goes on where it stopped")
        raise KeyboardInterrupt
    if not complete and not quiet:
        note(f"some calls failed; omni compare --resume {id_text(comparison)} asks them again")


def print_report(report: Report, checked: list[Checked], *, answers: bool = False) -> None:
    """The figures and the verdict for a person, on stdout; where nothing scores the answers, the
    answers first, since whoever asked compares them by eye.

    Args:
        answers: all of them, whether scored or not.
    """
    if not report.results.scored:
        print_answers(report, most=None if answers else _MOST_SHOWN)
    heads, lines = documents.HEADS, documents.rows(report)
    kept = [
        place
        for place, head in enumerate(heads)
        if head == "model" or any(line[place] != "-" for line in lines)
    ]
    table(
        [_column(heads[place]) for place in kept],
        [[line[place] for place in kept] for line in lines],
    )
    out()
    first, *rest = documents.summary_lines(report)
    out(paint(first, "bold"))
    for line in rest:
        out(line)
    if report.judge is not None:
        out(documents.judge_line(report))
    for one in checked:
        mark = paint("✓", "green") if one.holds else paint("✗", "red")
        out(f"{mark} {one.model}: {one.text} ({figures(one)})")
    if report.missing:
        missing = counted(report.missing, "answer is missing", "answers are missing")
        out(paint(missing, "yellow"))
    if answers and report.results.scored:
        print_answers(report)
    elif report.results.scored or len(report.plan.cases) > _MOST_SHOWN:
        out(paint(f"omni compare --show {id_text(report.id)} --answers", "dim"))


def _column(head: str) -> Column:
    if head == "model":
        return Column.key(head)
    return Column.money(head) if "cost" in head else Column.figure(head, _WORTH.get(head, 1))


def figures(one: Checked) -> str:
    """The values that an assertion was checked against."""
    return ", ".join(
        f"{name} {'unknown' if value is None else f'{value:.6g}'}"
        for name, value in one.figures.items()
    )


def print_answers(report: Report, *, most: int | None = None) -> None:
    """Every prompt, or the first ``most``, with its answers beside each other, or below where
    there is no room."""
    width = shutil.get_terminal_size((100, 24)).columns
    contenders = report.plan.contenders
    across = max(min(len(contenders), width // _NARROWEST), 1)
    column = width // across - 2
    by = {}
    for answer in report.answers:
        by[answer.row.prompt, answer.row.iteration, answer.row.contender] = answer
    cases = list(report.plan.cases.items())[:most]
    for prompt, case in cases:
        out()
        out(paint(case.name or case.prompt.strip(), "bold"))
        for iteration in range(report.plan.settings.iterations):
            cells = []
            for name in contenders:
                found = by.get((prompt, iteration, name))
                head, text = name, "(missing)"
                if found is not None:
                    row = found.row
                    score = (
                        "" if found.score is None else f" {found.score:.2f} {verdict(found.score)}"
                    )
                    head = f"{name}{score} {format_usd(row.cost_nusd)}"
                    text = row.output if row.state == "ok" else f"failed: {row.error_message}"
                cells.append([*textwrap.wrap(head, column), "─" * column, *_wrapped(text, column)])
            for start in range(0, len(cells), across):
                group = cells[start : start + across]
                for number in range(max(map(len, group))):
                    parts = [cell[number] if number < len(cell) else "" for cell in group]
                    out("  ".join(part.ljust(column) for part in parts).rstrip())
                out()
    if len(cases) < len(report.plan.cases):
        more = counted(len(report.plan.cases) - len(cases), "more prompt")
        out(paint(f"and the answers to {more}", "dim"))


def _wrapped(text: str, width: int) -> list[str]:
    return [
        piece
        for line in text.splitlines()
        for piece in (textwrap.wrap(line, width, replace_whitespace=False) or [""])
    ]
