"""What several commands share: opening the app, parsing options, completing names."""

import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from decimal import Decimal
from functools import cache, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer
from msgspec import Struct
from msgspec.structs import fields

from omni_cli.bootstrap import App
from omni_cli.cli.lazy import ORG
from omni_cli.cli.render import note, paint
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.money import figure
from omni_cli.domain.words import meant

if TYPE_CHECKING:
    from omni_cli.domain.models import ModelInfo


T = TypeVar("T")

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@contextmanager
def omni(*, quiet: bool = False) -> Iterator[App]:
    """The app for one command; notes of retries and the like go to stderr."""
    note = (lambda _: None) if quiet else _note
    with App(cwd=Path.cwd(), note=note, org=ORG.get()) as app:
        yield app


def known_org(app: App) -> None:
    """Raises NotFound: a report is asked for an organisation that nothing here knows of."""
    known = app.organisations() if app.org else set()
    if app.org and app.org not in known:
        raise NotFound(
            f"no organisation {app.org!r}: it has no use, key, budget or fleet of its own",
            hint=meant(app.org, known)
            or f"there are: {', '.join(sorted(known)) or 'none; omni keys create --org makes one'}",
        )


def _note(line: str) -> None:
    note(paint(f"· {line}", "dim", sys.stderr))


def ask(question: str, *, nobody: str, hint: str, default: bool = False) -> bool:
    """Whether the user agrees. Raises UsageError, saying ``nobody``, where there is no terminal."""
    if not sys.stdin.isatty():
        raise UsageError(nobody, hint=hint)
    return typer.confirm(question, default=default, err=True)


def agree_to_leaving(omni_app: App, name: str, *, yes: bool, at_work: bool = False) -> None:
    """Ask before a model is put to work that its provider stops serving, or has stopped serving.

    Args:
        at_work: ask of a model that is active already, too.

    Raises UsageError: nobody agreed; nothing was changed.
    """
    said = omni_app.fleet.leaving(name)
    if not said or (not at_work and omni_app.fleet.model(name).status == "active"):
        return
    model = omni_app.names.model(name)
    if not yes and not ask(
        f"{model}: {said}. Take it?",
        nobody=f"{model}: {said}; nothing was changed",
        hint="--yes takes it all the same; omni models list --sort quality shows others",
    ):
        raise UsageError("nothing was changed")


#: What a command would change is shown and not written; the same word at each command.
DryRun = Annotated[
    bool, typer.Option("--dry-run", "--plan", help="Only say what would change; write nothing.")
]
#: It is written: without asking where a command asks, and at all where it only shows otherwise.
Apply = Annotated[bool, typer.Option("--apply", "--yes", "-y", help="Write it without asking.")]
YesFlag = Annotated[
    bool, typer.Option("--yes", "-y", help="Take it as it is: on its way out, at an odd price.")
]


def money(text: str | None, option: str) -> Decimal | None:
    """US dollars from an option. Raises UsageError unless it is a number of 0 or more."""
    if text is None:
        return None
    amount = figure(text)
    if amount is None or amount < 0:
        raise UsageError(f"{option} takes US dollars such as 0.05, not {text!r}")
    return amount


def confirmed(change: "Callable[[bool], T]", yes: bool) -> "T":
    """Carry out a change that may have to be confirmed: it is told whether the user is sure.

    Raises Doubtful where nobody is there to ask.
    """
    from omni_cli.services.money.prices import Doubtful

    try:
        return change(yes)
    except Doubtful as exc:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise
        note(exc.message)
        note(exc.hint)
        if not typer.confirm("Is that meant?", default=False, err=True):
            raise typer.Exit(1) from None
    return change(True)


def given_span(omni_app: App, from_date: str | None, to_date: str | None) -> tuple[int, int]:
    """[start, end) of two days of the user's zone, ms; all of time where neither is given."""
    from omni_cli.domain.periods import parse_span

    if from_date is None and to_date is None:
        return 0, 1 << 62
    span = parse_span(
        now_ms=omni_app.now_ms(),
        zone=omni_app.zone,
        from_date=from_date or "1970-01-02",
        to_date=to_date,
    )
    return span.start_ms, span.end_ms


def read_key(slug: str) -> str:
    """An API key from stdin; a terminal is asked without showing it.

    Raises UsageError when there is none.
    """
    if sys.stdin.isatty():
        import getpass

        key = getpass.getpass(f"key of {slug}: ")
    else:
        key = sys.stdin.read()
    if not key.strip():
        raise UsageError("no key on stdin", hint=f"omni providers key {slug} --stdin < FILE")
    return key


def words(values: Iterable[str] | None) -> list[str]:
    """Repeated options, each of which may hold several values with commas between."""
    return [word.strip() for value in values or () for word in value.split(",") if word.strip()]


def pairs(values: Iterable[str] | None, option: str, shape: str = "NAME=VALUE") -> dict[str, str]:
    """Raises UsageError on anything that is not written as ``shape`` says."""
    found: dict[str, str] = {}
    for pair in values or ():
        name, equals, value = pair.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"{option} is written {shape}, not {pair!r}")
        found[name.strip()] = value
    return found


