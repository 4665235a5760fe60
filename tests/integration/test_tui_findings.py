"""The 29 findings of the report on the screens, each with the test that fails without its mend.

 1 test_tui.py::test_what_goes_down_is_told_without_a_key_and_its_models_go_with_it
 2 the same, and here::test_2_a_dash_probes_as_it_ships_and_every_dot_has_an_age
 3 here::test_3_and_5_budget_and_pace_read_the_same_on_every_screen
 4 here::test_4_the_budget_that_alarms_is_named_at_80_columns
 5 unit/test_reports.py::test_yesterday_counts_until_this_hour
 5 here::test_3_and_5_budget_and_pace_read_the_same_on_every_screen
 6 here::test_6_success_of_a_model_is_of_its_attempts_everywhere
 7 cli/test_leaving.py::test_the_screen_sinks_what_is_retired_and_asks_before_it_takes_it
 7 cli/test_leaving.py::test_the_right_tense_everywhere
 8 test_tui_budgets.py::test_refusals_the_pace_and_the_burn_are_shown
 9 test_tui_usage.py::test_costs_agree_with_the_service_and_say_what_would_save
10 test_tui_activity.py::test_a_query_finds_all_that_match_or_says_what_is_wrong
11 here::test_11_a_few_calls_win_no_medal
12 test_tui_traps.py::test_dialogs_dim_what_is_below_and_drafts_are_asked_about
13 the same
14 test_tui_traps.py::test_what_nobody_expected_is_told_without_values
14 test_tui_traps.py::test_an_error_that_ends_it_says_so_in_two_lines_and_with_exit_code_1
15 snapshot/test_recommendations.py::test_apply_and_undo_with_one_key
16 test_tui_traps.py::test_dialogs_dim_what_is_below_and_drafts_are_asked_about
17 here::test_17_the_first_fleet_is_as_wide_as_the_screen
18 test_tui_traps.py::test_what_is_read_for_long_says_so_until_it_is_there
19 here::test_19_and_23_an_edited_provider_is_tested_and_its_key_shown_masked
20 test_tui_browser.py::test_on_a_phone_it_fits_and_nothing_leaves_this_machine
20 unit/tui/test_keys.py::test_the_keys_of_what_gets_the_focus_in_a_page_that_has_none_are_shown
21 test_tui_roles.py::test_the_preview_is_what_the_switch_then_says
22 test_tui_palette.py::test_actions_of_other_tabs_are_found_and_done
22 test_tui_palette.py::test_objects_of_all_kinds_are_found
23 here::test_19_and_23_an_edited_provider_is_tested_and_its_key_shown_masked
24 test_tui.py::test_add_a_provider_with_its_key_masked
24 test_tui_journeys.py::test_who_answers_a_chat_is_picked
25 here::test_25_a_search_leaves_the_cursor_on_the_model_that_was_named
26 test_tui.py::test_chat_draws_markdown_and_its_help_stays_beside_the_keys
26 test_tui.py::test_escape_leaves_both_inputs_of_chat_for_the_jump_keys
27 test_tui_traps.py::test_every_key_of_the_footer_can_be_read_at_80_columns
27 test_tui_traps.py::test_no_key_is_cut_wherever_the_focus_is
27 here::test_27_every_tab_is_named_in_full_at_120_and_there_at_60
28 unit/tui/test_steps.py::test_a_step_refreshes_two_items
29 test_tui_roles.py::test_one_comes_back_to_the_same_place
"""

import re
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.pilot import Pilot
from textual.widgets import Input

from omni_cli.bootstrap import App
from omni_cli.cli.commands import dash
from omni_cli.domain.budgets import Budget
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.words import percent
from omni_cli.simulator import Simulator
from omni_cli.tui import text
from omni_cli.tui.overview import MEDAL_CALLS, Overview
from omni_cli.tui.registry import TABS
from omni_cli.tui.screens.catalogue import CataloguePane
from omni_cli.tui.screens.providers import ProvidersPane
from omni_cli.tui.screens.usage import UsagePane
from omni_cli.tui.widgets.form import FormScreen
from omni_cli.tui.widgets.status import StatusLine, fitting
from omni_cli.tui.widgets.tiles import CardList
from tests.integration.tui_pilot import copy_home, notes, opened, press, read, shown
from tests.snapshot.scene import add_takeovers, clock, env_of, make_home
from tests.snapshot.steps import settle

