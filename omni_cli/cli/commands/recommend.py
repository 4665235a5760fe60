"""``omni recommend``: advice from the ledger's evidence, and what became of it."""

from decimal import Decimal
from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_models, money, omni
from omni_cli.cli.render import emit_json, note, out, paint
from omni_cli.domain.money import format_sum, format_usd, usd_string, usd_to_nusd
from omni_cli.domain.words import counted
from omni_cli.records import StoredAdvice
from omni_cli.services.judge.advice_document import (
    Told,
    confidence_text,
    implementation,
    open_saving_nusd,
)

Number = Annotated[int, typer.Argument(help="Its number: omni recommend.")]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def recommend(
    ctx: typer.Context,
    every: Annotated[bool, typer.Option("--all", help="Decided ones too.")] = False,
    prove: Annotated[
        int | None,
        typer.Option(help="Ask its model some of your own stored questions; paid for."),
    ] = None,
    sample: Annotated[
        int, typer.Option(min=5, max=500, help="Questions to ask, for --prove.")
    ] = 20,
    judge: Annotated[
        str | None,
        typer.Option(autocompletion=complete_models, help="Who reads both answers, for --prove."),
    ] = None,
    max_cost: Annotated[str, typer.Option(help="US dollars that --prove may cost.")] = "0.50",
    as_json: JsonFlag = False,
) -> None:
    """What to change, what it would save, and how sure that is."""
    if ctx.invoked_subcommand is not None:
        return
    if prove is not None:
        _prove(prove, sample, judge, max_cost, as_json=as_json)
        return
    with omni() as omni_app:
        found = omni_app.telling.every(decided=every)
    if as_json:
        emit_json([told.document() for told in found])
        return
    if not found:
        note("nothing to recommend: the ledger shows no better choice, or too little so far")
        return
    for told in found:
        _show(told)
    monthly = open_saving_nusd(told.advice for told in found)
    if monthly:
        out(f"potential savings: {paint(format_usd(monthly), 'green')} a month")


@app.command()
def show(number: Number, as_json: JsonFlag = False) -> None:
    """One recommendation."""
    with omni() as omni_app:
        told = omni_app.telling.of(omni_app.advice.get(number))
    if as_json:
        emit_json(told.document())
    else:
        _show(told)


@app.command()
def apply(number: Number, as_json: JsonFlag = False) -> None:
    """Do what a recommendation says; a new revision."""
    with omni() as omni_app:
        _done(omni_app, omni_app.advice.apply(number), as_json=as_json)


@app.command()
def dismiss(number: Number, as_json: JsonFlag = False) -> None:
    """Do not show it again."""
    with omni() as omni_app:
        _done(omni_app, omni_app.advice.dismiss(number), as_json=as_json)


@app.command()
def undo(number: Number, as_json: JsonFlag = False) -> None:
    """Take an applied recommendation back, or a dismissed one up again."""
    with omni() as omni_app:
        _done(omni_app, omni_app.advice.undo(number), as_json=as_json)


def _prove(number: int, sample: int, judge: str | None, max_cost: str, *, as_json: bool) -> None:
    """Raises UsageError, BudgetExceeded, UnknownPrice, NotFound."""
    from omni_cli.cli.comparing import announce, print_report, run
    from omni_cli.services.judge import compare_documents as documents
    from omni_cli.services.judge.proof import verdict

    limit = usd_to_nusd(money(max_cost, "--max-cost") or Decimal(0))
    with omni(quiet=as_json) as omni_app:
        proof = omni_app.prover.prepare(omni_app.advice.get(number), size=sample, judge=judge)
        estimate = omni_app.compare.estimate(proof.plan, proof.comparison)
        if not as_json:
            announce(proof.plan, estimate)
        omni_app.compare.check_money(estimate, limit)
        # The stored answers count as spent there: the limit is on top of what they had cost.
        run(omni_app, proof.comparison, proof.plan, limit + proof.paid_nusd, quiet=as_json)
        report = omni_app.compare_reports.report(proof.comparison, proof.plan)
        told = verdict(report)
        if report.missing:
            told += f"; {report.missing} answers are missing, the same command asks for them"
        spent = report.spent_nusd - proof.paid_nusd
    if as_json:
        emit_json(
            {
                **documents.document(report),
                "recommendation": number,
                "verdict": told,
                "spent_usd": usd_string(spent),
            }
        )
        return
    print_report(report, [])
    out(paint(f"{told}; this cost {format_sum(spent, report.unknown)}", "bold"))


def _done(omni_app: App, advice: StoredAdvice, *, as_json: bool) -> None:
    if as_json:
        emit_json(omni_app.telling.of(advice).document())
        return
    note(f"{advice.finding.title}: {advice.status}")
    if advice.status == "applied":
        note(f"omni recommend undo {advice.id} takes it back")


def _show(told: Told) -> None:
    advice, proof = told.advice, told.proof
    finding = advice.finding
    monthly = finding.saving_monthly_nusd
    head = f"{advice.id:>3}  {finding.title}"
    if monthly:
        head += f" → save {format_usd(monthly)}/month"
    mark = {"high": "▲", "medium": "●", "low": "○"}[finding.priority]
    shown = paint(head, "bold") if advice.status == "pending" else paint(head, "dim")
    out(f"{mark} {shown}  [{finding.priority}]")
    out(f"       {finding.reasoning}")
    if finding.daily_nusd is not None:
        out(
            f"       {format_usd(finding.daily_nusd)}/day → "
            f"{format_usd(finding.recommended_daily_nusd)}/day; impact {finding.impact}, "
            + ("" if finding.confidence is None else f"confidence {confidence_text(finding)}, ")
            + counted(finding.sample, "call")
        )
    if proof is not None:
        out(f"       {proof}")
    if advice.status == "applied":
        out(f"       {told.outcome}")
        out(f"       omni recommend undo {advice.id}")
    elif advice.status == "pending":
        out(f"       {implementation(finding, advice.id)}")
        if proof is None and finding.type in ("cheaper_model", "repetitive_traffic"):
            out(f"       omni recommend --prove {advice.id} tries it on your own stored questions")
    else:
        out(f"       {advice.status}")
    out()
