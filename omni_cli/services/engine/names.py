"""What a name on the command line or in a request's ``model`` field stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.words import meant

if TYPE_CHECKING:
    from omni_cli.repositories import Assignments, Models, Providers

SelectorKind = Literal["auto", "model", "role", "chain"]
AUTO = "auto"
#: What may follow ``auto:``.
AUTO_WORDS = ("cheap", "balanced", "best", "fast")


class AmbiguousName(UsageError):
    """More than one model has it; the message names them."""


#: No name of anything is longer, characters.
_LONGEST = 512
_SHOWN = 100


def shown(name: str) -> str:
    """A name that somebody gave, as a message says it."""
    if len(name) <= _SHOWN:
        return repr(name)
    return f"{name[:_SHOWN]!r}… ({len(name):,} characters)"


class Selector(Struct, frozen=True):
    """``name`` is a model id, a role's or a chain's name; for auto the priority after a colon
    ("cheap", "balanced", "best", "fast") or ""."""

    kind: SelectorKind
    name: str


AUTO_SELECTOR = Selector("auto", "")


class Names:
    def __init__(self, providers: Providers, models: Models, assignments: Assignments) -> None:
        self._providers = providers
        self._models = models
        self._assignments = assignments

    def select(self, text: str | None, *, suggest: bool = True) -> Selector:
        """``auto``, ``auto:cheap``, ``provider/model``, ``provider:model``, an alias,
        ``role:NAME``, ``chain:NAME``, or the bare name of a role or chain.

        Raises:
            NotFound: nothing has that name; the hint offers near ones, where it is to
                ``suggest``: that looks at the whole catalogue.
            UsageError: more than one model has it.
        """
        if text is None or text == AUTO:
            return Selector("auto", "")
        if len(text) > _LONGEST:
            raise NotFound(f"no model, role or chain is called {shown(text)}")
        head, _, rest = text.partition(":")
        if head == AUTO and rest in AUTO_WORDS:
            return Selector("auto", rest)
        if head == AUTO and rest and not self._models.find(text):
            raise NotFound(
                f"auto has no {shown(rest)}",
                hint=meant(rest, AUTO_WORDS, kind="auto:", most=1)
                or f"auto, or auto: with {', '.join(AUTO_WORDS)}",
            )
        if head == "role":
            names = [r.name for r in self._assignments.roles()]
            return Selector("role", self._known("role", rest, names, suggest=suggest))
        if head == "chain":
            names = [c.name for c in self._assignments.chains()]
            return Selector("chain", self._known("chain", rest, names, suggest=suggest))
        # What the user has named comes before the names that a catalogue brings along.
        if self._assignments.role(text) is not None:
            return Selector("role", text)
        if self._assignments.chain(text) is not None:
            return Selector("chain", text)
        return Selector("model", self.model(text, suggest=suggest))

    def model(self, text: str, *, suggest: bool = True) -> str:
        """The id of the model that ``text`` names. Raises as ``select``."""
        found = self._models.find(text)
        if not found and ":" in text and "/" not in text:
            found = self._models.find(text.replace(":", "/", 1))
        connected = {provider.slug for provider in self._providers.all()}
        usable = [model_id for model_id in found if model_id.partition("/")[0] in connected]
        choice = usable or found
        if len(choice) == 1:
            return choice[0]
        if choice:
            raise AmbiguousName(
                f"{text!r} may mean {', '.join(choice)}", hint="write it as provider/model"
            )
        hint = self._nearest(text) if suggest and len(text) <= _LONGEST else ""
        raise NotFound(f"no model, role or chain is called {shown(text)}", hint=hint)

    def _nearest(self, text: str) -> str:
        models = self._models.all()
        own = {name: name for model in models if model.status == "active" for name in model.aliases}
        own |= {chain.name: chain.name for chain in self._assignments.chains()}
        own |= {role.name: role.name for role in self._assignments.roles()}
        for model in models:
            if model.status == "active":
                own |= {model.id.partition("/")[2]: model.id, model.id: model.id}
        known = [name for model in models for name in (model.id, *model.aliases)]
        return (
            meant(text, known, own=own)
            or "omni models list shows the fleet; omni models add PROVIDER/NAME adds one"
        )

    def _known(self, kind: str, name: str, names: list[str], *, suggest: bool) -> str:
        if name in names:
            return name
        if not suggest:
            raise NotFound(f"no {kind} is called {shown(name)}")
        raise NotFound(
            f"no {kind} is called {shown(name)}",
            hint=meant(name, names, kind=f"{kind}:", most=1)
            or f"{kind}s are: {', '.join(names) or 'none yet'}",
        )
