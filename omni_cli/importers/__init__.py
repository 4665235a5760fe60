"""Readers of usage that users already have, one module per format, loaded when first used."""

import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from msgspec import Struct, field

from omni_cli.domain.errors import UsageError
from omni_cli.domain.imports import ImportedCall, ImportProblem, InvoiceLine, LogFile, collapse
from omni_cli.plugins import Plugin, plugins

if TYPE_CHECKING:
    from omni_cli.importers.helper import Helper

#: From so many bytes on more than one process reads, and never more than so many. 359 MB then take
#: 1.05 s instead of 1.48 s by the clock, and 1.75 s of two processors (``benchmarks.agent_logs``).
_MUCH_BYTES, _READERS = 100_000_000, 8
#: What it takes beside reading: to hand calls over, to take them, and to price them.
_GIVING, _TAKING, _PRICING = 0.2, 0.1, 0.2
#: A file, and where to begin in it.
Wanted = tuple[Path, LogFile | None]
#: Called before each file is read: (file, its index from 0, number of files).
Progress = Callable[[Path, int, int], None]


#: What a tool or a vendor writes where its user says: these have no usual place.
_EXPORTS = frozenset({"litellm", "openrouter", "openai", "anthropic", "csv"})


class Importer(Struct, frozen=True):
    """One tool's format. ``module`` is imported on first use; ``added``: by another package.

    ``reports`` marks sources whose files are also invoices (``read_invoice``). ``reads``: the files
    that it looks for in a folder.
    """

    name: str
    title: str
    module: str
    reports: bool = False
    reads: str = ""
    added: Plugin | None = None

    def _load(self) -> ModuleType:
        return import_module(self.module) if self.added is None else self.added.load()

    @property
    def has_a_place(self) -> bool:
        """Whether the tool keeps its data where one can look for it."""
        return self.name not in _EXPORTS

    def find_default(self, home: Path, env: Mapping[str, str]) -> list[Path]:
        """Places where the tool keeps its data and something is there; none for exports."""
        found: list[Path] = self._load().find_default(home, env)
        return found

    def files(self, path: Path) -> list[str]:
        """The files that ``read`` would read, in order."""
        return [os.fspath(file) for file in self._load().files(path)]

    def read(
        self,
        path: Path,
        *,
        skips: Counter[str] | None = None,
        mapping: Mapping[str, str] | None = None,
    ) -> Iterator[ImportedCall | ImportProblem]:
        """Calls and problems of a file or folder, as they are read; copies are not collapsed.

        Args:
            path: a file, or a folder as ``find_default`` finds it.
            skips: filled with what was passed over on purpose, by reason.
            mapping: field -> column; for ``csv`` only.

        Raises:
            UsageError: a mapping that this format does not take or that does not fit.
        """
        self.check(mapping)
        counted: Counter[str] = Counter() if skips is None else skips
        for file in self.files(path):
            yield from self.read_file(Path(file), counted, None, mapping)

    def check(self, mapping: Mapping[str, str] | None) -> None:
        """Raises UsageError: a mapping that this format does not take."""
        if mapping and self.name != "csv":
            raise UsageError(
                f"{self.name} has a fixed format: --map is for csv", hint="omni import csv"
            )

    def read_file(
        self,
        file: Path,
        skips: Counter[str],
        mark: LogFile | None = None,
        mapping: Mapping[str, str] | None = None,
    ) -> Iterator[ImportedCall | ImportProblem]:
        module = self._load()
        if mapping:
            yield from module.read_file(file, skips, mapping)
        elif mark is not None and file.suffix == ".jsonl" and getattr(module, "GROWS", False):
            yield from module.read_file(file, skips, mark)
        else:
            yield from module.read_file(file, skips)

    def read_invoice(
        self, path: Path, *, skips: Counter[str] | None = None
    ) -> Iterator[InvoiceLine | ImportProblem]:
        """Days' tokens and money of a report's files.

        Raises:
            UsageError: this source has no invoices.
        """
        module = self._load()
        if not self.reports:
            raise UsageError(f"{self.name} writes no invoice or usage report")
        counted: Counter[str] = Counter() if skips is None else skips
        for file in map(Path, self.files(path)):
            yield from module.invoice_file(file, counted)


