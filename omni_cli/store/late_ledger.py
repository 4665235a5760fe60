"""A ledger that loses no end: what the store does not take is set aside, and written later.

A disk may be full, or another process may hold the store, when an answer has come and is paid
for. Its end is kept in a file of its own, on disk before anybody is told, beside the store or,
where there is no room, in the system's folder for temporary files. Whoever opens the ledger next
writes it: what a file says changes nothing when it is there already, so each is written once.

A gateway whose store is over a network writes down what begins and ends as it does, before the
store has it (``Journal``): a call goes out as soon as its machine knows of it.
"""

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from omni_cli import system
from omni_cli.domain.batch import AttemptEnding, Ending, Opening
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import StoreError
from omni_cli.domain.ids import fingerprint
from omni_cli.domain.ledger import Allowance, AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.record import asdict
from omni_cli.store.ledger import LedgerStore
from omni_cli.store.port import Store
from omni_cli.store.rows import promote

#: One end: plain values, as JSON has them.
Record = dict[str, Any]


def attempt_record(
    begun: NewRequest | None,
    sent: NewAttempt | None,
    request: int,
    n: int,
    end: AttemptEnd,
    priced: str | None,
    allowance: Allowance | None,
) -> Record:
    """How an attempt ended, with all that its row needs where even that is gone."""
    return {
        "request": request,
        "n": n,
        "attempt": asdict(end),
        "priced": priced,
        "allowance": None if allowance is None else list(allowance),
        "begun": None if begun is None else asdict(begun),
        "sent": None if sent is None else asdict(sent),
    }


def request_record(request: int, end: RequestEnd) -> Record:
    return {"request": request, "end": asdict(end)}


class Spool:
    """Args:
    store: the path of the store that the ends are for.
    """

    def __init__(self, store: Path) -> None:
        self.home = store.parent / "spool"
        name = fingerprint(os.fsencode(store.absolute()))
        self._aside = system.temporary() / f"omni-{system.user_id()}-{name}"

    def keep(self, records: Sequence[Record]) -> Path | None:
        """Put them on a disk; returns where, or None where there is room on none."""
        text = "".join(json.dumps(record) + "\n" for record in records).encode()
        for folder in (self.home, self._aside):
            with contextlib.suppress(OSError):
                return _write(folder, text)
        return None

    def waiting(self) -> list[Path]:
        """Files that are to be written yet, oldest first."""
        found: list[Path] = []
        for folder in (self.home, self._aside):
            if _is_ours(folder):
                found += folder.glob("*.jsonl")
        return sorted(found, key=lambda path: path.name)

    def read(self, path: Path) -> list[Record]:
        """Raises ValueError, OSError: it is no file of ours any more."""
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def done(self, path: Path) -> None:
        """It is in the store."""
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):
            path.parent.rmdir()  # of the last one

    def spoilt(self, path: Path) -> None:
        """It cannot be read: left for a person to look at, and not tried again."""
        with contextlib.suppress(OSError):
            path.rename(path.with_suffix(".unreadable"))


