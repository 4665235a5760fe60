"""What nobody expected: written down with the places it came through, never with values.

Locals of a form's worker hold keys and prompts, so no traceback of rich or Textual is shown.
"""

import traceback
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from rich.text import Text

from omni_cli.domain.secrets import scrub

FILE = "tui.log"
#: The log begins anew when it is larger, bytes.
_MOST = 1_000_000


class Ended(Exception):
    """The screen had to end; rich shows this instead of a traceback."""

    def __init__(self, error: BaseException, log: Path) -> None:
        super().__init__(str(error))
        self.words = (
            f"omni's screens ended on an unexpected error: {brief(error)}\n"
            f"where it happened is in {log}; nothing in the fleet or the ledger depends on them"
        )

    def __rich__(self) -> Text:
        return Text(self.words)


def brief(error: BaseException) -> str:
    """Its kind and the place in omni where it happened, without its message."""
    frames = traceback.extract_tb(error.__traceback__)
    own = next((f for f in reversed(frames) if "omni_cli" in Path(f.filename).parts), None)
    where = "" if own is None else f" in {Path(own.filename).name}:{own.lineno}"
    return f"{type(error).__name__}{where}"


def keep(folder: Path, error: BaseException, at_s: float) -> Path:
    """Append to the log in ``folder``: when (seconds since the epoch), what, and the way there.

    A log that cannot be written is no reason for another error.
    """
    log = folder / FILE
    when = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")
    lines = [f"{when} {type(error).__name__}: {scrub(str(error))[:300]}"]
    frames = traceback.extract_tb(error.__traceback__)
    lines += [f"  {frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = log.exists() and log.stat().st_size > _MOST
        with log.open("w" if fresh else "a", encoding="utf-8") as file:
            log.chmod(0o600)
            file.write("\n".join([*lines, ""]))
    return log
