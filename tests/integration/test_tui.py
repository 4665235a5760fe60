"""What the TUI does: driven by keys and the mouse on a fleet of the simulator's (E2)."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from textual.app import App as TextualApp
from textual.pilot import Pilot
from textual.widgets import Input, Markdown, Static

from omni_cli.bootstrap import App
from omni_cli.domain.record import replace
from omni_cli.simulator import Simulator
from omni_cli.simulator import fleet as simulated
from omni_cli.tui.app import OmniApp
from omni_cli.tui.screens.chat import ChatPane, News, Question
from omni_cli.tui.screens.model import ChecksScreen, ModelScreen
from omni_cli.tui.screens.providers import ProvidersPane
from omni_cli.tui.screens.receipt import ReceiptScreen
from omni_cli.tui.widgets.form import ConfirmScreen, FormScreen
from omni_cli.tui.widgets.frames import FramedTiles
from omni_cli.tui.widgets.status import StatusLine
from omni_cli.tui.widgets.table import Table
from tests.snapshot.scene import env_of, make_home
from tests.snapshot.steps import settle

SONNET = "anthropic/claude-sonnet-4-20250514"
LISTED = next(len(p.models) for p in simulated.PROVIDERS if p.slug == "anthropic")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(seed=3) as running:
        yield running


@pytest.fixture
def home(simulator: Simulator, tmp_path: Path) -> Path:
    folder = tmp_path / "omni"
    make_home(folder, url=simulator.url, past=False)
    return folder


@asynccontextmanager
async def opened(
    home: Path, tab: str = "fleet", size: tuple[int, int] = (100, 30)
) -> AsyncIterator[Pilot[None]]:
    app = OmniApp(env_of(home), tab=tab, theme="dark")
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        yield pilot


def read(home: Path, what: Callable[[App], Any]) -> Any:
    """Ask the store itself, through a connection of its own."""
    with App(env_of(home)) as omni:
        return what(omni)


async def until(truth: Callable[[], bool], seconds: float = 5.0) -> float:
    """Wait for it; returns how long that took."""
    started = time.monotonic()
    while not truth():
        assert time.monotonic() - started < seconds, "it did not come true"
        await asyncio.sleep(0.02)
    return time.monotonic() - started


def shown(app: TextualApp[Any], selector: str) -> str:
    return str(app.screen.query_one(selector, Static).content)


def open_model(app: TextualApp[Any]) -> None:
    assert isinstance(app, OmniApp)
    app.push_screen(ModelScreen(app.loader, SONNET))


def notes(app: TextualApp[Any]) -> str:
    return "\n".join(f"{n.title}: {n.message}" for n in app._notifications)


async def test_test_connection_says_the_latency(home: Path) -> None:
    async with opened(home, "providers") as pilot:
        app = pilot.app
        assert isinstance(app, OmniApp)
        pilot.app.query_one("#providers FramedTiles", FramedTiles).choose("anthropic")
        await pilot.press("x")
        await until(lambda: f"lists {LISTED} models" in notes(app))
        assert "ms" in notes(app)
        status, test = read(
            home,
            lambda o: (o.fleet.provider("anthropic").status, o.providers.last_test("anthropic")),
        )
        assert status == "connected"
        assert test[2] is None
        # Tests are limited to one in five seconds: the second one waits for its turn.
        app.clear_notifications()
        await pilot.press("x")
        await until(lambda: f"lists {LISTED} models" in notes(app), 15)
        assert "was tested" not in notes(app)


async def test_a_failed_test_shows_the_providers_words(home: Path, simulator: Simulator) -> None:
    simulator.fault("503", "anthropic/*")
    async with opened(home, "providers") as pilot:
        pilot.app.query_one("#providers FramedTiles", FramedTiles).choose("anthropic")
        await pilot.press("x")
        await until(lambda: "anthropic failed" in notes(pilot.app))
        await until(
            lambda: (
                pilot.app.query_one(ProvidersPane).card is not None
                and pilot.app.query_one(ProvidersPane).card.state == "error"
            )
        )


async def test_what_goes_down_is_told_without_a_key_and_its_models_go_with_it(
    home: Path, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As shipped: nobody asks, nothing is called, and within two rounds of checks it is said."""
    with Simulator(seed=3) as gone:
        with App(env_of(home)) as omni:
            provider = omni.fleet.provider("anthropic")
            omni.fleet.put_provider(
                replace(provider, base_url=provider.base_url.replace(simulator.url, gone.url))
            )
        app = OmniApp(env_of(home), tab="providers", theme="dark", probing=True)
        async with app.run_test(size=(120, 40)) as pilot:
            status = app.query_one(StatusLine)
            await until(lambda: "5/6 healthy" in str(status.render()), 10)
            bells: list[int] = []
            monkeypatch.setattr(app, "bell", lambda: bells.append(1))
            await asyncio.to_thread(gone.__exit__, None, None, None)
            await until(lambda: "Anthropic" in notes(app), 15)
            assert f"down: Nothing listens at {gone.url.removeprefix('http://')}" in notes(app)
            assert bells
            view = status._overview
            assert view is not None
            cards = {card.model.id: card for card in view.models}
            assert cards[SONNET].state == "error"
            assert cards[SONNET].medal is None
            # Below every model that works.
            states = [card.state for card in view.models]
            assert states.index("error") > max(
                at for at, state in enumerate(states) if state in ("healthy", "unknown")
            )
            await pilot.pause()


