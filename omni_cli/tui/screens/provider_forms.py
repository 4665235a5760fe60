"""Adding and editing a provider: picked from a list, asked for in a form, tested at once."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.models import Provider
from omni_cli.services.fleet.connection_test import TestResult
from omni_cli.tui.actions import AUTOMATIC, check_soon, put_provider
from omni_cli.tui.data import Loader
from omni_cli.tui.overview import ProviderCard
from omni_cli.tui.widgets.form import Field, FormScreen, Values
from omni_cli.tui.widgets.picker import Item, PickerScreen
from omni_cli.wire.registry import protocols

if TYPE_CHECKING:
    from omni_cli.tui.app import OmniApp

#: The picker's key for a provider that omni does not know.
_OTHER = "+"


def add_provider(
    app: "OmniApp", loader: Loader, then: Callable[[str], None] = lambda _: None
) -> None:
    """Pick one, fill in its key, test it; ``then`` gets the slug of one that answered."""

    def picked(slug: str | None) -> None:
        if slug is not None:
            _form(app, loader, fields(None, "" if slug == _OTHER else slug), "Add a provider", then)

    app.push_screen(PickerScreen("Which provider?", _choices(loader)), picked)


def edit_provider(app: "OmniApp", loader: Loader, card: ProviderCard, masked: str | None) -> None:
    """Change one and test it again: a mended key is not told to be wrong any longer."""
    _form(
        app,
        loader,
        fields(card.provider, card.provider.slug, kept=card.key, masked=masked),
        f"Edit {card.provider.slug}",
        lambda _: None,
    )


def _form(
    app: "OmniApp",
    loader: Loader,
    shown: list[Field],
    title: str,
    then: Callable[[str], None],
) -> None:
    saved: list[str] = []

    def save(omni: App, values: Values) -> None:
        saved.append(put_provider(omni, values))

    def tested(result: TestResult) -> None:
        app.report_test(result)
        if result.ok:
            then(result.slug)

    def closed(done: bool | None) -> None:
        app.store_changed()
        pane = app.pane
        if done and saved and pane is not None:
            slug = saved[-1]
            app.notify("saved; testing it…", title=slug, timeout=2)
            pane.act(lambda omni: check_soon(omni, slug), tested)

    app.push_screen(FormScreen(loader, title, shown, save, note=note), closed)


def _choices(loader: Loader) -> list[tuple[str, list[Item]]]:
    """Those whose key is in the environment first."""
    from omni_cli.providers.presets import PRESETS

    ready, known, local = list[Item](), list[Item](), list[Item]()
    for preset in sorted(PRESETS.values(), key=lambda p: p.name.lower()):
        variable = next((name for name in preset.key_envs if loader.env.get(name)), None)
        said = f"key in {variable}" if variable else preset.base_url.partition("://")[2]
        shown = Content.assemble((f"{preset.name:<24}", "bold"), (f" {said}", "$foreground-muted"))
        group = ready if variable else local if preset.local else known
        group.append(Item(preset.slug, shown, f"{preset.slug} {preset.name}".lower()))
    own = Item(_OTHER, Content("any OpenAI-compatible address"), "other own address url custom")
    return [
        ("Key found", ready),
        ("Known", known),
        ("On this machine", local),
        ("Another", [own]),
    ]


def fields(
    provider: Provider | None, slug: str, *, kept: str | None = None, masked: str | None = None
) -> list[Field]:
    """Of one as it is, or of a new one; ``slug`` is fixed where it was picked.

    Args:
        kept: where its key is; ``masked``: the key as it may be shown.
    """
    hint = f"{masked or kept}; empty leaves it" if kept else ""
    return [
        Field(
            "slug",
            "Provider",
            slug,
            "a short name of yours",
            fixed=bool(slug),
            check=lambda v: "" if v else "a short name, such as my-server",
        ),
        Field("key", "API key", "", hint or "kept in the OS keyring or encrypted", secret=True),
        Field("name", "Shown as", "" if provider is None else provider.name, "its usual name"),
        Field(
            "protocol",
            "Protocol",
            AUTOMATIC if provider is None else provider.protocol,
            choices=(AUTOMATIC, *protocols()),
        ),
        Field(
            "base_url",
            "Base URL",
            "" if provider is None else provider.base_url,
            "known for known providers" if slug else "https://host/v1",
            check=lambda v: _base_url(v, needed=not slug),
        ),
        Field(
            "key_env",
            "or variable",
            "" if provider is None or provider.key_env is None else provider.key_env,
            "name of an environment variable",
        ),
        Field(
            "max_concurrency",
            "At once",
            "" if provider is None else str(provider.max_concurrency or "none"),
            "calls at a time; none: no limit",
            check=lambda v: (
                ""
                if v in ("", "none") or (v.isdigit() and int(v) >= 1)
                else "a whole number from 1 on, or none"
            ),
        ),
    ]


def _base_url(text: str, *, needed: bool) -> str:
    if not text:
        return "an address such as http://127.0.0.1:8000/v1" if needed else ""
    return "" if text.startswith(("https://", "http://")) else "starts with https:// or http://"


def note(values: Values) -> str:
    from omni_cli.providers.presets import PRESETS

    preset = PRESETS.get(values["slug"])
    if preset is None:
        return ""
    where = values["base_url"] or preset.base_url
    return f"{preset.name}: {preset.protocol} at {where}"
