"""``omni keys``: API keys by provider, in the fleet or not yet, and client keys of the gateway."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_providers, grouped, money, omni, read_key, words
from omni_cli.cli.remote import KEY
from omni_cli.cli.render import emit_json, note, out
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.models import Provider
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.periods import iso, period_kind
from omni_cli.domain.words import meant
from omni_cli.records import ClientKey
from omni_cli.services.fleet.client_keys import key_document


def create(
    name: Annotated[
        str | None, typer.Argument(help="What its use is filed under; made up by default.")
    ] = None,
    org: Annotated[str, typer.Option(help="The organisation it belongs to.")] = "",
    budget: Annotated[str | None, typer.Option(help="US dollars it may spend.")] = None,
    per: Annotated[str, typer.Option("--per", help="day, week or month.")] = "month",
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(min=1, help="Tokens a minute.")] = None,
    concurrency: Annotated[int | None, typer.Option(min=1, help="Requests at once.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(help="Models it may call, such as 'openai/*'; repeatable. All."),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Such as 12h, 30d, 8w. Never.")] = None,
    scope: Annotated[
        str | None,
        typer.Option(help="May also read, operate or admin the fleet (/api, /metrics)."),
    ] = None,
    manage: Annotated[bool, typer.Option("--manage", help="The same as --scope admin.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Make a client key for the gateway. It is shown once; only a digest is kept."""
    wanted = ClientKey(
        name or "",
        shown="",
        org=org,
        scope=scope or ("admin" if manage else ""),
        models=tuple(words(models)),
        rpm=rpm,
        tpm=tpm,
        concurrency=concurrency,
    )
    limit = money(budget, "--budget")
    with omni() as omni_app:
        key, token = omni_app.key_service.create(
            wanted,
            limit_nusd=None if limit is None else usd_to_nusd(limit),
            period=period_kind(per),
            expires=expires,
        )
    if as_json:
        emit_json({**key_document(key, key.created_at), "key": token})
        return
    out(token)
    note(f"key {key.name}: shown this once; only its digest is kept (omni keys list --clients)")


def revoke(name: Annotated[str, typer.Argument(help="The key's name.")]) -> None:
    """Take a client key back. A running gateway refuses it within half a second."""
    with omni() as omni_app:
        left = omni_app.key_service.revoke(name)
    out(f"key {name} revoked")
    for budget in left:
        note(f"its budget stays, with what it spent: omni budgets remove {budget.id} ends it")


def clients_line(omni_app: App) -> str:
    """What ``keys list`` says of the gateway's keys."""
    now = omni_app.now_ms()
    active = sum(k.state(now) == "active" for k in omni_app.client_keys.all())
    if not active:
        return "client keys of the gateway: none; omni keys create makes one"
    return f"client keys of the gateway: {active}; omni keys list --clients shows them"


def show_clients(view: View) -> None:
    """Print the gateway's keys."""
    with omni() as omni_app:
        now = omni_app.now_ms()
        keys = omni_app.client_keys.all()
    listing(
        view,
        (
            Column.key("name"),
            Column.words("org", 3, 6),
            Column.words("key", 5, 16),
            Column.words("models", 4),
            Column.words("limits", 6),
            Column.words("used", 2, 16),
            Column.words("state", 7, 15),
        ),
        [
            (
                key.name,
                key.org,
                key.shown,
                ", ".join(key.models) or "all",
                _limits(key),
                (iso(key.used_at) or "never")[:16].replace("T", " "),
                ", ".join(filter(None, [key.state(now), key.scope])),
            )
            for key in keys
        ],
        lambda: [key_document(key, now) for key in keys],
        empty=["no client keys; omni keys create makes one"],
    )


def _limits(key: ClientKey) -> str:
    parts = [
        f"{amount:,} {what}"
        for amount, what in ((key.rpm, "rpm"), (key.tpm, "tpm"), (key.concurrency, "at once"))
        if amount is not None
    ]
    if key.expires_at is not None:
        day = datetime.fromtimestamp(key.expires_at / 1000, UTC).date()
        parts.append(f"until {day.isoformat()}")
    return ", ".join(parts) or "none"


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
        rows = omni_app.provider_documents.keys(_known(omni_app))
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
        known = {*omni_app.presets, *(one.slug for one in omni_app.providers.all()), KEY}
        if slug not in known and slug not in omni_app.keys.kept and (near := meant(slug, known)):
            raise UsageError(
                f"{slug!r} is no provider that omni knows",
                hint=f"{near} One of your own comes first: omni providers add {slug}",
            )
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


@app.command(hidden=True)
def remove(name: Annotated[str, typer.Argument(help="A client key, or a provider.")]) -> None:
    """Take a client key back, or forget a provider's: whichever has the name."""
    with omni() as omni_app:
        issued = any(key.name == name and not key.revoked_at for key in omni_app.client_keys.all())
        kept = name in omni_app.keys.kept
    if issued and kept:
        raise UsageError(
            f"{name!r} names a client key and a provider's key",
            hint=f"omni keys revoke {name}, or omni keys delete {name}",
        )
    (revoke if issued else delete)(name)


@app.command()
def path() -> None:
    """The folder of the encrypted file."""
    with omni() as omni_app:
        out(str(omni_app.paths.data))


def _known(omni_app: App) -> list[Provider]:
    """Well-known providers that have keys, and strangers whose keys are kept."""
    presets = omni_app.presets
    return [
        *(
            Provider(preset.slug, preset.name, preset.protocol, preset.base_url)
            for preset in presets.values()
            if preset.auth_method == "api_key"
        ),
        *(Provider(slug, slug, "openai", "") for slug in omni_app.keys.kept if slug not in presets),
    ]
