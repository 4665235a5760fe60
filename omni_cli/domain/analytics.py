"""Figures out of counted usage: sums, percentiles, changes, shares, series and a projection.

Money is integer nano-dollars and stays so; a figure that cannot be known is None, never zero.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from math import floor, isqrt, log2
from typing import TYPE_CHECKING

from msgspec import Struct

from omni_cli.domain.money import known_nusd

if TYPE_CHECKING:
    from fractions import Fraction

#: Latency buckets grow by 2**(1/4), some 19 %: percentiles are off by at most 9 %.
BUCKETS_PER_DOUBLING = 4
#: Days that a projection looks back on: whole weeks, so that each weekday counts alike.
LOOKBACK_DAYS = 28
#: Standard deviations on either side that hold 80 % of a normal distribution, in thousandths.
_Z80_PERMILLE = 1282
OTHERS = "Others"


class Totals(Struct, frozen=True):
    """Sums over some usage.

    ``calls`` are requests (``ok`` of them answered), counted under the model that answered;
    ``attempts`` are tries, counted with their tokens and money under the model that was tried.
    ``unknown_attempts`` have no price: their cost is in none of the sums. ``estimated_nusd`` is
    the part of ``cost_nusd`` that rests on estimated token counts, ``failed_nusd`` on failed
    attempts. ``cached_tokens`` and ``cache_write_tokens`` are part of input,
    ``reasoning_tokens`` of output. ``compared_nusd`` is the cost of the ``compared_calls`` whose
    cost at the premium model, ``premium_nusd``, is known; ``unanswered_nusd`` that of requests
    that ended without an answer. ``latency_ms`` is the sum over ``latency_calls``.
    """

    calls: int = 0
    ok: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    unknown_attempts: int = 0
    estimated_attempts: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_nusd: int = 0
    input_cost_nusd: int = 0
    estimated_nusd: int = 0
    failed_nusd: int = 0
    premium_nusd: int = 0
    compared_nusd: int = 0
    compared_calls: int = 0
    unanswered_nusd: int = 0
    latency_ms: int = 0
    latency_calls: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(getattr(self, name) + getattr(other, name) for name in TOTALS_FIELDS))

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(*(getattr(self, name) - getattr(other, name) for name in TOTALS_FIELDS))

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def uncached_tokens(self) -> int:
        """Of the input, what the cache neither read nor wrote."""
        return self.input_tokens - self.cached_tokens - self.cache_write_tokens

    @property
    def success(self) -> float | None:
        """Share of requests that were answered, 0..1."""
        return self.ok / self.calls if self.calls else None

    @property
    def attempt_success(self) -> float | None:
        """Share of tries that went well, 0..1: what says how reliable a model is."""
        return (self.attempts - self.failed_attempts) / self.attempts if self.attempts else None

    @property
    def mean_latency_ms(self) -> float | None:
        return self.latency_ms / self.latency_calls if self.latency_calls else None

    @property
    def known_nusd(self) -> int | None:
        """The cost; None where no try has a known price."""
        return known_nusd(self.cost_nusd, self.unknown_attempts, self.attempts)


TOTALS_FIELDS: tuple[str, ...] = Totals.__struct_fields__


def sum_totals(items: Iterable[Totals]) -> Totals:
    """All of them as one."""
    return sum(items, Totals())


def latency_bucket(latency_ms: int) -> int:
    """Index of the bucket that holds a latency; 0 ms shares the bucket of 1 ms."""
    return floor(log2(max(latency_ms, 1)) * BUCKETS_PER_DOUBLING)


def bucket_latency_ms(bucket: int) -> float:
    """The bucket's geometric middle."""
    return float(2 ** ((bucket + 0.5) / BUCKETS_PER_DOUBLING))


