"""Budgets: how far along each is, where it warns and where it stops; set, raise, switch off."""

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget
from textual.widgets import OptionList

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.domain.pricing import format_usd
from omni_cli.tui import budget_view
from omni_cli.tui.budget_view import BudgetsView, read_budgets
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.cards import CardList
from omni_cli.tui.widgets.empty import Empty, set_empty
from omni_cli.tui.widgets.form import ConfirmScreen, FormScreen

_EMPTY = Content.assemble(
    ("No budget yet: nothing stops what calls may cost.\n\n", "bold"),
    "A budget holds for everything, or for a provider, model, role, agent, org\n",
    "or key. Money is reserved before a call, so that all processes together\n",
    "keep the limit.\n\n",
    ("  n", "bold $primary"),
    "   sets one",
)


class BudgetsPane(Pane[BudgetsView]):
    DEFAULT_CSS = """
    BudgetsPane.-empty #full { display: none; }
    BudgetsPane CardList > .option-list--option { padding: 0 1 1 0; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("n", "new", "New"),
        Binding("e", "edit", "Edit"),
        Binding("r", "raise", "Raise"),
        Binding("d", "switch", "Disable/enable"),
        Binding("delete", "remove", "Delete", key_display="del"),
    ]

    _view: BudgetsView | None = None

    def compose(self) -> ComposeResult:
        yield Empty(_EMPTY)
        with Vertical(id="full"):
            yield CardList()

    def entry(self) -> Widget | None:
        return self.query_one(Empty) if self.has_class("-empty") else self.query_one(CardList)

    def load(self, omni: App, _wanted: Any) -> BudgetsView:
        return read_budgets(omni)

    def show(self, value: BudgetsView) -> None:
        self._view = value
        set_empty(self, not value.statuses)
        self._draw()

    def _draw(self) -> None:
        view = self._view
        if view is not None:
            width = max(self.size.width, 40) - 4
            self.query_one(CardList).fill(
                [(str(s.budget.id), budget_view.card(s, view, width)) for s in view.statuses]
            )

    def on_resize(self) -> None:
        self._draw()

    @property
    def chosen(self) -> Budget | None:
        """The budget under the cursor."""
        key, view = self.query_one(CardList).chosen, self._view
        statuses = () if view is None else view.statuses
        return next((s.budget for s in statuses if str(s.budget.id) == key), None)

    # --- actions -----------------------------------------------------------------------------

    def action_new(self) -> None:
        self._form(None)

    @on(OptionList.OptionSelected)
    def action_edit(self) -> None:
        if self.chosen is not None:
            self._form(self.chosen)

    def _form(self, budget: Budget | None) -> None:
        title = "New budget" if budget is None else f"Budget of {budget_view.title(budget)}"
        form = FormScreen(
            self.loader, title, budget_view.fields(budget), budget_view.put, note=budget_view.note
        )
        self.app.push_screen(form, lambda _: self.omni.store_changed())

    def action_raise(self) -> None:
        budget = self.chosen
        if budget is None:
            return
        form = FormScreen(
            self.loader,
            f"Raise {budget_view.title(budget)}",
            budget_view.RAISE_FIELDS,
            lambda omni, values: budget_view.lift(omni, budget.id, values),
            save="Raise",
        )
        self.app.push_screen(form, lambda _: self.omni.store_changed())

    def action_switch(self) -> None:
        budget = self.chosen
        if budget is None:
            return

        def switch(omni: App) -> str:
            fresh = omni.budget_admin.enable(budget.id, on=not budget.enabled)
            return f"{budget_view.title(fresh)} is {'kept' if fresh.enabled else 'not kept'}"

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
        question = f"Delete the budget of {budget_view.title(budget)}?"
        self.app.push_screen(ConfirmScreen(question, detail, yes="Delete"), answered)
