"""Reads single values of other tools' records: counts, money, times, names.

Whatever does not fit raises ``Unreadable`` with a reason; readers turn that into an
``ImportProblem`` for the line and go on.
"""

import hashlib
import math
import sys
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from omni_cli.domain.chat import Usage
from omni_cli.domain.money import NUSD_PER_USD

#: What was passed over on purpose, by reason: unknown event types, unknown columns.
Skips = Counter[str]

#: Beyond this a count is a broken file, not a bill (and floats stop being exact).
MAX_COUNT = 2**53
#: SQLite's largest integer, hence the ledger's largest amount.
MAX_NUSD = 2**63 - 1
#: Year 2200, ms: some decades before ids, which begin with a time, are longer than SQLite's
#: integers.
MAX_MS = 7_258_118_400_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Numbers above this are milliseconds, below it seconds (year 5138 in seconds, 1973 in ms).
_MS_THRESHOLD = 10**11


class Unreadable(ValueError):
    """A record cannot be used; the message says why, in words for the user."""


def obj(value: object) -> Mapping[str, Any]:
    """A JSON object, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def shared_text(value: object) -> str | None:
    """``text`` for what many records share (models, sessions, folders): one copy in memory."""
    found = text(value)
    return None if found is None else sys.intern(found)


def text(value: object) -> str | None:
    """A non-empty string that can be stored, or None."""
    if not isinstance(value, str):
        return None
    value = value.strip()
    if not value.isascii():
        # Lone surrogates are legal in JSON but not in UTF-8, so the store would refuse them.
        value = value.encode("utf-8", "replace").decode("utf-8")
    return value or None


def count(value: object, name: str) -> int | None:
    """A token count; None when absent or empty.

    Accepts integers, and integral floats or decimal text such as ``3.0``.

    Raises:
        Unreadable: negative, fractional, not a number, or absurdly large.
    """
    if type(value) is int and 0 <= value <= MAX_COUNT:  # nearly always
        return value
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            number = Decimal(value.strip())
        except InvalidOperation:
            raise Unreadable(f"{name} is not a number: {value[:40]!r}") from None
        if not number.is_finite() or abs(number) > MAX_COUNT or number != int(number):
            raise Unreadable(f"{name} is not a whole number: {value[:40]!r}")
        value = int(number)
    elif isinstance(value, float):
        if not math.isfinite(value) or value != int(value):
            raise Unreadable(f"{name} is not a whole number: {value!r}")
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise Unreadable(f"{name} is not a number")
    if not 0 <= value <= MAX_COUNT:
        raise Unreadable(f"{name} is out of range")
    return value


def decimal(value: object, name: str) -> Decimal | None:
    """A finite decimal from a JSON number or text; None when absent or empty."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise Unreadable(f"{name} is not a number")
    try:
        # repr of a float is its shortest exact text: 0.1 stays 0.1.
        number = Decimal(value.strip() if isinstance(value, str) else repr(value))
    except (InvalidOperation, ValueError):
        raise Unreadable(f"{name} is not a number: {str(value)[:40]!r}") from None
    if not number.is_finite():
        raise Unreadable(f"{name} is not a number: {str(value)[:40]!r}")
    return number


def nusd(value: object, name: str, *, signed: bool = False) -> int | None:
    """US dollars (number or text) as nano-dollars, rounded half to even; None when absent."""
    dollars = decimal(value, name)
    if dollars is None:
        return None
    if abs(dollars) * NUSD_PER_USD > MAX_NUSD:
        raise Unreadable(f"{name} is out of range")
    amount = round(dollars * NUSD_PER_USD)
    if amount < 0 and not signed:
        raise Unreadable(f"{name} is negative")
    return amount


def cost_if_known(value: object, name: str, tokens: int) -> int | None:
    """Recorded cost of tools that write 0 both for "free" and for "price not known".

    With tokens used, 0 is therefore unknown, and omni prices the tokens itself.
    """
    amount = nusd(value, name)
    return None if amount == 0 and tokens else amount


def at_ms(value: object, name: str = "timestamp") -> int:
    """Milliseconds since the epoch from ISO 8601 text (UTC where no zone is given), seconds or
    milliseconds.

    Raises:
        Unreadable: absent, not a time, before 1970 or more than an id can hold (domain/ids.py).
    """
    at = _at_ms(value, name)
    if not 0 < at < MAX_MS:
        raise Unreadable(f"{name} is out of range")
    return at


def _at_ms(value: object, name: str) -> int:
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            try:
                moment = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
            except ValueError:
                return _ms_of(value, name)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        apart = moment - _EPOCH
        return apart.days * 86_400_000 + apart.seconds * 1000 + apart.microseconds // 1000
    return _ms_of(value, name)


def _ms_of(value: object, name: str) -> int:
    """Of a number, or text that is one."""
    if isinstance(value, str):
        try:
            return _ms_of(float(value), name)
        except Unreadable:
            raise
        except ValueError:
            raise Unreadable(f"{name} is not a time: {value[:40]!r}") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**14:
        raise Unreadable(f"{name} is missing or not a time")
    return int(value if value >= _MS_THRESHOLD else round(value * 1000))


def day_of(ms: int) -> str:
    """ISO date (UTC) of a time in milliseconds."""
    return (_EPOCH + timedelta(milliseconds=ms)).date().isoformat()


def base_name(path: object) -> str | None:
    """Last component of a POSIX or Windows path."""
    return _base_name(path) if isinstance(path, str) else None


@lru_cache(maxsize=256)
def _base_name(path: str) -> str | None:
    whole = text(path)
    if whole is None:
        return None
    return shared_text(whole.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1])


def digest(*parts: object) -> str:
    """A short stable id from values, for records that carry none."""
    joined = "\x1f".join("" if part is None else str(part) for part in parts)
    return hashlib.blake2b(joined.encode("utf-8", "replace"), digest_size=12).hexdigest()


@lru_cache(maxsize=64)
def _shared(names: frozenset[str]) -> frozenset[str]:
    """One set for all calls that leave the same fields open: there are few, and many calls."""
    return names


def make_usage(
    input_tokens: int | None,
    output_tokens: int | None,
    *,
    cached: int | None = None,
    cache_write: int | None = None,
    cache_write_1h: int | None = None,
    reasoning: int | None = None,
    estimated: bool = False,
    **others: int,
) -> tuple[Usage | None, frozenset[str]]:
    """``Usage`` from counts where None is "not said", and the fields left open.

    ``input_tokens`` includes cache reads and writes, ``output_tokens`` reasoning. Parts are cut
    to their whole. (None, ...) when neither input nor output is stated.
    """
    given = {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "cached_tokens": cached,
        "cache_write_tokens": cache_write,
        "reasoning_tokens": reasoning,
    }
    unstated = _shared(frozenset(name for name, value in given.items() if value is None))
    if input_tokens is None and output_tokens is None:
        return None, unstated
    whole_in, whole_out = input_tokens or 0, output_tokens or 0
    reads = min(cached or 0, whole_in)
    writes = min(cache_write or 0, whole_in - reads)
    usage = Usage(
        input_tokens=whole_in,
        cached_tokens=reads,
        cache_write_tokens=writes,
        cache_write_1h_tokens=min(cache_write_1h or 0, writes),
        output_tokens=whole_out,
        reasoning_tokens=min(reasoning or 0, whole_out),
        estimated=estimated,
        beside=(),
        units=(),
        **others,
    )
    return usage, unstated
