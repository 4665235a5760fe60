"""How Costs looks: at two sizes and in two themes (E2)."""

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
    app = make_app(theme, "costs")
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_wide(snap_compare: Compare, make_app: MakeApp) -> None:
    app = make_app("dark", "costs")
    assert snap_compare(app, terminal_size=(200, 60), run_before=press())


def test_empty(snap_compare: Compare, make_app: MakeApp) -> None:
    assert snap_compare(make_app("dark", "costs", empty=True), run_before=press())
