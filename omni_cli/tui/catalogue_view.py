"""The catalogue as the screen shows it: found and sorted by the browse service, then laid out; and
marked models beside each other."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from textwrap import wrap
from typing import Any

from msgspec import Struct
from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.models import BADGES, CAPABILITIES, ModelInfo, retired_for, retirement_words
from omni_cli.domain.prices import KINDS, rate_text
from omni_cli.domain.words import counted, percent, tokens
from omni_cli.services.fleet.browse import QUALITIES, SORTS, SPEEDS, Filters, Listed
from omni_cli.services.money.prices import utc_day
from omni_cli.tui import heat, text
from omni_cli.tui.data import Loader

_MUTED = "$foreground-muted"
#: Cells of a fact's name.
_LABEL = 15
_ANY = ""
CONNECTED = "connected"
#: Most models beside each other in the comparison (D2).
MOST = 4
PRICES = ("free", "0.5", "1", "5", "15")
BADGE_WORDS = {
    "vision": "vision",
    "function-calling": "functions",
    "json-mode": "json",
    "streaming": "streaming",
    "reasoning": "reasoning",
}
_SHORT = {"vision": "vis", "functions": "fn", "streaming": "stream", "reasoning": "reason"}
#: The list shows speed and badges from so many columns on.
_SPEED_FROM, _BADGES_FROM = 96, 136

FILTERS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("provider", "p", ((_ANY, "any provider"), (CONNECTED, "connected"))),
    ("capability", "c", ((_ANY, "any ability"), *((name, name) for name in BADGES))),
    (
        "price",
        "m",
        (
            (_ANY, "any price"),
            ("free", "free"),
            *((usd, f"≤ ${usd} in") for usd in PRICES[1:]),
        ),
    ),
    ("quality", "y", ((_ANY, "any quality"), *((name, f"{name} quality") for name in QUALITIES))),
    ("speed", "z", ((_ANY, "any speed"), *((name, name) for name in SPEEDS))),
)
VIEWS = (("list", "list"), ("grid", "grid"), ("compare", "compare"))
ORDERS = (
    ("provider", "by provider"),
    *((name, f"by {name}") for name in SORTS if name != "provider"),
)


class Wanted(Struct, frozen=True):
    """``marked``: ids for the comparison, found whatever the filters say."""

    search: str
    chosen: Mapping[str, str]
    order: str
    marked: tuple[str, ...]


class CatalogueView(Struct, frozen=True):
    """``found`` in the order asked for; ``connected`` provider slugs; ``all_providers`` by slug
    with their names, those of the fleet first; ``known`` models in all."""

    found: tuple[Listed, ...]
    marked: tuple[Listed, ...]
    connected: frozenset[str]
    simulated: frozenset[str]
    all_providers: Mapping[str, str]
    known: int
    #: ISO date.
    today: str


def read_catalogue(omni: App, loader: Loader, wanted: Wanted) -> CatalogueView:
    """Raises OmniError."""
    models = loader.memo("catalogue", omni, lambda app: app.models.all())
    providers = omni.providers.all()
    connected = frozenset(provider.slug for provider in providers)
    chosen = wanted.chosen
    only = chosen["provider"]
    price = chosen["price"]
    filters = Filters(
        providers=tuple(connected) or ("",) if only == CONNECTED else (only,) if only else (),
        capabilities=(chosen["capability"],) if chosen["capability"] else (),
        search=wanted.search or None,
        max_price_in=Decimal(price) if price and price != "free" else None,
        free=price == "free",
        quality=chosen["quality"] or None,
        speed=chosen["speed"] or None,
    )
    found = omni.browser.find(models, filters, wanted.order)
    today = utc_day(omni.now_ms())
    simulated = frozenset(provider.slug for provider in providers if provider.simulated)
    found = sorted(found, key=partial(_place, wanted.search.lower(), today, simulated))
    by_id = {model.id: model for model in models}
    names = {provider.slug: provider.name for provider in providers}
    others = sorted({model.provider for model in models} - connected)
    presets = omni.presets
    for slug in others:
        names[slug] = presets[slug].name if slug in presets else slug
    return CatalogueView(
        found=tuple(found),
        marked=tuple(omni.browser.listed(by_id[name]) for name in wanted.marked if name in by_id),
        connected=connected,
        simulated=simulated,
        all_providers=names,
        known=len(models),
        today=today,
    )


def _place(search: str, today: str, simulated: frozenset[str], row: Listed) -> tuple[bool, bool]:
    """What is called just so comes first, what is no longer served last; else as sorted."""
    model = row.model
    named = search in (model.name.lower(), model.wire_name.lower(), model.id.lower())
    gone = model.provider not in simulated and bool(retired_for(model.retired_on, today))
    return gone, not (search and named)


def state_of(model: ModelInfo, view: CatalogueView) -> tuple[str, str, str]:
    """Sign, word and colour of what a model is to the fleet; a retired one is of no use to it."""
    if retired(model, view):
        return "✗", "retired", "$error"
    if model.provider not in view.connected:
        return "·", "", _MUTED
    sign, style = text.SIGNS[model.status]
    return sign, model.status, style


def retired(model: ModelInfo, view: CatalogueView) -> str:
    """Since when its provider no longer serves it, in words; "" where it does."""
    if model.provider in view.simulated:
        return ""
    return retired_for(model.retired_on, view.today)


# --- the list --------------------------------------------------------------------------------


def groups(view: CatalogueView) -> list[tuple[str, list[Listed]]]:
    """(provider, its models) of what was found, those of the fleet first."""
    found: dict[str, list[Listed]] = {}
    for row in view.found:
        found.setdefault(row.model.provider, []).append(row)
    return sorted(
        found.items(),
        key=lambda item: (
            item[0] not in view.connected,
            view.all_providers.get(item[0], item[0]).lower(),
        ),
    )


def group_line(view: CatalogueView, slug: str, rows: Sequence[Listed], *, opened: bool) -> Content:
    sign = "▾" if opened else "▸"
    active = sum(row.model.status == "active" and slug in view.connected for row in rows)
    said = f"{len(rows)} models" if len(rows) != 1 else "1 model"
    if active:
        said += f", {active} active"
    shown = Content.assemble(
        (f"{sign} ", "$primary"),
        (view.all_providers.get(slug, slug), "bold"),
        (f"  {said}", _MUTED),
    )
    if slug not in view.connected:
        shown += Content.styled("  not connected", _MUTED)
    return shown


def header(width: int) -> Content:
    """Titles above the list's columns."""
    line = f"   {'State':<12}{'Model':<{_name_width(width)}}"
    line += f"{'Context':>8}{'In/1M':>9}{'Out/1M':>9}{'Quality':>8}"
    if width >= _SPEED_FROM:
        line += f"  {'Speed':<8}"
    if width >= _BADGES_FROM:
        line += "Can"
    elif width >= _SPEED_FROM:
        line += " V  F  J  S  R"
    return Content.styled(line, "bold")


