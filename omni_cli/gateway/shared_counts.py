"""Limits that gateways on several machines keep together: in Redis, or, where there is none, in the
store's database."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

from omni_cli.domain.errors import ConfigError, OmniError
from omni_cli.gateway.meter import (
    CountsAway,
    Entry,
    Quota,
    too_many_at_once,
    too_many_requests,
    too_many_tokens,
)
from omni_cli.plugins import install_line
from omni_cli.repositories import Limits

if TYPE_CHECKING:
    from limits import RateLimitItemPerMinute


_SCHEMES = ("redis", "rediss")
_PREFIX = "omni"
#: An answer that takes longer is none, seconds: a request waits for it.
_TIMEOUT_S = 0.5
#: A place among the requests at once is held so long, and renewed so often, seconds: those of a
#: gateway that was killed are free again soon.
_HELD_S = 30
_RENEW_S = 10.0

#: KEYS[1]: a sorted set of the requests under way, by when their place is given up.
#: ARGV: how many there may be, the seconds a place is held, the new request.
_TAKE = """
local now = tonumber(redis.call('TIME')[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + tonumber(ARGV[2]), ARGV[3])
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]) + 1)
return 1
"""
#: ARGV: the seconds, then the requests still under way.
_RENEW = """
local now = tonumber(redis.call('TIME')[1])
for i = 2, #ARGV do redis.call('ZADD', KEYS[1], 'XX', now + tonumber(ARGV[1]), ARGV[i]) end
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[1]) + 1)
"""


def shared_counts(env: Mapping[str, str]) -> "RedisCounts | None":
    """The counts that OMNI_REDIS_URL names, None where it is not set. Raises ConfigError."""
    url = env.get("OMNI_REDIS_URL", "").strip()
    return RedisCounts(url) if url else None


class RedisCounts:
    """In Redis.

    Args:
        url: ``redis://[:PASSWORD@]HOST[:PORT][/DB]``, ``rediss://`` over TLS.

    Raises:
        ConfigError: it is no such URL, or the client for Redis is not installed.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        try:
            port = parts.port or 6379
        except ValueError:
            port = 0
        if parts.scheme not in _SCHEMES or not parts.hostname or not port:
            raise ConfigError(
                "OMNI_REDIS_URL is written redis://HOST:PORT/DB",
                hint="a password stands before HOST as :PASSWORD@; rediss:// speaks TLS",
            )
        try:
            import redis.asyncio
            from redis.exceptions import RedisError
        except ImportError:
            raise ConfigError(
                "limits in Redis need its client", hint=install_line("redis")
            ) from None
        from limits.aio.storage import RedisStorage
        from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

        self._where = f"Redis at {parts.hostname}:{port}"
        self._failures: tuple[type[Exception], ...] = (RedisError, OSError)
        pool = redis.asyncio.ConnectionPool.from_url(
            url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S
        )
        self._redis = redis.asyncio.Redis(connection_pool=pool)
        # The library passes these on to the client, whatever their type.
        given: dict[str, Any] = {"connection_pool": pool}
        storage = RedisStorage(
            f"async+{url}", implementation="redispy", key_prefix=_PREFIX, **given
        )
        self._requests = SlidingWindowCounterRateLimiter(storage)
        self._tokens = FixedWindowRateLimiter(storage)
        self._take = self._redis.register_script(_TAKE)
        self._renew = self._redis.register_script(_RENEW)
        self._held: defaultdict[str, set[str]] = defaultdict(set)
        self._tasks: set[asyncio.Task[None]] = set()
        self._renewing: asyncio.Task[None] | None = None

    async def enter(self, name: str, quota: Quota, tokens: int, entry: Entry) -> None:
        try:
            await self._enter(name, quota, tokens, entry)
        except self._failures as exc:
            raise CountsAway(f"{self._where} does not answer ({type(exc).__name__})") from exc

    async def _enter(self, name: str, quota: Quota, tokens: int, entry: Entry) -> None:
        if quota.concurrency is not None:
            place = uuid4().hex
            key = f"{_PREFIX}:now:{name}"
            # Noted before it is asked for: an answer that is lost is given back all the same.
            entry.on_leave(lambda: self._leave(key, place))
            if not await self._take(keys=[key], args=[quota.concurrency, _HELD_S, place]):
                raise too_many_at_once(name, quota.concurrency)
            self._hold(key, place)
        if quota.tpm is not None:
            item = _per_minute(quota.tpm)
            if not await self._tokens.test(item, name, cost=min(tokens, quota.tpm)):
                stats = await self._tokens.get_window_stats(item, name)
                raise too_many_tokens(name, quota.tpm, stats.reset_time - time.time())
            entry.spends.append(lambda used: self._later(self._tokens.hit(item, name, cost=used)))
        if quota.rpm is not None:
            item = _per_minute(quota.rpm)
            if not await self._requests.hit(item, name):
                stats = await self._requests.get_window_stats(item, name)
                raise too_many_requests(name, quota.rpm, stats.reset_time - time.time())

    def _hold(self, key: str, place: str) -> None:
        self._held[key].add(place)
        if self._renewing is None:
            self._renewing = asyncio.get_running_loop().create_task(self._keep_holding())

    def _leave(self, key: str, place: str) -> None:
        places = self._held.get(key)
        if places is not None:
            places.discard(place)
            if not places:
                del self._held[key]
        self._later(self._redis.zrem(key, place))

    async def _keep_holding(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            for key, places in list(self._held.items()):
                try:
                    await self._renew(keys=[key], args=[_HELD_S, *places])
                except self._failures:
                    break  # whoever enters next says so

    def _later(self, work: Awaitable[object]) -> None:
        async def do() -> None:
            # A place runs out by itself; the tokens of one minute are not worth another try.
            with suppress(*self._failures):
                await work

        task = asyncio.get_running_loop().create_task(do())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=2 * _TIMEOUT_S)
        await self._redis.aclose()
        await self._redis.connection_pool.disconnect()


