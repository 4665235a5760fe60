"""What OpenAI's and Anthropic's organisation reports share: pages of buckets of results."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

from msgspec import Struct

from omni_cli.domain.imports import ImportedCall, ImportProblem, InvoiceLine, TokenKind, split_usage
from omni_cli.domain.money import NUSD_PER_USD
from omni_cli.importers.files import document, header_of, rows
from omni_cli.importers.values import Skips, Unreadable, day_of, decimal, nusd, obj

Record = Mapping[str, Any]
#: Half a cent: what rounding to whole cents can hide.
_HALF_CENT = Decimal("0.005")


def report_files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(p for p in path.iterdir() if p.suffix in (".json", ".csv"))


def results(path: Path, skips: Skips) -> Iterator[tuple[Record, Record] | ImportProblem]:
    """(bucket, result) of a report's page, or of several pages in one array.

    Empty buckets are normal. That a page names a next one is counted, for the pages of a report
    are often saved as separate files.
    """
    try:
        whole = document(path)
    except Unreadable as exc:
        yield ImportProblem(str(path), None, str(exc))
        return
    for page in whole if isinstance(whole, list) and whole else [whole]:
        buckets = obj(page).get("data")
        if not isinstance(buckets, list):
            yield ImportProblem(str(path), None, "not a page of a report: no list in 'data'")
            continue
        if obj(page).get("has_more") is True:
            skips["pages that say another page follows"] += 1
        for bucket in buckets:
            found = obj(bucket).get("results")
            if not isinstance(found, list):
                yield ImportProblem(str(path), None, "a bucket has no list of results")
                continue
            if not found:
                skips["empty buckets"] += 1
            yield from ((obj(bucket), obj(result)) for result in found)


def report_rows(
    path: Path, skips: Skips, house: str, needed: Iterable[str]
) -> Iterator[tuple[int | None, Record, Record] | ImportProblem]:
    """(line, bucket, row) of a report; of a CSV file the row is its own bucket.

    Args:
        house: whose report it is, for the message.
        needed: columns that each of its CSV files has.
    """
    if path.suffix != ".csv":
        for item in results(path, skips):
            yield item if isinstance(item, ImportProblem) else (None, *item)
        return
    columns, _ = header_of(path)
    missing = [name for name in needed if name not in columns]
    if columns and missing:
        yield ImportProblem(str(path), 1, f"not one of {house}'s exports: no {', '.join(missing)}")
        return
    for record in rows(path):
        if isinstance(record, ImportProblem):
            yield record
        else:
            yield record[0], record[1], record[1]


def token_kind(words: str | None) -> TokenKind:
    """The kind behind a report's words: ``cache_creation.ephemeral_1h_input_tokens``,
    ``cached input``, ``input_no_cache``, ``web_search``."""
    said = (words or "").lower().replace(" ", "_")
    if "web_search" in said:
        return "web_search"
    if "uncached" in said or "no_cache" in said:
        return "input"
    if "cache_read" in said or "cached" in said:
        return "cached"
    if "cache_write" in said or "cache_creation" in said:
        return "cache_write_1h" if "1h" in said else "cache_write"
    if "output" in said:
        return "output"
    return "input" if "input" in said else "other"


def money(value: object, name: str, *, per_usd: int = 1) -> tuple[int | None, int]:
    """(nano-dollars, most that rounding on paper can have moved them).

    ``per_usd``: units per dollar, 100 for cents. Text with two decimals or fewer is taken as
    rounded to its last digit; longer text and JSON numbers as exact.
    """
    amount = decimal(value, name)
    if amount is None:
        return None, 0
    dollars = nusd(str(amount / per_usd), name, signed=True)
    exponent = amount.as_tuple().exponent
    if not isinstance(value, str) or not isinstance(exponent, int) or exponent < -2:
        return dollars, 0
    return dollars, int(_HALF_CENT * NUSD_PER_USD) // per_usd if exponent == -2 else 0


def lines_of(call: ImportedCall) -> Iterator[InvoiceLine]:
    """A call or report row as invoice lines: tokens by kind, and its recorded cost unsplit."""
    day = day_of(call.at_ms)
    if call.usage is not None:
        for kind, tokens in split_usage(call.usage).items():
            if tokens:
                yield InvoiceLine(
                    day, call.model, kind, tokens, None, call.provider, 0, call.file, call.line
                )
    if call.recorded_cost_nusd is not None:
        yield InvoiceLine(
            day,
            call.model,
            "total",
            None,
            call.recorded_cost_nusd,
            call.provider,
            0,
            call.file,
            call.line,
        )


T = TypeVar("T")


class _OfCosts(Unreadable):
    """The whole report is of costs."""


class Place(Struct, frozen=True):
    """Where a row stands. ``repeats``: rows of the file so far that say of themselves the same."""

    file: str
    line: int | None
    repeats: Counter[str]
    skips: Skips

    def numbered(self, identity: str) -> str:
        """An id of the row's own, the same each time the file is read."""
        self.repeats[identity] += 1
        return f"{identity}:{self.repeats[identity]}"


class OrganisationReports(Struct, frozen=True):
    """Of one vendor.

    Args:
        needed: columns that each of its CSV files has.
        is_cost: whether a row is of a cost report.
        usage: a row of a usage report, None where it tells of no tokens; takes its bucket, the row
            and its place, and raises Unreadable.
        costs: a row of a cost report, likewise.
    """

    vendor: str
    needed: tuple[str, ...]
    is_cost: Callable[[Record], bool]
    usage: Callable[[Record, Record, Place], ImportedCall | None]
    costs: Callable[[Record, Record, Place], Iterator[InvoiceLine]]

    def calls(self, path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
        """What a usage report holds; a cost report is a problem."""
        return self._read(path, skips, self._calls_of)

    def invoice(self, path: Path, skips: Skips) -> Iterator[InvoiceLine | ImportProblem]:
        """What either report says was used, or charged."""
        return self._read(path, skips, self._lines_of)

    def _calls_of(self, bucket: Record, row: Record, place: Place) -> Iterator[ImportedCall]:
        if self.is_cost(row):
            raise _OfCosts("a cost report holds no calls: give it to `omni reconcile`")
        call = self.usage(bucket, row, place)
        if call is not None:
            yield call

    def _lines_of(self, bucket: Record, row: Record, place: Place) -> Iterator[InvoiceLine]:
        if self.is_cost(row):
            yield from self.costs(bucket, row, place)
        elif call := self.usage(bucket, row, place):
            yield from lines_of(call)

    def _read(
        self, path: Path, skips: Skips, take: Callable[[Record, Record, Place], Iterator[T]]
    ) -> Iterator[T | ImportProblem]:
        repeats: Counter[str] = Counter()
        for item in report_rows(path, skips, self.vendor, self.needed):
            if isinstance(item, ImportProblem):
                yield item
                continue
            line, bucket, row = item
            try:
                yield from take(bucket, row, Place(path.name, line, repeats, skips))
            except Unreadable as exc:
                yield ImportProblem(str(path), line, str(exc))
                if isinstance(exc, _OfCosts):
                    return
