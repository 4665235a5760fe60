"""Options that mean one thing wherever they stand."""

from typing import Any

import pytest
import typer

from omni_cli.cli.app import app

ONLY_SHOW = {"--dry-run", "--plan"}
WRITE = {"--apply", "--yes", "-y"}


def _options(*words: str) -> list[set[str]]:
    """The spellings of each option of a command."""
    found: Any = typer.main.get_command(app)
    for word in words:
        found = found.get_command(None, word) if hasattr(found, "get_command") else found
    return [set(option.opts) for option in found.params]


@pytest.mark.parametrize(
    "words", [("apply",), ("rollback",), ("init",), ("import",), ("db", "prune")]
)
def test_what_only_shows_is_one_option(words: tuple[str, ...]) -> None:
    assert ONLY_SHOW in _options(*words)


@pytest.mark.parametrize(
    "words", [("apply",), ("init",), ("import",), ("discover",), ("optimize",), ("reconcile",)]
)
def test_what_writes_without_asking_is_one_option(words: tuple[str, ...]) -> None:
    assert WRITE in _options(*words)
