"""How Failover's dialogs look (E2); the tab itself is in test_matrix.py."""

from collections.abc import Callable

import pytest

from omni_cli.tui.app import OmniApp
from tests.snapshot.steps import press

MakeApp = Callable[..., OmniApp]
Compare = Callable[..., bool]


@pytest.mark.parametrize(
    "keys",
    [("enter", "J", "e", "9", "9"), ("a", *"gemi"), ("r",), ("delete",)],
    ids=["editing", "adding", "renaming", "deleting"],
)
def test_dialogs(snap_compare: Compare, make_app: MakeApp, keys: tuple[str, ...]) -> None:
    assert snap_compare(make_app("dark", "failover"), run_before=press(*keys))
