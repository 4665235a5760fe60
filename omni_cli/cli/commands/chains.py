"""``omni chains``: ordered models that stand in for each other."""

from typing import Annotated, Any

import typer

from omni_cli.cli.common import JsonFlag, complete_chains, complete_models, grouped, omni
from omni_cli.cli.render import emit_json, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.document import document
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.models import Chain, ChainLink
from omni_cli.domain.record import replace
from omni_cli.services.fleet.describe import chain_consent

app = typer.Typer(rich_markup_mode=None, help="Failover chains.")

Name = Annotated[str, typer.Argument(autocompletion=complete_chains, help="The chain.")]
Links = Annotated[
    list[str],
    typer.Argument(autocompletion=complete_models, help="MODEL[:retries=3,timeout_ms=30000]"),
]
Model = Annotated[str, typer.Argument(autocompletion=complete_models, help="Id or alias.")]
Multiple = Annotated[
    float | None,
    typer.Option(help="A stand-in may cost so many times the first model, and no more."),
]
FreeToPaid = Annotated[
    bool | None,
    typer.Option(
        "--free-to-paid/--no-free-to-paid",
        help="From a free model to a paid one: any, or not even the chain's own.",
    ),
]
Hedge = Annotated[
    int | None,
    typer.Option(help="The next model is asked as well when no answer began by then, ms."),
]
AnyCost = Annotated[
    bool,
    typer.Option("--any-cost", help="Models that are not in the chain may cost anything, too."),
]
AsListed = Annotated[
    bool, typer.Option("--as-listed", help="The chain's models may cost anything (the default).")
]


@app.command("list")
@grouped
def list_(*, view: View) -> None:
    """All chains."""
    with omni() as omni_app:
        chains = omni_app.assignments.chains()
    listing(
        view,
        (Column.key("chain"), Column.words("models, in order", 9, 20), Column.words("consent", 2)),
        [(c.name, " > ".join(link.model for link in c.links), _consent(c)) for c in chains],
        lambda: [document(chain) for chain in chains],
        empty=["no chains yet: omni chains add NAME MODEL MODEL ..."],
    )


@app.command("show")
def show_(name: Name, as_json: JsonFlag = False) -> None:
    """One chain."""
    with omni() as omni_app:
        chain = omni_app.fleet.chain(name)
    if as_json:
        emit_json(document(chain))
    else:
        _show(chain)


