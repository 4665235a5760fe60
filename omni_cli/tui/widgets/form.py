"""A form as data: fields, checks, and one dialog that shows any of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from msgspec import Struct, field
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.tui.data import Loader
from omni_cli.tui.widgets.picker import Groups, Pick
from omni_cli.tui.workers import tell

Values = Mapping[str, str]


class Field(Struct, frozen=True):
    """One line of a form. Values are texts.

    ``secret`` is masked until shown with Ctrl+R. ``choices`` makes it a list, ``pick`` a picker of
    what it reads, where what is typed may be taken, too, unless ``check`` finds fault with it.
    ``told`` is how such a value is shown. ``check`` returns what is wrong with a value, or ""; it
    is called as the user types.
    """

    name: str
    label: str
    value: str = ""
    hint: str = ""
    secret: bool = False
    fixed: bool = False
    choices: Sequence[str] = ()
    pick: Callable[[App], Groups] | None = None
    told: Callable[[str], str] = str
    check: Callable[[str], str] = field(default=lambda _: "")


class FormScreen(ModalScreen[bool]):
    """Asks, checks, and does the work; stays open with the reason while the work fails.

    Args:
        submit: the work, done in a worker thread with the values; raises OmniError.
        note: a line below the fields, computed from the values as they are typed.

    Dismissed with True after success, False when left.
    """

    DEFAULT_CSS = """
    FormScreen { align: center middle; background: $background 60%; }
    FormScreen > VerticalScroll {
        width: 76; max-width: 98%; height: auto; max-height: 96%;
        background: $surface; border: round $primary; padding: 0 1;
    }
    FormScreen .field { height: auto; }
    FormScreen .field Label { width: 16; color: $foreground; }
    FormScreen .field Input, FormScreen .field Select { width: 1fr; }
    FormScreen .trouble { height: auto; color: $error; padding-left: 16; display: none; }
    FormScreen .trouble.-on { display: block; }
    FormScreen #note { color: $foreground-muted; height: auto; }
    FormScreen #said { height: auto; color: $error; }
    FormScreen .-blank { display: none; }
    FormScreen .buttons { height: auto; align-horizontal: right; margin-top: 1; }
    FormScreen .buttons Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel"),
        Binding("ctrl+s", "submit", "Save", priority=True),
        Binding("ctrl+r", "reveal", "Show or hide keys", priority=True),
    ]

    def __init__(
        self,
        loader: Loader,
        title: str,
        fields: Sequence[Field],
        submit: Callable[[App, Values], Any],
        *,
        note: Callable[[Values], str] = lambda _: "",
        save: str = "Save",
    ) -> None:
        super().__init__()
        self._loader = loader
        self._title = title
        self._fields = fields
        self._work = submit
        self._note = note
        self._save = save
        self._busy = False
        #: Whether it was tried to save: from then on every value is judged, before it only those
        #: that were changed.
        self._tried = False

    def compose(self) -> ComposeResult:
        with VerticalScroll() as box:
            box.border_title = self._title
            secret = any(item.secret for item in self._fields)
            box.border_subtitle = "Ctrl+S saves · Esc leaves" + (
                " · Ctrl+R shows the key" if secret else ""
            )
            for item in self._fields:
                with Horizontal(classes="field"):
                    yield Label(item.label)
                    yield self._widget(item)
                yield Static(id=f"trouble-{item.name}", classes="trouble", markup=False)
            yield Static(id="note", markup=False)
            yield Static(id="said", classes="-blank", markup=False)
            with Horizontal(classes="buttons"):
                yield Button("Cancel", id="cancel", compact=True)
                yield Button(self._save, id="save", variant="primary", compact=True)

    def _widget(self, item: Field) -> Input | Select[str] | Pick:
        if item.pick is not None and not item.fixed:
            return Pick(
                item.value,
                item.label,
                self._loader,
                item.pick,
                told=item.told,
                own=lambda value: bool(value) and not item.check(value),
                id=f"in-{item.name}",
            )
        if item.choices:
            return Select(
                [(choice, choice) for choice in item.choices],
                value=item.value or item.choices[0],
                allow_blank=False,
                id=f"in-{item.name}",
                compact=True,
            )
        return Input(
            item.value,
            placeholder=item.hint,
            password=item.secret,
            disabled=item.fixed,
            id=f"in-{item.name}",
            compact=True,
        )

    def on_mount(self) -> None:
        self._check()
        first = next((f for f in self._fields if not f.fixed), None)
        if first is not None:
            self.query_one(f"#in-{first.name}").focus()

    @property
    def values(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for item in self._fields:
            widget = self.query_one(f"#in-{item.name}")
            value = widget.value if isinstance(widget, Input | Select | Pick) else ""
            found[item.name] = str(value).strip()
        return found

    @on(Input.Changed)
    @on(Select.Changed)
    @on(Pick.Changed)
    def _typed(self) -> None:
        self._check()

    def _check(self) -> bool:
        """Show what is wrong with each value; whether all is well."""
        values = self.values
        well = True
        for item in self._fields:
            said = item.check(values[item.name])
            line = self.query_one(f"#trouble-{item.name}", Static)
            judged = self._tried or values[item.name] != item.value.strip()
            line.set_class(bool(said) and judged, "-on")
            line.update(said)
            well = well and not said
        self._say("note", self._note(values))
        return well

    def action_reveal(self) -> None:
        for item in self._fields:
            if item.secret:
                box = self.query_one(f"#in-{item.name}", Input)
                box.password = not box.password

    def action_leave(self) -> None:
        self.dismiss(False)

    @on(Button.Pressed, "#cancel")
    def _cancel(self) -> None:
        self.dismiss(False)

    @on(Input.Submitted)
    @on(Button.Pressed, "#save")
    def _submitted(self) -> None:
        self.action_submit()

    def action_submit(self) -> None:
        self._tried = True
        if self._busy or not self._check():
            return
        self._busy = True
        self._say("said", "")
        values = self.values
        self.run_worker(lambda: self._do(values), thread=True)

    def _do(self, values: Values) -> None:
        said: OmniError | None = None
        try:
            with self._loader.session() as omni:
                self._work(omni, values)
        except OmniError as exc:
            said = exc
        self._loader.touch()
        tell(self.app, self._done, said)

    def _done(self, error: OmniError | None) -> None:
        self._busy = False
        if not self.is_attached:
            return
        if error is None:
            self.dismiss(True)
            return
        hint = Content.styled(f"\n{error.hint}", "$foreground-muted") if error.hint else ""
        self._say("said", Content(error.message) + hint)

    def _say(self, place: str, words: str | Content) -> None:
        line = self.query_one(f"#{place}", Static)
        line.update(words)
        line.set_class(not str(words), "-blank")


class ConfirmScreen(ModalScreen[bool]):
    """A question with yes and no; ``y`` and ``n`` answer it."""

    DEFAULT_CSS = """
    ConfirmScreen { align: center middle; background: $background 60%; }
    ConfirmScreen > Vertical {
        width: 60; max-width: 96%; height: auto;
        background: $surface; border: round $warning; padding: 0 1;
    }
    ConfirmScreen .buttons { height: auto; align-horizontal: right; margin-top: 1; }
    ConfirmScreen Button { margin-left: 2; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "Yes"),
        Binding("n,escape", "answer(False)", "No"),
    ]

    def __init__(self, question: str, detail: str | Content = "", *, yes: str = "Yes") -> None:
        super().__init__()
        self._question = question
        self._detail = detail
        self._yes = yes

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = self._question
            if str(self._detail):
                yield Static(self._detail, markup=False)
            with Horizontal(classes="buttons"):
                yield Button(f"{self._yes} (y)", id="yes", variant="warning", compact=True)
                yield Button("No (n)", id="no", compact=True)

    def on_mount(self) -> None:
        self.query_one("#no").focus()

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id == "yes")
