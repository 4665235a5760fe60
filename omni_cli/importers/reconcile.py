"""Compares an invoice with the ledger: per day, model and token kind, where they part."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Literal

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.imports import ImportProblem, InvoiceLine, TokenKind
from omni_cli.domain.record import replace
from omni_cli.importers import importers
from omni_cli.importers.files import header_of, lines
from omni_cli.importers.reports import lines_of

#: How much of a JSON file shows what it is.
_HEAD_BYTES = 4096
_CSV_SIGNS: tuple[tuple[str, str], ...] = (
    ("amount_value", "openai"),
    ("num_model_requests", "openai"),
    ("usage_date_utc", "anthropic"),
    ("generation_id", "openrouter"),
    ("custom_llm_provider", "litellm"),
)
_JSON_SIGNS: tuple[tuple[str, str], ...] = (
    ('"organization.usage', "openai"),
    ('"organization.costs', "openai"),
    ('"starting_at"', "anthropic"),
    ('"byok_usage_inference"', "openrouter"),
    ('"request_id"', "litellm"),
)


def recognise(path: Path) -> str | None:
    """Name of the importer whose export this is, by its columns or keys; None when none is.

    A CSV file that no tool's columns match is ``csv``.
    """
    if path.suffix.lower() == ".csv":
        columns, _ = header_of(path)
        return next((name for sign, name in _CSV_SIGNS if sign in columns), "csv")
    head = ""
    for item in lines(path):
        if isinstance(item, ImportProblem) or len(head) >= _HEAD_BYTES:
            break
        head += item[1][:_HEAD_BYTES].decode("utf-8", "replace")
    return next((name for sign, name in _JSON_SIGNS if sign in head), None)


def read_invoice(
    path: Path,
    source: str | None = None,
    *,
    skips: Counter[str] | None = None,
    mapping: Mapping[str, str] | None = None,
) -> Iterator[InvoiceLine | ImportProblem]:
    """Lines of an invoice or usage export.

    Args:
        path: one file, or with ``source`` a folder of its exports.
        source: importer's name; None recognises the file.
        skips: filled with what was passed over, by reason.
        mapping: field -> column, for ``csv``.

    Raises:
        UsageError: not recognised, no such source, or a mapping that does not fit.
    """
    name = source or recognise(path)
    if name is None:
        raise UsageError(
            f"{path.name} is no report that omni knows",
            hint="name its format with --source openai|anthropic|openrouter|litellm|csv",
        )
    importer = importers.get(name)
    if importer is None:
        raise UsageError(f"no such source: {name}", hint=f"one of: {', '.join(importers)}")
    if importer.reports:
        yield from importer.read_invoice(path, skips=skips)
        return
    for item in importer.read(path, skips=skips, mapping=mapping):
        if isinstance(item, ImportProblem):
            yield item
        else:
            yield from lines_of(item)


def resolved(line: InvoiceLine, resolve: Callable[[str | None, str], str | None]) -> InvoiceLine:
    """The line with its model in the catalogue's words, where ``resolve`` knows it."""
    if line.model is None:
        return line
    model = resolve(line.provider, line.model)
    return line if model is None else replace(line, model=model)


Measure = Literal["tokens", "cost"]
Finding = Literal["differs", "missing_in_ledger", "missing_on_invoice"]
#: (day, model); model None: the whole day, because one side's line names no model.
Place = tuple[str, str | None]


class Drift(Struct, frozen=True):
    """One disagreement. ``kind`` ``total``: one side does not split its money by kind.

    ``ours`` and ``theirs`` are tokens, or nano-dollars for ``cost``; None on the side that has
    no such line. ``difference`` is ours - theirs, absent counted as 0; ``percent`` of theirs,
    to two decimals, None where theirs is absent or 0.
    """

    day: str
    model: str | None
    kind: TokenKind
    measure: Measure
    finding: Finding
    ours: int | None
    theirs: int | None

    @property
    def difference(self) -> int:
        return (self.ours or 0) - (self.theirs or 0)

    @property
    def percent(self) -> Decimal | None:
        if not self.theirs:
            return None
        return (Decimal(self.difference) * 100 / self.theirs).quantize(Decimal("0.01"))


