"""Reads CSV exports row by row, each with the line it begins on."""

import csv
from collections.abc import Iterator
from pathlib import Path

from omni_cli.domain.imports import ImportProblem
from omni_cli.importers.files import MAX_LINE_BYTES, lines

Row = dict[str, str]


class _Decoder:
    """Feeds decoded lines to ``csv.reader`` and remembers what could not be decoded."""

    def __init__(self, path: Path) -> None:
        self._source = lines(path, strip=False)
        self.number = 0
        self.damaged = False
        self.problems: list[ImportProblem] = []

    def __iter__(self) -> Iterator[str]:
        for item in self._source:
            if isinstance(item, ImportProblem):
                self.problems.append(item)
                continue
            self.number, raw = item
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError:
                self.damaged = True
                yield raw.decode("utf-8", "replace")


def header_of(path: Path) -> tuple[list[str], str]:
    """Column names of a CSV file and its delimiter; no names when it does not begin with text.

    The delimiter is a comma, or the semicolon or tab that some spreadsheets write instead.
    """
    for item in lines(path):
        if isinstance(item, ImportProblem):
            break
        try:
            head = item[1].decode("utf-8")
            delimiter = max(",;\t", key=head.count)
            return [
                name.strip() for name in next(csv.reader([head], delimiter=delimiter))
            ], delimiter
        except (UnicodeDecodeError, csv.Error):
            break
    return [], ","


def rows(path: Path) -> Iterator[tuple[int, Row] | ImportProblem]:
    """Rows as column -> text. Rows of another width than the header are reported."""
    # The module-wide default of 128 KiB is less than one logged prompt.
    csv.field_size_limit(MAX_LINE_BYTES)
    columns, delimiter = header_of(path)
    decoder = _Decoder(path)
    reader = csv.reader(decoder, delimiter=delimiter, strict=True)
    name = str(path)
    last, seen_header = 0, False
    while True:
        try:
            values = next(reader)
        except StopIteration:
            break
        except csv.Error as exc:
            yield ImportProblem(name, last + 1, f"not valid CSV: {exc}")
            last = decoder.number
            continue
        finally:
            yield from decoder.problems
            decoder.problems.clear()
        first, last = last + 1, decoder.number
        damaged, decoder.damaged = decoder.damaged, False
        if not values:
            continue
        if not seen_header:
            seen_header = True
            if damaged or not columns:
                yield ImportProblem(name, 1, "the header is not UTF-8 text (save as CSV UTF-8)")
                return
            if len(set(columns)) != len(columns):
                yield ImportProblem(name, 1, "a column name occurs twice")
                return
            continue
        if damaged:
            yield ImportProblem(name, first, "not valid UTF-8")
        elif len(values) != len(columns):
            reason = f"{len(values)} fields where the header has {len(columns)}"
            yield ImportProblem(name, first, reason)
        else:
            yield first, dict(zip(columns, values, strict=True))
