"""A circuit breaker as a value: it keeps dead models out without asking them again and again.

    closed ── failures in a row, or too many of late, or one that waiting cannot cure ──▶ open
    open ── its time is up, and one caller claims the probe ──▶ half_open
    half_open ── the probe succeeds ──▶ closed
    half_open ── the probe fails ──▶ open, for twice as long (up to a cap)

Every transition is a pure function of the state, the time and what happened, so processes share
a breaker by storing its JSON and changing it within a transaction. A half-open breaker's claim
runs out, so that a process killed during its probe does not keep a model out for good.

And how long to wait before the same model is tried again (``delay_s``).
"""

import json
from typing import Literal, Protocol, get_args

import msgspec
from msgspec import Struct

from omni_cli.domain import errors
from omni_cli.domain.record import asdict, replace

BreakerState = Literal["closed", "open", "half_open"]

#: The target itself is at fault, and time may cure it.
TRANSIENT: frozenset[str] = frozenset(
    kind.code
    for kind in (
        errors.RateLimited,
        errors.Overloaded,
        errors.TimedOut,
        errors.ConnectionFailed,
        errors.Malformed,
    )
)
#: A person has to act (a key, credit, a model's name): the breaker opens at once, as an error.
FATAL: frozenset[str] = frozenset(
    kind.code for kind in (errors.AuthError, errors.QuotaExceeded, errors.ModelNotFound)
)


class BreakerSettings(Struct, frozen=True):
    """When to open and for how long.

    Opens after ``failures`` transient ones in a row, or when, of at least ``min_calls`` within
    about ``window_ms``, ``rate_percent`` failed. Stays open ``open_ms`` (``fatal_open_ms`` after
    a fatal error), doubled each time a probe fails, at most ``max_open_ms``. A probe is given
    up for lost after ``probe_ms``.
    """

    failures: int = 5
    window_ms: int = 60_000
    min_calls: int = 10
    rate_percent: int = 50
    open_ms: int = 30_000
    fatal_open_ms: int = 300_000
    max_open_ms: int = 900_000
    probe_ms: int = 120_000


DEFAULT_SETTINGS = BreakerSettings()


