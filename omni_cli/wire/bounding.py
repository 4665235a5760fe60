"""What a call's bytes bound: how every protocol's fields are read.

A field counts by its kind, not by its spelling: case and underscores are passed over, as servers
written in Go, Java or Python do, each in its way. A number counts as the largest that any server
takes it for, written as text, too. What is not known here by name bounds nothing: such a field
is refused where money is limited, and passes everywhere else.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.bounds import CallBound
from omni_cli.domain.patterns import Pattern
from omni_cli.ports import SentBody
from omni_cli.wire.facts import Facts
from omni_cli.wire.values import as_list, as_object, as_text

#: What chat templates put around a conversation: roles, a system prompt of their own, tokens.
FRAME = 256
#: The same for tools: how to call them (Anthropic: up to 804 tokens, "Tool use", pricing).
TOOLS_FRAME = 1_024
#: Longest chain of calls of tools that a provider runs by itself, where nothing says another: the
#: loop of Anthropic's pauses after ten ("Handling stop reasons"); others state none.
ROUNDS = 11
_WHOLE = Pattern(r"\s*[+-]?\d[\d_]*\s*")


class Draft(Struct):
    """What has been found so far.

    ``limits`` and ``counts``: names of fields, as they are written, and what was read.
    """

    input_tokens: int
    facts: type[Facts]
    sent: SentBody
    limits: dict[str, object] = field(default_factory=dict)
    counts: dict[str, object] = field(default_factory=dict)
    beside: int = 0
    rounds: int = 1
    fees_nusd: int = 0
    beyond: str = ""
    window: int = 0
    kinds: tuple[str, ...] = ()
    refused: str = ""
    units: tuple[tuple[str, int], ...] = ()
    asks: str = ""
    unlimited: bool = False

    def reach(self, name: str) -> None:
        """Through this field, input comes in that the bytes do not hold."""
        self.beyond = self.beyond or repr(name)

    def refuse(self, name: str, why: str = "") -> None:
        self.refused = self.refused or (f"{name!r} ({why})" if why else repr(name))

    def run(self, name: str, rounds: int = ROUNDS, fee_nusd: int = 0) -> None:
        """The provider runs a tool, whose results are read as input, ``fee_nusd`` a call."""
        self.reach(name)
        self.rounds = max(self.rounds, rounds)
        self.fees_nusd += fee_nusd * (rounds - 1)

    def media(self, name: str, kind: str, data: object) -> None:
        """An image, sound, video or document; ``data``: as it stands in the bytes, "" where it
        does not. Only of images does a vendor say what they count at most."""
        if kind != "image":
            self.reach(name)
            return
        inline = len(data) if isinstance(data, str) else 0
        model = as_text(self.sent.value("model"))
        tokens = self.facts.image_tokens(model=model)
        self.input_tokens += tokens - inline

    def add(self, name: str, value: object) -> None:
        """Tokens of output that may come beside the limit; a number below 0 is no number."""
        tokens = count(value)
        if tokens is None or tokens < 0:
            self.refuse(name, "no number of tokens")
        else:
            self.beside += tokens

    def done(self, plain: bool, *, writes: bool = True) -> CallBound:
        read = {name: count(value) for name, value in self.limits.items() if value is not None}
        stated: int | None = None
        if read and all(value is not None and value > 0 for value in read.values()):
            stated = max(value or 0 for value in read.values())
        choices = 1
        for name, value in self.counts.items():
            if value is None:
                continue
            asked = count(value)
            if asked is None:
                self.refuse(name, "no whole number")
            else:
                choices = max(choices, asked)
        return CallBound(
            self.input_tokens,
            stated,
            choices,
            self.beside,
            self.rounds,
            self.fees_nusd,
            self.beyond,
            self.window,
            self.kinds,
            self.refused,
            plain and all(type(value) is int and value > 0 for value in self.counts.values()),
            writes,
            units=self.units,
            asks=self.asks,
            unlimited=self.unlimited,
        )


class Fields(Struct, frozen=True):
    """What the fields of an object mean, by their folded names.

    ``harmless``: the bytes bound what they can cost. ``readers``: the others that are known.
    """

    harmless: frozenset[str]
    readers: Mapping[str, Callable[[Draft, str, Any], None]]

    def read(self, draft: Draft, names: Iterable[str], value: Callable[[str], Any]) -> None:
        for name in names:
            folded = fold(name)
            if folded in self.harmless:
                continue
            found = value(name)
            reader = self.readers.get(folded)
            if reader is not None:
                reader(draft, name, found)
            elif not says_nothing(found):
                draft.refuse(name, "not a field whose cost omni knows")


def usual(sent: SentBody, stated: object, *, plain: bool) -> CallBound | None:
    """What is bound by its bytes and its one limit, the most of all calls; None where the limit is
    not written as a number."""
    if type(stated) is not int or stated <= 0:
        return None
    return CallBound(sent.size + FRAME, stated, 1, 0, 1, 0, "", 0, (), "", plain, True, True)


def begin(sent: SentBody, facts: type[Facts]) -> Draft:
    return Draft(sent.size + FRAME, facts, sent)


_FOLDED: dict[str, str] = {}


def fold(name: str) -> str:
    """A field's name without case and underscores."""
    found = _FOLDED.get(name)
    if found is None:
        found = name.replace("_", "").replace("-", "").casefold()
        if len(_FOLDED) < 4_096:  # callers may send any number of names
            _FOLDED[name] = found
    return found


