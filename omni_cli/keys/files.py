"""Private files: created for their owner only, replaced whole or not at all, one writer."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omni_cli import system
from omni_cli.domain.errors import ConfigError

PRIVATE = 0o600

#: What omni writes into its home about keys: the encrypted file, its master key, and whose keys the
#: keyring holds.
VAULT, MASTER, INDEX = "keys.enc", "keys.key", "keyring.json"


def read_private(path: Path) -> bytes | None:
    """The file's bytes, or None where there is none.

    Raises:
        ConfigError: others than the owner may read or write it, or it cannot be read.
    """
    try:
        with path.open("rb") as file:
            # Windows has no such bits: files in the user's profile are the user's own.
            mode = os.fstat(file.fileno()).st_mode
            if sys.platform != "win32" and stat.S_IMODE(mode) & 0o077:
                raise ConfigError(
                    f"{path} may be used by others (mode {stat.S_IMODE(mode):o})",
                    hint=f"run: chmod 600 '{path}', and replace keys that others may have read",
                )
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}") from exc


def write_private(path: Path, data: bytes) -> None:
    """Replace the file in one step; a reader, or a crash, sees the old one or the new one.

    Call it under ``lock``: the temporary file has one fixed name, so that what a killed writer
    left behind is overwritten by the next. Raises ConfigError when it cannot be written.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as exc:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise ConfigError(f"cannot write {path}: {exc.strerror}") from exc


def _sync_folder(folder: Path) -> None:
    """Make the renaming itself durable, where a folder can be opened at all."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes; the system drops it if this one is killed.

    Creates the folder (for its owner only) where it is missing. Raises ConfigError.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT, PRIVATE)
    except OSError as exc:
        raise ConfigError(f"cannot write in {path.parent}: {exc.strerror}") from exc
    try:
        system.lock(handle)
        yield
    finally:
        os.close(handle)  # which also lets go of the lock
