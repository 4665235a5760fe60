"""``omni keys``: API keys by provider, whether or not the provider is in the fleet yet."""

from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.commands.client_keys import clients_line, create, revoke, show_clients
from omni_cli.cli.common import complete_providers, omni, read_key
from omni_cli.cli.options import grouped
from omni_cli.cli.render import note, out
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import NotFound
from omni_cli.domain.models import Provider

app = typer.Typer(
    rich_markup_mode=None, help="API keys of providers, and client keys of the gateway."
)


app.command()(create)
app.command()(revoke)


def complete_slugs(incomplete: str) -> list[str]:
    presets = [slug for slug in App().presets if slug.startswith(incomplete)]
    return list(dict.fromkeys([*complete_providers(incomplete), *presets]))


Slug = Annotated[str, typer.Argument(autocompletion=complete_slugs, help="The provider.")]


@app.command("list")
@grouped
def list_(
    clients: Annotated[
        bool, typer.Option("--clients", help="Client keys of the gateway instead.")
    ] = False,
    *,
    view: View,
) -> None:
    """Providers' keys and where they are, masked; --clients: the keys that the gateway takes."""
    if clients:
        show_clients(view)
        return
    with omni() as omni_app:
        rows = [row for provider in _all(omni_app) if (row := _row(omni_app, provider))]
        issued = clients_line(omni_app)
    listing(
        view,
        (
            Column.key("provider"),
            Column.words("where", 6, 8),
            Column.words("key", 8, 8),
            Column.words("in the fleet", 2, 3),
        ),
        [
            (
                row["provider"],
                row["key"].removeprefix("env:"),
                row["key_masked"],
                "yes" if row["in_fleet"] else "no",
            )
            for row in rows
        ],
        lambda: rows,
        empty=[
            "no keys of providers yet: export OPENAI_API_KEY=..., or omni keys set openai < FILE"
        ],
    )
    if not view.data:
        note(issued)


@app.command("set")
def set_(slug: Slug) -> None:
    """Keep a key: read from stdin, or asked for without showing it. Never an argument."""
    with omni() as omni_app:
        where = omni_app.keys.keep(slug, read_key(slug))
        there = omni_app.providers.get(slug) is not None
    out(f"key of {slug} kept in the {'OS keyring' if where == 'keyring' else 'encrypted file'}")
    if not there:
        note(f"next: omni providers add {slug}, or omni init")


@app.command()
def delete(slug: Slug) -> None:
    """Forget a stored key; variables of the environment are yours to unset."""
    with omni() as omni_app:
        gone = omni_app.keys.forget(slug)
    if not gone:
        raise NotFound(f"no key of {slug} is stored", hint="omni keys list shows where keys are")
    out(f"key of {slug} deleted")


@app.command()
def path() -> None:
    """The folder of the encrypted file."""
    with omni() as omni_app:
        out(str(omni_app.paths.data))


def _all(omni_app: App) -> list[Provider]:
    """The fleet's providers, then known and stored ones that are not in it."""
    fleet = {provider.slug: provider for provider in omni_app.providers.all()}
    others = [
        Provider(preset.slug, preset.name, preset.protocol, preset.base_url)
        for slug, preset in omni_app.presets.items()
        if slug not in fleet and preset.auth_method == "api_key"
    ]
    known = {*fleet, *(provider.slug for provider in others)}
    strangers = [
        Provider(slug, slug, "openai", "") for slug in omni_app.keys.kept if slug not in known
    ]
    return [*fleet.values(), *others, *strangers]


def _row(omni_app: App, provider: Provider) -> dict[str, Any] | None:
    place = omni_app.keys.place(provider)
    if place is None:
        return None
    return {
        "provider": provider.slug,
        "key": place,
        "key_masked": omni_app.keys.masked(provider),
        "in_fleet": omni_app.providers.get(provider.slug) is not None,
    }