def numbers(values: Iterable[str] | None, option: str) -> dict[str, float]:
    """``NAME=NUMBER`` pairs. Raises UsageError on anything else."""
    found: dict[str, float] = {}
    for word in words(values):
        name, equals, text = word.partition("=")
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not equals or not name or number != number or number in (float("inf"), -float("inf")):
            raise UsageError(f"{option} is written NAME=NUMBER, not {word!r}")
        found[name.strip()] = number
    return found


def offer(names: Callable[[App], Iterable[str]], incomplete: str) -> list[str]:
    """Names for the shell. Pressing Tab makes no store where there is none, and no noise."""
    try:
        with App() as app:
            there = app.place.is_database or app.paths.store.exists()
            found = list(names(app)) if there else []
    except OmniError:
        return []
    return [name for name in dict.fromkeys(found) if name.startswith(incomplete)]


def _model_names(models: "Iterable[ModelInfo]") -> list[str]:
    return [name for model in models for name in (model.id, *model.aliases)]


def complete_models(incomplete: str) -> list[str]:
    """Ids and aliases of the providers' models: those at work, else all that could be."""

    def names(app: App) -> list[str]:
        models = app.models.of_providers(provider.slug for provider in app.providers.all())
        active = _model_names(model for model in models if model.status != "standby")
        if any(name.startswith(incomplete) for name in active):
            return active
        return _model_names(models)

    return offer(names, incomplete)


def complete_catalogue(incomplete: str) -> list[str]:
    """Ids and aliases of all models that omni knows."""
    return offer(lambda app: _model_names(app.models.all(hidden=True)), incomplete)


def complete_selectors(incomplete: str) -> list[str]:
    """What ``-m`` takes: auto, roles, chains and models."""
    kind, colon, name = incomplete.partition(":")
    if colon and kind in ("role", "chain"):
        found = complete_roles(name) if kind == "role" else complete_chains(name)
        return [f"{kind}:{item}" for item in found]
    autos = ["auto", "auto:cheap", "auto:balanced", "auto:best", "auto:fast"]
    return [
        *(text for text in autos if text.startswith(incomplete)),
        *complete_roles(incomplete),
        *complete_chains(incomplete),
        *complete_models(incomplete),
    ]


def complete_roles(incomplete: str) -> list[str]:
    return offer(lambda app: (role.name for role in app.assignments.roles()), incomplete)


def complete_chains(incomplete: str) -> list[str]:
    return offer(lambda app: (chain.name for chain in app.assignments.chains()), incomplete)


def complete_providers(incomplete: str) -> list[str]:
    return offer(lambda app: (provider.slug for provider in app.providers.all()), incomplete)


def complete_settings(incomplete: str) -> list[str]:
    """``section.name`` of every setting."""
    from omni_cli.config import known_keys

    return [key for key in known_keys() if key.startswith(incomplete)]


R = TypeVar("R")

From = Annotated[str | None, typer.Option("--from", help="YYYY-MM-DD, your zone's days; included.")]
To = Annotated[str | None, typer.Option("--to", help="YYYY-MM-DD; not included.")]


class TokenRates(Struct, frozen=True):
    """What tokens cost, as options."""

    price_in: Annotated[str | None, typer.Option("--price-in", help="USD per 1M input tokens.")] = (
        None
    )
    price_out: Annotated[
        str | None, typer.Option("--price-out", help="USD per 1M output tokens.")
    ] = None
    price_cached: Annotated[
        str | None, typer.Option("--price-cached", help="USD per 1M cached input tokens.")
    ] = None
    price_cache_write: Annotated[
        str | None, typer.Option("--price-cache-write", help="USD per 1M tokens written to cache.")
    ] = None

    def given(self) -> dict[str, Decimal]:
        """US dollars per 1M tokens by kind, of those that were said. Raises UsageError."""
        rates = {
            "input": money(self.price_in, "--price-in"),
            "output": money(self.price_out, "--price-out"),
            "cached": money(self.price_cached, "--price-cached"),
            "cache_write": money(self.price_cache_write, "--price-cache-write"),
        }
        return {kind: amount for kind, amount in rates.items() if amount is not None}


def grouped(command: "Callable[..., R]") -> "Callable[..., R]":
    """A command whose parameters of a struct's type are options, one for each field.

    ``def list_(view: View)`` takes ``--json``, ``--csv`` and whatever else ``View`` declares; its
    fields are annotated as Typer's parameters are, and each has a default. The signature is looked
    into once the command is built (cli/lazy.py): most of a module's commands never are.
    """

    @cache
    def groups() -> Mapping[str, type[Any]]:
        """The structs by their parameters' names. From then on the signature has their fields."""
        hints = get_type_hints(command, include_extras=True)
        found: dict[str, type[Any]] = {}
        flat: list[inspect.Parameter] = []
        for name, parameter in inspect.signature(command).parameters.items():
            kind = hints[name]
            if isinstance(kind, type) and issubclass(kind, Struct):
                found[name] = kind
                flat += [_option(item.name, item.type, item.default) for item in fields(kind)]
            else:
                flat.append(_option(name, kind, parameter.default))
        run.__dict__["__signature__"] = inspect.Signature(flat)  # which Typer reads
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
        return found

    @wraps(command)
    def run(**given: Any) -> R:
        for name, kind in groups().items():
            given[name] = kind(**{item.name: given.pop(item.name) for item in fields(kind)})
        return command(**given)

    run.__dict__["flatten"] = groups
    return run


def _option(name: str, kind: object, default: object) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