def model_line(view: CatalogueView, row: Listed, width: int, *, marked: bool) -> Content:
    model = row.model
    sign, word, style = state_of(model, view)
    price = None if row.price is None else row.price.price
    mark = ("✓ ", "bold $accent") if marked else "  "
    name_width = _name_width(width)
    gone = retired(model, view)
    bold = "strike" if gone else "bold" if model.status == "active" and word else ""
    name = Content.styled(model.name, bold).truncate(name_width - 1, ellipsis=True)
    shown = Content.assemble(
        mark,
        _state(sign, word, style),
        name.pad_right(name_width - name.cell_length),
        f"{tokens(model.context_window) if model.context_window else '-':>8}",
        *_figure(rate_text(price, "input"), 9, heat.rate(_base(price, "input"), "input")),
        *_figure(rate_text(price, "output"), 9, heat.rate(_base(price, "output"), "output")),
        *_figure(percent(row.quality), 8, heat.quality(row.quality) or _MUTED),
    )
    if width >= _SPEED_FROM:
        shown += Content.styled(
            f"  {row.speed_class or '-':<8}", _SPEEDS.get(row.speed_class or "", _MUTED)
        )
        shown += _badge_columns(model, words=width >= _BADGES_FROM)
    return shown


#: The colour of a speed class.
_SPEEDS = {"fast": "$success", "slow": "$warning"}


def _state(sign: str, word: str, style: str) -> Content:
    """In 13 cells; what most are is no chip, so that the others are seen."""
    if word in ("", "standby"):
        return Content.styled(f" {sign} {word:<10}", style)
    chip = heat.chip(f"{sign} {word}", style)
    return chip.pad_right(13 - chip.cell_length)


def _figure(words: str, width: int, style: str) -> tuple[str, tuple[str, str]]:
    """At the right of its column, only the figure in its colour."""
    return " " * max(width - len(words), 0), (words, style)


def _badge_columns(model: ModelInfo, *, words: bool) -> Content:
    """A chip for each capability, below each other; a letter each where room is scarce."""
    parts = []
    for name in BADGES:
        said = BADGE_WORDS[name] if words else BADGE_WORDS[name][0].upper()
        there = name in model.badges
        parts.append(heat.chip(said) if there else Content(" " * (len(said) + 2)))
    return Content(" " if words else "").join(parts)


