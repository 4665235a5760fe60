"""Providers: which account is well, which is not, and why."""

from typing import ClassVar

from rich.cells import cell_len, set_cell_size
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import OptionList, Static

from omni_cli.bootstrap import App
from omni_cli.domain.words import percent
from omni_cli.records import Failure
from omni_cli.services.fleet.connection_test import INTERVAL_S, TestResult
from omni_cli.tui import text
from omni_cli.tui.actions import (
    AUTOMATIC,
    check_all,
    check_connection,
    put_provider,
    remove_provider,
    switch_maintenance,
    switch_provider,
)
from omni_cli.tui.model_view import failures_text
from omni_cli.tui.overview import SPAN_DAYS, Overview, ProviderCard, read_overview
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.form import ConfirmScreen, Field, FormScreen, Values
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.widgets.tiles import CardList
from omni_cli.wire.registry import protocols


def card_text(card: ProviderCard, width: int, now_ms: int) -> Content:
    """Name and state; then latency, success, cost and calls; then models and trend or error."""
    provider = card.provider
    sign, style = text.SIGNS[card.state]
    word = text.STATE_WORDS[card.state]
    if (age := text.age(card.state, card.seen_at, now_ms)) and width >= 60:
        word += f" {age}"
    if text.is_old(card.state, card.seen_at, now_ms):
        style = _MUTED
    name = set_cell_size(provider.name, max(width - cell_len(word) - 16, 8)).rstrip()
    simulated = " simulated" if provider.simulated and "simulat" not in name else ""
    head = Content.assemble((name, "bold"), (simulated, "italic $warning"))
    gap = width - 1 - cell_len(head.plain) - cell_len(word) - 2
    head += Content(" " * max(gap, 1)) + Content.styled(f"{sign} {word}", style)
    ping = card.test[1] if card.test else None
    numbers = Content.assemble(
        f"{text.seconds(ping if card.latency_ms is None else card.latency_ms):>6}",
        (" avg" if card.latency_ms is not None else " ping", _MUTED),
        (" │ ", _MUTED),
        f"{percent(card.success, 1):>6}",
        (" success", _MUTED),
        (" │ ", _MUTED),
        (f"{text.cost(card.today):>8}", "bold"),
        (" today", _MUTED),
    )
    if width >= 66:
        numbers += Content.assemble((" │ ", _MUTED), f"{card.today.calls:>5,}", (" calls", _MUTED))
    last = Content.styled(f"{card.active} of {card.total} models active", _MUTED)
    if card.trend != "unknown":
        arrow, colour = text.TRENDS[card.trend]
        last += Content.assemble((" │ ", _MUTED), (f"{arrow} {card.trend}", colour))
    if width >= 70:
        last += Content.assemble((" │ ", _MUTED), (text.spark(card.hours), "$primary"))
    if card.why and card.state not in ("off", "maintenance", "unknown"):
        last = Content.styled(text.clip(card.why, width - 2), style)
    return head + Content("\n  ") + numbers + Content("\n  ") + last


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
    facts = {
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
        "Today": f"{text.cost(card.today)}, {card.today.calls:,} calls",
        "24 hours": text.spark(card.hours),
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
            f" {item.today.calls:>5,} calls {text.cost(item.today):>9}",
        )
    if not mine:
        shown += Content.styled("\nnone at work: omni models list --provider ", _MUTED)
        shown += Content.styled(f"{provider.slug} --all", _MUTED)
    shown += Content.styled("\n\nLAST ERRORS\n", "bold $primary")
    return shown + failures_text(failures, view.zone, view.now_ms)


def _tested(card: ProviderCard, now_ms: int) -> str:
    if card.test is None:
        return "never: x tests it"
    at_ms, latency_ms, error = card.test
    took = "" if latency_ms is None else f" in {latency_ms} ms"
    return f"{'failed' if error else 'ok'}{took}, {text.ago(at_ms, now_ms)}"


_MUTED = "$foreground-muted"
_EMPTY = Content.assemble(
    ("No provider yet.\n\n", "bold"),
    ("  a", "bold $primary"),
    "           adds one: anthropic, openai, google, groq, ollama, any OpenAI-compatible URL\n",
    ("  omni init", "bold $primary"),
    "   finds API keys and local servers by itself",
)

Loaded = tuple[Overview, tuple[Failure, ...], str | None]


