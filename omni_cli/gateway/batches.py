"""Files and batches that providers keep: made, followed and fetched by whoever had them made.

A file that comes through the gateway goes to the provider whose models its lines name; from then
on its id leads there, for its key or organisation alone. What uploads and downloads hold goes
through files and in pieces, never whole through memory. Sources: see the protocols' ``batches``
modules.
"""

import asyncio
import contextlib
import json
import logging
import mmap
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from omni_cli.bootstrap import App
from omni_cli.domain.batches import Batch, KeptFile
from omni_cli.domain.errors import NotFound, OmniError, ProviderError
from omni_cli.domain.models import Provider
from omni_cli.gateway import relay
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.gateway.meter import Meter
from omni_cli.gateway.options import from_headers
from omni_cli.gateway.own_api import query_of, scope_of
from omni_cli.http.client import UpstreamPool
from omni_cli.http.request import Request, header_lines
from omni_cli.services.engine.batch_calls import BatchCalls, Said, due
from omni_cli.services.engine.batches import BatchService, Prepared
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.wire.batching import Batching, name_in, object_of
from omni_cli.wire.bounding import fold
from omni_cli.wire.facts import Operation
from omni_cli.wire.multipart import Form, Part
from omni_cli.wire.registry import batching
from omni_cli.wire.server import Caller, Refused, wrong
from omni_cli.wire.values import host_of

log = logging.getLogger("omni.gateway")

#: How long an answer that tells of a batch's end waits for it to be settled, seconds.
_SETTLE_S = 5.0
#: What a page of a list has where its caller does not say, and at most.
_PAGE, _MOST_PAGE, _MOST_FILES = 20, 1_000, 10_000
_MOST_ID = 512
_COPIED = 1024 * 1024
_JSON = "application/json"
Value = TypeVar("Value")
_Handler = Callable[[Caller, Request, Principal, Mapping[str, str]], Awaitable[None]]


