"""Catalogue: every model that omni knows; find, compare, and take into the fleet (A5, A6)."""

from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from omni_cli.bootstrap import App
from omni_cli.services.fleet.browse import Listed
from omni_cli.tui import catalogue_view
from omni_cli.tui.actions import offer_status
from omni_cli.tui.catalogue_view import (
    FILTERS,
    MOST,
    ORDERS,
    VIEWS,
    CatalogueView,
    Wanted,
    comparison,
    read_catalogue,
)
from omni_cli.tui.pane import Pane
from omni_cli.tui.screens.add_model import add_model_form
from omni_cli.tui.widgets.picker import Choice, Choices
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.widgets.tiles import Tiles
from omni_cli.tui.widgets.words import Words

#: A tile's key is a provider's slug after this, or a model's id.
_GROUP = "@"
_FACTS_WIDTH = 84


class CataloguePane(Pane[CatalogueView]):
    DEFAULT_CSS = """
    CataloguePane #search-line { height: 1; }
    CataloguePane #search { width: 1fr; background: $surface; }
    CataloguePane #display { width: auto; min-width: 26; }
    CataloguePane #titles { height: 1; background: $panel; padding: 0 1; }
    CataloguePane #compared { display: none; padding: 1 1; height: 1fr; }
    CataloguePane #empty { display: none; padding: 1 2; }
    CataloguePane.-compare #compared { display: block; }
    CataloguePane.-compare Tiles, CataloguePane.-compare #titles { display: none; }
    CataloguePane.-compare #empty { display: none; }
    CataloguePane.-grid #titles { display: none; }
    CataloguePane.-none #empty { display: block; }
    CataloguePane.-none Tiles, CataloguePane.-none #titles { display: none; }
    CataloguePane #count { height: 1; padding: 0 1; color: $foreground-muted; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("slash", "search", "Search", key_display="/"),
        Binding("a", "add", "Add to fleet"),
        Binding("n", "new", "New model"),
        Binding("space", "mark", "Mark"),
        Binding("t", "try", "Compare the marked ones on prompts", show=False),
        Binding("v", "step('view')", "View", show=False),
        Binding("V", "step('view', -1)", "View, backwards", show=False),
        Binding("o", "step('order')", "Sort", show=False),
        Binding("O", "step('order', -1)", "Sort, backwards", show=False),
        *(
            Binding(key, f"step('{name}')", name.capitalize(), show=False)
            for name, key, _ in FILTERS
        ),
        *(
            Binding(key.upper(), f"step('{name}', -1)", f"{name}, backwards", show=False)
            for name, key, _ in FILTERS
        ),
        Binding("x", "clear", "Clear filters", show=False),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._view: CatalogueView | None = None
        self._toggled: set[str] = set()
        self._marked: list[str] = []
        self._searched = False

    def compose(self) -> ComposeResult:
        with Horizontal(id="search-line"):
            yield Input(placeholder="search names, ids and aliases", id="search", compact=True)
            yield Choices(
                [Choice("view", "v", VIEWS), Choice("order", "o", ORDERS)],
                spread=False,
                id="display",
            )
        yield Choices([Choice(*item) for item in FILTERS], spread=False, id="filters")
        yield Words(id="titles")
        yield Static(id="empty")
        yield Tiles()
        with VerticalScroll(id="compared"):
            yield Static(id="comparison")
        yield Words(id="count", markup=False)

    @property
    def _tiles(self) -> Tiles:
        return self.query_one(Tiles)

    @property
    def _display(self) -> Choices:
        return self.query_one("#display", Choices)

    @property
    def _filters(self) -> Choices:
        return self.query_one("#filters", Choices)

    @property
    def _mode(self) -> str:
        return self._display.values["view"]

    def entry(self) -> Widget | None:
        if self._mode == "compare":
            return self.query_one("#compared")
        return self.query_one("#search") if self.has_class("-none") else self._tiles

    def remember(self) -> dict[str, Any]:
        return {
            "search": self.query_one(Input).value,
            "filters": dict(self._filters.values),
            "display": dict(self._display.values),
            "toggled": sorted(self._toggled),
            "marked": list(self._marked),
        }

    def recall(self, kept: dict[str, Any]) -> None:
        self.query_one(Input).value = str(kept.get("search", ""))
        for name, bar in (("filters", self._filters), ("display", self._display)):
            values = kept.get(name)
            if not isinstance(values, dict):
                continue
            for key in bar.values:
                value = values.get(key)
                if name == "filters" and key == "provider" and isinstance(value, str) and value:
                    # Its values are not known before the first reading.
                    bar.offer(key, (*FILTERS[0][2], (value, value)))
                bar.put(key, value)
        self._toggled = set(map(str, kept.get("toggled") or ()))
        self._marked = [str(name) for name in kept.get("marked") or ()][:MOST]

    # --- reading and showing -----------------------------------------------------------------

    def wanted(self) -> Wanted:
        return Wanted(
            search=self.query_one(Input).value.strip(),
            chosen=dict(self._filters.values),
            order=self._display.values["order"],
            marked=tuple(self._marked),
        )

    def load(self, omni: App, wanted: Wanted) -> CatalogueView:
        return read_catalogue(omni, self.loader, wanted)

    def show(self, value: CatalogueView) -> None:
        self._view = value
        names = value.all_providers
        self._filters.offer("provider", (*FILTERS[0][2], *((slug, slug) for slug in names)))
        self._draw()

    def resized(self) -> None:
        self._draw()

    def _draw(self) -> None:
        view = self._view
        if view is None:
            return
        mode = self._mode
        self.set_class(mode == "compare", "-compare")
        self.set_class(mode == "grid", "-grid")
        self.set_class(not view.found, "-none")
        rows = {row.model.id: row for row in view.found}
        marked = frozenset(self._marked)
        if mode == "compare":
            width = self.size.width - 3
            self.query_one("#comparison", Static).update(comparison(view, width))
        elif mode == "grid":
            lines, least = catalogue_view.CARD
            self._tiles.fill(
                list(rows),
                lambda key, width: catalogue_view.model_card(
                    view, rows[key], width, marked=key in marked
                ),
                lines=lines,
                least=least,
            )
        else:
            self._draw_list(view, rows, marked)
        if not view.found:
            self.query_one("#empty", Static).update(_NOTHING)
        self.query_one("#count", Static).update(self._count(view))

    def _draw_list(
        self, view: CatalogueView, rows: dict[str, Listed], marked: frozenset[str]
    ) -> None:
        grouped = self._display.values["order"] == "provider"
        keys = list(rows)
        groups = dict(catalogue_view.groups(view))
        if grouped:
            keys = []
            for slug, found in groups.items():
                keys.append(_GROUP + slug)
                if self._opened(slug, view):
                    keys += [row.model.id for row in found]

        def draw(key: str, width: int) -> Content:
            if key.startswith(_GROUP):
                slug = key.removeprefix(_GROUP)
                opened = self._opened(slug, view)
                return catalogue_view.group_line(view, slug, groups[slug], opened=opened)
            return catalogue_view.model_line(view, rows[key], width, marked=key in marked)

        self._tiles.fill(keys, draw)
        if self._searched and rows:
            # What was looked for is under the cursor, not the heading above it.
            self._tiles.choose(next(key for key in keys if not key.startswith(_GROUP)))
            self._searched = False
        self.query_one("#titles", Static).update(catalogue_view.header(self.size.width - 2))

    def _opened(self, slug: str, view: CatalogueView) -> bool:
        """Providers of the fleet begin open, others closed; a search opens all."""
        begins = slug in view.connected or bool(self.query_one(Input).value.strip())
        return begins != (slug in self._toggled)

    def _count(self, view: CatalogueView) -> str:
        said = f"{len(view.found):,} of {view.known:,} models"
        if self._marked:
            said += f" · {len(self._marked)} of {MOST} marked to compare"
        if any(self._filters.values.values()) or self.query_one(Input).value:
            said += " · x clears the filters"
        return said

    @property
    def chosen(self) -> Listed | None:
        """The model under the cursor."""
        key, view = self._tiles.chosen, self._view
        rows = () if view is None else view.found
        return next((row for row in rows if row.model.id == key), None)

    # --- finding -----------------------------------------------------------------------------

    @on(Input.Changed)
    def _typed(self) -> None:
        self._toggled.clear()
        self._searched = bool(self.query_one(Input).value.strip())
        self.refresh_data()

    @on(Input.Submitted)
    def _to_tiles(self) -> None:
        self._tiles.focus()

    @on(Choices.Changed)
    def _changed(self, event: Choices.Changed) -> None:
        if event.name == "view":
            self._draw()
            entry = self.entry()
            if entry is not None and self.omni.is_pane_active(self):
                self.call_after_refresh(entry.focus)
        self.refresh_data()

    def action_search(self) -> None:
        self.query_one(Input).focus()

    def action_step(self, name: str, by: int = 1) -> None:
        bar = self._display if name in self._display.values else self._filters
        bar.step(name, by)

    def action_clear(self) -> None:
        for name in self._filters.values:
            self._filters.put(name, "")
        self.query_one(Input).value = ""
        self._tiles.focus()
        self.refresh_data()

    @on(Tiles.Selected)
    def _selected(self, event: Tiles.Selected) -> None:
        if event.key.startswith(_GROUP):
            self._toggled ^= {event.key.removeprefix(_GROUP)}
            self._draw()
        elif self.chosen is not None and self._view is not None:
            self.app.push_screen(FactsScreen(self, self.chosen, self._view))

    # --- doing -------------------------------------------------------------------------------

    def action_mark(self) -> None:
        """Take the model under the cursor into the comparison, or out of it."""
        row = self.chosen
        if row is None:
            return
        name = row.model.id
        if name in self._marked:
            self._marked.remove(name)
        elif len(self._marked) < MOST:
            self._marked.append(name)
        else:
            self.notify(f"{MOST} models at most; Space on a marked one frees a place")
            return
        self._draw()
        self.refresh_data()

    async def action_try(self) -> None:
        """Ask the marked models, or the one under the cursor, the same prompts."""
        row = self.chosen
        names = self._marked or ([] if row is None else [row.model.id])
        if names:
            await self.omni.compare(*names)

    def action_add(self) -> None:
        if self.chosen is not None:
            self.add(self.chosen)
        else:
            self.notify("a provider's heading: Enter opens it, j goes to its models", timeout=3)

    def add(self, row: Listed) -> None:
        """Take a model into the fleet, as active."""
        model, view = row.model, self._view
        if view is None:
            return
        if model.provider not in view.connected:
            self.notify(
                f"connect {model.provider} first: 2 Providers, then a",
                title=model.name,
                severity="warning",
            )
        elif model.status == "active":
            self.notify("is active already", title=model.name, timeout=3)
        else:
            offer_status(self.omni, self.act, model.id, "active")

    def action_new(self) -> None:
        view = self._view
        if view is None or not view.connected:
            self.notify("connect a provider first: 2 Providers, then a", severity="warning")
            return
        key = self._tiles.chosen or ""
        slug = key.removeprefix(_GROUP).partition("/")[0]
        form = add_model_form(self.loader, sorted(view.connected), slug)
        self.app.push_screen(form, lambda _: self.omni.store_changed())


class FactsScreen(Sheet):
    """All that is known of a model, and the keys that do something with it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "add", "Add to fleet"),
        Binding("o", "open", "Open"),
        Binding("space", "mark", "Mark"),
    ]

    def __init__(self, pane: CataloguePane, row: Listed, view: CatalogueView) -> None:
        super().__init__(row.model.name)
        self._pane = pane
        self._row = row
        self._view = view
        more = " · a adds it · o opens it" if row.model.provider in view.connected else ""
        self.subtitle = f"Esc closes{more} · Space marks it"

    def parts(self) -> ComposeResult:
        width = min(self.app.size.width * 98 // 100, _FACTS_WIDTH) - 6
        yield Static(catalogue_view.facts(self._view, self._row, width), markup=False)

    def action_add(self) -> None:
        self.dismiss(None)
        self._pane.add(self._row)

    def action_mark(self) -> None:
        self.dismiss(None)
        self._pane.action_mark()

    def action_open(self) -> None:
        """Its page, with today's use, test and edit."""
        from omni_cli.tui.screens.model import ModelScreen

        if self._row.model.provider in self._view.connected:
            self.dismiss(None)
            self._pane.app.push_screen(ModelScreen(self._pane.loader, self._row.model.id))


_NOTHING = Content.assemble(
    ("No model is like that.\n\n", "bold"),
    ("  x", "bold $primary"),
    "   clears search and filters\n",
    ("  n", "bold $primary"),
    "   adds a model that the catalogue does not have",
)
