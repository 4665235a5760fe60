"""Another process that reads a part of many logs meanwhile, and says what is in them.

Its answer is a pickle: of calls of which many say the same names it is a tenth of their JSON. Both
ends are this program, and nobody else can write between them.
"""

import contextlib
import gc
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from omni_cli.domain.errors import StoreError
from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.importers import Wanted, importers

_WORK = "from omni_cli.importers.helper import work; work()"


class Helper:
    """Reads ``wanted`` of one source from now on."""

    def __init__(self, source: str, wanted: Sequence[Wanted]) -> None:
        self._wanted = wanted
        self._process = subprocess.Popen(  # noqa: S603 - this program, by its own interpreter
            [sys.executable, "-P", "-c", _WORK],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        if self._process.stdin is not None:
            with self._process.stdin as asked:
                pickle.dump((source, wanted), asked)

    def answer(self, skips: Counter[str]) -> Iterator[ImportedCall | ImportProblem]:
        """What it found, once it has read all; brings its files' marks on.

        Raises StoreError: it ended before.
        """
        with self._process as ended:
            said = b"" if ended.stdout is None else ended.stdout.read()
        if ended.returncode:
            raise StoreError("a process that read logs has ended", hint="import again")
        found, passed, marks = pickle.loads(said)  # noqa: S301 - written by ``work``
        skips.update(passed)
        for (_, mark), read in zip(self._wanted, marks, strict=True):
            if mark is not None:
                for name in mark.__struct_fields__:
                    setattr(mark, name, getattr(read, name))
        yield from found


def work() -> None:
    """The other end: it ends silently where the first does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    gc.disable()
    source, wanted = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by ``Helper``
    skips: Counter[str] = Counter()
    found = [
        item for file, mark in wanted for item in importers[source].read_file(file, skips, mark)
    ]
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(pickle.dumps((found, skips, [mark for _, mark in wanted]), 5))
        sys.stdout.buffer.flush()