class Marks:
    """How far the files of one source are read.

    Args:
        known: by path, size and time of change (``LogFile.bytes``, ``changed_ns``) as they were
            when it was read last.
        marks: how far of these paths are read, by path.
    """

    def __init__(
        self,
        known: Mapping[str, tuple[int, int]],
        marks: Callable[[Sequence[str]], Mapping[str, LogFile]] = lambda _paths: {},
    ) -> None:
        self._known = known
        self._marks = marks
        #: Those that were read now, to be kept once their calls are.
        self.read: list[LogFile] = []
        #: How many were as they had been, and the bytes of all that were looked at.
        self.unchanged = 0
        self.bytes = 0

    def begun(self, files: Sequence[str]) -> "list[Wanted]":
        """Those in which something is new, and where to begin."""
        known = self._known
        states = [(path, _state_of(path)) for path in files]
        changed = [(path, state) for path, state in states if known.get(path) != state]
        self.bytes += sum(size for _, (size, _) in states)
        self.unchanged += len(states) - len(changed)
        marks = self._marks([path for path, _ in changed if path in known])
        wanted: list[Wanted] = []
        for path, state in changed:
            mark = marks.get(path)
            if mark is None or state[0] < mark.offset:
                mark = LogFile(path)
            mark.bytes, mark.changed_ns = state
            self.read.append(mark)
            wanted.append((Path(path), mark))
        return wanted


def _state_of(path: str) -> tuple[int, int]:
    """Its size and time of change, with what a database has not moved into it yet; 0 where it is
    gone."""
    try:
        found = os.stat(path)  # noqa: PTH116 - of ten thousands of files at each start
    except OSError:
        return 0, 0
    if not path.endswith(".db"):
        return found.st_size, found.st_mtime_ns
    log = _state_of(f"{path}-wal")
    return found.st_size + log[0], max(found.st_mtime_ns, log[1])


def _importer(name: str, title: str, module: str, reads: str, *, reports: bool = False) -> Importer:
    return Importer(name, title, f"{__name__}.{module}", reports, reads)


importers: Mapping[str, Importer] = {
    importer.name: importer
    for importer in (
        _importer("claude-code", "Claude Code", "claude_code", "projects/**/*.jsonl"),
        _importer("codex", "Codex CLI", "codex", "sessions/**/*.jsonl and .jsonl.zst"),
        _importer("gemini-cli", "Gemini CLI", "gemini_cli", "chats/*.json and *.jsonl"),
        _importer("qwen-code", "Qwen Code", "qwen_code", "chats/*.jsonl"),
        _importer(
            "opencode", "opencode", "opencode", "opencode*.db and storage/message/**/msg_*.json"
        ),
        _importer("llm", "llm", "llm", "logs.db"),
        _importer("litellm", "LiteLLM spend logs", "litellm", "*.json, *.jsonl and *.csv"),
        _importer("aider", "aider analytics log", "aider", "*.jsonl"),
        _importer("openrouter", "OpenRouter activity", "openrouter", "*.csv and *.json"),
        _importer("openai", "OpenAI usage and costs", "openai", "*.csv and *.json", reports=True),
        _importer(
            "anthropic", "Anthropic usage and cost", "anthropic", "*.csv and *.json", reports=True
        ),
        _importer("csv", "Any CSV", "generic_csv", "*.csv"),
    )
}


def importer_names() -> list[str]:
    """All sources, omni's own first."""
    return [*importers, *(name for name in plugins("omni.importers") if name not in importers)]


def importer_of(name: str) -> Importer | None:
    """omni's own, or what another package adds under the name."""
    if name in importers:
        return importers[name]
    added = plugins("omni.importers").get(name)
    return None if added is None else Importer(name, name, added.target, added=added)


class ImportBatch(Struct, frozen=True):
    """All that some paths hold: one call per real call, by time; what could not be read; and
    how often what was passed over on purpose. ``rows`` counts the lines before collapsing."""

    calls: list[ImportedCall]
    problems: list[ImportProblem]
    skips: Counter[str] = field(default_factory=Counter)
    rows: int = 0


