"""Agents' sessions: those that are live as a table, and one as a tree of turns and sub-agents."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import DataTable, Static

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import parse_id
from omni_cli.domain.money import format_usd
from omni_cli.domain.words import counted
from omni_cli.services.money.sessions import LiveSession, SessionNode, Turn, began_at
from omni_cli.tui import heat, text
from omni_cli.tui.colours import hue
from omni_cli.tui.data import Loader
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.keys import Keys
from omni_cli.tui.widgets.table import Column, Row, Table, flexible
from omni_cli.tui.workers import WorkerScreen, tell

_MUTED = "$foreground-muted"
#: Sign and colour of a session's state.
_STATES = {
    "running": ("◐", "$primary"),
    "active": ("●", "$success"),
    "idle": ("○", "$foreground-muted"),
    "capped": ("✗", "$error"),
    "stopped": ("■", "$error"),
}
#: Sessions that are listed; columns from which on all is told of them.
_MOST, _WIDE = 6, 100


class LiveSessions(Table):
    """Call ``put``; hidden while none is live. Enter posts the table's own RowSelected: ``open``
    shows the session under the cursor as a tree."""

    DEFAULT_CSS = """
    LiveSessions, LiveSessions:focus { height: auto; max-height: 8; }
    """

    def __init__(self, loader: Loader, *, id: str) -> None:  # noqa: A002  # Textual's own name
        super().__init__(id=id)
        self._loader = loader

    def open(self) -> None:
        if self.chosen is not None:
            self.app.push_screen(SessionScreen(self._loader, self.chosen))

    def put(
        self, found: Sequence[LiveSession], now_ms: int, width: int, colour: Callable[[str], str]
    ) -> None:
        """The latest of these, in ``width`` cells."""
        self.display = bool(found)
        if found:
            columns = _columns(width)
            # Its own automatic height comes too late for a frame around it.
            self.styles.height = len(found[:_MOST]) + 1
            self.fill(columns, [_row(one, columns, now_ms, colour) for one in found[:_MOST]])


def _columns(width: int) -> tuple[Column, ...]:
    wide = width >= _WIDE
    columns = [
        Column("what", "Live session", width=0),
        *((Column("model", "Model", width=22),) if wide else ()),
        Column("state", "State", width=9),
        *((Column("calls", "Calls", "right", 6),) if wide else ()),
        Column("cost", "So far", "right", 9),
        Column("hour", "An hour", "right", 9),
        Column("cap", "Cap left", "right", 9),
        Column("last", "Last", "right", 9),
    ]
    return flexible(columns, "what", width)


def _row(
    one: LiveSession, columns: Sequence[Column], now_ms: int, colour: Callable[[str], str]
) -> Row:
    sign, style = _STATES[one.state]
    left = "-" if one.cap_left_nusd is None else format_usd(max(one.cap_left_nusd, 0))
    low = one.cap_nusd and one.cap_left_nusd is not None and one.cap_left_nusd * 5 < one.cap_nusd
    what = Text(no_wrap=True, overflow="ellipsis")
    what.append("■ ", style=colour(hue(one.agent)))
    what.append(one.agent or one.id, style="bold")
    for said in (one.project, one.title):
        what.append(f" · {said}" if said else "")
    if one.sub_sessions:
        what.append(f" + {counted(one.sub_sessions, 'sub-agent')}", style=colour(_MUTED))
    cells: dict[str, str | Text] = {
        "what": what,
        "model": Text(one.model.rpartition("/")[2] or "-", no_wrap=True, overflow="ellipsis"),
        "state": Text.assemble((sign, colour(style)), f" {one.state}"),
        "calls": f"{one.calls:,}",
        "cost": format_usd(one.cost_nusd) + (" + ?" if one.unknown and one.cost_nusd else ""),
        "hour": format_usd(one.hour_nusd),
        "cap": Text(left, style=colour("$error") if low else ""),
        "last": text.ago(one.last_at, now_ms),
    }
    return Row(one.id, [cells[column.key] for column in columns])


class SessionScreen(WorkerScreen):
    """One session, followed while it lasts.

    Args:
        session: its id.
    """

    DEFAULT_CSS = """
    SessionScreen #title { height: auto; padding: 0 1; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Back"),
        Binding("x", "stop", "Stop/resume", tooltip="Refuse its further calls, or no longer"),
    ]

    def __init__(self, loader: Loader, session: str) -> None:
        super().__init__()
        self.loader = loader
        self._session = session
        self._node: SessionNode | None = None
        self._zone = "UTC"

    def compose(self) -> ComposeResult:
        yield Static(self._session, id="title", markup=False)
        yield Table()
        yield Keys()

    def on_mount(self) -> None:
        self.refresh_data()

    def on_resize(self) -> None:
        self._draw()

    def refresh_data(self) -> None:
        self.run_worker(self._read, thread=True, group="read")

    def _read(self) -> None:
        found: SessionNode | OmniError
        try:
            with self.loader.session() as omni:
                self._zone = omni.zone
                found = omni.agent_sessions.tree(self._session)
        except OmniError as exc:
            found = exc
        tell(self.app, self._take, found)

    def _take(self, found: SessionNode | OmniError) -> None:
        if not self.is_attached:
            return
        if isinstance(found, OmniError):
            self.query_one("#title", Static).update(f"{found.message}\n{found.hint}")
            return
        self._node = found
        self._draw()

    def _draw(self) -> None:
        node = self._node
        if node is None:
            return
        self.query_one("#title", Static).update(_title(node, self._zone))
        columns = flexible(
            (
                Column("at", "Time", width=8),
                Column("what", "Turn", width=0),
                Column("tokens", "Tokens", "right", 9),
                Column("cached", "Cached", "right", 9),
                Column("cost", "Cost", "right", 10),
                Column("took", "Took", "right", 6),
            ),
            "what",
            self.size.width,
        )
        costs = [turn.cost_nusd for _, turn in node.walk() if isinstance(turn, Turn)]
        colour = self.omni.colour
        rows = [
            Row(f"{n}:{item.id if isinstance(item, Turn) else ''}", cells)
            for n, (depth, item) in enumerate(node.walk())
            for cells in [_cells(depth, item, self._zone, costs, colour)]
        ]
        self.query_one(Table).fill(columns, rows)

    # --- actions -----------------------------------------------------------------------------

    def action_close(self) -> None:
        self.dismiss(None)

    @on(DataTable.RowSelected)
    def action_receipt(self) -> None:
        span = parse_id((self.query_one(Table).chosen or "").partition(":")[2])
        if span is not None:
            from omni_cli.tui.screens.receipt import ReceiptScreen

            self.app.push_screen(ReceiptScreen(self.loader, span[0]))

    def action_stop(self) -> None:
        """Ask, then refuse its calls and those of its sub-agents; a stopped one goes on."""
        node = self._node
        if node is None:
            return
        again = node.stopped_at is not None

        def work(omni: App) -> str:
            omni.agent_sessions.stop(self._session, again=again)
            if again:
                return f"{self._session} goes on"
            return f"{self._session} is stopped: its calls are refused within a second"

        def answered(yes: bool | None) -> None:
            if yes:
                self.act(work, self.notify)

        if again:
            self.act(work, self.notify)
            return
        detail = "The gateway refuses its further calls and those of its sub-agents; x resumes it."
        self.app.push_screen(ConfirmScreen(f"Stop {node.told}?", detail, yes="Stop"), answered)


