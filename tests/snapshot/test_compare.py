"""How Compare looks under way, and its dialogs (E2); the tab itself is in test_matrix.py."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from omni_cli.tui.app import OmniApp
from omni_cli.tui.comparing import Draft, News
from omni_cli.tui.screens.compare import ComparePane
from tests.snapshot.steps import press, settle

MakeApp = Callable[..., OmniApp]
Compare = Callable[..., bool]

DRAFT = Draft(
    ("anthropic/claude-sonnet-4-20250514", "deepseek/deepseek-chat"),
    ("Why does this fail?", "Write a test for it."),
    scorer="contains",
    expect="KeyError",
    judge="openai/gpt-4-turbo",
    iterations="3",
    max_cost="0.50",
)


class _Stopped:
    stopping = False


async def _under_way(pilot: Pilot[Any]) -> None:
    await settle(pilot)
    pane = pilot.app.query_one(ComparePane)
    pane.draft = DRAFT
    pane._live = _Stopped()  # type: ignore[assignment]  # only what is drawn of it
    pane._news = News(
        (
            ("anthropic/claude-sonnet-4-20250514", 4, 1, 6),
            ("deepseek/deepseek-chat", 6, 0, 6),
            ("judge openai/gpt-4-turbo", 0, 0, 4),
        ),
        spent_nusd=12_400_000,
        left_nusd=487_600_000,
    )
    pane._draw()
    await settle(pilot)
    pane._live = None


@pytest.mark.parametrize("size", [(80, 24), (120, 40)], ids=["80x24", "120x40"])
def test_under_way(snap_compare: Compare, make_app: MakeApp, size: tuple[int, int]) -> None:
    app = make_app("dark", "compare")
    assert snap_compare(app, terminal_size=size, run_before=_under_way)


@pytest.mark.parametrize("key", ["m", "p", "o", "t", "b"])
def test_dialogs(snap_compare: Compare, make_app: MakeApp, key: str) -> None:
    app = make_app("dark", "compare")
    assert snap_compare(app, terminal_size=(100, 30), run_before=press(key))


def test_answers_one_below_the_other(snap_compare: Compare, make_app: MakeApp) -> None:
    app = make_app("light", "compare")
    assert snap_compare(app, terminal_size=(60, 24), run_before=press("v"))
