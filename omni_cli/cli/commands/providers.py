"""``omni providers``: accounts at APIs, their keys, and whether they answer."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, complete_providers, grouped, omni, pairs, read_key
from omni_cli.cli.render import answer, emit_json, milliseconds, moment, note, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.clouds import ADDRESSES, Part
from omni_cli.domain.document import document
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.hosts import is_here
from omni_cli.domain.models import Provider
from omni_cli.domain.record import replace
from omni_cli.domain.vendor_env import no_key_hint
from omni_cli.services.fleet.describe import tested_document
from omni_cli.services.fleet.organisation import whose

app = typer.Typer(rich_markup_mode=None, help="Accounts at APIs: add, test, keys.")

Slug = Annotated[str, typer.Argument(autocompletion=complete_providers, help="The provider.")]


def complete_presets(incomplete: str) -> list[str]:
    return [slug for slug in (*App().presets, *ADDRESSES) if slug.startswith(incomplete)]


def complete_protocols(incomplete: str) -> list[str]:
    from omni_cli.wire.registry import protocols

    return [name for name in protocols() if name.startswith(incomplete)]


Protocol = Annotated[
    str | None,
    typer.Option(
        autocompletion=complete_protocols,
        help="openai, openai-responses, anthropic, gemini, bedrock, ollama, clarifai or "
        "google-vision.",
    ),
]
BaseUrl = Annotated[str | None, typer.Option("--base-url", help="Where the API is.")]
Name = Annotated[str | None, typer.Option("--name", help="The name to show.")]
KeyEnv = Annotated[str | None, typer.Option("--key-env", help="Variable that holds the key.")]
NoAuth = Annotated[bool, typer.Option("--no-auth", help="It takes no key.")]
Slots = Annotated[
    str | None,
    typer.Option(
        "--max-concurrency", metavar="N|none", help="Most calls at a time; none: no limit."
    ),
]
Headers = Annotated[
    list[str] | None, typer.Option("--header", help="NAME=VALUE to send along; repeatable.")
]


class Place(Struct, frozen=True):
    """Where a cloud's API is, as options."""

    resource: Annotated[
        str | None, typer.Option(help="Azure: NAME of https://NAME.openai.azure.com.")
    ] = None
    api_version: Annotated[
        str | None,
        typer.Option("--api-version", help="Azure: of the API that names deployments."),
    ] = None
    region: Annotated[
        str | None,
        typer.Option("--region", "--location", help="Bedrock, Vertex AI: such as us-east-1."),
    ] = None
    project: Annotated[str | None, typer.Option(help="Vertex AI: the project's id.")] = None

    def given(self) -> dict[str, str]:
        return {
            name.replace("_", "-"): value
            for name in self.__struct_fields__
            if (value := getattr(self, name)) is not None
        }