class BatchPaths:
    """Args:
    app: made into another, whose thread reads and writes batches, beside all other reports.
    """

    def __init__(self, app: App, pool: UpstreamPool, meter: Meter) -> None:
        self._desk, self._slow = Desk(app), Desk(app)
        self._meter = meter
        self._calls = BatchCalls(pool, self._do, self._do_long)
        self._tasks: set[asyncio.Task[object]] = set()
        self._syncing: asyncio.Task[object] | None = None
        self._handlers: dict[tuple[str, str], _Handler] = {
            ("files", "POST"): self._upload,
            ("files", "GET"): self._files,
            ("file", "GET"): self._file,
            ("file", "DELETE"): self._delete_file,
            ("file_content", "GET"): self._content,
            ("batches", "POST"): self._make,
            ("batches", "GET"): self._batches,
            ("batch", "GET"): self._batch,
            ("batch", "DELETE"): self._delete,
            ("batch_cancel", "POST"): self._cancel,
            ("batch_results", "GET"): self._results,
        }

    async def _do(self, job: Callable[[BatchService], Value]) -> Value:
        return await self._desk.do(lambda app: job(app.batches))

    async def _do_long(self, job: Callable[[BatchService], Value]) -> Value:
        """What reads or writes a whole batch: others must not wait for it."""
        return await self._slow.do(lambda app: job(app.batches))

    def sync(self) -> None:
        """Look at the batches under way, if this process is to, and was not doing so yet."""
        if self._syncing is None or self._syncing.done():
            self._syncing = self._later(self._calls.sync(lead=True))

    async def close(self) -> None:
        """Stop looking: what is not settled is settled later."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._desk.close()
        self._slow.close()

    def _later(self, work: Awaitable[object]) -> "asyncio.Task[object]":
        async def run() -> None:
            try:
                await work
            except OmniError as exc:
                log.warning("batches: %s", exc.message)
            except Exception:
                log.exception("unexpected error about batches")

        task: asyncio.Task[object] = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def handle(
        self,
        caller: Caller,
        operation: Operation,
        request: Request,
        who: Principal,
        at: Mapping[str, str],
    ) -> None:
        """Raises OmniError, in words that may be told to the caller."""
        entry = await self._meter.enter(who, 0) if self._meter.limits(who) else None
        try:
            await self._handlers[operation.does, operation.method](caller, request, who, at)
        except ProviderError as exc:
            fault = exc
            await self._desk.do(lambda app: _conceal(fault, app.providers.all()))
            raise
        finally:
            if entry is not None:
                entry.leave(0)

    # --- files ----------------------------------------------------------------------------------

    async def _upload(
        self, caller: Caller, request: Request, who: Principal, _: Mapping[str, str]
    ) -> None:
        kind, wish = request.headers.get("content-type", ""), _wish(request)
        limits = "x-omni-max-cost" in request.headers
        if not kind.lower().startswith("multipart/form-data"):
            raise wrong("a file comes as multipart/form-data, with 'purpose' and 'file'")
        with tempfile.TemporaryFile() as came, tempfile.TemporaryFile() as going:
            await request.spool(came)

            def job(service: BatchService) -> tuple[Provider, Prepared | None, str]:
                return _written(service, caller, came, going, kind, who, wish=wish, limits=limits)

            provider, prepared, purpose = await self._do_long(job)
            size = going.seek(0, 2)
            going.seek(0)
            said = await self._calls.upload(provider, "files", going, size, {"content-type": kind})
        made = name_in(object_of(said.body))

        def keep(service: BatchService) -> None:
            file = KeptFile(
                made,
                provider.slug,
                who.org,
                who.key,
                purpose,
                service.now_ms(),
                said.body.decode("utf-8", "replace"),
            )
            service.store.add_file(file, None if prepared is None else prepared.asked)

        await self._do_long(keep)
        await _answer(request, said, provider)

    async def _files(
        self, _: Caller, request: Request, who: Principal, __: Mapping[str, str]
    ) -> None:
        await request.body()
        asked = query_of(request)
        purpose = asked.get("purpose")
        scope = scope_of(who)
        found = await self._do(lambda service: service.store.files(scope, purpose=purpose))
        if asked.get("order") == "asc":
            found.reverse()
        documents = [(file.id, _described(file)) for file in found]
        await request.json(_page(documents, asked, usual=_MOST_FILES, most=_MOST_FILES))

    async def _find_file(self, ident: str, who: Principal) -> tuple[KeptFile, Provider]:
        def job(service: BatchService) -> tuple[KeptFile, Provider]:
            found = service.store.files(scope_of(who), ident=ident) if ident else []
            if not found or len(ident) > _MOST_ID:
                raise NotFound(
                    f"no file {ident[:_MOST_ID]!r} of yours is kept by a provider",
                    hint="GET /v1/files lists those that came through here",
                )
            return found[0], service.provider(found[0].provider)

        return await self._do(job)

    async def _file(
        self, _: Caller, request: Request, who: Principal, at: Mapping[str, str]
    ) -> None:
        await request.body()
        file, provider = await self._find_file(at["file"], who)
        said = await self._calls.ask(provider, "GET", f"files/{quote(file.id, safe='')}")
        await _answer(request, said, provider)

    async def _delete_file(
        self, _: Caller, request: Request, who: Principal, at: Mapping[str, str]
    ) -> None:
        await request.body()
        file, provider = await self._find_file(at["file"], who)
        ident = file.batch
        if ident is not None:
            batch = await self._do(lambda service: service.store.get(ident))
            if batch is not None:  # what it cost stands in there
                await self._settle_first(batch)
        said = await self._calls.ask(provider, "DELETE", f"files/{quote(file.id, safe='')}")
        await self._do(lambda service: service.store.drop_file(file))
        await _answer(request, said, provider)

    async def _content(
        self, _: Caller, request: Request, who: Principal, at: Mapping[str, str]
    ) -> None:
        await request.body()
        file, provider = await self._find_file(at["file"], who)
        await self._pass_on(request, provider, f"files/{quote(file.id, safe='')}/content")

    async def _pass_on(self, request: Request, provider: Provider, path: str) -> None:
        """A file of the provider's, as it comes."""
        answer = await self._calls.download(provider, path)
        try:
            headers = [
                (name.encode(), value.encode("latin-1"))
                for name in ("content-type", "content-disposition")
                if (value := answer.headers.get(name))
            ]
            stated = answer.headers.get("content-length", "")
            request.stops_when_gone = True
            request.begin(header_lines(headers), int(stated) if stated.isdecimal() else None)
            try:
                while data := await answer.read():
                    await request.piece(data)
                    answer.progress()
            except ProviderError:
                request.break_off()
                return
            request.end()
        finally:
            request.stops_when_gone = False
            answer.close()

    # --- batches --------------------------------------------------------------------------------

    async def _make(
        self, caller: Caller, request: Request, who: Principal, _: Mapping[str, str]
    ) -> None:
        speaks = _speaks(caller)
        if speaks.from_files:
            await self._make_of_file(caller, request, who)
            return
        with tempfile.TemporaryFile() as came, tempfile.TemporaryFile() as going:
            await request.spool(came)
            came.seek(0)
            wish, limits = _wish(request), "x-omni-max-cost" in request.headers
            names = [name for name in caller.forwards if name in request.headers]
            headers = {name: request.headers[name] for name in names}

            def job(service: BatchService) -> Prepared:
                return service.prepare(
                    speaks,
                    came,
                    going,
                    allowed=who.may_call,
                    wish=wish,
                    limits=limits,
                    headers=headers,
                )

            prepared = await self._do_long(job)
            size = going.seek(0, 2)
            going.seek(0)
            batch = await self._open(request, who, prepared)
            headers["content-type"] = _JSON
            provider = prepared.provider
            sent = self._calls.upload(provider, speaks.path, going, size, headers)
            said = await self._calls.make(batch, provider, sent)
        await self._tell(request, caller, said, provider)

    async def _make_of_file(self, caller: Caller, request: Request, who: Principal) -> None:
        body = object_of(await request.body())
        if len({fold(name) for name in body}) < len(body):
            raise wrong("two of the batch's fields have one name in two spellings")
        named, endpoint = body.get("input_file_id"), body.get("endpoint")
        if not isinstance(named, str) or not isinstance(endpoint, str):
            raise wrong("a batch needs 'input_file_id', 'endpoint' and 'completion_window'")
        file, provider = await self._find_file(named, who)
        asked = await self._do(lambda service: service.store.asked(file))
        if asked is None:
            raise wrong(f"{file.id} was not uploaded here with the purpose 'batch'")
        if endpoint != asked.endpoint:
            raise wrong(f"'endpoint' is {endpoint!r}, and the requests are for {asked.endpoint}")
        for model in {line.model for line in asked.lines}:
            if not who.may_call(model):
                raise Refused(403, "forbidden", f"this key may not call {model}")
        prepared = Prepared(provider, asked)
        batch = await self._open(request, who, prepared, file.id)
        # Written anew: each field once, whichever of two its provider would take.
        sent = self._calls.ask(
            provider, "POST", "batches", json.dumps(body).encode(), {"content-type": _JSON}
        )
        said = await self._calls.make(batch, provider, sent)
        await self._tell(request, caller, said, provider)

    async def _open(
        self, request: Request, who: Principal, prepared: Prepared, input_file: str = ""
    ) -> Batch:
        options = from_headers(request.headers, RouteOptions())

        def job(service: BatchService) -> Batch:
            return service.open(
                prepared,
                org=who.org,
                key=who.key,
                agent=options.agent or "",
                input_file=input_file,
                most_nusd=options.max_cost_nusd,
            )

        return await self._do_long(job)

    async def _batches(
        self, caller: Caller, request: Request, who: Principal, _: Mapping[str, str]
    ) -> None:
        await request.body()
        speaks, asked = _speaks(caller), query_of(request)
        scope = scope_of(who)

        def job(service: BatchService) -> list[Batch]:
            ours = {p.slug for p in service.providers() if p.protocol == caller.name}
            return [b for b in service.store.all(scope) if b.remote and b.provider in ours]

        found = await self._do(job)
        shown = {str(batch.remote): batch for batch in found}
        page = _page([(name, name) for name in shown], asked, usual=_PAGE, most=_MOST_PAGE)
        now = await self._do(lambda service: service.now_ms())
        old = [b for b in map(shown.__getitem__, page["data"]) if b.state == "open" and due(b, now)]
        for batch in await asyncio.gather(*(self._calls.look(batch) for batch in old[:_PAGE])):
            shown[str(batch.remote)] = batch
        page["data"] = [
            object_of(speaks.at(shown[name].document.encode(), _address(request)))
            or {"id": name, "object": "batch"}
            for name in page["data"]
        ]
        await request.json(page)

    async def _find(self, caller: Caller, ident: str, who: Principal) -> tuple[Batch, Provider]:
        def job(service: BatchService) -> tuple[Batch, Provider]:
            found = service.store.named(ident, scope_of(who)) if len(ident) <= _MOST_ID else None
            provider = None if found is None else service.provider(found.provider)
            if found is None or provider is None or provider.protocol != caller.name:
                raise NotFound(
                    f"no batch {ident[:_MOST_ID]!r} of yours is kept by a provider",
                    hint="only batches that were made here are known here",
                )
            return found, provider

        return await self._do(job)

    async def _batch(
        self, caller: Caller, request: Request, who: Principal, at: Mapping[str, str]
    ) -> None:
        await request.body()
        batch, provider = await self._find(caller, at["batch"], who)
        batch, said = await self._calls.check(batch)
        assert said is not None  # it has a name there
        await self._settle(batch)
        await self._tell(request, caller, said, provider)

    async def _settle(self, batch: Batch) -> None:
        """Settle a batch that has ended: for a moment its caller waits for it."""
        if batch.state == "ended":
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(
                    asyncio.shield(self._later(self._calls.settle(batch))), _SETTLE_S
                )

    async def _cancel(
        self, caller: Caller, request: Request, who: Principal, at: Mapping[str, str]
    ) -> None:
        await request.body()
        batch, provider = await self._find(caller, at["batch"], who)
        path = f"{_speaks(caller).path}/{quote(at['batch'], safe='')}/cancel"
        said = await self._calls.ask(provider, "POST", path)
        await self._settle(await self._calls.heard(batch, provider, said))
        await self._tell(request, caller, said, provider)

    async def _delete(
        self, caller: Caller, request: Request, who: Principal, at: Mapping[str, str]
    ) -> None:
        """Once it is settled: what it cost is not to be had afterwards."""
        await request.body()
        batch, provider = await self._find(caller, at["batch"], who)
        await self._settle_first(batch)
        path = f"{_speaks(caller).path}/{quote(at['batch'], safe='')}"
        await _answer(request, await self._calls.ask(provider, "DELETE", path), provider)

    async def _settle_first(self, batch: Batch) -> None:
        """Before what tells of its cost is deleted. Raises Refused: it is under way, and may end
        at any moment."""
        if batch.state in ("opening", "open"):
            batch, _ = await self._calls.check(batch)
        if (await self._calls.settle(batch)).state in ("opening", "open"):
            raise Refused(
                409, "conflict", "the batch is under way: cancel it, or wait until it has ended"
            )

    async def _results(
        self, caller: Caller, request: Request, who: Principal, at: Mapping[str, str]
    ) -> None:
        await request.body()
        batch, provider = await self._find(caller, at["batch"], who)
        if batch.state == "open":
            batch, _ = await self._calls.check(batch)
        await self._settle(batch)
        path = f"{_speaks(caller).path}/{quote(at['batch'], safe='')}/results"
        await self._pass_on(request, provider, path)

    async def _tell(self, request: Request, caller: Caller, said: Said, provider: Provider) -> None:
        body = _speaks(caller).at(said.body, _address(request))
        await _answer(request, Said(said.status, said.kind, body), provider)


