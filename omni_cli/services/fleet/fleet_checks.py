"""What a fleet's values must be, whoever sets them."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import (
    CALL_SETTINGS,
    HEDGE_MS_RANGE,
    MAX_RETRIES_RANGE,
    TIMEOUT_MS_RANGE,
    ChainLink,
    Provider,
    fold_alias,
)
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.secrets import scrub
from omni_cli.domain.words import meant

if TYPE_CHECKING:
    from omni_cli.repositories import Assignments, Models, Providers

_SECRET_HEADER = Pattern(r"auth|cookie|secret|token|api[-_]?key", re.IGNORECASE)


#: Whose it is, where it is an organisation's (services/fleet/organisation.py).
_OF = r"(?:@[A-Za-z0-9][A-Za-z0-9._-]{0,63})?"
_SLUG = Pattern(rf"[a-z0-9][a-z0-9_.-]{{0,62}}{_OF}")
_CHAIN_NAME = Pattern(rf"[A-Za-z0-9](?:[A-Za-z0-9_. -]{{0,61}}[A-Za-z0-9])?{_OF}")


def check_link(link: ChainLink) -> None:
    """Raises UsageError when retries or timeout are out of range."""
    low, high = MAX_RETRIES_RANGE
    if not low <= link.max_retries <= high:
        raise UsageError(f"{link.model}: retries run from {low} to {high}")
    low, high = TIMEOUT_MS_RANGE
    if not low <= link.timeout_ms <= high:
        raise UsageError(f"{link.model}: timeout_ms runs from {low} to {high}")


def check_settings(model: str, settings: Mapping[str, int]) -> None:
    """Raises UsageError: nothing of that name is set of a model's calls, or it is out of range."""
    for name, value in settings.items():
        if name not in CALL_SETTINGS:
            raise UsageError(
                f"{model}: there is no setting {name!r}",
                hint=meant(name, CALL_SETTINGS) or f"one of {', '.join(CALL_SETTINGS)}",
            )
        low, high = CALL_SETTINGS[name]
        if type(value) is not int or not low <= value <= high:
            raise UsageError(f"{model}: {name} runs from {low:,} to {high:,}")


def check_hedge(hedge_ms: int | None) -> None:
    """Raises UsageError when the wait before the next model is asked as well is none."""
    low, high = HEDGE_MS_RANGE
    if hedge_ms is not None and (type(hedge_ms) is not int or not low <= hedge_ms <= high):
        raise UsageError(f"hedge_ms runs from {low} to {high}")


def check_no_secret(provider: Provider) -> None:
    """The fleet is written to revisions and TOML in plain text: no key may get into it."""
    hint = f"keep the key apart: omni providers key {provider.slug} --stdin"
    for name, value in provider.headers.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name) or not value.isprintable():
            raise UsageError(
                f"{name!r} is no header that can be sent", hint="write it as NAME=VALUE"
            )
        if _SECRET_HEADER.search(name) or scrub(value) != value:
            raise UsageError(f"header {name} looks like a secret", hint=hint)
    if provider.key_env is not None and not re.fullmatch(r"[A-Za-z_]\w*", provider.key_env):
        raise UsageError("--key-env takes the name of a variable, not a key", hint=hint)


def check_condition(condition: str) -> None:
    """Raises UsageError when it is no condition of the rules' language."""
    from omni_cli.domain.rules import parse

    parse(condition)


def check_slug(what: str, text: str) -> None:
    """Names are lower-case words that need no quoting in a shell or a URL."""
    if not _SLUG.fullmatch(text):
        raise UsageError(
            f"{text!r} cannot name a {what}",
            hint="use a-z, 0-9, dash, underscore and dot, 63 characters at most",
        )


def check_chain_name(text: str) -> None:
    """Chains may be called as people speak: "Production Chain"."""
    if not _CHAIN_NAME.fullmatch(text):
        raise UsageError(
            f"{text!r} cannot name a chain",
            hint="use letters, digits, spaces, dash, underscore and dot, 63 characters at most",
        )


