"""Listings: one way from rows to a table that fits its terminal, to JSON, to CSV, to bare names.

A column says what it is worth. A narrow terminal first shortens words, then leaves columns out,
the least worth first; a name, an id and an amount of money stay whole on any width.
"""

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import typer
from msgspec import Struct

from omni_cli.cli.render import Style, clip, emit_json, note, out, paint, width_of
from omni_cli.domain.commands import AFAR
from omni_cli.domain.errors import UsageError
from omni_cli.domain.patterns import Pattern

_GAP = "  "
#: What a cell holds that tells nothing.
_SILENT = ("", "-")
#: An amount of money: what stands from its point on.
_AMOUNT = Pattern(r"[+-]?\$[\d,]+(\.\d+)?")


class Column(Struct, frozen=True):
    """Args:
    align: "point" is right, with the points of amounts below each other.
    worth: of those that do not fit the least worth goes first; None stays, whatever the width.
    least: cells down to which its words may be cut; 0: they are whole or not there.
    """

    head: str
    align: Literal["left", "right", "point"] = "left"
    worth: int | None = None
    least: int = 0

    @classmethod
    def key(cls, head: str) -> Self:
        """A name or an id: whole, so that it can be told apart and pasted."""
        return cls(head)

    @classmethod
    def number(cls, head: str) -> Self:
        """A number that is a name."""
        return cls(head, "right")

    @classmethod
    def money(cls, head: str) -> Self:
        """Whole, since a digit less is another amount."""
        return cls(head, "point")

    @classmethod
    def figure(cls, head: str, worth: int = 5) -> Self:
        """A count or a rate: whole, or left out."""
        return cls(head, "right", worth)

    @classmethod
    def words(cls, head: str, worth: int = 5, least: int = 12) -> Self:
        """Text, which may be cut to ``least`` cells."""
        return cls(head, "left", worth, least)


class View(Struct, frozen=True):
    """How a listing is to be shown; ``cli.common.grouped`` makes these a command's options."""

    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only names, one a line.")] = False
    wide: Annotated[bool, typer.Option("--wide", help="All columns, however narrow.")] = False
    columns: Annotated[
        str | None, typer.Option("--columns", help="Only these, with commas between.")
    ] = None

    @property
    def data(self) -> bool:
        """Whether it is for another program: without talk."""
        return self.as_json or self.as_csv or self.quiet

    def check(self) -> None:
        """Raises UsageError: options that exclude each other."""
        if self.as_json + self.as_csv + self.quiet > 1:
            raise UsageError("--json, --csv and --quiet exclude each other")
        if self.columns is not None and (self.as_json or self.quiet):
            raise UsageError("--columns is for a table or --csv")


def listing(
    view: View,
    columns: Sequence[Column],
    rows: Iterable[Sequence[str]],
    documents: Callable[[], Sequence[Mapping[str, Any]]],
    *,
    whole: Callable[[], Any] | None = None,
    fields: Sequence[str] = (),
    empty: Sequence[str] = (),
    styles: Sequence[Style | None] = (),
    total: Sequence[str] = (),
) -> None:
    """Print a listing as its ``view`` asks for.

    Args:
        rows: cells as people read them, one for each column; read only for a table or names.
        documents: the rows as values, for --json and --csv.
        whole: what --json prints where the rows are a part of it only.
        fields: names of a CSV's columns; those of the documents where none is given.
        empty: lines on stderr in place of a table without rows.
        total: cells of the last row of a table, set apart by a rule.

    Raises UsageError: options that exclude each other, or a column that is none.
    """
    view.check()
    if view.as_json:
        emit_json(list(documents()) if whole is None else whole())
        return
    if view.as_csv:
        _csv(documents(), fields, view.columns)
        return
    cells = list(rows)
    if view.quiet:
        for row in cells:
            out(row[0].strip())
    elif cells:
        chosen = range(len(columns)) if view.columns is None else _chosen(columns, view.columns)
        table(
            [columns[place] for place in chosen],
            [[row[place] for place in chosen] for row in (*cells, *([total] if total else ()))],
            styles=styles,
            total=bool(total),
            wide=view.wide,
            hint="; --wide shows all, --columns chooses",
        )
    else:
        for line in empty:
            note(line)


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    styles: Sequence[Style | None] = (),
    total: bool = False,
    wide: bool = False,
    hint: str = "",
) -> None:
    """Print columns, two spaces apart; on a terminal, so that they fit it.

    Args:
        styles: per row, missing ones plain.
        total: set the last row apart by a rule.
        wide: everything, whole, as into a pipe.
        hint: what brings back the columns that were left out, which are named on stderr.
    """
    width = None if wide else room()
    told = _aligned(columns, rows)
    sizes = [
        max([width_of(column.head), *(width_of(row[i]) for row in told)])
        for i, column in enumerate(columns)
    ]
    kept = list(range(len(columns))) if width is None else fit(columns, rows, sizes, width)
    if width is not None and _needed(kept, sizes) > width:
        _stack(columns, rows, styles, width)
        return
    rows = told

    def line(cells: Sequence[str]) -> str:
        padded = []
        for place in kept:
            shown = clip(cells[place], sizes[place])
            gap = " " * (sizes[place] - width_of(shown))
            padded.append(shown + gap if columns[place].align == "left" else gap + shown)
        return _GAP.join(padded).rstrip()

    out(paint(line([column.head for column in columns]), "bold"))
    for number, row in enumerate(rows):
        if total and number == len(rows) - 1:
            out(paint(_GAP.join("─" * sizes[place] for place in kept), "dim"))
        style = styles[number] if number < len(styles) else None
        text = line(row)
        out(paint(text, style) if style else text)
    missing = [column.head for i, column in enumerate(columns) if i not in kept and column.head]
    if missing and hint:
        note(paint(folded(f"left out: {', '.join(missing)}{hint}"), "dim", sys.stderr))


