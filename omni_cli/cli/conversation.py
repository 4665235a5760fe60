"""``omni chat`` without a question on a terminal: a conversation, with commands of its own."""

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from omni_cli.bootstrap import App
from omni_cli.cli.commands.chat import follow, summary, tell_alerts
from omni_cli.cli.common import complete_selectors
from omni_cli.cli.markdown import Raw, Rendered
from omni_cli.cli.prompts import chat_request, read_image, read_source
from omni_cli.cli.render import colour_on, note, out, paint
from omni_cli.cli.tables import room
from omni_cli.domain.chat import MediaPart, Message, Part, TextPart
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.words import counted, meant
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions

#: What each command takes, and does; in the order of /help.
COMMANDS: dict[str, tuple[str, str]] = {
    "/model": ("NAME", "who answers from now on: auto, a model, a role, a chain"),
    "/why": ("", "the receipt of the last answer"),
    "/rate": ("1-5 [WHY]", "how good the last answer was; routing learns from it"),
    "/cost": ("", "what this conversation has cost"),
    "/file": ("PATH...", "send files along with the next question"),
    "/image": ("PATH|URL...", "send pictures along with it"),
    "/undo": ("", "forget the last question and its answer"),
    "/new": ("", "start a new conversation"),
    "/save": ("FILE", "write the conversation down, as Markdown"),
    "/markdown": ("on|off", "render answers, or show them as they come"),
    "/help": ("", "these commands"),
    "/exit": ("", "leave (also Ctrl-D)"),
}
_OTHER_WORDS = {"/quit": "/exit", "/q": "/exit", "/?": "/help", "/clear": "/new"}
_HELP_END = """Three double quotes alone on a line begin and end a text of several lines; so does a
backslash at a line's end. Ctrl-C stops an answer; the conversation goes on."""
#: Lines that the history keeps.
_REMEMBERED = 1_000


class Conversation:
    """Reads and answers until its end; an error, or Ctrl-C, ends a turn only."""

    def __init__(
        self,
        app: App,
        selector: Selector,
        options: RouteOptions,
        *,
        system: str | None,
        earlier: Sequence[Message],
        conversation: int | None,
        keep: bool,
    ) -> None:
        self._app = app
        self._selector = selector
        self._options = options
        self._system = system
        self._messages = list(earlier)
        self._id = conversation
        self._keep = keep
        #: How many messages the ledger's conversation has; of a new one none.
        self._stored = len(self._messages)
        self._turns: list[int] = []
        self._attached: list[Part] = []
        self._rows: list[RequestRow] = []
        self._last = ""
        self._markdown = app.config.chat.markdown and colour_on(sys.stdout)

    def run(self) -> None:
        forget = _edit(self._app.paths.data / "chat_history" if self._keep else None)
        note(paint("omni: /help lists commands, Ctrl-D leaves", "dim", sys.stderr))
        try:
            while True:
                try:
                    text = _read()
                except EOFError:
                    out()
                    return
                except KeyboardInterrupt:
                    out()
                    continue
                try:
                    if not self._take(text):
                        return
                except OmniError as exc:
                    _complain(exc)
        finally:
            forget()

    def _take(self, text: str) -> bool:
        """One entry: a command, or a question. False: it was the last."""
        word, _, rest = text.strip().partition(" ")
        word = _OTHER_WORDS.get(word, word)
        if word == "/exit":
            return False
        if word in COMMANDS:
            getattr(self, f"_do_{word[1:]}")(rest.strip())
        elif word.startswith("/") and "/" not in word[1:] and "\n" not in text:
            hint = meant(word, COMMANDS, most=1) or "/help lists commands"
            raise UsageError(f"there is no {word}", hint=hint)
        elif word:
            self._ask(text)
        return True

    def _ask(self, text: str) -> None:
        files = [part.text for part in self._attached if isinstance(part, TextPart)]
        media = [part for part in self._attached if isinstance(part, MediaPart)]
        parts: tuple[Part, ...] = (TextPart("\n\n".join([*files, text])), *media)
        request = chat_request(parts, system=self._system, earlier=self._messages)
        job = ChatJob(
            request=request,
            selector=self._selector,
            options=self._options,
            conversation=self._id,
            keep=self._keep,
        )
        plan = self._app.chat.plan(job)
        # What a new conversation takes over from an undone one is written with its first answer.
        new = list(request.messages[self._stored if self._id is not None else 0 :])
        screen = Rendered() if self._markdown else Raw()
        run = self._app.chat.start(plan)
        try:
            follow(self._app, run, new, show=True, screen=screen)
        except KeyboardInterrupt:
            note(paint("stopped; what arrived is in the ledger", "yellow", sys.stderr))
            return
        finally:
            if run.row is not None:
                self._rows.append(run.row)
        note(paint(summary(run, room()), "dim", sys.stderr))
        tell_alerts(self._app)
        self._turns.append(len(self._messages))
        self._messages = [*request.messages, run.completion.as_message()]
        self._stored = len(self._messages)
        self._attached = []
        self._last = id_text(run.id)
        self._id = run.plan.job.conversation
        if run.row is not None:
            self._options = replace(self._options, conversation_model=run.row.model)
        if run.late is not None:
            raise run.late

    # --- commands ---------------------------------------------------------------------------

    def _do_help(self, _: str) -> None:
        first = max(len(f"{name} {takes}") for name, (takes, _) in COMMANDS.items())
        for name, (takes, what) in COMMANDS.items():
            note(f"{f'{name} {takes}':<{first}}  {what}")
        note(_HELP_END)

    def _do_model(self, name: str) -> None:
        if name:
            self._selector = self._app.names.select(name)
        note(f"answers come from {self._selector.kind} {self._selector.name}".rstrip())

    def _do_why(self, _: str) -> None:
        from omni_cli.cli.commands.requests import print_receipt

        print_receipt(self._app.receipts.read(self._answered()), self._app.zone)

    def _do_rate(self, text: str) -> None:
        stars, _, why = text.partition(" ")
        if stars not in ("1", "2", "3", "4", "5"):
            raise UsageError("/rate takes 1 (useless) to 5 (perfect)")
        self._app.ratings.rate(self._answered(), "rating", int(stars), why.strip())
        note(f"rated {stars} of 5")

    def _answered(self) -> str:
        if not self._last:
            raise UsageError("nothing was answered yet")
        return self._last

    def _do_cost(self, _: str) -> None:
        known = [row.total_nusd for row in self._rows if row.total_nusd is not None]
        odd = sum(row.price_state == "unknown" for row in self._rows)
        tokens = sum(row.usage.input_tokens + row.usage.output_tokens for row in self._rows)
        unknown = f", {odd} of unknown cost" if odd else ""
        answers = counted(len(self._rows), "answer")
        note(f"{answers}, {tokens:,} tokens, {format_usd(sum(known))}{unknown}")

    def _do_file(self, paths: str) -> None:
        self._attach([part for path in _paths(paths, "/file") for part in read_source(path)])

    def _do_image(self, sources: str) -> None:
        self._attach([read_image(source) for source in _paths(sources, "/image")])

    def _attach(self, parts: list[Part]) -> None:
        self._attached += parts
        note(f"{counted(len(self._attached), 'file')} with the next question")

    def _do_undo(self, _: str) -> None:
        if self._attached:
            self._attached = []
            note("nothing goes with the next question")
        elif self._turns:
            self._messages = self._messages[: self._turns.pop()]
            self._id, self._last = None, ""  # what was said stays in the ledger's conversation
            note("the last question and its answer are forgotten")
        else:
            raise UsageError("there is nothing to undo")

    def _do_new(self, _: str) -> None:
        self._messages, self._turns, self._id = [], [], None
        self._options = replace(self._options, conversation_model=None)
        note("a new conversation")

    def _do_save(self, name: str) -> None:
        if not name:
            raise UsageError("/save takes a file's name")
        if not self._messages:
            raise UsageError("nothing was said yet")
        path = Path(name).expanduser()
        try:
            with path.open("x", encoding="utf-8") as file:
                for message in self._messages:
                    file.write(f"## {message.role}\n\n{message.text.strip()}\n\n")
        except FileExistsError:
            raise UsageError(f"{path} is there already", hint="give another name") from None
        except OSError as exc:
            raise UsageError(f"cannot write {path}: {exc.strerror}") from exc
        note(f"saved {counted(len(self._messages), 'message')} to {path}")

    def _do_markdown(self, word: str) -> None:
        if word not in ("", "on", "off"):
            raise UsageError("/markdown takes on or off")
        self._markdown = word == "on" if word else not self._markdown
        note(f"Markdown is {'rendered' if self._markdown else 'shown as it comes'}")


