"""Chat: try the fleet; the decision stands beside the answer, and Esc gives up."""

import re
import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, ClassVar

from msgspec import Struct, field
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message as TextualMessage
from textual.widget import Widget
from textual.widgets import Input, Label, Markdown, Static

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message, TextPart
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.routing import RouteOptions, decision_document
from omni_cli.tui import text
from omni_cli.tui.pane import Pane
from omni_cli.tui.screens.receipt import decision_text
from omni_cli.tui.widgets.picker import Groups, Item, Pick, model_items, named_items

if TYPE_CHECKING:
    from omni_cli.services.engine.own import Steps


#: Least time between two updates of the text on the screen, seconds.
_FRAME_S = 0.05


class Question(Struct, frozen=True):
    """``to`` is what ``omni chat -m`` takes. ``earlier``: the conversation so far, its id and
    the model that answered last, "" and None where it begins."""

    to: str
    prompt: str
    earlier: tuple[Message, ...] = ()
    conversation: int | None = None
    last_model: str | None = None


class News(Struct, frozen=True):
    """What is known so far; each replaces the one before. ``done``: nothing more will come."""

    question: Question
    decision: dict[str, Any] | None = None
    text: str = ""
    notes: tuple[str, ...] = ()
    request: int | None = None
    row: RequestRow | None = None
    error: OmniError | None = None
    stopped: bool = False
    done: bool = False
    conversation: int | None = None


class Asking(Struct):
    """A question under way.

    Args:
        tell: called in the worker's thread, at most some twenty times a second.
    """

    question: Question
    tell: Callable[[News], None]
    _notes: list[str] = field(default_factory=list)
    _steps: "Steps | None" = None
    _given_up: bool = False
    _last: News = field(default_factory=lambda: News(Question("", "")))

    def note(self, line: str) -> None:
        """Retries and failovers, as the dispatcher tells them."""
        self._notes.append(line)

    def stop(self) -> None:
        """Give up; what has arrived is settled."""
        self._given_up = True
        if self._steps is not None:
            self._steps.stop()

    def run(self, omni: App) -> None:
        """The whole of it, with a session of its own; ends with News that are done."""
        from omni_cli.services.engine.own import Stopped

        news = News(self.question)
        try:
            news = self._ask(omni, news)
        except OmniError as exc:
            news = replace(self._last, error=exc)
        except Stopped:
            news = replace(self._last, stopped=True)
        request = news.request
        row = None if request is None else omni.ledger.get(request)
        self.tell(replace(news, row=row, notes=tuple(self._notes), done=True))

    def _ask(self, omni: App, news: News) -> News:
        self._last = news
        self._steps = omni.steps
        if self._given_up:
            self._steps.stop()
        question = self.question
        turn = Message("user", (TextPart(question.prompt),))
        config = omni.config
        job = ChatJob(
            request=ChatRequest(messages=(*question.earlier, turn)),
            selector=omni.names.select(question.to),
            options=RouteOptions(
                priority=config.routing.priority,
                latency_pref=config.routing.latency_pref,
                weights=config.routing.weights,
                allow_unknown_price=config.prices.allow_unknown,
                conversation_model=question.last_model,
            ),
            conversation=question.conversation,
            keep=config.chat.keep_conversations,
        )
        plan = omni.chat.plan(job)
        news = replace(news, decision=decision_document(plan.decision))
        self._show(news)
        run = omni.chat.start(plan)
        news = replace(news, request=run.id, conversation=run.plan.job.conversation)
        self._show(news)
        pieces: list[str] = []
        shown_at = 0.0
        with closing(omni.chat.chunks(run, new_turns=[turn])) as chunks:
            for chunk in chunks:
                if not chunk.text:
                    continue
                pieces.append(chunk.text)
                now = time.monotonic()
                if now - shown_at >= _FRAME_S:
                    shown_at = now
                    news = replace(news, text="".join(pieces))
                    self._show(news)
                else:
                    self._last = replace(news, text="".join(pieces))
        return replace(news, text=run.completion.text or "".join(pieces))

    def _show(self, news: News) -> None:
        self._last = news
        self.tell(replace(news, notes=tuple(self._notes)))


