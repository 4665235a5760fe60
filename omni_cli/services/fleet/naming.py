"""One namespace for what ``-m`` and a request's ``model`` may name, whoever makes the names.

Roles, chains, aliases and providers share it, and omni's own words are taken. A name that came to
mean something else would send calls elsewhere without a word.
"""

import re
from collections.abc import Iterable, Mapping

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import fold_alias
from omni_cli.repositories import Assignments, Models, Providers

#: Words of the command line and the API, and what stands before a colon in a selector.
WORDS = frozenset({"auto", "last", "list", "none"})
HEADS = frozenset({"auto", "role", "chain"})
LONGEST = 63
_ALIAS = re.compile(r"[a-z0-9][a-z0-9_.:/@+-]*")


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


class Namespace(Struct, eq=False):
    """The names of the fleet as it is."""

    providers: Providers
    models: Models
    assignments: Assignments

    def check(self, kind: str, name: str, *, model: str = "") -> None:
        """Whether a new provider, role, chain or alias (of ``model``) may be called so.

        A name of the catalogue is free while its provider is not in the fleet.

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
        models = [m for m in self.models.find(name) if m.partition("/")[0] in slugs and m != model]
        if models:
            taken.setdefault(fold_alias(name), models[0])
        check_free(kind, name, taken)


def _plain(text: str) -> str:
    return re.sub(r"[^a-z0-9_.-]+", "-", text.lower()).strip("-.")
