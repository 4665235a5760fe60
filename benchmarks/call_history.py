"""What became of each call, told by every process that had a part in it: for a stress that finds a
call missing, so that its cause is seen and need not be guessed.

``install`` writes a line for each step of a call on its way into the store: granted, written down
in a journal, in a batch and what came of that, emptied from the journal, set aside, taken over from
a dead process, taken for lost. ``of`` reads the lines of one call.
"""

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from omni_cli.domain.batch import Batch, Ending, Opening
from omni_cli.domain.ledger import NewRequest


def install(folder: Path) -> None:
    """From now on this process tells; its lines outlive a kill -9."""
    from omni_cli.services.engine.commits import Commits
    from omni_cli.store import late_ledger
    from omni_cli.store.budgets import BudgetStore
    from omni_cli.store.leases import Leases
    from omni_cli.store.ledger import LedgerStore
    from omni_cli.store.writer import Writer

    path = folder / f"{os.getpid()}.history"
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    words = " ".join(sys.orig_argv[1:])

    def note(what: str, ids: Iterable[int] = (), **more: object) -> None:
        said = {"at": time.monotonic(), "who": words, "what": what, "ids": list(ids), **more}
        os.write(handle, json.dumps(said, default=repr).encode() + b"\n")

    def told(owner: type, name: str, tell: Callable[..., tuple[Iterable[int], dict[str, Any]]],
             *, after: bool = False) -> None:  # fmt: skip
        plain = getattr(owner, name)

        @functools.wraps(plain)
        def wrapped(*args: Any, **named: Any) -> Any:
            ids, more = tell(*args, **named)
            if not after:
                note(name, ids, **more)
            try:
                found = plain(*args, **named)
            except BaseException as exc:
                note(f"{name} failed", ids, why=repr(exc), **more)
                raise
            if after:
                note(name, ids, gave=found, **more)
            return found

        setattr(owner, name, wrapped)

    journal, late = late_ledger.Journal, late_ledger.LateLedger
    told(journal, "begun", lambda _, opening: ([opening.request.id], {}))
    told(journal, "ended", lambda _, ending: ([ending.request], {"kind": type(ending).__name__}))
    told(journal, "done", lambda self: ((), {"file": self._passed, "sizes": list(self._sizes)}))
    told(journal, "close", lambda _, **given: ((), given))
    told(Writer, "write", lambda self, batch: (_ids(batch), _state(self, batch)), after=True)
    told(Writer, "set_aside", lambda _, *given: (_those(*given), {"why": repr(given[1])}))
    told(Commits, "_rename", lambda _, opening, __: ([opening.request.id], {}), after=True)
    told(LedgerStore, "open", lambda _, request, __: ([request.id], {}), after=True)
    told(LedgerStore, "adopt", lambda _, request: ([request], {}))
    told(late, "_write_late", lambda _, record: (_named(record), record))
    for name in ("grow", "unslice", "take_back", "delete", "put"):
        told(BudgetStore, name, lambda _, *given: ((), {"given": given}))
    told(BudgetStore, "shrink", lambda _, *given, **more: ((), {"given": _less(*given), **more}))
    told(Leases, "reserve", lambda self, _: ((), {"given": _granted(self)}))
    try:
        from omni_cli.store.postgres import PostgresStore
    except Exception:  # noqa: BLE001  # without psycopg there is no such store
        return
    told(PostgresStore, "_is_committed", lambda self: ((), _doubt(self)), after=True)


def _less(_: str, parts: dict[tuple[int, int], int]) -> list[tuple[int, ...]]:
    return [(*key, nusd) for key, nusd in parts.items() if nusd]


def _granted(leases: Any) -> list[tuple[int, int, int]]:
    return [(*key, room.granted_nusd) for key, room in leases._rooms.items() if room.granted_nusd]


def _doubt(store: Any) -> dict[str, object]:
    return {"xid": store._xid, "server": store._server, "now": store._pg.server}


def _state(writer: Any, batch: Batch) -> dict[str, object]:
    change = writer._change
    return {
        "granted": list(batch.granted),
        "opened": [(one.request.id, one.n) for one in batch.openings],
        "ended": [(one.request, type(one).__name__) for one in batch.endings],
        "unsure": writer._unsure,
        "whole": None if change is None else change.whole,
    }


def _ids(batch: Batch) -> set[int]:
    found = {*batch.granted, *(one.request for one in batch.endings)}
    return found | {one.request.id for one in batch.openings}


def _those(endings: Sequence[Ending], _: object, granted: Iterable[Opening] = ()) -> list[int]:
    return [*(one.request for one in endings), *(one.request.id for one in granted)]


def _named(record: dict[str, Any]) -> list[int]:
    begun = record.get("opened")
    found = begun["id"] if isinstance(begun, dict) else record.get("request", 0)
    return [begun.id if isinstance(begun, NewRequest) else int(found)]


def of(folder: Path, request: int) -> Iterator[str]:
    """A call's lines, oldest first, each with those that follow it in its process without an id of
    their own (a journal emptied, a COMMIT asked after)."""
    lines: list[tuple[float, str]] = []
    for path in folder.glob("*.history"):
        near = False
        for line in path.read_text().splitlines():
            said = json.loads(line)
            near = request in said["ids"] or (near and not said["ids"])
            if near:
                lines.append((said["at"], f"{path.stem} {line}"))
    for _, line in sorted(lines):
        yield line


def between(folder: Path, first: float, last: float) -> Iterator[str]:
    """All lines of a time, of the monotonic clock, oldest first."""
    lines: list[tuple[float, str]] = []
    for path in folder.glob("*.history"):
        for line in path.read_text().splitlines():
            at = json.loads(line)["at"]
            if first <= at <= last:
                lines.append((at, f"{path.stem} {line}"))
    for _, line in sorted(lines):
        yield line