def reconcile(
    ledger: Iterable[InvoiceLine],
    invoice: Iterable[InvoiceLine],
    *,
    tolerance_nusd: int = 0,
) -> list[Drift]:
    """Where the two sides differ, by day, model, measure and kind; empty when they agree.

    Only what both sides speak of is compared: tokens where the invoice has tokens at all, money
    where it has money, and only its providers and the days from its first to its last. Money is
    compared by kind where both sides split it, else per model, and per day where either side
    has money without a model's name. Lines of the same place and kind are added up first.

    Args:
        ledger: our side, models in the same words as the invoice's (``invoices.resolved``).
        invoice: their side.
        tolerance_nusd: allowed difference of each compared amount, beside what the rounding
            printed on the lines explains.
    """
    theirs = list(invoice)
    days = {line.day for line in theirs}
    if not days:
        return []
    first, last = min(days), max(days)
    providers = {line.provider for line in theirs}
    ours = [
        line
        for line in ledger
        if first <= line.day <= last
        and (None in providers or line.provider is None or line.provider in providers)
    ]
    drifts: list[Drift] = []
    if any(line.tokens is not None for line in theirs):
        drifts.extend(_tokens(ours, theirs))
    if any(line.cost_nusd is not None for line in theirs):
        drifts.extend(_costs(ours, theirs, tolerance_nusd))
    drifts.sort(key=lambda d: (d.day, d.model or "", d.measure, d.kind))
    return drifts


def _tokens(ours: list[InvoiceLine], theirs: list[InvoiceLine]) -> Iterator[Drift]:
    left, right = _sum_tokens(ours), _sum_tokens(theirs)
    merged = {day for day, model, _ in (*left, *right) if model is None}
    left, right = _merge_days(left, merged), _merge_days(right, merged)
    for day, model, kind in left.keys() | right.keys():
        key = (day, model, kind)
        yield from _compare(key, "tokens", left.get(key), right.get(key), 0)


def _sum_tokens(lines: list[InvoiceLine]) -> dict[tuple[str, str | None, TokenKind], int]:
    sums: dict[tuple[str, str | None, TokenKind], int] = defaultdict(int)
    for line in lines:
        if line.tokens:
            sums[line.day, line.model, line.kind] += line.tokens
    return sums


def _merge_days(
    sums: dict[tuple[str, str | None, TokenKind], int], days: set[str]
) -> dict[tuple[str, str | None, TokenKind], int]:
    """Models of ``days`` added up, because one side cannot tell them apart there."""
    merged: dict[tuple[str, str | None, TokenKind], int] = defaultdict(int)
    for (day, model, kind), value in sums.items():
        merged[day, None if day in days else model, kind] += value
    return merged


def _costs(ours: list[InvoiceLine], theirs: list[InvoiceLine], tolerance: int) -> Iterator[Drift]:
    both = [line for line in (*ours, *theirs) if line.cost_nusd is not None]
    whole_days = {line.day for line in both if line.model is None and line.kind == "total"}

    def place(line: InvoiceLine) -> Place:
        return line.day, None if line.day in whole_days else line.model

    unsplit = {place(line) for line in both if line.kind == "total"}
    left, right = _Money(), _Money()
    for side, those in ((left, ours), (right, theirs)):
        for line in those:
            if line.cost_nusd is not None:
                where = place(line)
                side.add(where, "total" if where in unsplit else line.kind, line)
    for key in left.sums.keys() | right.sums.keys():
        allowed = tolerance + left.rounding[key] + right.rounding[key]
        yield from _compare(key, "cost", left.sums.get(key), right.sums.get(key), allowed)


class _Money:
    """Amounts of one side by place and kind, and how far their rounding can have moved them."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str | None, TokenKind], int] = {}
        self.rounding: dict[tuple[str, str | None, TokenKind], int] = defaultdict(int)

    def add(self, where: Place, kind: TokenKind, line: InvoiceLine) -> None:
        key = (*where, kind)
        self.sums[key] = self.sums.get(key, 0) + (line.cost_nusd or 0)
        self.rounding[key] += line.rounding_nusd


def _compare(
    key: tuple[str, str | None, TokenKind],
    measure: Measure,
    ours: int | None,
    theirs: int | None,
    allowed: int,
) -> Iterator[Drift]:
    if abs((ours or 0) - (theirs or 0)) <= allowed:
        return
    finding: Finding = "differs"
    if ours is None:
        finding = "missing_in_ledger"
    elif theirs is None:
        finding = "missing_on_invoice"
    yield Drift(*key, measure, finding, ours, theirs)
