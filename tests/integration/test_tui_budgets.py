"""Budgets in the TUI: set, changed, raised, switched off and deleted (E2, C3)."""

from pathlib import Path

import pytest
from textual.widgets import Input, Select

from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget, refusal
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import NewRequest, RequestEnd
from omni_cli.domain.money import format_usd
from omni_cli.tui.screens.budgets import BudgetsPane
from omni_cli.tui.widgets.chart import Chart, budget_bar
from omni_cli.tui.widgets.form import ConfirmScreen, FormScreen
from omni_cli.tui.widgets.picker import Pick
from omni_cli.tui.widgets.tiles import CardList
from tests.integration.tui_pilot import copy_home, opened, press, read, shown
from tests.snapshot.scene import NOW_MS, clock, env_of
from tests.snapshot.steps import settle

USD = 1_000_000_000


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=False)


def budgets(home: Path) -> list[Budget]:
    found: list[Budget] = read(home, lambda omni: omni.budget_admin.all())
    return found


async def fill(pilot: object, **values: str) -> None:
    for name, value in values.items():
        widget = pilot.app.screen.query_one(f"#in-{name}")
        assert isinstance(widget, Input | Select | Pick)
        widget.value = value


async def test_set_edit_raise_switch_and_delete(home: Path) -> None:
    async with opened(home, "budgets") as pilot:
        pane = pilot.app.query_one(BudgetsPane)
        assert pane.has_class("-empty")
        await press(pilot, "n")
        await fill(pilot, target="model:deepseek/deepseek-chat", period="day", limit="2.50")
        await settle(pilot)
        assert "refuses calls at $2.50 per day" in shown(pilot.app, "#note")
        await press(pilot, "ctrl+s")
        (made,) = budgets(home)
        assert (made.scope, made.value, made.period) == ("model", "deepseek/deepseek-chat", "day")
        assert made.limit_nusd == 2_500_000_000
        assert not pane.has_class("-empty")

        await press(pilot, "e")
        await fill(pilot, limit="3", alerts="70, 90", stop="95", rollover="yes")
        await press(pilot, "ctrl+s")
        (changed,) = budgets(home)
        assert (changed.id, changed.limit_nusd) == (made.id, 3 * USD)
        assert (changed.alerts_percent, changed.stop_percent) == ((70.0, 90.0), 95.0)
        assert changed.rollover

        await press(pilot, "r")
        await fill(pilot, by="1.5", lasting="2d")
        await press(pilot, "ctrl+s")
        (raised,) = budgets(home)
        assert raised.raise_nusd == 1_500_000_000
        assert raised.raise_until == NOW_MS + 2 * 86_400_000
        assert "+$1.50 until" in pilot.app.query_one(CardList)._shown[0][1].plain

        await press(pilot, "d")
        assert not budgets(home)[0].enabled
        assert "disabled" in pilot.app.query_one(CardList)._shown[0][1].plain
        await press(pilot, "d")
        assert budgets(home)[0].enabled

        await press(pilot, "delete")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "escape")
        assert budgets(home)
        await press(pilot, "delete", "y")
        assert not budgets(home)
        assert pane.has_class("-empty")


async def test_values_that_do_not_fit_are_said(home: Path) -> None:
    sound = {"limit": "5", "target": "", "alerts": "80", "stop": "100"}
    async with opened(home, "budgets") as pilot:
        await press(pilot, "n")
        for name, value, said in (
            ("limit", "much", "an amount"),
            ("limit", "-1", "an amount"),
            ("target", "nobody", "with a name"),
            ("target", "model:", "with a name"),
            ("alerts", "0", "percentages"),
            ("stop", "50, 60", "a percentage"),
        ):
            await fill(pilot, **{**sound, name: value})
            await settle(pilot)
            assert said in shown(pilot.app, f"#trouble-{name}")
            await press(pilot, "ctrl+s")
            assert isinstance(pilot.app.screen, FormScreen), name
            assert not budgets(home)


async def test_an_unknown_model_is_refused_with_the_reason(home: Path) -> None:
    async with opened(home, "budgets") as pilot:
        await press(pilot, "n")
        await fill(pilot, target="model:nothing-like-it", limit="5")
        await press(pilot, "ctrl+s")
        assert "nothing-like-it" in shown(pilot.app, "#said")
        assert not budgets(home)


@pytest.mark.parametrize(
    ("spent", "held", "stop", "expected"),
    [
        (0, 0, 100, "░░░░░┊░░░┃"),
        (1, 0, 100, "█░░░░┊░░░┃"),
        (50, 20, 100, "█████┊▒░░┃"),
        (100, 0, 100, "█████┊███┃"),
        (40, 0, 50, "████░┃░░░░"),
        # it reaches to the stop: the limit, and with it the alert, lies nearer to the middle
        (90, 0, 200, "██┊█░░░░░┃"),
    ],
)
def test_a_bar_marks_alerts_and_the_stop(spent: int, held: int, stop: int, expected: str) -> None:
    bar = budget_bar(
        spent=spent, held=held, whole=100, stop=stop, alerts=(50.0,), width=10, style="$success"
    )
    assert bar.plain == expected


async def test_refusals_the_pace_and_the_burn_are_shown(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A budget that is within its limit and yet refuses says so; its chart leads to its end."""
    home = copy_home(tmp_path / "omni", tmp_path_factory.mktemp("past"), past=True)
    with App(env_of(home), clock=clock) as omni:
        omni.budgets.put(Budget(0, "role", "heartbeat", "day", 20 * USD))
        status = next(s for s in omni.budget_admin.statuses() if s.budget.scope == "all")
        at = NOW_MS - 60_000
        request = NewRequest(make_id(at, 5), at, "chat", "test")
        omni.ledger.open(request, None)
        told = refusal(status, 90 * USD, "then").message
        end = RequestEnd("refused", at, error_code="budget_exceeded", error_message=told)
        omni.ledger.end_request(request.id, end)
        burn = omni.costs.burn(status)
    assert (burn.refused, burn.status.state) == (1, "ok")
    assert burn.projection is not None
    async with opened(home, "budgets", (120, 40)) as pilot:
        cards = [text.plain for _, text in pilot.app.query_one(CardList)._shown]
        said = next(card for card in cards if card.startswith("everything"))
        assert "too little for some calls" in said
        assert "1 call refused in 24 h" in said
        assert f"at this pace {format_usd(burn.projection.nusd)} at its end" in said
        assert f"used up in {burn.days_left} days" in said
        chart = pilot.app.query_one(Chart)
        assert "EVERYTHING, MONTHLY" in chart.render().plain
        await press(pilot, "left")
        assert format_usd(burn.projection.nusd) in chart.render().plain.splitlines()[0]
        await press(pilot, "j")
        assert "ROLE HEARTBEAT, DAILY" in chart.render().plain
