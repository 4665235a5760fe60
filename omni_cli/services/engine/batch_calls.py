"""Calls about batches and the files that providers keep: sent, followed and settled, on an event
loop. The gateway and ``omni batches sync`` go this one way.

An ended batch's results are fetched into a file and read from there, once by whoever comes first:
what another process has brought into the ledger meanwhile is there already (store/batches.py).
"""

import asyncio
import contextlib
import tempfile
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Protocol, TypeVar
from urllib.parse import quote

from msgspec import Struct

from omni_cli.domain.batches import Batch
from omni_cli.domain.errors import (
    Malformed,
    NotFound,
    NotOffered,
    OmniError,
    ProviderError,
    StoreError,
    TimedOut,
)
from omni_cli.domain.models import Provider
from omni_cli.http.access import addressed, signed
from omni_cli.http.answer import Answer
from omni_cli.http.client import Origin, UpstreamPool
from omni_cli.ports import HttpCall, Method
from omni_cli.services.engine.batches import BatchService
from omni_cli.wire.batching import Told, object_of
from omni_cli.wire.reader import refused
from omni_cli.wire.registry import adapter

#: Longest silence of a provider, seconds: it may take its time over a large file.
_TIMEOUT_S = 120.0
#: Largest answer that is no file, bytes.
_MOST_BYTES = 16 * 1024 * 1024
#: When a batch is looked at again: after a share of its age, within bounds, ms.
_SOONEST_MS, _LATEST_MS, _SHARE = 15_000, 600_000, 20
#: For how long a call that makes a batch may be under way, seconds, and when one is looked for of
#: which nobody knows whether it was made: whoever began it is surely dead by then, ms.
_MAKING_S, _MAKING_MS = 3_000, 3_600_000
#: A provider's clock may be so far from ours, ms.
_SKEW_MS = 120_000
#: Pages of a provider's list that are looked through for a batch.
_PAGES = 20

Value = TypeVar("Value")


class Do(Protocol):
    """Runs a job of the service where it may wait for the store."""

    async def __call__(self, job: Callable[[BatchService], Value], /) -> Value: ...


class Said(Struct, frozen=True):
    """A provider's answer."""

    status: int
    kind: str
    body: bytes


