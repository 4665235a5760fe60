"""``omni chat``: one question, a pipe, or a conversation on a terminal."""

import json
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_selectors, grouped, omni, pairs
from omni_cli.cli.markdown import Raw
from omni_cli.cli.prompts import (
    Consent,
    RequestFacts,
    chat_request,
    new_turns,
    read_prompt,
    route_options,
)
from omni_cli.cli.render import emit_json, note, out, paint, plain, width_of
from omni_cli.cli.tables import room
from omni_cli.domain.chat import Message, Part, TextPart
from omni_cli.domain.errors import NotFound, OmniError, StoreError, UsageError
from omni_cli.domain.ids import id_text, parse_id
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.services.engine.answer import result_document
from omni_cli.services.engine.chat import ChatRun
from omni_cli.services.engine.chat_plan import ChatJob, ChatPlan
from omni_cli.services.engine.checks import command
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import decision_document

if TYPE_CHECKING:  # pydantic, which most questions do without
    from omni_cli.services.engine.templates import Template

app = typer.Typer(rich_markup_mode=None)


@app.command()
@grouped
def chat(
    prompt: Annotated[
        list[str] | None, typer.Argument(help="The question; piped text comes before it.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "-m",
            "--model",
            autocompletion=complete_selectors,
            help="Model, alias, role, chain or auto (auto:cheap, auto:best, auto:fast).",
        ),
    ] = None,
    system: Annotated[str | None, typer.Option("-s", "--system", help="System prompt.")] = None,
    template: Annotated[
        str | None,
        typer.Option("-t", "--template", help="A kept prompt, by name or file: omni templates."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", help="A value for the template; repeatable."),
    ] = None,
    file: Annotated[
        list[str] | None,
        typer.Option(
            "-f", "--file", help="Add a file, a folder or a URL of this machine; repeatable."
        ),
    ] = None,
    image: Annotated[
        list[str] | None, typer.Option("-i", "--image", help="Path or URL of an image.")
    ] = None,
    go_on: Annotated[
        bool, typer.Option("-c", "--continue", help="Go on with the last conversation.")
    ] = False,
    conversation: Annotated[
        str | None, typer.Option("--conversation", help="Go on with this one (its id).")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Most tokens to answer.")] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.0, max=2.0, help="Higher: more varied.")
    ] = None,
    json_mode: Annotated[bool, typer.Option("--json-mode", help="Ask for a JSON answer.")] = False,
    schema: Annotated[Path | None, typer.Option(help="Ask for JSON of this JSON Schema.")] = None,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Let others stand in for a named model.")
    ] = False,
    check: Annotated[
        list[str] | None,
        typer.Option(help="A command that reads the answer on stdin; exit 0 passes."),
    ] = None,
    escalate: Annotated[
        bool, typer.Option("--escalate", help="Cheaper model first; dearer where checks fail.")
    ] = False,
    no_stream: Annotated[bool, typer.Option("--no-stream", help="Whole answers only.")] = False,
    no_log: Annotated[
        bool, typer.Option("-n", "--no-log", help="Keep no text; the ledger row stays.")
    ] = False,
    usage: Annotated[
        bool,
        typer.Option(
            "-u",
            "--usage",
            help="Say tokens, cost and saving on stderr; a terminal is told unasked "
            "(chat.receipt).",
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No talk on stderr.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "--plan", help="Decide and estimate; send nothing.")
    ] = False,
    as_json: JsonFlag = False,
    *,
    facts: RequestFacts,
    consent: Consent,
) -> None:
    """Ask the fleet; the right model answers. Without a question, on a terminal: a conversation."""
    with omni(quiet=quiet or as_json) as omni_app:
        if not omni_app.providers.all() and not as_json and _somebody():
            _set_up(omni_app)
        form = _template(omni_app, template)
        model = model or (form.model if form else None) or omni_app.config.chat.default_model
        selector = omni_app.names.select(model or None)
        form = form or _of_role(omni_app, selector)
        given = pairs(param, "-p")
        if given and form is None:
            raise UsageError("-p goes with -t: a value for a template")
        if form is not None:
            system = system or form.system_text(given)
            max_tokens = max_tokens or form.max_tokens
            temperature = form.temperature if temperature is None else temperature
            json_mode = json_mode or form.json_mode
            facts = replace(
                facts,
                priority=facts.priority or form.priority,
                max_cost=facts.max_cost or form.max_cost,
            )
        options = route_options(omni_app, facts, consent)
        earlier_id = _conversation(omni_app, go_on, conversation)
        earlier = [] if earlier_id is None else omni_app.conversations.messages(earlier_id)
        if earlier_id is not None:
            last = omni_app.conversations.last_model(earlier_id)
            options = replace(options, conversation_model=last)
            if model is None and last is not None and _was_named(omni_app, earlier_id):
                selector = omni_app.names.select(last)
        asks = form is not None and template is not None and form.prompt is not None
        if not asks and _wants_repl(prompt, file, image, as_json):
            from omni_cli.cli.conversation import Conversation

            Conversation(
                omni_app,
                selector,
                options,
                system=system,
                earlier=earlier,
                conversation=earlier_id,
                keep=not no_log and omni_app.config.chat.keep_conversations,
            ).run()
            return
        parts = read_prompt(prompt or (), file or (), image or (), needed=not asks)
        if asks and form is not None:
            parts = _in_place(parts, lambda asked: form.prompt_text(given, asked))
        request = chat_request(
            parts,
            system=system,
            earlier=earlier,
            max_tokens=max_tokens,
            temperature=temperature,
            json_mode=json_mode,
            schema=schema,
            stream=not (no_stream or as_json),
        )
        job = ChatJob(
            request=request,
            selector=selector,
            options=options,
            conversation=earlier_id,
            keep=not no_log and omni_app.config.chat.keep_conversations,
            fallback=fallback,
            checks=tuple(command(text) for text in check or ()) if check or escalate else None,
        )
        plan = omni_app.chat.plan(job)
        if dry_run:
            _dry(plan, as_json=as_json)
            return
        try:
            run = ask(omni_app, plan, new_turns(request, earlier), show=not as_json)
        finally:
            if not quiet:
                with suppress(StoreError):  # told with the next call
                    tell_alerts(omni_app)
        if run.new.role:
            _shadow(omni_app, run, quiet=quiet)
        if as_json:
            emit_json(result_document(run))
        elif not quiet and (usage or (omni_app.config.chat.receipt and sys.stderr.isatty())):
            note(paint(summary(run, None if usage else room()), "dim", sys.stderr))
        if run.late is not None:
            raise run.late


