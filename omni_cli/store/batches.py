"""Batches and the files that providers keep: whose they are, what is held for them, and how each of
their requests comes into the ledger, once.

What a batch may cost stands in ``batch_parts`` from before the provider is asked until its last
result is read: budgets add it up as they do calls under way. A result becomes a row of the ledger,
gives back what was held for it and is marked in ``batch_lines`` in one transaction, whoever reads
it and however often.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from omni_cli.domain.batches import Asked, Batch, KeptFile, Line, Outcome, Part, Waiting
from omni_cli.domain.errors import BudgetExceeded, OmniError
from omni_cli.domain.ids import RANDOM_BITS, id_time_ms, make_id
from omni_cli.domain.ledger import NewRequest, RequestRow
from omni_cli.records import Lock
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.leases import Leases
from omni_cli.store.port import Connection, Row, Store, among
from omni_cli.store.rollups import RollupStore
from omni_cli.store.rows import ATTEMPTS, REQUESTS, attempt_values, request_values

#: Until when which process looks after batches.
_LEAD_KEY = "batches_lead"
_MONEY = (Lock.LEDGER, Lock.BUDGETS)
_FILE = tuple(KeptFile.__struct_fields__)
_BATCH = tuple(name for name in Batch.__struct_fields__ if name != "held_nusd")
_ADD_FILE = f"""
INSERT INTO files ({", ".join(_FILE)}, asked) VALUES ({", ".join("?" * len(_FILE))}, ?)
ON CONFLICT (provider, id) DO UPDATE SET
    document = CASE WHEN excluded.document = '' THEN files.document ELSE excluded.document END
"""  # noqa: S608  # column names only
_ADD_BATCH = f"""
INSERT INTO batches ({", ".join(_BATCH)}) VALUES ({", ".join("?" * len(_BATCH))})
"""  # noqa: S608  # column names only
_ADD_PART = """
INSERT INTO batch_parts (batch, provider, model, role, org, key, agent, created_at, price, marked,
    lines, held_nusd)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_ADD_LINE = """
INSERT INTO batch_lines (batch, n, custom_id, model, role, input_tokens, held_nusd)
VALUES (?, ?, ?, ?, ?, ?, ?)
"""
_FIND = f"""
SELECT {", ".join(f"b.{name}" for name in _BATCH)},
    (SELECT coalesce(sum(held_nusd), 0) FROM batch_parts p WHERE p.batch = b.id) AS held_nusd
FROM batches b WHERE
"""  # noqa: S608  # column names only
_MINE = "(CAST(:org AS TEXT) = '' OR org = :org) AND (CAST(:key AS TEXT) = '' OR key = :key)"
_TAKEN = """
SELECT EXISTS (SELECT 1 FROM requests WHERE id = :id)
    OR EXISTS (SELECT 1 FROM open_calls WHERE id = :id)
"""