def _title(node: SessionNode, zone: str) -> Content:
    session = node.session
    shown = Content.assemble((node.told, "bold"))
    if node.stopped_at is not None:
        shown += Content.styled(f"  ■ stopped {text.clock(node.stopped_at, zone)}", "$error")
    unknown = f" + {counted(node.unknown, 'call')} of unknown price" if node.unknown else ""
    facts = [
        counted(node.calls, "call"),
        f"{text.count(node.total_tokens)} tokens",
        f"{format_usd(node.cost_nusd)}{unknown}",
        f"{text.clock(node.first_at, zone)[:16]} to {text.clock(node.last_at, zone)[11:16]}",
        *filter(None, (session.branch, session.remote)),
    ]
    return shown + Content.styled("\n" + " · ".join(facts), _MUTED)


def _cells(
    depth: int,
    item: SessionNode | Turn,
    zone: str,
    costs: Sequence[int | None],
    colour: Callable[[str], str],
) -> list[str | Text]:
    at = text.clock(began_at(item), zone)[11:]
    what = Text("  " * depth, no_wrap=True, overflow="ellipsis")
    if isinstance(item, Turn):
        sign, style = text.SIGNS.get(item.state, ("○", "$foreground"))
        what.append(f"{sign} ", style=colour(style)).append("■ ", style=colour(hue(item.model)))
        what.append(item.model.rpartition("/")[2] or "-")
        what.append(f"  {item.error_code}" if item.error_code else "", style=colour("$error"))
        return [
            at,
            what,
            text.count(item.input_tokens + item.output_tokens),
            text.count(item.cached_tokens),
            Text(format_usd(item.cost_nusd), style=colour(heat.cost(item.cost_nusd, costs))),
            Text(text.seconds(item.latency_ms), style=colour(heat.latency(item.latency_ms))),
        ]
    what.append(f"{item.told}: {counted(item.calls, 'call')}", style="bold")
    cost = format_usd(item.cost_nusd) + (" + ?" if item.unknown and item.cost_nusd else "")
    return [at, what, text.count(item.total_tokens), "", Text(cost, style="bold"), ""]