def _speaks(caller: Caller) -> Batching:
    found = batching(caller.name)
    assert found is not None  # its paths are there
    return found


def _wish(request: Request) -> str | None:
    """The provider that the caller names."""
    return request.headers.get("x-omni-provider", "").strip() or None


def _address(request: Request) -> str:
    """Where the caller finds this gateway."""
    scheme = request.headers.get("x-forwarded-proto", "http")
    scheme = scheme if scheme in ("http", "https") else "http"
    return f"{scheme}://{request.headers.get('host', '')}"


async def _answer(request: Request, said: Said, provider: Provider) -> None:
    kind = (said.kind or "application/json").encode("latin-1", "replace")
    slug = provider.slug.encode("latin-1", "replace")
    await request.answer(
        said.status, said.body, [(b"content-type", kind), (b"x-omni-provider", slug)]
    )


def _conceal(fault: ProviderError, providers: Iterable[Provider]) -> None:
    for provider in providers:
        relay.conceal(fault, provider.slug, host_of(provider.base_url))


def _described(file: KeptFile) -> dict[str, Any]:
    """A file as its provider describes one."""
    return object_of(file.document.encode()) or {
        "id": file.id,
        "object": "file",
        "bytes": 0,
        "created_at": file.created_at // 1000,
        "filename": f"{file.id}.jsonl",
        "purpose": file.purpose,
        "status": "processed",
    }


