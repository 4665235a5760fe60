"""A whole store carried to another place: from a file to PostgreSQL, or back.

Both are sealed first: no omni opens either until all is over, so that what a move finds after a
crash is what it left. Rows go table by table, each chunk in one transaction of the target with a
note of how far it is. Then both are counted and summed, the source's note says that it was moved,
and the target is opened. A move that was cut off anywhere goes on where it stopped.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from functools import cache
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import StoreError
from omni_cli.records import Lock, MoveFacts
from omni_cli.store.port import MOVE_KEY, Row, Store, sealed
from omni_cli.store.schema import statements

#: Rows of a transaction.
CHUNK = 5_000
#: Of ``meta``, what is a store's own.
_OWN = (MOVE_KEY, "schema", "moved")
_TABLE = re.compile(r"(?:\s|--[^\n]*\n)*CREATE TABLE (\w+) \((.*)\)[^()]*", re.DOTALL)
_COLUMN = re.compile(r'(?:^|, |\n)\s*"?(\w+)"? (?:INTEGER|TEXT|REAL|BLOB)\b([^,]*)')
_KEY = re.compile(r"PRIMARY KEY \(([^)]*)\)")
#: Both sides must agree in these sums, beside the number of rows.
_SUMMED = re.compile(r"\w+_(?:nusd|tokens)")
#: A table, and how many of its rows are there.
Progress = Callable[[str, int], None]


class Table(Struct, frozen=True):
    """``key``: its primary key, by which rows are carried in order."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def page(self, after: Sequence[Any] | None) -> str:
        """The next rows; ``after`` fills its marks, then the most rows."""
        names = ", ".join(f'"{name}"' for name in self.columns)
        key = ", ".join(self.key)
        past = "" if after is None else f"WHERE ({key}) > ({', '.join('?' * len(self.key))})"
        return f"SELECT {names} FROM {self.name} {past} ORDER BY {key} LIMIT ?"  # noqa: S608  # our names

    def sums(self) -> str:
        summed = [name for name in self.columns if _SUMMED.fullmatch(name)]
        asked = ", ".join(["count(*)", *(f"coalesce(sum({name}), 0)" for name in summed)])
        where = f"WHERE key NOT IN {_OWN}" if self.name == "meta" else ""
        return f"SELECT {asked} FROM {self.name} {where}"  # noqa: S608  # our names


@cache
def tables() -> tuple[Table, ...]:
    """Those of ``schema.py``, in its order: who is referred to comes first."""
    found = []
    for statement in statements():
        match = _TABLE.fullmatch(statement)
        if match is None:
            continue
        columns = [
            (name, words) for name, words in _COLUMN.findall(match[2]) if "GENERATED" not in words
        ]
        whole = _KEY.search(match[2])
        key = (
            tuple(whole[1].split(", "))
            if whole
            else tuple(name for name, words in columns if "PRIMARY KEY" in words)
        )
        found.append(Table(match[1], tuple(name for name, _ in columns), key))
    return tuple(found)


class Mover(Struct, eq=False):
    """Args:
    source, target: open each, sealed or not.
    there: whether the target is made already.
    where: the target, as a person is told of it.
    """

    source: Callable[[], Store]
    target: Callable[[], Store]
    there: Callable[[], bool]
    where: str

    def begun(self) -> bool:
        """Whether the source is sealed: by a move that was cut off, or is over."""
        with closing(self.source()) as source:
            return source.seal_note() is not None

    def _note(self, source: Store) -> dict[str, Any] | None:
        """Of a move that was begun to the target; None: of none. Raises StoreError: of another."""
        note = source.seal_note()
        if note is not None and "to" not in note:
            raise sealed(source.where, note)
        if note is not None and note["to"] != self.where:
            raise StoreError(
                f"the move of {source.where} was begun to {note['to']}, not to {self.where}",
                hint="omni db move with that target goes on; omni db move --cancel gives it up",
            )
        return note

    def plan(self) -> MoveFacts:
        """What a move would carry, or would yet; writes nothing. Raises StoreError: it cannot be
        begun."""
        with closing(self.source()) as source:
            note = self._note(source)
            if note is None:
                _check_free(source)
            if self.there():
                with closing(self.target()) as target:
                    if note is None:
                        _check_empty(target)
                    else:
                        _check_same(target, note)
            return MoveFacts(
                source=source.where,
                target=self.where,
                rows={table.name: _counts(source, table)[0] for table in tables()},
                money_nusd=_money(source),
                size_bytes=source.sizes().size_bytes,
                under_way=note is not None,
            )

    def run(self, progress: Progress) -> MoveFacts:
        """Carry all, or what is left. Raises StoreError: others have the source open, the target
        holds something, or what arrived is not what was sent."""
        with closing(self.source()) as source:
            note = self._note(source)
            with closing(self.target()) as target:
                if note is None:
                    note = _seal_both(source, target)
                return self._go_on(source, target, note, progress)

    def _go_on(
        self, source: Store, target: Store, note: dict[str, Any], progress: Progress
    ) -> MoveFacts:
        _check_same(target, note)
        done = target.seal_note()
        if done is not None:
            _carry(source, target, done, progress)
            _compare(source, target)
            target.loaded()
            source.seal({**note, "done": True})
            target.set_meta("moved", note["token"])
            target.unseal()
        return MoveFacts(
            source=source.where,
            target=target.where,
            rows={table.name: _counts(source, table)[0] for table in tables()},
            money_nusd=_money(target),
            size_bytes=target.sizes().size_bytes,
            under_way=False,
        )

    def cancel(self) -> str:
        """Use the source again as it is; returns what the target was. What is in that stays, and
        is no store. Raises StoreError: the source is not sealed."""
        with closing(self.source()) as source:
            note = source.seal_note()
            if note is None or "to" not in note:
                raise StoreError(f"the store {source.where} is not being moved")
            source.unseal()
            return str(note["to"])


