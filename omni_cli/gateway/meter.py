"""How much each client key and organisation may ask: by the minute, and at once."""

import logging
import math
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from omni_cli.domain.errors import OmniError
from omni_cli.wire.server import Refused

if TYPE_CHECKING:
    from limits import RateLimitItemPerMinute
    from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

log = logging.getLogger("omni.gateway")

#: How long counts that could not be reached are left alone, seconds.
_AWAY_S = 5.0


class Quota(Struct, frozen=True):
    """Limits of a key or an organisation; None without limit.

    ``rpm`` and ``tpm``: requests and tokens a minute. ``concurrency``: requests at once.
    """

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


NO_LIMIT = Quota()


class CountsAway(OmniError):
    """Counts that are kept elsewhere cannot be reached."""

    code = "limits_unreachable"


class Metered(Protocol):
    """Who asks, and what it may use."""

    @property
    def key(self) -> str: ...
    @property
    def org(self) -> str: ...
    @property
    def quota(self) -> Quota: ...


class Entry:
    """A request that was counted in; ``leave`` exactly once."""

    __slots__ = ("_left", "_told", "spends")

    def __init__(self) -> None:
        #: What gives back a place, and what counts tokens used.
        self._left: list[Callable[[], None]] = []
        self.spends: list[Callable[[int], None]] = []
        self._told: dict[str, tuple[int, int, float]] = {}

    def tell(self, kind: str, most: int, left: int, reset_s: float) -> None:
        """How much of a limit is left, for its caller; of several the one with the least.

        Args:
            kind: "requests" or "tokens".
            reset_s: seconds until all of it is there again.
        """
        if kind not in self._told or left < self._told[kind][1]:
            self._told[kind] = most, left, reset_s

    def lines(self) -> bytes:
        """What SDKs read of limits, in OpenAI's form (its reference, "Rate limits in headers")."""
        return "".join(
            f"x-ratelimit-limit-{kind}: {most}\r\nx-ratelimit-remaining-{kind}: {max(left, 0)}\r\n"
            f"x-ratelimit-reset-{kind}: {max(reset_s, 0):.0f}s\r\n"
            for kind, (most, left, reset_s) in self._told.items()
        ).encode()

    def on_leave(self, give_back: Callable[[], None]) -> None:
        self._left.append(give_back)

    def leave(self, used: int = 0) -> None:
        """``used``: tokens that it took, input and output."""
        for give_back in self._left:
            give_back()
        self._left.clear()
        if used:
            for spend in self.spends:
                spend(used)


class SharedCounts(Protocol):
    """Counts that several gateways keep together."""

    async def enter(self, name: str, quota: Quota, tokens: int, entry: Entry) -> None:
        """Raises Refused as ``Meter.enter``, CountsAway when they cannot be reached."""

    async def close(self) -> None: ...


class Meter:
    """Counts requests in and out.

    Args:
        org: what every organisation may use.
        share: of each limit that this process grants where it counts alone, 1 for a single worker.
        shared: counts that several processes, also on several machines, keep together. While
            they cannot be reached this process counts alone: an outage there is none here.
    """

    def __init__(
        self, org: Quota = NO_LIMIT, *, share: float = 1.0, shared: SharedCounts | None = None
    ) -> None:
        self._org = org
        self._org_limited = org != NO_LIMIT
        self._shared = shared
        self._own = _OwnCounts(share)
        self._away_until: float | None = None

    def limits(self, who: Metered) -> bool:
        """Whether anything does: who may ask without limit need not be counted."""
        return self._org_limited or (who.quota is not NO_LIMIT and who.quota != NO_LIMIT)

    async def enter(self, who: Metered, tokens: int) -> Entry:
        """Count a request in.

        Args:
            tokens: estimate of its input.

        Raises:
            Refused: 429 with the seconds to wait.
        """
        entry = Entry()
        try:
            if who.quota != NO_LIMIT:
                await self._enter("key " + who.key, who.quota, tokens, entry)
            if self._org_limited:
                await self._enter("org " + who.org, self._org, tokens, entry)
        except BaseException:
            entry.leave()
            raise
        return entry

    async def _enter(self, name: str, quota: Quota, tokens: int, entry: Entry) -> None:
        if self._shared is not None and not self._away():
            try:
                await self._shared.enter(name, quota, tokens, entry)
            except CountsAway as exc:
                self._away_until = time.monotonic() + _AWAY_S
                log.warning("%s; until it answers each worker limits for itself", exc.message)
            else:
                if self._away_until is not None:
                    self._away_until = None
                    log.warning("the limits are shared again")
                return
        self._own.enter(name, quota, tokens, entry)

    def _away(self) -> bool:
        return self._away_until is not None and time.monotonic() < self._away_until

    async def close(self) -> None:
        if self._shared is not None:
            await self._shared.close()