def split_link(text: str) -> tuple[str, dict[str, str]]:
    """Model names may hold colons (``llama3.1:8b``): settings follow the last one with "="."""
    head, colon, tail = text.rpartition(":")
    if not colon or "=" not in tail:
        return text, {}
    pairs = [pair.partition("=") for pair in tail.split(",")]
    return head, {key: value for key, _, value in pairs}


def one_of(what: str, text: str, values: tuple[str, ...]) -> Any:
    if text not in values:
        raise UsageError(
            f"{what} is one of {', '.join(values)}, not {text!r}", hint=meant(text, values)
        )
    return text


#: Words of the command line and the API, and what stands before a colon in a selector.
WORDS = frozenset({"auto", "last", "list", "none"})
HEADS = frozenset({"auto", "role", "chain"})
LONGEST = 63
_ALIAS = Pattern(r"[a-z0-9][a-z0-9_.:/@+-]*")


def check_word(kind: str, name: str) -> None:
    """Raises UsageError where a name is one of omni's own words, or names no one thing."""
    folded = name.casefold().strip()
    head, colon, rest = folded.partition(":")
    if folded in WORDS or (colon and head in HEADS):
        raise UsageError(
            f"{name!r} cannot name a{'n' * (kind == 'alias')} {kind}: omni reads it as its own",
            hint=f"another name, such as {_plain(rest or 'my-' + folded)!r}",
        )


def check_alias(name: str) -> None:
    """Raises UsageError where it cannot be an alias: blanks, odd characters, too long."""
    check_word("alias", name)
    if len(name) > LONGEST or not _ALIAS.fullmatch(name.lower()):
        raise UsageError(
            f"{name[: LONGEST + 1]!r}{'...' * (len(name) > LONGEST)} cannot be an alias",
            hint=f"letters, digits and . _ - : / @ +, {LONGEST} at most, no blanks: "
            f"{_plain(name)[:24] or 'short'!r}",
        )


def check_free(kind: str, name: str, taken: Mapping[str, str]) -> None:
    """Args:
        taken: what each folded name stands for ("role writer"), less the thing itself.

    Raises UsageError where another kind of thing has the name.
    """
    other = taken.get(fold_alias(name))
    if other is None:
        return
    free = next(
        text
        for text in (f"{name}-{kind}", f"my-{name}", *(f"{name}-{n}" for n in range(2, 99)))
        if fold_alias(text) not in taken
    )
    raise UsageError(f"{name!r} already names {other}", hint=f"another name, such as {free!r}")


def taken_names(
    providers: Iterable[str], roles: Iterable[str], chains: Iterable[str]
) -> dict[str, str]:
    """Folded name to what it stands for."""
    kinds = (("provider", providers), ("role", roles), ("chain", chains))
    return {fold_alias(name): f"the {kind} {name}" for kind, names in kinds for name in names}


def namesakes(chain: str, models: Iterable[str]) -> set[str]:
    """Those of a chain's models that providers call as the chain is called: asked by that name,
    they answer by way of the chain."""
    return {model for model in models if model.partition("/")[2] == chain}


class Namespace(Struct, eq=False):
    """The names of the fleet as it is."""

    providers: Providers
    models: Models
    assignments: Assignments

    def check(self, kind: str, name: str, *, own: Container[str] = ()) -> None:
        """Whether a new provider, role, chain or alias may be called so.

        A name of the catalogue is free while its provider is not in the fleet.

        Args:
            own: ids of models whose name it may be: an alias's, and ``namesakes`` of a chain.

        Raises UsageError.
        """
        check_word(kind, name)
        slugs = [provider.slug for provider in self.providers.all()]
        taken = taken_names(
            slugs,
            (role.name for role in self.assignments.roles()),
            (chain.name for chain in self.assignments.chains()),
        )
        if taken.get(fold_alias(name), "").startswith(f"the {kind} "):
            del taken[fold_alias(name)]  # the same thing again, which its maker looks after
        models = [m for m in self.models.find(name) if m.partition("/")[0] in slugs]
        models = [m for m in models if m not in own]
        if models:
            taken.setdefault(fold_alias(name), models[0])
        check_free(kind, name, taken)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", text.lower()).strip("-.")