def _check_free(source: Store) -> None:
    others = source.others()
    if others:
        raise StoreError(
            f"the store {source.where} is in use: {'; '.join(others)}",
            hint="end every omni that uses it, on every machine, then try again",
        )
    (live,) = source.db.execute("SELECT count(*) FROM open_calls").fetchone()
    if live:
        raise StoreError(
            f"{live} calls of the store {source.where} are still under way",
            hint="try again when they have ended",
        )


def _check_empty(target: Store) -> None:
    note = target.seal_note()
    if note is not None and "to" in note:
        raise StoreError(
            f"{target.where} was itself moved, to {note['to']}",
            hint="name another, or put that one away",
        )
    for table in tables():
        count = _counts(target, table)[0]
        if count:
            raise StoreError(
                f"{target.where} is not empty: {count:,} rows in {table.name}",
                hint="a move needs a new file, or a new database (createdb)",
            )


def _seal_both(source: Store, target: Store) -> dict[str, Any]:
    """The target first: a source that is sealed has one."""
    _check_free(source)
    _check_empty(target)
    token = os.urandom(8).hex()
    target.seal({"from": source.where, "token": token, "tables": {}})
    note = {"to": target.where, "token": token}
    source.seal(note)
    try:
        _check_free(source)  # who opened it meanwhile does not know of the seal
    except BaseException:
        source.unseal()
        raise
    return note


def _check_same(target: Store, note: Mapping[str, Any]) -> None:
    """Raises StoreError: what stands where the target was is another."""
    other = target.seal_note()
    token = target.get_meta("moved") if other is None else other.get("token")
    if token != note["token"]:
        raise StoreError(
            f"{target.where} does not hold what was moved there before",
            hint="omni db move --cancel gives that up; then move to a new place",
        )


def _carry(source: Store, target: Store, note: dict[str, Any], progress: Progress) -> None:
    """``note``: the target's; ``tables`` in it: of each begun one how many rows are there and the
    last row's key, None once it is whole."""
    done = note["tables"]
    (first_ms,) = source.db.execute("SELECT min(created_at) FROM requests").fetchone()
    if first_ms is not None:
        target.prepare(first_ms)
    for table in tables():
        count, after = done.get(table.name, (0, ()))
        while after is not None:
            found = _page(source, table, after)
            if not found:
                break
            whole = len(found) < CHUNK
            count += len(found)
            after = None if whole else [found[-1][name] for name in table.key]
            done[table.name] = [count, after]
            rows = [tuple(row) for row in found if table.name != "meta" or row["key"] not in _OWN]
            with target.transaction(Lock.META):
                target.load(table.name, table.columns, rows)
                target.seal(note)
            progress(table.name, count)


def _page(source: Store, table: Table, after: Sequence[Any]) -> list[Row]:
    values = (*after, CHUNK)
    return source.db.execute(table.page(after or None), values).fetchall()


def _compare(source: Store, target: Store) -> None:
    """Raises StoreError: they are not the same."""
    for table in tables():
        one, other = _counts(source, table), _counts(target, table)
        if one != other:
            raise StoreError(
                f"{table.name} arrived otherwise than it was: rows and sums {one} in "
                f"{source.where}, {other} in {target.where}",
                hint="omni db move --cancel uses the store again; nothing in it has changed",
            )


def _counts(store: Store, table: Table) -> tuple[int, ...]:
    return tuple(int(value) for value in store.db.execute(table.sums()).fetchone())


def _money(store: Store) -> int:
    """What the ledger's calls have cost."""
    (nusd,) = store.db.execute(
        "SELECT coalesce(sum(coalesce(cost_nusd, 0) + adjusted_nusd), 0) FROM requests"
    ).fetchone()
    return int(nusd)