def _paths(text: str, command: str) -> list[str]:
    import shlex

    try:
        found = shlex.split(text)
    except ValueError as exc:
        raise UsageError(f"{command}: {exc}") from exc
    if not found:
        raise UsageError(f"{command} takes the path of a file")
    return found


def _read() -> str:
    text = input("> ")
    lines: list[str] = []
    if text.strip() == '"""':
        while (line := input("… ")).strip() != '"""':
            lines.append(line)
        return "\n".join(lines)
    while text.endswith("\\"):
        lines.append(text[:-1])
        text = input("… ")
    return "\n".join([*lines, text])


def offers(line: str, word: str) -> list[str]:
    """What the Tab key offers for the last word of a line."""
    command, space, _ = line.partition(" ")
    if not space:
        return [f"{name} " for name in COMMANDS if name.startswith(line)] if line[:1] == "/" else []
    if command == "/model":
        return complete_selectors(word)
    if command == "/markdown":
        return [value for value in ("on", "off") if value.startswith(word)]
    if command in ("/file", "/image", "/save"):
        folder, slash, start = word.rpartition("/")
        with suppress(OSError):
            found = sorted(Path(f"{folder}{slash}" or ".").expanduser().iterdir())
            return [
                f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}"
                for path in found
                if path.name.startswith(start) and (start or not path.name.startswith("."))
            ]
    return []


def _edit(history: Path | None) -> Callable[[], None]:
    """Arrow keys, the Tab key, and what was typed before; returns what is done at the end."""
    try:
        import readline
    except ImportError:
        return lambda: None
    found: list[str] = []

    def complete(word: str, number: int) -> str | None:
        if number == 0:
            found[:] = offers(readline.get_line_buffer()[: readline.get_endidx()], word)
        return found[number] if number < len(found) else None

    readline.set_completer(complete)
    readline.set_completer_delims(" \t\n")
    libedit = "libedit" in (getattr(readline, "__doc__", "") or "")
    readline.parse_and_bind("bind ^I rl_complete" if libedit else "tab: complete")
    if history is None:
        return lambda: None
    readline.set_history_length(_REMEMBERED)
    with suppress(OSError):
        readline.read_history_file(history)

    def write() -> None:
        with suppress(OSError):
            history.touch(mode=0o600)
            readline.write_history_file(history)

    return write


def _complain(exc: OmniError) -> None:
    note(f"{paint('error:', 'red', sys.stderr)} {exc.message}")
    if exc.hint:
        note(f"{paint('hint:', 'cyan', sys.stderr)} {exc.hint}")