class _OwnCounts:
    """This process's, in memory."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._now: Counter[str] = Counter()
        self._items: dict[int, RateLimitItemPerMinute] = {}
        self._windows: tuple[SlidingWindowCounterRateLimiter, FixedWindowRateLimiter] | None = None

    def _made(self) -> "tuple[SlidingWindowCounterRateLimiter, FixedWindowRateLimiter]":
        if self._windows is None:
            # On first use: a gateway without limits does not pay for them.
            from limits.storage import MemoryStorage
            from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

            storage = MemoryStorage()
            self._windows = (
                SlidingWindowCounterRateLimiter(storage),
                FixedWindowRateLimiter(storage),
            )
        return self._windows

    def _granted(self, amount: int) -> int:
        return max(math.ceil(amount * self._share), 1)

    def _item(self, amount: int) -> "RateLimitItemPerMinute":
        from limits import RateLimitItemPerMinute

        if amount not in self._items:
            self._items[amount] = RateLimitItemPerMinute(self._granted(amount))
        return self._items[amount]

    def enter(self, name: str, quota: Quota, tokens: int, entry: Entry) -> None:
        """Raises Refused."""
        if quota.concurrency is not None:
            most = self._granted(quota.concurrency)
            if self._now[name] >= most:
                raise too_many_at_once(name, most)
            self._now[name] += 1
            entry.on_leave(lambda: self._leave(name))
        if quota.tpm is not None:
            windows = self._made()[1]
            item = self._item(quota.tpm)
            if not windows.test(item, name, cost=min(tokens, item.amount)):
                wait = windows.get_window_stats(item, name).reset_time - time.time()
                raise too_many_tokens(name, quota.tpm, wait)
            entry.spends.append(lambda used: _spend(windows, item, name, used))
            stats = windows.get_window_stats(item, name)
            left = stats.remaining - min(tokens, item.amount)
            entry.tell("tokens", item.amount, left, stats.reset_time - time.time())
        if quota.rpm is not None:
            requests = self._made()[0]
            item = self._item(quota.rpm)
            if not requests.hit(item, name):
                wait = requests.get_window_stats(item, name).reset_time - time.time()
                raise too_many_requests(name, quota.rpm, wait)
            had = requests.get_window_stats(item, name)
            entry.tell("requests", item.amount, had.remaining, had.reset_time - time.time())

    def _leave(self, name: str) -> None:
        self._now[name] -= 1
        if not self._now[name]:
            del self._now[name]


def _spend(
    windows: "FixedWindowRateLimiter", item: "RateLimitItemPerMinute", name: str, used: int
) -> None:
    windows.hit(item, name, cost=used)


def too_many_at_once(name: str, most: int) -> Refused:
    return _limited(f"{name} has {most} request{'s' * (most != 1)} under way", 1.0)


def too_many_tokens(name: str, tpm: int, wait_s: float) -> Refused:
    return _limited(f"{name} may use {tpm:,} tokens a minute", wait_s)


def too_many_requests(name: str, rpm: int, wait_s: float) -> Refused:
    return _limited(f"{name} may send {rpm:,} requests a minute", wait_s)


def _limited(message: str, wait_s: float) -> Refused:
    return Refused(429, "rate_limited", message, retry_after_s=max(wait_s, 0.0))
