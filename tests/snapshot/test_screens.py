"""How the screens look (E2). Each tab, and most dialogs, at all sizes and in two themes are in
test_matrix.py."""

from collections.abc import Callable

import pytest

from omni_cli.tui.app import OmniApp
from omni_cli.tui.registry import TABS
from omni_cli.tui.widgets.status import fitting
from tests.snapshot.steps import press

MakeApp = Callable[..., OmniApp]
Compare = Callable[..., bool]


@pytest.mark.parametrize(
    ("tab", "keys"),
    [
        ("providers", ("a", *"openai")),
        ("providers", ("enter",)),
        ("providers", ("f",)),
        ("fleet", ("enter", "e")),
        ("activity", ("slash", *"nothing like this")),
    ],
    ids=[
        "add_provider",
        "provider_detail",
        "discovery",
        "edit_model",
        "activity_nothing",
    ],
)
def test_dialogs(snap_compare: Compare, make_app: MakeApp, tab: str, keys: tuple[str, ...]) -> None:
    keys = tuple("space" if key == " " else key for key in keys)
    assert snap_compare(make_app("dark", tab), run_before=press(*keys))


def test_without_colour(
    snap_compare: Compare, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(make_app("dark", "fleet"), run_before=press("j"))


def test_sixteen_colours(snap_compare: Compare, make_app: MakeApp) -> None:
    assert snap_compare(make_app("terminal", "providers"), run_before=press("j"))


@pytest.mark.parametrize("theme", ["high-contrast", "nord", "gruvbox", "catppuccin"])
def test_themes(snap_compare: Compare, make_app: MakeApp, theme: str) -> None:
    assert snap_compare(make_app(theme, "fleet"), run_before=press())


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("active", ["fleet", "recommendations"])
def test_tabs_fit_when_all_exist(width: int, active: str) -> None:
    """Thirteen tabs: the titles shorten, none is cut off, and each keeps its key."""
    pieces = fitting(TABS, active, width)
    assert sum(len(title) for _, title in pieces) <= width
    assert all(title.strip().startswith(tab.key) for tab, title in pieces)
    assert [tab for tab, _ in pieces] == list(TABS)
    if width == 120:
        assert all(tab.title in title or tab.id == "recommendations" for tab, title in pieces)
