"""Faults: what can go wrong on request, how it is written, and which rule makes it happen.

Written ``KIND[:VALUE][*TIMES]``: ``429:2`` is a 429 with Retry-After 2, ``503*2`` fails the
first two tries of a prompt and then lets it through.
"""

import re
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from random import Random
from typing import Any

from msgspec import Struct

from omni_cli.domain.record import asdict


class Kind(Struct, frozen=True):
    """``status``: of kinds that answer with an HTTP error. ``default``: of the value."""

    text: str
    status: int | None = None
    default: float | None = None


KINDS: Mapping[str, Kind] = {
    "400": Kind("bad request", 400),
    "400-context": Kind("the prompt is too long for the model", 400),
    "400-filter": Kind("content filtered (Gemini: 200 with a blockReason)", 400),
    "400-key": Kind("bad key, as Gemini says it; elsewhere the same as 401", 400),
    "401": Kind("bad key", 401),
    "402": Kind("no credit", 402),
    "403": Kind("the key lacks rights", 403),
    "404": Kind("no such model", 404),
    "429": Kind("rate limited; value: Retry-After in seconds", 429, 1.0),
    "429-quota": Kind("quota used up: waiting does not help", 429),
    "500": Kind("internal error", 500),
    "502": Kind("a proxy's HTML error page", 502),
    "503": Kind("unavailable", 503),
    "529": Kind("overloaded", 529),
    "hang": Kind("accept, never answer"),
    "hang-mid": Kind("silence after VALUE chunks", default=2),
    "slow-first": Kind("VALUE seconds before the head", default=1.0),
    "slow-tokens": Kind("VALUE tokens per second", default=5.0),
    "reset-before": Kind("TCP reset before the head"),
    "reset-mid": Kind("TCP reset after VALUE chunks", default=2),
    "truncate": Kind("well-formed HTTP end after VALUE chunks, no terminal event", default=2),
    "cut": Kind("connection closed after VALUE chunks, HTTP body incomplete", default=2),
    "malformed": Kind("invalid JSON, in a stream after the first chunk"),
    "wrong-json": Kind("valid JSON of another shape"),
    "error-in-stream": Kind("in-band error after VALUE chunks (plain: in a 200 body)", default=2),
    "no-usage": Kind("no token counts"),
    "empty": Kind("an answer without text"),
    "wrong": Kind("an answer that a judge finds bad"),
    "huge": Kind("an answer of VALUE tokens", default=50_000),
}

_WRITTEN = re.compile(r"(?P<kind>[a-z0-9-]+)(?::(?P<value>\d+(?:\.\d+)?))?(?:\*(?P<times>\d+))?")
_MARK = re.compile(r"\[\[sim:([^\]]+)\]\]")


class Fault(Struct, frozen=True):
    """``times``: only the first so many requests with the same model and prompt fail."""

    kind: str
    value: float | None = None
    times: int | None = None


def parse_fault(text: str) -> Fault:
    """Raises ValueError, naming the kinds, when ``text`` is not a fault."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None or match["kind"] not in KINDS:
        raise ValueError(f"unknown fault {text!r}; known: {', '.join(KINDS)}")
    value = float(match["value"]) if match["value"] else KINDS[match["kind"]].default
    return Fault(match["kind"], value, int(match["times"]) if match["times"] else None)


def parse_faults(text: str) -> list[Fault]:
    """A comma-separated list, as in the ``x-sim-fault`` header. Raises ValueError."""
    return [parse_fault(part) for part in text.split(",") if part.strip()]


def marks(prompt: str) -> list[Fault]:
    """The faults that a prompt asks for by ``[[sim:...]]``. Raises ValueError."""
    return [fault for text in _MARK.findall(prompt) for fault in parse_faults(text)]


class Rule(Struct, frozen=True):
    """Which requests get ``fault``.

    ``match``: shell pattern for ``provider/model`` or the bare model; ``*`` is the whole
    server. ``probability`` of each matching call. ``first``: only the first so many of them;
    ``after``: skip so many before that.
    """

    fault: str
    match: str = "*"
    probability: float = 1.0
    first: int | None = None
    after: int = 0

    def __post_init__(self) -> None:
        parse_faults(self.fault)
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability} is not in 0..1")

    @classmethod
    def written(cls, text: str) -> "Rule":
        """``[PATTERN=]FAULT[@PROBABILITY]``; ``*N`` after the fault: the first N calls.

        Raises ValueError.
        """
        match, _, rest = text.rpartition("=")
        rest, _, chance = rest.partition("@")
        fault, _, first = rest.partition("*")
        return cls(
            fault, match or "*", float(chance) if chance else 1.0, int(first) if first else None
        )

    @classmethod
    def of(cls, value: Any) -> "Rule":
        """From JSON: an object with the fields of a rule, or the written form.

        Raises ValueError.
        """
        if isinstance(value, str):
            return cls.written(value)
        try:
            return cls(**value)
        except TypeError as exc:
            raise ValueError(f"not a fault rule: {value!r}") from exc


class FaultBook:
    """The rules in force and how often each was asked. Safe to use from several threads."""

    def __init__(self, rules: Iterable[Rule] = (), seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._seed = seed
        self._rules: list[Rule] = list(rules)
        self._asked: list[int] = [0] * len(self._rules)
        self._tries: Counter[tuple[str, str, str]] = Counter()

    def add(self, *rules: Rule) -> None:
        with self._lock:
            self._rules.extend(rules)
            self._asked.extend([0] * len(rules))

    def clear(self) -> None:
        with self._lock:
            self._rules, self._asked = [], []
            self._tries.clear()

    def listing(self) -> list[dict[str, Any]]:
        with self._lock:
            pairs = zip(self._rules, self._asked, strict=True)
            return [{**asdict(rule), "asked": asked} for rule, asked in pairs]

    def by_rule(self, provider: str, model: str) -> list[Fault]:
        """The faults of this call by the rules; counts the call."""
        found: list[Fault] = []
        full = f"{provider}/{model}"
        with self._lock:
            for index, rule in enumerate(self._rules):
                if not (fnmatchcase(full, rule.match) or fnmatchcase(model, rule.match)):
                    continue
                call = self._asked[index]
                self._asked[index] += 1
                if call < rule.after:
                    continue
                if rule.first is not None and call >= rule.after + rule.first:
                    continue
                # A generator per call keeps the n-th call's fate independent of other rules.
                if (
                    rule.probability >= 1
                    or Random(f"{self._seed}/{index}/{call}").random() < rule.probability
                ):
                    found.extend(parse_faults(rule.fault))
        return found

    def still(self, fault: Fault, model: str, prompt_hash: str) -> bool:
        """False once a fault with ``times`` has hit this model and prompt so often."""
        if fault.times is None:
            return True
        key = (fault.kind, model, prompt_hash)
        with self._lock:
            self._tries[key] += 1
            return self._tries[key] <= fault.times
