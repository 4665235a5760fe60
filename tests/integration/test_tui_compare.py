"""Compare in the TUI: put together, run against the simulator, and what follows (E2, D2, B7)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Input, Select, TextArea

from omni_cli.bootstrap import App
from omni_cli.services.judge.compare_documents import summary_lines
from omni_cli.simulator import Simulator
from omni_cli.tui.comparing import Draft, join_prompts, split_prompts
from omni_cli.tui.screens.abtests import AbTestsScreen
from omni_cli.tui.screens.compare import ComparePane
from omni_cli.tui.screens.comparing_forms import AnswersScreen, ModelsScreen, PromptsScreen
from omni_cli.tui.screens.model import ModelScreen
from omni_cli.tui.widgets.form import ConfirmScreen, FormScreen
from omni_cli.tui.widgets.table import Table
from tests.integration.test_tui import opened, read, until
from tests.integration.tui_pilot import notes, press, shown
from tests.snapshot.scene import make_home
from tests.snapshot.steps import settle

HAIKU, GPT = "anthropic/claude-3-haiku-20240307", "openai/gpt-4-turbo"
DRAFT = Draft((HAIKU, GPT), ("Is all well?", "What is 3 + 6?"), expect="simulated")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=3) as running:
        yield running


@pytest.fixture
def home(simulator: Simulator, tmp_path: Path) -> Path:
    folder = tmp_path / "omni"
    make_home(folder, url=simulator.url, past=False)
    return folder


def answers(home: Path) -> int:
    """Good answers that are stored."""
    return int(
        read(
            home,
            lambda omni: omni.store.db.execute(
                "SELECT count(*) FROM comparison_results WHERE state = 'ok'"
            ).fetchone()[0],
        )
    )


def _said(omni: App) -> list[str]:
    """What the command line and the reports say of the newest comparison."""
    return summary_lines(omni.compare_reports.report(*omni.compare.load("last")))


async def run(pilot: object) -> ComparePane:
    """Run the draft to its end."""
    pane = pilot.app.query_one(ComparePane)
    await press(pilot, "r")
    assert isinstance(pilot.app.screen, ConfirmScreen)
    await press(pilot, "y")
    await until(lambda: pane._live is None, 20)
    await settle(pilot)
    return pane


async def test_from_an_empty_tab_to_a_verdict(home: Path, simulator: Simulator) -> None:
    async with opened(home, "compare", (120, 40)) as pilot:
        pane = pilot.app.query_one(ComparePane)
        assert pane.has_class("-empty")
        await press(pilot, "r")  # nobody is named yet, so that comes first
        assert isinstance(pilot.app.screen, ModelsScreen)
        await press(pilot, "=haiku", "enter")
        pilot.app.screen.query_one(Input).value = "gpt-4-turbo"
        await settle(pilot)
        await press(pilot, "enter", "ctrl+s")
        assert pane.draft.models == (HAIKU, GPT)
        await press(pilot, "r")
        assert isinstance(pilot.app.screen, PromptsScreen)
        pilot.app.screen.query_one(TextArea).text = "Is all well?\n---\nWhat is 3 + 6?"
        await press(pilot, "ctrl+s")
        assert pane.draft.prompts == ("Is all well?", "What is 3 + 6?")
        await press(pilot, "o")
        form = pilot.app.screen
        assert isinstance(form, FormScreen)
        form.query_one("#in-scorer", Select).value = "contains"
        await settle(pilot)
        assert "compares with what is expected" in shown(pilot.app, "#note")
        form.query_one("#in-expect", Input).value = "simulated"
        form.query_one("#in-iterations", Input).value = "2"
        form.query_one("#in-max_cost", Input).value = "nothing"
        await press(pilot, "ctrl+s")
        assert "an amount above 0" in shown(pilot.app, "#said")
        form.query_one("#in-max_cost", Input).value = "0.50"
        await press(pilot, "ctrl+s")
        assert pane.draft.max_cost == "0.50"
        assert simulator.stats()["requests"] == 0
        await press(pilot, "r")
        assert "2 prompts: 8 calls" in str(pilot.app.screen.query("Static").first().render())
        await press(pilot, "n")
        assert simulator.stats()["requests"] == 0
        await run(pilot)
        assert answers(home) == 8
        assert pilot.app.query_one(Table).row_count == 2
        verdict = shown(pilot.app, "#verdict")
        assert "winner" in verdict
        assert "figures of the simulator" in verdict
        for line in read(home, _said):
            assert line in verdict
        assert "complete" in shown(pilot.app, "#title")
        await press(pilot, "v")
        screen = pilot.app.screen
        assert isinstance(screen, AnswersScreen)
        assert "Is all well?" in shown(pilot.app, ".asked")
        await press(pilot, "n")
        assert "3 + 6" in shown(pilot.app, ".asked")
        assert screen.query(".answer").first().content


async def test_stopped_by_esc_and_gone_on_with_nothing_paid_twice(
    home: Path, simulator: Simulator
) -> None:
    simulator.fault("slow-first:0.5", "*")
    prompts = tuple(f"Say {number}" for number in range(24))
    async with opened(home, "compare", (100, 30)) as pilot:
        pane = pilot.app.query_one(ComparePane)
        pane.draft = Draft((HAIKU, GPT), prompts)
        await press(pilot, "r")
        await pilot.press("y")
        await until(lambda: any(done for _, done, *_ in pane._news.groups), 10)
        assert pane.has_class("-running")
        await pilot.press("escape")
        await until(lambda: pane._live is None, 10)
        await settle(pilot)
        there = answers(home)
        assert 0 < there < 48
        assert "stopped" in shown(pilot.app, "#title")
        assert f"{48 - there} answers are missing" in shown(pilot.app, "#verdict")
        simulator.heal()
        await press(pilot, "c", "y")
        await until(lambda: pane._live is None and answers(home) == 48, 20)
        await settle(pilot)
        assert simulator.stats()["requests"] == 48
        await press(pilot, "c")
        assert "every answer is there" in notes(pilot.app)


async def test_one_prompt_has_times_of_no_known_spread(home: Path, simulator: Simulator) -> None:
    async with opened(home, "compare", (120, 40)) as pilot:
        pane = pilot.app.query_one(ComparePane)
        pane.draft = Draft((HAIKU, GPT), ("x",))
        await press(pilot, "r", "y")
        await until(lambda: pane._live is None and answers(home) == 2, 20)
        await settle(pilot)
        assert shown(pilot.app, "#pictures").count("(asked once)") == 2


async def test_a_failing_model_shows_and_money_is_asked_for_first(
    home: Path, simulator: Simulator
) -> None:
    async with opened(home, "compare", (120, 40)) as pilot:
        pane = pilot.app.query_one(ComparePane)
        pane.draft = Draft((HAIKU, GPT), ("x",), max_cost="0.000001")
        await press(pilot, "r")
        assert not isinstance(pilot.app.screen, ConfirmScreen)
        assert "more than" in notes(pilot.app)
        assert simulator.stats()["requests"] == 0
        simulator.fault("503", "openai/*")
        pane.draft = DRAFT
        await run(pilot)
        assert answers(home) == 2
        assert "2 answers are missing" in shown(pilot.app, "#verdict")


async def test_switch_a_role_to_the_winner_and_back(home: Path) -> None:
    async with opened(home, "compare", (120, 40)) as pilot:
        pane = pilot.app.query_one(ComparePane)
        pane.draft = DRAFT
        await run(pilot)
        before = read(home, lambda omni: omni.fleet.role("research_lead"))
        pilot.app.query_one(Table).move_cursor(row=0)
        await settle(pilot)
        await press(pilot, "w", "=research", "enter")
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await press(pilot, "y")
        await until(lambda: "is first now" in notes(pilot.app), 10)
        role = read(home, lambda omni: omni.fleet.role("research_lead"))
        assert role.models[0].model == HAIKU
        await press(pilot, "u")
        await until(lambda: "took back role.switch research_lead" in notes(pilot.app), 10)
        assert read(home, lambda omni: omni.fleet.role("research_lead")) == before


async def test_an_ab_test_begun_looked_at_and_ended(home: Path) -> None:
    async with opened(home, "compare", (120, 40)) as pilot:
        pane = pilot.app.query_one(ComparePane)
        pane.draft = DRAFT
        await run(pilot)
        pilot.app.query_one(Table).move_cursor(row=0)
        await settle(pilot)
        for ending in ("s", "p"):
            await press(pilot, "b", "=research", "enter")
            form = pilot.app.screen
            assert isinstance(form, FormScreen)
            form.query_one("#in-share", Input).value = "200%"
            await settle(pilot)
            assert "a share such as" in shown(pilot.app, "#trouble-share")
            form.query_one("#in-share", Input).value = "25%"
            await press(pilot, "ctrl+s")
            (test,) = read(home, lambda omni: omni.abtests.tests())
            assert (test.role, test.challenger, test.share) == ("research_lead", HAIKU, 0.25)
            await settle(pilot)
            assert "A/B tests: research_lead" in shown(pilot.app, "#verdict")
            await press(pilot, "t")
            assert isinstance(pilot.app.screen, AbTestsScreen)
            await press(pilot, ending)
            if ending == "p":
                assert isinstance(pilot.app.screen, ConfirmScreen)
                await press(pilot, "y")
            await until(lambda: not read(home, lambda omni: omni.abtests.tests()), 10)
            await settle(pilot)
            await press(pilot, "escape")
        role = read(home, lambda omni: omni.fleet.role("research_lead"))
        assert role.models[0].model == HAIKU


async def test_from_a_models_page(home: Path) -> None:
    async with opened(home, "fleet", (120, 40)) as pilot:
        await press(pilot, "enter")
        screen = pilot.app.screen
        assert isinstance(screen, ModelScreen)
        model = screen._model
        await press(pilot, "r", "=strategy", "enter", "y")
        await until(lambda: "is first now" in notes(pilot.app), 10)
        assert read(home, lambda o: o.fleet.role("strategy")).models[0].model == model
        await settle(pilot)
        await press(pilot, "u")
        await until(lambda: "took back role.switch strategy" in notes(pilot.app), 10)
        await settle(pilot)
        await press(pilot, "v")
        await until(lambda: bool(pilot.app.query(ComparePane)), 10)
        await settle(pilot)
        assert pilot.app.query_one(ComparePane).draft.models[0] == model


async def test_from_the_catalogue(home: Path) -> None:
    async with opened(home, "catalogue", (120, 40)) as pilot:
        await press(pilot, "down", "space", "down", "space", "t")
        await until(lambda: bool(pilot.app.query(ComparePane)), 10)
        await settle(pilot)
        assert len(pilot.app.query_one(ComparePane).draft.models) == 2


async def test_a_suite_is_read_before_it_is_taken(home: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text('name = "mine"\n[[cases]]\nprompt = "x"\nexpect = "simulated"\n')
    async with opened(home, "compare", (120, 40)) as pilot:
        pane = pilot.app.query_one(ComparePane)
        pane.draft = Draft((HAIKU,))
        await press(pilot, "f")
        pilot.app.screen.query_one("#in-suite", Input).value = str(tmp_path / "none.toml")
        await press(pilot, "ctrl+s")
        assert "none.toml" in shown(pilot.app, "#said")
        pilot.app.screen.query_one("#in-suite", Input).value = str(suite)
        await press(pilot, "ctrl+s")
        await run(pilot)
        assert "mine" in shown(pilot.app, "#title")


async def test_four_at_most(home: Path) -> None:
    async with opened(home, "compare", (120, 40)) as pilot:
        await press(pilot, "m")
        for _ in range(5):
            await press(pilot, "enter", "down")
        assert "4 at most" in notes(pilot.app)
        await press(pilot, "ctrl+s")
        assert len(pilot.app.query_one(ComparePane).draft.models) == 4


async def test_what_was_put_together_survives_a_restart(home: Path) -> None:
    async with opened(home, "compare") as pilot:
        pilot.app.query_one(ComparePane).draft = DRAFT
        await press(pilot, "q")
    async with opened(home, "compare") as pilot:
        assert pilot.app.query_one(ComparePane).draft == DRAFT


def test_prompts_of_the_editor() -> None:
    assert split_prompts(" a\nb \n---\n\n --- \nc") == ("a\nb", "c")
    assert split_prompts(join_prompts(("a", "b\nc"))) == ("a", "b\nc")
    assert Draft.of({"models": ["a"] * 9, "judge": 3, "no": 1}) == Draft(("a",) * 4)
