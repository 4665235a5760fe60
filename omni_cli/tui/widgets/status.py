"""The top lines: health of the providers and today's money, and the tabs."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.notifications import SeverityLevel
from textual.reactive import reactive
from textual.widget import Widget

from omni_cli.domain.errors import OmniError
from omni_cli.domain.words import counted
from omni_cli.tui import text
from omni_cli.tui.data import Loader
from omni_cli.tui.overview import Overview, ProviderCard, overview_of
from omni_cli.tui.registry import Tab
from omni_cli.tui.workers import tell

#: Above so many providers the bar would fill the line: it counts instead.
_MOST_SIGNS = 12
_MUTED = "$foreground-muted"
#: Between two toasts about one provider, seconds.
QUIET_S = 30.0


class StatusLine(Widget):
    """``omni  [●●●○] 3/4 healthy      today $12.47 ▼ 15% · 1,018 calls · ✗ role research 132%``"""

    DEFAULT_CSS = """
    StatusLine { height: 1; background: $panel; padding: 0 1; }
    """

    @dataclass
    class HealthChanged(Message):
        """Providers whose state is another one than when it was last read."""

        down: tuple[ProviderCard, ...]
        uneasy: tuple[ProviderCard, ...]
        back: tuple[ProviderCard, ...]

        def told(self) -> Iterator[tuple[str, str, SeverityLevel]]:
            """(title, words, severity) of a toast for each kind of change."""
            kinds: tuple[tuple[tuple[ProviderCard, ...], str, SeverityLevel], ...] = (
                (self.down, "down", "error"),
                (self.uneasy, "in trouble", "warning"),
                (self.back, "well again", "information"),
            )
            for cards, word, severity in kinds:
                if cards:
                    names = ", ".join(card.provider.name for card in cards)
                    whys = dict.fromkeys(card.why for card in cards if card.why)
                    yield f"{names}: {word}", "\n".join(whys) or "it answers", severity

    def __init__(self, loader: Loader) -> None:
        super().__init__()
        self._loader = loader
        self._overview: Overview | None = None
        self._reading = False
        self._slow = ""
        self._drawn: Content | None = None
        #: By provider: the state that its user knows of, and when it was told of one.
        self._told: dict[str, tuple[str | None, float]] = {}

    @dataclass
    class Slow(Message):
        """What takes long before there is anything to show."""

        words: str

    def on_status_line_slow(self, event: Slow) -> None:
        self._slow = event.words
        self.refresh()

    def refresh_data(self) -> None:
        if not self._reading:
            self._reading = True
            self.run_worker(self._read, thread=True, group="status")

    def on_mount(self) -> None:
        self.refresh_data()

    def _read(self) -> None:
        found: Overview | None = None
        try:
            with self._loader.session() as omni:
                found = overview_of(self._loader, omni)
        except OmniError:
            pass  # the pane below says what is wrong, and what to do
        except Exception:
            self._reading = False  # what nobody expected is told by the app
            raise
        tell(self.app, self._take, found)

    def _take(self, overview: Overview | None) -> None:
        self._reading = False
        if overview is not None:
            self._tell_changes(overview)
        self._overview = overview
        if self._drawn is None or not self._words().is_same(self._drawn):
            self.refresh()

    def _tell_changes(self, now: Overview) -> None:
        """What a person did to a provider, such as switching it off, is no news to them. One that
        goes to and fro is told of every QUIET_S seconds at most."""
        at = time.monotonic()
        told: dict[str, list[ProviderCard]] = {"error": [], "warning": [], "healthy": []}
        for card in now.providers:
            slug, state = card.provider.slug, card.state
            was, when = self._told.get(slug, (None, -QUIET_S))
            if was == state or at < when + QUIET_S:
                continue
            news = was in told or (was is not None and state == "error")
            if news and state in told:
                told[state].append(card)
                self._told[slug] = state, at
            else:
                self._told[slug] = state, -QUIET_S
        if any(told.values()):
            self.post_message(self.HealthChanged(*(tuple(cards) for cards in told.values())))

    def render(self) -> Content:
        self._drawn = self._words()
        return self._drawn

    def _words(self) -> Content:
        view = self._overview
        left = Content.assemble(("omni", "bold $primary"), "  ")
        if view is None:
            return left + Content.styled(self._slow, _MUTED)
        if not view.providers:
            return left
        left += health_bar(view)
        # The least needed goes first; what alarms stays.
        for parts in (("step", "calls"), ("step",), ()):
            right = self._today(view, parts)
            gap = self.size.width - cell_len((left + right).plain)
            if gap >= 2:
                break
        else:
            left = Content.assemble(("omni", "bold $primary"), "  ", _healthy(view))
            gap = self.size.width - cell_len((left + right).plain)
        return left + Content(" " * max(gap, 2)) + right

    def _today(self, view: Overview, parts: Sequence[str]) -> Content:
        shown = Content.assemble(("today ", _MUTED), (text.cost(view.today), "bold"))
        step, way = text.change(view.today.cost_nusd, view.yesterday_nusd)
        if step and "step" in parts:
            shown += Content.styled(f" {step}", "$warning" if way == "up" else "$success")
        if "calls" in parts:
            words = counted(view.today.calls, "call")
            if view.today.calls >= 100_000:
                words = f"{text.count(view.today.calls)} calls"
            shown += Content.styled(f" · {words}", _MUTED)
        return shown + budget_alarm(view)


def budget_alarm(view: Overview) -> Content:
    """The worst budget: named where it alarms, else how far along it is."""
    if not view.budgets:
        return Content("")
    worst = view.budgets[0]
    used = "" if worst.status.used_percent is None else f" {worst.status.used_percent:.0f}%"
    if worst.level == "ok":
        return Content.styled(f" · budget{used}", _MUTED)
    sign, style = text.SIGNS[worst.level]
    more = sum(line.level != "ok" for line in view.budgets) - 1
    whose = text.clip(worst.whose, 24)
    return Content.assemble(
        (" · ", _MUTED), (f"{sign} {whose}{used}" + (f" +{more}" if more else ""), style)
    )


def health_bar(view: Overview) -> Content:
    """``[●●▲○] 2/4 healthy``: one sign a provider in use, then how many are healthy."""
    # Each stays at its place, whatever becomes of the others.
    cards = sorted(view.providers, key=lambda card: card.provider.slug)
    states = [card.state for card in cards if card.state != "off"]
    signs = [text.SIGNS[state] for state in states]
    bar: list[str | tuple[str, str]] = [
        ("[", "$foreground-muted"),
        *signs,
        ("]", "$foreground-muted"),
        " ",
    ]
    return Content.assemble(*(bar if len(states) <= _MOST_SIGNS else []), _healthy(view))


def _healthy(view: Overview) -> tuple[str, str]:
    used = sum(card.state != "off" for card in view.providers)
    return f"{view.healthy}/{used} healthy", text.SIGNS[view.overall][1]


Piece = tuple[Tab, str]


class TabBar(Widget):
    """Shortens its titles where they do not fit; a click opens a tab."""

    DEFAULT_CSS = """
    TabBar { height: 1; background: $panel; }
    """
    active: reactive[str] = reactive("")

    @dataclass
    class Chosen(Message):
        tab: str

    def __init__(self, tabs: Sequence[Tab]) -> None:
        super().__init__()
        self._tabs = tabs

    def render(self) -> Content:
        shown = Content("")
        for tab, title in fitting(self._tabs, self.active, self.size.width):
            on = tab.id == self.active
            ground = "bold $block-cursor-foreground on $block-cursor-background" if on else ""
            head, _, rest = title.partition(tab.key)
            shown += Content.assemble(
                (head + tab.key, ground or "bold $primary"), (rest, ground or "$foreground")
            )
        return shown

    def on_click(self, event: Click) -> None:
        at = 0
        for tab, title in fitting(self._tabs, self.active, self.size.width):
            at += cell_len(title)
            if event.x < at:
                self.post_message(self.Chosen(tab.id))
                return


def fitting(tabs: Sequence[Tab], active: str, width: int) -> list[Piece]:
    """Each tab with its text, key first: the longest form of which all fit into ``width``."""
    longest = max(tabs, key=lambda tab: len(tab.title) - len(tab.short), default=None)

    def named(tab: Tab, title: str, gap: str = " ") -> str:
        """With its key before it, unless that is the letter it begins with."""
        return title if title.startswith(tab.key) else f"{tab.key}{gap}{title}"

    def most(tab: Tab) -> str:
        return tab.short if tab is longest else tab.title

    def chosen(tab: Tab) -> str:
        return tab.title if tab.id == active else tab.short

    forms = (
        [(tab, f" {named(tab, tab.title)} ") for tab in tabs],
        [(tab, f" {named(tab, most(tab))} ") for tab in tabs],
        [(tab, f"{named(tab, most(tab))} ") for tab in tabs],
        [(tab, f" {named(tab, chosen(tab))} ") for tab in tabs],
        [(tab, f" {named(tab, tab.short)} ") for tab in tabs],
        [(tab, f"{named(tab, tab.short)} ") for tab in tabs],
        [(tab, f"{named(tab, tab.short, '')} ") for tab in tabs],
        [(tab, f"{named(tab, tab.short if tab.id == active else '')} ") for tab in tabs],
    )
    fits = (form for form in forms if sum(cell_len(title) for _, title in form) <= width)
    return next(fits, forms[-1])
