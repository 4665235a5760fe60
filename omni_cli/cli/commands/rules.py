"""``omni rules``: conditions on a request that prefer a model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from msgspec import Struct

from omni_cli.cli.common import JsonFlag, YesFlag, agree_to_leaving, complete_models, grouped, omni
from omni_cli.cli.prompts import RequestFacts, chat_request, read_prompt, route_options
from omni_cli.cli.render import answer, emit_json, note, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.document import document
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.record import replace
from omni_cli.domain.rules import VARIABLES, evaluate, parse, unparse, variables
from omni_cli.services.engine.names import AUTO_SELECTOR, Names, Selector
from omni_cli.services.engine.routing import options_for
from omni_cli.services.engine.rule_test import (
    Tested,
    facts_document,
    facts_of,
    plain,
    tested_document,
    try_rules,
)

#: By how a path ends, or by what stands in a body.
_PATHS = (
    ("/messages", "anthropic"),
    ("/responses", "openai-responses"),
    ("/chat/completions", "openai"),
    ("/api/chat", "ollama"),
)


class Recorded(Struct, frozen=True):
    """``model``: who is asked, "" where the body does not say. ``agent``: who asks, by its headers
    or metadata."""

    request: ChatRequest
    model: str
    agent: str
    protocol: str


def read_recorded(path: Path) -> Recorded:
    """Raises UsageError: no such file, or no request of a protocol that omni speaks."""
    from omni_cli.gateway.sessions import agent_in, agent_of
    from omni_cli.wire.registry import callers

    try:
        told = json.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{path} is no JSON: {exc}") from exc
    if not isinstance(told, dict):
        raise UsageError(f"{path} holds no request: it is no JSON object")
    whole = isinstance(told.get("body"), dict)
    body: dict[str, Any] = told["body"] if whole else told
    headers = told.get("headers") if whole else None
    found = _protocol(str(told.get("path", "")) if whole else "", body)
    if found is None:
        raise UsageError(
            f"{path} is no request that omni knows",
            hint="it is the body of a call for a chat, or an object with path, headers and body",
        )
    try:
        parsed = callers(found)[0].parse(body)
    except OmniError as exc:
        raise UsageError(f"{path} cannot be read as {found}: {exc.message}") from exc
    named = (
        {str(k).lower(): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {}
    )
    model, agent = body.get("model"), agent_of(named) or agent_in(body.get("metadata"))
    return Recorded(parsed.request, model if isinstance(model, str) else "", agent, found)


def _protocol(path: str, body: Mapping[str, Any]) -> str | None:
    path = path.partition("?")[0]
    for ending, protocol in _PATHS:
        if path.endswith(ending):
            return protocol
    if "contents" in body or "generateContent" in path.replace("streamG", "g"):
        return "gemini"
    if "input" in body:
        return "openai-responses"
    if not isinstance(body.get("messages"), list):
        return None
    anthropic = "system" in body or any(
        isinstance(tool, dict) and "input_schema" in tool for tool in body.get("tools") or ()
    )
    anthropic = anthropic or any(
        isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result", "thinking")
        for turn in body["messages"]
        if isinstance(turn, dict) and isinstance(turn.get("content"), list)
        for block in turn["content"]
    )
    if anthropic:
        return "anthropic"
    return "ollama" if "options" in body else "openai"


def selector_of(names: Names, model: str) -> Selector:
    """What the fleet makes of the name; a model that it lacks is left to the router, as where an
    agent is told to ask for auto."""
    try:
        return names.select(model or None, suggest=False)
    except NotFound:
        return AUTO_SELECTOR


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
            rules = omni_app.assignments.rules()
            tested = try_rules(omni_app.routing, rules, request, options, selector)
            _which(tested, as_json=as_json)
            return
        node = parse(condition)
        facts = facts_of(omni_app.routing, request, options, selector)
    holds = evaluate(node, facts)
    if as_json:
        emit_json({"condition": unparse(node), "holds": holds, "facts": facts_document(facts)})
        return
    out(paint("holds", "green") if holds else paint("does not hold", "yellow"))
    _show(facts, variables(node))


def _which(found: Tested, *, as_json: bool) -> None:
    """Each rule, whether it holds, and the decision."""
    if as_json:
        emit_json(tested_document(found))
        return
    decision = found.decision
    for rule, holds in found.rules:
        fires = rule.id == decision.rule
        mark = paint("fires", "green") if fires else "holds" if holds else "-"
        out(f"{mark:<6} {rule.id:>3}  {rule.condition} -> {rule.model}")
    if not found.rules:
        note("there are no rules; omni init --for claude-code proposes some")
    elif found.names:
        note(f"this is for auto: the request names {found.names}, and then no rule counts")
    out(f"{decision.model or 'nobody'}: {decision.reason}")
    asked = frozenset().union(*(variables(parse(rule.condition)) for rule, _ in found.rules))
    _show(found.facts, asked)
    if "agent" in asked and not found.facts["agent"]:
        note("nothing says which agent asks; --agent NAME does, or headers that were recorded")


def _show(facts: Mapping[str, object], named: frozenset[str]) -> None:
    for key, value in facts.items():
        if key in named:
            out(f"  {VARIABLES[key].name} = {plain(value)!r}")


def _switch(number: int, *, enabled: bool) -> None:
    with omni() as omni_app:
        rule = omni_app.fleet.edit_rule(number, enabled=enabled)
    out(f"rule {rule.id} is {'on' if enabled else 'off'}: {rule.condition}")
