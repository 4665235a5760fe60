"""How parts of the catalogue look (E2); the tab itself is in test_matrix.py."""

from collections.abc import Callable

import pytest

from omni_cli.tui.app import OmniApp
from tests.snapshot.steps import press

MakeApp = Callable[..., OmniApp]
Compare = Callable[..., bool]


@pytest.mark.parametrize(
    "keys",
    [
        ("v", "j", "l"),
        ("j", "space", "j", "j", "space", "v", "v"),
        ("slash", *"gpt", "enter", "c"),
        ("slash", *"nothing"),
        ("n",),
    ],
    ids=["grid", "compare", "filtered", "nothing", "add_model"],
)
def test_parts(snap_compare: Compare, make_app: MakeApp, keys: tuple[str, ...]) -> None:
    assert snap_compare(make_app("dark", "catalogue"), run_before=press(*keys))
