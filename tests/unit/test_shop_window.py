"""What a newcomer copies works: the models of README, docs and demo are in service.

The day is the catalogue's own, so that a newer catalogue tells which pages to mend; another one
is looked ahead to with OMNI_DOCS_DATE=2027-01-31.
"""

import os
import re
from datetime import date, timedelta
from pathlib import Path

import pytest

from omni_cli.catalog.load import load_catalog
from omni_cli.services.fleet.demo import DEMO
from tests.paths import REPO
from tests.spec_fleet import SPECS

#: A page is not to name what its reader could use for less than so long.
AHEAD = timedelta(days=90)
#: They tell of the catalogue itself, and of the data that quality was learnt from.
ABOUT_THE_PAST = ("catalogue.md", "quality-sources.md")
PAGES = [
    REPO / "README.md",
    *sorted(p for p in (REPO / "docs").glob("*.md") if p.name not in ABOUT_THE_PAST),
]
_NAME = re.compile(r"[a-z0-9][a-z0-9._:/-]*[a-z0-9]")


def retired() -> dict[str, str]:
    """Names, with and without their provider, of what is out of service -> since when."""
    catalog = load_catalog()
    day = date.fromisoformat(os.environ.get("OMNI_DOCS_DATE") or catalog.checked)
    last = (day + AHEAD).isoformat()
    found: dict[str, str] = {}
    for entry in catalog.models:
        if entry.retired_on is not None and entry.retired_on <= last:
            found |= dict.fromkeys((entry.info.id, entry.info.wire_name), entry.retired_on)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_names_no_model_that_is_gone(page: Path) -> None:
    gone = retired()
    told = [
        f"{page.name}:{number}: {name} ({gone[name]})"
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1)
        if "retire" not in line
        for name in _NAME.findall(line)
        if name in gone
    ]
    assert told == []


def test_the_demo_shows_models_in_service() -> None:
    assert [name for name in DEMO.active if name in retired()] == []


def test_the_specs_models_are_in_the_catalogue_and_those_gone_say_so() -> None:
    catalog = load_catalog()
    entries = {entry.info.id: entry for entry in catalog.models}
    assert set(SPECS.active) <= set(entries)
    assert {name for name in SPECS.active if entries[name].retired_on} >= {
        "anthropic/claude-opus-4-20250514",
        "anthropic/claude-sonnet-4-20250514",
        "deepseek/deepseek-chat",
        "google/gemini-1.5-pro",
    }
