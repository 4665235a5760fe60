"""``omni init``: from what this machine has to a fleet that answers."""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from omni_cli import config as settings
from omni_cli.bootstrap import App
from omni_cli.cli.common import Apply, DryRun, JsonFlag, agree_to_leaving, complete_catalogue, omni
from omni_cli.cli.render import emit_json, milliseconds, note, out, paint
from omni_cli.cli.tables import Column, folded, table
from omni_cli.domain.errors import ConfigError, UsageError
from omni_cli.domain.record import replace
from omni_cli.services.fleet.setup import Found, Proposal, apply, proposal_document

app = typer.Typer(rich_markup_mode=None)

_PREMIUM_KEY = "general.premium_model"
#: Shown to a person who has nothing yet; omni knows more (omni providers add --help).
_COMMON = ("anthropic", "openai", "google", "openrouter", "groq", "deepseek", "mistral", "xai")


@app.command()
def init(
    yes: Apply = False,
    dry_run: DryRun = False,
    premium: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete_catalogue,
            help="The model that savings are counted against; none for no such model.",
        ),
    ] = None,
    no_local: Annotated[
        bool, typer.Option("--no-local", help="Do not look for servers on this machine.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Then ask each provider whether it answers.")
    ] = False,
    agent: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="AGENT",
            help="Roles and rules for an agent's usual jobs, such as claude-code, from the fleet.",
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Find keys and local servers, propose a fleet.

    Looks at the environment's keys and at this machine's own ports; sends nothing elsewhere.
    What is set up already stays as it is, so it may be run again after adding a key.
    """
    with omni() as omni_app:
        if agent is not None and omni_app.routing.active_models():
            _slots(omni_app, agent, yes=yes, dry_run=dry_run, as_json=as_json)
            return
        found = omni_app.find_providers(local=not no_local)
        if not found and not omni_app.providers.all():
            if not as_json:
                _nothing(omni_app)
            raise ConfigError(
                "found neither a key nor a local server",
                hint="export a key, or start a server, and run omni init again; "
                "omni demo shows omni without either",
            )
        proposal = omni_app.propose_fleet(found)
        baseline = _baseline(omni_app, proposal, premium, yes=yes or dry_run)
        apply_it = yes and not dry_run
        if not as_json:
            _show(omni_app, found, proposal, baseline)
            if not (yes or dry_run) and not (proposal.empty and baseline is None):
                apply_it, baseline = _ask(omni_app, baseline)
                if apply_it:
                    proposal = _ask_addresses(omni_app, found, proposal)
        for line in _addresses(omni_app, found) if yes else ():
            note(line)
        if apply_it:
            apply(omni_app.fleet, omni_app.models, proposal)
            if baseline is not None:
                settings.set_value(omni_app.paths, _PREMIUM_KEY, baseline)
        if as_json:
            emit_json(
                proposal_document(
                    found, proposal, baseline, omni_app.addresses.source, applied=apply_it
                )
            )
            return
        if apply_it and test:
            _test(omni_app)
        if apply_it and agent is not None:
            omni_app.refresh()
            _slots(omni_app, agent, yes=yes, dry_run=False, as_json=False)
            return
        if proposal.empty and baseline is None and not proposal.at_work:
            _nothing_at_work(omni_app)
            return
        _next(proposal, applied=apply_it, changes=not proposal.empty or baseline is not None)


def _slots(omni_app: App, agent: str, *, yes: bool, dry_run: bool, as_json: bool) -> None:
    """The usual jobs of an agent, who is to do each and why; set up if that is wanted."""
    from omni_cli.services.fleet.slots import apply_slots, slots_document

    found = omni_app.propose_slots(agent)
    apply_it = yes and not dry_run and not found.empty
    if not as_json:
        out(paint(f"\n{found.agent}", "bold"))
        for one in found.chosen:
            out(f"  {one.slot:<13} {', then '.join(one.models) or '-'}")
            out(folded(f"    {one.why}"))
            if one.rule:
                out(f"    {paint('rule' if one.is_new else 'there', 'dim')}  {one.rule}")
        if not (yes or dry_run or found.empty):
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                raise UsageError(
                    "nothing was changed: there is no terminal to ask at",
                    hint=f"omni init --for {found.agent} --yes sets it up; --dry-run only shows it",
                )
            apply_it = typer.confirm("Set it up?", default=True)
    if apply_it:
        roles = frozenset(role.name for role in omni_app.assignments.roles())
        apply_slots(omni_app.fleet, omni_app.assignments.rules(), roles, found)
    if as_json:
        emit_json(slots_document(found, applied=apply_it))
    elif found.empty:
        note("nothing to change: its roles and rules are there")
    elif apply_it:
        note("rules count where the agent asks for auto, as omni launch has it do")
        note("omni rules test --request FILE says which of them a request meets")
    else:
        note("nothing was changed")


def _baseline(omni_app: App, proposal: Proposal, asked: str | None, *, yes: bool) -> str | None:
    """The premium model to set, or None to leave the setting as it is."""
    if asked is not None:
        if asked == "none":
            return ""
        agree_to_leaving(omni_app, asked, yes=yes, at_work=True)
        return omni_app.names.model(asked)
    return None if omni_app.config.general.premium_model else proposal.premium


def _show(omni_app: App, found: Sequence[Found], proposal: Proposal, baseline: str | None) -> None:
    out(paint("found", "bold"))
    for item in found:
        served = f", {len(item.served)} models" if item.served else ""
        at = f", at {item.provider.base_url} ({item.address})" if item.address else ""
        out(f"  {item.provider.name}: {item.how.removeprefix('env:')}{served}{at}")
    if not found:
        out("  nothing new")
    if proposal.picks:
        out(paint("\nmodels to activate", "bold"))
        table(
            (
                Column.key("  model"),
                Column.words("as", 5, 8),
                Column.money("USD / 1M"),
                Column.figure("quality", 7),
            ),
            [
                (
                    f"  {pick.model.id}",
                    pick.tier,
                    "free" if pick.local else _dollars(pick.average_usd),
                    "unknown" if pick.quality is None else f"{pick.quality:.0%}",
                )
                for pick in proposal.picks
            ],
        )
        note("  quality: the router's estimate from published results (of a local model")
        note("  without any from its size); price: half in, half out")
    if proposal.unpriced:
        names = ", ".join(proposal.unpriced[:4]) + (", ..." if proposal.unpriced[4:] else "")
        note(f"  not activated: nobody tells the price of {names};")
        note("  omni models add MODEL --price-in USD --price-out USD (or --free) adds one")
    if proposal.roles:
        out(paint("\nroles", "bold"))
        for role, models in proposal.roles.items():
            out(f"  {role:<18} {', then '.join(models)}")
    if proposal.chain is not None:
        out(paint("\nfailover chain", "bold"))
        links = " > ".join(link.model for link in proposal.chain.links)
        out(f"  {proposal.chain.name:<18} {links}")
    if baseline:
        out(paint("\npremium model", "bold"))
        out(f"  {baseline}  savings are counted against it")
    elif omni_app.config.general.premium_model:
        out(f"\npremium model stays {omni_app.config.general.premium_model}")


def _ask(omni_app: App, baseline: str | None) -> tuple[bool, str | None]:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError(
            "nothing was changed: there is no terminal to ask at",
            hint="omni init --yes sets it up as shown; --dry-run only shows it",
        )
    out()
    if not typer.confirm("Set it up?", default=True):
        return False, None
    if baseline:
        answer = typer.prompt("Premium model (none for no savings)", default=baseline)
        if answer.strip() == "none":
            return True, None
        if answer.strip() != baseline:
            agree_to_leaving(omni_app, answer.strip(), yes=False, at_work=True)
        baseline = omni_app.names.model(answer.strip())
    return True, baseline


def _addresses(omni_app: App, found: Sequence[Found]) -> list[str]:
    """What is to be said about providers that a variable places elsewhere."""
    lines = []
    for item in found:
        provider = item.provider
        if item.address:
            lines.append(f"{provider.slug} is at {provider.base_url}, as {item.address} says")
        elif (other := omni_app.addresses.other(provider)) is not None:
            lines.append(
                f"{other[0]} says {other[1]}; {provider.slug} stays at {provider.base_url} "
                f"(omni providers edit {provider.slug} --base-url {other[1]})"
            )
    return lines


def _ask_addresses(omni_app: App, found: Sequence[Found], proposal: Proposal) -> Proposal:
    """Keys go only where the user says: each address that a variable names is asked about."""
    providers = {provider.slug: provider for provider in proposal.providers}
    for item in found:
        slug = item.provider.slug
        if not item.address or slug not in providers:
            continue
        question = f"Send {slug}'s key to {item.provider.base_url}, as {item.address} says?"
        if not typer.confirm(question, default=True):
            omni_app.addresses.decline(slug)
            usual = omni_app.presets[slug].base_url
            providers[slug] = replace(item.provider, base_url=usual)
    return replace(proposal, providers=tuple(providers.values()))


def _test(omni_app: App) -> None:
    enabled = [provider for provider in omni_app.providers.all() if provider.enabled]
    for result in omni_app.tester.test_all(enabled):
        if result.error is not None:
            out(f"  {result.slug:<14} {paint('failed', 'red')} {result.error.message}")
        else:
            out(f"  {result.slug:<14} {paint('ok', 'green')} {milliseconds(result.latency_ms)}")


def _nothing_at_work(omni_app: App) -> None:
    """The catalogue knows no models of these providers: they are to be named."""
    for provider in omni_app.providers.all():
        out(f"\nno model of {provider.slug} is at work, and none of its models is known")
        note(f"next: omni providers models {provider.slug} --add, then omni models activate MODEL")


def _next(proposal: Proposal, *, applied: bool, changes: bool) -> None:
    if not changes:
        out("\nnothing to change: the fleet is set up")
    elif not applied:
        note("nothing was changed")
        return
    note('next: omni chat "your question", omni models list, omni providers test --all')
    if proposal.chain is not None and applied:
        note(f"the chain: omni chat -m chain:{proposal.chain.name} ...")


def _nothing(omni_app: App) -> None:
    out("No key and no local server was found. For example:")
    for slug in _COMMON:
        preset = omni_app.presets[slug]
        out(f"  export {preset.key_envs[0]}=...   {paint(f'# {preset.docs_url}', 'dim')}")
    out("or keep a key encrypted:")
    out("  omni providers add anthropic --key-stdin")
    out("or start a server on this machine:")
    for slug, preset in omni_app.presets.items():
        if preset.local:
            out(f"  {preset.name} at {preset.base_url}   {paint(f'# {preset.docs_url}', 'dim')}")
            if slug == "ollama":
                out("    ollama serve, then ollama pull MODEL")
    out("or any other API:")
    out("  omni providers add NAME --protocol openai --base-url https://HOST/v1 --key-env VAR")
    out("without any of it:")
    out("  omni demo")
    out()


def _dollars(amount: Any) -> str:
    from omni_cli.domain.money import dollars

    return "unknown" if amount is None else dollars(amount)