class ProvidersPane(Pane[Loaded]):
    DEFAULT_CSS = """
    ProvidersPane #bar { height: 1; padding: 0 1; }
    ProvidersPane #empty { padding: 1 2; display: none; }
    ProvidersPane.-empty #empty { display: block; }
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
        Binding("m", "maintenance", "Maintenance", show=False),
        Binding("w", "watch", "Test all every 5 s", show=False),
        Binding("delete", "remove", "Remove", show=False),
    ]

    _overview: Overview | None = None
    _watching: Timer | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="bar")
        yield Static(_EMPTY, id="empty")
        with Horizontal(id="full"):
            with Vertical(id="list"):
                yield CardList()
            with VerticalScroll(id="side", can_focus=False):
                yield Static(id="detail")

    def entry(self) -> Widget | None:
        return self.query_one(CardList)

    def wanted(self) -> str | None:
        return self.chosen

    def load(self, omni: App, wanted: str | None) -> Loaded:
        overview = self.loader.memo("overview", omni, read_overview)
        slugs = [card.provider.slug for card in overview.providers]
        slug = wanted if wanted in slugs else next(iter(slugs), None)
        failures = () if slug is None else omni.glance.errors(provider=slug, limit=4)
        return overview, tuple(failures), _masked(omni, slug)

    def show(self, value: Loaded) -> None:
        overview, failures, masked = value
        self._overview = overview
        self.set_class(not overview.providers, "-empty")
        self._show_bar()
        width = max(self.query_one("#list").size.width, 40)
        self.query_one(CardList).fill(
            [
                (c.provider.slug, card_text(c, width - 3, overview.now_ms))
                for c in overview.providers
            ]
        )
        card = self.card
        if card is not None:
            self.query_one("#detail", Static).update(detail_text(card, overview, failures, masked))

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
        if self._watching is not None:
            shown += Content.styled(f" · testing every {INTERVAL_S:.0f} s (w stops)", "$primary")
        self.query_one("#bar", Static).update(shown)

    @property
    def chosen(self) -> str | None:
        return self.query_one(CardList).chosen

    @property
    def card(self) -> ProviderCard | None:
        """The chosen provider; the first where nothing is chosen yet."""
        cards = () if self._overview is None else self._overview.providers
        slug = self.chosen
        return next((c for c in cards if c.provider.slug == slug), next(iter(cards), None))

    @on(OptionList.OptionHighlighted)
    def _moved(self) -> None:
        self.refresh_data()

    def on_resize(self) -> None:
        self.refresh_data()

    # --- actions -----------------------------------------------------------------------------

    @on(OptionList.OptionSelected)
    def action_open(self) -> None:
        shown = self.query_one("#detail", Static).content
        if self.card is not None:
            self.app.push_screen(DetailScreen(self.card.provider.name, shown))

    def action_test(self) -> None:
        slug = self.chosen
        if slug is not None:
            self.act(lambda omni: check_connection(omni, slug), self.omni.report_test)

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

    def action_watch(self) -> None:
        """Unbilled model-list calls to all providers, again and again, while the app runs."""
        if self._watching is None:
            self._watching = self.set_interval(INTERVAL_S, self._watch)
            self._watch()
        else:
            self._watching.stop()
            self._watching = None
        self._show_bar()

    def _watch(self) -> None:
        self.act(check_all)

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
        self._form(None)

    def action_edit(self) -> None:
        if self.card is not None:
            self._form(self.card)

    def _form(self, card: ProviderCard | None) -> None:
        saved: list[str] = []

        def save(omni: App, values: Values) -> None:
            saved.append(put_provider(omni, values))

        def closed(done: bool | None) -> None:
            self.omni.store_changed()
            if done and saved and card is None:
                slug = saved[-1]
                self.act(lambda omni: check_connection(omni, slug), self.omni.report_test)

        title = "Add a provider" if card is None else f"Edit {card.provider.slug}"
        form = FormScreen(self.loader, title, _fields(card), save, note=_note)
        self.app.push_screen(form, closed)


def _masked(omni: App, slug: str | None) -> str | None:
    """The key as it may be shown; one in the environment only: others would have to be opened."""
    provider = None if slug is None else omni.providers.get(slug)
    if provider is None or provider.auth_method == "none":
        return None
    place = omni.keys.place(provider)
    return omni.keys.masked(provider) if place and place.startswith("env:") else place


def _fields(card: ProviderCard | None) -> list[Field]:
    provider = None if card is None else card.provider
    kept = "" if card is None or card.key is None else f"kept in {card.key}; empty leaves it"
    return [
        Field(
            "slug",
            "Provider",
            "" if provider is None else provider.slug,
            "anthropic, openai, google, groq, ollama … or a name of yours",
            fixed=provider is not None,
            check=lambda v: "" if v else "a short name, such as anthropic",
        ),
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
            "known for known providers",
            check=lambda v: (
                ""
                if not v or v.startswith(("https://", "http://"))
                else "starts with https:// or http://"
            ),
        ),
        Field("key", "API key", "", kept or "kept in the OS keyring or encrypted", secret=True),
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


def _note(values: Values) -> str:
    from omni_cli.providers.presets import PRESETS

    preset = PRESETS.get(values["slug"])
    if preset is None:
        return "" if not values["slug"] else "Not one omni knows: give its base URL."
    where = values["base_url"] or preset.base_url
    return f"{preset.name}: {preset.protocol} at {where}"


class DetailScreen(Sheet):
    """A provider's details where there is no room beside the list."""

    DEFAULT_CSS = "DetailScreen > VerticalScroll { width: 80; }"