SONNET = "anthropic/claude-sonnet-4-20250514"
USD = 10**9


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=True)


def status(pilot: Pilot[Any]) -> str:
    return str(pilot.app.query_one(StatusLine).render())


def overview(pilot: Pilot[Any]) -> Overview:
    view = pilot.app.query_one(StatusLine)._overview
    assert view is not None
    return view


def test_each_finding_has_a_test() -> None:
    here = Path(__file__).parent
    seen = set[int]()
    for line in (__doc__ or "").splitlines():
        found = re.match(r"( ?\d+) (the same|\S+)", line)
        if found is None:
            continue
        seen.add(int(found[1]))
        for named in re.findall(r"(\S+)::(\w+)", line):
            file = Path(__file__) if named[0] == "here" else here / named[0]
            file = file if file.exists() else here.parent / named[0]
            assert f"def {named[1]}(" in file.read_text("utf-8"), line
    assert seen == set(range(1, 30))


async def test_2_a_dash_probes_as_it_ships_and_every_dot_has_an_age(home: Path) -> None:
    made = Path(dash.__file__).read_text("utf-8").count("OmniApp(")
    assert made == Path(dash.__file__).read_text("utf-8").count("probing=True") > 0
    async with opened(home, "providers", (120, 40)) as pilot:
        await press(pilot, "j", "j")
        for card in overview(pilot).providers:
            said = text.age(card.state, card.seen_at, int(clock() * 1000))
            assert bool(said) == (card.state not in ("maintenance", "unknown")), card
        assert "ago" in str(pilot.app.query_one(ProvidersPane).query_one("#detail").render())


async def test_3_and_5_budget_and_pace_read_the_same_on_every_screen(home: Path) -> None:
    """Fleet said "on track" of what Costs said was 96 % over; and a day under way was compared with
    all of yesterday: green until the evening."""
    words, now, before = read(
        home,
        lambda omni: (
            omni.costs.standings()[0].words,
            omni.costs.overview().today.cost_nusd,
            omni.costs.yesterday_by_now(),
        ),
    )
    step, _ = text.change(now, before)
    assert step
    assert re.fullmatch(r"at its end \d+% over", words)
    async with opened(home, "fleet", (120, 40)) as pilot:
        assert f" {step} " in status(pilot)
        assert f"{step} on {format_usd(before)} by now" in shown(pilot.app, "#today")
        assert words in shown(pilot.app, "#today")
        await press(pilot, "6")
        assert f"{step} on {format_usd(before)} yesterday by now" in shown(pilot.app, "#above")
        assert words.removeprefix("at its end ") in shown(pilot.app, "#above")
        await pilot.resize_terminal(80, 24)
        await press(pilot, "7")
        assert words in pilot.app.query_one("BudgetsPane CardList", CardList)._shown[0][1].plain
        await press(pilot, "1")
        assert words in shown(pilot.app, "#foot")
        assert f" · {step} · " in shown(pilot.app, "#foot")


async def test_4_the_budget_that_alarms_is_named_at_80_columns(home: Path) -> None:
    """It was "budget 132%", and at 80 columns nothing at all."""
    with App(env_of(home), clock=clock) as omni:
        omni.budgets.put(Budget(0, "role", "research_lead", "week", 10_000_000))
    async with opened(home, "fleet", (80, 24)) as pilot:
        assert re.search(r"✗ role research_lead \d+% \+1", status(pilot))
        assert cell_len(status(pilot)) <= 80
        assert "for role research_l… ✗ calls are refused" in shown(pilot.app, "#foot")


async def test_6_success_of_a_model_is_of_its_attempts_everywhere(home: Path) -> None:
    """Usage counted requests, which a stand-in may have saved; Fleet counted attempts."""
    add_takeovers(home)
    async with opened(home, "usage", (120, 40)) as pilot:
        pane = pilot.app.query_one(UsagePane)
        await press(pilot, "p", "p")  # the week, as far back as Fleet looks
        report = pane._view.report
        row = next(row for row in report.rows if row.name == SONNET).totals
        assert row.attempt_success < row.success
        said = percent(row.attempt_success, 1)
        assert said != percent(row.success, 1)
        cells = pane.query_one("SortableTable Table").get_row(SONNET)  # type: ignore[attr-defined]  # a DataTable
        assert said in [str(cell) for cell in cells]


