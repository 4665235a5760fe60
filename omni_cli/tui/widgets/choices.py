"""One line of settings with a few values each: keys step through them, clicks choose."""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import Struct
from rich.cells import cell_len
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.widget import Widget

_GAP = "  "


class Choice(Struct, frozen=True):
    """``key`` is what steps through it; ``options`` are (value, words) pairs."""

    name: str
    key: str
    options: tuple[tuple[str, str], ...]


class Choices(Widget):
    """Shows every value where all fit and ``spread``, else the chosen ones only."""

    DEFAULT_CSS = """
    Choices { height: 1; padding: 0 1; }
    """

    @dataclass
    class Changed(Message):
        name: str
        value: str

    def __init__(
        self,
        choices: Sequence[Choice],
        *,
        spread: bool = True,
        id: str | None = None,  # noqa: A002  # Textual's own name
    ) -> None:
        super().__init__(id=id)
        self._choices = list(choices)
        self._spread = spread
        self.values = {choice.name: choice.options[0][0] for choice in choices}

    def put(self, name: str, value: object) -> None:
        """Choose without telling; values that there are not are left out."""
        choice = self._find(name)
        if value in [option for option, _ in choice.options]:
            self.values[name] = str(value)
            self.refresh()

    def offer(self, name: str, options: Sequence[tuple[str, str]]) -> None:
        """Other values for a setting; the chosen one stays if it can."""
        at = [choice.name for choice in self._choices].index(name)
        old = self._choices[at]
        if old.options == tuple(options):
            return
        self._choices[at] = Choice(name, old.key, tuple(options))
        if self.values[name] not in [value for value, _ in options]:
            self.values[name] = options[0][0]
        self.refresh()

    def step(self, name: str, by: int = 1) -> None:
        """To the next value, round and round; told as ``Changed``."""
        values = [value for value, _ in self._find(name).options]
        self._choose(name, values[(values.index(self.values[name]) + by) % len(values)])

    def _choose(self, name: str, value: str) -> None:
        self.values[name] = value
        self.refresh()
        self.post_message(self.Changed(name, value))

    def _find(self, name: str) -> Choice:
        return next(choice for choice in self._choices if choice.name == name)

    def _pieces(self) -> list[tuple[str, str, str, str | None]]:
        """(text, style, setting, value) from left to right; no value: a click steps."""
        for spread in (True, False):
            pieces = self._laid_out(spread=spread)
            if not spread or (
                self._spread and sum(cell_len(text) for text, *_ in pieces) <= self.size.width
            ):
                return pieces
        return []

    def _laid_out(self, *, spread: bool) -> list[tuple[str, str, str, str | None]]:
        pieces: list[tuple[str, str, str, str | None]] = []
        for choice in self._choices:
            chosen, first = self.values[choice.name], choice.options[0][0]
            pieces.append((f"{choice.key} ", "bold $primary", choice.name, None))
            for value, words in choice.options:
                if spread:
                    # The chosen one is told by its brackets, so that it is seen without colour.
                    on = value == chosen
                    shown = f"[{words}]" if on else f" {words} "
                    style = "bold $foreground" if on else "$foreground-muted"
                    pieces.append((shown, style, choice.name, value))
                elif value == chosen:
                    style = "$foreground-muted" if value == first else "bold $foreground"
                    pieces.append((words, style, choice.name, None))
            pieces.append((_GAP, "", choice.name, None))
        return pieces[:-1]

    def render(self) -> Content:
        return Content.assemble(*((text, style) for text, style, *_ in self._pieces()))

    def on_click(self, event: Click) -> None:
        at = event.x - self.gutter.left
        for text, _, name, value in self._pieces():
            at -= cell_len(text)
            if at < 0:
                if value is None:
                    self.step(name)
                else:
                    self._choose(name, value)
                return
