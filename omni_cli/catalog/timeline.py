"""From genai-prices' conditional prices to omni's prices by start date."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from omni_cli.domain.prices import KINDS

#: What the source calls otherwise than omni does.
_NAMED = {
    "cached": "cache_read",
    "cached_audio": "cache_audio_read",
    "reasoning": "output_reasoning",
}
#: Source unit (US dollars per 1,000,000 tokens) -> omni's token kind.
TOKEN_UNITS: Mapping[str, str] = {f"{_NAMED.get(kind, kind)}_mtok": kind for kind in KINDS}
#: Billed beside or instead of tokens that omni counts; named in the price's note.
OTHER_UNITS: Mapping[str, str] = {
    "web_searches_kcount": "web searches (per 1,000)",
    "social_searches_kcount": "social searches (per 1,000)",
    "storage_searches_kcount": "file searches (per 1,000)",
    "code_executions_kcount": "code executions (per 1,000)",
    "output_citation_mtok": "citation tokens (per 1M)",
    "input_video_mtok": "video input apart from other input (per 1M tokens)",
    "output_video_mtok": "video output apart from other output (per 1M tokens)",
    "cache_image_read_mtok": "cached images apart from other cached input (per 1M tokens)",
    "output_audio_hours": "audio output (per hour)",
    "input_text_messages_kcount": "text messages (per 1,000)",
    "input_document_kpages": "pages (per 1,000)",
    "input_annotated_document_kpages": "annotated pages (per 1,000)",
}
#: Billed by what endpoints of their own count: the field of a price that holds it.
COUNTED_UNITS: Mapping[str, str] = {
    "audio_hours": "per_audio_hour_usd",
    "input_audio_hours": "per_audio_hour_usd",
    "input_mchars": "per_million_characters_usd",
    "rerank_searches_kcount": "per_thousand_searches_usd",
}
#: Which of them a chat's answer does not count.
_UNCOUNTED_IN_CHATS = {"audio_hours": "audio (per hour)", "input_audio_hours": "audio (per hour)"}
_FEE = "requests_kcount"
_FREE_WORDS = ("free of charge", "(free)")


def price_rows(model: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The model's prices as ``price_to_json`` writes them, oldest first, without source.

    Where a price depends on the time of day, the dearest of the day is taken in every unit, and
    the note says so. Variants by request (batch, service tier) are not taken over: the row is the
    standard price.

    Raises:
        ValueError: an amount is no finite number >= 0, or a price has a condition of a new kind.
    """
    rows: list[dict[str, Any]] = []
    for start, values, note in _periods(model["prices"]):
        row = _row(values, model)
        notes = [text for text in (note, row.pop("note", "")) if text]
        if rows and _same(rows[-1], row):
            continue
        row |= {"effective_from": start} if start else {}
        row |= {"note": "; ".join(notes)} if notes else {}
        rows.append(row)
    return rows


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    drop = ("effective_from", "note")
    return {k: v for k, v in a.items() if k not in drop} == b


def _periods(
    prices: Mapping[str, Any] | Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str | None, Mapping[str, Any], str]]:
    """(first day or None, price values, note) in order of time."""
    if isinstance(prices, Mapping):
        yield None, prices, ""
        return
    if not prices:
        yield None, {}, ""
        return
    starts = {c["start_date"] for p in prices if "start_date" in (c := _constraint(p))}
    for start in (None, *sorted(starts)):
        # The last price in force wins; those of some hours only are all possible on that day.
        possible: list[Mapping[str, Any]] = []
        for entry in reversed(prices):
            constraint = _constraint(entry)
            begins = constraint.get("start_date")
            if begins is not None and (start is None or begins > start):
                continue
            possible.append(entry)
            if "start_time" not in constraint:
                break
        possible = possible or [prices[0]]
        sets = [entry["prices"] for entry in possible]
        dearest = {
            unit: max((values[unit] for values in sets if unit in values), key=_base)
            for unit in dict.fromkeys(unit for values in sets for unit in values)
        }
        cheaper = any(values != dearest for values in sets)
        note = "cheaper at some hours: the dearest of the day is charged" if cheaper else ""
        yield start, dearest, note


def _constraint(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    constraint = entry.get("constraint") or {}
    if unknown := constraint.keys() - {"start_date", "start_time", "end_time", "type"}:
        raise ValueError(f"unknown price condition: {sorted(unknown)}")
    return constraint


def _base(value: Any) -> Decimal:
    return Decimal(value["base"] if isinstance(value, Mapping) else value)


def _row(values: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    values = {unit: value for unit, value in values.items() if value is not None}
    row: dict[str, Any] = {"state": "priced"}
    for unit, kind in TOKEN_UNITS.items():
        if unit in values:
            row[kind] = _rate(values[unit])
    if _FEE in values:
        row["per_request_usd"] = _amount(Decimal(values[_FEE]) / 1000)
    chats = bool(row.keys() & {"input", "output"})
    for unit, field in COUNTED_UNITS.items():
        if unit in values:
            row[field] = _amount(max(Decimal(row.get(field, 0)), _base(values[unit])))
    others = [
        u
        for u in values
        if u not in TOKEN_UNITS
        and u != _FEE
        and not (u in COUNTED_UNITS and not (chats and u in _UNCOUNTED_IN_CHATS))
    ]
    words = {**OTHER_UNITS, **_UNCOUNTED_IN_CHATS}
    names = ", ".join(sorted({words.get(u, u) for u in others}))
    if all(_base(v) == 0 for v in values.values()):
        free = bool(values) or _said_to_be_free(model)
        return {"state": "free"} if free else _unknown("the source lists no price")
    if len(row) == 1:
        return _unknown(f"billed by units that omni does not count: {names}")
    return row | ({"note": f"not counted: {names}"} if others else {})


def _unknown(why: str) -> dict[str, Any]:
    return {"state": "unknown", "note": why}


def _said_to_be_free(model: Mapping[str, Any]) -> bool:
    said = " ".join(model.get(f) or "" for f in ("name", "description", "price_comments")).lower()
    return model["id"].endswith(":free") or any(words in said for words in _FREE_WORDS)


def _rate(value: Any) -> Any:
    if isinstance(value, Mapping):
        tiers = [[tier["start"], _amount(tier["price"])] for tier in value["tiers"]]
        return {"base": _amount(value["base"]), "tiers": sorted(tiers)}
    return _amount(value)


def _amount(value: Any) -> str:
    amount = Decimal(value)
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"a price must be finite and not negative, not {value}")
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
