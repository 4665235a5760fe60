"""How Budgets looks: at two sizes and in two themes (E2)."""

from collections.abc import Callable

import pytest

from omni_cli.tui.app import OmniApp
from tests.snapshot.steps import press

MakeApp = Callable[..., OmniApp]
Compare = Callable[..., bool]


@pytest.mark.parametrize(
    ("size", "theme"),
    [((80, 24), "dark"), ((120, 40), "light")],
    ids=["80x24", "120x40"],
)
def test_screen(
    snap_compare: Compare, make_app: MakeApp, size: tuple[int, int], theme: str
) -> None:
    app = make_app(theme, "budgets")
    assert snap_compare(app, terminal_size=size, run_before=press())


def test_form(snap_compare: Compare, make_app: MakeApp) -> None:
    assert snap_compare(make_app("dark", "budgets"), run_before=press("e"))


def test_empty(snap_compare: Compare, make_app: MakeApp) -> None:
    assert snap_compare(make_app("dark", "budgets", empty=True), run_before=press())