async def test_11_a_few_calls_win_no_medal(home: Path) -> None:
    """★1 to ★3 stood at models with one call each, and "1 calls" beside them."""
    async with opened(home, "fleet", (120, 40)) as pilot:
        view = overview(pilot)
        ranked = [card.model.name for card in view.models if card.medal]
        assert len(ranked) == 3
        few = next(card for card in view.models if card.model.name == "Gemini 1.5 Flash")
        calls = read(
            home,
            lambda omni: sum(
                day.attempts for day in omni.glance.days(0, 99_999_999) if day.model == few.model.id
            ),
        )
        assert 0 < calls < MEDAL_CALLS
        assert few.medal is None
        # Better than Haiku with its 700 calls, and before it.
        places = [card.model.name for card in view.models]
        assert places.index(few.model.name) < places.index("Claude 3 Haiku")


async def test_17_the_first_fleet_is_as_wide_as_the_screen(tmp_path: Path) -> None:
    """Its first tiles were of 40 columns: nothing was shown yet that had a width."""
    home = tmp_path / "first"
    home.mkdir()
    async with opened(home, "providers", (80, 24)) as pilot:
        make_home(home, past=False)
        for _ in range(200):
            if overview(pilot).models:
                break
            await pilot.pause(0.02)
            pilot.app.query_one(StatusLine).refresh_data()
        await press(pilot, "1")
        lines = [strip.text.rstrip() for strip in pilot.app.screen._compositor.render_strips()]
        edges = [line for line in lines if line.count("╭") == 2]
        assert edges
        assert all(70 < cell_len(line) <= 80 for line in edges)


async def test_19_and_23_an_edited_provider_is_tested_and_its_key_shown_masked(
    tmp_path: Path,
) -> None:
    """A corrected key went on as "✗ Incorrect API key", and stood as "Key  file"."""
    home = tmp_path / "omni"
    with Simulator(seed=3) as simulator:
        make_home(home, url=simulator.url, past=False)
        with App(env_of(home), clock=clock) as omni:
            omni.keys.keep("deepseek", "sk-first-0123456789abcd7890")
            known = omni.fleet.provider("deepseek")
            omni.fleet.put_provider(replace(known, auth_method="api_key"))
        async with opened(home, "providers", (120, 40)) as pilot:
            pane = pilot.app.query_one(ProvidersPane)
            pane.query_one("FramedTiles").choose("deepseek")  # type: ignore[attr-defined]  # FramedTiles'
            await settle(pilot)
            pane.refresh_data()
            await settle(pilot)
            said = str(pane.query_one("#detail").render())
            masked = next(line for line in said.splitlines() if line.startswith("Key"))
            assert re.search(r"sk-.*7890", masked)
            assert "first" not in said
            await press(pilot, "e")
            form = pilot.app.screen
            assert isinstance(form, FormScreen)
            key = form.query_one("#in-key", Input)
            assert re.match(r"sk-.*7890.*; empty leaves it", key.placeholder)
            assert not key.value
            key.value = "sk-second-1234"
            await press(pilot, "ctrl+s")
            for _ in range(200):
                if "lists" in notes(pilot.app):
                    break
                await pilot.pause(0.02)
            told = notes(pilot.app)
            assert "deepseek: saved; testing it" in told
            assert "lists" in told
            assert "busy" not in told


async def test_25_a_search_leaves_the_cursor_on_the_model_that_was_named(home: Path) -> None:
    """It stood on the provider's heading, where ``a`` does nothing, and after ChatGPT-4o."""
    async with opened(home, "catalogue", (120, 40)) as pilot:
        await press(pilot, "slash", "=gpt-4o", "enter")
        pane = pilot.app.query_one(CataloguePane)
        assert pane.chosen is not None
        assert pane.chosen.model.id == "openai/gpt-4o"


def test_27_every_tab_is_named_in_full_at_120_and_there_at_60() -> None:
    """ "Catal Activ Budg" at 120, and the last two gone at 60."""
    at_120 = "".join(title for _, title in fitting(TABS, "fleet", 120))
    assert [tab.title for tab in TABS if tab.title not in at_120] == ["Recommendations"]
    assert cell_len(at_120) <= 120
    for width in (60, 80):
        pieces = fitting(TABS, "history", width)
        assert len(pieces) == len(TABS)
        assert sum(cell_len(title) for _, title in pieces) <= width
