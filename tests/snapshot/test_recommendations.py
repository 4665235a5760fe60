"""The Recommendations tab: how it looks, and apply, dismiss and undo with one key each."""

from collections.abc import Callable

from omni_cli.tui.app import OmniApp
from omni_cli.tui.screens.recommendations import RecommendationsPane
from tests.snapshot.steps import settle

MakeApp = Callable[..., OmniApp]


async def test_apply_and_undo_with_one_key(make_app: MakeApp) -> None:
    app = make_app("dark", "recommendations")
    async with app.run_test(size=(120, 40)) as pilot:
        pane = app.query_one(RecommendationsPane)
        first = await settled(pilot, pane, lambda found: bool(found))
        target = next(a for a in first.values() if a.finding.action.kind != "none")
        while pane._chosen() is None or pane._chosen().advice.id != target.id:
            await pilot.press("j")
            await pilot.pause()
        await pilot.press("a")
        now = await settled(pilot, pane, lambda f: f[target.id].status == "applied")
        assert now[target.id].undo
        await pilot.press("u")
        # As open as before, with the keys still in the pane.
        await settled(pilot, pane, lambda f: target.id in f and f[target.id].status == "pending")
        assert pane in app.focused.ancestors
        await pilot.press("v")
        await settled(pilot, pane, lambda f: target.id in f)


async def test_undo_in_another_tab_opens_it_again(make_app: MakeApp) -> None:
    """The fleet was as before, and the recommendation still called applied, with its saving."""
    app = make_app("dark", "recommendations")

    def applied() -> list[int]:
        with app.loader.session() as omni:
            every = omni.telling.every(decided=True)
            return [told.advice.id for told in every if told.advice.status == "applied"]

    async with app.run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        for _ in range(3):  # the first that is not left to a person
            await pilot.press("a")
            await settle(pilot)
            if applied():
                break
            await pilot.press("down")
            await settle(pilot)
        assert applied()
        await pilot.press("1")
        await settle(pilot)
        await pilot.press("u")
        await settle(pilot)
        assert applied() == []


async def test_dismissed_ones_leave_the_list(make_app: MakeApp) -> None:
    app = make_app("dark", "recommendations")
    async with app.run_test(size=(120, 40)) as pilot:
        pane = app.query_one(RecommendationsPane)
        await settled(pilot, pane, lambda found: bool(found))
        await pilot.pause()
        chosen = pane._chosen()
        assert chosen is not None
        await pilot.press("d")
        await settled(pilot, pane, lambda found: chosen.advice.id not in found)


async def settled(pilot: object, pane: RecommendationsPane, until: Callable[[dict], bool]) -> dict:
    """The recommendations by id once ``until`` holds for them."""
    for _ in range(200):
        found = {told.advice.id: told.advice for told in pane._found}
        try:
            if until(found):
                return found
        except KeyError:
            pass
        await pilot.pause(0.02)
    raise AssertionError(f"never so: {pane._found}")
