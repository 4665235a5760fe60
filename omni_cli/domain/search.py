"""What people write to find requests: ``model:sonnet state:failed cost>0.01 since:2h``.

Terms stand beside each other and all must hold. ``field:words`` finds words anywhere in a field,
``field=words`` only all of it, either case; ``a,b`` is one or the other, ``-term`` and
``!term`` its opposite.
Figures compare with ``> >= < <= =``. What names no field is looked for in all of a request's names.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.ledger import RequestRow, RequestState
from omni_cli.domain.money import nusd_to_usd, usd_to_nusd
from omni_cli.domain.periods import duration_ms

Order = Literal["time", "cost", "took", "tokens"]
ORDERS: tuple[Order, ...] = get_args(Order)
STATES: tuple[str, ...] = get_args(RequestState)
#: Fields of text, and those that a bare word is looked for in.
TEXTS = (
    "model", "provider", "role", "agent", "task", "session", "project", "source", "state",
    "error", "org", "key",
)  # fmt: skip
ANYWHERE = tuple(name for name in TEXTS if name not in ("provider", "org", "key"))
#: Figures: nano-dollars (written in US dollars), tokens, milliseconds (2s, 500ms), calls.
FIGURES = ("cost", "tokens", "input", "output", "took", "attempts")
TIMES = ("since", "until")
FIELDS = (*TEXTS, *FIGURES, *TIMES)
Op = Literal[":", "=", ">", ">=", "<", "<="]

_WORD = re.compile(r'(?:"[^"]*"?|[^\s"])+')
_TERM = re.compile(r"([a-z]+)(>=|<=|[:=<>])(.*)", re.DOTALL | re.IGNORECASE)
_VALUE = re.compile(r'"([^"]*)"?|([^,"]+)')
_PLAIN = re.compile(r'[^\s",:=<>!-][^\s",]*')
_TOOK = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)?")
_TOOK_MS = {"ms": 1, "s": 1_000, "m": 60_000, None: 1}
_LOWER = {n: n + 32 for n in range(ord("A"), ord("Z") + 1)}


class Term(Struct, frozen=True):
    """``field`` "" is any of ANYWHERE. ``values``: texts, at least one; of a figure one integer in
    its unit; of a time one text, whose meaning depends on the present."""

    field: str
    op: Op
    values: tuple[str | int, ...]
    negated: bool = False

    def __str__(self) -> str:
        sign = "-" if self.negated else ""
        head = f"{self.field}{self.op}" if self.field else ""
        return sign + head + ",".join(_written(self.field, value) for value in self.values)


class Search(Struct, frozen=True):
    """What every request that is found fulfils; without terms all are."""

    terms: tuple[Term, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.terms))

    def span(self, now_ms: int, zone: str) -> tuple[int, int | None]:
        """(from, before) of the times asked for, ms; what is not asked for is 0 and None."""
        first, after = 0, None
        for term in self.terms:
            if term.field in TIMES:
                at = moment_ms(str(term.values[0]), now_ms, zone)
                if term.field == "since":
                    first = max(first, at)
                else:
                    after = at if after is None else min(after, at)
        return first, after

    def matches(self, row: RequestRow) -> bool:
        """Whether a request is one of these, its time aside."""
        return all(_holds(term, row) for term in self.terms if term.field not in TIMES)

    def also(self, *terms: Term) -> "Search":
        return Search((*self.terms, *terms))


def exactly(**values: str | None) -> list[Term]:
    """Terms of fields that are this and nothing else; None is not asked for."""
    return [Term(field, "=", (value,)) for field, value in values.items() if value is not None]


def parse(text: str) -> Search:
    """Raises UsageError: a field, a state or a value that cannot be."""
    return Search(tuple(_term(word) for word in _WORD.findall(text)))


def moment_ms(text: str, now_ms: int, zone: str) -> int:
    """``2h``, ``3d``, ``today``, ``yesterday``, ``2026-11-30``, ``2026-11-30T14:30``: local time,
    as ms since the epoch. Raises UsageError."""
    if re.fullmatch(r"[0-9]+[smhdw]", text):
        return now_ms - duration_ms(text)
    today = (
        datetime.fromtimestamp(now_ms / 1000, UTC)
        .astimezone(ZoneInfo(zone))
        .replace(hour=0, minute=0, second=0, microsecond=0)
    )
    if text in ("today", "yesterday"):
        day = today if text == "today" else today - timedelta(days=1)
        return int(day.timestamp() * 1000)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is no time", hint="write 30m, 2h, 3d, 1w, today, or a date: 2026-11-30"
        ) from None
    try:
        return int((at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))).timestamp() * 1000)
    except (OverflowError, ValueError):
        raise UsageError(f"{text!r} is no time that a request can have") from None


def _term(word: str) -> Term:
    # A shell's command takes what begins with a dash for an option.
    negated = len(word) > 1 and word[0] in "-!"
    rest = word[1:] if negated else word
    found = _TERM.fullmatch(rest)
    field = found[1].lower() if found else ""
    if found is None or field not in FIELDS:
        near = get_close_matches(field, FIELDS, 1, 0.75) if field else []
        if near:
            raise UsageError(f"no field {field!r}; did you mean {near[0]}?", hint=_hint())
        return Term("", ":", (_unquoted(rest),), negated)
    op: Op = next(op for op in get_args(Op) if op == found[2])
    return Term(field, op, _values(field, op, found[3]), negated)


def _values(field: str, op: Op, text: str) -> tuple[str | int, ...]:
    if field in FIGURES:
        return (_figure(field, text),)
    if op not in (":", "="):
        raise UsageError(f"{field}{op} compares words: write {field}:{text or 'WORDS'}")
    if field in TIMES:
        moment_ms(text, 0, "UTC")
        return (text,)
    values = tuple(quoted or plain for quoted, plain in _VALUE.findall(text))
    if not values:
        raise UsageError(f"{field}{op} of what?", hint=f"for example {field}:{_example(field)}")
    if field == "state":
        for value in values:
            if value.translate(_LOWER) not in STATES:
                raise UsageError(f"no state {value!r}", hint=f"one of {', '.join(STATES)}")
    return values


def _figure(field: str, text: str) -> int:
    try:
        if field == "cost":
            return usd_to_nusd(text.removeprefix("$"))
        if field == "took":
            found = _TOOK.fullmatch(text)
            if found is None:
                raise ValueError
            return round(float(found[1]) * _TOOK_MS[found[2]])
        size = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower(), 1)
        return round(float(text[:-1] if size > 1 else text) * size)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is no figure for {field}", hint=f"for example {field}>{_example(field)}"
        ) from None


def _example(field: str) -> str:
    return {"cost": "0.01", "took": "5s", "state": "failed", "model": "sonnet"}.get(field, "10")


def _hint() -> str:
    return f"fields are {', '.join(FIELDS)}; anything else is looked for as it stands"


def _unquoted(word: str) -> str:
    return word.replace('"', "")


def _written(field: str, value: str | int) -> str:
    if field == "cost":
        return f"{nusd_to_usd(int(value)):f}"
    text = str(value)
    if isinstance(value, int) or field in TIMES or _PLAIN.fullmatch(text):
        near = field or not (found := _TERM.fullmatch(text)) or found[1].lower() not in FIELDS
        if near:
            return text
    return f'"{text}"'


# --- what a request has of it --------------------------------------------------------------------

_TEXT: Mapping[str, Callable[[RequestRow], str]] = {
    "error": lambda row: f"{row.error_code or ''} {row.error_message or ''}",
}
_FIGURE: Mapping[str, Callable[[RequestRow], int | None]] = {
    "cost": lambda row: row.total_nusd,
    "tokens": lambda row: row.usage.input_tokens + row.usage.output_tokens,
    "input": lambda row: row.usage.input_tokens,
    "output": lambda row: row.usage.output_tokens,
    "took": lambda row: row.latency_ms,
    "attempts": lambda row: row.attempts,
}


def _text(row: RequestRow, field: str) -> str:
    if not field:
        return " ".join(_text(row, name) for name in ANYWHERE)
    own = _TEXT.get(field)
    return (own(row) if own else str(getattr(row, field))).translate(_LOWER)


def _holds(term: Term, row: RequestRow) -> bool:
    if term.field in FIGURES:
        value, wanted = _FIGURE[term.field](row), int(term.values[0])
        found = (
            value is not None
            and {
                ":": value == wanted,
                "=": value == wanted,
                ">": value > wanted,
                ">=": value >= wanted,
                "<": value < wanted,
                "<=": value <= wanted,
            }[term.op]
        )
    else:
        text = _text(row, term.field)
        wanted_texts = [str(value).translate(_LOWER) for value in term.values]
        if term.op == "=" or term.field == "state":
            found = text in wanted_texts
        else:
            found = any(value in text for value in wanted_texts)
    return found != term.negated
