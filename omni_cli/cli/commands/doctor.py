"""``omni doctor``: is this installation well, and what to type where it is not."""

import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.catalog.update import checked
from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import Style, emit_json, milliseconds, out, paint
from omni_cli.domain.breaker import Breaker
from omni_cli.domain.document import document
from omni_cli.domain.errors import ConfigError, OmniError
from omni_cli.keys import quoted
from omni_cli.services.judge import doctor as judge
from omni_cli.services.judge.doctor import Check
from omni_cli.services.money.prices import PriceBook, state_of, utc_day

app = typer.Typer(rich_markup_mode=None)

_STYLES: dict[str, Style] = {"ok": "green", "warn": "yellow", "fail": "red"}
_PRIVATE = ("omni.db", "keys.enc", "keys.key", "keyring.json")


@app.command()
def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Also ask every provider; never billed.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Check the installation, and say what to mend. Exit code 1 when something fails."""
    with omni() as omni_app:
        checks = [*_files(omni_app), *_fleet(omni_app)]
        if online:
            checks += _online(omni_app)
        checks += _health(omni_app)
    failed = any(check.state == "fail" for check in checks)
    if as_json:
        emit_json(
            {
                "ok": not failed,
                "checks": [
                    {**document(c, "name", "state", "message"), "hint": c.hint or None}
                    for c in checks
                ],
            }
        )
    else:
        for check in checks:
            out(
                f"{paint(f'{check.state:<4}', _STYLES[check.state])}  {check.name}: {check.message}"
            )
            if check.hint and check.state != "ok":
                out(f"      {paint(check.hint, 'cyan')}")
    if failed:
        raise typer.Exit(1)


def _files(omni_app: App) -> Iterable[Check]:
    """What needs no store to be open."""
    from omni_cli import __version__

    python = ".".join(map(str, sys.version_info[:3]))
    yield Check("omni", "ok", f"{__version__} on Python {python}")
    where = omni_app.paths
    try:
        zone = omni_app.zone
    except ConfigError as exc:
        yield Check("settings", "fail", exc.message, exc.hint or "omni config edit")
    else:
        shown = f"{where.config_file}" if where.config_file.exists() else "all at their defaults"
        yield Check("settings", "ok", shown)
        yield judge.zone_check(zone, omni_app.env.get("TZ"))
    yield judge.space_check(shutil.disk_usage(_nearest(where.data)).free)
    if hint := omni_app.place.unwritable():
        message = f"{where.data} cannot be written: nothing can be kept"
        yield Check("home", "fail", message, hint)
    yield from judge.plugin_checks()
    if sys.platform != "win32":
        yield judge.permission_check(_modes(where.data))
    try:
        yield from judge.store_checks(omni_app.place.facts(), omni_app.place.name)
    except ConfigError as exc:
        yield Check("store", "fail", exc.message, exc.hint)


def _fleet(omni_app: App) -> Iterable[Check]:
    """What the store says; a store that does not open has been reported."""
    try:
        providers = omni_app.providers.all()
        models = [
            model
            for model in omni_app.models.of_providers(p.slug for p in providers)
            if model.status == "active"
        ]
        prices = PriceBook(omni_app.models, now_ms=omni_app.now_ms())
        prices.load(model.id for model in models)
        unpriced = [m.id for m in models if state_of(prices.current(m.id)) == "unknown"]
        abandoned = len(omni_app.ledger.abandoned())
        broken = omni_app.audit.first_broken()
        stuck = [
            target
            for target, text in omni_app.breakers.all().items()
            if not Breaker.from_json(text).allows(omni_app.now_ms())
        ]
        prices_of = checked(omni_app.store)
    except OmniError as exc:
        yield Check("fleet", "fail", exc.message, exc.hint)
        return
    yield judge.catalogue_check(prices_of, utc_day(omni_app.now_ms()))
    try:
        keys = {provider.slug: omni_app.keys.place(provider) for provider in providers}
        addresses = {provider.slug: omni_app.addresses.source(provider) for provider in providers}
        others = {provider.slug: omni_app.addresses.other(provider) for provider in providers}
        elsewhere = {slug: other for slug, other in others.items() if other is not None}
    except ConfigError as exc:
        yield Check("keys", "fail", exc.message, exc.hint)
    else:
        yield from judge.provider_checks(providers, keys, addresses, elsewhere)
        held = {(place or "").removeprefix("env:") for place in keys.values()}
        yield from judge.quoted_keys(n for n in held if quoted(omni_app.env.get(n, "")))
    if providers:
        try:
            premium = omni_app.config.general.premium_model
        except ConfigError:
            premium = ""  # reported above
        today = utc_day(omni_app.now_ms())
        yield from judge.model_checks(models, unpriced, premium, today)
    yield judge.breaker_check(stuck)
    yield judge.abandoned_check(abandoned)
    yield judge.audit_check(broken)


def _health(omni_app: App) -> Iterable[Check]:
    try:
        fleet = omni_app.reporter.report()
    except OmniError:
        return  # reported above
    if fleet.providers:
        yield from judge.health_checks(fleet)


def _online(omni_app: App) -> Iterable[Check]:
    enabled = [provider for provider in omni_app.providers.all() if provider.enabled]
    for result in omni_app.tester.test_all(enabled) if enabled else ():
        name = f"test {result.slug}"
        if result.wait_s:
            yield Check(name, "ok", f"tested just now: {result.status}")
        elif result.error is None:
            yield Check(name, "ok", f"answered in {milliseconds(result.latency_ms)}")
        else:
            yield Check(name, "fail", result.error.message, result.error.hint)


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above that is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _modes(folder: Path) -> dict[str, int]:
    """Permission bits of what others must not read."""
    found = {}
    for path in (folder / name for name in _PRIVATE):
        try:
            found[str(path)] = stat.S_IMODE(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            continue
    return found
