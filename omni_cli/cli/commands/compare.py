"""``omni compare``: the same prompts to several models, scored."""

import shutil
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_models, complete_selectors, money, omni, words
from omni_cli.cli.prompts import read_prompt
from omni_cli.cli.render import emit_json, moment, note, out, paint, table
from omni_cli.domain.assertions import Assertion
from omni_cli.domain.assertions import parse as parse_assertion
from omni_cli.domain.chat import Message
from omni_cli.domain.errors import AssertionFailed, OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.pricing import format_usd, usd_to_nusd
from omni_cli.domain.scoring import KINDS, verdict
from omni_cli.services import compare_documents as documents
from omni_cli.services.compare import Estimate, Progress
from omni_cli.services.compare_documents import Checked
from omni_cli.services.compare_plan import Plan, Settings
from omni_cli.services.compare_report import Report
from omni_cli.services.compare_setup import Wanted, plan_of
from omni_cli.services.suite import Case, Suite, load

app = typer.Typer(rich_markup_mode=None)

_FORMATS = ("md", "html", "junit", "json")
_NARROWEST = 36


@app.command()
def compare(
    prompts: Annotated[
        list[str] | None, typer.Argument(help="Prompts; piped text comes before each.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--model", autocompletion=complete_selectors, help="A model or role; repeatable."
        ),
    ] = None,
    suite: Annotated[
        Path | None,
        typer.Option(help="Cases: TOML, YAML, JSON, JSONL, promptfoo, or a folder."),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("-i", "--image", help="An image for every prompt.")
    ] = None,
    system: Annotated[str | None, typer.Option("-s", "--system", help="System prompt.")] = None,
    expect: Annotated[
        list[str] | None, typer.Option(help="What an answer should hold; repeatable.")
    ] = None,
    scorer: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(KINDS)}; not-... turns it round.")
    ] = None,
    schema: Annotated[Path | None, typer.Option(help="JSON Schema for json-schema.")] = None,
    command: Annotated[
        str | None, typer.Option(help="A test: the answer on its stdin, exit status 0 passes.")
    ] = None,
    tolerance: Annotated[float | None, typer.Option(min=0.0, help="For numeric.")] = None,
    judge: Annotated[
        str | None,
        typer.Option(autocompletion=complete_models, help="A model that grades all answers."),
    ] = None,
    rubric: Annotated[str | None, typer.Option(help="What the judge should look at.")] = None,
    iterations: Annotated[
        int, typer.Option("-n", "--iterations", min=1, help="Answers to each prompt.")
    ] = 1,
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Calls at once at each provider.")
    ] = 4,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 1024,
    temperature: Annotated[float | None, typer.Option(min=0.0, max=2.0)] = None,
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds of silence per call.")] = 60.0,
    retries: Annotated[int, typer.Option(min=0, max=10)] = 1,
    max_cost: Annotated[
        str | None, typer.Option(help="US dollars that this may cost in all; never passed.")
    ] = None,
    assertion: Annotated[
        list[str] | None,
        typer.Option("--assert", help="'accuracy >= 0.9 && costPerRequest < 0.01'; else exit 7."),
    ] = None,
    report: Annotated[str | None, typer.Option(help="md, html, junit or json.")] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the report there.")
    ] = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Show the answers side by side.")
    ] = False,
    resume: Annotated[
        str | None, typer.Option(help="Go on with one: its id, or last. Asks only what is missing.")
    ] = None,
    show: Annotated[
        str | None, typer.Option(help="Show one again: its id, or last. Asks nothing.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List comparisons.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Estimate; send nothing.")] = False,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Leave out what promptfoo says and omni cannot.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask several models the same, score what they say, and tell who is better at what."""
    if report is not None and report not in _FORMATS:
        raise UsageError(f"--report is one of {', '.join(_FORMATS)}, not {report!r}")
    checks = [parse_assertion(text) for text in assertion or ()]
    limit = money(max_cost, "--max-cost")
    with omni(quiet=as_json) as omni_app:
        if list_all:
            _list(omni_app, as_json=as_json)
            return
        if show is not None:
            comparison, plan = omni_app.compare.load(show)
            _finish(omni_app, comparison, plan, checks, report, output, answers, as_json)
            return
        if resume is not None:
            comparison, plan = omni_app.compare.load(resume)
            plan = replace(plan, settings=replace(plan.settings, concurrency=concurrency))
        else:
            settings = Settings(iterations, max_tokens, temperature, timeout, retries, concurrency)
            values: dict[str, object] = {
                "expect": expect,
                "scorers": [*(scorer or ()), *(["judge"] if rubric and not scorer else ())],
                "schema": None if schema is None else str(schema.resolve()),
                "command": command,
                "rubric": rubric,
                "tolerance": tolerance,
            }
            given = _given(suite, lenient=lenient)
            plan = _plan(
                omni_app,
                Wanted(
                    words(model) or list(given.models if given is not None else ()),
                    _cases(prompts, given, image, system),
                    values,
                    Path.cwd(),
                    judge or "",
                    settings,
                    "" if given is None else given.name,
                ),
            )
            comparison = 0
        estimate = omni_app.compare.estimate(plan, comparison or None)
        nusd = None if limit is None else usd_to_nusd(limit)
        if dry_run:
            _dry(plan, estimate, as_json=as_json)
            return
        if not as_json:
            _announce(plan, estimate)
        omni_app.compare.check_money(estimate, nusd)
        comparison = comparison or omni_app.compare.create(plan)
        _run(omni_app, comparison, plan, nusd, quiet=as_json)
        _finish(omni_app, comparison, plan, checks, report, output, answers, as_json)


def _given(suite: Path | None, *, lenient: bool) -> Suite | None:
    if suite is None:
        return None
    found = load(suite)
    if found.unmapped and not lenient:
        raise UsageError(
            f"{suite} asks for what omni has no word for: {'; '.join(found.unmapped[:6])}",
            hint="--lenient leaves these out",
        )
    for line in found.unmapped:
        note(f"left out: {line}")
    return found


def _cases(
    prompts: list[str] | None, suite: Suite | None, image: list[str] | None, system: str | None
) -> list[Case]:
    cases = list(suite.cases) if suite is not None else []
    if prompts or image or suite is None:
        head = (Message.text_of("system", system),) if system else ()
        texts = [[text] for text in prompts or ()] or [[]]
        first = read_prompt(texts[0], (), image or ())
        parts = [first, *(read_prompt(text, (), image or ()) for text in texts[1:])]
        cases += [Case((*head, Message("user", part))) for part in parts]
    return cases


def _plan(omni_app: App, wanted: Wanted) -> Plan:
    plan = plan_of(omni_app.names, wanted)
    judge = plan.settings.judge
    if judge and judge in plan.contenders:
        note(f"{judge} judges its own answers: judges favour their own")
    return plan


def _announce(plan: Plan, estimate: Estimate) -> None:
    done = f", {estimate.done} there already" if estimate.done else ""
    judged = f" and {estimate.judge_calls} of the judge" if estimate.judge_calls else ""
    unknown = f", {', '.join(estimate.unknown)} at unknown prices" if estimate.unknown else ""
    note(
        f"{len(plan.contenders)} models, {len(plan.cases)} prompts: {estimate.calls} calls"
        f"{judged}{done}; {format_usd(estimate.expected_nusd)} expected{unknown}"
    )


def _dry(plan: Plan, estimate: Estimate, *, as_json: bool) -> None:
    if as_json:
        emit_json(
            {
                "models": list(plan.contenders),
                "prompts": len(plan.cases),
                "calls": estimate.calls,
                "judge_calls": estimate.judge_calls,
                "expected_cost_usd": f"{estimate.expected_nusd / 10**9:.9f}",
                "unknown_price": list(estimate.unknown),
            }
        )
        return
    _announce(plan, estimate)
    out("nothing was sent")


def _run(omni_app: App, comparison: int, plan: Plan, limit: int | None, *, quiet: bool) -> None:
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


def _finish(
    omni_app: App,
    comparison: int,
    plan: Plan,
    assertions: list[Assertion],
    kind: str | None,
    output: Path | None,
    answers: bool,
    as_json: bool,
) -> None:
    found = omni_app.compare_reports.report(comparison, plan)
    alias = {}
    for assertion in assertions:
        if assertion.model is not None and assertion.model not in plan.contenders:
            alias[assertion.model] = omni_app.names.model(assertion.model)
    checked = documents.check(found, assertions, alias)
    text = None
    if kind is not None or output is not None:
        text = _rendered(found, checked, kind or _by_suffix(output))
    if output is not None and text is not None:
        try:
            output.write_text(text, "utf-8")
        except OSError as exc:
            raise UsageError(f"cannot write {output}: {exc.strerror}") from exc
        note(f"wrote {output}")
    if as_json:
        emit_json(documents.document(found, checked))
    elif text is not None and output is None:
        out(text.rstrip("\n"))
    else:
        print_report(found, checked)
        if answers:
            print_answers(found)
    broken = [one for one in checked if not one.holds]
    if broken:
        if as_json:
            raise typer.Exit(7)
        shown = "; ".join(f"{one.model}: {one.text} ({_figures(one)})" for one in broken)
        raise AssertionFailed(f"not fulfilled: {shown}")


def _by_suffix(output: Path | None) -> str:
    suffix = "" if output is None else output.suffix.lower()
    return {".html": "html", ".xml": "junit", ".json": "json"}.get(suffix, "md")


def _rendered(report: Report, checked: list[Checked], kind: str) -> str:
    if kind == "json":
        import json

        document = documents.document(report, checked)
        return json.dumps(document, ensure_ascii=False, indent=2) + "\n"
    render = {"md": documents.markdown, "html": documents.html, "junit": documents.junit}[kind]
    return render(report, checked)


def _figures(one: Checked) -> str:
    return ", ".join(
        f"{name} {'unknown' if value is None else f'{value:.6g}'}"
        for name, value in one.figures.items()
    )


def print_report(report: Report, checked: list[Checked]) -> None:
    """The figures and the verdict for a person, on stdout."""
    heads, lines = documents.HEADS, documents.rows(report)
    kept = [
        place
        for place, head in enumerate(heads)
        if head == "model" or any(line[place] != "-" for line in lines)
    ]
    table(
        [heads[place] for place in kept],
        [[line[place] for place in kept] for line in lines],
        align=["left" if heads[place] == "model" else "right" for place in kept],
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
        out(f"{mark} {one.model}: {one.text} ({_figures(one)})")
    if report.missing:
        out(paint(f"{report.missing} answers are missing", "yellow"))
    out(paint(f"omni compare --show {id_text(report.id)} --answers", "dim"))


def print_answers(report: Report) -> None:
    """Every prompt with its answers beside each other, or below where there is no room."""
    width = shutil.get_terminal_size((100, 24)).columns
    contenders = report.plan.contenders
    across = max(min(len(contenders), width // _NARROWEST), 1)
    column = width // across - 2
    by = {}
    for answer in report.answers:
        by[answer.row.prompt, answer.row.iteration, answer.row.contender] = answer
    for prompt, case in report.plan.cases.items():
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


def _wrapped(text: str, width: int) -> list[str]:
    return [
        piece
        for line in text.splitlines()
        for piece in (textwrap.wrap(line, width, replace_whitespace=False) or [""])
    ]


def _list(omni_app: App, *, as_json: bool) -> None:
    rows = omni_app.comparisons.recent()
    if as_json:
        emit_json(
            [
                {
                    "comparison": id_text(row.id),
                    "name": row.plan["name"],
                    "state": row.state,
                    "models": row.plan["contenders"],
                    "prompts": len(row.plan["cases"]),
                }
                for row in rows
            ]
        )
        return
    if not rows:
        note("no comparison yet")
        return
    table(
        ("id", "when", "state", "prompts", "models"),
        [
            (
                id_text(row.id),
                moment(row.created_at, omni_app.zone),
                row.state,
                str(len(row.plan["cases"])),
                ", ".join(row.plan["contenders"]),
            )
            for row in rows
        ],
        align=("left", "left", "left", "right", "left"),
    )
