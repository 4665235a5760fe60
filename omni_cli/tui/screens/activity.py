"""Activity: requests as they happen; Enter shows a request's receipt."""

from collections.abc import Callable
from typing import Any, ClassVar

from msgspec import Struct
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from omni_cli.bootstrap import App
from omni_cli.domain.pricing import format_usd
from omni_cli.records import NEWEST, Call
from omni_cli.tui import text
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.table import Column, Row, Table, flexible, named

_SHOWN = 200
#: From so many columns on there is room for who asked and from where.
_WIDE = 110
_WIDEST = 150
#: And from here on for the provider in a model's name.
_ROOMY = 150
_STATES = ("", "ok", "failed", "pending", "cancelled", "refused", "lost")
_MUTED = "$foreground-muted"


class Wanted(Struct, frozen=True):
    text: str
    state: str
    model: str


class Loaded(Struct, frozen=True):
    calls: tuple[Call, ...]
    now_ms: int
    zone: str
    simulated: frozenset[str]


class ActivityPane(Pane[Loaded]):
    DEFAULT_CSS = """
    ActivityPane #filters { height: 1; }
    ActivityPane #filter { width: 1fr; background: $surface; }
    ActivityPane #state { width: auto; padding: 0 1; color: $foreground-muted; }
    ActivityPane #empty { padding: 1 2; display: none; }
    ActivityPane.-empty #empty { display: block; }
    ActivityPane.-empty Table { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "state", "State"),
        Binding("escape", "clear", "Clear filters"),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._state = ""
        self._model = ""

    def compose(self) -> ComposeResult:
        with Horizontal(id="filters"):
            yield Input(
                placeholder="filter by model, role, agent, task, source, error",
                id="filter",
                compact=True,
            )
            yield Static(id="state")
        yield Static(id="empty")
        yield Table()

    def entry(self) -> Widget | None:
        return self.query_one(Table)

    def remember(self) -> dict[str, Any]:
        return {"text": self._text, "state": self._state}

    def recall(self, kept: dict[str, Any]) -> None:
        self.query_one(Input).value = str(kept.get("text", ""))
        state = kept.get("state", "")
        self._state = state if state in _STATES else ""

    def only(self, model: str) -> None:
        """Show the requests of one model."""
        self._model = model
        self.query_one(Input).value = ""
        self.refresh_data()

    @property
    def _text(self) -> str:
        return self.query_one(Input).value.strip()

    def wanted(self) -> Wanted:
        return Wanted(self._text, self._state, self._model)

    def load(self, omni: App, wanted: Wanted) -> Loaded:
        calls = omni.glance.recent(
            limit=_SHOWN,
            text=wanted.text,
            state=wanted.state or None,
            model=wanted.model or None,
        )
        simulated = frozenset(p.slug for p in omni.providers.all() if p.simulated)
        return Loaded(tuple(calls), omni.now_ms(), omni.rollups.zone, simulated)

    def show(self, value: Loaded) -> None:
        filtered = bool(self._text or self._state or self._model)
        self.set_class(not value.calls, "-empty")
        said = [f"state: {self._state or 'all'}"] + ([self._model] if self._model else [])
        said.append(f"{len(value.calls)} shown")
        self.query_one("#state", Static).update(" · ".join(said))
        if not value.calls:
            self.query_one("#empty", Static).update(_nothing(filtered))
            return
        self.query_one(Table).fill(
            _columns(self.size.width),
            [_row(call, value, self.omni.colour, self.size.width) for call in value.calls],
        )

    def on_resize(self) -> None:
        self.refresh_data()

    @on(Input.Changed)
    def _typed(self) -> None:
        self.refresh_data()

    @on(Input.Submitted)
    def _to_table(self) -> None:
        self.query_one(Table).focus()

    def action_filter(self) -> None:
        self.query_one(Input).focus()

    def action_state(self) -> None:
        self._state = _STATES[(_STATES.index(self._state) + 1) % len(_STATES)]
        self.refresh_data()

    def action_clear(self) -> None:
        self._state = self._model = ""
        self.query_one(Input).value = ""
        self.refresh_data()
        self.query_one(Table).focus()

    @on(DataTable.RowSelected)
    def action_receipt(self) -> None:
        key = self.query_one(Table).row_key
        if key is not None:
            from omni_cli.tui.screens.receipt import ReceiptScreen

            self.app.push_screen(ReceiptScreen(self.loader, int(key)))


def _nothing(filtered: bool) -> Content:
    if filtered:
        return Content.assemble(
            (f"Nothing like that among the latest {NEWEST:,} requests.\n\n", "bold"),
            ("  Esc", "bold $primary"),
            "   clears the filters",
        )
    return Content.assemble(
        ("No request yet.\n\n", "bold"),
        ("  9", "bold $primary"),
        "                     opens Chat: ask the fleet something\n",
        ("  omni chat QUESTION", "bold $primary"),
        "    does the same from a shell; it appears here within a second",
    )


def _columns(width: int) -> tuple[Column, ...]:
    """The model's name takes what the others leave."""
    wide = width >= _WIDE
    columns = [
        Column("time", "Time", width=11 if wide else 8),
        Column("state", "State", width=11),
        Column("model", "Model", width=0),
        Column("task", "Task", width=10 if wide else 8),
        *((Column("role", "Role / agent", width=18 if width < _WIDEST else 34),) if wide else ()),
        Column("tokens", "Tokens", "right", 6),
        Column("cost", "Cost", "right", 8),
        Column("took", "Took", "right", 5),
        *((Column("source", "Source", width=8),) if wide else ()),
    ]
    return flexible(columns, "model", width)


def _row(call: Call, view: Loaded, colour: Callable[[str], str], width: int) -> Row:
    wide, roomy = width >= _WIDE, width >= _ROOMY
    sign, style = text.SIGNS.get(call.state, ("○", "$foreground"))
    simulated = call.provider in view.simulated
    short = call.model.partition("/")[2] or call.model
    name = (call.model if roomy else short) or "-"
    state = Text(f"{sign} {call.state}")
    state.stylize(colour(style), 0, 1)
    unknown = call.price_state == "unknown"
    cells: list[str | Text] = [
        text.clock(call.created_at, view.zone, today_ms=view.now_ms),
        state,
        named(name, colour("$warning") if simulated else ""),
        Text(call.task or "-", overflow="ellipsis", no_wrap=True),
        text.count(call.input_tokens + call.output_tokens),
        "unknown" if unknown else format_usd(call.cost_nusd or 0),
        text.seconds(call.latency_ms),
    ]
    if wide:
        who = " / ".join(filter(None, (call.role, call.agent)))
        cells.insert(4, Text(who or "-", overflow="ellipsis", no_wrap=True))
        cells.append(f"{call.source}" + (f" ×{call.attempts}" if call.attempts > 1 else ""))
    return Row(str(call.id), cells)
