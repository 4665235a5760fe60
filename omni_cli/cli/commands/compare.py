"""``omni compare``: the same prompts to several models, scored."""

from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.cli.common import (
    JsonFlag,
    complete_models,
    complete_selectors,
    grouped,
    money,
    omni,
    words,
)
from omni_cli.cli.comparing import announce, figures, print_report, run
from omni_cli.cli.prompts import read_prompt
from omni_cli.cli.render import emit_json, moment, note, out
from omni_cli.cli.tables import Column, table
from omni_cli.domain.assertions import Assertion
from omni_cli.domain.assertions import parse as parse_assertion
from omni_cli.domain.chat import Message
from omni_cli.domain.document import document
from omni_cli.domain.errors import AssertionFailed, UsageError, file_errors
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.record import replace
from omni_cli.domain.scoring import KINDS
from omni_cli.domain.words import counted
from omni_cli.services.judge import compare_documents as documents
from omni_cli.services.judge.compare import Estimate
from omni_cli.services.judge.compare_documents import Checked
from omni_cli.services.judge.compare_plan import Plan, Settings, Wanted, plan_of
from omni_cli.services.judge.compare_report import Report
from omni_cli.services.judge.suite import Case, Suite, load

app = typer.Typer(rich_markup_mode=None)
suite_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

FORMATS = ("md", "html", "junit", "json")


class Scoring(Struct, frozen=True):
    """What answers are scored by, as options."""

    expect: Annotated[
        list[str] | None, typer.Option(help="What an answer should hold; repeatable.")
    ] = None
    scorer: Annotated[
        list[str] | None, typer.Option(help=f"One of {', '.join(KINDS)}; not-... turns it round.")
    ] = None
    schema: Annotated[Path | None, typer.Option(help="JSON Schema for json-schema.")] = None
    command: Annotated[
        str | None, typer.Option(help="A test: the answer on its stdin, exit status 0 passes.")
    ] = None
    tolerance: Annotated[float | None, typer.Option(min=0.0, help="For numeric.")] = None
    judge: Annotated[
        str | None,
        typer.Option(autocompletion=complete_models, help="A model that grades all answers."),
    ] = None
    rubric: Annotated[str | None, typer.Option(help="What the judge should look at.")] = None

    def values(self) -> dict[str, object]:
        """As a case of a suite has them."""
        return {
            "expect": self.expect,
            "scorers": [
                *(self.scorer or ()),
                *(["judge"] if self.rubric and not self.scorer else ()),
            ],
            "schema": None if self.schema is None else str(self.schema.resolve()),
            **document(self, "command", "rubric", "tolerance"),
        }


class Calling(Struct, frozen=True):
    """How models are asked, as options."""

    iterations: Annotated[
        int, typer.Option("-n", "--iterations", min=1, help="Answers to each prompt.")
    ] = 1
    concurrency: Annotated[
        int, typer.Option(min=1, max=64, help="Calls at once at each provider.")
    ] = 4
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of an answer.")] = 1024
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="Higher: more varied.")
    ] = None
    timeout: Annotated[float, typer.Option(min=1.0, help="Seconds of silence per call.")] = 60.0
    retries: Annotated[int, typer.Option(min=0, max=10, help="After a failed call.")] = 1

    def settings(self) -> Settings:
        return Settings(
            self.iterations,
            self.max_tokens,
            self.temperature,
            self.timeout,
            self.retries,
            self.concurrency,
        )


class Reporting(Struct, frozen=True):
    """What is made of a comparison, as options."""

    assertion: Annotated[
        list[str] | None,
        typer.Option("--assert", help="'accuracy >= 0.9 && costPerRequest < 0.01'; else exit 7."),
    ] = None
    report: Annotated[str | None, typer.Option(help="md, html, junit or json.")] = None
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the report there.")
    ] = None
    answers: Annotated[bool, typer.Option("--answers", help="Show the answers side by side.")] = (
        False
    )
    as_json: JsonFlag = False

    def checks(self) -> list[Assertion]:
        """Raises UsageError: no such report, or no assertion that can be read."""
        if self.report is not None and self.report not in FORMATS:
            raise UsageError(f"--report is one of {', '.join(FORMATS)}, not {self.report!r}")
        return [parse_assertion(text) for text in self.assertion or ()]


