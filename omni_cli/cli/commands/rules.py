"""``omni rules``: conditions on a request that prefer a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, YesFlag, agree_to_leaving, complete_models, grouped, omni
from omni_cli.cli.prompts import RequestFacts, chat_request, read_prompt, route_options
from omni_cli.cli.recorded import read_recorded, selector_of
from omni_cli.cli.render import answer, emit_json, note, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.record import replace
from omni_cli.domain.rules import VARIABLES, evaluate, parse, unparse, variables
from omni_cli.services.engine.names import AUTO_SELECTOR, Selector
from omni_cli.services.engine.routing import RouteOptions, input_estimate, options_for, rule_facts

app = typer.Typer(rich_markup_mode=None, help="Conditions that prefer a model.")

Model = Annotated[str, typer.Argument(autocompletion=complete_models, help="Id or alias.")]
Number = Annotated[int, typer.Argument(help="The rule's number, as omni rules list shows it.")]


@app.command("list")
@grouped
def list_(*, view: View) -> None:
    """All rules, in the order they are tried."""
    with omni() as omni_app:
        rules = omni_app.assignments.rules()
    listing(
        view,
        (
            Column.key("no"),
            Column.figure("priority", 1),
            Column.words("condition", 8),
            Column.key("model"),
            Column.words("state", 6),
        ),
        [
            (str(r.id), str(r.priority), r.condition, r.model, "on" if r.enabled else "off")
            for r in rules
        ],
        lambda: [document(rule) for rule in rules],
        empty=[
            "no rules yet; for example:",
            """  omni rules add "taskType == 'coding' && complexity == 'medium'" MODEL""",
        ],
        styles=[None if rule.enabled else "dim" for rule in rules],
    )


@app.command()
def add(
    condition: Annotated[str, typer.Argument(help="taskType == 'coding' && complexity == 'low'")],
    model: Model,
    priority: Annotated[int, typer.Option(min=1, help="1 is tried first.")] = 1,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Prefer a model for the requests that a condition describes.

    Conditions know taskType, complexity, difficulty, priority, latencyPref, role, agent, org,
    prompt, inputTokens, turns, maxCost, hasImages, hasTools, needsJson, and of agents background,
    thinking, tools, webSearch, subAgent, step, stepFailed, requestedModel; == != < <= > >=,
    in [...], contains, && || ! and parentheses.
    """
    with omni() as omni_app:
        agree_to_leaving(omni_app, model, yes=yes)
        rule = omni_app.fleet.add_rule(condition, model, priority)
    answer(
        document(rule),
        f"rule {rule.id}: {rule.condition} -> {rule.model} (priority {rule.priority})",
        as_json=as_json,
    )


