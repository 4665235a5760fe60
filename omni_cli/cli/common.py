"""What several commands share: opening the app, parsing options, completing names."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.render import note, paint
from omni_cli.domain.errors import UsageError

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def omni(*, quiet: bool = False) -> Iterator[App]:
    """The app for one command; notes of retries and the like go to stderr."""
    with App(cwd=Path.cwd(), note=(lambda _: None) if quiet else _note) as app:
        yield app


def _note(line: str) -> None:
    note(paint(f"· {line}", "dim", sys.stderr))


def money(text: str | None, option: str) -> Decimal | None:
    """US dollars from an option. Raises UsageError unless it is a number of 0 or more."""
    if text is None:
        return None
    try:
        amount = Decimal(text.removeprefix("$"))
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or amount < 0:
        raise UsageError(f"{option} takes US dollars such as 0.05, not {text!r}")
    return amount


def complete_models(incomplete: str) -> list[str]:
    """Model ids and aliases for the shell."""
    with App() as app:
        connected = {provider.slug for provider in app.providers.all()}
        names = [
            name
            for model in app.models.of_providers(connected)
            for name in (model.id, *model.aliases)
        ]
    return [name for name in names if name.startswith(incomplete)]


def complete_selectors(incomplete: str) -> list[str]:
    """What ``-m`` takes: auto, models, roles and chains."""
    with App() as app:
        names = ["auto", "auto:cheap", "auto:balanced", "auto:best", "auto:fast"]
        names += [role.name for role in app.assignments.roles()]
        names += [chain.name for chain in app.assignments.chains()]
    return [n for n in names if n.startswith(incomplete)] + complete_models(incomplete)


def complete_roles(incomplete: str) -> list[str]:
    with App() as app:
        return [r.name for r in app.assignments.roles() if r.name.startswith(incomplete)]


def complete_chains(incomplete: str) -> list[str]:
    with App() as app:
        return [c.name for c in app.assignments.chains() if c.name.startswith(incomplete)]


def complete_providers(incomplete: str) -> list[str]:
    with App() as app:
        return [p.slug for p in app.providers.all() if p.slug.startswith(incomplete)]