class Journal:
    """What a living process has begun and ended, and may not have in the store yet: two files in
    turn, each emptied once all of it is written. The process keeps them locked, so that another one
    of its machine knows when it is dead, and tells of it.

    Lines go to the system at once, and to the disk when it pleases: a killed process loses nothing,
    a machine without power its last seconds.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self._folder = folder
        self._owner = owner
        self._paths: list[Path] = []
        self._files: list[int] = []
        self._now = 0
        self._sizes = [0, 0]
        #: The file of which all is in the transaction under way.
        self._passed = 1
        #: Nothing is forgotten any more.
        self._kept = False
        self._made = 0

    def begun(self, opening: Opening) -> None:
        """Raises OSError: the disk has no room."""
        self._write({"opened": opening.request, "sent": opening.attempt()})

    def ended(self, ending: Ending) -> None:
        """Raises OSError: the disk has no room."""
        if isinstance(ending, AttemptEnding):
            said = {"request": ending.request, "n": ending.n, "attempt": ending.end}
            said |= {"priced": ending.priced, "allowance": ending.allowance}
            self._write({**said, "begun": None, "sent": None})
        else:
            self._write({"request": ending.request, "end": ending.end})

    def renamed(self, old: int, new: int) -> None:
        """Raises OSError: the disk has no room."""
        self._write({"renamed": old, "to": new})

    def _write(self, record: Record) -> None:
        if not self._files:
            self._open()
        line = b"\n" + msgspec.json.encode(record)
        if os.write(self._files[self._now], line) != len(line):
            raise OSError("no room for a line")
        self._sizes[self._now] += len(line)

    def _open(self) -> None:
        """Files of their own each time: what was closed unwritten is not this journal's any more.
        Raises OSError: both or none are there."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.ExitStack() as opened:
            files, paths = list[int](), list[Path]()
            for name in "ab":
                path = self._folder / f"{self._owner}.{self._made}{name}.journal"
                part = path.with_suffix(".opening")  # nobody takes it for a dead one's
                handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                opened.callback(os.close, handle)
                system.lock(handle)
                part.rename(path)
                files.append(handle)
                paths.append(path)
            opened.pop_all()
        self._made += 1
        self._files, self._paths, self._sizes = files, paths, [0, 0]

    def turn(self) -> None:
        """All that was written down so far is in the transaction that begins."""
        other = 1 - self._now
        if self._sizes[other]:
            self._passed = other  # left by one that failed
        else:
            self._passed, self._now = self._now, other

    def done(self) -> None:
        """That transaction is committed."""
        if self._sizes[self._passed] and not self._kept:
            os.ftruncate(self._files[self._passed], 0)
            self._sizes[self._passed] = 0

    def keep(self) -> None:
        """Forget nothing from now on: whoever comes after this process writes it."""
        self._kept = True

    def close(self, *, written: bool) -> None:
        """``written``: all of it is in the store; else others are to write it."""
        for path, handle in zip(self._paths, self._files, strict=True):
            if written and not self._kept:
                path.unlink(missing_ok=True)
            os.close(handle)
        self._paths, self._files = [], []


def left_behind(folder: Path) -> Iterator[tuple[str, list[Record], Callable[[], None]]]:
    """Of each dead process of this machine: its name, what its journals say, and what is to be
    called once that is in the store."""
    owners: dict[str, list[Path]] = {}
    for path in sorted(folder.glob("*.journal")):
        owners.setdefault(path.name.partition(".")[0], []).append(path)
    for owner, paths in owners.items():
        with contextlib.ExitStack() as stack:
            try:
                found: list[Record] = []
                for path in paths:
                    file = stack.enter_context(path.open("rb"))
                    system.lock(file.fileno(), wait=False)
                    found += map(json.loads, filter(_whole, file.read().splitlines()))
            except OSError:  # it lives, or another process has written it
                continue
            yield owner, _in_order(found), partial(_remove, paths)


def _in_order(records: Sequence[Record]) -> list[Record]:
    """What began before what ended, by the ids that calls have in the store."""
    ids = {record["renamed"]: record["to"] for record in records if "renamed" in record}
    found = [record for record in records if "renamed" not in record]
    for record in found:
        place, name = (record, "request") if "opened" not in record else (record["opened"], "id")
        if (new := ids.get(place[name])) is not None:
            place[name] = new
            if "sent" in record and "opened" in record:
                record["sent"]["request"] = new
    return sorted(found, key=lambda record: "opened" not in record)


