"""``omni ab``: try a challenger on a share of a role's traffic."""

from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_models, complete_roles, money, omni
from omni_cli.cli.render import emit_json, milliseconds, note, out, paint, trial_lines
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd, usd_to_nusd
from omni_cli.domain.words import share_of
from omni_cli.services.judge.abtest import ArmReport, Report, Settings, report_document

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

RoleName = Annotated[str, typer.Argument(autocompletion=complete_roles, help="The role.")]


@app.command()
def start(
    role: RoleName,
    challenger: Annotated[
        str, typer.Option(autocompletion=complete_models, help="The model to try.")
    ],
    share: Annotated[str, typer.Option(help="Of new conversations, such as 10%.")] = "10%",
    alpha: Annotated[
        float, typer.Option(help="Most chance that an equal challenger is shown better.")
    ] = 0.05,
    metric: Annotated[
        str, typer.Option(help="success: every conversation; rating: those you rated.")
    ] = "success",
    goal: Annotated[
        str, typer.Option(help="better; or cheaper: costs less, worse by less than the margin.")
    ] = "better",
    margin: Annotated[str, typer.Option(help="For --goal cheaper.")] = "5%",
    max_cost: Annotated[
        str | None, typer.Option(help="US dollars that the challenger may cost in all.")
    ] = None,
    settle: Annotated[
        float, typer.Option(min=0.0, help="Minutes of quiet after which a conversation counts.")
    ] = 10.0,
    auto: Annotated[
        bool, typer.Option("--auto-promote", help="Promote by itself when it is shown.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Send a share of a role's new conversations to a challenger."""
    limit = money(max_cost, "--max-cost")
    if metric not in ("success", "rating"):
        raise UsageError(f"--metric is success or rating, not {metric!r}")
    if goal not in ("better", "cheaper"):
        raise UsageError(f"--goal is better or cheaper, not {goal!r}")
    settings = Settings(
        alpha,
        "rating" if metric == "rating" else "success",
        "cheaper" if goal == "cheaper" else "better",
        share_of(margin, "--margin"),
        None if limit is None else usd_to_nusd(limit),
        settle * 60,
        auto,
    )
    with omni(quiet=as_json) as omni_app:
        test = omni_app.abtests.start(role, challenger, share_of(share, "--share"), settings)
        if as_json:
            emit_json(report_document(omni_app.abtests.report(test)))
            return
    out(
        f"{test.share:.0%} of new conversations in role {role} go to {test.challenger}, "
        f"the rest to {test.champion}"
    )
    out(f"omni ab status {role} tells how they do; it may be asked at any time")


@app.command()
def status(
    role: Annotated[
        str | None, typer.Argument(autocompletion=complete_roles, help="Only this one.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also tests that have ended.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Where the tests stand. Looking often does no harm: the evidence holds at any time."""
    with omni(quiet=as_json) as omni_app:
        if role is not None:
            omni_app.fleet.role(role)
        tests = omni_app.abtests.tests(role, ended=everything)
        reports = [omni_app.abtests.report(test) for test in tests]
        if as_json:
            emit_json([report_document(report) for report in reports])
            return
        if not reports:
            note("no test is running; omni ab start ROLE --challenger MODEL --share 10%")
        for number, report in enumerate(reports):
            if number:
                out()
            _show(omni_app, report)


def _show(omni_app: App, report: Report) -> None:
    test = report.test
    head = f"role {paint(test.role, 'bold')}"
    out("\n".join(trial_lines(test, head, " to the challenger,", omni_app.zone)))
    found = report.evidence
    table(
        (
            Column.key("arm"),
            Column.key("model"),
            Column.figure("conversations", 6),
            Column.figure("open", 1),
            Column.figure("good", 3),
            Column.figure("rate", 8),
            Column.money("cost each"),
            Column.figure("response", 2),
        ),
        [
            ("champion", *_cells(report.champion, found.champion)),
            ("challenger", *_cells(report.challenger, found.challenger)),
        ],
    )
    out(
        f"{report.verdict}; better: e = {found.better:.3g}, worse: e = {found.worse:.3g}, "
        f"shown from {1 / report.settings.alpha:.0f} on"
    )
    out(f"the challenger has cost {format_usd(report.spent_nusd)}")


def _cells(arm: ArmReport, rate: tuple[float, float, float] | None) -> tuple[str, ...]:
    each = arm.per_unit_nusd
    return (
        arm.model,
        str(arm.units),
        str(arm.open),
        str(arm.good),
        "-" if rate is None else f"{rate[0]:.0%} [{rate[1]:.0%} to {rate[2]:.0%}]",
        "-" if each is None else format_usd(round(each)),
        milliseconds(arm.latency_ms),
    )


@app.command()
def promote(
    role: RoleName,
    force: Annotated[bool, typer.Option("--force", help="Though it is not shown.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make the challenger the role's first model, and end the test."""
    with omni(quiet=as_json) as omni_app:
        report = omni_app.abtests.promote(role, force=force)
        ended = omni_app.abtests.tests(role, ended=True)[0]
        if as_json:
            emit_json(report_document(omni_app.abtests.report(ended)))
            return
    out(f"role {role}: {report.test.challenger} is first now, {report.test.champion} second")


@app.command()
def stop(role: RoleName, as_json: JsonFlag = False) -> None:
    """End the test; the role stays as it is."""
    with omni(quiet=as_json) as omni_app:
        test = omni_app.abtests.stop(role)
        ended = omni_app.abtests.tests(role, ended=True)[0]
        if as_json:
            emit_json(report_document(omni_app.abtests.report(ended)))
            return
    out(f"role {role}: all to {test.champion} again")