def says_nothing(value: object) -> bool:
    """Whether a field might as well not be there; 0 is not so: to some it means no limit."""
    return value is None or value is False or value in ("", [], {})


def folded(*names: str) -> frozenset[str]:
    return frozenset(fold(name) for text in names for name in text.split())


def count(value: object) -> int | None:
    """The whole number that a server may take ``value`` for, None where it is none."""
    if isinstance(value, str):
        if _WHOLE.fullmatch(value) and len(value) < 100:
            return int(value.replace("_", ""))
        try:
            value = float(value.replace("_", ""))
        except ValueError:
            try:
                return int(str(value), 0)
            except ValueError:
                return None
    if isinstance(value, float):
        return math.ceil(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, int) else None


# --- readers --------------------------------------------------------------------------------------


def limit(draft: Draft, name: str, value: Any) -> None:
    draft.limits[name] = value


def choices(draft: Draft, name: str, value: Any) -> None:
    draft.counts[name] = value


def stored(draft: Draft, name: str, value: Any) -> None:
    """What the provider has kept: a past, a file, a prompt."""
    if not says_nothing(value):
        draft.reach(name)


def beside(draft: Draft, name: str, value: Any) -> None:
    if value is not None:
        draft.add(name, value)


def among(*allowed: str) -> Callable[[Draft, str, Any], None]:
    """A field whose other values cost more, or may."""
    known = folded(*allowed)

    def read(draft: Draft, name: str, value: Any) -> None:
        if says_nothing(value) or (isinstance(value, str) and fold(value) in known):
            return
        draft.refuse(name, f"{value!r} has a price that omni does not know")

    return read


def kinds_of(draft: Draft, name: str, value: Any) -> None:
    """The kinds of an answer: text, and those with rates of their own."""
    for kind in as_list(value):
        word = as_text(kind).lower()
        if word in ("audio", "image"):
            draft.kinds += (word,)
        elif word not in ("text", "modality_unspecified"):
            draft.refuse(name, f"{kind!r}")


def sound(draft: Draft, name: str, value: Any) -> None:  # noqa: ARG001  # as every reader
    if not says_nothing(value):
        draft.kinds += ("audio",)


def within(fields: "Fields") -> Callable[[Draft, str, Any], None]:
    """A field that is an object of others."""

    def read(draft: Draft, name: str, value: Any) -> None:
        if isinstance(value, dict):
            inner = Draft(draft.input_tokens, draft.facts, draft.sent)
            fields.read(inner, value, value.get)
            absorb(draft, inner, name)
        elif not says_nothing(value):
            draft.refuse(name, "no object")

    return read


def absorb(draft: Draft, inner: Draft, name: str) -> None:
    """Take over what was found in the object ``name``."""
    draft.limits.update({f"{name}.{key}": value for key, value in inner.limits.items()})
    draft.counts.update({f"{name}.{key}": value for key, value in inner.counts.items()})
    draft.beside += inner.beside
    draft.kinds += inner.kinds
    draft.window = max(draft.window, inner.window)
    if inner.beyond:
        draft.reach(f"{name}.{inner.beyond.strip(chr(39))}")
    if inner.refused and not draft.refused:
        draft.refused = f"{name}: {inner.refused}"


def size_of(value: object) -> int:
    """Bytes of all the texts in it, at least as many as it can have tokens."""
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass")) + 1
    if isinstance(value, dict):
        return sum(size_of(key) + size_of(item) for key, item in value.items())
    return sum(map(size_of, value)) if isinstance(value, list) else 1


def objects(value: object) -> list[Any]:
    return [as_object(item) for item in as_list(value)]


def names_like(fields: Collection[str], wanted: frozenset[str]) -> list[str]:
    """Those of these names that are one of the wanted ones in some spelling."""
    return [name for name in fields if fold(name) in wanted]