async def test_disable_and_enable_a_model(home: Path) -> None:
    def status() -> str:
        return str(read(home, lambda o: o.fleet.model(SONNET).status))

    async with opened(home) as pilot:
        cards = pilot.app.query_one(FramedTiles)
        cards.choose(SONNET)
        await pilot.press("d")
        await until(lambda: status() == "disabled")
        await until(lambda: "Disabled" in str(cards._frame(SONNET, 40).lines[0]))
        # the choice stays on the model though it moved to the end of the list
        assert cards.chosen == SONNET
        await pilot.press("d")
        await until(lambda: status() == "active")
        entries = read(home, lambda o: o.audit.entries(limit=2))
        assert {entry.target for entry in entries} == {SONNET}


async def test_add_a_provider_with_its_key_masked(home: Path, simulator: Simulator) -> None:
    async with opened(home, "providers") as pilot:
        await pilot.press("a", *"other", "enter")
        await settle(pilot)
        form = pilot.app.screen
        assert isinstance(form, FormScreen)
        # It asks for a name and an address, and complains only once it is to be saved.
        trouble = form.query_one("#trouble-slug")
        assert not trouble.display
        await pilot.press("ctrl+s")
        assert trouble.display
        assert "a short name" in shown(pilot.app, "#trouble-slug")
        await pilot.press(*"mine")
        form.query_one("#in-base_url", Input).value = f"{simulator.url}/openai/v1"
        key = form.query_one("#in-key", Input)
        key.focus()
        await pilot.press(*"secret-key-1234")
        await settle(pilot)
        assert key.password
        assert "secret-key" not in pilot.app.export_screenshot()
        await pilot.press("ctrl+r")
        await pilot.pause()
        assert not key.password
        assert "secret-key-1234" in pilot.app.export_screenshot()
        await pilot.press("ctrl+s")
        await until(lambda: "lists" in notes(pilot.app))  # tested at once
        provider = read(home, lambda o: o.fleet.provider("mine"))
        assert (provider.protocol, provider.auth_method) == ("openai", "api_key")
        assert read(home, lambda o: o.keys.get(provider)) == "secret-key-1234"
        assert "secret" not in (home / "omni.db").read_bytes().decode("latin-1")


async def test_a_refused_form_stays_open_and_says_why(home: Path) -> None:
    async with opened(home, "providers") as pilot:
        await pilot.press("a", *"other", "enter")
        await settle(pilot)
        await pilot.press(*"Bad")
        pilot.app.screen.query_one("#in-base_url", Input).value = "http://127.0.0.1:9/v1"
        await pilot.press("ctrl+s")
        await until(lambda: shown(pilot.app, "#said") != "")
        assert isinstance(pilot.app.screen, FormScreen)
        await pilot.press("escape")
        await settle(pilot)
        assert not isinstance(pilot.app.screen, FormScreen)
        assert read(home, lambda o: o.providers.get("Bad")) is None


async def test_removing_asks_first(home: Path) -> None:
    async with opened(home, "providers") as pilot:
        pilot.app.query_one("#providers FramedTiles", FramedTiles).choose("ollama")
        await settle(pilot)
        await pilot.press("delete")
        await settle(pilot)
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await pilot.press("n")
        await settle(pilot)
        assert read(home, lambda o: o.providers.get("ollama")) is not None
        await pilot.press("delete")
        await settle(pilot)
        await pilot.press("y")
        await until(lambda: read(home, lambda o: o.providers.get("ollama")) is None)


