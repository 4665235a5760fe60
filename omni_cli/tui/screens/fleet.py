"""Fleet: who is at work, how good, at what cost (fleet spec, "Model Fleet Overview")."""

from collections.abc import Callable
from typing import Any, ClassVar

from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, OptionList, Static

from omni_cli.bootstrap import App
from omni_cli.domain.pricing import format_usd
from omni_cli.domain.words import counted, percent
from omni_cli.tui import text
from omni_cli.tui.actions import check_connection, switch_model
from omni_cli.tui.overview import SPAN_DAYS, ModelCard, Overview, read_overview
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.table import Column, Row, Table, flexible, named
from omni_cli.tui.widgets.tiles import CardList

_VIEWS = ("cards", "table")
_MUTED = "$foreground-muted"
#: The table shows roles from so many columns on, the last hours from so many.
_ROLES_FROM, _HOURS_FROM = 96, 126
_EMPTY = Content.assemble(
    ("No fleet yet.\n\n", "bold"),
    "Leave with ",
    ("q", "bold $primary"),
    " and type\n\n",
    ("  omni init", "bold $primary"),
    "   finds your API keys and local servers and proposes a fleet\n",
    ("  omni demo", "bold $primary"),
    "   shows omni at work on simulated providers, without any key\n\n",
    "or add a provider here: ",
    ("2", "bold $primary"),
    " Providers, then ",
    ("a", "bold $primary"),
    ".",
)
_NO_MODELS = Content.assemble(
    ("Providers, but no model at work.\n\n", "bold"),
    ("  omni init", "bold $primary"),
    "                  proposes models for what is connected\n",
    ("  omni models add PROVIDER/MODEL", "bold $primary"),
    "  activates one",
)


