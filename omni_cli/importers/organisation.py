"""Reading an organisation's reports, usage and costs, which vendors write alike."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from msgspec import Struct

from omni_cli.domain.imports import ImportedCall, ImportProblem, InvoiceLine
from omni_cli.importers.reports import Record, lines_of, report_rows
from omni_cli.importers.values import Skips, Unreadable

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