def _aligned(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[list[str]]:
    """The rows, with amounts of money filled up behind, so that their points stand in a line."""
    told = [list(row) for row in rows]
    for place, column in enumerate(columns):
        if column.align != "point":
            continue
        found = [_AMOUNT.fullmatch(row[place]) for row in told]
        tails = [len(amount[1] or "") if amount else None for amount in found]
        longest = max((tail for tail in tails if tail is not None), default=0)
        for row, tail in zip(told, tails, strict=True):
            if tail is not None:
                row[place] += " " * (longest - tail)
    return told


def room() -> int | None:
    """Cells of a terminal's line; None where a pipe takes everything."""
    shown = sys.stdout.isatty() or AFAR in os.environ
    return shutil.get_terminal_size().columns if shown else None


def folded(text: str) -> str:
    """A sentence with its line breaks between words, where a terminal's line ends."""
    width = room()
    if width is None or width_of(text) <= width:
        return text
    import textwrap

    return textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)


def fit(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], sizes: list[int], width: int
) -> list[int]:
    """Places of the columns that are shown in ``width`` cells; ``sizes`` become theirs.

    Columns that say nothing go first, then those of least worth, of equals the last; those that
    stay share what is left. More than ``width`` is needed only where all that is left is whole.
    """

    def worth(place: int) -> tuple[bool, int, int]:
        says = any(row[place] not in _SILENT for row in rows)
        return says, columns[place].worth or 0, -place

    least = [min(size, columns[i].least or size) for i, size in enumerate(sizes)]
    kept = list(range(len(columns)))
    while _needed(kept, least) > width:
        loose = [place for place in kept if columns[place].worth is not None]
        if not loose:
            break
        kept.remove(min(loose, key=worth))
    excess = _needed(kept, sizes) - width
    while excess > 0:
        long = [place for place in kept if sizes[place] > least[place]]
        if not long:
            break
        sizes[max(long, key=lambda place: sizes[place])] -= 1
        excess -= 1
    return kept


def _needed(places: Sequence[int], sizes: Sequence[int]) -> int:
    return sum(sizes[place] for place in places) + len(_GAP) * max(len(places) - 1, 0)


def _stack(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    styles: Sequence[Style | None],
    width: int,
) -> None:
    """Where not even names and amounts fit side by side: the name, and below it the rest of what
    stays whole, then of the others what the line still has room for."""
    whole = [i for i, column in enumerate(columns) if column.worth is None]
    loose = [i for i, column in enumerate(columns) if column.worth is not None]
    loose.sort(key=lambda place: (-(columns[place].worth or 0), place))
    for number, row in enumerate(rows):
        first, *rest = [place for place in whole if row[place] not in _SILENT] or whole
        lines = [row[first]]
        for place in (*rest, *loose):
            said = f"{columns[place].head} {row[place]}".strip()
            room = width_of(f"{lines[-1]}{_GAP}{said}") <= width
            if room and row[place] not in _SILENT:
                lines[-1] += _GAP + said
            elif place in rest:
                lines.append(_GAP + said)
        style = styles[number] if number < len(styles) else None
        for text in lines:
            out(paint(text, style) if style else text)


def _chosen(columns: Sequence[Column], text: str) -> list[int]:
    names = [column.head.lower() for column in columns]
    return [names.index(word) for word in _named(text, [name for name in names if name])]


def _named(text: str, known: Sequence[str]) -> list[str]:
    found = [word.strip().lower() for word in text.split(",") if word.strip()]
    for word in found:
        if word not in known:
            raise UsageError(f"no column is called {word!r}", hint=f"there are: {', '.join(known)}")
    return list(dict.fromkeys(found))


def _csv(
    documents: Sequence[Mapping[str, Any]], fields: Sequence[str], columns: str | None
) -> None:
    import csv
    import json

    names = list(fields or dict.fromkeys(name for document in documents for name in document))
    if columns is not None and names:
        names = _named(columns, names)
    writer = csv.writer(sys.stdout)
    if names:
        writer.writerow(names)
    for document in documents:
        values = (document.get(name) for name in names)
        writer.writerow(
            json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
            for value in values
        )