def _asked(part: Part) -> str:
    """A part of an address, asked for where somebody is there to answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return ""
    return str(typer.prompt(part.words, err=True))


@app.command("list")
@grouped
def list_(*, view: View) -> None:
    """The providers of the fleet."""
    with omni() as omni_app:
        rows = omni_app.provider_documents.all()
    listing(
        view,
        (
            Column.key("provider"),
            Column.words("name", 2, 10),
            Column.words("protocol", 3, 9),
            Column.words("status", 9, 8),
            Column.words("key", 6, 7),
            Column.figure("models", 7),
            Column.words("base URL", 4),
        ),
        [
            (
                row["slug"],
                row["name"],
                row["protocol"],
                _status_text(row),
                _key_text(row),
                f"{row['models_active']}/{row['models_total']}",
                _address_text(row),
            )
            for row in rows
        ],
        lambda: rows,
        empty=[
            "no providers yet; omni init finds keys and local servers",
            "or: omni providers add openai   (omni providers add --help lists the known ones)",
        ],
        styles=[None if row["enabled"] else "dim" for row in rows],
    )


@app.command()
def show(slug: Slug, as_json: JsonFlag = False) -> None:
    """Everything about one provider."""
    with omni() as omni_app:
        provider = omni_app.fleet.provider(slug)
        row = omni_app.provider_documents.of(provider, masked=True)
        row["models"] = [
            document(model, "id", "name", "status")
            for model in omni_app.models.all(provider=slug)
            if model.status != "standby"
        ]
        tested = omni_app.providers.last_test(slug)
        zone = omni_app.zone
    if as_json:
        emit_json(row)
        return
    simulated = ", simulator" if row["simulated"] else ""
    out(f"{paint(slug, 'bold')}  {row['name']} ({_status_text(row)}{simulated})")
    out(f"  protocol         {row['protocol']}")
    out(f"  base URL         {_address_text(row)}")
    out(f"  key              {_key_text(row)}")
    out(f"  max concurrency  {row['max_concurrency'] or 'no limit'}")
    for name in row["headers"]:
        out(f"  header           {name}: {provider.headers[name]}")
    if tested is not None:
        verdict = row["last_error"] or f"answered in {milliseconds(row['latency_ms'])}"
        out(f"  last test        {moment(tested[0], zone)}: {verdict}")
    out(f"  models           {row['models_active']} active of {row['models_total']}")
    for model in row["models"]:
        out(f"    {model['id']}  {model['status']}")


@app.command()
@grouped
def add(
    slug: Annotated[
        str,
        typer.Argument(autocompletion=complete_presets, help="A known one, or a name of yours."),
    ],
    protocol: Protocol = None,
    base_url: BaseUrl = None,
    key_env: KeyEnv = None,
    key_stdin: Annotated[
        bool, typer.Option("--key-stdin", help="Read the key from stdin and store it.")
    ] = False,
    no_auth: NoAuth = False,
    name: Name = None,
    max_concurrency: Slots = None,
    header: Headers = None,
    simulated: Annotated[bool, typer.Option("--simulated", hidden=True)] = False,
    as_json: JsonFlag = False,
    *,
    place: Place,
) -> None:
    """Add a provider. Known ones need no more than their name:

    anthropic, openai, google, openrouter, groq, deepseek, moonshot, mistral, perplexity, xai,
    cerebras, together, zai, clarifai, google-vision, ollama, lmstudio, vllm, llamacpp.

    Clouds need their place (docs/clouds.md):

    omni providers add azure --resource NAME

    omni providers add bedrock --region us-east-1

    omni providers add vertex --project ID, and vertex-anthropic for Claude there
    """
    if (key_env is not None) + key_stdin + no_auth > 1:
        raise UsageError("--key-env, --key-stdin and --no-auth exclude each other")
    with omni() as omni_app:
        old = omni_app.providers.get(slug)
        if old is not None and omni_app.org and not whose(old.slug):
            old = None  # everybody's: the organisation's own takes its place
        variable = None
        given, cloud = place.given(), ADDRESSES.get(slug)
        if given and (cloud is None or base_url is not None):
            raise UsageError(
                f"--{next(iter(given))} makes the address of {', '.join(ADDRESSES)} only",
                hint="leave it out, or --base-url",
            )
        if base_url is None and cloud is not None:
            base_url = cloud.of(slug, given, os.environ, _asked)
        if cloud is not None:
            protocol, name = protocol or cloud.protocol, name or cloud.name
        if base_url is None and slug in omni_app.presets:
            base_url, variable = omni_app.addresses.proposed(slug)
        keyed = key_env is not None or key_stdin
        provider = omni_app.provider_maker.new(
            slug,
            protocol=protocol,
            base_url=base_url,
            name=name,
            auth_method="none" if no_auth else "api_key" if keyed else None,
            keyed=keyed,
        )
        slots = provider.max_concurrency if max_concurrency is None else _slots(max_concurrency)
        provider = replace(
            provider,
            key_env=key_env or provider.key_env,
            max_concurrency=slots,
            headers=_headers(header),
            simulated=simulated,
        )
        said = {"named": bool(name), "slots": bool(max_concurrency), "key_env": bool(key_env)}
        if old is not None and not _same(old, provider, **said):
            raise UsageError(
                f"{slug} is in the fleet already, with other settings",
                hint=f"omni providers edit {slug} changes them",
            )
        key = read_key(slug) if key_stdin else None
        if old is None:
            omni_app.fleet.put_provider(provider)
            if variable is None:
                omni_app.addresses.decline(omni_app.fleet.provider(slug).slug)
        if key is not None:
            note(f"key kept in the {_place_text(omni_app.keys.keep(slug, key))}")
        row = omni_app.provider_documents.of(omni_app.fleet.provider(slug))
    if as_json:
        emit_json(row)
        return
    because = f", as {variable} says" if variable else ""
    out(f"{'kept' if old else 'added'} {slug}: {provider.protocol} at {provider.base_url}{because}")
    if row["key"] is None and provider.auth_method == "api_key":
        note(f"no key yet: {no_key_hint(slug, provider.key_env)}")
    elif provider.auth_method == "none" and not no_auth:
        note("a server on this machine, taken to need no key; else: --key-env or --key-stdin")
    if provider.auth_method == "api_key" and not provider.base_url.startswith("https://"):
        _warn_plain(provider)
    then = f"models list --provider {slug} --all" if cloud is None else f"models add {slug}/NAME"
    note(f"next: omni providers test {slug}, then omni {then}")


@app.command()
def edit(
    slug: Slug,
    protocol: Protocol = None,
    base_url: BaseUrl = None,
    key_env: KeyEnv = None,
    no_auth: NoAuth = False,
    name: Name = None,
    max_concurrency: Slots = None,
    header: Headers = None,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Drop all headers.")] = False,
    maintenance: Annotated[
        bool | None,
        typer.Option("--maintenance/--no-maintenance", help="Keep requests away for a while."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Change what is named; the rest stays."""
    if key_env is not None and no_auth:
        raise UsageError("--key-env and --no-auth exclude each other")
    given: dict[str, Any] = {
        "protocol": protocol,
        "base_url": base_url,
        "key_env": key_env,
        "name": name,
    }
    changes = {field: value for field, value in given.items() if value is not None}
    if max_concurrency is not None:
        changes["max_concurrency"] = _slots(max_concurrency)
    if no_auth:
        changes |= {"auth_method": "none", "key_env": None}
    elif key_env is not None:
        changes["auth_method"] = "api_key"
    with omni() as omni_app:
        old = omni_app.fleet.provider(slug)
        if header or no_headers:
            changes["headers"] = {**({} if no_headers else old.headers), **_headers(header)}
        if maintenance is not None:
            changes["status"] = "maintenance" if maintenance else "disconnected"
        if not changes:
            raise UsageError("nothing to change", hint="omni providers edit --help lists it")
        fresh = replace(old, **changes)
        omni_app.fleet.put_provider(fresh)
        if base_url is not None:  # of its own slug: an organisation decides nothing for others
            omni_app.addresses.decline(omni_app.fleet.provider(slug).slug)
        row = omni_app.provider_documents.of(fresh)
    answer(row, f"changed {slug}: {', '.join(sorted(changes))}", as_json=as_json)


