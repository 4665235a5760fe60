"""Providers: which account is well, which is not, and why."""

from typing import Any, ClassVar

from rich.cells import set_cell_size
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.words import counted, percent
from omni_cli.records import Failure
from omni_cli.services.fleet.connection_test import TestResult
from omni_cli.tui import heat, text
from omni_cli.tui.actions import (
    check_all,
    check_soon,
    remove_provider,
    switch_maintenance,
    switch_provider,
)
from omni_cli.tui.colours import hue
from omni_cli.tui.model_view import failures_text
from omni_cli.tui.overview import SPAN_DAYS, Overview, ProviderCard, overview_of
from omni_cli.tui.pane import Pane
from omni_cli.tui.screens.provider_forms import add_provider, edit_provider
from omni_cli.tui.screens.start import StartPanel, propose_models
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.frames import FramedTiles, Tile
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.widgets.tiles import Tiles
from omni_cli.tui.widgets.words import Words

#: Ages are drawn anew so often, seconds.
_AGES_S = 10.0

#: A tile has words for all of it from so many cells on.
_ROOMY = 44


def provider_tile(card: ProviderCard, width: int, now_ms: int) -> Tile:
    """State with its age, and trend; latency, success, calls and the last day; cost and models;
    or what is wrong."""
    provider = card.provider
    sign, style = text.SIGNS[card.state]
    old = text.is_old(card.state, card.seen_at, now_ms)
    age = text.age(card.state, card.seen_at, now_ms)
    first = heat.chip(f"{sign} {text.STATE_WORDS[card.state]}", _MUTED if old else style)
    if age:
        said = "" if width < _ROOMY else "seen " if card.test is None else "checked "
        first += Content.styled(f" {said}{age}", _MUTED)
    if card.trend not in ("unknown", "stable"):
        arrow, colour = text.TRENDS[card.trend]
        gap = " " * max(width - first.cell_length - len(card.trend) - 2, 1)
        first += Content.assemble(gap, (f"{arrow} {card.trend}", colour))
    ping = card.test[1] if card.test else None
    mark, colour = text.rated(card.success)
    calls = f"{text.count(card.today.calls):>5}"
    second = Content.assemble(
        (text.amount(card.today), "bold"),
        f"{calls} ",
        ("call " if card.today.calls == 1 else "calls", _MUTED),
        " ",
    )
    line = text.day_line(card.hours, card.bad_hours, width - second.cell_length)
    second += Content(" " * max(width - second.cell_length - line.cell_length, 0)) + line
    took = ping if card.latency_ms is None else card.latency_ms
    spent = text.seconds(took)
    third = Content.assemble(
        " " * (6 - len(spent)),
        (spent, heat.latency(card.latency_ms)),
        (" mean  " if card.latency_ms is not None else " ping  ", _MUTED),
        (f"{mark} {percent(card.success, 1)}", colour),
        (
            f"  {card.active} of {counted(card.total, 'model') if width >= _ROOMY else card.total}",
            _MUTED,
        ),
    )
    if card.why and card.state not in ("off", "maintenance", "unknown"):
        third = Content.styled(text.clip(card.why, width), style)
    simulated = provider.simulated and "simulat" not in provider.name
    return Tile(
        title=Content.styled(provider.name, "bold $foreground"),
        whose=Content.styled(provider.slug, f"bold {hue(provider.slug)}"),
        lines=(first, second, third),
        note=Content.styled("simulated" if simulated else "", "italic $warning"),
        edge=hue(provider.slug),
    )


def detail_text(
    card: ProviderCard, view: Overview, failures: tuple[Failure, ...], masked: str | None
) -> Content:
    """Everything about one provider: for the side panel and for the dialog."""
    provider = card.provider
    sign, style = text.SIGNS[card.state]
    shown = Content.assemble(
        (provider.name, "bold"),
        "\n",
        (f"{sign} {text.STATE_WORDS[card.state]}", style),
        (f": {card.why}" if card.why else "", style),
        "\n",
    )
    key = "none needed" if provider.auth_method == "none" else masked or "missing: e sets one"
    facts: dict[str, str | Content] = {
        "Address": provider.base_url,
        "Protocol": provider.protocol,
        "Key": key,
        "At once": (
            "no limit"
            if provider.max_concurrency is None
            else f"{provider.max_concurrency} requests"
        ),
        "Tested": _tested(card, view.now_ms),
        "Response": f"{text.seconds(card.latency_ms)} mean of {SPAN_DAYS} days",
        "Success": f"{percent(card.success, 1)} of {SPAN_DAYS} days",
        "Today": f"{text.cost(card.today)}, {counted(card.today.calls, 'call')}",
        "24 hours": text.day_line(card.hours, card.bad_hours, 24),
    }
    for name, value in facts.items():
        shown += Content.assemble((f"\n{name:<10}", _MUTED), value)
    mine = [c for c in view.models if c.model.provider == provider.slug]
    shown += Content.styled("\n\nMODELS", "bold $primary")
    for item in mine:
        mark, colour = text.SIGNS[item.state]
        shown += Content.assemble(
            "\n",
            (f"{mark} ", colour),
            set_cell_size(item.model.name, 22),
            f" {counted(item.today.calls, 'call'):>11} {text.cost(item.today):>9}",
        )
    if not mine:
        shown += Content.assemble(
            ("\nnone at work: ", _MUTED),
            ("r", "bold $primary"),
            (" takes the recommended ones, ", _MUTED),
            ("3", "bold $primary"),
            (" has them all", _MUTED),
        )
    shown += Content.styled("\n\nLAST ERRORS\n", "bold $primary")
    return shown + failures_text(failures, view.zone, view.now_ms)