def _page(
    found: list[tuple[str, Any]], asked: Mapping[str, str], *, usual: int, most: int
) -> dict[str, Any]:
    """A page of a list, the newest first, in the form that both protocols' clients read.

    Raises BadRequest: its limit is no number.
    """
    stated = asked.get("limit", str(usual))
    if not stated.isdecimal() or not 1 <= int(stated) <= most:
        raise wrong(f"'limit' is a number from 1 to {most:,}")
    limit = int(stated)
    names = [name for name, _ in found]
    after = asked.get("after") or asked.get("after_id")
    before = asked.get("before_id")
    begin, end = 0, len(found)
    if after is not None:
        begin = names.index(after) + 1 if after in names else end
    elif before is not None:
        end = names.index(before) if before in names else 0
        begin = max(end - limit, 0)
    page = found[begin:end][:limit]
    more = begin > 0 if before is not None and after is None else begin + len(page) < len(found)
    return {
        "object": "list",
        "data": [value for _, value in page],
        "first_id": page[0][0] if page else None,
        "last_id": page[-1][0] if page else None,
        "has_more": more,
    }


def _written(
    service: BatchService,
    caller: Caller,
    came: BinaryIO,
    going: BinaryIO,
    kind: str,
    who: Principal,
    *,
    wish: str | None,
    limits: bool,
) -> tuple[Provider, Prepared | None, str]:
    """In the desk's thread: the form of an upload as its provider is to have it, who that is, and
    the file's purpose. Of a batch the models' names are the provider's own; all else stays.

    Raises as ``BatchService.prepare``; BadRequest: it is no form with a file.
    """
    came.flush()
    try:
        form = Form(mmap.mmap(came.fileno(), 0, access=mmap.ACCESS_READ), kind)
    except ValueError:
        raise wrong("the form is empty") from None
    purpose, file = form.one("purpose"), form.value("file")
    if not isinstance(file, Part):
        raise wrong("the form needs one 'file'")
    if purpose != "batch":
        provider = service.chosen(caller.name, wish)
        came.seek(0)
        shutil.copyfileobj(came, going, _COPIED)
        return provider, None, purpose
    speaks = _speaks(caller)
    if file.end - file.start > speaks.most_bytes:
        most = speaks.most_bytes // (1024 * 1024)
        raise Refused(413, "too_large", f"a batch has {most} MB at most")
    with tempfile.TemporaryFile() as lines:
        came.seek(file.start)
        _copy(came, lines, file.end - file.start)
        lines.seek(0)
        came.seek(0)
        _copy(came, going, file.start)
        prepared = service.prepare(
            speaks, lines, going, allowed=who.may_call, wish=wish, limits=limits
        )
    came.seek(file.end)
    shutil.copyfileobj(came, going, _COPIED)
    return prepared.provider, prepared, purpose


def _copy(source: BinaryIO, target: BinaryIO, size: int) -> None:
    while size and (piece := source.read(min(size, _COPIED))):
        size -= len(piece)
        target.write(piece)
