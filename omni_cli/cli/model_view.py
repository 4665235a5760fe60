"""Models for people: one line, a card, everything, side by side."""

import shutil
from collections.abc import Callable, Sequence
from typing import Any

from omni_cli.cli.render import Style, bar, clip, milliseconds, out, paint, width_of
from omni_cli.cli.tables import Column, View, listing, room, table
from omni_cli.domain.models import ModelInfo, retirement_words
from omni_cli.domain.money import dollars
from omni_cli.domain.prices import KINDS, Price, Rate, rate_text
from omni_cli.domain.words import tokens
from omni_cli.records import StoredPrice
from omni_cli.services.fleet.browse import Listed

_CARD = 38
#: Cells of the longest name of a fact and the gaps beside it.
_FACT = 24
_KIND_NAMES = {
    "input": "input",
    "cached": "cached input",
    "cache_write": "cache write",
    "cache_write_1h": "cache write, 1 h",
    "output": "output",
    "reasoning": "reasoning",
}
_STATUS_STYLES: dict[str, Style | None] = {"active": None, "standby": "dim", "disabled": "dim"}


def quality_text(row: Listed) -> str:
    """What is guessed from a model's size is marked."""
    if row.quality is None:
        return "unknown"
    return f"{'~' if row.by_size else ''}{row.quality:.0%}"


def list_models(
    view: View,
    rows: Sequence[Listed],
    documents: Callable[[], list[dict[str, Any]]],
    *,
    popularity: bool = False,
) -> None:
    """One line a model; with ``popularity`` also how often each was called."""
    columns = [
        Column.key("model"),
        Column.words("name", 2),
        Column.words("status", 6, 8),
        Column.figure("context", 4),
        Column.money("in / 1M"),
        Column.money("out / 1M"),
        Column.figure("quality", 8),
        Column.words("badges", 3),
    ]
    if popularity:
        columns.append(Column.figure("calls", 9))
    listing(
        view,
        columns,
        [
            [
                row.model.id,
                row.model.name,
                row.model.status + ("*" if row.model.is_default else ""),
                tokens(row.model.context_window),
                rate_text(_price(row), "input"),
                rate_text(_price(row), "output"),
                quality_text(row),
                ", ".join(sorted(row.model.badges)),
                *([f"{row.calls:,}"] if popularity else []),
            ]
            for row in rows
        ],
        documents,
        empty=["no model fits"],
        styles=[_STATUS_STYLES[row.model.status] for row in rows],
    )