class Screen(Protocol):
    """What an answer is written to, piece by piece (cli/markdown.py)."""

    def write(self, text: str) -> None: ...
    def close(self) -> None: ...


def ask(
    omni_app: App,
    plan: ChatPlan,
    new: list[Message],
    *,
    show: bool,
) -> ChatRun:
    """Carry a plan out, printing the answer as it arrives.

    Raises: as ChatService.chunks; what was printed so far ends with a line break.
    """
    return follow(omni_app, omni_app.chat.start(plan), new, show=show)


def follow(
    omni_app: App, run: ChatRun, new: list[Message], *, show: bool, screen: Screen | None = None
) -> ChatRun:
    """The same for one whose row is written; as it is, without a ``screen``."""
    screen = screen or Raw()
    try:
        with closing(omni_app.chat.chunks(run, new_turns=new)) as chunks:
            for chunk in chunks:
                if show and chunk.text:
                    screen.write(plain(chunk.text))
    finally:
        screen.close()
    if show:
        for call in run.completion.tool_calls:
            out(plain(f"[tool call] {call.name} {call.arguments}"))
    return run


def _shadow(omni_app: App, run: ChatRun, *, quiet: bool) -> None:
    """Where the role's challenger is compared at once, do that: the answer is shown already."""
    try:
        pair = omni_app.shadow.at_once(run)
    except OmniError as exc:
        pair, why = None, exc.message
    else:
        why = ""
    if quiet:
        return
    if pair is not None:
        note(f"shadow: {pair.challenger:.2f} against {pair.champion:.2f} ({pair.how})")
    elif why:
        note(f"shadow: not compared: {why}")


