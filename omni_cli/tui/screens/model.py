"""One model: capabilities, prices, today's use, roles, performance, errors (fleet spec)."""

from decimal import Decimal
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.money import figure
from omni_cli.domain.prices import KINDS
from omni_cli.services.fleet.connection_test import TestResult
from omni_cli.services.fleet.model_changes import (
    ModelChange,
    PriceChange,
    edit_model,
    set_price,
    settings_in,
)
from omni_cli.services.judge.diagnosis import Check
from omni_cli.services.money.prices import Doubtful
from omni_cli.tui import model_view, text
from omni_cli.tui.actions import (
    call_model,
    check_connection,
    choose_role,
    offer_status,
    offer_switch,
    read_roles,
)
from omni_cli.tui.data import Loader
from omni_cli.tui.model_view import ModelView, read_model
from omni_cli.tui.overview import overview_of
from omni_cli.tui.widgets.chart import Chart
from omni_cli.tui.widgets.form import ConfirmScreen, Field, FormScreen, Values
from omni_cli.tui.widgets.keys import Keys
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.workers import WorkerScreen, tell

_SECTIONS = (
    ("capabilities", "Capabilities", model_view.capabilities_text),
    ("costs", "Costs", model_view.costs_text),
    ("performance", "Performance", model_view.performance_text),
    ("usage", "Today's usage", model_view.usage_text),
    ("roles", "Assigned roles", model_view.roles_text),
    ("errors", "Last errors", model_view.errors_text),
)
#: The rates that the edit form shows.
_RATES = ("input", "cached", "output")


