"""A conversation on a terminal: turn after turn, with the ledger's figures after each."""

import contextlib
import sys

from omni_cli.bootstrap import App
from omni_cli.cli.prompts import chat_request, new_turns
from omni_cli.cli.render import note, out, paint
from omni_cli.domain.chat import Message, TextPart
from omni_cli.domain.errors import OmniError
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions

_HELP = """/model NAME   who answers from now on (auto, a model, a role, a chain)
/why          the receipt of the last answer
/rate 1-5     how good the last answer was
/new          start a new conversation
/exit         leave (also Ctrl-D)
Three double quotes alone on a line begin and end a text of several lines."""


def converse(
    app: App,
    selector: Selector,
    options: RouteOptions,
    *,
    system: str | None,
    earlier: list[Message],
    conversation: int | None,
    keep: bool,
) -> None:
    """Read and answer until end of input. An error ends a turn, not the conversation."""
    from omni_cli.cli.commands.chat import ask, summary, tell_alerts
    from omni_cli.domain.record import replace

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  # arrow keys and history in input()

    messages = list(earlier)
    last_request = ""
    note(paint("omni: /help lists commands, Ctrl-D leaves", "dim", sys.stderr))
    while True:
        try:
            text = _read()
        except EOFError:
            out()
            return
        except KeyboardInterrupt:
            out()
            continue
        word, _, rest = text.strip().partition(" ")
        if not word:
            continue
        if word in ("/exit", "/quit"):
            return
        if word.startswith("/"):
            try:
                if word == "/model":
                    selector = app.names.select(rest.strip() or None)
                    note(f"answers come from {selector.kind} {selector.name}".rstrip())
                elif word == "/new":
                    messages, conversation = [], None
                    options = replace(options, conversation_model=None)
                elif word in ("/why", "/rate") and last_request:
                    _run(word, last_request, rest)
                else:
                    note(_HELP)
            except OmniError as exc:
                _complain(exc)
            continue
        request = chat_request((TextPart(text),), system=system, earlier=messages)
        try:
            plan = app.chat.plan(
                ChatJob(
                    request=request,
                    selector=selector,
                    options=options,
                    conversation=conversation,
                    keep=keep,
                )
            )
            new = new_turns(request, messages)
            run = ask(app, plan, new, show=True)
        except OmniError as exc:
            _complain(exc)
            continue
        except KeyboardInterrupt:
            note(paint("interrupted; what arrived is in the ledger", "yellow", sys.stderr))
            continue
        note(paint(summary(run), "dim", sys.stderr))
        tell_alerts(app)
        from omni_cli.domain.ids import id_text

        last_request = id_text(run.id)
        conversation = run.plan.job.conversation
        messages = [*messages, *new, run.completion.as_message()]
        if run.row is not None:
            options = replace(options, conversation_model=run.row.model)


def _read() -> str:
    text = input("> ")
    if text.strip() != '"""':
        return text
    lines: list[str] = []
    while (line := input("… ")).strip() != '"""':
        lines.append(line)
    return "\n".join(lines)


def _run(word: str, request: str, rest: str) -> None:
    if word == "/why":
        from omni_cli.cli.commands.why import why

        why(request)
        return
    from omni_cli.cli.commands.rate import rate

    if not rest.strip().isdigit():
        note("/rate takes 1 to 5")
        return
    rate(request, int(rest))


def _complain(exc: OmniError) -> None:
    note(f"{paint('error:', 'red', sys.stderr)} {exc.message}")
    if exc.hint:
        note(f"{paint('hint:', 'cyan', sys.stderr)} {exc.hint}")