class Breaker(Struct, frozen=True):
    """One target's state. Times are ms since the epoch, UTC.

    ``until_ms``: when open, from when a probe may go; when half open, until when the probe's
    claim holds. ``since_ms``: when this state began. ``opened``: times in a row that it opened.
    ``window_ms``: start of the current counting window; ``good`` and ``bad`` count calls in it,
    ``good_before`` and ``bad_before`` in the one before. ``error``: it opened for a fatal error.
    ``access``: a digest of the key and address that it opened for, "" where that is not known.
    """

    state: BreakerState = "closed"
    since_ms: int = 0
    until_ms: int = 0
    opened: int = 0
    streak: int = 0
    window_ms: int = 0
    good: int = 0
    bad: int = 0
    good_before: int = 0
    bad_before: int = 0
    error: bool = False
    last_error: str = ""
    last_error_ms: int = 0
    access: str = ""

    def seen_from(self, access: str) -> "Breaker":
        """The breaker for a caller with this access: closed where another one's had failed."""
        other = access and self.access and access != self.access
        return self._closed() if other else self

    def allows(
        self, now_ms: int, settings: BreakerSettings = DEFAULT_SETTINGS
    ) -> bool | Literal["probe"]:
        """May a call go? ``"probe"``: only the one that claims it first, with ``claim``."""
        if self.state == "closed":
            return True
        longest = settings.probe_ms if self.state == "half_open" else settings.max_open_ms
        # A wait longer than any that is ever set means that the clock was put back since.
        waiting = 0 < self.until_ms - now_ms <= longest
        return False if waiting else "probe"

    def claim(self, now_ms: int, settings: BreakerSettings = DEFAULT_SETTINGS) -> "Breaker":
        """Take the probe where ``allows`` says so; otherwise the same breaker.

        Call it within a transaction: whoever sees a change here, and nobody else, sends the
        probe and reports its end by ``on_success`` or ``on_failure``.
        """
        if self.allows(now_ms, settings) != "probe":
            return self
        until_ms = now_ms + settings.probe_ms
        return replace(self, state="half_open", since_ms=now_ms, until_ms=until_ms)

    def on_success(
        self,
        now_ms: int,
        *,
        started_ms: int | None = None,
        settings: BreakerSettings = DEFAULT_SETTINGS,
    ) -> "Breaker":
        """A call ended well. ``started_ms``: when it began; None means just now.

        A success that began before the breaker opened proves nothing about now, and changes
        nothing. In a healthy target's breaker nothing changes either, so nothing is written.
        """
        if self.state != "closed":
            return self if self._is_stale(started_ms) else self._closed()
        if not (self.streak or self.bad or self.bad_before or self.opened):
            return self
        counted = self._counted(now_ms, settings)
        if not (counted.bad or counted.bad_before):
            return self._closed()
        return replace(counted, good=counted.good + 1, streak=0)

    def on_failure(
        self,
        now_ms: int,
        error_code: str,
        *,
        started_ms: int | None = None,
        retry_after_s: float | None = None,
        settings: BreakerSettings = DEFAULT_SETTINGS,
    ) -> "Breaker":
        """A call failed.

        Args:
            error_code: ``OmniError.code``. Codes that blame the request (``bad_request``,
                ``context_too_long``...) show that the target answers: a success here.
                ``cancelled`` shows nothing, and gives a probe back.
            started_ms: when the call began; None means just now.
            retry_after_s: what the provider asked for; a longer wait than ``open_ms`` opens the
                breaker at once, until then (``max_open_ms`` at most).
        """
        if error_code == errors.Cancelled.code:
            mine = self.state == "half_open" and not self._is_stale(started_ms)
            return replace(self, state="open", until_ms=now_ms) if mine else self
        if error_code not in TRANSIENT and error_code not in FATAL:
            return self.on_success(now_ms, started_ms=started_ms, settings=settings)
        failed = replace(self, last_error=error_code, last_error_ms=now_ms)
        fatal = error_code in FATAL
        if self.state != "closed":
            # Calls that began earlier all fail now; only the probe tells about the present.
            if self.state == "open" or self._is_stale(started_ms):
                return failed
            return failed._open(now_ms, fatal, retry_after_s, settings)
        counted = failed._counted(now_ms, settings)
        counted = replace(counted, bad=counted.bad + 1, streak=self.streak + 1)
        if (
            fatal
            or counted.streak >= settings.failures
            or _asked_ms(retry_after_s, settings) > settings.open_ms
            or counted._fails_often(now_ms, settings)
        ):
            return counted._open(now_ms, fatal, retry_after_s, settings)
        return counted

    def on_check(self) -> "Breaker":
        """Its provider answered a check: closed, but it remembers how often it had opened, so
        that a target which fails again is kept out for longer, until a call succeeds."""
        if self.state == "closed" and not (self.streak or self.bad or self.bad_before):
            return self
        return replace(self._closed(), opened=self.opened)

    def to_json(self) -> str:
        """Only what differs from a new breaker; the same state is always the same text."""
        new = asdict(_NEW)
        return json.dumps({k: v for k, v in asdict(self).items() if v != new[k]}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | None) -> "Breaker":
        """A stored state. One that cannot be read counts as new: a few calls rebuild it."""
        try:
            stored = msgspec.json.decode(text or "{}")
        except (msgspec.DecodeError, ValueError):
            return _NEW
        known = asdict(_NEW)
        if not isinstance(stored, dict) or stored.get("state", "closed") not in _STATES:
            return _NEW
        if any(type(value) is not type(known.get(key)) for key, value in stored.items()):
            return _NEW
        return cls(**stored)

    def _is_stale(self, started_ms: int | None) -> bool:
        return started_ms is not None and started_ms < self.since_ms

    def _closed(self) -> "Breaker":
        """Healthy; only the memory of the last error stays."""
        return Breaker(last_error=self.last_error, last_error_ms=self.last_error_ms)

    def _counted(self, now_ms: int, settings: BreakerSettings) -> "Breaker":
        """With the counting window moved up to now."""
        elapsed = now_ms - self.window_ms
        if 0 <= elapsed < settings.window_ms:
            return self
        if settings.window_ms <= elapsed < 2 * settings.window_ms:
            start, good, bad = self.window_ms + settings.window_ms, self.good, self.bad
        else:
            start, good, bad = now_ms, 0, 0
        return replace(self, window_ms=start, good=0, bad=0, good_before=good, bad_before=bad)

    def _fails_often(self, now_ms: int, settings: BreakerSettings) -> bool:
        """The window before counts by the share of it that is still within one window of now.

        Successes are counted only while there are failures to weigh them against, so this is
        the rate since the trouble began.
        """
        left = settings.window_ms - (now_ms - self.window_ms)
        bad = self.bad + self.bad_before * left // settings.window_ms
        calls = bad + self.good + self.good_before * left // settings.window_ms
        return calls >= settings.min_calls and bad * 100 >= calls * settings.rate_percent

    def _open(
        self, now_ms: int, fatal: bool, retry_after_s: float | None, settings: BreakerSettings
    ) -> "Breaker":
        first_ms = settings.fatal_open_ms if fatal else settings.open_ms
        wait_ms = first_ms << min(self.opened, 30)
        wait_ms = max(wait_ms, _asked_ms(retry_after_s, settings))
        return Breaker(
            state="open",
            since_ms=now_ms,
            until_ms=now_ms + min(wait_ms, settings.max_open_ms),
            opened=self.opened + 1,
            error=fatal,
            last_error=self.last_error,
            last_error_ms=self.last_error_ms,
        )


