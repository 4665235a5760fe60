"""``omni route``: decide without sending anything."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli.cli.common import JsonFlag, complete_selectors, grouped, omni
from omni_cli.cli.prompts import Consent, RequestFacts, chat_request, read_prompt, route_options
from omni_cli.cli.render import bar, emit_json, milliseconds, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.chat import ChatRequest, TextPart
from omni_cli.domain.errors import UsageError, file_errors
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.routing import Candidate, Decision
from omni_cli.domain.tasks import COMPLEXITIES, PRIORITIES
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import (
    RouteOptions,
    RoutingService,
    decision_document,
    stand_in_refusals,
)

app = typer.Typer(rich_markup_mode=None)
#: Models that would not stand in, of which ``--explain`` says why.
_MOST_REFUSED = 5


@app.command()
@grouped
def route(
    prompt: Annotated[list[str] | None, typer.Argument(help="The prompt; - reads stdin.")] = None,
    model: Annotated[
        str | None,
        typer.Option("-m", "--model", autocompletion=complete_selectors, help="Role or chain."),
    ] = None,
    need: Annotated[list[str] | None, typer.Option(help="A badge the model must have.")] = None,
    system: Annotated[str | None, typer.Option("-s", "--system", help="System prompt.")] = None,
    file: Annotated[
        Path | None, typer.Option(help='JSON Lines of {"id", "prompt"}: decide them all.')
    ] = None,
    image: Annotated[list[str] | None, typer.Option(help="Path or URL of an image.")] = None,
    scores: Annotated[
        bool, typer.Option("--scores", help="With --file: id, type, p_weak_ok and q by model.")
    ] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Show every candidate.")] = False,
    as_json: JsonFlag = False,
    *,
    facts: RequestFacts,
    consent: Consent,
) -> None:
    """Which model would answer, and why. Sends nothing, costs nothing."""
    with omni() as omni_app:
        options = route_options(omni_app, facts, consent, need or ())
        selector = omni_app.names.select(model)
        if file is not None:
            _bulk(omni_app.routing, options, file, selector, as_json=as_json, scores=scores)
            return
        request = chat_request(read_prompt(prompt or (), (), image or ()), system=system)
        decision = omni_app.routing.decide(request, options, selector)
        others = _others(omni_app.routing, request, options, selector, decision) if explain else {}
    if as_json:
        document = decision_document(decision)
        if explain:
            document["would_change"] = others
            document["would_not_stand_in"] = stand_in_refusals(decision)
        emit_json(document)
    else:
        _show(decision, explain=explain)
        if explain:
            _show_ground(decision, others)
    if decision.model is None:
        raise typer.Exit(1)


def _others(
    routing: RoutingService,
    request: ChatRequest,
    options: RouteOptions,
    selector: Selector,
    decision: Decision,
) -> dict[str, str]:
    """What would answer instead, by the one option that would change it: decided, not guessed."""
    variants: dict[str, RouteOptions] = {
        f"--priority {name}": replace(options, priority=name) for name in PRIORITIES
    }
    variants["--latency fast"] = replace(options, latency_pref="fast")
    for level in COMPLEXITIES:
        variants[f"--complexity {level}"] = replace(options, complexity=level)
    found = {
        option: routing.decide(request, variant, selector).model
        for option, variant in variants.items()
    }
    return {option: model for option, model in found.items() if model and model != decision.model}


def _show_ground(decision: Decision, others: dict[str, str]) -> None:
    """What the chosen model's quality rests on, and what would change the decision."""
    for candidate in decision.candidates:
        if candidate.model == decision.model:
            mean = "unknown" if candidate.quality is None else f"{candidate.quality:.0%}"
            out()
            out(f"quality {mean} ± {candidate.spread:.0%} rests on {candidate.quality_basis}")
    refused = stand_in_refusals(decision)
    for model, why in list(refused.items())[:_MOST_REFUSED]:
        out(f"{model} would not stand in: {why}")
    if len(refused) > _MOST_REFUSED:
        out(f"nor would {len(refused) - _MOST_REFUSED} more (--any-cost, --free-to-paid)")
    for option, model in others.items():
        out(f"with {option:<20} {model}")
    if decision.model is not None and not others:
        out("no priority, latency or complexity would change it")


def _bulk(
    routing: RoutingService,
    options: RouteOptions,
    path: Path,
    selector: Selector,
    *,
    as_json: bool,
    scores: bool,
) -> None:
    """One decision a line. A line that does not fit stops with its number: nothing is guessed."""
    with file_errors("read", path):
        handle = sys.stdin.buffer if str(path) == "-" else path.open("rb")
    with handle:
        for number, line in enumerate(handle, 1):
            if not line.strip():
                continue
            row = _row(line, path, number)
            request = chat_request((TextPart(row["prompt"]),))
            decision = routing.decide(request, options, selector)
            document = {"id": row["id"], **decision_document(decision)}
            if scores:
                from omni_cli.services.judge.eval_router import score_line

                line_of = score_line(row["id"], document["candidates"], document)
                out(json.dumps(line_of, ensure_ascii=False))
            elif as_json:
                out(json.dumps(document, ensure_ascii=False))
            else:
                out(f"{row['id']}\t{decision.model or '-'}\t{decision.task.task_type}")


def _row(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as exc:
        raise UsageError(f"{path}, line {number}: no JSON: {exc}") from exc
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str) or "id" not in row:
        raise UsageError(f'{path}, line {number}: needs "id" and "prompt"')
    return row


def _quality(candidate: Candidate) -> str:
    """As ``omni models`` shows it: marked where the model's size is all that is known."""
    if candidate.quality is None:
        return "unknown"
    return f"{'' if candidate.evidence else '~'}{candidate.quality:.0%}"


def _latency(candidate: Candidate) -> str:
    """An estimate is marked, and what nobody measured says so."""
    if candidate.expected_latency_ms is None:
        return candidate.latency_basis
    sure = "" if candidate.latency_basis == "measured" else "~"
    return sure + milliseconds(candidate.expected_latency_ms)


def _show(decision: Decision, *, explain: bool) -> None:
    task = decision.task
    if decision.model is None:
        out(paint(f"no model: {decision.reason}", "red"))
    else:
        out(f"{paint(decision.model, 'bold')}  {decision.reason}")
    unsure = "" if task.sure else ", unsure"
    out(
        f"task {task.task_type} ({task.probabilities.get(task.task_type, 0):.0%}{unsure}), "
        f"complexity {task.complexity}, difficulty {task.difficulty:.2f}"
    )
    if not explain and decision.model is not None:
        return
    out()
    for name, share in sorted(task.probabilities.items(), key=lambda item: -item[1])[:5]:
        if share >= 0.01:
            out(f"  {name:<14} {bar(share)} {share:.0%}")
    out()
    table(
        (
            Column.key("model"),
            Column.figure("quality", 6),
            Column.money("cost"),
            Column.figure("latency", 4),
            Column.figure("score", 3),
            Column.words("why", 9, 16),
        ),
        [
            (
                candidate.model,
                _quality(candidate),
                format_usd(candidate.expected_cost_nusd),
                _latency(candidate),
                "-" if candidate.score is None else f"{candidate.score:.3f}",
                decision.reason_of(candidate),
            )
            for candidate in decision.candidates
        ],
        styles=[None if c.eligible else "dim" for c in decision.candidates],
    )
