"""Models that their providers stop serving: nobody puts them to work without being asked."""

from pathlib import Path

import pytest
from textual.widgets import Input

from omni_cli.bootstrap import App
from omni_cli.domain.models import ModelInfo, is_leaving, retired_for, retirement_words
from omni_cli.tui.app import OmniApp
from omni_cli.tui.catalogue_view import retired
from omni_cli.tui.screens.catalogue import CataloguePane
from omni_cli.tui.widgets.form import ConfirmScreen
from tests.integration.cli.conftest import Omni
from tests.snapshot.steps import settle

#: Retired on 2025-07-21, by the catalogue.
GONE = "anthropic/claude-2"


@pytest.fixture
def connected(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")
    with App({"OMNI_HOME": str(home), "USER": "tester"}) as app:
        preset = app.presets["anthropic"]
        from omni_cli.domain.models import Provider

        app.fleet.put_provider(Provider("anthropic", preset.name, preset.protocol, preset.base_url))
    return home


def status(home: Path, model: str) -> str:
    with App({"OMNI_HOME": str(home)}) as app:
        return app.fleet.model(model).status


@pytest.mark.parametrize(
    "command",
    [
        ("models", "activate", GONE),
        ("models", "add", GONE),
        ("roles", "assign", "coder", GONE),
        ("rules", "add", "taskType == 'coding'", GONE),
        ("config", "set", "general.premium_model", GONE),
        ("init", "--premium", GONE, "--no-local"),
    ],
)
def test_a_retired_model_needs_a_yes(omni: Omni, connected: Path, command: tuple[str, ...]) -> None:
    with App({"OMNI_HOME": str(connected)}) as app:
        before = app.fleet.document()
    refused = omni(*command)
    assert refused.code == 2
    assert "stopped serving it on 2025-07-21" in refused.err
    assert "--yes" in refused.err
    with App({"OMNI_HOME": str(connected)}) as app:
        assert app.fleet.document() == before
        assert not app.config.general.premium_model
    assert omni(*command, "--yes").code == 0
    with App({"OMNI_HOME": str(connected)}) as app:
        taken = app.config.general.premium_model == GONE or app.fleet.model(GONE).status == "active"
    assert taken


def test_a_switch_to_a_retired_model_needs_a_yes(omni: Omni, connected: Path) -> None:
    omni("roles", "assign", "coder", "anthropic/claude-sonnet-4-5")
    refused = omni("roles", "switch", "coder", GONE)
    assert refused.code == 2
    assert omni("roles", "switch", "coder", GONE, "--yes", "--no-verify").code == 0
    assert status(connected, GONE) == "active"
    # Once it is at work nobody is asked again.
    assert omni("roles", "assign", "writer", GONE).code == 0


async def test_the_screen_sinks_what_is_retired_and_asks_before_it_takes_it(
    connected: Path,
) -> None:
    screens = OmniApp({"OMNI_HOME": str(connected), "USER": "t"}, tab="catalogue", theme="dark")
    async with screens.run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        pane = screens.query_one(CataloguePane)
        assert pane._view is not None
        rows = [row.model for row in pane._view.found]
        gone = [bool(retired(model, pane._view)) for model in rows]
        assert gone == sorted(gone)  # last of all
        assert any(gone)
        other = next(m.id for m in rows if m.name == "Claude Sonnet 4.5")
        for name in (GONE, other):
            await pilot.press("slash")
            screens.query_one("#search", Input).value = name
            await pilot.press("enter")
            await settle(pilot)
            # Under the cursor, not the heading above it; what is called just so comes first.
            assert pane.chosen is not None
            assert pane.chosen.model.id == name
            await pilot.press("a")
            await settle(pilot)
            if name == GONE:
                question = screens.screen
                assert isinstance(question, ConfirmScreen)
                assert "stopped serving it on 2025-07-21" in question._detail
                await pilot.press("n")
                await settle(pilot)
    assert status(connected, GONE) == "standby"
    assert status(connected, other) == "active"


def test_the_right_tense_everywhere(omni: Omni, connected: Path) -> None:
    assert "stopped serving it on 2025-07-21" in omni("models", "show", GONE).out
    assert retired_for("2025-07-21", "2026-11-28") == "retired 16 months ago"
    assert retired_for("2026-11-27", "2026-11-28") == "retired 1 day ago"
    assert retired_for("2026-11-29", "2026-11-28") == retired_for(None, "2026-11-28") == ""
    assert retirement_words("2026-06-15", "2026-06-15") == "stopped serving it on 2026-06-15"
    assert retirement_words("2026-06-16", "2026-06-15") == "stops serving it on 2026-06-16"


@pytest.mark.parametrize(
    ("retired_on", "leaving"),
    [(None, False), ("2026-01-01", True), ("2026-06-15", True), ("2026-09-13", True),
     ("2026-09-14", False)],
)  # fmt: skip
def test_who_counts_as_leaving(retired_on: str | None, leaving: bool) -> None:
    model = ModelInfo("p/m", "p", "m", "M", retired_on=retired_on)
    assert is_leaving(model, "2026-06-15") is leaving


def test_the_premium_model_is_the_best_and_never_one_that_leaves(
    omni: Omni, connected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "GEMINI_API_KEY", "DEEPSEEK_API_KEY"):
        monkeypatch.setenv(name, "sk-test")
    proposed = omni("init", "--dry-run", "--no-local", "--json").data
    paid = [m for m in proposed["models"] if m["average_usd_per_1m"] not in (None, "0")]
    best = max(round(m["quality"], 2) for m in paid)
    leaders = [m for m in paid if round(m["quality"], 2) == best]
    least = min(float(m["average_usd_per_1m"]) for m in leaders)
    (chosen,) = [m for m in paid if m["model"] == proposed["premium_model"]]
    assert round(chosen["quality"], 2) == best
    assert float(chosen["average_usd_per_1m"]) == least
    # A retired model that is at work already becomes neither the baseline nor a role's model.
    assert omni("models", "activate", GONE, "--yes").code == 0
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("GEMINI_API_KEY")
    monkeypatch.delenv("DEEPSEEK_API_KEY")
    again = omni("init", "--dry-run", "--no-local", "--json").data
    assert again["premium_model"] is None
    assert GONE not in str(again["roles"]) + str(again["chain"])
