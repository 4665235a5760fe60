"""Choose one of many: a list in groups that narrows as one types; or some of a few."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from msgspec import Struct
from rich.cells import cell_len, set_cell_size
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Click, Key
from textual.message import Message
from textual.reactive import reactive
from textual.screen import ModalScreen
from textual.widget import Widget
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.money import dollars
from omni_cli.tui.colours import hue
from omni_cli.tui.data import Loader
from omni_cli.tui.workers import tell


class Item(Struct, frozen=True):
    """``search``: lower-case text in which every typed word must be found."""

    key: str
    shown: Content
    search: str


#: (heading, items) pairs; headings cannot be chosen.
Groups = Sequence[tuple[str, Sequence[Item]]]


class PickerScreen(ModalScreen[str | None]):
    """Dismissed with the key that was chosen, or None.

    Args:
        typed: what stands in the search at first.
        own: whether what was typed may be chosen, too, where no key is called so.
    """

    DEFAULT_CSS = """
    PickerScreen { align: center middle; background: $background 60%; }
    PickerScreen > Vertical {
        width: 76; max-width: 98%; height: 90%;
        background: $surface; border: round $primary; padding: 0 1;
    }
    PickerScreen Input { background: $panel; }
    PickerScreen OptionList, PickerScreen OptionList:focus {
        height: 1fr; border: none; padding: 0; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel"),
        Binding("down", "move(1)", "Down", show=False, priority=True),
        Binding("up", "move(-1)", "Up", show=False, priority=True),
    ]

    def __init__(
        self,
        title: str,
        groups: Groups,
        *,
        typed: str = "",
        own: Callable[[str], bool] = lambda _: False,
    ) -> None:
        super().__init__()
        self._title = title
        self._groups = groups
        self._typed_first = typed
        self._own = own

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._title
            box.border_subtitle = "type to search · Enter chooses · Esc leaves"
            yield Input(
                self._typed_first, placeholder="search", compact=True, select_on_focus=False
            )
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        self._narrow(self._typed_first)
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._narrow(event.value)

    def _narrow(self, typed: str) -> None:
        words = typed.lower().split()
        options: list[Option] = []
        for heading, items in self._groups:
            found = [item for item in items if all(word in item.search for word in words)]
            if found:
                head = Content.styled(f"{heading}  {len(found)}", "bold $primary")
                options.append(Option(head, disabled=True))
                options += [Option(Content("  ") + item.shown, id=item.key) for item in found]
        value = typed.strip()
        if self._own(value) and all(option.id != value for option in options):
            options.append(Option(Content.styled("As typed", "bold $primary"), disabled=True))
            options.append(Option(Content(f"  {value}"), id=value))
        if not options:
            options = [Option(Content("nothing like that"), disabled=True)]
        shown = self.query_one(OptionList)
        shown.set_options(options)
        first = next((at for at, option in enumerate(options) if not option.disabled), None)
        shown.highlighted = first
        if first is not None:
            shown.scroll_to(0, 0, animate=False)

    def action_move(self, by: int) -> None:
        shown = self.query_one(OptionList)
        if by > 0:
            shown.action_cursor_down()
        else:
            shown.action_cursor_up()

    @on(Input.Submitted)
    def _entered(self) -> None:
        option = self.query_one(OptionList).highlighted_option
        if option is not None and option.id is not None:
            self.dismiss(option.id)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_leave(self) -> None:
        self.dismiss(None)


class Pick(Widget, can_focus=True):
    """One value out of many: Enter, Space, a click or any letter opens the picker.

    Args:
        groups: what there is to choose; read in a thread when it is asked for.
        told: how a value is shown.
        own: as of PickerScreen.

    Attributes:
        value: the chosen key.
    """

    DEFAULT_CSS = """
    Pick { height: 1; width: 1fr; background: $surface; color: $foreground; }
    Pick:focus { background: $primary 30%; text-style: bold; }
    Pick:ansi:focus { background: ansi_default; color: ansi_default; text-style: bold reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space,down", "choose", "Choose", key_display="⏎")
    ]
    value: reactive[str] = reactive("")

    @dataclass
    class Changed(Message):
        pick: "Pick"
        value: str

    def __init__(
        self,
        value: str,
        title: str,
        loader: Loader,
        groups: Callable[[App], Groups],
        *,
        told: Callable[[str], str] = str,
        own: Callable[[str], bool] = lambda _: False,
        id: str | None = None,  # noqa: A002  # Textual's own name
    ) -> None:
        super().__init__(id=id)
        self.set_reactive(Pick.value, value)
        self._title, self._loader, self._groups = title, loader, groups
        self._told, self._own = told, own

    def render(self) -> Content:
        shown = self._told(self.value)
        return Content.assemble(shown or ("choose", "$foreground-muted"), (" ▾", "$primary"))

    def watch_value(self, value: str) -> None:
        self.post_message(self.Changed(self, value))

    def on_key(self, event: Key) -> None:
        if event.is_printable and event.character and not event.character.isspace():
            event.stop()
            self.action_choose(event.character)

    def on_click(self) -> None:
        self.action_choose()

    def action_choose(self, typed: str = "") -> None:
        self.run_worker(lambda: self._read(typed), thread=True, exclusive=True, group="pick")

    def _read(self, typed: str) -> None:
        try:
            with self._loader.session() as omni:
                groups = self._groups(omni)
        except OmniError as exc:
            tell(self.app, self.notify, exc.message)
            return
        tell(self.app, self._offer, groups, typed)

    def _offer(self, groups: Groups, typed: str) -> None:
        def chosen(key: str | None) -> None:
            if key is not None:
                self.value = key

        if self.is_attached:
            picker = PickerScreen(self._title, groups, typed=typed, own=self._own)
            self.app.push_screen(picker, chosen)


def named_items(names: Sequence[str], prefix: str = "") -> list[Item]:
    """An item a name, its key with ``prefix`` before it."""
    return [Item(f"{prefix}{name}", Content(name), f"{prefix}{name}".lower()) for name in names]


def model_items(omni: App, prefix: str = "") -> list[Item]:
    """The models at work by name, each with its id, its price and its provider's colour."""
    found = []
    for model in omni.models.of_providers([provider.slug for provider in omni.providers.all()]):
        if model.status == "active":
            price = omni.browser.listed(model).average_usd
            each = "" if price is None else f" {dollars(price)}/M"
            shown = Content.assemble(
                ("■ ", hue(model.id)),
                set_cell_size(model.name, 28),
                (f" {model.id}{each}", "$foreground-muted"),
            )
            found.append(
                (
                    model.name.lower(),
                    Item(f"{prefix}{model.id}", shown, f"{prefix}{model.id} {model.name}".lower()),
                )
            )
    return [item for _, item in sorted(found, key=lambda pair: pair[0])]


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