async def test_edit_a_models_price(home: Path) -> None:
    async with opened(home) as pilot:
        open_model(pilot.app)
        await settle(pilot)
        await pilot.press("e")
        await settle(pilot)
        box = pilot.app.screen.query_one("#in-input", Input)
        box.value = "-1"
        await pilot.pause()
        assert "0 or more" in shown(pilot.app, "#trouble-input")
        box.value = "2.5"
        await pilot.press("ctrl+s")
        await until(lambda: isinstance(pilot.app.screen, ModelScreen))
        rows = read(home, lambda o: o.browser.listed(o.fleet.model(SONNET)).price)
        assert rows.origin == "user"
        assert str(rows.price.input.base) == "2.5"
        # what the form does not show is kept
        assert str(rows.price.cache_write.base) == "3.75"
        await until(lambda: "$2.50" in shown(pilot.app, "#part-costs"))


async def test_diagnostics_and_a_real_call(home: Path) -> None:
    async with opened(home) as pilot:
        open_model(pilot.app)
        await settle(pilot)
        await pilot.press("i")
        await until(lambda: isinstance(pilot.app.screen, ChecksScreen))
        assert f"lists it among {LISTED} models" in str(pilot.app.screen.query_one(Static).content)
        await pilot.press("escape", "c")
        await settle(pilot)
        assert isinstance(pilot.app.screen, ConfirmScreen)
        await pilot.press("y")
        await until(lambda: "answered" in notes(pilot.app))
        row = read(home, lambda o: next(o.ledger.recent(limit=1)))
        assert (row.source, row.state, row.model) == ("test", "ok", SONNET)


async def ask(pilot: Pilot[Any], question: str) -> ChatPane:
    pane = pilot.app.query_one(ChatPane)
    pane.query_one("#prompt", Input).value = question
    await pilot.press("enter")
    return pane


async def test_chat_streams_and_shows_its_decision(home: Path) -> None:
    async with opened(home, "chat", size=(120, 40)) as pilot:
        pane = await ask(pilot, "Is the build server up?")
        await until(lambda: pane._last is not None and pane._last.done)
        await settle(pilot)
        row = read(home, lambda o: next(o.ledger.recent(limit=1)))
        assert row.state == "ok"
        assert row.model in shown(pilot.app, "#decision")
        assert "(simulated)" in shown(pilot.app, ".sum")
        # the second question goes on with the conversation
        await ask(pilot, "And now?")
        await until(
            lambda: pane._last is not None and pane._last.done and pane._last.request != row.id
        )
        again = read(home, lambda o: next(o.ledger.recent(limit=1)))
        assert again.conversation == row.conversation == row.id
        await pilot.press("ctrl+r")
        await settle(pilot)
        assert isinstance(pilot.app.screen, ReceiptScreen)
        await pilot.press("4")
        await until(lambda: read(home, lambda o: o.learning.outcomes_of(again.id)) != [])
        assert read(home, lambda o: o.learning.outcomes_of(again.id))[0][:2] == ("rating", 0.75)


async def test_escape_gives_up_a_silent_answer_and_settles(
    home: Path, simulator: Simulator
) -> None:
    simulator.fault("hang", "*")
    async with opened(home, "chat") as pilot:
        pane = await ask(pilot, "Is the build server up?")
        await until(lambda: pane._last is not None and pane._last.request is not None)
        await asyncio.sleep(0.2)
        await pilot.press("escape")
        took = await until(lambda: pane._last is not None and pane._last.done)
        assert took < 1.0
        row = read(home, lambda o: next(o.ledger.recent(limit=1)))
        assert row.state == "cancelled"
        await settle(pilot)
        assert "stopped" in shown(pilot.app, ".sum")


async def test_chat_draws_markdown_and_its_help_stays_beside_the_keys(home: Path) -> None:
    async with opened(home, "chat", size=(100, 30)) as pilot:
        pane = pilot.app.query_one(ChatPane)
        words = [part.region for part in pane.query(".words")]
        assert len({region.x for region in words}) == 1
        assert any(region.height > 1 for region in words)  # one wraps, beside its key
        answer = Static("# Plan")
        await pane.query_one("#log").mount(answer)
        pane._answer = answer
        told = "# Plan\n\n- one\n- `two`\n\n```python\nx = 1\n```"
        await pane._finish(News(Question("auto", "?"), text=told, done=True))
        await settle(pilot)
        drawn = pane.query_one(Markdown)
        assert len(drawn.query("MarkdownBullet")) == 2
        assert drawn.query("MarkdownFence")
        assert not answer.is_attached


