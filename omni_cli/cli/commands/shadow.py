"""``omni shadow``: a challenger answers a share of a role's requests, and nobody waits for it."""

import re
from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_models, complete_roles, money, omni
from omni_cli.cli.render import emit_json, note, out, paint, trial_lines
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import BudgetExceeded, UsageError
from omni_cli.domain.money import format_usd, usd_to_nusd
from omni_cli.domain.shadow import ALPHA, AUTO, MARGIN, WORDS, Evidence
from omni_cli.domain.words import counted, share_of
from omni_cli.services.judge.shadow import Report, Settings, report_document

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

RoleName = Annotated[
    str,
    typer.Argument(
        autocompletion=complete_roles, help="The role; auto: what the router decides without one."
    ),
]


@app.command()
def start(
    role: RoleName,
    challenger: Annotated[
        str, typer.Option(autocompletion=complete_models, help="The model to try.")
    ],
    share: Annotated[str, typer.Option(help="Of the role's requests, such as 5%.")] = "5%",
    budget: Annotated[
        str, typer.Option(help="US dollars a day for challenger and judge.")
    ] = "1.00/day",
    judge: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_models,
            help="Who reads both answers; none: checks alone. Default: the premium model, where "
            "one of these models' providers has it.",
        ),
    ] = None,
    margin: Annotated[
        str, typer.Option(help="Worse by less than this of a score is good enough.")
    ] = f"{MARGIN:.0%}",
    alpha: Annotated[
        float, typer.Option(help="Most chance that a worse challenger is shown good enough.")
    ] = ALPHA,
    wait: Annotated[
        bool, typer.Option("--wait", help="omni chat compares at once, before it ends.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Let a challenger answer a share of a role's requests in the background."""
    daily = money(re.sub(r"\s*/\s*day$", "", budget), "--budget")
    if daily is None:
        raise UsageError("--budget is US dollars a day", hint="for example --budget 1.00/day")
    settings = Settings(wait=wait, alpha=alpha, margin=share_of(margin, "--margin"))
    with omni(quiet=as_json) as omni_app:
        begun = omni_app.shadow.start(
            role,
            challenger,
            share=share_of(share, "--share"),
            budget_nusd=usd_to_nusd(daily),
            judge="" if judge == "none" else judge,
            settings=settings,
        )
        report = omni_app.shadow.report(begun)
    if as_json:
        emit_json(report_document(report))
        return
    beside = begun.champion or "whom the router chose"
    out(
        f"{begun.challenger} answers {begun.share:.0%} of {begun.of} beside {beside}, "
        f"for at most {format_usd(usd_to_nusd(daily))} a day"
    )
    if report.settings.judge:
        out(f"{report.settings.judge} reads both answers, in both orders")
    else:
        out("nobody reads the answers: only what checks can tell is compared (--judge MODEL)")
    note(
        "the gateway compares by itself"
        + (", and so does omni chat" if wait else "; omni watch, or omni shadow run, does for chat")
        + f"; omni shadow status {role} tells what it shows"
    )


@app.command()
def status(
    role: Annotated[
        str | None, typer.Argument(autocompletion=complete_roles, help="The role.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """What is shown so far. Looking often does no harm: the evidence holds at any time."""
    with omni(quiet=as_json) as omni_app:
        if role not in (None, AUTO):
            omni_app.fleet.role(role)
        found = omni_app.shadow.every(role, ended=everything)
        reports = [omni_app.shadow.evaluate(one) for one in found]
        if as_json:
            emit_json([report_document(report) for report in reports])
            return
        if not reports:
            note("no shadow is running; omni shadow start ROLE --challenger MODEL")
        for number, report in enumerate(reports):
            if number:
                out()
            _show(omni_app, report)


@app.command()
def run(
    role: RoleName,
    most: Annotated[
        int | None, typer.Option("--most", "-n", min=1, help="Requests to compare at most.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Compare now what omni chat asked in this role since, as far as its texts are kept."""
    with omni(quiet=as_json) as omni_app:
        shadow = omni_app.shadow.running(role)
        waiting = len(omni_app.shadow.due(shadow)[:most])
        done, full = 0, ""
        try:
            for pair in omni_app.shadow.work(shadow, most=most):
                done += 1
                if not as_json:
                    note(
                        f"{done} of {waiting}: {pair.challenger:.2f} against {pair.champion:.2f} "
                        f"({pair.how})"
                    )
        except BudgetExceeded as exc:
            full = exc.message
        report = omni_app.shadow.evaluate(shadow)
        if as_json:
            emit_json({**report_document(report), "paired": done, "left_because": full or None})
            return
        if full:
            note(full)
        elif not done:
            note("nothing to compare: no request of its share is new, with its texts kept")
        _show(omni_app, report)


@app.command()
def judge(
    role: RoleName,
    most: Annotated[int, typer.Option("--most", "-n", min=1, help="Pairs at most.")] = 10,
    as_json: JsonFlag = False,
) -> None:
    """Read pairs of answers without names, and say which is better: 1, 2, same, bad (both).

    Only pairs whose conversation is kept. Your word counts instead of the judge's, and shows how
    often it sides with you. skip leaves a pair out; quit, or the end of standard input, ends.
    """
    with omni(quiet=as_json) as omni_app:
        shadow = next(iter(omni_app.shadow.every(role, ended=True)), None)
        if shadow is None:
            shadow = omni_app.shadow.running(role)  # says what is missing
        pairs = omni_app.shadow.blind(shadow)
        done = 0
        for number, one in enumerate(pairs[:most], 1):
            note("")
            note(f"{number} of {len(pairs[:most])}")
            for label, text in (("question", one.question), ("1", one.first), ("2", one.second)):
                note(paint(f"--- {label}", "bold"))
                note(text.strip())
            word = _word()
            if word == "quit":
                break
            if word != "skip":
                omni_app.shadow.say(shadow, one, word)
                done += 1
        report = omni_app.shadow.evaluate(shadow)
        if as_json:
            emit_json({**report_document(report), "judged": done, "left": len(pairs) - done})
            return
        if not pairs:
            note(
                "no pair to judge: those that omni shadow run, omni watch or omni chat made have "
                "their texts as long as the conversation is kept (chat.keep_conversations)"
            )
        _show(omni_app, report)


def _word() -> str:
    """What the user says next; quit at the end of standard input."""
    while True:
        try:
            said = typer.prompt("1, 2, same, bad, skip or quit", err=True).strip().lower()
        except typer.Abort:
            return "quit"
        found = [word for word in (*WORDS, "skip", "quit") if said and word.startswith(said)]
        if len(found) == 1 or said in found:
            return said if said in found else found[0]
        note(f"{said!r} is none of them")


@app.command()
def stop(role: RoleName, as_json: JsonFlag = False) -> None:
    """End it; what it showed stays, its budget goes."""
    with omni(quiet=as_json) as omni_app:
        report = omni_app.shadow.report(omni_app.shadow.stop(role))
    if as_json:
        emit_json(report_document(report))
        return
    out(f"{report.shadow.of}: {report.shadow.challenger} is asked no more; {report.verdict}")


def _show(omni_app: App, report: Report) -> None:
    shadow, found = report.shadow, report.evidence
    who = f"{shadow.challenger} in the shadow of {shadow.champion or 'whom the router chose'}"
    head, *why = trial_lines(shadow, paint(shadow.of, "bold"), "", omni_app.zone)
    out("\n".join((head, who, *why)))
    rows = [("all", found), *(report.by_task.items() if len(report.by_task) > 1 else ())]
    table(
        (
            Column.key("task"),
            Column.figure("pairs", 6),
            Column.figure("difference", 8),
            Column.figure("good enough", 4),
            Column.figure("better", 3),
            Column.figure("worse", 3),
        ),
        [_cells(task, own) for task, own in rows],
    )
    how = ", ".join(f"{number} by {_HOW[kind]}" for kind, number in report.by_how.items())
    if how:
        out(f"scored: {how}")
    same, of = report.steady
    if of:
        agreed, rated = report.agreement
        told = f"; it sides with {agreed} of {counted(rated, 'rating')} of yours" if rated else ""
        out(f"the judge names the same answer in both orders in {same} of {of}{told}")
    same, of = report.blind
    if of:
        out(f"the judge sides with you in {same} of {counted(of, 'pair')} that you judged blind")
    ratio = report.cost_ratio
    if ratio is not None:
        out(
            f"for the same questions: {format_usd(report.challenger_nusd)} against "
            f"{format_usd(report.champion_nusd)}, {ratio:.0%}; judged for "
            f"{format_usd(report.judge_nusd)}"
        )
    out(paint(report.verdict, "bold"))
    if report.advised:
        out("omni recommend has it as a change, on a share of the traffic first")


_HOW = {"check": "checks", "judge": "the judge", "user": "you", "failed": "failure"}


def _cells(task: str, found: Evidence) -> tuple[str, ...]:
    mean = "-"
    if found.mean is not None and found.low is not None and found.high is not None:
        mean = f"{found.mean:+.1%} [{found.low:+.1%} to {found.high:+.1%}]"
    return (
        task,
        str(found.pairs),
        mean,
        f"e = {found.good_enough:.3g}",
        f"e = {found.better:.3g}",
        f"e = {found.worse:.3g}",
    )