def _whole(line: bytes) -> bool:
    """Whether all of a line was written: a full disk cuts it off."""
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _remove(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def begun_of(record: Record) -> tuple[NewRequest, NewAttempt] | None:
    if record["begun"] is None or record["sent"] is None:
        return None
    return _begun(record["begun"], record["sent"])


def _begun(request: Record, attempt: Record) -> tuple[NewRequest, NewAttempt]:
    """Without what only a newer omni knows of."""
    return msgspec.convert(request, NewRequest), msgspec.convert(attempt, NewAttempt)


def attempt_end_of(record: Record) -> AttemptEnd:
    values = dict(record["attempt"])
    return AttemptEnd(**{**values, "usage": Usage(**values["usage"])})


def allowance_of(record: Record) -> Allowance | None:
    return None if record["allowance"] is None else Allowance(*record["allowance"])


def _is_ours(folder: Path) -> bool:
    """Nobody else may have put files there: they would be written into the ledger."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    return found.st_uid == system.user_id() and folder.is_dir() and not folder.is_symlink()


def _write(folder: Path, text: bytes) -> Path:
    """Raises OSError: there is no room, or no right."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if not _is_ours(folder):
        raise PermissionError(folder)
    path = folder / f"{time.time_ns():020}-{os.getpid()}.jsonl"
    part = path.with_suffix(".part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            view = memoryview(text)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        part.rename(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
    return path


class LateLedger(LedgerStore):
    """Writes what was set aside once the store takes it."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self._spool = Spool(store.path)
        self._behind: StoreError | None = None
        #: What no disk had room for.
        self._unkept: list[Record] = []

    @property
    def behind(self) -> StoreError | None:
        """Why this process has set something aside: what belongs to it must follow it."""
        return self._behind

    def set_aside(self, records: Sequence[Record], why: StoreError) -> StoreError:
        """Keep ends that the store did not take; returns what is to be told of it."""
        self._behind = why
        self._unkept += records
        path = self._spool.keep(self._unkept)
        if path is not None:
            self._unkept.clear()
            return StoreError(
                f"the call is not in the ledger yet: {why.message}",
                hint=f"it is kept in {path}; the next omni command writes it",
            )
        return StoreError(
            f"the call is not in the ledger, and no disk has room to keep it: {why.message}",
            hint=f"make room, and keep this: {json.dumps(self._unkept)}",
        )

    def journal(self) -> Journal:
        """Of this process."""
        return Journal(self._spool.home, self.owner)

    def catch_up(self) -> bool:
        """Write what was set aside, also by processes that have ended; False where the store does
        not take it yet. Within a transaction nothing is done: it might be undone."""
        if self._store.in_transaction:
            return True
        if self._unkept:
            try:
                self._write_all(self._unkept)
            except StoreError:
                return False
            self._unkept.clear()
        for owner, said, remove in left_behind(self._spool.home):
            try:
                self._take_over(owner, said)
            except StoreError:
                return False
            remove()
        for path in self._spool.waiting():
            try:
                self._write_all(self._spool.read(path))
            except StoreError:
                return False
            except FileNotFoundError:
                continue  # another process has written it
            except Exception:  # noqa: BLE001  # a person has to look; what else waits goes on
                self._spool.spoilt(path)
                continue
            self._spool.done(path)
        self._behind = None
        return True

    def _take_over(self, owner: str, said: Sequence[Record]) -> None:
        """Write a dead process's journal. Raises StoreError: not all of it was."""
        try:
            with self.unit():
                self._budgets.take_back(owner)
                self._write_all(said)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001  # whatever it is, the other calls are written
            calls: dict[int, list[Record]] = {}
            for record in said:
                ident = record["opened"]["id"] if "opened" in record else record["request"]
                calls.setdefault(ident, []).append(record)
            with self.unit():
                self._budgets.forget(owner)
            for records in calls.values():
                self._write_or_keep(records)

    def _write_or_keep(self, records: Sequence[Record]) -> None:
        """One call's; where a row is refused, it is kept for a person to look at."""
        try:
            self._write_all(records)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001  # a person has to look
            path = self._spool.keep(records)
            if path is None:
                raise StoreError("no disk has room for a row that was refused") from None
            self._spool.spoilt(path)

    def _write_all(self, records: Sequence[Record]) -> None:
        with self.unit():
            for record in records:
                self._write_late(record)

    def _write_late(self, record: Record) -> None:
        if "opened" in record:
            self.reinstate(*_begun(record["opened"], record["sent"]))
            return
        request = int(record["request"])
        if "end" in record:
            self.end_request(request, RequestEnd(**record["end"]))
            return
        began = begun_of(record)
        if began is None:
            promote(self._store.db, (request,))
        else:
            self.reinstate(*began)
        self.end_attempt(
            request,
            int(record["n"]),
            attempt_end_of(record),
            priced=record["priced"],
            allowance=allowance_of(record),
        )
