"""How the catalogue looks: at two sizes and in two themes (E2)."""

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
    app = make_app(theme, "catalogue")
    assert snap_compare(app, terminal_size=size, run_before=press())


@pytest.mark.parametrize(
    "keys",
    [
        ("v", "j", "l"),
        ("j", "space", "j", "j", "space", "v", "v"),
        ("j", "j", "enter"),
        ("slash", *"gpt", "enter", "c"),
        ("slash", *"nothing"),
        ("n",),
    ],
    ids=["grid", "compare", "facts", "filtered", "nothing", "add_model"],
)
def test_parts(snap_compare: Compare, make_app: MakeApp, keys: tuple[str, ...]) -> None:
    assert snap_compare(make_app("dark", "catalogue"), run_before=press(*keys))


def test_without_a_fleet(snap_compare: Compare, make_app: MakeApp) -> None:
    """Every provider is there to look at, none is connected."""
    app = make_app("dark", "catalogue", empty=True)
    assert snap_compare(app, run_before=press())