_NEW = Breaker()
_STATES = get_args(BreakerState)


def _asked_ms(retry_after_s: float | None, settings: BreakerSettings) -> int:
    if retry_after_s is None or not retry_after_s > 0:  # nor a NaN
        return 0
    return round(min(retry_after_s * 1000, settings.max_open_ms))


#: Ceiling of the first wait; it doubles with each retry.
BASE_S = 0.5
#: No computed wait is longer.
CAP_S = 20.0
#: A provider that asks for a longer wait than this is given up on: others can answer sooner.
MAX_RETRY_AFTER_S = 30.0


class Random(Protocol):
    """``random.Random`` or a stand-in: numbers in [0, 1)."""

    def random(self) -> float: ...


def delay_s(
    attempt: int,
    *,
    retry_after_s: float | None = None,
    rng: Random,
    fixed_s: float | None = None,
    base_s: float = BASE_S,
    cap_s: float = CAP_S,
    max_retry_after_s: float = MAX_RETRY_AFTER_S,
) -> float | None:
    """Seconds to wait before retry number ``attempt``; None: do not wait, go to the next model.

    Exponential backoff with full jitter: uniform between 0 and ``base_s * 2**(attempt - 1)``,
    or ``cap_s`` if that is less (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture
    Blog, 2015: full jitter does the least work of the variants).

    Args:
        attempt: 1 before the first retry.
        retry_after_s: what the provider asked for, or None. The wait is never shorter; up to
            ``base_s`` is added, so that waiting processes do not all return at once.
        fixed_s: what its user has set instead of a backoff.
    """
    ceiling = min(cap_s, base_s * 2.0 ** min(attempt - 1, 64))
    backoff = ceiling * rng.random() if fixed_s is None else fixed_s
    if retry_after_s is None:
        return backoff
    # Written so that a NaN, too, gives up.
    if not retry_after_s <= max_retry_after_s:
        return None
    return max(backoff, retry_after_s + min(base_s, ceiling) * rng.random())
