"""How parts of Usage look (E2); the tab itself is in test_matrix.py."""

from collections.abc import Callable

import pytest

from omni_cli.tui.app import OmniApp
from tests.snapshot.steps import press

MakeApp = Callable[..., OmniApp]
Compare = Callable[..., bool]


@pytest.mark.parametrize("keys", [("P", "P", "d"), ("b",), ("c",)], ids=["hours", "costs", "dates"])
def test_parts(snap_compare: Compare, make_app: MakeApp, keys: tuple[str, ...]) -> None:
    assert snap_compare(make_app("dark", "usage"), run_before=press(*keys))


def test_without_colour(
    snap_compare: Compare, make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Series differ by their fills."""
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(make_app("dark", "usage"), run_before=press())
