"""How Budgets looks: at two sizes and in two themes (E2)."""

from collections.abc import Callable

from omni_cli.tui.app import OmniApp
from tests.snapshot.steps import press

MakeApp = Callable[..., OmniApp]
Compare = Callable[..., bool]


def test_screen(snap_compare: Compare, make_app: MakeApp) -> None:
    app = make_app("light", "budgets")
    assert snap_compare(app, terminal_size=(120, 40), run_before=press())


def test_form(snap_compare: Compare, make_app: MakeApp) -> None:
    assert snap_compare(make_app("dark", "budgets"), run_before=press("e"))
