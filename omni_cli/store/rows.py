"""The ledger's rows: their columns by name, how they are written and how they are read.

Every list of columns here is derived from the values of ``domain/ledger.py``; nothing else writes a
row of ``requests``, ``attempts``, ``decisions`` or ``open_calls``. A column that a value has and
the schema lacks, or the other way round, fails tests/unit/test_columns.py.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

from msgspec import Struct
from msgspec.json import encode
from msgspec.structs import astuple

from omni_cli.domain.batch import Opening
from omni_cli.domain.chat import TOKEN_FIELDS, Usage
from omni_cli.domain.errors import SameId
from omni_cli.domain.ledger import (
    AttemptEnd,
    AttemptRow,
    NewAttempt,
    NewRequest,
    RequestEnd,
    RequestRow,
)
from omni_cli.store.port import Connection, Cursor, Row, among

TOKEN_COLUMNS: tuple[str, ...] = TOKEN_FIELDS
#: What stands in a row of ``attempts`` of what a ``Usage`` says beside its counts.
_OF_USAGE = ("reported_cost_nusd", "estimated")
#: Of an attempt that is planned: ``reserve_nusd`` is ``held_nusd`` there.
PLANNED = tuple(n for n in NewAttempt.__struct_fields__ if not n.startswith("reserve_"))
#: How an attempt ended; what is made of the others is worked out where they are settled.
ENDED = tuple(n for n in AttemptEnd.__struct_fields__ if n not in ("usage", "unseen", "most_nusd"))
OVER = RequestEnd.__struct_fields__
BEGUN = NewRequest.__struct_fields__
#: In this order the settled rows of a batch are put together, each part by one getter.
_KNOWN = tuple(name for name in BEGUN if name != "owner")
_SUMS = ("owner", "attempts", "price_state", "cost_nusd", "adjusted_nusd", "estimated")
REQUEST_COLUMNS = (*_KNOWN, *OVER, *TOKEN_COLUMNS, *_SUMS)
ATTEMPT_COLUMNS = (*PLANNED, *ENDED, *TOKEN_COLUMNS, *_OF_USAGE, "held_nusd")
#: Of a call under way, what tells of its attempt; NULL while nothing is sent.
SENDING = (*PLANNED[2:], "held_nusd")
OPEN_COLUMNS = (*BEGUN, "decision", *SENDING)


def getter(kind: type[Struct], names: Iterable[str]) -> Callable[[Any], tuple[Any, ...]]:
    """Takes these fields out of a value of that kind: all of it at once, of which runs of fields
    are cut out. To look each up, by its name or its place, costs ten times as much."""
    fields = kind.__struct_fields__
    cuts: list[slice] = []
    for at in map(fields.index, names):
        if cuts and cuts[-1].stop == at:
            cuts[-1] = slice(cuts[-1].start, at + 1)
        else:
            cuts.append(slice(at, at + 1))
    first, *others = cuts

    def get(value: Any) -> tuple[Any, ...]:
        whole = astuple(value)
        found = whole[first]
        for cut in others:
            found += whole[cut]
        return found

    return get


known_of = getter(NewRequest, _KNOWN)
over_of = getter(RequestEnd, OVER)
ended_of = getter(AttemptEnd, ENDED)
#: Of a ``Usage``, its counts and what else a row of ``attempts`` says of it.
tokens_of = getter(Usage, TOKEN_COLUMNS)
used_of = getter(Usage, (*TOKEN_COLUMNS, *_OF_USAGE))
_begun_of = getter(NewRequest, BEGUN)
_row_known = getter(RequestRow, (*_KNOWN, *OVER))
_row_sums = getter(RequestRow, _SUMS)
_row_planned = getter(AttemptRow, (*PLANNED, *ENDED))
_NOTHING_SENT = tuple(0 if name in ("waited_ms", "held_nusd") else None for name in SENDING)


#: What may be written as a literal: few values, so that few statements are ever prepared.
_LITERALS: dict[object, str] = {
    None: "NULL",
    "": "''",
    0: "0",
    1: "1",
    "ok": "'ok'",
    "gateway": "'gateway'",
}
#: Fewer rows are bound as they are: looking at them would cost as much as it saves.
_FEW = 3
#: Values that one statement takes in any SQLite.
_MOST_BOUND = 999


class WideInsert:
    """Inserts many wide rows at once, most of whose columns say the same in all of them.

    To bind a value takes sqlite3 up to a thousand instructions, most for None and for text: more
    than SQLite needs to store it. What all rows of a batch have in common is written into the
    statement.

    Args:
        form: what stands for the values; ``{}`` are they, separated by commas.
    """

    def __init__(self, table: str, columns: Sequence[str], form: str = "VALUES ({})") -> None:
        self._columns = tuple(columns)
        statement = f"INSERT INTO {table} ({', '.join(columns)}) {form}"
        self._before, self._after = statement.split("{}")

    def write(self, db: Connection, rows: Sequence[Sequence[object]]) -> Cursor | None:
        """Returns what tells how many rows were inserted (asking may wait for a server); None where
        there are none. ``rows`` are of one length."""
        if len(rows) < _FEW:
            return self._insert(db, ["?"] * len(rows[0]), rows) if rows else None
        first, *others = zip(*rows, strict=True)
        marks, bound, count = ["?"], [first], len(rows)
        for column in others:
            literal = _LITERALS.get(column[0])
            if literal is not None and column.count(column[0]) == count:
                marks.append(literal)
            else:
                marks.append("?")
                bound.append(column)
        return self._insert(db, marks, list(zip(*bound, strict=True)))

    def write_columns(
        self,
        db: Connection,
        columns: Mapping[str, Sequence[object]],
        others: Sequence[object] | None = None,
    ) -> None:
        """The same for many values that lie in columns; of ``others``, a whole row, is what all
        rows have in the columns that are not given. For a ``form`` of values alone."""
        count = len(next(iter(columns.values())))
        marks, bound = [], []
        for name, common in zip(self._columns, others or self._columns, strict=True):
            column = columns.get(name)
            value = common if column is None else column[0]
            literal = _LITERALS.get(value)
            if literal is not None and (column is None or column.count(value) == count):
                marks.append(literal)
            else:
                marks.append("?")
                bound.append([common] * count if column is None else column)
        rows = list(zip(*bound, strict=True))
        # Several rows a statement, as the other engine's connection does by itself: SQLite takes
        # two thirds of the time.
        is_sqlite = isinstance(db, sqlite3.Connection)
        several = max(1, _MOST_BOUND // len(bound)) if is_sqlite else len(rows) + 1
        whole = len(rows) - len(rows) % several
        if whole:
            text = "), (".join([", ".join(marks)] * several)
            flat = [list(chain(*rows[at : at + several])) for at in range(0, whole, several)]
            db.executemany(f"{self._before}{text}{self._after}", flat)
        if whole < len(rows):
            self._insert(db, marks, rows[whole:])

    def _insert(self, db: Connection, marks: list[str], rows: Sequence[Sequence[object]]) -> Cursor:
        statement = f"{self._before}{', '.join(marks)}{self._after}"
        return db.executemany(statement, rows)


REQUESTS = WideInsert("requests", REQUEST_COLUMNS)
ATTEMPTS = WideInsert("attempts", ATTEMPT_COLUMNS)
_OPEN_CALLS = WideInsert("open_calls", OPEN_COLUMNS, "VALUES ({}) ON CONFLICT (id) DO NOTHING")
_TAKEN = f"SELECT COUNT(*) FROM requests WHERE id {among('?')}"  # noqa: S608  # a mark only


def request_values(row: RequestRow) -> tuple[object, ...]:
    """In the order of REQUEST_COLUMNS."""
    return (*_row_known(row), *tokens_of(row.usage), *_row_sums(row))


def attempt_values(row: AttemptRow) -> tuple[object, ...]:
    """In the order of ATTEMPT_COLUMNS."""
    return (*_row_planned(row), *used_of(row.usage), row.held_nusd)


def pending(new: NewRequest) -> RequestRow:
    """The row of a request that begins."""
    return RequestRow(**{name: getattr(new, name) for name in BEGUN})


def sent_row(attempt: NewAttempt) -> AttemptRow:
    """The row of an attempt that begins."""
    values = {name: getattr(attempt, name) for name in PLANNED}
    return AttemptRow(state="sent", held_nusd=attempt.reserve_nusd or 0, **values)


def add_decisions(db: Connection, packed: Sequence[tuple[int, bytes]]) -> None:
    if packed:
        db.executemany("INSERT INTO decisions (request, decision) VALUES (?, ?)", packed)


def _usage(row: Row, reported: int | None = None) -> Usage:
    return Usage(
        **{name: row[name] for name in TOKEN_COLUMNS},
        reported_cost_nusd=reported,
        estimated=bool(row["estimated"]),
    )


_REQUEST_FIELDS = tuple(n for n in RequestRow.__struct_fields__ if n not in ("usage", "estimated"))
_ATTEMPT_FIELDS = tuple(n for n in AttemptRow.__struct_fields__ if n != "usage")


def request_row(row: Row) -> RequestRow:
    values: dict[str, Any] = {name: row[name] for name in _REQUEST_FIELDS}
    return RequestRow(**values, usage=_usage(row), estimated=bool(row["estimated"]))


def attempt_row(row: Row) -> AttemptRow:
    values: dict[str, Any] = {name: row[name] for name in _ATTEMPT_FIELDS}
    return AttemptRow(**values, usage=_usage(row, row["reported_cost_nusd"]))


# --- calls under way -------------------------------------------------------------------------
#
# A call that goes the usual way, one attempt that ends with its request, is written whole into the
# ledger when it ends; until then its row in ``open_calls`` holds all that its settlement after a
# crash needs, and what it holds. That costs less than half of writing two wide rows twice.
# Everything else, a second attempt above all, moves the row into the ledger first (``promote``)
# and goes on there.

_THESE = f"id {among(':ids')}"
_LAST_ID = (1 << 63) - 1


def stage(
    db: Connection,
    openings: Sequence[Opening],
    requests: Sequence[tuple[NewRequest, bytes | None]] = (),
) -> None:
    """Write the rows of calls that begin, and of requests that have none yet, with their decisions.

    Raises SameId: the id of one is taken.
    """
    rows = [_open_values(opening) for opening in openings]
    rows += [(*_begun_of(new), decision, *_NOTHING_SENT) for new, decision in requests]
    made = _OPEN_CALLS.write(db, rows)
    if made is None:
        return
    # Beside the INSERT: as a part of it SQLite would keep a journal of each row's pages.
    (taken,) = db.execute(_TAKEN, (id_list(row[0] for row in rows),)).fetchone()
    if made.rowcount - int(taken) != len(rows):
        raise SameId("another request has this id")


def sending_of(opening: Opening) -> tuple[object, ...]:
    """In the order of SENDING."""
    return (
        opening.model,
        opening.provider,
        opening.started_at,
        opening.input_estimate,
        opening.price_id,
        opening.output_bound,
        opening.waited_ms,
        opening.held_nusd,
    )


def _open_values(opening: Opening) -> tuple[object, ...]:
    sent = opening.error is None and not opening.full
    return (
        *_begun_of(opening.request),
        None if sent and opening.named else opening.decision,
        *(sending_of(opening) if sent else _NOTHING_SENT),
    )


def id_list(ids: Iterable[object]) -> str:
    """As json_each reads them."""
    return encode(list(ids)).decode()


def promote(db: Connection, ids: Iterable[int]) -> None:
    """Move calls into the ledger's own tables, as pending requests with an attempt that was sent.

    Within the caller's transaction; ids that are not here change nothing.
    """
    values = {"ids": id_list(ids)}
    rows = db.execute(f"SELECT * FROM open_calls WHERE {_THESE}", values).fetchall()  # noqa: S608  # names of ours only
    if not rows:
        return
    REQUESTS.write(db, [request_values(under_way(row)) for row in rows])
    sent = [attempt for row in rows if (attempt := sending(row)) is not None]
    ATTEMPTS.write(db, [attempt_values(attempt) for attempt in sent])
    add_decisions(db, [(row["id"], row["decision"]) for row in rows if row["decision"] is not None])
    db.execute(f"DELETE FROM open_calls WHERE {_THESE}", values)  # noqa: S608  # names of ours only


def under_way(row: Row) -> RequestRow:
    """The request of a row of ``open_calls``."""
    values: dict[str, Any] = {name: row[name] for name in BEGUN}
    return RequestRow(**values)


def sending(row: Row) -> AttemptRow | None:
    """Its attempt; None while it waits for a slot."""
    if row["provider"] is None:
        return None
    values: dict[str, Any] = {name: row[name] for name in SENDING}
    return AttemptRow(
        request=row["id"],
        n=1,
        state="sent",
        first_at=row["first_at"],
        received_chars=row["received_chars"],
        **values,
    )


def open_rows(db: Connection, first: int = 0, last: int = _LAST_ID) -> list[Row]:
    """Calls under way whose id lies in ``[first, last]``, newest first."""
    return db.execute(
        "SELECT * FROM open_calls WHERE id BETWEEN ? AND ? ORDER BY id DESC", (first, last)
    ).fetchall()


def open_row(db: Connection, request: int) -> Row | None:
    return next(iter(open_rows(db, request, request)), None)