def summary(run: ChatRun, width: int | None = None) -> str:
    """One line: who answered, tokens, cost, saving, time, and how to see more.

    Args:
        width: cells that it may take; the baseline, the tokens, the time and the saving give way
            in this order.
    """
    row = run.row
    if row is None:
        return ""
    usage = row.usage
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    saved = "" if row.savings_nusd is None else f"saved {format_usd(row.savings_nusd)}"
    parts = {
        "model": row.model,
        "tokens": f"{usage.input_tokens:,} in{cached}, {usage.output_tokens:,} out",
        "cost": format_usd(row.known_nusd),
        "saved": saved and f"{saved} against {row.premium_model}",
        "time": "" if row.latency_ms is None else f"{row.latency_ms / 1000:.1f} s",
        "why": f"omni why {id_text(run.id)}",
    }
    shorter = {"saved": saved}, {"tokens": ""}, {"time": ""}, {"saved": ""}
    for change in shorter:
        if width is None or width_of(_joined(parts)) <= width:
            break
        parts |= change
    return _joined(parts)


def _joined(parts: dict[str, str]) -> str:
    return " · ".join(part for part in parts.values() if part)


def tell_alerts(omni_app: App) -> None:
    """Warn on stderr of budget thresholds that were passed, and take a deploy back that does harm;
    the modules load with a budget, or a deploy under way, only."""
    if omni_app.budgets.all():
        from omni_cli.cli.commands import budgets

        budgets.tell_alerts(omni_app)
    if omni_app.deploy_store.open() is not None:
        for alert in omni_app.deploys.check():
            note(f"{alert.title}: {alert.text}")


def _template(omni_app: App, name: str | None) -> "Template | None":
    """Raises NotFound, UsageError: there is none, or it does not fit."""
    if name is None:
        return None
    from omni_cli.services.engine.templates import file_of, template_in

    return template_in(file_of(name, omni_app.paths.config, Path.cwd()))


def _of_role(omni_app: App, selector: Selector) -> "Template | None":
    """What the user has written for whoever asks this role, if anything."""
    file = omni_app.paths.config / "templates" / "roles" / f"{selector.name}.toml"
    if selector.kind != "role" or "/" in selector.name or not file.is_file():
        return None
    from omni_cli.services.engine.templates import template_in

    return template_in(file)


def _in_place(parts: tuple[Part, ...], fill: Callable[[str], str]) -> tuple[Part, ...]:
    """The turn with its text put into a template."""
    texts = [part.text for part in parts if isinstance(part, TextPart)]
    media = [part for part in parts if not isinstance(part, TextPart)]
    return (TextPart(fill("\n\n".join(texts))), *media)


def _somebody() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()


def _set_up(omni_app: App) -> None:
    """There is no fleet yet: find what there is, and ask, as ``omni init`` does.

    Raises Exit: nothing was set up.
    """
    from omni_cli.cli.commands.init import init

    note("there is no fleet yet; this machine has")
    init()
    omni_app.refresh()
    if not omni_app.providers.all():
        raise typer.Exit(1)
    out()


def _conversation(omni_app: App, go_on: bool, name: str | None) -> int | None:
    if name is not None:
        span = parse_id(name)
        if span is None or span[0] != span[1] or not omni_app.conversations.exists(span[0]):
            raise NotFound(f"no conversation {name!r}", hint="omni logs lists requests with theirs")
        return span[0]
    if not go_on:
        return None
    last = omni_app.conversations.last()
    if last is None:
        raise NotFound("there is no conversation to go on with", hint="leave -c out to start one")
    return last


def _was_named(omni_app: App, conversation: int) -> bool:
    """Whether the user had named the model of the conversation's last answer: it goes on."""
    request = omni_app.conversations.last_request(conversation)
    text = None if request is None else omni_app.ledger.decision(request)
    return text is not None and json.loads(text)["by"] == "named"


def _wants_repl(
    prompt: list[str] | None, file: list[str] | None, image: list[str] | None, as_json: bool
) -> bool:
    return (
        not prompt
        and not file
        and not image
        and not as_json
        and sys.stdin.isatty()
        and sys.stdout.isatty()
    )


def _dry(plan: ChatPlan, *, as_json: bool) -> None:
    if as_json:
        document = decision_document(plan.decision)
        document["would_try"] = [target.model.id for target in plan.targets]
        emit_json(document)
        return
    out(f"{paint(plan.targets[0].model.id, 'bold')}  {plan.decision.reason}")
    expected = plan.targets[0].expected_nusd
    out(f"expected cost {format_usd(expected)}; nothing was sent")
    if len(plan.targets) > 1:
        out("then " + ", ".join(target.model.id for target in plan.targets[1:]))