async def test_escape_leaves_both_inputs_of_chat_for_the_jump_keys(home: Path) -> None:
    async with opened(home, "chat") as pilot:
        await pilot.press("ctrl+o", "escape", "escape", "7")
        await settle(pilot)
        assert pilot.app.pane.id == "budgets"  # type: ignore[attr-defined]  # OmniApp's
        assert pilot.app.query_one("#prompt", Input).value == ""


async def test_activity_filters_and_opens_the_receipt(home: Path) -> None:
    async with opened(home, "chat") as pilot:
        pane = await ask(pilot, "Is the build server up?")
        await until(lambda: pane._last is not None and pane._last.done)
        await pilot.press("escape")
        await pilot.press("8")
        await settle(pilot)
        table = pilot.app.query_one("#requests", Table)
        assert table.row_count == 1
        await pilot.press("slash", *"zzz")
        await settle(pilot)
        assert pilot.app.query_one("#activity").has_class("-empty")
        await pilot.press("escape")
        await settle(pilot)
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(pilot.app.screen, ReceiptScreen)
        assert "DECISION" in shown(pilot.app, "#receipt")


async def test_theme_tab_and_view_survive_a_restart(home: Path) -> None:
    app = OmniApp(env_of(home))
    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await pilot.press("t", "ctrl+t")
        await pilot.pause()
        theme = app.theme
        assert theme != "dark"
        await pilot.press("2")
        await settle(pilot)
        await pilot.press("q")
    again = OmniApp(env_of(home))
    async with again.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        assert again.theme == theme
        assert again.pane is not None
        assert again.pane.id == "providers"
        await pilot.press("1")
        await settle(pilot)
        assert again.pane.has_class("-table")


async def test_a_theme_taken_for_a_poor_terminal_is_not_remembered(home: Path) -> None:
    poor = OmniApp({**env_of(home), "TERM": "linux"})
    async with poor.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        assert poor.theme == "terminal"
        await pilot.press("q")
    assert OmniApp({**env_of(home), "TERM": "xterm-256color"}).theme == "dark"


async def test_a_broken_theme_is_told_and_left_out(home: Path) -> None:
    (home / "themes").mkdir()
    (home / "themes" / "mine.toml").write_text('title = "Mine"\n[colors]\nprimary = "#ff0000"\n')
    (home / "themes" / "bad.toml").write_text('[colors]\nprimary = "reddish"\n')
    async with opened(home) as pilot:
        app = pilot.app
        assert isinstance(app, OmniApp)
        assert "mine" in app.themes
        assert "bad" not in app.themes
        assert "no colour" in notes(app)
        app.theme = "mine"
        await pilot.pause()
        assert app.current_theme.primary == "#ff0000"


async def test_the_mouse_works(home: Path) -> None:
    async with opened(home) as pilot:
        await pilot.click("TabBar", offset=(12, 0))
        await settle(pilot)
        assert pilot.app.query_one("#providers").display
        tiles = pilot.app.query_one("#providers FramedTiles", FramedTiles)
        await pilot.click("#providers FramedTiles", offset=(5, 6))
        await settle(pilot)
        assert tiles.chosen == tiles.keys[1]


async def test_another_process_is_seen_within_two_seconds(home: Path) -> None:
    def row() -> str:
        return str(pilot.app.query_one(FramedTiles)._frame(SONNET, 40).lines[0])

    async with opened(home) as pilot:
        # Never called, though its provider answered a check: that proves no model.
        assert "Unknown" in row()
        subprocess.run(
            [sys.executable, "-m", "omni_cli", "models", "disable", SONNET],
            env={**env_of(home), "PATH": "", "PYTHONPATH": str(Path(__file__).parents[2])},
            check=True,
            capture_output=True,
            timeout=30,
        )
        assert await until(lambda: "Disabled" in row(), 2.0) < 2.0


async def test_a_store_that_does_not_open_is_said(tmp_path: Path) -> None:
    (tmp_path / "omni.db").write_bytes(b"this is no database, however long it may be" * 200)
    app = OmniApp(env_of(tmp_path))
    async with app.run_test() as pilot:
        await until(lambda: "cannot open the store" in notes(app))
        await pilot.press("q")