def _name_width(width: int) -> int:
    """What the other columns leave, within reason."""
    rest = 15 + 8 + 9 + 9 + 8
    if width >= _SPEED_FROM:
        rest += 10
        rest += 52 if width >= _BADGES_FROM else 16
    return max(min(width - rest, 60), 12)


def chips(model: ModelInfo, width: int) -> Content:
    """What it can do, a chip each; shorter words where they have no room."""
    words = [BADGE_WORDS[name] for name in BADGES if name in model.badges]
    if not words:
        return Content.styled("no badges", _MUTED)
    if sum(len(word) + 3 for word in words) > width:
        words = [_SHORT.get(word, word) for word in words]
    return Content(" ").join(map(heat.chip, words))


def badges(model: ModelInfo) -> str:
    return " ".join(BADGE_WORDS.get(name, name) for name in BADGES if name in model.badges)


# --- the grid --------------------------------------------------------------------------------

#: Lines of a card, and its least width.
CARD = (4, 38)


def model_card(view: CatalogueView, row: Listed, width: int, *, marked: bool) -> Content:
    model = row.model
    sign, word, style = state_of(model, view)
    price = None if row.price is None else row.price.price
    state = f"{sign} {word}".rstrip()
    mark = "✓ " if marked else ""
    name = Content.assemble((mark, "bold $accent"), (model.name, "bold"))
    name = name.truncate(max(width - len(state) - 1, 8), ellipsis=True)
    gap = " " * max(width - name.cell_length - len(state), 1)
    size = "context unknown" if model.context_window is None else f"{context(model)} context"
    return Content("\n").join(
        (
            name + gap + Content.styled(state, style),
            Content.styled(f"{view.all_providers.get(model.provider, '')} · {size}", _MUTED),
            Content.assemble(
                (rate_text(price, "input"), "bold"),
                (" in  ", _MUTED),
                (rate_text(price, "output"), "bold"),
                (" out  ", _MUTED),
                f"quality {percent(row.quality)}",
            ),
            chips(model, width),
        )
    )


def context(model: ModelInfo) -> str:
    """The context window as a person reads it."""
    return tokens(model.context_window)


# --- the facts -------------------------------------------------------------------------------


def facts(view: CatalogueView, row: Listed, width: int) -> Content:
    """Everything that is known of a model, with where its price and scores come from."""
    model = row.model
    sign, word, style = state_of(model, view)
    price = None if row.price is None else row.price.price
    shown = Content.assemble(
        (model.id, "bold"), "\n", (f"{sign} {word or 'its provider is not connected'}", style)
    )
    if model.retired_on and model.provider not in view.simulated:
        gone = retired(model, view)
        said = retirement_words(model.retired_on, view.today)
        sign, style = ("✗", "$error") if gone else ("▲", "$warning")
        shown += Content.styled(f"\n{sign} {gone}{', ' if gone else ''}its provider {said}", style)
    lines = [
        ("Aliases", ", ".join(model.aliases) or "none"),
        ("Type", f"{model.type}: {'+'.join(model.input_types)} to {'+'.join(model.output_types)}"),
        ("Context", f"{context(model)} tokens, {tokens(model.max_output)} of output at most"),
        ("Badges", badges(model) or "none known"),
    ]
    if price is None or price.state != "priced":
        lines.append(
            ("Price", "free" if price is not None and price.state == "free" else "unknown")
        )
    else:
        rates = [
            f"{kind.replace('_', ' ')} {rate_text(price, kind)}"
            for kind in KINDS
            if getattr(price, kind) is not None
        ]
        lines.append(("Per 1M tokens", ", ".join(rates)))
    if row.price is not None and price is not None:
        source = price.source or row.price.origin
        lines.append(("Price from", f"{source}, as of {price.source_date or 'no date'}"))
    quality = "unknown" if row.quality is None else f"{percent(row.quality)}, {row.quality_class}"
    lines.append(("Quality", f"{quality} (the router's estimate, mean over task types)"))
    response = "not measured" if row.latency_ms is None else f"{text.seconds(row.latency_ms)} mean"
    lines.append(("Response", f"{response}; {counted(row.calls, 'call')} in the ledger"))
    if row.latency_ms is None and row.speed is not None:
        lines.append(("Foreseen", row.speed.words))
    for name in CAPABILITIES:
        if name in model.scores:
            source = model.score_sources.get(name, "no source")
            lines.append((name.capitalize(), f"{model.scores[name]:g}/100 ({source})"))
    if model.parameters_b is not None:
        lines.append(
            (
                "Size",
                f"{model.parameters_b:g}B parameters, complexity {model.complexity_factor:.3f}",
            )
        )
    if model.strengths:
        lines.append(("Strengths", ", ".join(model.strengths)))
    if model.recommended_for:
        lines.append(("Made for", ", ".join(model.recommended_for)))
    indent = "\n" + " " * _LABEL
    for name, words in lines:
        wrapped = indent.join(wrap(words, max(width - _LABEL, 20), break_on_hyphens=False))
        shown += Content.assemble("\n", (f"{name:<{_LABEL}}", _MUTED), wrapped)
    return shown