def _per_minute(amount: int) -> "RateLimitItemPerMinute":
    from limits import RateLimitItemPerMinute

    return RateLimitItemPerMinute(amount)


_T = TypeVar("_T")


class StoreCounts:
    """In the store's database.

    Args:
        limits: what its one thread asks.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._thread = ThreadPoolExecutor(1, "limits")
        self._held: set[int] = set()
        self._renewing: asyncio.Task[None] | None = None

    async def enter(self, name: str, quota: Quota, tokens: int, entry: Entry) -> None:
        place = secrets.randbits(62)
        if quota.concurrency is not None:
            # Before it is asked for: an answer that is lost is given back all the same.
            self._held.add(place)
            entry.on_leave(lambda: self._leave(place))
            if self._renewing is None:
                self._renewing = asyncio.get_running_loop().create_task(self._keep_holding())
        try:
            found = await self._do(
                lambda: self._limits.enter(
                    name,
                    rpm=quota.rpm,
                    tpm=quota.tpm,
                    tokens=tokens,
                    most=quota.concurrency,
                    place=place,
                    held_ms=int(_HELD_S * 1000),
                )
            )
        except OmniError as exc:
            raise CountsAway(exc.message) from exc
        wait_s = found.wait_ms / 1000
        if found.refused == "once":
            raise too_many_at_once(name, quota.concurrency or 0)
        if found.refused == "tokens":
            raise too_many_tokens(name, quota.tpm or 0, wait_s)
        if found.refused == "requests":
            raise too_many_requests(name, quota.rpm or 0, wait_s)
        if quota.rpm is not None and found.left_requests is not None:
            entry.tell("requests", quota.rpm, found.left_requests, wait_s)
        if quota.tpm is not None and found.left_tokens is not None:
            entry.tell("tokens", quota.tpm, found.left_tokens, wait_s)
            entry.spends.append(lambda used: self._later(lambda: self._limits.spend(name, used)))

    async def _do(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _leave(self, place: int) -> None:
        self._held.discard(place)
        self._later(lambda: self._limits.leave(place))

    def _later(self, work: Callable[[], None]) -> None:
        def do() -> None:
            # A place runs out by itself; the tokens of one minute are not worth another try.
            with suppress(OmniError):
                work()

        self._thread.submit(do)

    async def _keep_holding(self) -> None:
        while True:
            await asyncio.sleep(_RENEW_S)
            places = list(self._held)
            if places:
                with suppress(OmniError):  # whoever enters next says so
                    await self._do(partial(self._limits.renew, places, int(_HELD_S * 1000)))

    async def close(self) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
        await asyncio.to_thread(self._thread.shutdown)
        self._limits.close()