class BatchCalls:
    """Args:
    pool: of the event loop that this is used on.
    do_long: as ``do``, for what reads a whole batch; None: the same.
    """

    def __init__(self, pool: UpstreamPool, do: Do, do_long: Do | None = None) -> None:
        self._pool = pool
        self._do = do
        self._do_long = do_long or do
        self._settling: dict[int, asyncio.Task[Batch]] = {}

    # --- single calls -----------------------------------------------------------------------------

    async def ask(
        self,
        provider: Provider,
        method: Method,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Said:
        """A call and its whole answer.

        Args:
            path: beneath the provider's address.

        Raises:
            NotOffered: the provider has nothing there.
            ProviderError, ConfigError.
        """
        call, origin, head = await self._head(provider, method, path, headers)
        answer = await self._pool.send(origin, head, body, timeout_s=_TIMEOUT_S)
        return await self._whole(provider, call, answer)

    async def upload(
        self,
        provider: Provider,
        path: str,
        source: BinaryIO,
        size: int,
        headers: dict[str, str],
    ) -> Said:
        """The same with a file as its body, from where it stands."""
        call, origin, head = await self._head(provider, "POST", path, headers)
        answer = await self._pool.send_file(origin, head, source, size, timeout_s=_TIMEOUT_S)
        return await self._whole(provider, call, answer)

    async def download(self, provider: Provider, path: str) -> Answer:
        """An answer whose body is still to come; to be closed. Raises as ``ask``."""
        call, origin, head = await self._head(provider, "GET", path)
        answer = await self._pool.send(origin, head, b"", timeout_s=_TIMEOUT_S)
        try:
            await self._check(provider, call, answer)
        except BaseException:
            answer.close()
            raise
        return answer

    async def _head(
        self,
        provider: Provider,
        method: Method,
        path: str,
        headers: dict[str, str] | None = None,
    ) -> tuple[HttpCall, Origin, bytes]:
        def job(service: BatchService) -> HttpCall:
            speaks = service.speaker(provider)
            return speaks.call(service.endpoint(provider), method, path)

        call = await self._do(job)
        origin, head = addressed(call, headers)
        return call, origin, head + await signed(self._pool, call, b"")

    async def _whole(self, provider: Provider, call: HttpCall, answer: Answer) -> Said:
        try:
            await self._check(provider, call, answer)
            body = await answer.whole(_MOST_BYTES)
        finally:
            answer.close()
        return Said(answer.status, answer.headers.get("content-type", ""), body)

    async def _check(self, provider: Provider, call: HttpCall, answer: Answer) -> None:
        """Raises ProviderError: it refuses."""
        if 200 <= answer.status < 300:
            return
        try:
            said = (await answer.whole(_MOST_BYTES)).decode("utf-8", "replace")
        except ProviderError:
            said = ""
        fault = refused(adapter(provider.protocol), call, answer.status, answer.headers, said)
        nothing = call.method == "POST" and call.url.endswith("/files")
        if answer.status in (405, 501) or (answer.status == 404 and (nothing or _bare(said))):
            raise NotOffered(
                f"{provider.slug} has no such path, so no batches: {fault.message}",
                status=404,
            )
        raise fault

    # --- a batch's life ---------------------------------------------------------------------------

    async def make(self, batch: Batch, provider: Provider, sent: Awaitable[Said]) -> Said:
        """Have a batch made that is written down by now.

        Args:
            sent: the call that makes it.

        Raises what ``sent`` raises. Where the provider did refuse it nothing is held any more;
        where nobody knows, it is looked for later (``check``).
        """
        said = None
        try:
            try:
                async with asyncio.timeout(_MAKING_S):
                    said = await sent
            except TimeoutError:
                raise TimedOut(f"{provider.slug} did not take it within {_MAKING_S} s") from None
            told = await self._told(provider, said)
        except OmniError as exc:
            if said is None and _surely_not(exc):
                await self._do(lambda service: service.store.never_made(batch.id))
            else:
                await self._failed(batch, exc)
            raise
        document = said.body.decode("utf-8", "replace")
        await self._do(lambda service: service.heard(batch, told, document))
        return said

    async def _failed(self, batch: Batch, why: OmniError) -> None:
        await self._do(lambda service: service.failed(batch, why))

    async def _told(self, provider: Provider, said: Said) -> Told:
        speaks = await self._do(lambda service: service.speaker(provider))
        return speaks.told(said.body)

    async def check(self, batch: Batch) -> tuple[Batch, Said | None]:
        """Ask how far a batch is; what the provider said, None where it was not asked.

        Raises OmniError: it could not be asked.
        """
        provider = await self._do(lambda service: service.provider(batch.provider))
        if batch.remote is None:
            return await self._search(batch, provider), None
        speaks = await self._do(lambda service: service.speaker(provider))
        said = await self.ask(provider, "GET", f"{speaks.path}/{quote(batch.remote, safe='')}")
        return await self.heard(batch, provider, said), said

    async def heard(self, batch: Batch, provider: Provider, said: Said) -> Batch:
        """What the provider says of it is written down. Raises Malformed."""
        told = await self._told(provider, said)
        document = said.body.decode("utf-8", "replace")

        def job(service: BatchService) -> Batch:
            for name in _output_files(said.body):
                service.output(batch, name, "")
            return service.heard(batch, told, document)

        return await self._do(job)

    async def _search(self, batch: Batch, provider: Provider) -> Batch:
        """Find a batch among the provider's of which nobody knows whether it was made."""
        now = await self._do(lambda service: service.now_ms())
        if now - batch.created_at < _MAKING_MS:
            return batch
        speaks = await self._do(lambda service: service.speaker(provider))
        ours = await self._do(lambda service: service.store.known(provider.slug))
        found: list[Told] = []
        query = "limit=100"
        for _ in range(_PAGES):
            said = await self.ask(provider, "GET", f"{speaks.path}?{query}")
            page, more = speaks.listed(said.body)
            found += [told for told in page if _may_be(batch, told) and told.id not in ours]
            older = any(told.created_at < batch.created_at - _SKEW_MS for told in page)
            if not more or older:
                break
            query = f"limit=100&{more}"
        else:
            return batch
        if not found:
            await self._do(lambda service: service.store.never_made(batch.id))
            return batch
        if len(found) > 1:
            several = NotFound(
                f"{provider.slug} has {len(found)} batches that it may be: "
                f"{', '.join(told.id for told in found[:5])}",
            )
            await self._failed(batch, several)
            return batch
        told = found[0]._replace(ended=False)  # a list says less: it is asked for itself next
        return await self._do(lambda service: service.heard(batch, told, ""))

    # --- its end ----------------------------------------------------------------------------------

    async def settle(self, batch: Batch) -> Batch:
        """Bring the results of a batch that has ended into the ledger; who asks meanwhile waits for
        the same. Raises OmniError: they cannot be had now."""
        task = self._settling.get(batch.id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._settle(batch))
            self._settling[batch.id] = task
            task.add_done_callback(lambda _: self._settling.pop(batch.id, None))
        return await asyncio.shield(task)

    async def _settle(self, batch: Batch) -> Batch:
        current = await self._do(lambda service: service.store.get(batch.id))
        if current is None or current.state != "ended":
            return current or batch
        provider = await self._do(lambda service: service.provider(current.provider))
        speaks = await self._do(lambda service: service.speaker(provider))
        told = speaks.told(current.document.encode())
        for path in told.results:
            try:
                await self._read(provider, path, current)
            except ProviderError as exc:
                if exc.status in (404, 410):
                    await self._gone(current, exc)
                raise
        await self._check_count(current, told)
        await self._describe(provider, current)
        now = await self._do(lambda service: service.now_ms())
        await self._do(lambda service: service.store.finish(current.id, now_ms=now))
        return await self._do(lambda service: service.store.get(current.id)) or current

    async def _check_count(self, batch: Batch, told: Told) -> None:
        """Raises Malformed: it says that it answered more than it gave. What they cost is not known
        yet, so that it stays held."""
        found = await self._do(lambda service: service.store.get(batch.id))
        missing = 0 if found is None else min(told.answered, found.lines) - found.settled
        if missing > 0 and found is not None and found.state == "ended":
            raise Malformed(
                f"{batch.provider} says that it answered {told.answered} of its requests, and gave "
                f"results of {found.settled}"
            )

    async def _gone(self, batch: Batch, why: OmniError) -> None:
        await self._do(lambda service: service.lost_results(batch, why))

    async def _read(self, provider: Provider, path: str, batch: Batch) -> None:
        with tempfile.TemporaryFile() as file:
            answer = await self.download(provider, path)
            try:
                while data := await answer.read():
                    answer.progress()
                    await asyncio.to_thread(file.write, data)
            finally:
                answer.close()
            file.seek(0)
            await self._do_long(lambda service: service.settle(batch, file))

    async def _describe(self, provider: Provider, batch: Batch) -> None:
        """What the files are that it has made; not worth failing for."""
        told: dict[str, str] = {}
        for name in _output_files(batch.document.encode()):
            with contextlib.suppress(ProviderError):
                said = await self.ask(provider, "GET", f"files/{quote(name, safe='')}")
                told[name] = said.body.decode("utf-8", "replace")

        def job(service: BatchService) -> None:
            for name, document in told.items():
                service.output(batch, name, document)

        await self._do(job)

    # --- all of them ------------------------------------------------------------------------------

    async def sync(
        self,
        *,
        lead: bool = False,
        every: bool = False,
        told: Callable[[Batch], None] = lambda _: None,
    ) -> int:
        """Look at the batches under way; returns how many were asked about.

        Args:
            lead: only if no other gateway does.
            every: also those that were looked at a moment ago.
            told: is called with each, as it is now.

        Raises StoreError. What a provider says wrong is written down.
        """
        now = await self._do(lambda service: service.now_ms())
        asked = 0
        waiting = await self._do(lambda service: service.store.under_way())
        if waiting and lead and not await self._do(lambda service: service.leads()):
            return 0
        if lead:
            await self._do(lambda service: service.tidy())
        for batch in waiting:
            if not every and not due(batch, now):
                continue
            asked += 1
            told(await self.look(batch))
        return asked

    async def look(self, batch: Batch) -> Batch:
        """Ask how far one is, and settle it where it has ended. Raises StoreError; what a provider
        says wrong is written down."""
        try:
            if batch.state != "ended":
                batch, _ = await self.check(batch)
            return await self.settle(batch) if batch.state == "ended" else batch
        except StoreError:
            raise
        except OmniError as exc:
            await self._failed(batch, exc)
        except Exception as exc:  # noqa: BLE001  # whatever it is, the others are to be settled
            await self._failed(batch, OmniError(f"unexpected {type(exc).__name__}: {exc}"))
        return await self._do(lambda service: service.store.get(batch.id)) or batch


def due(batch: Batch, now_ms: int) -> bool:
    """Whether it is time to ask about a batch again: soon while it is young."""
    wait = (batch.checked_at - batch.created_at) // _SHARE
    since = now_ms - batch.checked_at
    if since < 0:  # the clock was set back
        return True
    return since >= min(max(wait, _SOONEST_MS), _LATEST_MS)


def _may_be(batch: Batch, told: Told) -> bool:
    """Whether what a provider lists may be a batch whose making nobody saw the end of."""
    if batch.input_file:
        return told.input_file == batch.input_file
    since = told.created_at - batch.created_at
    return told.requests == batch.lines and -_SKEW_MS <= since <= _MAKING_MS + _SKEW_MS


def _surely_not(exc: OmniError) -> bool:
    """Whether a failed call has certainly made nothing."""
    if not isinstance(exc, ProviderError):
        return True
    return not exc.reached or (exc.status is not None and 400 <= exc.status < 500)


def _output_files(document: bytes) -> list[str]:
    said = object_of(document)
    names = (said.get(name) for name in ("output_file_id", "error_file_id"))
    return [name for name in names if isinstance(name, str) and name]


def _bare(body: str) -> bool:
    """Whether a 404 is a server's that has no such path: it says nothing of what is not there."""
    return not object_of(body.encode()).get("error")
