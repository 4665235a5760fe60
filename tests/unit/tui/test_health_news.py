"""Toasts about providers: what changed is told, and one that goes to and fro only now and then."""

from types import SimpleNamespace
from typing import Any

import pytest

from omni_cli.tui.widgets import status
from omni_cli.tui.widgets.status import QUIET_S, StatusLine


def _seen(line: StatusLine, clock: list[float], states: list[tuple[float, str]]) -> list[str]:
    told: list[Any] = []
    line.post_message = told.append  # type: ignore[assignment,method-assign]  # no app runs here
    for at, state in states:
        clock[0] = at
        card = SimpleNamespace(
            provider=SimpleNamespace(slug="lab", name="Lab"), state=state, why=""
        )
        line._tell_changes(SimpleNamespace(providers=[card]))  # type: ignore[arg-type]  # what is read of it
    return [words for event in told for words, _, _ in event.told()]


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ([(0, "healthy"), (1, "error")], ["Lab: down"]),
        ([(0, "unknown"), (1, "healthy")], []),
        ([(0, "unknown"), (1, "error")], ["Lab: down"]),
        ([(0, "error"), (1, "off"), (2, "healthy")], []),
        (
            [(0, "healthy"), (1, "error"), (4, "healthy"), (7, "warning"),
             (1 + QUIET_S, "warning")],
            ["Lab: down", "Lab: in trouble"],
        ),
        ([(0, "error"), (1, "healthy"), (4, "error"), (1 + QUIET_S, "error")], [
            "Lab: well again", "Lab: down"]),
    ],
)  # fmt: skip
def test_what_is_told(
    states: list[tuple[float, str]], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(status.time, "monotonic", lambda: clock[0])
    assert _seen(StatusLine(loader=None), clock, states) == told  # type: ignore[arg-type]  # not read here
