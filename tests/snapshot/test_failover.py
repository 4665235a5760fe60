"""How Failover looks: at two sizes and in two themes (E2)."""

from collections.abc import Callable

import pytest

from omni_cli.tui.app import OmniApp
from tests.snapshot.steps import press

MakeApp = Callable[..., OmniApp]
Compare = Callable[..., bool]


@pytest.mark.parametrize("theme", ["dark", "light"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_screen(
    snap_compare: Compare, make_app: MakeApp, size: tuple[int, int], theme: str
) -> None:
    app = make_app(theme, "failover")
    assert snap_compare(app, terminal_size=size, run_before=press())


@pytest.mark.parametrize(
    "keys",
    [("enter", "J", "e", "9", "9"), ("a", *"gemi"), ("r",), ("delete",)],
    ids=["editing", "adding", "renaming", "deleting"],
)
def test_dialogs(snap_compare: Compare, make_app: MakeApp, keys: tuple[str, ...]) -> None:
    assert snap_compare(make_app("dark", "failover"), run_before=press(*keys))


def test_empty(snap_compare: Compare, make_app: MakeApp) -> None:
    """It says what a chain is for, and the key that makes one."""
    assert snap_compare(make_app("dark", "failover", empty=True), run_before=press())
