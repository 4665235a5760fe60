"""Data to stdout as tables or JSON, talk to stderr; colour only on a terminal."""

import json
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TextIO

if TYPE_CHECKING:
    from omni_cli.domain.abtest import Trial

Style = Literal["bold", "dim", "red", "green", "yellow", "cyan"]

_CODES: dict[Style, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


def emit_json(value: Any, *, compact: bool = False) -> None:
    """One JSON value on stdout."""
    text = json.dumps(value, ensure_ascii=False, indent=None if compact else 2)
    sys.stdout.write(text + "\n")


def out(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def answer(document: Any, line: str, *, as_json: bool) -> None:
    """What a command did: its document where JSON was asked for, else one line."""
    if as_json:
        emit_json(document)
    else:
        out(line)


#: All controls but line breaks and tabs: what moves the cursor, sets titles or the clipboard.
_UNSAFE = {
    code: None for code in (*range(0x20), 0x7F, *range(0x80, 0xA0)) if chr(code) not in "\n\t"
}


def plain(text: str) -> str:
    """A model's words as a terminal may show them: without escape sequences' leading controls.

    A pipe gets them as they came; only a terminal acts on them.
    """
    return text.translate(_UNSAFE) if sys.stdout.isatty() else text


def note(text: str) -> None:
    """Talk: to stderr, so that a pipe gets data only."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def progress(text: str = "") -> None:
    """A line on a terminal that the next one takes the place of; "" takes it away."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text[:76]}")
        sys.stderr.flush()


def colour_on(stream: TextIO) -> bool:
    """NO_COLOR and TERM=dumb switch it off, FORCE_COLOR on, else a terminal decides."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, style: Style, stream: TextIO | None = None) -> str:
    """``text`` in a style where the stream shows it, else as it is."""
    if not colour_on(stream or sys.stdout):
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def width_of(text: str) -> int:
    """Terminal cells: wide East Asian characters take two, combining marks none."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def clip(text: str, width: int) -> str:
    """``text`` in at most ``width`` cells, the last one an ellipsis where it is cut."""
    if width_of(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        cells = width_of(char)
        if used + cells > width - 1:
            break
        kept.append(char)
        used += cells
    return "".join(kept) + "…"


def number(value: int | None) -> str:
    """With thousands separators; "unknown" for None."""
    return "unknown" if value is None else f"{value:,}"


def size(count: int) -> str:
    """Bytes: "1.2 MB"."""
    amount, units = float(count), iter(("B", "KB", "MB", "GB", "TB"))
    unit = next(units)
    while amount >= 1000 and unit != "TB":
        amount, unit = amount / 1000, next(units)
    return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"


def milliseconds(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.1f} s" if value >= 1000 else f"{value:.0f} ms"


def trial_lines(trial: "Trial", head: str, of: str, zone: str) -> list[str]:
    """Where an A/B test or a shadow stands, and why it ended, if it did."""
    ended = "" if trial.ended_at is None else f" to {moment(trial.ended_at, zone)}"
    since = f"since {moment(trial.started_at, zone)}{ended}"
    why = [f"{trial.state}: {trial.reason}"] if trial.reason else []
    return [f"{head}  {trial.state}, {trial.share:.0%}{of} {since}", *why]


def moment(at_ms: int | None, zone: str) -> str:
    """A time as the user reads it, in the user's zone."""
    if at_ms is None:
        return "-"
    from zoneinfo import ZoneInfo

    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    return local.strftime("%Y-%m-%d %H:%M:%S")


def bar(share: float, width: int = 20) -> str:
    """A bar of ``width`` cells for a share of 0..1."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)