@app.command()
def edit(
    number: Number,
    condition: Annotated[str | None, typer.Option(help="Another condition.")] = None,
    model: Annotated[
        str | None, typer.Option(autocompletion=complete_models, help="Another model.")
    ] = None,
    priority: Annotated[int | None, typer.Option(min=1, help="Another place.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change what is named; the rest stays."""
    with omni() as omni_app:
        fields: dict[str, Any] = {}
        if condition is not None:
            fields["condition"] = condition.strip()
        if model is not None:
            fields["model"] = omni_app.fleet.model(model).id
        if priority is not None:
            fields["priority"] = priority
        if not fields:
            raise UsageError("nothing to change", hint="--condition, --model or --priority")
        rule = omni_app.fleet.edit_rule(number, **fields)
    answer(
        document(rule),
        f"rule {rule.id}: {rule.condition} -> {rule.model} (priority {rule.priority})",
        as_json=as_json,
    )


@app.command()
def remove(number: Number) -> None:
    """Delete a rule."""
    with omni() as omni_app:
        omni_app.fleet.remove_rule(number)
    out(f"removed rule {number}")


@app.command()
def enable(number: Number) -> None:
    """Let a rule count again."""
    _switch(number, enabled=True)


@app.command()
def disable(number: Number) -> None:
    """Leave a rule out, without deleting it."""
    _switch(number, enabled=False)


@app.command("test")
@grouped
def try_(
    condition: Annotated[
        str | None,
        typer.Argument(help="A condition, or the number of a rule; all rules without it."),
    ] = None,
    prompt: Annotated[list[str] | None, typer.Argument(help="The prompt; - reads stdin.")] = None,
    recorded: Annotated[
        Path | None,
        typer.Option(
            "--request",
            help="A request's body, or {path, headers, body}, of any protocol; not a prompt.",
        ),
    ] = None,
    as_json: JsonFlag = False,
    *,
    said: RequestFacts,
) -> None:
    """Does a condition hold for a prompt, and on what facts? Sends nothing.

    With --request and no condition: which of the rules fires for a request that was recorded, and
    who would answer.
    """
    if condition is None and recorded is None:
        raise UsageError("give a condition and a prompt, or --request FILE")
    with omni() as omni_app:
        if condition is not None and condition.isdigit():
            condition = omni_app.fleet.rule(int(condition)).condition
        options, selector = route_options(omni_app, said), AUTO_SELECTOR
        if recorded is None:
            request = chat_request(read_prompt(prompt or (), (), ()))
        else:
            found = read_recorded(recorded)
            request, selector = found.request, selector_of(omni_app.names, found.model)
            options = replace(options, agent=options.agent or found.agent or None)
            options = options_for(selector, options)
        if condition is None:
            _which(omni_app, request, options, selector, as_json=as_json)
            return
        node = parse(condition)
        facts = _facts(omni_app, request, options, selector)
    holds = evaluate(node, facts)
    if as_json:
        emit_json({"condition": unparse(node), "holds": holds, "facts": _shown(facts)})
        return
    out(paint("holds", "green") if holds else paint("does not hold", "yellow"))
    _show(facts, variables(node))


def _facts(
    omni_app: App, request: ChatRequest, options: RouteOptions, selector: Selector
) -> Mapping[str, object]:
    estimate = omni_app.routing.estimate(request, options)
    return rule_facts(request, options, estimate, input_estimate(request), selector)


def _which(
    omni_app: App,
    request: ChatRequest,
    options: RouteOptions,
    selector: Selector,
    *,
    as_json: bool,
) -> None:
    """Each rule, whether it holds, and the decision. Raises NoRoute."""
    facts = _facts(omni_app, request, options, selector)
    rules = [rule for rule in omni_app.assignments.rules() if rule.enabled]
    tried = [(rule, evaluate(parse(rule.condition), facts)) for rule in rules]
    named = selector.name if selector.kind in ("model", "chain") else ""
    decision = omni_app.routing.decide(request, options, AUTO_SELECTOR if named else selector)
    fires = decision.rule
    if as_json:
        emit_json(
            {
                "names": named or None,
                "rule": fires,
                "model": decision.model,
                "by": decision.by,
                "reason": decision.reason,
                "rules": [{**document(rule), "holds": holds} for rule, holds in tried],
                "facts": _shown(facts),
            }
        )
        return
    for rule, holds in tried:
        mark = paint("fires", "green") if rule.id == fires else "holds" if holds else "-"
        out(f"{mark:<6} {rule.id:>3}  {rule.condition} -> {rule.model}")
    if not tried:
        note("there are no rules; omni init --for claude-code proposes some")
    elif named:
        note(f"this is for auto: the request names {named}, and then no rule counts")
    out(f"{decision.model or 'nobody'}: {decision.reason}")
    _show(facts, frozenset().union(*(variables(parse(rule.condition)) for rule, _ in tried)))


def _shown(facts: Mapping[str, object]) -> dict[str, Any]:
    return {VARIABLES[key].name: _plain(value) for key, value in facts.items()}


def _show(facts: Mapping[str, object], named: frozenset[str]) -> None:
    for key, value in facts.items():
        if key in named:
            out(f"  {VARIABLES[key].name} = {_plain(value)!r}")


def _switch(number: int, *, enabled: bool) -> None:
    with omni() as omni_app:
        rule = omni_app.fleet.edit_rule(number, enabled=enabled)
    out(f"rule {rule.id} is {'on' if enabled else 'off'}: {rule.condition}")


def _plain(value: object) -> Any:
    """A fact as JSON shows it; money as text."""
    return value if isinstance(value, str | int | float | None) else str(value)
