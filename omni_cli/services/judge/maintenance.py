"""Keeping the store: backups, retention, and making reports anew."""

import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.periods import DAY_MS, MIN_KEEP_DAYS, days
from omni_cli.ports import Clock
from omni_cli.records import BackupFacts, MoveFacts, RollupCheck, StoreStats
from omni_cli.repositories import Audit, Maintenance, Move, Rebuild, Rollups

#: How often old requests are removed by themselves, ms; and how long whoever does it rests after
#: each transaction, so that calls get their turn, seconds.
_EVERY_MS, _REST_S = DAY_MS, 0.05


class Copier(Protocol):
    """The functions of store/maintenance.py, which work on files, or store/dumps.py."""

    def backup(self, path: Path, target: Path, *, overwrite: bool) -> BackupFacts: ...
    def restore(
        self, path: Path, source: Path, aside: Path, *, force: bool
    ) -> tuple[BackupFacts, Path | None]: ...


def same_zone(one: str, other: str) -> bool:
    """Whether two IANA names are one zone, as UTC and Etc/UTC are: of one file of rules."""
    if one == other:
        return True
    rules = _rules(one)
    return rules is not None and rules == _rules(other)


def _rules(name: str) -> bytes | None:
    from zoneinfo import TZPATH

    for folder in TZPATH:
        with suppress(OSError):
            return (Path(folder) / name).read_bytes()
    return None


class ReportZone(Struct, kw_only=True, eq=False):
    """The zone of the reports: the user's, for which rollups are made anew when it changed.

    Call it before reading rollups; a screen does so in a worker. It takes some seconds per
    million requests once after a change, no time else.
    """

    rollups: Rollups
    rebuild: Callable[[], Rebuild]
    zone: str
    note: Callable[[str], None]

    def __call__(self) -> str:
        """Raises StoreError: another process makes them for another zone."""
        if not same_zone(self.rollups.zone, self.zone):
            self.rebuild().rebuild(self.zone, self._tell_tenths())
        return self.rollups.zone

    def _tell_tenths(self) -> Callable[[int, int], None]:
        told = -1

        def progress(done: int, total: int) -> None:
            nonlocal told
            tenths = 10 * done // total if total else told
            if tenths > told:
                told = tenths
                self.note(f"days are now {self.zone}'s: counted {done:,} of {total:,} requests")

        return progress


class Checked(Struct, frozen=True):
    """What a look over the whole store found. ``file`` and ``budgets``: lines to read, none where
    all is well."""

    file: list[str]
    budgets: list[str]
    rollups: RollupCheck

    @property
    def sound(self) -> bool:
        return self.rollups.sound and not self.file and not self.budgets


class PruneResult(Struct, frozen=True):
    """``before_ms``: requests older than this; ``removed``: how many went (or would)."""

    before_ms: int
    removed: int


