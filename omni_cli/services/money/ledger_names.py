"""What a report's filter may name: what the ledger has, and what the fleet knows.

A name that neither knows is an error, not "nothing was used": a typo must not look like a saving.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import get_args

from msgspec import Struct

from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.ledger import Source
from omni_cli.domain.tasks import TASK_TYPES
from omni_cli.domain.words import meant
from omni_cli.repositories import Assignments, Providers, Reports
from omni_cli.services.engine.names import Names

#: Before and after any day, as rollups write days.
_FIRST, _LAST = 0, 99_999_999
#: Checked; organisations and keys are scopes that the caller does not choose.
CHECKED = ("provider", "model", "role", "agent", "task", "source", "session", "project")
_MOST_SHOWN = 4


class LedgerNames(Struct, kw_only=True, eq=False):
    """Args:
    vendors: slugs of providers that omni knows without a fleet.
    """

    reports: Reports
    names: Names
    providers: Providers
    assignments: Assignments
    vendors: Callable[[], Iterable[str]]

    def resolve(self, filters: Mapping[str, str]) -> dict[str, str]:
        """The filters as the ledger has them: ``provider/name`` and aliases become its names.

        Raises:
            NotFound: neither the ledger nor the fleet knows the name; the hint offers near ones.
            UsageError: it may mean more than one, or one that was not used beside some that were.
        """
        found = dict(filters)
        scope = {name: value for name, value in filters.items() if name not in CHECKED}
        for dimension in CHECKED:
            if not filters.get(dimension):
                continue
            if dimension == "model":
                found |= self._model(filters["model"], scope)
            else:
                self._check(dimension, filters[dimension], scope)
        return found

    def _check(self, dimension: str, value: str, scope: Mapping[str, str]) -> None:
        used = [name for (name,) in self._used((dimension,), scope) if name]
        known = [*used, *self._fleet(dimension)]
        if value not in known:
            raise NotFound(
                f"no {dimension} {value!r} in the ledger or the fleet",
                hint=meant(value, known)
                or (f"there are: {_listed(used)}" if used else "no call has had one yet"),
            )

    def _fleet(self, dimension: str) -> Sequence[str]:
        if dimension == "provider":
            return [*(provider.slug for provider in self.providers.all()), *self.vendors()]
        if dimension == "role":
            return [role.name for role in self.assignments.roles()]
        if dimension == "task":
            return TASK_TYPES
        return get_args(Source) if dimension == "source" else ()

    def _model(self, text: str, scope: Mapping[str, str]) -> dict[str, str]:
        pairs = [(provider, name) for provider, name in self._used(("provider", "model"), scope)]
        used = dict.fromkeys(name for _, name in pairs if name)
        if text in used:
            return {"model": text}
        for provider, name in pairs:
            if provider and f"{provider}/{name}" == text:
                return {"provider": provider, "model": name}
        alike = [name for name in used if text.casefold() in name.casefold()]
        try:
            model = self.names.model(text)
        except OmniError as exc:
            if len(alike) == 1 and isinstance(exc, UsageError):
                return {"model": alike[0]}  # of several with the name, the one that was used
            if alike:
                raise UsageError(
                    f"{text!r} may mean {_listed(alike)}", hint=f"name one: --model {alike[0]}"
                ) from exc
            near = meant(text, used)
            raise NotFound(
                f"no model {text!r} in the ledger or the fleet", hint=near or exc.hint
            ) from exc
        if model in used or text == model or not alike:
            return {"model": model}
        raise UsageError(
            f"{text!r} is {model}, which was not used; used were {_listed(alike)}",
            hint=f"name one: --model {alike[0]}",
        )

    def _used(self, by: tuple[str, ...], scope: Mapping[str, str]) -> Iterable[tuple[str, ...]]:
        return self.reports.totals(_FIRST, _LAST, by, scope)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_SHOWN])
    return f"{shown} and {len(names) - _MOST_SHOWN} more" if names[_MOST_SHOWN:] else shown
