"""What was seen of a provider or a model: calls and checks, and when it recovered (D1).

Failures in a row are one spell of trouble. Good evidence after them ends it: an answered call of
the same target, or a check that its provider answered, which shows nothing of a missing model or
of spent credit. From then on the spell counts no more, unless it comes back: then all of it does.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

from omni_cli.domain import breaker as breakers
from omni_cli.domain.errors import ModelNotFound, QuotaExceeded
from omni_cli.domain.record import replace
from omni_cli.domain.statistics import percentile

WINDOW_MS = 15 * 60_000
#: So many spells of trouble within the window, each followed by a recovery, are flapping, as long
#: as fewer calls than this share of the window succeeded.
FLAPPING = 2
#: A share of calls that went well is a warning below this, and bad below that.
WARNING_RATE, BAD_RATE = 0.95, 0.9
_LEAST_TOKENS = 10

#: Error codes that speak of the provider; all others blame the request or ourselves.
AT_FAULT: frozenset[str] = breakers.TRANSIENT | breakers.FATAL
#: A provider lists its models whether or not these are mended: only a call can tell.
UNSEEN_BY_CHECKS: frozenset[str] = frozenset({ModelNotFound.code, QuotaExceeded.code})


class Sample(Struct, frozen=True):
    """One attempt. ``good`` None: it tells nothing (a wrong request, a cancelled call).

    Times in ms since the epoch, UTC; durations in ms, None where not measured.
    """

    provider: str
    model: str
    at_ms: int
    good: bool | None
    latency_ms: int | None = None
    ttft_ms: int | None = None
    output_tokens: int = 0
    error_code: str | None = None
    error_message: str | None = None


class Check(Struct, frozen=True):
    """The last unbilled call to a provider: its list of models. ``earlier``: (when, whether it
    answered) of those before it within the window, oldest first."""

    at_ms: int
    ok: bool
    latency_ms: int | None = None
    models: int | None = None
    error_code: str | None = None
    error_message: str | None = None
    earlier: tuple[tuple[int, bool], ...] = ()

    @property
    def series(self) -> tuple[tuple[int, bool], ...]:
        return (*self.earlier, (self.at_ms, self.ok))


class Hour(Struct, frozen=True):
    """Calls that tell something, by hour; sums over the good ones. ``gen_ms``: time from first
    to last token, for ``gen_tokens`` tokens."""

    hour: int
    good: int
    bad: int
    latency_ms: int = 0
    gen_ms: int = 0
    gen_tokens: int = 0


class Window(Struct, frozen=True):
    """The recent calls of one target. Rates 0..1, durations ms; None where nothing was seen.

    ``good``, ``bad`` and the success rate count from ``since_ms`` (0: the whole window), which is
    the last recovery of a target that does not flap; ``forgotten`` failures were before it.
    ``calls``, errors and durations are those of the whole window. ``streak``: failures since the
    last good evidence. ``recoveries``: spells of trouble that good evidence has ended.
    """

    calls: int = 0
    good: int = 0
    bad: int = 0
    streak: int = 0
    recoveries: int = 0
    flapping: bool = False
    since_ms: int = 0
    forgotten: int = 0
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None
    ttft_p50_ms: float | None = None
    tokens_per_s: float | None = None
    timed: int = 0
    errors: Mapping[str, int] = field(default_factory=dict)
    last_error: str | None = None
    last_error_at_ms: int | None = None
    last_good_at_ms: int | None = None

    @property
    def told(self) -> int:
        """Calls that count and tell something."""
        return self.good + self.bad

    @property
    def success_rate(self) -> float | None:
        return self.good / self.told if self.told else None


class Spells(Struct, frozen=True):
    """Where the trouble of one target began and ended, in the order of its evidence."""

    streak: int = 0
    recoveries: int = 0
    recovered_at_ms: int = 0


def spells(evidence: Iterable[tuple[int, bool, bool]]) -> Spells:
    """
    Args:
        evidence: (when, good, ends the trouble) by time; the last says of good evidence whether
            it can end the trouble before it.
    """
    streak = recoveries = at_ms = 0
    for when, good, ends in evidence:
        if not good:
            streak += 1
        elif streak and ends:
            streak, recoveries, at_ms = 0, recoveries + 1, when
    return Spells(streak, recoveries, at_ms)


def window_of(samples: Iterable[Sample], answered_at: Iterable[int] = ()) -> Window:
    """Summarise the calls of one target, in any order.

    Args:
        answered_at: when its provider answered a check, ms.
    """
    ordered = sorted(samples, key=lambda sample: sample.at_ms)
    found = spells(_evidence(ordered, sorted(answered_at)))
    good = sum(sample.good is True for sample in ordered)
    told = good + sum(sample.good is False for sample in ordered)
    flapping = found.recoveries >= FLAPPING and good < WARNING_RATE * told
    since_ms = 0 if flapping else found.recovered_at_ms
    return _summary(
        ordered,
        [sample for sample in ordered if _counts(sample, since_ms)],
        Window(
            streak=found.streak,
            recoveries=found.recoveries,
            flapping=flapping,
            since_ms=since_ms,
        ),
    )


def window_of_all(samples: Iterable[Sample], windows: Mapping[str, Window]) -> Window:
    """A provider's calls together; each counts if it does in its model's own window."""
    ordered = sorted(samples, key=lambda sample: sample.at_ms)
    new = Window()
    return _summary(
        ordered,
        [s for s in ordered if _counts(s, windows.get(s.model, new).since_ms)],
        new,
    )


def _counts(sample: Sample, since_ms: int) -> bool:
    """A failure of the very millisecond of the recovery is one of those before it."""
    return sample.at_ms > since_ms or (sample.good is True and sample.at_ms == since_ms)


def _evidence(
    ordered: Iterable[Sample], answered_at: list[int]
) -> Iterator[tuple[int, bool, bool]]:
    """Calls and checks by time. A check disproves only what a list of models can disprove."""
    checks = iter(answered_at)
    check = next(checks, None)
    doubted = False
    for sample in ordered:
        while check is not None and check < sample.at_ms:
            yield check, True, not doubted
            check = next(checks, None)
        if sample.good is not None:
            doubted = not sample.good and (doubted or sample.error_code in UNSEEN_BY_CHECKS)
            yield sample.at_ms, sample.good, True
    while check is not None:
        yield check, True, not doubted
        check = next(checks, None)


def _summary(ordered: list[Sample], counted: list[Sample], given: Window) -> Window:
    good = [sample for sample in ordered if sample.good]
    bad = [sample for sample in ordered if sample.good is False]
    failed = sum(sample.good is False for sample in counted)
    latencies = [sample.latency_ms for sample in good if sample.latency_ms is not None]
    ttfts = [sample.ttft_ms for sample in good if sample.ttft_ms is not None]
    timed = [
        (sample.output_tokens, sample.latency_ms - sample.ttft_ms)
        for sample in good
        if sample.latency_ms is not None
        and sample.ttft_ms is not None
        and sample.output_tokens >= _LEAST_TOKENS
        and sample.latency_ms > sample.ttft_ms
    ]
    generating = sum(ms for _, ms in timed)
    return replace(
        given,
        calls=len(ordered),
        good=sum(sample.good is True for sample in counted),
        bad=failed,
        forgotten=len(bad) - failed,
        latency_p50_ms=percentile(latencies, 0.5) if latencies else None,
        latency_p95_ms=percentile(latencies, 0.95) if latencies else None,
        ttft_p50_ms=percentile(ttfts, 0.5) if ttfts else None,
        tokens_per_s=sum(n for n, _ in timed) * 1000 / generating if generating else None,
        timed=len(timed),
        errors=dict(Counter(sample.error_code or "error" for sample in bad)),
        last_error=(bad[-1].error_message or bad[-1].error_code) if bad else None,
        last_error_at_ms=bad[-1].at_ms if bad else None,
        last_good_at_ms=good[-1].at_ms if good else None,
    )