class ModelScreen(WorkerScreen):
    DEFAULT_CSS = """
    ModelScreen #title { height: auto; padding: 0 1; background: $panel; }
    ModelScreen #parts { height: 1fr; }
    ModelScreen .column { height: auto; width: 1fr; }
    ModelScreen .part {
        height: auto; border: round $foreground 20%; border-title-color: $primary;
        border-title-style: bold; padding: 0 1;
    }
    ModelScreen #columns { height: auto; layout: vertical; }
    ModelScreen Chart { height: 1fr; min-height: 12; padding: 0 1; display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "close", "Back"),
        Binding("e", "edit", "Edit"),
        Binding("x", "test", "Test"),
        Binding("c", "call", "Real call"),
        Binding("l", "logs", "Logs"),
        Binding("i", "diagnose", "Diagnose"),
        Binding("d", "switch", "On/off"),
        Binding("r", "role", "Role", tooltip="Make it the first model of a role"),
        Binding("v", "compare", "Compare", tooltip="Compare it with what its roles use now"),
        Binding("j", "scroll(2)", "Down", show=False),
        Binding("k", "scroll(-2)", "Up", show=False),
        Binding("left", "read(-1)", "Read out", show=False),
        Binding("right", "read(1)", "Read out", show=False),
    ]

    def __init__(self, loader: Loader, model: str) -> None:
        super().__init__()
        self.loader = loader
        self._model = model
        self.view: ModelView | None = None

    def compose(self) -> ComposeResult:
        yield Static(self._model, id="title", markup=False)
        with VerticalScroll(id="parts"):
            with Horizontal(id="columns"):
                for column in (_SECTIONS[:3], _SECTIONS[3:]):
                    with Vertical(classes="column"):
                        for name, title, _ in column:
                            part = Static(id=f"part-{name}", classes="part", markup=False)
                            part.border_title = title
                            yield part
            yield Chart()
        yield Keys()

    def on_mount(self) -> None:
        self.refresh_data()

    def refresh_data(self) -> None:
        self.run_worker(self._read, thread=True, exclusive=True, group="read")

    def _read(self) -> None:
        try:
            with self.loader.session() as omni:
                overview = overview_of(self.loader, omni)
                found: ModelView | OmniError = read_model(omni, self._model, overview)
        except OmniError as exc:
            found = exc
        tell(self.app, self._take, found)

    def _take(self, found: ModelView | OmniError) -> None:
        if not self.is_attached:
            return
        title = self.query_one("#title", Static)
        if isinstance(found, OmniError):
            title.update(f"{found.message}\n{found.hint}")
            return
        self.view = found
        title.update(model_view.title_text(found))
        for name, _, render in _SECTIONS:
            self.query_one(f"#part-{name}", Static).update(render(found))
        shown, chart = model_view.latency_chart(found), self.query_one(Chart)
        chart.display = shown is not None
        if shown is not None:
            chart.put(shown)

    # --- actions -----------------------------------------------------------------------------

    def action_close(self) -> None:
        self.dismiss(None)

    def action_scroll(self, by: int) -> None:
        self.query_one("#parts", VerticalScroll).scroll_relative(y=by, animate=False)

    def action_read(self, by: int) -> None:
        chart = self.query_one(Chart)
        if chart.display:
            chart.action_step(by)
            self.query_one("#parts", VerticalScroll).scroll_to_widget(chart, animate=False)

    def action_switch(self) -> None:
        offer_status(self.omni, self.act, self._model)

    def action_test(self) -> None:
        slug = self._model.partition("/")[0]
        self.act(lambda omni: check_connection(omni, slug), self._tested)

    def _tested(self, result: TestResult) -> None:
        self.omni.report_test(result)

    def action_call(self) -> None:
        detail = (
            f"{self._model} gets one short question, at most 16 tokens of answer. "
            "It is billed as any call, and in the ledger as a test."
        )

        def answered(yes: bool | None) -> None:
            if yes:
                self.notify("calling…", timeout=2)
                self.act(lambda omni: call_model(omni, self._model), self._said)

        self.app.push_screen(ConfirmScreen("Make a real call?", detail, yes="Call"), answered)

    def _said(self, words: str) -> None:
        self.notify(words, title=self._model, markup=False)

    def action_logs(self) -> None:
        self.omni.show_found(model=self._model)

    def action_role(self) -> None:
        def chosen(role: str) -> None:
            offer_switch(self.omni, self.act, role, self._model)

        self.act(read_roles, lambda found: choose_role(self.omni, found, self._model, chosen))

    async def action_compare(self) -> None:
        """Against the first models of the roles that it is in; the user adds others."""
        view, omni = self.view, self.omni
        mine = set() if view is None else {name for name, *_ in view.roles}

        def go(roles: tuple[tuple[str, str], ...]) -> None:
            rivals = [first for name, first in roles if name in mine]
            self.dismiss(None)
            omni.run_worker(omni.compare(self._model, *rivals), group="go")

        self.act(read_roles, go)

    def action_diagnose(self) -> None:
        self.notify("checking…", timeout=1)
        self.act(lambda omni: omni.diagnosis.checks(self._model), self._show_checks)

    def _show_checks(self, checks: list[Check]) -> None:
        self.app.push_screen(ChecksScreen(f"Diagnostics of {self._model}", checks_text(checks)))

    def action_edit(self) -> None:
        if self.view is not None:
            self.app.push_screen(edit_form(self.loader, self.view))


class ChecksScreen(Sheet):
    """What diagnostics found."""

    DEFAULT_CSS = "ChecksScreen > VerticalScroll { max-height: 90%; }"
    BINDINGS: ClassVar[list[BindingType]] = [("i", "dismiss(None)", "Close")]


def checks_text(checks: list[Check]) -> Content:
    shown = []
    for check in checks:
        sign, style = text.SIGNS[check.verdict]
        line = Content.assemble((f"{sign} {check.verdict:<8}", style), check.words)
        if check.hint:
            line += Content.styled(f"\n          {check.hint}", "$foreground-muted")
        shown.append(line)
    return Content("\n").join(shown)


def edit_form(loader: Loader, view: ModelView) -> FormScreen:
    """Name, aliases, limits, size, scores and prices of a model."""
    model = view.model
    price = None if view.listed.price is None else view.listed.price.price
    priced = price is not None and price.state == "priced"
    rates = {
        kind: f"{found.base.normalize():f}"
        if priced and (found := getattr(price, kind)) is not None
        else ""
        for kind in _RATES
    }
    before = {
        "name": model.name,
        "context_window": _number_text(model.context_window),
        "max_output": _number_text(model.max_output),
        "parameters_b": "" if model.parameters_b is None else f"{model.parameters_b:g}",
        "settings": ", ".join(f"{name}={value}" for name, value in model.settings.items()),
        **{f"score_{n}": _score_text(model.scores.get(n)) for n in ("coding", "reasoning")},
        **rates,
    }
    fields = [
        Field("name", "Name", before["name"], check=lambda v: "" if v else "give it a name"),
        Field("alias", "Add alias", hint="another name to call it by"),
        Field("context_window", "Context", before["context_window"], "tokens", check=_whole),
        Field("max_output", "Max output", before["max_output"], "tokens", check=_whole),
        Field("parameters_b", "Parameters", before["parameters_b"], "billions", check=_amount),
        Field("settings", "Calls", before["settings"], "rate_limit_rpm=60, retry_delay_ms=none"),
        Field("score_coding", "Coding", before["score_coding"], "0 to 100", check=_score),
        Field("score_reasoning", "Reasoning", before["score_reasoning"], "0 to 100", check=_score),
        Field("input", "Price in", rates["input"], "US dollars per 1M tokens", check=_amount),
        Field("cached", "Price cached", rates["cached"], "US dollars per 1M tokens", check=_amount),
        Field("output", "Price out", rates["output"], "US dollars per 1M tokens", check=_amount),
    ]

    doubted: list[Values] = []

    def save(omni: App, values: Values) -> None:
        changed = {name: v for name, v in values.items() if v and v != before.get(name, "")}
        try:
            _save(omni, model.id, changed, values, sure=values in doubted)
        except Doubtful as exc:
            doubted.append(dict(values))
            raise UsageError(exc.message, hint="save again if it is meant") from exc

    tiers = priced and any(
        (found := getattr(price, kind)) is not None and found.tiers for kind in KINDS
    )
    warning = "A new price has no tiers: this one has. " if tiers else ""
    return FormScreen(
        loader, f"Edit {model.id}", fields, save, note=lambda v: warning + _factor_note(v)
    )


def _save(omni: App, model_id: str, changed: Values, values: Values, *, sure: bool = False) -> None:
    """One revision for all of it; nothing is written where nothing was changed."""
    new_price = any(kind in changed for kind in _RATES)
    rates = _rates(omni, model_id, values) if new_price else {}
    scores = {
        name.removeprefix("score_"): float(value)
        for name, value in changed.items()
        if name.startswith("score_")
    }
    change = ModelChange(
        name=changed.get("name"),
        aliases=[changed["alias"]] if "alias" in changed else [],
        context_window=_int(changed.get("context_window")),
        max_output=_int(changed.get("max_output")),
        parameters_b=float(changed["parameters_b"]) if "parameters_b" in changed else None,
        scores=scores,
        settings=settings_in(changed["settings"].split(",")) if "settings" in changed else {},
    )
    fields = [name for name in changed if name not in _RATES]
    if not fields and not new_price:
        return
    with omni.fleet.change("model.edit", model_id, None, None):
        if fields:
            edit_model(omni.fleet, model_id, change)
        if new_price:
            set_price(omni.fleet, model_id, PriceChange(rates), sure=sure)


def _rates(omni: App, model_id: str, values: Values) -> dict[str, Decimal]:
    """The form's rates over the base rates that the form does not show (cache writes...)."""
    row = omni.browser.listed(omni.fleet.model(model_id)).price
    kept = {
        kind: found.base
        for kind in KINDS
        if row is not None and (found := getattr(row.price, kind)) is not None
    }
    said = {kind: figure(values[kind]) for kind in _RATES}
    return {**kept, **{kind: amount for kind, amount in said.items() if amount is not None}}


def _factor_note(values: Values) -> str:
    size = values.get("parameters_b", "")
    if not size or _amount(size):
        return ""
    return f"complexity factor {float(size) / 175:.2f} (parameters / 175 B)"


def _number_text(value: int | None) -> str:
    return "" if value is None else str(value)


def _score_text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def _int(value: str | None) -> int | None:
    return None if value is None else int(value)


def _whole(value: str) -> str:
    return "" if not value or (value.isdigit() and int(value) > 0) else "a whole number above 0"


def _amount(value: str) -> str:
    if not value:
        return ""
    amount = None if "$" in value else figure(value)
    if amount is None:
        return "a number, such as 0.25"
    return "" if amount >= 0 else "0 or more"


def _score(value: str) -> str:
    said = _amount(value)
    return said or ("" if (figure(value) or 0) <= 100 else "0 to 100")