@app.command()
def remove(slug: Slug) -> None:
    """Take a provider out of the fleet, with the models you added to it and its stored key."""
    with omni() as omni_app:
        omni_app.fleet.remove_provider(slug)
        gone = omni_app.keys.forget(slug)
    out(f"removed {slug}" + (f" and its key from the {_place_text(gone[0])}" if gone else ""))


@app.command()
def enable(slug: Slug) -> None:
    """Let requests go to a provider again."""
    _switch(slug, enabled=True)


@app.command()
def disable(slug: Slug) -> None:
    """Send a provider nothing, without removing it."""
    _switch(slug, enabled=False)


@app.command()
def key(
    slug: Slug,
    stdin: Annotated[bool, typer.Option("--stdin", help="Read a new key from stdin.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Forget the stored key.")] = False,
    show_it: Annotated[bool, typer.Option("--show", help="Show it, masked.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Where a provider's key is; store or forget one. A key is never an argument."""
    if stdin + delete + show_it > 1:
        raise UsageError("--stdin, --delete and --show exclude each other")
    with omni() as omni_app:
        provider = omni_app.fleet.provider(slug)
        if stdin:
            note(f"key kept in the {_place_text(omni_app.keys.keep(slug, read_key(slug)))}")
            if provider.auth_method == "none":
                omni_app.fleet.put_provider(replace(provider, auth_method="api_key"))
        elif delete:
            gone = omni_app.keys.forget(slug)
            if not gone:
                raise NotFound(f"no key of {slug} is stored", hint=_unset_hint(omni_app, provider))
            note(f"deleted from the {_place_text(gone[0])}")
        row = omni_app.provider_documents.of(omni_app.fleet.provider(slug), masked=True)
    document = {name: row[name] for name in ("slug", "key", "key_masked", "key_env")}
    answer(document, f"{slug}: {_key_text(row)}", as_json=as_json)


@app.command("test")
def ask(
    slug: Annotated[
        str | None, typer.Argument(autocompletion=complete_providers, help="The provider.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All enabled ones, at once.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Ask a provider to list its models: a real call, never billed. Once in 5 s each."""
    if (slug is None) == (not every):
        raise UsageError("name a provider, or --all", hint="omni providers list shows them")
    with omni() as omni_app:
        if slug is not None:
            results = [omni_app.tester.test(omni_app.fleet.provider(slug))]
        else:
            enabled = [provider for provider in omni_app.providers.all() if provider.enabled]
            if not enabled:
                raise NotFound("no provider to test", hint="omni init, or omni providers add SLUG")
            results = omni_app.tester.test_all(enabled)
    documents = [tested_document(result) for result in results]
    if as_json:
        emit_json(documents[0] if slug is not None else documents)
    else:
        for document in documents:
            _show_test(document)
    errors = [r.error for r in results if r.error is not None]
    if errors:
        raise typer.Exit(_worst(errors))


@app.command()
@grouped
def models(
    slug: Slug,
    add_them: Annotated[
        bool, typer.Option("--add", help="Add those that omni does not know, on standby.")
    ] = False,
    *,
    view: View,
) -> None:
    """What a provider serves now."""
    with omni() as omni_app:
        provider = omni_app.fleet.provider(slug)
        served = omni_app.tester.listing(provider)
        known = {model.id: model for model in omni_app.models.all(provider=slug, hidden=True)}
        rows: list[dict[str, Any]] = [
            {
                "id": f"{slug}/{remote.wire_name}",
                "wire_name": remote.wire_name,
                "name": remote.name,
                "known": f"{slug}/{remote.wire_name}" in known,
                "status": known[f"{slug}/{remote.wire_name}"].status
                if f"{slug}/{remote.wire_name}" in known
                else None,
                "context_window": remote.context_window,
                "max_output": remote.max_output,
                "badges": sorted(remote.badges),
                "prices": dict(remote.prices),
            }
            for remote in served
        ]
        fresh = [remote for remote in served if f"{slug}/{remote.wire_name}" not in known]
        if add_them and fresh:
            from omni_cli.services.fleet.setup import add_listed

            add_listed(omni_app.fleet, omni_app.models, provider, fresh, status="standby")
    listing(
        view,
        (
            Column.key("model"),
            Column.words("name", 2),
            Column.figure("context", 5),
            Column.words("status", 7, 8),
        ),
        [
            (
                row["wire_name"],
                row["name"] or "",
                "" if row["context_window"] is None else f"{row['context_window']:,}",
                row["status"] or ("added" if add_them else "new"),
            )
            for row in rows
        ],
        lambda: rows,
    )
    if fresh and not add_them and not view.data:
        note(
            f"{len(fresh)} new: omni providers models {slug} --add, or omni models add {slug}/NAME"
        )


def _key_text(row: dict[str, Any]) -> str:
    """Where the key is and how it looks, for a person."""
    if row["auth_method"] == "none":
        return "none needed"
    if row["key"] is None:
        return "missing"
    place = str(row["key"]).removeprefix("env:")
    return f"{place} {row['key_masked']}" if row["key_masked"] else place


def _address_text(row: dict[str, Any]) -> str:
    """The base URL, and the variable that it follows."""
    variable = str(row["base_url_from"]).partition(":")[2]
    return f"{row['base_url']} ({variable})" if variable else str(row["base_url"])


def _status_text(row: dict[str, Any]) -> str:
    """For a person: its health, as ``omni health`` says it."""
    return str(row["health"]) if row["enabled"] else "disabled"


def _show_test(row: dict[str, Any]) -> None:
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


def _place_text(where: str) -> str:
    return "OS keyring" if where == "keyring" else "encrypted file"


def _unset_hint(omni_app: App, provider: Provider) -> str:
    place = omni_app.keys.place(provider) or ""
    return f"unset {place.removeprefix('env:')}" if place.startswith("env:") else ""


def _warn_plain(provider: Provider) -> None:
    if not is_here(provider.base_url):
        note(f"warning: {provider.base_url} is not encrypted: anyone on the way reads the key")


def _slots(text: str) -> int | None:
    """``--max-concurrency``: a number, or "none" for no limit."""
    if text == "none":
        return None
    if not (text.isascii() and text.isdigit()) or not int(text):
        raise UsageError(f"--max-concurrency is a whole number from 1 on, or none, not {text!r}")
    return int(text)


def _headers(given: list[str] | None) -> dict[str, str]:
    return {name: value.strip() for name, value in pairs(given, "--header").items()}


def _same(old: Provider, new: Provider, *, named: bool, slots: bool, key_env: bool) -> bool:
    """Adding the same again is no error; changing by accident is. Only what was said counts."""
    fields = ["protocol", "base_url", "auth_method", "headers"]
    fields += ["name"] * named + ["max_concurrency"] * slots + ["key_env"] * key_env
    return all(getattr(old, field) == getattr(new, field) for field in fields)


def _switch(slug: str, *, enabled: bool) -> None:
    with omni() as omni_app:
        provider = omni_app.fleet.provider(slug)
        omni_app.fleet.put_provider(replace(provider, enabled=enabled))
    out(f"{slug} is {'enabled' if enabled else 'disabled'}")


def _worst(errors: Sequence[OmniError]) -> int:
    """One failure's own code; of several, "providers" unless all are the same."""
    from omni_cli.cli.exits import PROVIDERS, exit_code

    codes = {exit_code(error) for error in errors}
    return codes.pop() if len(codes) == 1 else PROVIDERS