class Tally(Struct):
    """What there was beside calls, as of ``ImportBatch``, and how many these are, so far."""

    problems: list[ImportProblem] = field(default_factory=list)
    skips: Counter[str] = field(default_factory=Counter)
    rows: int = 0

    def calls(
        self,
        importer: Importer,
        wanted: Sequence[Wanted],
        mapping: Mapping[str, str] | None = None,
        progress: Progress | None = None,
    ) -> Iterator[ImportedCall]:
        for index, (file, mark) in enumerate(wanted):
            if progress is not None:
                progress(file, index, len(wanted))
            for item in importer.read_file(file, self.skips, mark, mapping):
                if isinstance(item, ImportProblem):
                    self.problems.append(item)
                else:
                    self.rows += 1
                    yield item


class Work:
    """What one importer is to read: all that is new under ``paths``. Other arguments: ``load``."""

    def __init__(
        self,
        importer: Importer,
        paths: Iterable[Path],
        *,
        mapping: Mapping[str, str] | None = None,
        marks: Marks | None = None,
    ) -> None:
        importer.check(mapping)
        self.importer = importer
        self.mapping = mapping
        self.wanted: list[Wanted] = []
        for path in paths:
            files = importer.files(path)
            self.wanted += [(Path(f), None) for f in files] if marks is None else marks.begun(files)
        self.helpers: Sequence[Helper] = ()

    def load(self, progress: Progress | None = None) -> ImportBatch:
        """Read it and what helpers have read of it, and collapse."""
        tally = Tally()
        calls = tally.calls(self.importer, self.wanted, self.mapping, progress)
        found = collapse(chain(calls, *(helper.answer(tally) for helper in self.helpers)))
        return ImportBatch(found, tally.problems, tally.skips, tally.rows)


def share(works: Sequence[Work]) -> None:
    """Take out of much that is to be read what other processes read meanwhile: so much of each
    that this one, which also prices, never waits long."""
    shared = [work for work in works if work.importer.added is None and not work.mapping]
    sizes = [
        [_state_of(str(file))[0] - (mark.offset if mark else 0) for file, mark in work.wanted]
        for work in shared
    ]
    others = min(_cores(), _READERS) - 1
    if sum(map(sum, sizes)) < _MUCH_BYTES or others < 1 or not _may_fork():
        return
    from omni_cli.importers.helper import Helper

    tasks: list[list[tuple[Work, list[Wanted]]]] = [[] for _ in range(others)]
    # The bytes that this process and each of the others will have behind it.
    own = theirs = 0.0
    for work, left in zip(shared, sizes, strict=True):
        whole = sum(left)
        each = (own + whole - theirs) / (others + 1 + _GIVING)
        each = min(max(each, 0), whole / others)
        own += whole * (1 + _PRICING) - each * others * (1 - _TAKING)
        theirs += each * (1 + _GIVING)
        for task in tasks:
            part: list[Wanted] = []
            size = 0
            while left and size + left[-1] / 2 < each:
                size += left.pop()
                part.append(work.wanted.pop())
            task.append((work, part))
    helpers: list[Helper] = []
    for task in tasks:
        try:
            helpers.append(Helper([(work.importer, part) for work, part in task], helpers))
        except OSError:  # no room for another process
            for work, part in task:
                work.wanted += part
    for work in shared:
        work.helpers = helpers


def _cores() -> int:
    """How many this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS
        return os.cpu_count() or 1


def _may_fork() -> bool:
    """As ``system.fork`` asks."""
    return threading.active_count() == 1


def load(
    name: str,
    paths: Iterable[Path],
    *,
    mapping: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    marks: Marks | None = None,
) -> ImportBatch:
    """Read and collapse everything under ``paths`` with the importer ``name``.

    Memory grows with the number of real calls, not with the size of the files.

    Raises:
        UsageError: no such importer, or a mapping that does not fit.
    """
    importer = importer_of(name)
    if importer is None:
        raise UsageError(f"no such importer: {name}", hint=f"one of: {', '.join(importer_names())}")
    work = Work(importer, paths, mapping=mapping, marks=marks)
    share([work])
    return work.load(progress)
