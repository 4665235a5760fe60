"""Whatever the rows of a batch have in common, they are stored as if each was bound whole."""

import sqlite3
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from omni_cli.store import rows as store_rows
from omni_cli.store.rows import WideInsert

_NAMES = ("id", "text", "number", "real", "bytes", "more")
_COLUMNS = "id INTEGER PRIMARY KEY, text TEXT, number INTEGER, real REAL, bytes BLOB, more TEXT"
#: Few values, so that whole columns agree; those that are written into a statement among them.
_ROW = st.tuples(
    st.sampled_from([None, "", "ok", "gateway", "it's", "0"]),
    st.sampled_from([None, 0, 1, 2, -1, True]),
    st.sampled_from([None, 0.0, 1.0, 0.5]),
    st.sampled_from([None, b"", b"\0'"]),
    st.sampled_from(["ok", "?"]),
)


def _stored(rows: list[tuple[Any, ...]], *, wide: bool) -> tuple[list[tuple[Any, ...]], int]:
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE TABLE t ({_COLUMNS}) STRICT")
    db.execute("INSERT INTO t (id) VALUES (1)")
    if wide:
        form = "SELECT {} WHERE NOT EXISTS (SELECT 1 FROM t WHERE id = ?1)"
        insert = WideInsert("t", _NAMES, form)
        made = insert.write(db, rows)
        count = 0 if made is None else made.rowcount
    else:
        count = sum(
            db.execute(f"INSERT OR IGNORE INTO t VALUES ({'?, ' * 5}?)", row).rowcount  # marks only
            for row in rows
        )
    kinds = ", ".join(f"{name}, typeof({name})" for name in ("text", "number", "real", "bytes"))
    return db.execute(
        f"SELECT id, more, {kinds} FROM t ORDER BY id"
    ).fetchall(), count  # names only


@given(st.lists(_ROW, max_size=8), st.integers(0, 3))
@example([("it's", 2, 0.5, None, "?")] * 3, 0)
def test_rows_are_stored_as_they_are(rows: list[tuple[Any, ...]], first: int) -> None:
    numbered = [(first + index, *row) for index, row in enumerate(rows)]
    assert _stored(numbered, wide=True) == _stored(numbered, wide=False)


def test_what_all_rows_share_stands_in_the_statement() -> None:
    seen: list[tuple[str, list[tuple[object, ...]]]] = []

    class Recorder(sqlite3.Connection):
        def executemany(self, sql: str, rows: Any, /) -> sqlite3.Cursor:
            seen.append((sql, list(rows)))
            return super().executemany(sql, rows)

    db = sqlite3.connect(":memory:", factory=Recorder)
    db.execute(f"CREATE TABLE t ({_COLUMNS}) STRICT")
    insert = WideInsert("t", _NAMES)
    insert.write(db, [(n, "ok", None, float(n), None, "") for n in range(2, 6)])
    ((sql, rows),) = seen
    assert sql.endswith(" VALUES (?, 'ok', NULL, ?, NULL, '')")
    assert rows == [(n, float(n)) for n in range(2, 6)]
    assert db.execute("SELECT count(*), sum(real) FROM t").fetchone() == (4, 14.0)


@given(st.lists(_ROW, min_size=1, max_size=8), st.sampled_from([7, 13, 999]))
def test_columns_are_stored_as_rows_are_however_many_a_statement_takes(
    rows: list[tuple[Any, ...]], most: int
) -> None:
    numbered = [(index, *row) for index, row in enumerate(rows, 2)]
    db = sqlite3.connect(":memory:")
    db.execute(f"CREATE TABLE t ({_COLUMNS}) STRICT")
    columns = dict(zip(_NAMES, zip(*numbered, strict=True), strict=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store_rows, "_MOST_BOUND", most)
        WideInsert("t", _NAMES).write_columns(db, columns)
    plain = sqlite3.connect(":memory:")
    plain.execute(f"CREATE TABLE t ({_COLUMNS}) STRICT")
    plain.executemany(f"INSERT INTO t VALUES ({'?, ' * 5}?)", numbered)  # marks only
    kinds = ", ".join(f"{name}, typeof({name})" for name in _NAMES)
    stored = f"SELECT {kinds} FROM t ORDER BY id"
    assert db.execute(stored).fetchall() == plain.execute(stored).fetchall()