class MaintenanceService(Struct, kw_only=True, eq=False):
    """Everything that opens the store is made on first use: a backup can be restored over a
    store that does not open.

    Args:
        path: the store's file.
        recover: closes what dead processes left open.
        mover: to the address of a database, or to a file.
        rest: closes what is open of the store: whoever moves it must have it alone.
    """

    path: Path
    copier: Copier
    files: Callable[[], Maintenance]
    rollups: Callable[[], Rebuild]
    audit: Callable[[], Audit]
    recover: Callable[[], int]
    mover: Callable[[str], Move]
    rest: Callable[[], None]
    zone: str
    clock: Clock
    who: str
    keep_days: int

    def stats(self) -> StoreStats:
        return self.files().stats()

    def check(self) -> Checked:
        """What is wrong with the file, and whether reports, receipts, budgets and ledger agree."""
        self.recover()
        files = self.files()
        return Checked(files.problems(), files.budget_problems(), self.rollups().check())

    def vacuum(self) -> tuple[int, int]:
        """Bytes before and after. Raises StoreError."""
        return self.files().vacuum()

    def prune(
        self,
        keep_days: int,
        *,
        dry_run: bool = False,
        progress: Callable[[int], None] = lambda _removed: None,
    ) -> PruneResult:
        """Remove raw rows of requests older than ``keep_days`` local days; reports keep them.

        Raises:
            UsageError: fewer days than budgets look back on.
            StoreError: reports are being made anew.
        """
        if keep_days < MIN_KEEP_DAYS:
            raise UsageError(
                f"--keep must be {MIN_KEEP_DAYS}d or more",
                hint="budgets with rollover look back on the ledger of two months",
            )
        return self._prune(keep_days, dry_run=dry_run, progress=progress)

    def retain(self, goes_on: Callable[[], bool] = lambda: True) -> PruneResult | None:
        """Remove what the settings do not keep, once a day over all processes.

        Args:
            goes_on: asked after each transaction; what is left then goes another day.

        Returns None where all is kept, or this day's was done.
        """
        now = int(self.clock() * 1000)
        if not self.keep_days or not self.files().claim_retention(now, _EVERY_MS):
            return None

        def rest(_: int) -> bool:
            time.sleep(_REST_S)
            return goes_on()

        return self._prune(self.keep_days, progress=rest, by="store.keep_days")

    def _prune(
        self,
        keep_days: int,
        *,
        dry_run: bool = False,
        progress: Callable[[int], object],
        by: str = "",
    ) -> PruneResult:
        self.recover()
        now = int(self.clock() * 1000)
        # From the start of a local day, so that no day is half raw and half removed.
        about = now - keep_days * DAY_MS
        before = next(days(about - DAY_MS, about + 1, self.zone))[2]
        if dry_run:
            return PruneResult(before, self.files().old_requests(before))
        removed = 0
        for count in self.files().prune(before):
            removed += count
            if progress(removed) is False:
                break
        if removed:
            self.audit().record(
                at_ms=now,
                who=self.who,
                action="prune",
                target="ledger",
                after={"before": _iso(before), "requests": removed, **({"by": by} if by else {})},
            )
        return PruneResult(before, removed)

    def rebuild(self, progress: Callable[[int, int], None]) -> tuple[int, int]:
        """Make the sums of reports and budgets anew from the ledger; returns how many requests were
        counted and how many periods of budgets were wrong."""
        self.recover()
        mended = self.files().mend_budgets()
        return self.rollups().rebuild(self.zone, progress), mended

    def move(
        self, target: str, progress: Callable[[str, int], None], *, dry_run: bool = False
    ) -> MoveFacts:
        """Carry the whole store to another place; goes on with a move that was cut off.

        Raises:
            StoreError: others have the store open, the target holds something, or what arrived is
                not what was sent.
            ConfigError: the target is no address.
        """
        mover = self.mover(target)
        if dry_run:
            return mover.plan()
        if not mover.begun():
            mover.plan()  # before anything is written
            self.recover()
            self.audit().record(
                at_ms=int(self.clock() * 1000), who=self.who, action="move", target="store"
            )
            self.rest()
        return mover.run(progress)

    def cancel_move(self) -> str:
        """Use the store again that was being moved, or was; returns where to."""
        return self.mover("").cancel()

    def backup(self, target: Path, *, overwrite: bool) -> BackupFacts:
        """Copy the store as it is now. Raises StoreError."""
        return self.copier.backup(self.path, target, overwrite=overwrite)

    def restore(self, source: Path, *, force: bool) -> tuple[BackupFacts, Path | None]:
        """Put a backup in the store's place; returns also where the store of before is kept.

        Raises:
            StoreError: the backup is not sound, or the store is in use and not ``force``.
        """
        now = int(self.clock() * 1000)
        stamp = datetime.fromtimestamp(now / 1000, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.before-{stamp}")
        facts, kept = self.copier.restore(self.path, source, aside, force=force)
        self.audit().record(
            at_ms=now,
            who=self.who,
            action="restore",
            target="store",
            after={
                "from": source.name,
                "requests": facts.requests,
                "kept": None if kept is None else kept.name,
            },
        )
        return facts, kept


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