class BatchStore:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._budgets = BudgetStore(store)
        self._rollups = RollupStore(store)

    # --- files ----------------------------------------------------------------------------------

    def add_file(self, file: KeptFile, asked: Asked | None = None) -> None:
        """Keep whose a file is; one that is known is described anew."""
        packed = None if asked is None else zlib.compress(msgspec.json.encode(asked), 1)
        with self._store.transaction(Lock.LEDGER) as db:
            db.execute(_ADD_FILE, (*(getattr(file, name) for name in _FILE), packed))

    def files(
        self, scope: Mapping[str, str], *, ident: str | None = None, purpose: str | None = None
    ) -> list[KeptFile]:
        """Those of an organisation or a key, the newest first.

        Args:
            scope: ``org`` or ``key``; neither for all.
        """
        rows = self._store.db.execute(
            f"SELECT {', '.join(_FILE)} FROM files WHERE {_MINE}"  # noqa: S608  # our names
            " AND (CAST(:id AS TEXT) IS NULL OR id = :id)"
            " AND (CAST(:purpose AS TEXT) IS NULL OR purpose = :purpose)"
            " ORDER BY created_at DESC, id DESC",
            {**_scope(scope), "id": ident, "purpose": purpose},
        )
        return [KeptFile(*row) for row in rows]

    def asked(self, file: KeptFile) -> Asked | None:
        """What the requests of a batch file ask; None for any other file."""
        row = self._store.db.execute(
            "SELECT asked FROM files WHERE provider = ? AND id = ?", (file.provider, file.id)
        ).fetchone()
        if row is None or row[0] is None:
            return None
        return msgspec.json.decode(zlib.decompress(row[0]), type=Asked)

    def drop_file(self, file: KeptFile) -> None:
        with self._store.transaction(Lock.LEDGER) as db:
            db.execute("DELETE FROM files WHERE provider = ? AND id = ?", (file.provider, file.id))

    def forget_asked(self, before_ms: int) -> None:
        """Forget what the requests of files from before then ask."""
        old = "asked IS NOT NULL AND created_at < ?"
        found = self._store.db.execute(f"SELECT 1 FROM files WHERE {old} LIMIT 1", (before_ms,))  # noqa: S608  # our words
        if found.fetchone():
            with self._store.transaction(Lock.LEDGER) as db:
                db.execute(f"UPDATE files SET asked = NULL WHERE {old}", (before_ms,))  # noqa: S608  # our words

    # --- a batch's beginning ----------------------------------------------------------------------

    def open(
        self,
        batch: Batch,
        parts: Sequence[tuple[Part, bool]],
        lines: Iterable[tuple[Line, int]],
        unbounded: str,
    ) -> None:
        """Write a batch that the provider is about to be asked for, and hold what it may cost.

        Args:
            parts: each with whether its price is known.
            lines: each with what is held for it; all together what ``parts`` hold.
            unbounded: why nothing bounds one of them, "" where all are bound.

        Raises:
            BudgetExceeded, UnknownPrice: a budget cannot hold it; nothing is written.
        """
        with self._store.transaction(*_MONEY) as db:
            leases = Leases(self._budgets)
            for part, known in parts:
                new = self._new(batch, part.role)
                if unbounded and leases.covered(new, batch.provider, part.model):
                    raise BudgetExceeded(unbounded)
                need = part.held_nusd if known else None
                error = leases.hold(new, batch.provider, part.model, need)
                if error is not None:
                    raise _of_a_batch(error)
            db.execute(_ADD_BATCH, tuple(getattr(batch, name) for name in _BATCH))
            whose = (batch.org, batch.key, batch.agent, batch.created_at)
            db.executemany(
                _ADD_PART,
                [
                    (
                        *(batch.id, batch.provider, part.model, part.role, *whose),
                        *(part.price, int(part.marked), part.lines, part.held_nusd),
                    )
                    for part, _ in parts
                ],
            )
            db.executemany(
                _ADD_LINE,
                [
                    (batch.id, n, line.custom_id, line.model, line.role, line.input_tokens, held)
                    for n, (line, held) in enumerate(lines)
                ],
            )
            leases.reserve(db)

    def _new(self, batch: Batch, role: str) -> NewRequest:
        return NewRequest(
            id=batch.id,
            created_at=batch.created_at,
            source="gateway",
            owner="",
            org=batch.org,
            key=batch.key,
            role=role,
            agent=batch.agent,
        )

    def never_made(self, batch: int) -> bool:
        """Forget a batch that the provider does not have, and what is held for it.

        Returns False where it was found to have it meanwhile.
        """
        with self._store.transaction(*_MONEY) as db:
            row = db.execute(
                "SELECT 1 FROM batches WHERE id = ? AND state = 'opening'", (batch,)
            ).fetchone()
            if row is None:
                return False
            self._free(db, batch)
            db.execute("DELETE FROM batches WHERE id = ?", (batch,))
        return True

    def _free(self, db: Connection, batch: int) -> None:
        """Hold nothing more for it."""
        for part in self._parts(db, batch):
            self._charge(part, part["model"], 0, -part["held_nusd"])
        db.execute("UPDATE batch_parts SET held_nusd = 0 WHERE batch = ?", (batch,))
        db.execute("DELETE FROM batch_lines WHERE batch = ?", (batch,))

    def _parts(self, db: Connection, batch: int) -> list[Row]:
        return db.execute("SELECT * FROM batch_parts WHERE batch = ?", (batch,)).fetchall()

    def _charge(self, part: Row, model: str, cost: int, held: int) -> None:
        names = ("org", "key", "role", "agent", "created_at")
        scope: dict[str, Any] = {name: part[name] for name in names}
        request = RequestRow(id=0, source="gateway", **scope)
        self._budgets.charge(request, part["provider"], model, cost, held=held)

    # --- what becomes of it -----------------------------------------------------------------------

    def note(self, batch: Batch, *names: str) -> None:
        """Write what has changed of a batch that is not settled."""
        changes = ", ".join(f"{name} = :{name}" for name in names)
        with self._store.transaction(Lock.LEDGER) as db:
            db.execute(
                f"UPDATE batches SET {changes} WHERE id = :id AND state <> 'settled'",  # noqa: S608  # our names
                {name: getattr(batch, name) for name in ("id", *names)},
            )

    def settle(self, batch: Batch, outcomes: Sequence[Outcome]) -> int:
        """Bring results into the ledger; returns how many were new to it.

        Args:
            outcomes: of requests that have a row there already nothing is written.
        """
        by_n = {outcome.n: outcome for outcome in outcomes}
        with self._store.transaction(*_MONEY) as db:
            waiting = db.execute(
                "SELECT n, model, role, held_nusd FROM batch_lines"  # noqa: S608  # a mark only
                f" WHERE batch = :batch AND request IS NULL AND n {among(':ns')}",
                {"batch": batch.id, "ns": json.dumps(list(by_n))},
            ).fetchall()
            parts = {(part["model"], part["role"]): part for part in self._parts(db, batch.id)}
            prices: dict[str, int | None] = {
                part["model"]: self._price(db, part) for part in parts.values()
            }
            made: dict[int, Outcome] = {}
            sums: dict[tuple[str, str], list[int]] = {}
            marks: list[tuple[int, int, int]] = []
            for row in waiting:
                outcome = by_n[row["n"]]
                ident = self._free_id(db, batch.id, row["n"], made)
                request, attempt = outcome.request, outcome.attempt
                request.id = attempt.request = ident
                attempt.price = prices.get(row["model"]) if attempt.state == "ok" else None
                made[ident] = outcome
                marks.append((ident, batch.id, row["n"]))
                found = sums.setdefault((row["model"], row["role"]), [0, 0, 0, 0])
                found[0] += attempt.cost_nusd or 0
                found[1] += row["held_nusd"]
                found[2] += 1
                found[3] += attempt.cost_nusd is None
            if not made:
                return 0
            with self._rollups.recounting(*made):
                REQUESTS.write(db, [request_values(o.request) for o in made.values()])
                ATTEMPTS.write(db, [attempt_values(o.attempt) for o in made.values()])
            db.executemany("UPDATE batch_lines SET request = ? WHERE batch = ? AND n = ?", marks)
            for key, (cost, held, count, unknown) in sums.items():
                db.execute(
                    "UPDATE batch_parts SET held_nusd = held_nusd - ?"
                    " WHERE batch = ? AND model = ? AND role = ?",
                    (held, batch.id, *key),
                )
                self._charge(parts[key], key[0], cost, -held)
                db.execute(
                    "UPDATE batches SET settled = settled + ?, cost_nusd = cost_nusd + ?,"
                    " unknown = unknown + ? WHERE id = ?",
                    (count, cost, unknown, batch.id),
                )
        return len(made)

    def _price(self, db: Connection, part: Row) -> int | None:
        """The row of the price that a part is charged by; written once, for these calls only."""
        text = part["price"]
        if text is None:
            return None
        model = part["model"]
        row = db.execute(
            "SELECT id FROM prices WHERE model = ? AND price = ? ORDER BY id LIMIT 1", (model, text)
        ).fetchone()
        if row is not None:
            return int(row[0])
        state, at_ms = json.loads(text)["state"], part["created_at"]
        cursor = db.execute(
            "INSERT INTO prices (model, origin, state, price, recorded_at, superseded_at)"
            " VALUES (?, 'catalogue', ?, ?, ?, ?) RETURNING id",
            (model, state, text, at_ms, at_ms),
        )
        return int(cursor.fetchall()[0][0])

    def _free_id(self, db: Connection, batch: int, n: int, taken: dict[int, Outcome]) -> int:
        """An id at the batch's own time."""
        bits = batch + 1 + n
        while True:
            candidate = make_id(id_time_ms(batch), bits % (1 << RANDOM_BITS))
            free = candidate not in taken
            if free and not db.execute(_TAKEN, {"id": candidate}).fetchone()[0]:
                return candidate
            bits += 1

    def finish(self, batch: int, *, now_ms: int) -> bool:
        """All its results are in the ledger: what has none was not answered, and nothing is held.

        Returns False when it was settled already.
        """
        with self._store.transaction(*_MONEY) as db:
            done = db.execute(
                "UPDATE batches SET state = 'settled', settled_at = ?, trouble = ''"
                " WHERE id = ? AND state <> 'settled'",
                (now_ms, batch),
            ).rowcount
            if done:
                self._free(db, batch)
        return bool(done)

    def lead(self, *, now_ms: int, for_ms: int) -> bool:
        """Whether no other process looks after batches; none does for ``for_ms`` then."""
        me = self._store.owner
        with self._store.transaction(Lock.META):
            until, _, who = (self._store.get_meta(_LEAD_KEY) or "0 ").partition(" ")
            if who != me and now_ms < int(until) <= now_ms + for_ms:
                return False
            self._store.set_meta(_LEAD_KEY, f"{now_ms + for_ms} {me}")
        return True

    # --- finding them -----------------------------------------------------------------------------

    def get(self, batch: int) -> Batch | None:
        return next(iter(self._found("b.id = :id", id=batch)), None)

    def named(self, remote: str, scope: Mapping[str, str]) -> Batch | None:
        """By the provider's name of it, among those of an organisation or a key."""
        where = f"b.remote = :remote AND {_MINE} ORDER BY b.id DESC"
        return next(
            iter(self._found(where, remote=remote, **{"org": "", "key": "", **scope})), None
        )

    def all(self, scope: Mapping[str, str] | None = None) -> list[Batch]:
        """Those of an organisation or a key, the newest first; None: all."""
        return self._found(f"{_MINE} ORDER BY b.created_at DESC, b.id DESC", **_scope(scope or {}))

    def under_way(self) -> list[Batch]:
        """Those about which something is to be done yet, the oldest first."""
        return self._found("b.state IN ('opening', 'open', 'ended') ORDER BY b.id")

    def parts(self, batch: int) -> list[Part]:
        return [
            Part(
                row["model"],
                row["role"],
                row["price"],
                bool(row["marked"]),
                row["lines"],
                row["held_nusd"],
            )
            for row in self._parts(self._store.db, batch)
        ]

    def waiting(self, batch: int) -> dict[str, Waiting]:
        """Its requests that have no row in the ledger yet, by their custom_id."""
        rows = self._store.db.execute(
            "SELECT custom_id, n, model, role, input_tokens FROM batch_lines"
            " WHERE batch = ? AND request IS NULL",
            (batch,),
        )
        return {row[0]: Waiting(row[1], row[2], row[3], row[4]) for row in rows}

    def known(self, provider: str) -> set[str]:
        """The provider's names of all batches that it has of ours."""
        rows = self._store.db.execute(
            "SELECT remote FROM batches WHERE provider = ? AND remote IS NOT NULL", (provider,)
        )
        return {name for (name,) in rows}

    def _found(self, where: str, **values: object) -> list[Batch]:
        rows = self._store.db.execute(_FIND + where, values)
        return [Batch(**{name: row[name] for name in Batch.__struct_fields__}) for row in rows]


def _scope(scope: Mapping[str, str]) -> dict[str, str]:
    """Whose rows are meant; "" where that does not matter."""
    return {"org": "", "key": "", **scope}


def _of_a_batch(error: OmniError) -> OmniError:
    """A refusal's words, which speak of one call."""
    error.message = error.message.replace("this call may", "this batch may")
    error.args = (error.message,)
    if "--max-tokens" in error.hint:
        error.hint = error.hint.replace("a smaller --max-tokens", "fewer requests, shorter answers")
    return error
