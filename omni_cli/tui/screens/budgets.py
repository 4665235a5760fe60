"""Budgets: how far along each is, where it warns and where it stops; set, raise, switch off."""

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from msgspec import Struct
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList, Static

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import SCOPES, Budget, BudgetStatus
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd, nusd_to_usd, usd_to_nusd
from omni_cli.domain.periods import HOUR_MS, PERIODS
from omni_cli.domain.words import counted
from omni_cli.services.money.budget_document import budget_name
from omni_cli.services.money.costs import BudgetLine, Burn
from omni_cli.tui import text
from omni_cli.tui.pane import Pane
from omni_cli.tui.screens.costs import added_up, each_day
from omni_cli.tui.widgets.chart import Chart, Shown, budget_bar
from omni_cli.tui.widgets.form import ConfirmScreen, Field, FormScreen, Values
from omni_cli.tui.widgets.picker import Groups, Item, model_items, named_items
from omni_cli.tui.widgets.tiles import CardList, Empty, set_empty

_MUTED = "$foreground-muted"
#: The last day that a report can be of.
_EVER = 99_999_999
_SPAN = re.compile(r"([1-9]\d{0,3})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 168}


class BudgetsView(Struct, frozen=True):
    """Every budget in the period that holds now, disabled ones too; ``lines``: how those that
    hold stand, by id."""

    burns: tuple[Burn, ...]
    lines: Mapping[int, BudgetLine]
    now_ms: int
    zone: str


def read_budgets(omni: App) -> BudgetsView:
    """Raises OmniError."""
    statuses = omni.budget_admin.statuses(disabled=True)
    lines = {line.status.budget.id: line for line in omni.costs.standings()}
    return BudgetsView(tuple(map(omni.costs.burn, statuses)), lines, omni.now_ms(), omni.zone)


def title_of(budget: Budget) -> str:
    whose = "everything" if budget.scope == "all" else f"{budget.scope} {budget.value}"
    return f"{whose}, {'daily' if budget.period == 'day' else budget.period + 'ly'}"


def card(burn: Burn, view: BudgetsView, width: int, *, airy: bool = False) -> Content:
    """Whose and how it stands; the bar; the figures; where it leads and what is special; ``airy``:
    and an empty line."""
    status = burn.status
    budget, used = status.budget, status.used_percent
    line = view.lines.get(budget.id)
    sign, style = text.SIGNS["off" if line is None else line.level]
    word = f"{sign} {'disabled' if line is None else line.words}"
    name = Content.styled(title_of(budget), "bold").truncate(width - len(word) - 2, ellipsis=True)
    gap = " " * max(width - name.cell_length - len(word) - 1, 1)
    head = name + Content(gap) + Content.styled(word, style)
    share = "no limit" if used is None else f"{used:.0f}%"
    bar = budget_bar(
        spent=status.spent_nusd,
        held=status.reserved_nusd,
        whole=status.whole_nusd,
        stop=status.stop_at_nusd,
        alerts=budget.alerts_percent,
        width=width - 10,
        style=style,
    ) + Content.styled(f" {share:>7}", "bold")
    facts = [f"{format_usd(status.spent_nusd)} of {format_usd(status.whole_nusd)} spent"]
    if status.reserved_nusd:
        held = f", {format_usd(status.held_nusd)} held" if status.held_nusd else ""
        facts.append(f"{format_usd(status.reserved_nusd)} reserved{held}")
    if status.estimated_nusd:
        facts.append(f"{format_usd(status.estimated_nusd)} of it estimated")
    facts.append(f"{format_usd(max(status.left_nusd, 0))} left")
    facts.append(f"resets {text.clock(status.end_at, view.zone)[:16]}")
    lines = [head, bar, Content.styled(" · ".join(facts), _MUTED), _pace(burn)]
    if notes := _notes(status, view):
        lines[3] += Content.styled((" · " if lines[3] else "") + notes, _MUTED)
    if airy:
        lines.append(Content(" "))
    return Content("\n").join(line.truncate(width, ellipsis=True) for line in lines)


def _pace(burn: Burn) -> Content:
    """Where it leads, and what it has refused."""
    parts: list[Content] = []
    status, projection = burn.status, burn.projection
    if projection is not None and projection.rest and status.state != "off":
        said = f"at this pace {format_usd(projection.nusd)} at its end"
        style = "$error" if projection.nusd > status.stop_at_nusd else _MUTED
        if burn.days_left is not None and status.state != "stopped":
            days = "today" if not burn.days_left else f"in {counted(burn.days_left, 'day')}"
            said += f", used up {days}"
        parts.append(Content.styled(said, style))
    if burn.refused:
        calls = counted(burn.refused, "call")
        parts.append(Content.styled(f"✗ {calls} refused in 24 h", "$error"))
    return Content(" · ").join(parts)


def _notes(status: BudgetStatus, view: BudgetsView) -> str:
    budget = status.budget
    words = []
    if budget.stop_percent != 100.0:
        words.append(f"stops at {budget.stop_percent:g}%")
    if status.carried_nusd:
        words.append(f"{format_usd(status.carried_nusd)} carried over")
    elif budget.rollover:
        words.append("rolls over")
    if budget.allow_unknown:
        words.append("lets unknown prices pass")
    if budget.raise_until is not None and budget.raise_until > view.now_ms:
        until = text.clock(budget.raise_until, view.zone)[:16]
        words.append(f"+{format_usd(budget.raise_nusd)} until {until}")
    return " · ".join(words)


_LEGEND = Content.assemble(
    ("█", "$success"),
    (" spent  ", _MUTED),
    ("▒", "$primary"),
    (" reserved  ", _MUTED),
    ("┊", "$warning"),
    (" an alert  ", _MUTED),
    ("┃", "bold $error"),
    (" calls are refused from here", _MUTED),
)


def burn_chart(burn: Burn) -> Shown | None:
    """Spending of the period added up, the cone of its projection, the stop; of a daily budget each
    day beside the others. None where the budget's days are not the reports'."""
    if not burn.days:
        return None
    status, projection = burn.status, burn.projection
    heading = title_of(status.budget).upper()
    if status.budget.period != "day":
        return added_up(heading, burn.days, projection, limit=status.stop_at_nusd, level="stop")
    rest = projection.rest if projection is not None else ()
    stop = f"{format_usd(status.stop_at_nusd)} stop"
    return each_day(heading, burn.days, rest, limit=status.stop_at_nusd, level=stop)


# --- forms -----------------------------------------------------------------------------------


def fields(budget: Budget | None) -> list[Field]:
    """Of a new budget, or of one as it is; whose it is and its period stay."""
    whose, _ = ("all", "") if budget is None else _split(budget)
    alerts = (50.0, 80.0, 100.0) if budget is None else budget.alerts_percent
    fixed = budget is not None
    return [
        Field(
            "limit",
            "US dollars",
            "" if budget is None else f"{nusd_to_usd(budget.limit_nusd):f}",
            "the most that may be spent",
            check=lambda v: "" if _money(v) is not None else "an amount such as 25 or 0.50",
        ),
        Field(
            "target", "For", whose, fixed=fixed, pick=read_targets, told=_told_target, check=_target
        ),
        Field("period", "Per", "month", choices=PERIODS)
        if budget is None
        else Field("period", "Per", budget.period, fixed=True),
        Field(
            "alerts",
            "Alerts at %",
            ", ".join(f"{percent:g}" for percent in alerts),
            "50, 80, 100; empty for none",
            check=lambda v: "" if _percents(v) is not None else "percentages above 0, to 1000",
        ),
        Field(
            "stop",
            "Stop at %",
            f"{100.0 if budget is None else budget.stop_percent:g}",
            "100 refuses calls at the limit",
            check=_stop,
        ),
        _yes_no("rollover", "Roll over", budget is not None and budget.rollover),
        _yes_no("allow_unknown", "Unknown prices", budget is not None and budget.allow_unknown),
    ]


def note(values: Values) -> str:
    """What the numbers come to."""
    limit, alerts = _money(values["limit"]), _percents(values["alerts"])
    if limit is None or alerts is None or _stop(values["stop"]):
        return ""
    stop = limit * round(float(values["stop"]) * 1000) // 100_000
    said = ", ".join(format_usd(int(limit * percent / 100)) for percent in alerts)
    warns = f"warns at {said}; " if said else ""
    return f"{warns}refuses calls at {format_usd(stop)} per {values['period']}"


def put(omni: App, values: Values) -> Budget:
    """Raises UsageError, NotFound, ConfigError."""
    limit, alerts = _money(values["limit"]), _percents(values["alerts"])
    if limit is None or alerts is None:
        raise UsageError("the limit is an amount, alerts are percentages")
    changes: dict[str, Any] = {
        "alerts_percent": alerts,
        "stop_percent": float(values["stop"]),
        "rollover": values["rollover"] == "yes",
        "allow_unknown": values["allow_unknown"] == "yes",
    }
    return omni.budget_admin.set(values["target"], limit, values["period"], changes)


RAISE_FIELDS = (
    Field(
        "by",
        "US dollars more",
        "",
        "on top of the limit",
        check=lambda v: "" if _money(v) else "an amount such as 5",
    ),
    Field(
        "lasting",
        "For",
        "1d",
        "6h, 1d, 2w",
        check=lambda v: "" if _SPAN.fullmatch(v) else "hours, days or weeks: 6h, 1d, 2w",
    ),
)


def lift(omni: App, budget_id: int, values: Values) -> Budget:
    """Raise a limit for a while. Raises UsageError, NotFound."""
    span = _SPAN.fullmatch(values["lasting"])
    amount = _money(values["by"])
    if span is None or amount is None:
        raise UsageError("say how much and how long: 5 for 1d")
    until = omni.now_ms() + int(span[1]) * _HOURS[span[2]] * HOUR_MS
    return omni.budget_admin.raise_by(budget_id, amount, until)


def _split(budget: Budget) -> tuple[str, str]:
    period, _, whose = budget_name(budget).partition(" ")
    return whose, period


def _yes_no(name: str, label: str, yes: bool) -> Field:
    return Field(name, label, "yes" if yes else "no", choices=("no", "yes"))


def read_targets(omni: App) -> Groups:
    """What a budget may hold for: of agents those that were seen, others are typed."""
    agents = {agent for (agent,) in omni.reports.totals(0, _EVER, ("agent",)) if agent}
    names = {
        "role": [role.name for role in omni.assignments.roles()],
        "provider": [provider.slug for provider in omni.providers.all()],
        "agent": sorted(agents),
        "org": sorted(omni.organisations() - {""}),
        "key": [key.name for key in omni.client_keys.all()],
    }
    every = Item("all", Content("everything"), "all everything")
    return [
        ("All", [every]),
        ("Models", model_items(omni, "model:")),
        *(
            (f"{scope.capitalize()}s", named_items(found, f"{scope}:"))
            for scope, found in names.items()
            if found
        ),
    ]


def _told_target(value: str) -> str:
    scope, _, name = value.partition(":")
    return f"{scope} {name}" if name else "everything"


def _target(value: str) -> str:
    scope, _, name = value.partition(":")
    well = scope in SCOPES and (scope == "all") == (not name)
    return "" if well else "all, or provider: model: role: agent: org: key: with a name"


def _money(value: str) -> int | None:
    """Nano-dollars of an amount of 0 or more, or None."""
    try:
        amount = usd_to_nusd(value.strip().removeprefix("$"))
    except ValueError:
        return None
    return amount if amount >= 0 else None


def _percents(value: str) -> tuple[float, ...] | None:
    try:
        found = tuple(float(part.strip().removesuffix("%")) for part in value.split(",") if part)
    except ValueError:
        return None
    return found if all(0 < percent <= 1000 for percent in found) else None


def _stop(value: str) -> str:
    found = _percents(value)
    return "" if found is not None and len(found) == 1 else "a percentage above 0, to 1000"


_EMPTY = Content.assemble(
    ("No budget yet: nothing stops what calls may cost.\n\n", "bold"),
    "A budget holds for everything, or for a provider, model, role, agent, org\n",
    "or key. Money is reserved before a call, so that all processes together\n",
    "keep the limit.\n\n",
    ("  n", "bold $primary"),
    "   sets one",
)


#: From so many lines on there is one between budgets.
_TALL = 30


class BudgetsPane(Pane[BudgetsView]):
    DEFAULT_CSS = """
    BudgetsPane.-empty #full { display: none; }
    BudgetsPane CardList, BudgetsPane CardList:focus { height: auto; max-height: 60%; }
    BudgetsPane #legend { height: 1; padding: 0 1; }
    BudgetsPane Chart { padding: 0 1; min-height: 6; }
    """
    ON_ONE = frozenset({"edit", "raise", "switch", "remove"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New", tooltip="New budget"),
        Binding("e", "edit", "Edit"),
        Binding("r", "raise", "Raise"),
        Binding("d", "switch", "Disable/enable"),
        Binding("delete", "remove", "Delete", key_display="del"),
        Binding("left", "read(-1)", "Read out", show=False),
        Binding("right", "read(1)", "Read out", show=False),
    ]

    _view: BudgetsView | None = None

    def compose(self) -> ComposeResult:
        yield Empty(_EMPTY)
        with Vertical(id="full"):
            yield CardList()
            yield Static(_LEGEND, id="legend")
            yield Chart()

    def entry(self) -> Widget | None:
        return self.query_one(Empty) if self.has_class("-empty") else self.query_one(CardList)

    def load(self, omni: App, _wanted: Any) -> BudgetsView:
        return read_budgets(omni)

    def show(self, value: BudgetsView) -> None:
        self._view = value
        set_empty(self, not value.burns)
        self._draw()

    def _draw(self) -> None:
        view = self._view
        if view is not None:
            width = max(self.size.width, 40) - 4
            self.query_one(CardList).fill(
                [
                    (str(b.status.budget.id), card(b, view, width, airy=self.size.height >= _TALL))
                    for b in view.burns
                ]
            )
            self._draw_burn()

    @on(OptionList.OptionHighlighted)
    def _draw_burn(self) -> None:
        burn = self._burn
        shown = None if burn is None else burn_chart(burn)
        chart = self.query_one(Chart)
        chart.visible = shown is not None
        if shown is not None:
            chart.put(shown)

    def action_read(self, by: int) -> None:
        self.query_one(Chart).action_step(by)

    def resized(self) -> None:
        self._draw()

    @property
    def chosen(self) -> Budget | None:
        """The budget under the cursor."""
        return None if self._burn is None else self._burn.status.budget

    @property
    def _burn(self) -> Burn | None:
        key, view = self.query_one(CardList).chosen, self._view
        burns = () if view is None else view.burns
        return next((b for b in burns if str(b.status.budget.id) == key), None)

    # --- actions -----------------------------------------------------------------------------

    def action_new(self) -> None:
        self._form(None)

    @on(OptionList.OptionSelected)
    def action_edit(self) -> None:
        if self.chosen is not None:
            self._form(self.chosen)

    def _form(self, budget: Budget | None) -> None:
        title = "New budget" if budget is None else f"Budget of {title_of(budget)}"
        form = FormScreen(self.loader, title, fields(budget), put, note=note)
        self.app.push_screen(form, lambda _: self.omni.store_changed())

    def action_raise(self) -> None:
        budget = self.chosen
        if budget is None:
            return
        form = FormScreen(
            self.loader,
            f"Raise {title_of(budget)}",
            RAISE_FIELDS,
            lambda omni, values: lift(omni, budget.id, values),
            save="Raise",
        )
        self.app.push_screen(form, lambda _: self.omni.store_changed())

    def action_switch(self) -> None:
        budget = self.chosen
        if budget is None:
            return

        def switch(omni: App) -> str:
            fresh = omni.budget_admin.enable(budget.id, on=not budget.enabled)
            return f"{title_of(fresh)} is {'kept' if fresh.enabled else 'not kept'}"

        self.act(switch, self.omni.notify)

    def action_remove(self) -> None:
        budget = self.chosen
        if budget is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.act(
                    lambda omni: f"removed the {omni.budget_admin.remove(budget.id).label}",
                    self.omni.notify,
                )

        detail = f"{format_usd(budget.limit_nusd)} per {budget.period} would no longer be kept."
        question = f"Delete the budget of {title_of(budget)}?"
        self.app.push_screen(ConfirmScreen(question, detail, yes="Delete"), answered)
