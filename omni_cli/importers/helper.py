"""Another process that reads a part of many logs meanwhile, and says what is in them.

It is forked, so that nothing is started or loaded twice. Its answers are pickles of columns, a
tenth of what the calls themselves take: both ends are this program, and nobody else can write
between them. One that ends early loses nothing: this process then reads what it should have.
"""

import contextlib
import gc
import os
import pickle
import signal
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from omni_cli import system
from omni_cli.domain.chat import Usage
from omni_cli.domain.imports import ImportedCall, by_id
from omni_cli.importers import Importer, Tally, Wanted

#: Files that one importer reads.
Task = tuple[Importer, Sequence[Wanted]]
#: Values by field; those that are all the same once.
_Columns = list[tuple[Any, ...]]
_USAGE = ImportedCall.__struct_fields__.index("usage")


class Helper:
    """Reads ``tasks`` in their order from now on, and is asked for their answers in the same.

    Raises OSError: the system has no room for another process.
    """

    def __init__(self, tasks: Sequence[Task], others: Sequence["Helper"]) -> None:
        self._tasks = list(tasks)
        answers, said = os.pipe()
        self._answers = os.fdopen(answers, "rb")
        try:
            self._process = system.fork()
        except OSError:
            self._answers.close()
            os.close(said)
            raise
        if not self._process:
            # The parent's files are open here, too: nothing of them is flushed, closed or changed.
            try:
                for other in (self, *others):
                    other._answers.close()
                _work(tasks, said)
            finally:
                os._exit(0)
        os.close(said)

    def answer(self, tally: Tally) -> Iterator[ImportedCall]:
        """The next task's calls, once they are read; brings its files' marks on."""
        importer, wanted = self._tasks.pop(0)
        answer = None
        # Where it has ended early there is nothing, or a part.
        with contextlib.suppress(EOFError, pickle.UnpicklingError):
            answer = pickle.load(self._answers)  # noqa: S301 - written by ``_work``
        if not self._tasks:
            self._answers.close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._process, 0)
        if answer is None:
            yield from tally.calls(importer, wanted)
            return
        blocks, read, marks = answer
        for (_, mark), brought in zip(wanted, marks, strict=True):
            if mark is not None:
                for name, value in zip(mark.__struct_fields__, brought, strict=True):
                    setattr(mark, name, value)
        tally.problems += read.problems
        tally.skips.update(read.skips)
        tally.rows += read.rows
        yield from _calls(blocks)


def _work(tasks: Sequence[Task], said: int) -> None:
    """The other end: it ends silently where the first does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    gc.disable()
    with contextlib.suppress(BrokenPipeError), os.fdopen(said, "wb") as answers:
        for importer, wanted in tasks:
            tally = Tally()
            calls = by_id(tally.calls(importer, wanted)).values()
            marks = [None if mark is None else astuple(mark) for _, mark in wanted]
            pickle.dump((_blocks(calls), tally, marks), answers, 5)
            answers.flush()


def _blocks(calls: Iterable[ImportedCall]) -> list[tuple[_Columns, _Columns]]:
    """Columns of the calls that state a usage, and of those that do not."""
    stated: list[ImportedCall] = []
    silent: list[ImportedCall] = []
    for call in calls:
        (silent if call.usage is None else stated).append(call)
    usages = [call.usage for call in stated if call.usage is not None]
    return [(_columns(stated, but=_USAGE), _columns(usages)), (_columns(silent), [])]


def _columns(rows: Sequence[Struct], *, but: int | None = None) -> _Columns:
    """``but``: the place of a field that goes another way."""
    found: _Columns = []
    for place, column in enumerate(zip(*map(astuple, rows), strict=True)):
        is_one = place == but or column.count(column[0]) == len(column)
        found.append(column[:1] if is_one else column)
    return found


def _calls(blocks: Iterable[tuple[_Columns, _Columns]]) -> Iterator[ImportedCall]:
    for columns, usages in blocks:
        if columns:
            size = max(map(len, columns))
            fields = _whole(columns, size)
            if usages:
                fields[_USAGE] = map(Usage, *_whole(usages, size))
            yield from map(ImportedCall, *fields)


def _whole(columns: _Columns, size: int) -> list[Iterable[Any]]:
    return [repeat(column[0], size) if len(column) == 1 else column for column in columns]
