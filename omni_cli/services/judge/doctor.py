"""What is well and what is not with this installation (D6): judgements on facts, no I/O."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Literal

from msgspec import Struct

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.health import NO_KEY
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.vendor_env import no_key_hint
from omni_cli.domain.words import counted
from omni_cli.plugins import GROUPS, plugins
from omni_cli.records import StoreFacts
from omni_cli.services.judge.health_report import FleetHealth
from omni_cli.wire.registry import adapter

State = Literal["ok", "warn", "fail"]
#: SQLite before this may corrupt a WAL file when its log is reset; see dependencies.md.
SAFE_SQLITE = (3, 51, 3)
#: Prices older than this are worth refreshing, days.
_STALE_DAYS = 45
_LITTLE_SPACE, _SOME_SPACE = 100 * 2**20, 2**30
_OTHERS = 0o077


class Check(Struct, frozen=True):
    """``hint``: what to type; empty where all is well."""

    name: str
    state: State
    message: str
    hint: str = ""


def store_checks(facts: StoreFacts, path: str) -> list[Check]:
    """The file or database, its schema, and the engine that reads it."""
    checks = []
    is_file = not facts.server
    if not facts.exists:
        checks.append(Check("store", "ok", f"{path} is made on first use"))
    elif facts.problems:
        word, hint = "is damaged", "keep a copy of the file; omni db restore brings back a backup"
        if not is_file:
            word, hint = (
                "cannot be used",
                "is PostgreSQL running and reachable, and the password set?",
            )
        checks.append(Check("store", "fail", f"{path} {word}: {facts.problems[0]}", hint))
    else:
        size = f"{facts.size_bytes / 2**20:.1f} MiB, {counted(facts.requests, 'request')}"
        checks.append(Check("store", "ok", f"{path} is sound ({size})"))
        if is_file and facts.journal_mode != "wal":
            checks.append(
                Check(
                    "store journal",
                    "warn",
                    f"journal mode {facts.journal_mode}, not WAL: readers and writers wait",
                    "is the folder on a network drive? OMNI_HOME moves it",
                )
            )
        if facts.schema > facts.newest:
            message = f"schema {facts.schema} was written by a newer omni ({facts.newest} here)"
            checks.append(Check("store schema", "warn", message, "update omni"))
        elif facts.schema < facts.newest:
            message = f"schema {facts.schema} becomes {facts.newest} at the next command"
            checks.append(Check("store schema", "ok", message))
    if not is_file:
        if facts.server != "?":
            checks.append(Check("postgresql", "ok", f"PostgreSQL {facts.server}"))
        return checks
    version = tuple(int(part) for part in facts.sqlite.split(".")[:3])
    if version < SAFE_SQLITE:
        checks.append(
            Check(
                "sqlite",
                "warn",
                f"SQLite {facts.sqlite}: a rare WAL corruption is fixed only from 3.51.3 on",
                "a newer Python or system library brings one; back the store up until then",
            )
        )
    else:
        checks.append(Check("sqlite", "ok", f"SQLite {facts.sqlite}"))
    return checks


def permission_check(modes: Mapping[str, int]) -> Check:
    """``modes``: permission bits of omni's private files and folders, by path."""
    open_ones = [path for path, mode in modes.items() if mode & _OTHERS]
    if not open_ones:
        return Check("permissions", "ok", "nobody else reads omni's files")
    return Check(
        "permissions",
        "warn",
        f"others may read {', '.join(open_ones)}",
        "chmod go-rwx " + " ".join(f"'{path}'" for path in open_ones),
    )


def space_check(free_bytes: int) -> Check:
    shown = f"{free_bytes / 2**30:.1f} GiB free"
    if free_bytes < _LITTLE_SPACE:
        return Check("disk", "fail", f"{shown}: the store cannot grow", "make room")
    if free_bytes < _SOME_SPACE:
        return Check("disk", "warn", shown, "make room before the store needs it")
    return Check("disk", "ok", shown)


def catalogue_check(checked: str, today: str) -> Check:
    """ISO dates."""
    age = (date.fromisoformat(today) - date.fromisoformat(checked)).days
    message = f"prices of {checked}, {counted(age, 'day')} old"
    if age > _STALE_DAYS:
        return Check("catalogue", "warn", message, "omni models update")
    return Check("catalogue", "ok", message)


def zone_check(zone: str, wanted: str | None) -> Check:
    """``wanted``: what TZ says, if it is set."""
    if wanted and wanted.lstrip(":") != zone and "/" in wanted:
        message = f"{zone}; TZ={wanted} is no zone that this machine knows"
        return Check("time zone", "warn", message, "omni config set general.zone Area/City")
    return Check("time zone", "ok", f"{zone}: days and months of reports begin there")


