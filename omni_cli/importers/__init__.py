"""Readers of usage that users already have, one module per format, loaded when first used."""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from msgspec import Struct, field

from omni_cli.domain.errors import UsageError
from omni_cli.domain.imports import ImportedCall, ImportProblem, InvoiceLine, LogFile, collapse
from omni_cli.plugins import Plugin, plugins

if TYPE_CHECKING:
    from omni_cli.importers.helper import Helper

#: From so many bytes on more than one process reads, and never more than so many. To start one and
#: to hand its calls over takes what 80 MB take to read.
_MUCH_BYTES, _READERS = 1_000_000_000, 8
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
        progress: Progress | None = None,
        marks: "Marks | None" = None,
    ) -> Iterator[ImportedCall | ImportProblem]:
        """Calls and problems of a file or folder, as they are read; copies are not collapsed.

        Args:
            path: a file, or a folder as ``find_default`` finds it.
            skips: filled with what was passed over on purpose, by reason.
            mapping: field -> column; for ``csv`` only.
            progress: called before each file.
            marks: files that are as they were when they were read last are not read again, and of
                those that only grow what is new.

        Raises:
            UsageError: a mapping that this format does not take or that does not fit.
        """
        if mapping and self.name != "csv":
            raise UsageError(
                f"{self.name} has a fixed format: --map is for csv", hint="omni import csv"
            )
        counted: Counter[str] = Counter() if skips is None else skips
        files = self.files(path)
        wanted: list[Wanted]
        wanted = [(Path(f), None) for f in files] if marks is None else marks.begun(files)
        helpers = [] if mapping else self._helpers(wanted)
        for index, (file, mark) in enumerate(wanted):
            if progress is not None:
                progress(file, index, len(files))
            yield from self.read_file(file, counted, mark, mapping)
        for helper in helpers:
            yield from helper.answer(counted)

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

    def _helpers(self, wanted: "list[Wanted]") -> "list[Helper]":
        """Takes out of much that is to be read what other processes read meanwhile."""
        sizes = [_state_of(str(file))[0] - (mark.offset if mark else 0) for file, mark in wanted]
        if sum(sizes) < _MUCH_BYTES or self.added is not None:
            return []
        from omni_cli.importers.helper import Helper

        readers = min(os.cpu_count() or 1, _READERS)
        share = sum(sizes) / readers
        helpers: list[Helper] = []
        while len(helpers) < readers - 1 and len(wanted) > 1:
            part: list[Wanted] = []
            size = 0
            while len(wanted) > 1 and size < share:
                size += sizes.pop()
                part.append(wanted.pop())
            helpers.append(Helper(self.name, part))
        return helpers

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
    skips: Counter[str] = Counter()
    problems: list[ImportProblem] = []
    read = 0

    def calls() -> Iterator[ImportedCall]:
        nonlocal read
        for path in paths:
            for item in importer.read(
                path, skips=skips, mapping=mapping, progress=progress, marks=marks
            ):
                if isinstance(item, ImportProblem):
                    problems.append(item)
                else:
                    read += 1
                    yield item

    return ImportBatch(collapse(calls()), problems, skips, read)
