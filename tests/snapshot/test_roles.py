"""Roles with rules, the effect of a switch, and History."""

from collections.abc import Callable

import pytest

from omni_cli.tui.app import OmniApp
from tests.snapshot.steps import press


@pytest.mark.parametrize(("size", "theme"), [((120, 40), "light")])
@pytest.mark.parametrize(("tab", "keys"), [("roles", ("down", "right")), ("history", ("j",))])
def test_screen(
    snap_compare: Callable[..., bool],
    make_app: Callable[..., OmniApp],
    tab: str,
    keys: tuple[str, ...],
    size: tuple[int, int],
    theme: str,
) -> None:
    assert snap_compare(make_app(theme, tab), terminal_size=size, run_before=press(*keys))


def test_the_effect_of_a_switch(
    snap_compare: Callable[..., bool], make_app: Callable[..., OmniApp]
) -> None:
    app = make_app("dark", "roles")
    assert snap_compare(app, terminal_size=(100, 30), run_before=press("down", "right", "enter"))