def provider_checks(
    providers: Sequence[Provider],
    keys: Mapping[str, str | None],
    addresses: Mapping[str, str],
    elsewhere: Mapping[str, tuple[str, str]],
) -> list[Check]:
    """
    Args:
        keys: where each provider's key is, None where it is missing.
        addresses: where each one's base URL is from, as ``base_url_from`` says.
        elsewhere: variable and address where the environment names another than the fleet.
    """
    if not providers:
        hint = "omni init finds keys and local servers; omni demo needs neither"
        return [Check("providers", "warn", "none in the fleet", hint)]
    checks = []
    for provider in providers:
        name = f"provider {provider.slug}"
        if not provider.enabled:
            hint = f"omni providers enable {provider.slug}"
            checks.append(Check(name, "ok", "disabled", hint))
        elif provider.auth_method == "none":
            checks.append(Check(name, "ok", f"{provider.base_url}, no key needed"))
        elif keys.get(provider.slug) is None:
            hint = no_key_hint(provider.slug, provider.key_env)
            checks.append(Check(name, "warn", "no key found", hint))
        else:
            where = str(keys[provider.slug])
            variable = addresses[provider.slug].partition(":")[2]
            at = f", at {provider.base_url} ({variable})" if variable else ""
            checks.append(Check(name, "ok", f"key from {where.removeprefix('env:')}{at}"))
        if provider.enabled and provider.slug in elsewhere:
            variable, url = elsewhere[provider.slug]
            checks.append(
                Check(
                    f"address of {provider.slug}",
                    "warn",
                    f"{variable} says {url}, the fleet says {provider.base_url}: keys of the "
                    "environment are not sent there",
                    f"omni providers edit {provider.slug} --base-url URL decides",
                )
            )
    return checks


def quoted_keys(variables: Iterable[str]) -> list[Check]:
    """``variables``: those whose keys stand in quotes, or come with invisible characters."""
    return [
        Check(
            f"variable {name}",
            "warn",
            "its key stands in quotes: omni leaves them out, other tools may send them",
            "set it to the key alone",
        )
        for name in dict.fromkeys(variables)
    ]


def model_checks(
    active: Sequence[ModelInfo], unpriced: Iterable[str], premium: str, today: str
) -> list[Check]:
    """``unpriced``: ids of active models of unknown price."""
    if not active:
        return [
            Check(
                "models",
                "warn",
                "none is active, so nothing can answer",
                "omni models list --status standby, then omni models activate MODEL",
            )
        ]
    checks = [Check("models", "ok", f"{len(active)} active")]
    retired = [m.id for m in active if m.retired_on is not None and m.retired_on <= today]
    if retired:
        hint = f"omni models standby {retired[0]}"
        message = f"no longer served: {', '.join(retired)}"
        checks.append(Check("retired models", "warn", message, hint))
    unknown = list(unpriced)
    if unknown:
        checks.append(
            Check(
                "prices",
                "warn",
                f"unknown for {', '.join(unknown)}: budgets cannot count their calls",
                f"omni models price {unknown[0]} --price-in USD --price-out USD",
            )
        )
    if premium and premium not in {model.id for model in active}:
        hint = "omni config set general.premium_model MODEL"
        checks.append(Check("premium model", "warn", f"{premium} is not active", hint))
    elif not premium:
        checks.append(
            Check(
                "premium model",
                "warn",
                "none set, so savings are unknown",
                "omni config set general.premium_model MODEL",
            )
        )
    return checks


def plugin_checks() -> list[Check]:
    """What other packages add; one that cannot be loaded is named."""
    checks = []
    for plugin in (plugin for group in GROUPS for plugin in plugins(group).values()):
        what = f"{plugin.group.removeprefix('omni.').removesuffix('s')} {plugin.name}"
        try:
            adapter(plugin.name) if plugin.group == "omni.protocols" else plugin.load()
            checks.append(Check(what, "ok", f"from {plugin.package}"))
        except ConfigError as exc:
            checks.append(Check(what, "warn", exc.message, exc.hint))
    return checks


def abandoned_check(count: int) -> Check:
    if not count:
        return Check("requests", "ok", "none was abandoned")
    message = f"{counted(count, 'request was', 'requests were')} cut off when a process ended"
    return Check("requests", "warn", message, "the next omni chat settles them; nothing is lost")


def audit_check(first_broken: int | None) -> Check:
    if first_broken is None:
        return Check("audit log", "ok", "every entry is as it was written")
    message = f"entry {first_broken}, or the one before it, was changed"
    return Check("audit log", "fail", message, "omni audit --verify; compare with a backup")


def health_checks(fleet: FleetHealth) -> list[Check]:
    """What ``omni health`` says. A missing key has a line of its own."""
    hint = "omni health --check --models says why"
    state: State = "ok" if fleet.overall in ("healthy", "unknown") else "warn"
    checks = [Check("health", state, f"{fleet.bar}, fleet {fleet.overall}", hint)]
    for report in fleet.providers:
        found = report.health
        if found.status in ("warning", "error") and found.reason != NO_KEY:
            words = f"{found.status}: {found.reason}"
            checks.append(Check(f"health {report.provider.slug}", "warn", words, hint))
    return checks


def breaker_check(open_ones: Sequence[str]) -> Check:
    if not open_ones:
        return Check("breakers", "ok", "all closed")
    hint = f"omni providers test {open_ones[0].partition('/')[0]} closes it when it answers"
    return Check("breakers", "warn", f"open: {', '.join(open_ones)}", hint)