#: A badge that nobody speaks of is not known to be missing.
_KNOWN = {True: "yes", False: "no", None: "unknown"}


def comparison(view: CatalogueView, width: int) -> Content:
    """The marked models beside each other; ★ at the best of a line where there is one."""
    rows = view.marked
    if len(rows) < 2:
        return Content.assemble(
            ("Mark two to four models to compare.\n\n", "bold"),
            ("  v", "bold $primary"),
            "       back to the list\n",
            ("  Space", "bold $primary"),
            "   marks a model, and takes the mark back",
        )
    label = 14
    each = max((width - label) // len(rows), 12)
    lines = [
        Content(" " * label)
        + Content("").join(_cell(row.model.name, each, "bold $primary") for row in rows)
    ]
    for name, values, best in _compared(view, rows):
        cells = [
            _cell(("★ " if at in best else "") + value, each, "bold" if at in best else "")
            for at, value in enumerate(values)
        ]
        lines.append(Content.styled(f"{name:<{label}}", _MUTED) + Content("").join(cells))
    return Content("\n").join(lines)


def _cell(words: str, width: int, style: str) -> Content:
    shown = Content.styled(words, style).truncate(width - 1, ellipsis=True)
    return shown.pad_right(width - shown.cell_length)


def _compared(
    view: CatalogueView, rows: Sequence[Listed]
) -> list[tuple[str, list[str], frozenset[int]]]:
    """(name, values, places of the best ones) of each line."""
    prices = [None if row.price is None else row.price.price for row in rows]
    models = [row.model for row in rows]
    lines = [
        ("Provider", [view.all_providers.get(m.provider, m.provider) for m in models], None, 0),
        ("State", [state_of(m, view)[1] or "not connected" for m in models], None, 0),
        (
            "Context",
            [context(m) for m in models],
            [m.context_window for m in models],
            1,
        ),
        (
            "Max output",
            [tokens(m.max_output) for m in models],
            [m.max_output for m in models],
            1,
        ),
        (
            "Input /1M",
            [rate_text(p, "input") for p in prices],
            [_base(p, "input") for p in prices],
            -1,
        ),
        (
            "Output /1M",
            [rate_text(p, "output") for p in prices],
            [_base(p, "output") for p in prices],
            -1,
        ),
        ("Quality", [percent(r.quality) for r in rows], [r.quality for r in rows], 1),
        ("Response", [text.seconds(r.latency_ms) for r in rows], [r.latency_ms for r in rows], -1),
        ("Speed", [r.speed_class or "unknown" for r in rows], None, 0),
    ]
    for name in CAPABILITIES:
        scores = [m.scores.get(name) for m in models]
        if any(score is not None for score in scores):
            shown = ["-" if score is None else f"{score:g}/100" for score in scores]
            lines.append((name.capitalize(), shown, scores, 1))
    lines += [
        (
            f"can {BADGE_WORDS[name]}",
            [_KNOWN[m.has(name)] for m in models],
            None,
            0,
        )
        for name in BADGES
    ]
    lines.append(("Calls", [f"{r.calls:,}" for r in rows], None, 0))
    return [(name, shown, _best(values, way)) for name, shown, values, way in lines]


def _base(price: object, kind: str) -> Decimal | None:
    """Comparable amounts only: free is 0, unknown is nothing."""
    state = getattr(price, "state", "unknown")
    if state == "free":
        return Decimal(0)
    rate = getattr(price, kind, None)
    return None if rate is None else rate.base


def _best(values: Sequence[object] | None, way: int) -> frozenset[int]:
    """Places of the largest (``way`` 1) or smallest (-1); none where all are equal or unknown."""
    if values is None:
        return frozenset()
    known: list[Any] = [value for value in values if value is not None]
    if len(known) < 2 or len(set(known)) == 1:
        return frozenset()
    best = max(known) if way > 0 else min(known)  # a line's values are of one kind
    return frozenset(at for at, value in enumerate(values) if value == best)
