"""Up to four models beside each other, the best value of each line marked (A6)."""

from collections.abc import Sequence
from decimal import Decimal

from textual.content import Content

from omni_cli.domain.models import BADGES, CAPABILITIES
from omni_cli.services.fleet.browse import Listed
from omni_cli.tui import text
from omni_cli.tui.catalogue_view import BADGE_WORDS, CatalogueView, context, state_of

_MUTED = "$foreground-muted"

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
            [text.tokens(m.max_output) for m in models],
            [m.max_output for m in models],
            1,
        ),
        (
            "Input /1M",
            [text.rate(p, "input") for p in prices],
            [_base(p, "input") for p in prices],
            -1,
        ),
        (
            "Output /1M",
            [text.rate(p, "output") for p in prices],
            [_base(p, "output") for p in prices],
            -1,
        ),
        ("Quality", [text.percent(r.quality) for r in rows], [r.quality for r in rows], 1),
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
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(set(known)) == 1:
        return frozenset()
    best = max(known) if way > 0 else min(known)  # type: ignore[type-var]  # a line's values are of one kind
    return frozenset(at for at, value in enumerate(values) if value == best)
