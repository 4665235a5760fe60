"""Inserting many wide rows at once, most of whose columns say the same in all of them.

To bind a value takes sqlite3 up to a thousand instructions, most for None and for text: more than
SQLite needs to store it. What all rows of a batch have in common is written into the statement.
"""

import sqlite3
from collections.abc import Sequence

#: What may be written so: few values, so that few statements are ever prepared.
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


class WideInsert:
    """Args:
    statement: with one ``{}`` for the values of a row, separated by commas. Its first value may
        be referred to as ``?1``.
    """

    def __init__(self, statement: str) -> None:
        self._before, self._after = statement.split("{}")

    def write(self, db: sqlite3.Connection, rows: Sequence[Sequence[object]]) -> int:
        """Returns how many rows were inserted. ``rows`` are of one length."""
        if len(rows) < _FEW:
            return self._insert(db, ["?"] * len(rows[0]), rows) if rows else 0
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

    def _insert(
        self, db: sqlite3.Connection, marks: list[str], rows: Sequence[Sequence[object]]
    ) -> int:
        statement = f"{self._before}{', '.join(marks)}{self._after}"
        return db.executemany(statement, rows).rowcount
