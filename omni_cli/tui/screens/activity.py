"""Activity: requests as they happen, found by a query, beside the receipt of the one under the
cursor."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from msgspec import Struct
from rich.cells import cell_len
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.search import ORDERS, STATES, Order, Search, exactly, parse
from omni_cli.services.money.activity import Found, Listing
from omni_cli.services.money.receipt import Receipt
from omni_cli.services.money.sessions import LiveSession
from omni_cli.tui import heat, text
from omni_cli.tui.colours import hue
from omni_cli.tui.pane import Pane
from omni_cli.tui.screens.receipt import receipt_text
from omni_cli.tui.screens.sessions import LiveSessions
from omni_cli.tui.widgets.table import Column, Row, Table, flexible
from omni_cli.tui.widgets.tiles import Empty, set_empty
from omni_cli.tui.widgets.words import Words

#: Rows at first, and how many more each time.
_SHOWN = 200
#: From so many columns on the receipt stands beside the table; of the table's columns from so many
#: on there is room for the task, for who asked, and for where from.
_SPLIT, _WIDE, _WIDER, _WIDEST = 120, 76, 118, 140
_CYCLE = ("", *STATES)
_SPINNER = "◐◓◑◒"
#: How long a new row is lit, and how often a call under way turns, seconds.
_FLASH_S, _TURN_S = 1.5, 0.5
_MUTED = "$foreground-muted"


class Wanted(Struct, frozen=True):
    """``old``: what is shown, where only what is new is to be read. ``still``: it is to stay, and
    only what came since is counted."""

    text: str
    state: str
    order: Order
    limit: int
    old: Listing | None
    still: bool


class Loaded(Struct, frozen=True):
    """``wrong``: why the query cannot be read; then there is nothing else. ``waiting``: how many
    came since, of a listing that stays as it is."""

    listing: Listing | None
    waiting: int
    names: Mapping[str, str]
    now_ms: int
    zone: str
    simulated: frozenset[str]
    sessions: tuple[LiveSession, ...] = ()
    wrong: UsageError | None = None


class ActivityPane(Pane[Loaded]):
    DEFAULT_CSS = """
    ActivityPane #filters { height: 1; }
    ActivityPane #filter { width: 1fr; background: $surface; }
    ActivityPane #state { width: auto; padding: 0 1; color: $foreground-muted; }
    ActivityPane.-empty #both { display: none; }
    ActivityPane #both { height: 1fr; }
    ActivityPane #both Table { width: 3fr; }
    ActivityPane #side {
        width: 2fr; display: none; padding: 0 1; border-left: solid $foreground 20%;
    }
    ActivityPane #receipt { min-height: 100%; }
    ActivityPane.-split #side { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("s", "state", "State"),
        Binding("o", "order", "Sort"),
        Binding("space", "pause", "Pause"),
        Binding("m", "more", "More"),
        Binding("escape", "clear", "Clear filters", show=False),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._state = ""
        self._order: Order = "time"
        self._limit = _SHOWN
        self._paused = False
        self._value: Loaded | None = None
        #: Ids of rows that are lit because they are new.
        self._lit: frozenset[int] = frozenset()
        self._turn = 0
        self._clock: Timer | None = None
        self._receipt: int | None = None
        self._receipt_under_way = False

    def compose(self) -> ComposeResult:
        with Horizontal(id="filters"):
            yield Input(
                placeholder="model:sonnet state:failed cost>0.01 since:2h, or any words",
                id="filter",
                compact=True,
            )
            yield Words(id="state", markup=False)
        yield Empty(id="empty")
        with Horizontal(id="both"):
            yield Table(id="requests")
            with VerticalScroll(id="side", can_focus=False):
                yield Words(id="receipt", markup=False)
        yield LiveSessions(self.loader, id="sessions")

    def on_mount(self) -> None:
        self._clock = self.set_interval(_TURN_S, self._spin, pause=True)

    def entry(self) -> Widget | None:
        return self.query_one(Empty) if self.has_class("-empty") else self._requests

    def remember(self) -> dict[str, Any]:
        return {"text": self._text, "state": self._state, "order": self._order}

    def place(self) -> dict[str, Any]:
        """A tail begins at its end."""
        return {}

    def recall(self, kept: dict[str, Any]) -> None:
        self.query_one(Input).value = str(kept.get("text", ""))
        state = kept.get("state", "")
        self._state = state if state in _CYCLE else ""
        self._order = next((name for name in ORDERS if name == kept.get("order")), "time")

    def only(self, search: Search) -> None:
        """Show these requests, from another tab."""
        self._state, self._order, self._paused = "", "time", False
        self._look(str(search))

    @property
    def _requests(self) -> Table:
        return self.query_one("#requests", Table)

    @property
    def _text(self) -> str:
        return self.query_one("#filter", Input).value.strip()

    # --- reading and showing -----------------------------------------------------------------

    def wanted(self) -> Wanted:
        old = None if self._value is None else self._value.listing
        same = old is not None and (old.limit, old.order) == (self._limit, self._order)
        if not same or str(self._search_or_none()) != str(old and old.search):
            old = None
        still = self._paused or self._order != "time"
        return Wanted(self._text, self._state, self._order, self._limit, old, still)

    def _search_or_none(self) -> Search | None:
        try:
            return _search(self._text, self._state)
        except UsageError:
            return None

    def load(self, omni: App, wanted: Wanted) -> Loaded:
        waiting, names = 0, {model.id: model.name for model in omni.models.all()}
        simulated = frozenset(p.slug for p in omni.providers.all() if p.simulated)
        listing, wrong = wanted.old, None
        try:
            if listing is None:
                search = _search(wanted.text, wanted.state)
                listing = omni.activity.find(search, limit=wanted.limit, order=wanted.order)
            elif not wanted.still:
                listing = omni.activity.again(listing)
            elif listing.order == "time":
                seen = {found.row.id for found in listing.found}
                now = omni.activity.again(listing)
                waiting = sum(found.row.id not in seen for found in now.found)
        except UsageError as exc:
            listing, wrong = None, exc
        now_ms, zone = omni.now_ms(), omni.rollups.zone
        sessions = tuple(omni.agent_sessions.live())
        return Loaded(listing, waiting, names, now_ms, zone, simulated, sessions, wrong)

    def show(self, value: Loaded) -> None:
        before = None if self._value is None else self._value.listing
        listing = value.listing
        self._value = value
        if before is not None and listing is not None and before.found and _same(before, listing):
            known = {found.row.id for found in before.found}
            fresh = frozenset(f.row.id for f in listing.found) - known
            if fresh:
                self._lit |= fresh
                self.set_timer(_FLASH_S, lambda: self._unlight(fresh))
        self._draw()

    def _unlight(self, lit: frozenset[int]) -> None:
        self._lit -= lit
        self._draw()

    def _draw(self) -> None:
        value = self._value
        if value is None:
            return
        sessions = self.query_one(LiveSessions)
        sessions.put(value.sessions, value.now_ms, self.size.width, self.omni.colour)
        listing = value.listing
        found = () if listing is None else listing.found
        # Whoever types a query goes on typing it.
        if not isinstance(self.app.focused, Input):
            set_empty(self, not found)
        else:
            self.query_one(Empty).display = not found
            self.set_class(not found, "-empty")
        self.query_one("#state", Static).update(self._said(value))
        if not found:
            filtered = bool(self._text or self._state)
            self.query_one(Empty).update(_nothing(value.wrong, filtered=filtered))
            return
        width = self.size.width * 3 // 5 if self.has_class("-split") else self.size.width
        columns = _columns(width)
        costs = [one.cost_nusd for one in found]
        rows = [
            _row(one, value, costs, self.omni.colour, columns, lit=one.row.id in self._lit)
            for one in found
        ]
        self._requests.fill(columns, rows)
        if self._clock is not None:
            running = any(one.row.state == "pending" for one in found)
            (self._clock.resume if running else self._clock.pause)()
        self._show_receipt()

    def _said(self, value: Loaded) -> Content:
        """Whether it follows, what is filtered, and how far it reaches."""
        listing = value.listing
        if listing is None:
            return Content.styled("✗ " + (value.wrong.message if value.wrong else ""), "$error")
        if self._order != "time":
            mark = Content.styled(f"‖ by {self._order}", "$warning")
        elif self._paused:
            new = f", {value.waiting} new" if value.waiting else ""
            mark = Content.styled(f"‖ paused{new}", "$warning")
        else:
            mark = Content.styled("● follows", "$success")
        parts = [f"state: {self._state}"] if self._state else []
        shown = len(listing.found)
        if any(one.row.provider in value.simulated for one in listing.found):
            parts.append("□ simulated")
        parts.append(
            f"{shown} shown, m: more" if listing.more else f"all {shown}" if shown else "none"
        )
        return mark + Content.styled(" · " + " · ".join(parts), _MUTED)

    def _spin(self) -> None:
        """Turn the sign of calls under way, and count their time on."""
        value, table = self._value, self._requests
        if value is None or value.listing is None or not self.omni.is_pane_active(self):
            return
        self._turn += 1
        now = self.loader.now_ms()
        for one in value.listing.found:
            key = str(one.row.id)
            if one.row.state == "pending" and key in table.rows:
                sign = Text(_SPINNER[self._turn % len(_SPINNER)], self.omni.colour("$primary"))
                table.update_cell(key, "state", sign)
                table.update_cell(
                    key, "took", Text(text.seconds(now - one.row.created_at), justify="right")
                )

    def resized(self) -> None:
        self.set_class(self.size.width >= _SPLIT, "-split")
        self.call_after_refresh(self._draw)

    # --- the receipt beside it ---------------------------------------------------------------

    @on(DataTable.RowHighlighted, "#requests")
    def _show_receipt(self) -> None:
        """Read the receipt of the row under the cursor, where it is shown."""
        key = self._requests.chosen
        if key is None or not self.has_class("-split"):
            return
        self._receipt = int(key)
        # One at a time: a cursor that runs on is followed when it rests.
        if not self._receipt_under_way:
            self._receipt_under_way = True
            request = self._receipt
            self.run_worker(lambda: self._read_receipt(request), thread=True, group="receipt")

    def _read_receipt(self, request: int) -> None:
        found: Receipt | OmniError
        try:
            with self.loader.session() as omni:
                found = omni.receipts.read(id_text(request))
        except OmniError as exc:
            found = exc
        self._tell(self._take_receipt, request, found)

    def _take_receipt(self, request: int, found: Receipt | OmniError) -> None:
        self._receipt_under_way = False
        value = self._value
        if value is None or not self.is_attached:
            return
        if request != self._receipt:
            self._show_receipt()
            return
        place = self.query_one("#side #receipt", Static)
        if isinstance(found, OmniError):
            place.update(f"{found.message}\n{found.hint}")
        else:
            place.update(receipt_text(found, value.zone, max(place.content_size.width, 30)))

    # --- actions -----------------------------------------------------------------------------

    @on(Input.Changed)
    def _typed(self) -> None:
        self._limit = _SHOWN
        self.refresh_data()

    @on(Input.Submitted)
    def _to_table(self) -> None:
        self.screen.set_focus(self.entry())

    def action_filter(self) -> None:
        self.query_one(Input).focus()

    def action_state(self) -> None:
        self._state = _CYCLE[(_CYCLE.index(self._state) + 1) % len(_CYCLE)]
        self._look(self._text)

    def action_order(self) -> None:
        """The newest, the dearest, the slowest, the longest first."""
        self._order = ORDERS[(ORDERS.index(self._order) + 1) % len(ORDERS)]
        self._look(self._text)

    def action_pause(self) -> None:
        self._paused = not self._paused
        self.refresh_data()

    def action_more(self) -> None:
        value = self._value
        if value is not None and value.listing is not None and value.listing.more:
            self._limit += _SHOWN
            self.refresh_data()

    def action_clear(self) -> None:
        self._state, self._order, self._paused = "", "time", False
        self._look("")
        self.screen.set_focus(self.entry())

    def _look(self, words: str) -> None:
        self._limit = _SHOWN
        self.query_one("#filter", Input).value = words
        self.refresh_data()

    @on(DataTable.RowSelected, "#sessions")
    def action_session(self) -> None:
        """The session under the cursor, as a tree."""
        self.query_one(LiveSessions).open()

    @on(DataTable.RowSelected, "#requests")
    def action_receipt(self) -> None:
        key = self._requests.chosen
        if key is not None:
            from omni_cli.tui.screens.receipt import ReceiptScreen

            self.app.push_screen(ReceiptScreen(self.loader, int(key)))


