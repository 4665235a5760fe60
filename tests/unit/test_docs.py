"""The pages of docs/: what they name exists, and what is made from the code is as the code is."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from omni_cli.cli.app import app
from omni_cli.domain.commands import ALIASES
from tests.paths import REPO
from tools import settings

PAGES = (REPO / "README.md", *sorted((REPO / "docs").glob("*.md")))
#: A command in a text or a block: `omni ...`, or a line that begins so, after a prompt or not.
_SPAN = re.compile(r"`(omni [^`\n]+)`")
_LINE = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(omni [^\n#|]+)", re.MULTILINE)
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Words that a page puts where others stand: they end what is looked at.
_PLACE = re.compile(r"^(\.\.\.|[A-Z][A-Z_.-]*|[a-z-]+\|.*|<.*|\[.*)$")


def _commands(text: str) -> Iterator[str]:
    for kind, block in _BLOCK.findall(text):
        if kind in ("sh", "console", "bash"):
            yield from _LINE.findall(block.replace("\\\n", " "))
    yield from _SPAN.findall(_BLOCK.sub("", text))


def _fault(command: str, root: Any, context: Any) -> str:
    """What is wrong with a command as a page has it, or ""."""
    try:
        words = shlex.split(re.split(r"\s(?:&&|;|>|2>|\|)\s?", command)[0])[1:]
    except ValueError:
        return ""  # an example's end is left out
    here, at, name = root, context, ""
    while words and hasattr(here, "get_command") and not words[0].startswith("-"):
        word = words[0].rstrip(".,:")
        if _PLACE.match(words[0]) or "|" in word or "/" in word:
            return ""
        group = name.strip()
        word = ALIASES.get(group, {}).get(word, word).split()[0]
        found = here.get_command(at, word)
        if found is None:
            return f"no command {word}" if not here.invoke_without_command else ""
        at = found.make_context(word, [], parent=at, resilient_parsing=True)
        here, name, words = found, f"{name} {word}", words[1:]
    known = {o for p in here.params for o in (*p.opts, *p.secondary_opts)} | {"--help", "-h"}
    known |= {"--json", "--columns", "--wide"}
    for word in words:
        option = word.split("=")[0].rstrip(".,;:)")
        if option == "--":
            break
        if re.fullmatch(r"--[a-z][a-z-]+", option) and option not in known:
            return f"no option {option}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_that_pages_name_exist(page: Path) -> None:
    root: Any = typer.main.get_command(app)
    context = root.make_context("omni", [], resilient_parsing=True)
    wrong = [
        f"{command.strip()}: {fault}"
        for command in dict.fromkeys(_commands(page.read_text("utf-8")))
        if (fault := _fault(command, root, context))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_page_is_longer_than_can_be_read() -> None:
    long = {page.name: lines for page in PAGES if (lines := page.read_text().count("\n")) > 250}
    assert not long, "split it by what its reader wants to do"


def test_settings_are_those_of_the_code() -> None:
    assert settings.PAGE.read_text("utf-8") == settings.page(), "run python -m tools.settings"
    assert settings.named_in_code() <= settings.VARIABLES.keys()


def test_every_page_has_its_place_in_the_site() -> None:
    config = (REPO / "tools" / "mkdocs.yml").read_text("utf-8")
    for page in PAGES[1:]:
        assert re.search(rf"[ :]{re.escape(page.name)}$", config, re.MULTILINE), page.name
    index = (REPO / "docs" / "index.md").read_text("utf-8")
    missing = {p.name for p in PAGES[1:]} - set(re.findall(r"\(([\w-]+\.md)\)", index))
    assert missing == {"index.md"}