def _tested(card: ProviderCard, now_ms: int) -> str:
    if card.test is None:
        return "never: x tests it"
    at_ms, latency_ms, error = card.test
    took = "" if latency_ms is None else f" in {latency_ms} ms"
    return f"{'failed' if error else 'ok'}{took}, {text.ago(at_ms, now_ms)}"


_MUTED = "$foreground-muted"

Loaded = tuple[Overview, tuple[Failure, ...], str | None]


class ProvidersPane(Pane[Loaded]):
    DEFAULT_CSS = """
    ProvidersPane #bar { height: 1; padding: 0 1; }
    ProvidersPane StartPanel { display: none; }
    ProvidersPane.-empty StartPanel { display: block; }
    ProvidersPane.-empty #full { display: none; }
    ProvidersPane #list { width: 1fr; }
    ProvidersPane #side {
        width: 50%; border-left: solid $foreground 20%; padding: 0 1; display: none;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Add", tooltip="Add a provider"),
        Binding("e", "edit", "Edit"),
        Binding("x", "test", "Test"),
        Binding("X", "test_all", "Test all"),
        Binding("d", "switch", "On/off"),
        Binding("f", "find", "New models", tooltip="Ask what providers serve now"),
        Binding("r", "recommend", "Take recommended models", show=False),
        Binding("m", "maintenance", "Maintenance", show=False),
        Binding("delete", "remove", "Remove", show=False),
    ]

    _overview: Overview | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        #: Keys as they may be shown, by provider: to open a file of keys takes long.
        self._masks: dict[str, str | None] = {}

    def compose(self) -> ComposeResult:
        yield Words(id="bar")
        yield StartPanel(self.loader)
        with Horizontal(id="full"):
            with Vertical(id="list"):
                yield FramedTiles()
            with VerticalScroll(id="side", can_focus=False):
                yield Words(id="detail")

    def entry(self) -> Widget | None:
        if self.has_class("-empty"):
            return self.query_one(StartPanel).entry()
        return self.query_one(FramedTiles)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Without anything to do it with only what the start panel offers."""
        if self.has_class("-empty") and f"action_{action}" in ProvidersPane.__dict__:
            return False
        return super().check_action(action, parameters)

    def on_mount(self) -> None:
        self._ages = self.set_interval(_AGES_S, self._grow_older)

    def _grow_older(self) -> None:
        if self.omni.is_pane_active(self):
            self.query_one(FramedTiles).redraw()

    def wanted(self) -> str | None:
        return self.chosen

    def load(self, omni: App, wanted: str | None) -> Loaded:
        overview = overview_of(self.loader, omni)
        slugs = [card.provider.slug for card in overview.providers]
        slug = wanted if wanted in slugs else next(iter(slugs), None)
        failures = () if slug is None else omni.glance.errors(provider=slug, limit=4)
        if slug is not None and slug not in self._masks:
            self._masks[slug] = _masked(omni, slug)
        return overview, tuple(failures), self._masks.get(slug or "")

    def show(self, value: Loaded) -> None:
        overview, failures, masked = value
        self._overview = overview
        self._ages.reset()  # they are drawn now
        if self.has_class("-empty") == bool(overview.providers):
            self.set_class(not overview.providers, "-empty")
            self.refresh_bindings()
        self._show_bar()
        cards = {card.provider.slug: card for card in overview.providers}
        tiles = self.query_one(FramedTiles)
        tiles.frame(
            list(cards),
            lambda key, width: provider_tile(cards[key], width, self.loader.now_ms()),
            lines=3,
        )
        card = self.card
        if card is not None:
            shown = detail_text(card, overview, failures, masked)
            self.query_one("#detail", Static).update(shown)
        else:
            self.query_one(StartPanel).put(overview)
        focused = self.app.focused
        if focused is None or (self in focused.ancestors and not focused.display):
            self._focus_entry()

    def _focus_entry(self) -> None:
        entry = self.entry()
        if entry is not None and self.omni.is_pane_active(self) and len(self.app.screen_stack) == 1:
            self.app.screen.set_focus(entry)

    def _show_bar(self) -> None:
        view = self._overview
        if view is None or not view.providers:
            self.query_one("#bar", Static).update("")
            return
        shown = Content.assemble(
            ("Health ", _MUTED), (view.overall, f"bold {text.SIGNS[view.overall][1]}")
        )
        states = [card.state for card in view.providers]
        for state, word in text.STATE_WORDS.items():
            if state in states:
                sign, style = text.SIGNS[state]
                shown += Content.assemble(
                    (" · ", _MUTED),
                    (f"{sign} {states.count(state)} {word.lower()}", style),
                )
        self.query_one("#bar", Static).update(shown)

    @property
    def chosen(self) -> str | None:
        return self.query_one(FramedTiles).chosen

    @property
    def card(self) -> ProviderCard | None:
        """The chosen provider; the first where nothing is chosen yet."""
        cards = () if self._overview is None else self._overview.providers
        slug = self.chosen
        return next((c for c in cards if c.provider.slug == slug), next(iter(cards), None))

    @on(Tiles.Moved)
    def _moved(self) -> None:
        self.refresh_data()

    # --- actions -----------------------------------------------------------------------------

    @on(Tiles.Selected)
    def action_open(self) -> None:
        shown = self.query_one("#detail", Static).content
        if self.card is not None:
            self.app.push_screen(DetailScreen(self.card.provider.name, shown))

    def action_test(self) -> None:
        slug = self.chosen
        if slug is not None:
            self.notify("testing…", title=slug, timeout=1)
            self.act(lambda omni: check_soon(omni, slug), self.omni.report_test)

    def action_recommend(self) -> None:
        """The models to begin with, where none is at work."""
        if self.chosen is not None:
            propose_models(self, self.chosen)

    def action_find(self) -> None:
        """Discovery: new, changed and retired models."""
        from omni_cli.tui.screens.discovery import DiscoveryScreen

        self.app.push_screen(DiscoveryScreen(self.loader), lambda _: self.omni.store_changed())

    def action_test_all(self) -> None:
        self.notify("testing all providers…", timeout=2)
        self.act(check_all, self._tested_all)

    def _tested_all(self, results: list[TestResult]) -> None:
        well = sum(result.ok for result in results)
        bad = ", ".join(result.slug for result in results if not result.ok)
        self.notify(
            f"{well} of {len(results)} answer" + (f"; not: {bad}" if bad else ""),
            severity="warning" if bad else "information",
        )

    def action_switch(self) -> None:
        slug = self.chosen
        if slug is not None:
            self.act(lambda omni: switch_provider(omni, slug), self.omni.notify)

    def action_maintenance(self) -> None:
        slug = self.chosen
        if slug is not None:
            self.act(lambda omni: switch_maintenance(omni, slug), self.omni.notify)

    def action_remove(self) -> None:
        slug = self.chosen
        if slug is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.act(lambda omni: remove_provider(omni, slug), self.omni.notify)

        detail = "With it go the models that you added to it, and its stored key."
        question = f"Remove {slug} from the fleet?"
        self.app.push_screen(ConfirmScreen(question, detail, yes="Remove"), answered)

    def action_add(self) -> None:
        """Pick one, enter its key; then its recommended models where it has none at work."""
        add_provider(self.omni, self.loader, lambda slug: propose_models(self, slug))

    def action_edit(self) -> None:
        if self.card is not None:
            slug = self.card.provider.slug
            edit_provider(self.omni, self.loader, self.card, self._masks.pop(slug, None))


def _masked(omni: App, slug: str | None) -> str | None:
    """The key as it may be shown, and where it is; a keyring that is locked is not opened."""
    provider = None if slug is None else omni.providers.get(slug)
    if provider is None or provider.auth_method == "none":
        return None
    place = omni.keys.place(provider)
    if place is None or place.startswith("keyring"):
        return place
    try:
        return f"{omni.keys.masked(provider)} ({place.removeprefix('env:')})"
    except OmniError:
        return place


class DetailScreen(Sheet):
    """A provider's details where there is no room beside the list."""

    DEFAULT_CSS = "DetailScreen > VerticalScroll { width: 80; }"
