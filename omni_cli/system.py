"""Where operating systems differ: locks between processes, signals, users, open files, terminals.

Nothing else in the package imports what only one system has. On Windows none of omni was ever run;
what is known to be missing there is in docs/install.md, "Windows".
"""

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path


def replace_text(path: "Path", text: str) -> None:
    """Write a file whole or not at all, in a folder that is made where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, "utf-8")
    fresh.replace(path)


def temporary() -> "Path":
    """This system's folder for temporary files: tempfile's first choice, which tempfile tries out
    with a file, and loads random to name it."""
    from pathlib import Path

    for named in (*map(os.environ.get, ("TMPDIR", "TEMP", "TMP")), "/tmp"):  # noqa: S108  # folders of 0o700 in it
        if named and os.name == "posix" and os.access(named, os.R_OK | os.W_OK | os.X_OK):
            return Path(named).absolute()
    import tempfile

    return Path(tempfile.gettempdir())


#: The name of a setting of glibc's ``mallopt``, from its malloc.h.
_ARENA_MAX = -8

#: Asked to stop, by a system or a person.
STOPS = (signal.SIGTERM, signal.SIGINT)

if sys.platform == "win32":
    import msvcrt

    #: What whoever starts another program passes on to it, or is told at the keyboard.
    PASSED: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM, signal.SIGBREAK)
    KEYED: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGBREAK)

    def lock(handle: int, *, shared: bool = False, wait: bool = True) -> None:
        del shared  # there is none: who only looks is in another's way for a moment
        while True:
            try:
                # LK_LOCK gives up after ten seconds.
                msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
            except OSError as exc:
                if not wait:
                    raise BlockingIOError(exc.errno, exc.strerror) from None
            else:
                return

    def user_id() -> int:
        return 0  # a user's temporary files are in a folder of the user's own

    def most_open_files() -> int | None:
        return None

    def allow_open_files(wanted: int) -> None:
        del wanted

    def fork() -> int:
        raise OSError("processes are not copied here")

    def at_terminal() -> bool:
        return sys.stdin is not None and sys.stdin.isatty()

    def new_terminal(columns: int, lines: int) -> tuple[int, int]:
        del columns, lines
        raise OSError("Windows has no pseudo terminals of this kind")

    def size_terminal(handle: int, columns: int, lines: int) -> None:
        del handle, columns, lines
        raise OSError("Windows has no pseudo terminals of this kind")

    def take_terminal() -> None:
        pass

    def raw_keys(handle: int) -> AbstractContextManager[None]:
        del handle
        raise OSError("Windows has no raw terminals of this kind")

else:
    import contextlib

    PASSED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP)
    KEYED = (signal.SIGINT, signal.SIGQUIT)

    def lock(handle: int, *, shared: bool = False, wait: bool = True) -> None:
        """Hold a lock on an open file until it is closed, however this process ends.

        Args:
            shared: beside others that hold it so.
            wait: else BlockingIOError is raised where another holds it.
        """
        import fcntl

        fcntl.flock(
            handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        )

    def user_id() -> int:
        return os.getuid()

    def most_open_files() -> int | None:
        """How many files this process may have open; None: no limit is known."""
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return None if soft == resource.RLIM_INFINITY else soft

    def allow_open_files(wanted: int) -> None:
        """Let this process have so many files open, or as many as it may."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        want = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        if soft != resource.RLIM_INFINITY and soft < want:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (want, hard))

    def fork() -> int:
        """Copy this process: its copy's id, and 0 in the copy. Only where no other thread runs: a
        lock that it holds would be held for ever in the copy.

        Raises:
            OSError: the system has no room for another, or copies none.
        """
        return os.fork()

    def at_terminal() -> bool:
        """Whether this process is in its terminal's foreground, where keys are everybody's."""
        try:
            terminal = os.open("/dev/tty", os.O_RDWR)
        except OSError:
            return False
        try:
            return os.tcgetpgrp(terminal) == os.getpgrp()
        except OSError:
            return False
        finally:
            os.close(terminal)

    def new_terminal(columns: int, lines: int) -> tuple[int, int]:
        """A pseudo terminal of that size: who shows it, and who is shown. Raises OSError."""
        import pty

        shower, shown = pty.openpty()
        size_terminal(shower, columns, lines)
        return shower, shown

    def size_terminal(handle: int, columns: int, lines: int) -> None:
        """Raises OSError."""
        import fcntl
        import struct
        import termios

        fcntl.ioctl(handle, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def take_terminal() -> None:
        """Have what this process reads from as its terminal, so that it hears of its end, and ends
        by that: also as the child of one that nohup began, which hears of none."""
        import fcntl
        import termios

        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    @contextlib.contextmanager
    def raw_keys(handle: int) -> Iterator[None]:
        """Each key as it is typed, none shown; as it was, at the end."""
        import termios
        import tty

        before = termios.tcgetattr(handle)
        try:
            tty.setraw(handle)
            yield
        finally:
            termios.tcsetattr(handle, termios.TCSADRAIN, before)


def share_memory() -> None:
    """Let all threads take memory from one place, where the C library gives each its own (glibc):
    what one freed is of no use to others there, and a process of many short threads grows."""
    if sys.platform == "linux":
        import ctypes

        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Let the system have what was freed and is kept for what comes next; some 0.3 ms (glibc)."""
    if sys.platform == "linux":
        import ctypes

        with suppress(AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def on_signals(
    loop: "asyncio.AbstractEventLoop", numbers: Iterable[int], told: Callable[[int], object]
) -> None:
    """Have ``told`` called within ``loop`` when one of these signals comes."""
    for number in numbers:
        try:
            loop.add_signal_handler(number, told, number)
        except NotImplementedError:  # Windows' loops
            signal.signal(number, lambda n, _: loop.call_soon_threadsafe(told, n))


def addresses(host: str) -> list[str]:
    """Of a host's name; none where nobody knows it."""
    import socket

    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None)]
    except OSError:
        return []