@app.command()
def add(
    name: Annotated[
        str, typer.Argument(autocompletion=complete_chains, help="A new chain, or one there is.")
    ],
    links: Links,
    at: Annotated[
        int | None, typer.Option(min=1, help="Place from 1 in one there is; last otherwise.")
    ] = None,
    max_cost_multiple: Multiple = None,
    any_cost: AnyCost = False,
    free_to_paid: FreeToPaid = None,
    hedge_ms: Hedge = None,
    replace_it: Annotated[
        bool, typer.Option("--replace", help="Instead of the one of this name.")
    ] = False,
    new: Annotated[bool, typer.Option("--new", help="Only where there is none yet.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a chain, or add models to one: the first is asked, the next stands in when it fails."""
    cost = _cost(max_cost_multiple, any_cost=any_cost)
    with omni() as omni_app:
        there = None if replace_it else omni_app.assignments.chain(name)
        more = tuple(omni_app.fleet.link(text) for text in links)
        if there is None:
            chain = Chain(name, more, allow_free_to_paid=free_to_paid, hedge_ms=hedge_ms, **cost)
        elif new or cost or (free_to_paid, hedge_ms) != (None, None):
            raise UsageError(
                f"there is a chain {name!r} already",
                hint="--replace makes it anew; omni chains edit, move, remove-link change it",
            )
        else:
            place = len(there.links) if at is None else at - 1
            chain = replace(there, links=(*there.links[:place], *more, *there.links[place:]))
        omni_app.fleet.put_chain(chain)
    _report(chain, as_json)


@app.command()
def edit(
    name: Name,
    max_cost_multiple: Multiple = None,
    any_cost: AnyCost = False,
    as_listed: AsListed = False,
    free_to_paid: FreeToPaid = None,
    hedge_ms: Hedge = None,
    no_hedge: Annotated[bool, typer.Option("--no-hedge", help="Ask one after the other.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Change what a stand-in may cost, and when it is asked."""
    cost = _cost(max_cost_multiple, any_cost=any_cost, as_listed=as_listed)
    if not cost and not no_hedge and (free_to_paid, hedge_ms) == (None, None):
        raise UsageError(
            "nothing to change",
            hint="--max-cost-multiple, --any-cost, --as-listed, --free-to-paid, --hedge-ms or "
            "--no-hedge",
        )
    if no_hedge and hedge_ms is not None:
        raise UsageError("--hedge-ms and --no-hedge exclude each other")
    with omni() as omni_app:
        chain = omni_app.fleet.chain(name)
        chain = replace(
            chain,
            **cost,
            allow_free_to_paid=chain.allow_free_to_paid if free_to_paid is None else free_to_paid,
            hedge_ms=None if no_hedge else chain.hedge_ms if hedge_ms is None else hedge_ms,
        )
        omni_app.fleet.put_chain(chain)
    _report(chain, as_json)


@app.command()
def move(
    name: Name,
    model: Model,
    to: Annotated[int, typer.Argument(min=1, help="Place from 1.")],
    as_json: JsonFlag = False,
) -> None:
    """Put a model of a chain at another place."""
    with omni() as omni_app:
        chain = omni_app.fleet.chain(name)
        link = _find(chain, omni_app.names.model(model))
        rest = [item for item in chain.links if item != link]
        rest.insert(to - 1, link)
        chain = replace(chain, links=tuple(rest))
        omni_app.fleet.put_chain(chain)
    _report(chain, as_json)


@app.command("edit-link")
def edit_link(
    name: Name,
    model: Model,
    retries: Annotated[int | None, typer.Option(help="0 to 10, after the first try.")] = None,
    timeout_ms: Annotated[int | None, typer.Option(help="1000 to 120000, each try.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change how hard a model of a chain is tried."""
    if retries is None and timeout_ms is None:
        raise UsageError("nothing to change", hint="--retries or --timeout-ms")
    with omni() as omni_app:
        chain = omni_app.fleet.chain(name)
        old = _find(chain, omni_app.names.model(model))
        new = ChainLink(
            old.model,
            old.max_retries if retries is None else retries,
            old.timeout_ms if timeout_ms is None else timeout_ms,
        )
        chain = replace(chain, links=tuple(new if i == old else i for i in chain.links))
        omni_app.fleet.put_chain(chain)
    _report(chain, as_json)


@app.command("remove-link")
def remove_link(name: Name, model: Model, as_json: JsonFlag = False) -> None:
    """Take a model out of a chain; one must stay."""
    with omni() as omni_app:
        chain = omni_app.fleet.chain(name)
        link = _find(chain, omni_app.names.model(model))
        if len(chain.links) == 1:
            raise UsageError(
                f"{link.model} is the chain's only model", hint=f"omni chains remove '{name}'"
            )
        chain = replace(chain, links=tuple(item for item in chain.links if item != link))
        omni_app.fleet.put_chain(chain)
    _report(chain, as_json)


@app.command()
def rename(name: Name, new_name: Annotated[str, typer.Argument(help="The new name.")]) -> None:
    """Give a chain another name."""
    with omni() as omni_app:
        omni_app.fleet.rename_chain(name, new_name)
    out(f"{name} is now {new_name}")


@app.command()
def remove(name: Name) -> None:
    """Delete a chain; its models stay."""
    with omni() as omni_app:
        omni_app.fleet.remove_chain(name)
    out(f"deleted chain {name}")


def _find(chain: Chain, model_id: str) -> ChainLink:
    for link in chain.links:
        if link.model == model_id:
            return link
    raise NotFound(
        f"{model_id} is not in chain {chain.name}",
        hint="it holds " + ", ".join(link.model for link in chain.links),
    )


def _cost(
    multiple: float | None, *, any_cost: bool = False, as_listed: bool = False
) -> dict[str, Any]:
    """The chain's fields that the options change; none where none is given."""
    if any_cost + as_listed + (multiple is not None) > 1:
        raise UsageError("--any-cost, --as-listed and --max-cost-multiple exclude each other")
    if not any_cost and not as_listed and multiple is None:
        return {}
    return {"max_cost_multiple": multiple, "any_cost": any_cost}


def _consent(chain: Chain) -> str:
    hedge = "" if chain.hedge_ms is None else f", hedged after {chain.hedge_ms} ms"
    return chain_consent(chain) + hedge


def _report(chain: Chain, as_json: bool) -> None:
    if as_json:
        emit_json(document(chain))
    else:
        _show(chain)


def _show(chain: Chain) -> None:
    out(f"{paint(chain.name, 'bold')}  ({_consent(chain)})")
    for place, link in enumerate(chain.links, 1):
        out(
            f"  {place}. {link.model}  {link.max_retries} retries, "
            f"{link.timeout_ms / 1000:g} s each try"
        )