class FleetPane(Pane[Overview]):
    DEFAULT_CSS = """
    FleetPane #empty { padding: 1 2; display: none; }
    FleetPane.-empty #empty { display: block; }
    FleetPane.-empty #full { display: none; }
    FleetPane #list { width: 1fr; }
    FleetPane Table { display: none; }
    FleetPane.-table Table { display: block; }
    FleetPane.-table CardList { display: none; }
    FleetPane #side { width: 38; border-left: solid $foreground 20%; padding: 0 1; display: none; }
    FleetPane #foot { height: auto; border-top: solid $foreground 20%; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "view", "Cards/table"),
        Binding("x", "test", "Test"),
        Binding("d", "switch", "On/off"),
        Binding("l", "logs", "Logs"),
    ]

    def compose(self) -> ComposeResult:
        yield Static(id="empty")
        with Vertical(id="full"):
            with Horizontal():
                with Vertical(id="list"):
                    yield CardList()
                    yield Table()
                with VerticalScroll(id="side", can_focus=False):
                    yield Static(id="today")
            yield Static(id="foot")

    def entry(self) -> Widget | None:
        return self.query_one(Table) if self.has_class("-table") else self.query_one(CardList)

    def remember(self) -> dict[str, Any]:
        return {"view": _VIEWS[self.has_class("-table")]}

    def recall(self, kept: dict[str, Any]) -> None:
        self.set_class(kept.get("view") == "table", "-table")

    def load(self, omni: App, _wanted: Any) -> Overview:
        return self.loader.memo("overview", omni, read_overview)

    def show(self, value: Overview) -> None:
        self.set_class(not value.models, "-empty")
        if not value.models:
            self.query_one("#empty", Static).update(_NO_MODELS if value.providers else _EMPTY)
            return
        width = max(self.query_one("#list").size.width, 40)
        self.query_one(CardList).fill(
            [(card.model.id, card_text(card, width - 3)) for card in value.models]
        )
        self.query_one(Table).fill(
            _columns(width), [_row(c, width, self.omni.colour) for c in value.models]
        )
        self.query_one("#today", Static).update(today_text(value))
        self.query_one("#foot", Static).update(foot_text(value))

    def on_resize(self) -> None:
        self.refresh_data()

    # --- actions -----------------------------------------------------------------------------

    @property
    def chosen(self) -> str | None:
        """The id of the model under the cursor."""
        if self.has_class("-table"):
            return self.query_one(Table).row_key
        return self.query_one(CardList).chosen

    @on(OptionList.OptionSelected)
    @on(DataTable.RowSelected)
    def action_open(self) -> None:
        if self.chosen is not None:
            self.omni.show_model(self.chosen)

    def action_view(self) -> None:
        self.toggle_class("-table")
        entry = self.entry()
        if entry is not None:
            entry.focus()
        self.refresh_data()

    def action_switch(self) -> None:
        model = self.chosen
        if model is not None:
            self.act(lambda omni: switch_model(omni, model), self.omni.notify)

    def action_test(self) -> None:
        model = self.chosen
        if model is not None:
            slug = model.partition("/")[0]
            self.act(lambda omni: check_connection(omni, slug), self.omni.report_test)

    def action_logs(self) -> None:
        if self.chosen is not None:
            self.omni.show_found(model=self.chosen)


def card_text(card: ModelCard, width: int) -> Content:
    """Three lines: name and state; role, calls and cost of today; quality, speed, success."""
    sign, style = text.SIGNS[card.state]
    word = "Online" if card.state == "healthy" else text.STATE_WORDS[card.state]
    simulated = " simulated" if card.simulated else ""
    state_width = cell_len(f"{sign} {word}")
    medal = text.MEDALS.get(card.medal or 0)
    name = set_cell_size(card.model.name, max(width - 4 - state_width - len(simulated) - 1, 8))
    head = Content.assemble(
        (f"{medal[0]} " if medal else "   ", medal[2] if medal else ""),
        (name.rstrip(), "bold"),
        (simulated, "italic $warning"),
    )
    gap = width - 1 - cell_len(head.plain) - state_width
    head += Content(" " * max(gap, 1)) + Content.styled(f"{sign} {word}", style)
    role = card.roles[0] if card.roles else "no role"
    more = f" +{len(card.roles) - 1}" if len(card.roles) > 1 else ""
    today = Content.assemble(
        "   ",
        (role, "$primary" if card.roles else _MUTED),
        more + " " * max(20 - cell_len(role + more), 0),
        (" │ ", _MUTED),
        f"{card.today.calls:>6,} calls today",
        (" │ ", _MUTED),
        (text.cost(card.today), "bold"),
    )
    last = Content.styled(
        f"   Quality {percent(card.quality):>4} │ Speed {text.seconds(card.latency_ms):>5}"
        f" │ Success {percent(card.success, 1):>6}",
        _MUTED,
    )
    if width >= 76:
        label = " │ 24 h " if width >= 84 else " │ "
        last += Content.assemble((label, _MUTED), (text.spark(card.hours), "$primary"))
    if card.why and card.state != "unknown":
        last = Content.styled(f"   {text.clip(card.why, width - 4)}", style)
    return head + Content("\n") + today + Content("\n") + last


def today_text(view: Overview) -> Content:
    """The side panel: totals, against yesterday and the budget, and who cost it."""
    now = view.today
    step, way = text.change(now.cost_nusd, view.yesterday_nusd)
    shown = Content.assemble(
        ("TODAY\n", "bold $primary"),
        (f"{text.cost(now)}\n", "bold"),
        f"{counted(now.calls, 'call')}, {text.count(now.tokens)} tokens\n",
    )
    if step:
        style = "$warning" if way == "up" else "$success"
        shown += Content.assemble((step, style), f" on {format_usd(view.yesterday_nusd)} by now\n")
    if view.saving_nusd is not None:
        word = "saved" if view.saving_nusd >= 0 else "paid more"
        style = "$success" if view.saving_nusd >= 0 else "$warning"
        shown += Content.assemble(
            (f"{word} {format_usd(abs(view.saving_nusd))}", style), " against premium\n"
        )
    shown += _budget_text(view, 30)
    spent = [card for card in view.models if card.today.cost_nusd]
    if spent:
        shown += Content.styled("\nBY MODEL\n", "bold $primary")
        total = sum(card.today.cost_nusd for card in spent)
        for card in sorted(spent, key=lambda c: -c.today.cost_nusd)[:8]:
            full, empty = text.bar(card.today.cost_nusd / total, 8)
            name = set_cell_size(card.model.name, 16)
            shown += Content.assemble(
                f"{name} ",
                (full, "$primary"),
                (empty, "$panel"),
                f" {format_usd(card.today.cost_nusd):>8}\n",
            )
    shown += _advice_text(view, 36)
    return shown + Content.styled(
        f"\nQuality is the router's estimate;\nspeed and success of {SPAN_DAYS} days.\n"
        "★ best chance of a good answer.",
        _MUTED,
    )


def _advice_text(view: Overview, width: int) -> Content:
    """The three best recommendations, or nothing where there is none."""
    if not view.advice:
        return Content("")
    shown = Content.styled("\nRECOMMENDATIONS", "bold $primary")
    for finding in view.advice[:3]:
        shown += Content.assemble(
            "\n",
            ("▲ " if finding.priority == "high" else "● ", "$warning"),
            text.clip(finding.title, width - 2),
        )
        saved = finding.saving_monthly_nusd
        if saved:
            shown += Content.styled(f"\n  saves {format_usd(saved)} a month", "$success")
    return shown + Content.styled("\n- opens them\n", _MUTED)


def _budget_text(view: Overview, width: int) -> Content:
    """A bar of the worst budget, whose it is and how it stands; or how to set one."""
    if not view.budgets:
        return Content.assemble(("no budget yet: ", _MUTED), ("7", "bold $primary"), "\n")
    line = view.budgets[0]
    status = line.status
    used = status.used_percent or 0.0
    sign, style = text.SIGNS[line.level]
    full, empty = text.bar(used / 100, width - 5)
    return Content.assemble(
        (full, style),
        (empty, "$panel"),
        f" {used:.0f}%\n",
        (f"{text.clip(line.whose, width)}: {format_usd(status.spent_nusd)}", _MUTED),
        (f" of {format_usd(line.limit_nusd)} a {status.budget.period}\n", _MUTED),
        (f"{sign} {line.words}\n", style),
    )


def foot_text(view: Overview) -> Content:
    """The same in two lines, for narrow terminals."""
    now = view.today
    shown = Content.assemble(
        ("Today ", _MUTED),
        (text.cost(now), "bold"),
        f" · {counted(now.calls, 'call')} · {text.count(now.tokens)} tokens",
    )
    step, way = text.change(now.cost_nusd, view.yesterday_nusd)
    if step:
        shown += Content.assemble(
            (" · ", _MUTED),
            (step, "$warning" if way == "up" else "$success"),
            " on yesterday by now",
        )
    if view.saving_nusd is not None and view.saving_nusd > 0:
        shown += Content.assemble(
            (" · ", _MUTED), (f"saved {format_usd(view.saving_nusd)}", "$success")
        )
    if view.budgets:
        line = view.budgets[0]
        used = line.status.used_percent or 0.0
        sign, style = text.SIGNS[line.level]
        full, empty = text.bar(used / 100, 12)
        shown += Content.assemble(
            ("\nBudget ", _MUTED),
            (full, style),
            (empty, "$panel"),
            f" {used:.0f}% of {format_usd(line.limit_nusd)} a {line.status.budget.period}",
            (f" for {text.clip(line.whose, 20)} ", _MUTED),
            (f"{sign} {line.words}", style),
        )
    if view.advice:
        best = view.advice[0]
        saved = best.saving_monthly_nusd
        more = f": saves {format_usd(saved)} a month" if saved else ""
        shown += Content.assemble(
            ("\n▲ ", "$warning"),
            text.clip(best.title, 70 - len(more)),
            (more, "$success"),
        )
    return shown


def _columns(width: int) -> tuple[Column, ...]:
    """The model's name takes what the others leave; roles and hours come where there is room."""
    columns = [
        Column("medal", "", width=2),
        Column("model", "Model", width=0),
        Column("state", "State", width=11),
        *((Column("role", "Role", width=20),) if width >= _ROLES_FROM else ()),
        Column("calls", "Calls", "right", 6),
        Column("cost", "Cost", "right", 8),
        Column("quality", "Qual", "right", 4),
        Column("speed", "Speed", "right", 5),
        Column("success", "Good", "right", 6),
    ]
    if width >= _HOURS_FROM:
        columns += [Column("hours", "24 h", width=24), Column("tokens", "Tokens", "right", 7)]
    return flexible(columns, "model", width)


def _row(card: ModelCard, width: int, colour: Callable[[str], str]) -> Row:
    sign, style = text.SIGNS[card.state]
    state = Text(f"{sign} {text.STATE_WORDS[card.state].lower()}")
    state.stylize(colour(style), 0, 1)
    name = named(card.model.name, colour("$warning") if card.simulated else "")
    cells: list[str | Text] = [
        text.MEDALS[card.medal][0] if card.medal else "",
        name,
        state,
        f"{card.today.calls:,}",
        text.cost(card.today),
        percent(card.quality),
        text.seconds(card.latency_ms),
        percent(card.success, 1),
    ]
    if width >= _ROLES_FROM:
        cells.insert(3, Text(", ".join(card.roles), overflow="ellipsis", no_wrap=True))
    if width >= _HOURS_FROM:
        cells += [text.spark(card.hours), text.count(card.today.tokens)]
    return Row(card.model.id, cells)