def print_grid(rows: Sequence[Listed]) -> None:
    """Cards beside each other, as many as fit."""
    across = max(1, (shutil.get_terminal_size().columns + 2) // (_CARD + 2))
    cards = [_card(row) for row in rows]
    for start in range(0, len(cards), across):
        line = cards[start : start + across]
        for parts in zip(*line, strict=True):
            out("  ".join(part + " " * (_CARD - width_of(part)) for part in parts).rstrip())
        out()


def _card(row: Listed) -> list[str]:
    model = row.model
    price = _price(row)
    rates = rate_text(price, "input")
    if price is not None and price.state == "priced":
        rates = f"{rates} in, {rate_text(price, 'output')} out per 1M"
    quality = f"quality {quality_text(row)}"
    lines = (
        model.name,
        model.id,
        f"{model.status} · {tokens(model.context_window)} context · {quality}",
        rates,
        ", ".join(sorted(model.badges)) or "no badges known",
    )
    return [clip(line, _CARD) for line in lines]


def speed_text(row: Listed) -> str:
    """What was measured; else what was published, or concluded from the model's class."""
    if row.latency_ms is not None:
        return f"{milliseconds(row.latency_ms)} a response, measured in {row.calls:,} calls"
    return "not measured" if row.speed is None else row.speed.words


def print_model(row: Listed, uses: Sequence[str], today: str) -> None:
    """Everything known of one model. ``today``: ISO date."""
    model, price = row.model, row.price
    default = ", default" if model.is_default else ""
    out(f"{paint(model.name, 'bold')}  {model.id}  ({model.status}{default})")
    if model.retired_on:
        out(paint(f"  its provider {retirement_words(model.retired_on, today)}", "yellow"))
    facts = {
        "aliases": ", ".join(model.aliases),
        "type": model.type,
        "takes": ", ".join(model.input_types),
        "gives": ", ".join(model.output_types),
        "context": f"{model.context_window:,} tokens" if model.context_window else "unknown",
        "max output": f"{model.max_output:,} tokens" if model.max_output else "unknown",
        "badges": ", ".join(sorted(model.badges)) or "none known",
        "lacks": ", ".join(sorted(model.lacks)),
        "parameters": "unknown" if model.parameters_b is None else f"{model.parameters_b:g} B",
        "complexity": "unknown"
        if model.complexity_factor is None
        else f"{model.complexity_factor:.2f} (parameters / 175 B)",
        "token weights": ", ".join(f"{k} {v:g}" for k, v in model.token_weights.items()),
        "speed": speed_text(row),
        "settings": ", ".join(f"{k} {v:,}" for k, v in model.settings.items()),
        "strengths": ", ".join(model.strengths),
        "good for": ", ".join(model.recommended_for),
        "origin": "the catalogue" if model.is_system else "added by you",
    }
    for name, value in facts.items():
        if value:
            out(f"  {name:<14} {value}")
    out("capabilities")
    for name, score in model.scores.items():
        source = model.score_sources.get(name, "source not stated")
        out(f"  {name:<11} {bar(score / 100)} {score:>3.0f}/100  {paint(source, 'dim')}")
    if not model.scores:
        out("  no scores with a source")
    if row.quality is not None:
        ground = f", {row.quality_basis}" if row.by_size else ""
        words = f"the router's estimate{ground}"
        out(f"  {'quality':<11} {bar(row.quality)} {row.quality:>6.1%}  {words}")
    else:
        out(f"  {'quality':<11} unknown: no result, no size, none of your outcomes tells")
    _print_price(price)
    calls = f"{row.calls:,} calls, {milliseconds(row.latency_ms)} each" if row.calls else "none yet"
    out(f"use\n  {'measured':<14} {calls}")
    out(f"  {'used by':<14} {', '.join(uses) or 'no role, rule or chain'}")


def _print_price(row: StoredPrice | None) -> None:
    price = Price("unknown") if row is None else row.price
    out(f"price ({price.state})")
    if price.state == "priced":
        for kind in KINDS:
            rate: Rate | None = getattr(price, kind)
            if rate is not None:
                steps = "".join(f", {dollars(t.rate)} above {t.above_tokens:,}" for t in rate.tiers)
                name = _KIND_NAMES.get(kind, kind.replace("_", " "))
                out(f"  {name:<17} {dollars(rate.base)}{steps} per 1M tokens")
    for name, amount in (
        ("each request", price.per_request_usd),
        ("at least", price.minimum_usd),
        ("each image", price.per_image_usd),
        ("hour of sound", price.per_audio_hour_usd),
        ("1M characters", price.per_million_characters_usd),
        ("1,000 searches", price.per_thousand_searches_usd),
    ):
        if amount:
            out(f"  {name:<17} {dollars(amount)}")
    if price.free_requests_per_month:
        out(f"  {'free':<17} {price.free_requests_per_month:,} requests a month")
    if price.effective_from:
        out(f"  {'since':<17} {price.effective_from}")
    if row is not None and price.source:
        out(f"  {'source':<17} {price.source}{_dated(price)} [{row.origin}]")
    if price.note:
        out(f"  {'note':<17} {price.note}")


def _dated(price: Price) -> str:
    return f", read {price.source_date}" if price.source_date else ""


def print_comparison(rows: Sequence[Listed]) -> None:
    """Facts and prices side by side, one column a model."""
    lines: list[list[str]] = []

    def add(name: str, values: Sequence[str]) -> None:
        if any(value not in ("-", "unknown") for value in values):
            lines.append([name, *values])

    models = [row.model for row in rows]
    add("name", [m.name for m in models])
    add("status", [m.status for m in models])
    add("type", [m.type for m in models])
    add("context", [tokens(m.context_window) for m in models])
    add("max output", [tokens(m.max_output) for m in models])
    for kind in ("input", "cached", "cache_write", "output", "reasoning"):
        name = f"{_KIND_NAMES[kind]} / 1M"
        add(name, [rate_text(_price(row), kind) for row in rows])
    add("quality", [quality_text(r) for r in rows])
    for name in dict.fromkeys(name for model in models for name in model.scores):
        add(name, [f"{m.scores[name]:.0f}" if name in m.scores else "unknown" for m in models])
    add("parameters", [_parameters(m) for m in models])
    for badge in sorted({badge for model in models for badge in model.badges}):
        add(badge, ["yes" if badge in m.badges else "-" for m in models])
    add("response", [milliseconds(row.latency_ms) for row in rows])
    heads = [model.id for model in models]
    width = room()
    if width is not None and sum(map(len, heads)) + _FACT > width:
        for place, head in enumerate(heads, 1):
            out(f"{place}  {head}")
        heads = [str(place) for place in range(1, len(heads) + 1)]
    table([Column.key(""), *(Column(head, least=8) for head in heads)], lines)


def _parameters(model: ModelInfo) -> str:
    return "unknown" if model.parameters_b is None else f"{model.parameters_b:g} B"


def _price(row: Listed) -> Price | None:
    return None if row.price is None else row.price.price
