"""Who may ask: client keys, what each may call, and how much."""

import ipaddress
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from omni_cli.gateway.protocols.base import Refused
from omni_cli.store.gateway_keys import ClientKey, GatewayKeyStore, digest_of

if TYPE_CHECKING:
    from limits import RateLimitItemPerMinute

#: Headers that hold a key, by protocol: OpenAI and Ollama, Anthropic, Gemini, Azure's OpenAI.
_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: How often a key's last use is written down, ms.
_USED_EVERY_MS = 60_000


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of one organisation; None without limit."""

    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None


NO_LIMIT = Quota()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. Without a key, on this machine: nobody in particular, who sees everything."""

    org: str = ""
    key: str = ""
    models: tuple[str, ...] = ()
    quota: Quota = NO_LIMIT
    manages: bool = False

    def may_call(self, model: str) -> bool:
        """Whether the key's patterns allow this model id."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


OWNER = Principal(manages=True)


def is_loopback(host: str) -> bool:
    """True for addresses that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class KeyRing:
    """The client keys in memory; ``reload`` takes over what changed in the store.

    Args:
        always: demand a key even where none was ever made.
        origins: web pages that may ask; CORS is off without any.
        used: notes a key's name and the time, ms, at most once a minute.
    """

    def __init__(
        self,
        keys: GatewayKeyStore,
        *,
        clock: Callable[[], float],
        always: bool,
        origins: tuple[str, ...] = (),
        used: Callable[[str, int], None],
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._always = always
        self._origins = origins
        self._used = used
        self._by_digest: dict[bytes, ClientKey] = {}
        self._noted: dict[str, int] = {}
        self.reload()

    def reload(self) -> None:
        self._by_digest = self._keys.by_digest()

    @property
    def required(self) -> bool:
        """A key that is revoked or out of date does not open the gateway to everybody."""
        return self._always or bool(self._by_digest)

    def admit(self, headers: Mapping[str, str]) -> Principal:
        """Who sends these headers.

        Raises:
            Refused: 401 without a valid key where one is required, 403 for a web page.
        """
        origin = headers.get("origin")
        if origin is not None and origin not in self._origins:
            # Any page that a person opens can send requests to this machine.
            raise Refused(403, "forbidden", "web pages may not call this gateway")
        token = _token(headers)
        if not self.required:
            host = headers.get("host", "").rpartition(":")
            name = (host[0] if host[1] and not host[2].endswith("]") else host[2]).lower()
            if name and name not in _LOCAL_NAMES:
                raise Refused(403, "forbidden", f"this gateway is not called {name!r}")
            return OWNER
        if not token:
            raise Refused(
                401, "unauthorized", "a key is required", hint="omni keys create makes one"
            )
        # Looked up by the SHA-256 of what was sent: how long that takes tells of digests, and the
        # digest of a guess tells nothing of any key's, which are 256 random bits.
        key = self._by_digest.get(digest_of(token))
        if key is None:
            raise Refused(401, "unauthorized", "this key is not known here")
        now = int(self._clock() * 1000)
        state = key.state(now)
        if state != "active":
            raise Refused(401, "unauthorized", f"this key is {state}")
        if now - self._noted.get(key.name, 0) > _USED_EVERY_MS:
            self._noted[key.name] = now
            self._used(key.name, now)
        quota = Quota(key.rpm, key.tpm, key.concurrency)
        return Principal(key.org, key.name, key.models, quota, key.manages)


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    return next((headers[name] for name in _HEADERS if headers.get(name)), "")


class Meter:
    """Requests and tokens a minute, and requests at once, of each key and organisation.

    Args:
        org: what every organisation may use.
        share: of each limit that this process grants, 1 for a single worker.
    """

    def __init__(self, org: Quota, *, share: float = 1.0) -> None:
        self._org = org
        self._share = share
        self._now: Counter[str] = Counter()
        self._items: dict[int, RateLimitItemPerMinute] = {}
        self._made = False

    def _make(self) -> None:
        # On first use: a gateway without limits does not pay for them.
        from limits.storage import MemoryStorage
        from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

        storage = MemoryStorage()
        self._requests = SlidingWindowCounterRateLimiter(storage)
        self._tokens = FixedWindowRateLimiter(storage)
        self._made = True

    def _item(self, amount: int) -> "RateLimitItemPerMinute":
        from limits import RateLimitItemPerMinute

        if amount not in self._items:
            granted = max(math.ceil(amount * self._share), 1)
            self._items[amount] = RateLimitItemPerMinute(granted)
        return self._items[amount]

    def enter(self, who: Principal, tokens: int) -> "Entry":
        """Count a request in.

        Args:
            tokens: estimate of its input.

        Raises:
            Refused: 429 with the seconds to wait.
        """
        entry = Entry(self, tokens)
        for name, quota in (("key " + who.key, who.quota), ("org " + who.org, self._org)):
            if quota == NO_LIMIT:
                continue
            if not self._made:
                self._make()
            try:
                self._enter(name, quota, tokens, entry)
            except Refused:
                entry.leave()
                raise
        return entry

    def _enter(self, name: str, quota: Quota, tokens: int, entry: "Entry") -> None:
        if quota.concurrency is not None:
            most = max(math.ceil(quota.concurrency * self._share), 1)
            if self._now[name] >= most:
                raise _limited(f"{name} has {most} requests under way", 1.0)
            self._now[name] += 1
            entry.names.append(name)
        if quota.tpm is not None:
            item = self._item(quota.tpm)
            if not self._tokens.test(item, name, cost=min(tokens, item.amount)):
                wait = self._tokens.get_window_stats(item, name).reset_time - time.time()
                raise _limited(f"{name} may use {quota.tpm:,} tokens a minute", wait)
            entry.metered.append((item, name))
        if quota.rpm is not None:
            item = self._item(quota.rpm)
            if not self._requests.hit(item, name):
                wait = self._requests.get_window_stats(item, name).reset_time - time.time()
                raise _limited(f"{name} may send {quota.rpm:,} requests a minute", wait)

    def leave(self, names: list[str]) -> None:
        for name in names:
            self._now[name] -= 1
            if not self._now[name]:
                del self._now[name]

    def count(self, metered: "list[tuple[RateLimitItemPerMinute, str]]", tokens: int) -> None:
        for item, name in metered:
            self._tokens.hit(item, name, cost=tokens)


class Entry:
    """A request that was counted in; ``leave`` exactly once."""

    __slots__ = ("_meter", "metered", "names", "tokens")

    def __init__(self, meter: Meter, tokens: int) -> None:
        self._meter = meter
        self.tokens = tokens
        self.names: list[str] = []
        self.metered: list[tuple[RateLimitItemPerMinute, str]] = []

    def leave(self, used: int = 0) -> None:
        """``used``: tokens that it took, input and output."""
        if self.names:
            self._meter.leave(self.names)
            self.names = []
        if used and self.metered:
            self._meter.count(self.metered, used)


def _limited(message: str, wait_s: float) -> Refused:
    return Refused(429, "rate_limited", message, retry_after_s=max(wait_s, 0.0))