def percentile(buckets: Mapping[int, int], share: float) -> float | None:
    """The latency in ms that ``share`` (0..1) of the calls do not exceed; None without calls.

    Nearest rank over bucket counts; within 9 % of the exact value (a bucket's half width).
    """
    total = sum(buckets.values())
    if total <= 0:
        return None
    rank = max(1, -(-round(share * 1000) * total // 1000))
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            return bucket_latency_ms(bucket)
    return None


def change(now: float | None, before: float | None) -> float | None:
    """Relative change, 0.25 for a quarter more; None where there was nothing before."""
    if now is None or before is None or before == 0:
        return None
    return (now - before) / abs(before)


class Share(Struct, frozen=True):
    """``share`` is 0..1 of the whole, None where the whole is nothing."""

    name: str
    nusd: int
    share: float | None


def shares(amounts: Mapping[str, int], *, top: int) -> tuple[Share, ...]:
    """The ``top`` largest amounts, and what is left as Others; largest first, names break ties."""
    whole = sum(amounts.values())
    ranked = sorted(amounts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ranked[:top], ranked[top:]
    # One more row costs as much room as a row called Others that hides a single name.
    if len(rest) == 1:
        shown, rest = ranked, []
    if rest:
        shown = [*shown, (OTHERS, sum(amount for _, amount in rest))]
    return tuple(Share(name, nusd, nusd / whole if whole else None) for name, nusd in shown)


def day_key(day: date) -> int:
    """A date as the number yyyymmdd, as rollups keep it."""
    return day.year * 10_000 + day.month * 100 + day.day


def key_date(key: int) -> date:
    """The date of yyyymmdd."""
    return date(key // 10_000, key // 100 % 100, key % 100)


def calendar(first: date, after: date) -> list[int]:
    """yyyymmdd of every date from ``first`` up to ``after``, the latter not included."""
    return [day_key(first + timedelta(days=n)) for n in range((after - first).days)]


class Projection(Struct, frozen=True):
    """What a period will have cost at its end.

    ``low_nusd`` to ``high_nusd`` holds it in four of five cases if days vary as they did; None
    where too little is known to say. ``method`` says in words how it was reached. ``rest``: what
    today is expected to add to what it has cost, and each day to come; empty where nothing is
    projected.
    """

    nusd: int
    low_nusd: int | None
    high_nusd: int | None
    method: str
    rest: tuple[int, ...] = ()

    def path(self) -> list[tuple[int, int, int]]:
        """What will have been spent at the end of today and of each day to come: expected, low,
        high. Days vary each for itself, so the range widens with the root of their number."""
        spent = self.nusd - sum(self.rest)
        high = self.nusd if self.high_nusd is None else self.high_nusd
        found, amount = [], spent
        for n, more in enumerate(self.rest, 1):
            amount += more
            margin = round((high - self.nusd) * (n / len(self.rest)) ** 0.5)
            found.append((amount, max(amount - margin, spent), amount + margin))
        return found


def project(
    spent_nusd: int, today: date, after: date, history: Mapping[int, int], first: date | None
) -> Projection:
    """Project the cost of a period that ends before ``after``.

    Args:
        spent_nusd: what the period has cost until now, today's part included.
        today: the current local date, in the period.
        after: the first date after the period.
        history: nano-dollars by yyyymmdd; days that are missing cost nothing.
        first: the first date with any usage, None where there is none.

    Each day to come, and today as a whole, is taken to cost what its weekday cost on average on
    the last 28 complete days (with less than two weeks, what all complete days cost on average).
    Today counts with what it has already cost where that is more.
    """
    begin = max(first, today - timedelta(days=LOOKBACK_DAYS)) if first else today
    known = [begin + timedelta(days=n) for n in range((today - begin).days)]
    spent_today = history.get(day_key(today), 0)
    if not known:
        return Projection(spent_nusd, None, None, "spent so far: no complete day to project from")
    costs = [history.get(day_key(day), 0) for day in known]
    by_weekday = len(known) >= 14
    expected = [
        _mean([c for c, d in zip(costs, known, strict=True) if d.weekday() == weekday])
        if by_weekday
        else _mean(costs)
        for weekday in range(7)
    ]
    coming = [today + timedelta(days=n) for n in range((after - today).days)]
    rest = (
        max(expected[today.weekday()] - spent_today, 0),
        *(expected[day.weekday()] for day in coming[1:]),
    )
    total = spent_nusd + sum(rest)
    word = "its weekday's mean" if by_weekday else "the mean"
    days = f"{len(known)} complete day{'s' * (len(known) > 1)}"
    method = f"spent so far, and {word} over the last {days} for each day to come"
    if len(known) < 7:
        return Projection(total, None, None, method, rest)
    misses = [(c - expected[d.weekday()]) ** 2 for c, d in zip(costs, known, strict=True)]
    freedom = max(len(known) - (7 if by_weekday else 1), 1)
    margin = isqrt(len(coming) * sum(misses) // freedom) * _Z80_PERMILLE // 1000
    return Projection(total, max(total - margin, spent_nusd), total + margin, method, rest)


def per_day(total: int, today: int, days: int) -> "Fraction":
    """What an ordinary day has, by the rule of ``project``: complete days by their mean, and
    today, which is not over, as one of them unless it has more already.

    Args:
        total: calls, tokens or nano-dollars of all days, today's part included.
        today: today's part.
        days: dates from the first with any usage to today, both included; n >= 1.
    """
    from fractions import Fraction  # each start of a command would load it

    before = total - today
    usual = Fraction(before, days - 1) if days > 1 else Fraction(0)
    return (before + max(usual, Fraction(today))) / max(days, 1)


def _mean(amounts: Sequence[int]) -> int:
    return sum(amounts) // len(amounts)