def _search(words: str, state: str) -> Search:
    """Raises UsageError."""
    return parse(words).also(*exactly(state=state or None))


def _same(old: Listing, new: Listing) -> bool:
    """Whether a row that is in one only has come, and was not only out of sight."""
    return (old.search, old.order, old.limit) == (new.search, new.order, new.limit)


def _nothing(wrong: UsageError | None, *, filtered: bool) -> Content:
    if wrong is not None:
        return Content.assemble((f"{wrong.message}\n\n", "bold $error"), wrong.hint)
    if filtered:
        return Content.assemble(
            ("Nothing like that among all requests.\n\n", "bold"),
            ("  Esc", "bold $primary"),
            "   clears the filters",
        )
    return Content.assemble(
        ("No request yet.\n\n", "bold"),
        ("  9", "bold $primary"),
        "                     opens Chat: ask the fleet something\n",
        ("  omni chat QUESTION", "bold $primary"),
        "    does the same from a shell",
    )


def _columns(width: int) -> tuple[Column, ...]:
    """The models take what the others leave."""
    wide, wider, widest = width >= _WIDE, width >= _WIDER, width >= _WIDEST
    columns = [
        Column("time", "Time", width=11 if wider else 8),
        Column("state", "", width=1),
        Column("model", "Model", width=0),
        *((Column("task", "Task", width=13 if wider else 11),) if wide else ()),
        *((Column("who", "Role / agent", width=30 if widest else 20),) if wider else ()),
        *((Column("tokens", "Tokens", "right", 6),) if wider else ()),
        Column("cost", "Cost", "right", 8),
        Column("took", "Took", "right", 5),
        Column("error", "Error", width=12),
        *((Column("source", "Source", width=8),) if widest else ()),
    ]
    return flexible(columns, "model", width)


