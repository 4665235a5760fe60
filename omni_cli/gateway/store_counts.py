"""Limits that gateways on several machines keep together in the store's database: where there is
one, and no Redis."""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TypeVar

from omni_cli.domain.errors import OmniError
from omni_cli.gateway.meter import (
    CountsAway,
    Entry,
    Quota,
    too_many_at_once,
    too_many_requests,
    too_many_tokens,
)
from omni_cli.repositories import Limits

#: A place among the requests at once is held so long, and renewed so often, seconds: those of a
#: gateway that was killed are free again soon.
_HELD_S = 30.0
_RENEW_S = 10.0
_T = TypeVar("_T")


class StoreCounts:
    """Args:
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