@app.command()
@grouped
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
    max_cost: Annotated[
        str | None, typer.Option(help="US dollars that this may cost in all; never passed.")
    ] = None,
    resume: Annotated[
        str | None, typer.Option(help="Go on with one: its id, or last. Asks only what is missing.")
    ] = None,
    show: Annotated[
        str | None, typer.Option(help="Show one again: its id, or last. Asks nothing.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List comparisons.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--plan", help="Estimate; send nothing.")
    ] = False,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Leave out what promptfoo says and omni cannot.")
    ] = False,
    *,
    scoring: Scoring,
    calling: Calling,
    reporting: Reporting,
) -> None:
    """Ask several models the same, score what they say, and tell who is better at what."""
    checks, as_json = reporting.checks(), reporting.as_json
    limit = money(max_cost, "--max-cost")
    with omni(quiet=as_json) as omni_app:
        if list_all:
            _list(omni_app, as_json=as_json)
            return
        if show is not None:
            comparison, plan = omni_app.compare.load(show)
            _finish(omni_app, comparison, plan, checks, reporting)
            return
        if resume is not None:
            comparison, plan = omni_app.compare.load(resume)
            settings = replace(plan.settings, concurrency=calling.concurrency)
            plan = replace(plan, settings=settings)
        else:
            given = _given(suite, lenient=lenient)
            plan = _plan(
                omni_app,
                Wanted(
                    words(model) or list(given.models if given is not None else ()),
                    _cases(prompts, given, image, system),
                    scoring.values(),
                    Path.cwd(),
                    scoring.judge or "",
                    calling.settings(),
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
            announce(plan, estimate)
        omni_app.compare.check_money(estimate, nusd)
        comparison = comparison or omni_app.compare.create(plan)
        run(omni_app, comparison, plan, nusd, quiet=as_json)
        _finish(omni_app, comparison, plan, checks, reporting)


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


def _dry(plan: Plan, estimate: Estimate, *, as_json: bool) -> None:
    if as_json:
        emit_json(documents.estimate_document(plan, estimate))
        return
    announce(plan, estimate)
    out("nothing was sent")


def _finish(
    omni_app: App,
    comparison: int,
    plan: Plan,
    assertions: list[Assertion],
    asked: Reporting,
) -> None:
    kind, output = asked.report, asked.output
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
        with file_errors("write", output):
            output.write_text(text, "utf-8")
        note(f"wrote {output}")
    if asked.as_json:
        emit_json(documents.document(found, checked))
    elif text is not None and output is None:
        out(text.rstrip("\n"))
    else:
        print_report(found, checked, answers=asked.answers)
    broken = [one for one in checked if not one.holds]
    if broken:
        if asked.as_json:
            raise typer.Exit(7)
        shown = "; ".join(f"{one.model}: {one.text} ({figures(one)})" for one in broken)
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


def _list(omni_app: App, *, as_json: bool) -> None:
    rows = omni_app.comparisons.recent()
    if as_json:
        emit_json([documents.listed_document(row) for row in rows])
        return
    if not rows:
        note("no comparison yet")
        return
    table(
        (
            Column.key("id"),
            Column.words("when", 3, 19),
            Column.words("state", 6, 7),
            Column.figure("prompts", 4),
            Column.words("models", 8),
        ),
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
    )


@suite_app.callback()
def suite() -> None:
    """Suites of prompts and what their answers should hold: see omni compare --suite."""


@suite_app.command()
def check(file: Annotated[Path, typer.Argument(help="A suite's file or folder.")]) -> None:
    """Say whether a suite fits, and which value does not; nothing is asked."""
    found = load(file)
    out(f"{file} fits: {counted(len(found.cases), 'case')}")
    for line in found.unmapped:
        note(f"has no like here: {line}")


@suite_app.command()
def schema() -> None:
    """The JSON Schema of suites, for editors that check and complete them."""
    from omni_cli.services.judge.suite_file import SuiteFile
    from omni_cli.written import schema_of

    emit_json(schema_of(SuiteFile, "omni's suite of prompts"))
