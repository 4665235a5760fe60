"""``omni batches``: what the gateway sent out to be answered later, what is held, what it cost."""

import asyncio
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, ask, grouped, omni
from omni_cli.cli.render import answer, emit_json, moment, note, out
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.batches import Batch
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import format_usd
from omni_cli.domain.words import counted
from omni_cli.services.engine.batches import batch_document

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Its id, or its provider's name of it.")]
_COLUMNS = (
    Column.key("id"),
    Column.words("provider", 4, 6),
    Column.words("state", 8, 8),
    Column.figure("requests", 6),
    Column.figure("settled", 7),
    Column.money("cost"),
    Column.money("held"),
    Column.words("since", 3, 16),
    Column.words("its name there", 2),
)


@app.command("list")
@grouped
def list_(*, view: View) -> None:
    """Every batch, the newest first."""
    with omni() as omni_app:
        found, zone = omni_app.batches.store.all(), omni_app.zone
    _listing(view, found, zone)


@app.command()
def show(batch: Id, as_json: JsonFlag = False) -> None:
    """One batch, and its requests by model."""
    with omni() as omni_app:
        service, zone = omni_app.batches, omni_app.zone
        found = service.find(batch)
        parts = service.store.parts(found.id)
    if as_json:
        emit_json(batch_document(found, parts))
        return
    out(f"{id_text(found.id)}  {found.remote or '(not known there)'}  at {found.provider}")
    out(f"state     {found.state}{f' ({found.status})' if found.status else ''}")
    out(f"made      {moment(found.created_at, zone)}, settled {moment(found.settled_at, zone)}")
    lines = counted(found.lines, "request")
    out(f"for       {found.endpoint}, {lines}, {found.settled:,} in the ledger")
    out(f"cost      {_cost(found)}, held {format_usd(found.held_nusd)}")
    for part in parts:
        how = ", charged as single calls: its batch price is not known" if part.marked else ""
        how = ", of unknown price" if part.price is None else how
        role = f" as {part.role}" if part.role else ""
        held = format_usd(part.held_nusd)
        out(f"          {part.lines:,} of {part.model}{role}, held {held}{how}")
    if found.trouble:
        note(found.trouble)


@app.command()
@grouped
def sync(*, view: View) -> None:
    """Ask providers how far batches are, and bring what has ended into the ledger."""
    found: list[Batch] = []
    with omni() as omni_app:
        asyncio.run(_sync(omni_app, found))
        zone = omni_app.zone
    _listing(view, found, zone, empty="no batch is under way")
    for batch in found:
        if batch.trouble:
            note(f"{id_text(batch.id)}: {batch.trouble}")


@app.command()
def release(
    batch: Id,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Hold nothing more for a batch whose results cannot be had: what it cost stays unknown."""
    with omni() as omni_app:
        service = omni_app.batches
        found = service.find(batch)
        service.check_release(found)
        if not yes and not ask(
            f"release {format_usd(found.held_nusd)} that is held for {id_text(found.id)}?",
            nobody="nobody is there to ask",
            hint="--yes releases it",
        ):
            raise typer.Exit(1)
        held = found.held_nusd
        found = service.release(found, who=omni_app.who)
    answer(batch_document(found), f"released {format_usd(held)}", as_json=as_json)


async def _sync(omni_app: App, found: list[Batch]) -> None:
    from omni_cli.http.client import UpstreamPool
    from omni_cli.http.environment import Proxies
    from omni_cli.http.outside import Guarded
    from omni_cli.services.engine.batch_calls import BatchCalls

    async def do(job: Any) -> Any:
        return job(omni_app.batches)

    pool = UpstreamPool(proxies=Proxies(omni_app.env), outside=Guarded(omni_app.origins))
    try:
        await BatchCalls(pool, do).sync(every=True, told=found.append)
    finally:
        pool.close()
        await asyncio.sleep(0)


def _listing(view: View, found: list[Batch], zone: str, empty: str = "") -> None:
    listing(
        view,
        _COLUMNS,
        [
            (
                id_text(batch.id),
                batch.provider,
                batch.state if not batch.trouble else f"{batch.state} (!)",
                f"{batch.lines:,}",
                f"{batch.settled:,}",
                _cost(batch),
                format_usd(batch.held_nusd),
                moment(batch.created_at, zone),
                batch.remote or "-",
            )
            for batch in found
        ],
        lambda: [batch_document(batch) for batch in found],
        empty=[empty or "no batches; they are made at the gateway: docs/gateway-paths.md"],
    )


def _cost(batch: Batch) -> str:
    known = format_usd(batch.cost_nusd)
    return f"{known} + {batch.unknown:,} unknown" if batch.unknown else known