_MUTED = "$foreground-muted"
_AUTO = (
    ("auto", "as the settings weigh it"),
    ("auto:cheap", "the least cost that is good enough"),
    ("auto:balanced", "cost, quality and speed alike"),
    ("auto:best", "the best answer"),
    ("auto:fast", "the quickest answer"),
)
_KEYS = (
    ("Enter", "sends; the right model answers, and its reasons stand beside it"),
    ("Esc", "gives up an answer; once more leaves the input, so that jump keys work"),
    ("i", "goes back to the input"),
    ("Ctrl+O", "names who shall answer: a model, a role, a chain, auto:cheap …"),
    ("Ctrl+R", "shows the last answer's receipt"),
    ("Ctrl+N", "begins a new conversation"),
)
#: What is worth drawing as Markdown: code, lists, headings, emphasis, tables, links.
_MARKED = re.compile(r"```|`[^`\n]+`|^\s*(?:[-*+]|\d+\.) |^#+ |\*\*|^\||\]\(", re.MULTILINE)


class Hello(Vertical):
    """What the keys do; words that wrap stay beside their key."""

    DEFAULT_CSS = """
    Hello { height: auto; }
    Hello Horizontal { height: auto; padding-left: 2; }
    Hello .title { text-style: bold; margin-bottom: 1; }
    Hello .key { width: 9; color: $primary; text-style: bold; }
    Hello .words { width: 1fr; }
    """

    def compose(self) -> ComposeResult:
        yield Static("Ask the fleet.", classes="title")
        for key, words in _KEYS:
            with Horizontal():
                yield Static(key, classes="key")
                yield Static(words, classes="words")


def read_answerers(omni: App) -> Groups:
    """Who may be asked: the router by a preference, roles, chains, models."""
    auto = [
        Item(name, Content.assemble(f"{name:<14}", (said, _MUTED)), name) for name, said in _AUTO
    ]
    roles = named_items([role.name for role in omni.assignments.roles()])
    chains = named_items([chain.name for chain in omni.assignments.chains()])
    return [
        ("The router", auto),
        ("Roles", roles),
        ("Chains", chains),
        ("Models", model_items(omni)),
    ]


