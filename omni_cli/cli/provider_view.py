"""Providers as the command line shows them."""

import sys
from typing import Any

from omni_cli.bootstrap import App
from omni_cli.cli.render import milliseconds, note, out, paint
from omni_cli.domain.hosts import is_here
from omni_cli.domain.models import Provider
from omni_cli.services.fleet.describe import provider_document
from omni_cli.services.judge.health_report import FleetHealth


def key_text(row: dict[str, Any]) -> str:
    """Where the key is and how it looks, for a person."""
    if row["auth_method"] == "none":
        return "none needed"
    if row["key"] is None:
        return "missing"
    place = str(row["key"]).removeprefix("env:")
    return f"{place} {row['key_masked']}" if row["key_masked"] else place


def address_text(row: dict[str, Any]) -> str:
    """The base URL, and the variable that it follows."""
    variable = str(row["base_url_from"]).partition(":")[2]
    return f"{row['base_url']} ({variable})" if variable else str(row["base_url"])


def status_text(row: dict[str, Any]) -> str:
    """For a person: its health, as ``omni health`` says it."""
    return str(row["health"]) if row["enabled"] else "disabled"


def provider_row(
    omni_app: App, provider: Provider, health: FleetHealth, *, masked: bool = False
) -> dict[str, Any]:
    """``masked``: also unlock a stored key to show its mask; the environment's is free."""
    place = omni_app.key_place(provider) if provider.auth_method == "api_key" else None
    look = place is not None and (masked or place.startswith("env:"))
    mine = omni_app.models.all(provider=provider.slug)
    return provider_document(
        provider,
        key=place,
        masked=omni_app.key_masked(provider) if look else None,
        active=sum(model.status == "active" for model in mine),
        total=len(mine),
        tested=omni_app.providers.last_test(provider.slug),
        address=omni_app.address_from(provider),
        health=health.of(provider.slug),
    )


def show_test(row: dict[str, Any]) -> None:
    slug = str(row["provider"])
    if row["skipped"]:
        out(f"{slug:<14} skipped: tested just now, wait {row['wait_s']:g} s ({row['status']})")
    elif row["ok"]:
        verdict = paint("ok", "green")
        out(f"{slug:<14} {verdict} in {milliseconds(row['latency_ms'])}, {row['models']} models")
    else:
        out(f"{slug:<14} {paint('failed', 'red')} {row['error']['message']}")
        if row["error"]["hint"]:
            note(f"{paint('hint:', 'cyan', sys.stderr)} {row['error']['hint']}")


def place_text(where: str) -> str:
    return "OS keyring" if where == "keyring" else "encrypted file"


def unset_hint(omni_app: App, provider: Provider) -> str:
    place = omni_app.key_place(provider) or ""
    return f"unset {place.removeprefix('env:')}" if place.startswith("env:") else ""


def warn_plain(provider: Provider) -> None:
    if not is_here(provider.base_url):
        note(f"warning: {provider.base_url} is not encrypted: anyone on the way reads the key")