def path_text(
    one: Found,
    names: Mapping[str, str],
    colour: Callable[[str], str],
    simulated: frozenset[str],
    width: int,
) -> Text:
    """Who was asked: ``Sonnet ×4 > GPT-5.5``, each in its provider's colour; a hollow sign stands
    before a simulated one. Where all have no room in ``width`` cells, each name gives some up: the
    last one answered."""
    shown = Text(no_wrap=True, overflow="ellipsis")
    often = [f" ×{times}" if times > 1 else "" for _, times in one.tries]
    said = [names.get(m) or m.partition("/")[2] or m for m, _ in one.tries]
    room = width - sum(map(len, often)) - 5 * len(said) + 3
    for most in range(max(map(cell_len, said), default=0), 3, -1):
        if sum(map(cell_len, said)) <= room:
            break
        said = [text.clip(name, most) for name in said]
    for at, (model, _) in enumerate(one.tries):
        shown.append(" > " if at else "")
        sign = "□ " if model.partition("/")[0] in simulated else "■ "
        shown.append(sign, style=colour(hue(model)))
        shown.append(said[at] + often[at])
    return shown if one.tries else shown.append("-")


def _row(
    one: Found,
    view: Loaded,
    costs: Sequence[int | None],
    colour: Callable[[str], str],
    columns: Sequence[Column],
    *,
    lit: bool,
) -> Row:
    row = one.row
    sign, style = text.SIGNS.get(row.state, ("○", "$foreground"))
    running = row.state == "pending"
    # An answer after failures is no failure; the words say what happened before it.
    fault = row.error_code or (f"({one.failure})" if one.failure else "")
    if row.state in ("cancelled", "lost", "refused") or (running and not fault):
        fault = fault or ("under way" if running else row.state)
    took = view.now_ms - row.created_at if running else row.latency_ms
    cells: dict[str, str | Text] = {
        "time": Text(
            text.clock(row.created_at, view.zone, today_ms=view.now_ms),
            style=f"bold {colour('$accent')} reverse" if lit else "",
        ),
        "state": Text(sign, style=colour(style)),
        "model": path_text(
            one,
            view.names,
            colour,
            view.simulated,
            next(column.width or 0 for column in columns if column.key == "model"),
        ),
        "task": Text(row.task or "-", overflow="ellipsis", no_wrap=True),
        "who": Text(
            " / ".join(filter(None, (row.role, row.agent))) or "-",
            overflow="ellipsis",
            no_wrap=True,
        ),
        "tokens": text.count(row.usage.input_tokens + row.usage.output_tokens),
        "cost": Text(one.cost_words, style=colour(heat.cost(one.cost_nusd, costs))),
        "took": Text(text.seconds(took), style=colour(heat.latency(took))),
        "error": Text(
            fault or "-",
            style=colour("$error" if row.state in ("failed", "lost") else _MUTED),
            overflow="ellipsis",
            no_wrap=True,
        ),
        "source": row.source,
    }
    return Row(str(row.id), [cells[column.key] for column in columns])