class ChatPane(Pane[frozenset[str]]):
    DEFAULT_CSS = """
    ChatPane #to-line { height: 1; padding: 0 1; }
    ChatPane #to-line Label { color: $foreground-muted; }
    ChatPane #log { padding: 0 1; }
    ChatPane #side {
        width: 44%; border-left: solid $foreground 20%; padding: 0 1; display: none;
    }
    ChatPane .said { margin-top: 1; color: $primary; }
    ChatPane .answer { height: auto; padding: 0; background: $background; }
    ChatPane .sum { color: $foreground-muted; }
    ChatPane #prompt { dock: bottom; border: round $primary; background: $background; }
    ChatPane #prompt:blur { border: round $foreground 20%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "stop", "Stop/leave input"),
        Binding("ctrl+o", "to", "Who answers", priority=True),
        Binding("ctrl+r", "receipt", "Receipt", priority=True),
        Binding("ctrl+n", "new", "New", priority=True),
        Binding("i,enter", "write", "Write", show=False),
    ]

    class Progress(TextualMessage):
        """News of the question under way; only the newest of several counts."""

        def __init__(self, news: News) -> None:
            super().__init__()
            self.news = news

        def can_replace(self, message: TextualMessage) -> bool:
            return isinstance(message, ChatPane.Progress)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._asking: Asking | None = None
        self._messages: list[Message] = []
        self._conversation: int | None = None
        self._last: News | None = None
        self._answer: Static | None = None
        self._simulated: frozenset[str] = frozenset()

    def compose(self) -> ComposeResult:
        with Horizontal(id="to-line"):
            yield Label("to ")
            yield Pick("auto", "Who shall answer?", self.loader, read_answerers, own=bool, id="to")
        with Horizontal():
            with VerticalScroll(id="log"):
                yield Hello(id="hello")
            with VerticalScroll(id="side", can_focus=False), Vertical():
                yield Static(id="decision", markup=False)
        yield Input(placeholder="ask something", id="prompt")

    def entry(self) -> Widget | None:
        return self.query_one("#prompt")

    def remember(self) -> dict[str, Any]:
        return {"to": self._to.value}

    def recall(self, kept: dict[str, Any]) -> None:
        self._to.value = str(kept.get("to") or "auto")

    @property
    def _to(self) -> Pick:
        return self.query_one("#to", Pick)

    def load(self, omni: App, _wanted: Any) -> frozenset[str]:
        return frozenset(p.slug for p in omni.providers.all() if p.simulated)

    def show(self, value: frozenset[str]) -> None:
        self._simulated = value

    def on_unmount(self) -> None:
        if self._asking is not None:
            self._asking.stop()

    # --- asking ------------------------------------------------------------------------------

    @on(Pick.Changed)
    def action_write(self) -> None:
        if self.omni.is_pane_active(self):
            self.query_one("#prompt").focus()

    @on(Input.Submitted, "#prompt")
    async def _send(self, event: Input.Submitted) -> None:
        prompt = event.value.strip()
        if not prompt or self._asking is not None:
            return
        event.input.value = ""
        log = self.query_one("#log")
        for hello in self.query("#hello"):
            await hello.remove()
        answer = Static("…", markup=False)
        self._answer = answer
        await log.mount(Static(f"▸ {prompt}", classes="said", markup=False), answer)
        log.anchor()
        question = Question(
            to=self._to.value or "auto",
            prompt=prompt,
            earlier=tuple(self._messages),
            conversation=self._conversation,
            last_model=None
            if self._last is None or self._last.row is None
            else self._last.row.model,
        )
        self._asking = Asking(question, self._heard)
        self.run_worker(self._ask, thread=True, group="ask")

    def _ask(self) -> None:
        asking = self._asking
        assert asking is not None
        with self.loader.new_session(note=asking.note) as omni:
            asking.run(omni)

    def _heard(self, news: News) -> None:
        """In the worker's thread; posting is safe from any."""
        if self.is_attached:
            self.post_message(self.Progress(news))

    @on(Progress)
    async def _show_progress(self, event: Progress) -> None:
        news = event.news
        self._last = news
        answer = self._answer
        if answer is None:
            return
        answer.update(news.text or ("" if news.done else self._waiting(news)))
        if news.decision is not None:
            place = self.query_one("#decision", Static)
            shown = decision_text(news.decision, max(place.content_size.width, 30))
            for note in news.notes:
                shown += Content.styled(f"\n▲ {note}", "$warning")
            place.update(shown)
        if news.done:
            self._asking = None
            await self._finish(news)

    def _waiting(self, news: News) -> Content:
        if news.decision is None:
            return Content.styled("deciding…", _MUTED)
        notes = "".join(f"\n▲ {note}" for note in news.notes[-2:])
        return Content.styled(
            f"→ {news.decision['model']}: {news.decision['reason']}{notes}", _MUTED
        )

    async def _finish(self, news: News) -> None:
        log, answer = self.query_one("#log"), self._answer
        # Drawn when it is whole: while it comes, half a table is no table.
        if answer is not None and _MARKED.search(news.text):
            drawn = Markdown(news.text, open_links=False, classes="answer")
            await log.mount(drawn, after=answer)
            await answer.remove()
        await log.mount(Static(self._summary(news), classes="sum", markup=False))
        if news.error is None and not news.stopped:
            self._messages += [
                Message("user", (TextPart(news.question.prompt),)),
                Message("assistant", (TextPart(news.text),)),
            ]
            self._conversation = news.conversation

    def _summary(self, news: News) -> Content:
        """One line: who answered, tokens, cost, saving, time; or what went wrong."""
        row = news.row
        if news.error is not None:
            hint = f"\n{news.error.hint}" if news.error.hint else ""
            return Content.styled(f"✗ {news.error.message}", "$error") + Content(hint)
        if row is None:
            return Content.styled("given up before anything was sent", "$warning")
        parts = [row.model]
        if row.provider in self._simulated:
            parts[0] += " (simulated)"
        parts.append(f"{row.usage.input_tokens:,} in, {row.usage.output_tokens:,} out")
        parts.append(format_usd(row.known_nusd))
        if row.savings_nusd is not None:
            parts.append(f"saved {format_usd(row.savings_nusd)}")
        parts.append(text.seconds(row.latency_ms))
        parts.append(id_text(row.id))
        line = Content(" · ".join(parts))
        if news.decision is not None and self.screen.has_class("-narrow"):
            line += Content(f"\n→ {news.decision['reason']}")
        if news.stopped:
            line = Content.styled("○ stopped; what arrived is settled · ", "$warning") + line
        return line

    # --- actions -----------------------------------------------------------------------------

    def action_stop(self) -> None:
        """Give up the answer under way; else leave the input, and stay out of it."""
        if self._asking is not None:
            self._asking.stop()
        else:
            self.query_one("#log").focus()

    def action_to(self) -> None:
        self._to.action_choose()

    def action_receipt(self) -> None:
        if self._last is not None and self._last.request is not None:
            from omni_cli.tui.screens.receipt import ReceiptScreen

            self.app.push_screen(ReceiptScreen(self.loader, self._last.request))

    async def action_new(self) -> None:
        if self._asking is not None:
            return
        self._messages, self._conversation, self._last = [], None, None
        log = self.query_one("#log")
        await log.remove_children()
        await log.mount(Hello(id="hello"))
        self.query_one("#decision", Static).update("")
        self.query_one("#prompt").focus()
