"""Logs of every tool on this machine: found, read as far as they are new, and followed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.document import document
from omni_cli.domain.periods import iso
from omni_cli.importers import (
    ImportBatch,
    Importer,
    Marks,
    Progress,
    Work,
    importers,
    load,
    share,
)
from omni_cli.ports import Clock
from omni_cli.repositories import LogFiles

if TYPE_CHECKING:
    from omni_cli.services.money.importing import Importing, ImportPlan


class Found(Struct, frozen=True):
    """A tool whose logs are here, and when they were read last (ms UTC), None: never."""

    importer: Importer
    places: tuple[Path, ...]
    read_at: int | None

    @property
    def source(self) -> str:
        return self.importer.name


class Reading(Struct, frozen=True):
    """What is new of one tool's logs; nothing is written yet. ``files`` and ``bytes``: all that
    there are; ``unchanged``: how many of them were not read, for nothing is new in them."""

    found: Found
    batch: ImportBatch
    plan: "ImportPlan"
    marks: Marks

    @property
    def files(self) -> int:
        return self.marks.unchanged + len(self.marks.read)

    def document(self, applied: bool, added: int, changed: int) -> dict[str, Any]:
        """As ``import_document``, with what there is of its logs."""
        found = self.found
        return {
            **import_document(self.plan, self.batch, found.places, applied, added, changed),
            "title": found.importer.title,
            "files": self.files,
            "files_unchanged": self.marks.unchanged,
            "bytes": self.marks.bytes,
            "read_at": iso(found.read_at),
        }


def import_document(
    plan: "ImportPlan",
    batch: ImportBatch,
    places: Sequence[Path],
    applied: bool,
    added: int,
    changed: int,
) -> dict[str, Any]:
    """What an import does, or has done: so many calls were added and changed."""
    return {
        "source": plan.source,
        "paths": [str(path) for path in places],
        "applied": applied,
        "added": added,
        "updated": changed,
        "new": len(plan.new),
        "grown": len(plan.grown),
        "known": plan.known,
        "rows_read": batch.rows,
        "sessions": len({call.session_id for call in batch.calls if call.session_id}),
        "totals": plan.all.document(),
        "new_totals": plan.added.document(),
        "models": [
            {
                "recorded": name,
                "provider": provider,
                "tier": tier,
                "model": model if model in plan.known_models else None,
                **sums.document(),
            }
            for (provider, name, tier, model), sums in plan.by_model.items()
        ],
        "problems": [document(problem) for problem in batch.problems],
        "passed_over": dict(batch.skips),
    }


def found_document(
    readings: Sequence[Reading], applied: bool, done: Mapping[str, tuple[int, int]]
) -> dict[str, Any]:
    """Of all tools' logs. ``done``: by source, so many calls were added and changed."""
    sources = [
        reading.document(applied, *done.get(reading.found.source, (0, 0))) for reading in readings
    ]
    if len(sources) == 1:
        return sources[0]
    return {
        "applied": applied,
        **{name: sum(s[name] for s in sources) for name in ("added", "updated", "new", "grown")},
        "sources": sources,
    }


class Logs:
    """Args:
    importing: asked for once something is new: mostly nothing is.
    home, env: where tools keep their logs.
    """

    def __init__(
        self,
        *,
        importing: "Callable[[], Importing]",
        log_files: LogFiles,
        home: Path,
        env: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._importing = importing
        self._log_files = log_files
        self._home = home
        self._env = env
        self._clock = clock
        #: When all of them were looked at in this process, also where nothing was new.
        self._looked_at = 0

    def found(self) -> list[Found]:
        """Every tool that has logs in its usual place: an empty folder is none, unless there were
        some."""
        found = []
        for item in self._usual():
            files = item.importer.files
            if item.read_at is not None:
                found.append(item)
            elif places := tuple(p for p in item.places if not p.is_dir() or files(p)):
                found.append(Found(item.importer, places, item.read_at))
        return found

    def _usual(self) -> list[Found]:
        """Every tool's usual places that are there, without a look at what they hold."""
        read_at = self._log_files.read_at()
        found = []
        for importer in importers.values():
            places = importer.find_default(self._home, self._env)
            if places:
                found.append(Found(importer, tuple(places), read_at.get(importer.name)))
        return found

    def read(self, found: Found) -> Reading:
        """What is new since the last reading that was kept."""
        return next(self.read_all([found]))

    def read_all(
        self,
        found: Sequence[Found],
        *,
        trust_recorded: bool = False,
        progress: Progress | None = None,
    ) -> Iterator[Reading]:
        """What is new in each since the last reading that was kept."""
        marks = [self._marks(f.source, self._log_files.states(f.source)) for f in found]
        works = [Work(f.importer, f.places, marks=m) for f, m in zip(found, marks, strict=True)]
        share(works)
        for item, mark, work in zip(found, marks, works, strict=True):
            batch = work.load(progress)
            plan = self._importing().plan(item.source, batch.calls, trust_recorded=trust_recorded)
            yield Reading(item, batch, plan, mark)

    def _marks(self, source: str, known: Mapping[str, tuple[int, int]]) -> Marks:
        return Marks(known, lambda paths: self._log_files.of(source, paths))

    def keep(
        self, reading: Reading, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> tuple[int, int]:
        """Write its calls, then how far the files are read: a crash between the two reads them
        again. Returns how many calls were added and how many changed."""
        added, changed = self._importing().apply(reading.plan, progress)
        now = int(self._clock() * 1000)
        for mark in reading.marks.read:
            mark.read_at = now
        self._log_files.put(reading.found.source, reading.marks.read)
        return added, changed

    def follow(self) -> int:
        """Bring the tools whose logs were imported before up to date; how many calls are new."""
        new = 0
        self._looked_at = int(self._clock() * 1000)
        if not self._log_files.read_at():
            return new
        for reading in self.read_all([f for f in self._usual() if f.read_at is not None]):
            if reading.marks.read:
                new += sum(self.keep(reading))
        return new

    def follow_session(self, source: str, paths: Sequence[Path]) -> None:
        """Bring some logs up to date, where their source was imported before."""
        if not paths or not self._log_files.knows(source):
            return
        known = self._log_files.of(source, list(map(str, paths)))
        states = {name: (mark.bytes, mark.changed_ns) for name, mark in known.items()}
        marks = self._marks(source, states)
        batch = load(source, paths, marks=marks)
        if marks.read:
            plan = self._importing().plan(source, batch.calls)
            self.keep(Reading(Found(importers[source], tuple(paths), None), batch, plan, marks))

    def read_at(self) -> int | None:
        """When the logs that were imported before were last looked at, ms UTC; None: never."""
        stored = max(self._log_files.read_at().values(), default=None)
        return stored if stored is None else max(stored, self._looked_at)
