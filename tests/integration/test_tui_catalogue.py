"""The catalogue in the TUI: search, filter, compare, add; and a model of one's own (E2, A5, A6)."""

from decimal import Decimal
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Select

from omni_cli.domain.models import retired_for
from omni_cli.services.fleet.browse import Filters
from omni_cli.services.money.prices import utc_day
from omni_cli.tui.screens.catalogue import CataloguePane, FactsScreen
from omni_cli.tui.screens.model import ModelScreen
from omni_cli.tui.widgets.form import FormScreen
from omni_cli.tui.widgets.picker import Choices
from omni_cli.tui.widgets.tiles import Tiles
from tests.integration.tui_pilot import copy_home, notes, opened, press, read, shown
from tests.snapshot.scene import clock
from tests.snapshot.steps import settle

HAIKU = "anthropic/claude-3-5-haiku-20241022"


@pytest.fixture
def home(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_home(tmp_path / "omni", tmp_path_factory.mktemp("scene"), past=False)


def tiles(pilot: Pilot[None]) -> Tiles:
    return pilot.app.query_one(Tiles)


def ids(pilot: Pilot[None]) -> list[str]:
    return [key for key in tiles(pilot).keys if not key.startswith("@")]


async def go_to(pilot: Pilot[None], key: str) -> None:
    tiles(pilot).focus()
    tiles(pilot).cursor = tiles(pilot).keys.index(key)
    await settle(pilot)


async def test_providers_fold_by_key_and_mouse(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        assert HAIKU in ids(pilot)
        assert "@openrouter" in tiles(pilot).keys
        assert not any(name.startswith("openrouter/") for name in ids(pilot))
        await press(pilot, "g", "enter")
        assert tiles(pilot).chosen == "@anthropic"
        assert HAIKU not in ids(pilot)
        await pilot.click(tiles(pilot), offset=(5, 0))
        await settle(pilot)
        assert HAIKU in ids(pilot)
        await go_to(pilot, "@groq")
        await press(pilot, "enter")
        assert any(name.startswith("groq/") for name in ids(pilot))


async def test_search_narrows_as_one_types_in_all_providers(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await press(pilot, "slash", "=haiku 3")
        found = ids(pilot)
        assert HAIKU in found
        assert any(name.startswith("openrouter/") for name in found)
        assert all("haiku" in name for name in found)
        await press(pilot, "=no such thing")
        assert "No model is like that" in shown(pilot.app, "#empty")
        await press(pilot, "enter")
        pilot.app.query_one(CataloguePane).action_clear()
        await settle(pilot)
        assert "clears the filters" not in shown(pilot.app, "#count")


async def test_filters_agree_with_the_service(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await press(pilot, "o")
        for key, filters in (
            ("c", Filters(capabilities=("vision",))),
            ("m", Filters(free=True)),
            ("y", Filters(quality="high")),
            ("z", Filters(speed="fast")),
            ("Y", Filters(quality="basic")),
        ):
            await press(pilot, key)
            expected = read(home, lambda o, f=filters: o.browser.find(o.models.all(), f, "name"))
            assert ids(pilot) == [row.model.id for row in expected], key
            assert expected  # nothing was measured yet: fast is what is foreseen to be
            pilot.app.query_one(CataloguePane).action_clear()
            await settle(pilot)


async def test_filter_by_provider_and_orders(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        bar = pilot.app.query_one("#filters", Choices)
        await press(pilot, "p")
        assert bar.values["provider"] == "connected"
        assert {name.partition("/")[0] for name in ids(pilot)} == read(
            home, lambda omni: {provider.slug for provider in omni.providers.all()}
        )
        await press(pilot, "p")
        assert {name.partition("/")[0] for name in ids(pilot)} == {bar.values["provider"]}
        await pilot.click(bar, offset=(3, 0))
        await settle(pilot)
        assert {name.partition("/")[0] for name in ids(pilot)} == {bar.values["provider"]}
        orders = pilot.app.query_one("#display", Choices)
        for _ in range(7):
            await press(pilot, "o")
            order, slug = orders.values["order"], bar.values["provider"]
            expected = read(
                home,
                lambda omni, order=order, slug=slug: omni.browser.find(
                    omni.models.all(), Filters(providers=(slug,)), order
                ),
            )
            today = utc_day(int(clock() * 1000))
            gone = [r.model.id for r in expected if retired_for(r.model.retired_on, today)]
            served = [r.model.id for r in expected if r.model.id not in gone]
            assert ids(pilot) == served + gone


async def test_enter_shows_facts_and_opens_the_model(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await go_to(pilot, HAIKU)
        await press(pilot, "enter")
        assert isinstance(pilot.app.screen, FactsScreen)
        said = "\n".join(str(w.content) for w in pilot.app.screen.query("Static"))
        assert HAIKU in said
        assert "input $0.80" in said
        await press(pilot, "o")
        assert isinstance(pilot.app.screen, ModelScreen)


async def test_adding_activates_once(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await go_to(pilot, HAIKU)
        await press(pilot, "a")
        assert read(home, lambda omni: omni.models.get(HAIKU)).status == "active"
        assert "is active" in notes(pilot.app)
        before = read(home, lambda omni: omni.audit.revisions(limit=1)[0].number)
        await press(pilot, "a")
        assert "is active already" in notes(pilot.app)
        assert read(home, lambda omni: omni.audit.revisions(limit=1)[0].number) == before


async def test_a_model_of_a_stranger_says_what_to_do_first(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await go_to(pilot, "@groq")
        await press(pilot, "enter", "j", "a")
        assert "connect groq first" in notes(pilot.app)


async def test_compares_four_at_most(home: Path) -> None:
    async with opened(home, "catalogue", (120, 40)) as pilot:
        await press(pilot, "v", "v")
        assert "Mark two to four" in shown(pilot.app, "#comparison")
        await press(pilot, "v")
        names = []
        for name in [n for n in ids(pilot) if n.startswith(("anthropic/", "openai/"))][:5]:
            await go_to(pilot, name)
            await press(pilot, "space")
            names.append(read(home, lambda omni, n=name: omni.models.get(n)).name)
        assert "4 models at most" in notes(pilot.app)
        await press(pilot, "V")
        lines = shown(pilot.app, "#comparison").splitlines()
        assert all(name[:20] in lines[0] for name in names[:4])
        assert names[4] not in lines[0]
        price = next(line for line in lines if line.startswith("Input /1M"))
        assert price.count("★") >= 1
        assert "4 of 4 marked" in shown(pilot.app, "#count")


async def test_the_grid_moves_in_two_directions(home: Path) -> None:
    async with opened(home, "catalogue", (120, 40)) as pilot:
        await press(pilot, "v", "g")
        grid = tiles(pilot)
        assert grid.across == 3
        await press(pilot, "l", "j")
        assert grid.cursor == 4
        await press(pilot, "h", "k")
        assert grid.cursor == 0
        await press(pilot, "k")
        assert grid.cursor == 0
        await press(pilot, "pagedown", "G")
        assert grid.cursor == len(grid.keys) - 1
        await pilot.click(grid, offset=(5, grid.size.height - 4))
        await settle(pilot)
        assert isinstance(pilot.app.screen, FactsScreen)


async def test_where_the_user_was_survives_a_restart(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await go_to(pilot, HAIKU)
        await press(pilot, "space", "c", "p", "p", "o", "o", "v", "slash", "=claude", "enter", "q")
    async with opened(home, "catalogue") as pilot:
        pane = pilot.app.query_one(CataloguePane)
        kept = pane.remember()
        assert kept["search"] == "claude"
        assert kept["filters"]["capability"] == "vision"
        assert kept["filters"]["provider"] == "anthropic"
        assert kept["display"] == {"view": "grid", "order": "cost"}
        assert kept["marked"] == [HAIKU]
        assert pane.has_class("-grid")
        assert ids(pilot)
        assert all(name.startswith("anthropic/") for name in ids(pilot))


async def fill(pilot: Pilot[None], **values: str) -> None:
    for name, value in values.items():
        widget = pilot.app.screen.query_one(f"#in-{name}")
        assert isinstance(widget, Input | Select)
        widget.value = value
    await settle(pilot)


async def test_add_model_checks_computes_and_activates(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await press(pilot, "n")
        await fill(
            pilot,
            provider="ollama",
            wire_name="qwen3:8b",
            name="Qwen 3",
            aliases="q3",
            context="128K",
            badges="streaming, reasoning",
            scores="coding=80",
            parameters="70",
            price_input="0.10",
            price_output="0.20",
        )
        assert "complexity factor 70 / 175 = 0.400" in shown(pilot.app, "#note")
        await press(pilot, "ctrl+s")
        model = read(home, lambda omni: omni.models.get("ollama/qwen3:8b"))
        assert (model.name, model.context_window, model.status) == ("Qwen 3", 128_000, "active")
        assert model.badges == {"streaming", "reasoning"}
        assert model.scores == {"coding": 80.0}
        assert model.complexity_factor == pytest.approx(0.4)
        price = read(home, lambda omni: omni.browser.prices.current(model.id))
        assert price.price.output.base == Decimal("0.20")
        assert model.id in ids(pilot)


async def test_add_model_says_what_does_not_fit(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await press(pilot, "n")
        for name, value, said in (
            ("context", "many", "number of tokens"),
            ("max_output", "0", "number of tokens"),
            ("badges", "flying", "no badge"),
            ("scores", "coding=101", "name=0..100"),
            ("scores", "taste=5", "name=0..100"),
            ("parameters", "-7", "above 0"),
            ("price_input", "NaN", "an amount"),
            ("aliases", "a/b", "no slash"),
            ("wire_name", "two words", "API takes"),
        ):
            await fill(pilot, **{"wire_name": "new-one", name: value})
            assert said in shown(pilot.app, f"#trouble-{name}")
            await press(pilot, "ctrl+s")
            assert isinstance(pilot.app.screen, FormScreen), name
            assert read(home, lambda omni: omni.models.get("anthropic/new-one")) is None
            await fill(pilot, **{name: ""})


async def test_add_model_tells_free_from_unknown(home: Path) -> None:
    async with opened(home, "catalogue") as pilot:
        await press(pilot, "n")
        await fill(pilot, wire_name="new-one")
        assert "unknown cost" in shown(pilot.app, "#note")
        await fill(pilot, price_input="0")
        assert "needs input and output" in shown(pilot.app, "#note")
        await fill(pilot, price_output="0")
        assert shown(pilot.app, "#note").endswith("free")
        await press(pilot, "ctrl+s")
        price = read(home, lambda omni: omni.browser.prices.current("anthropic/new-one"))
        assert price.price.state == "free"
