"""One question to the fleet from a worker thread, with news on the way."""

import time
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message, TextPart
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.record import replace
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.routing import RouteOptions, decision_document

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
