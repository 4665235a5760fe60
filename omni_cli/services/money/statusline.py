"""One line about an agent's session: what it and today cost, what is left of its block, and how
much of the context is used.

Claude Code writes a JSON object to a status line's command each time something changes (its docs,
"Status line"): ``session_id``, ``transcript_path``, ``model``, ``cost``, and in later versions
``context_window`` and ``rate_limits``. What it says of itself goes before what is worked out.

It imports neither msgspec nor typing, which take longer than all of it (statusline.py).
"""

from __future__ import annotations

from omni_cli.domain.blocks import BLOCK_MS, Block, blocks_of
from omni_cli.domain.money import format_usd, known_nusd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from omni_cli.domain.blocks import HourUse

    class Figures(Protocol):
        """What is read of the ledger (store/statusline.py)."""

        def today(self) -> tuple[int, int, int]: ...
        def session(self, name: str) -> tuple[int, int, int]: ...
        def block(self, agent: str, last_ms: int) -> list[HourUse]: ...
        def window(self, model: str) -> int | None: ...


AGENT = "claude-code"
_NUSD = 1_000_000_000
#: More than any figure that an agent tells: dollars, tokens, seconds since the epoch.
_MOST = 10**12


class Status:
    """``context_tokens`` of ``context_window`` are used. ``block_left_ms``: until the block ends.
    ``logs_behind``: the session's logs hold what was not read yet, and ``logs_age_ms`` is how long
    ago they were. None where it is not known.

    Args:
        given: what the agent says.
        now: ms UTC.
    """

    def __init__(
        self,
        given: Mapping[str, Any],
        figures: Figures,
        now: int,
        logs_behind: bool,
        logs_age_ms: int | None,
    ) -> None:
        model = _object(given.get("model"))
        name = _text(model.get("id"))
        tokens, window = _context(given)
        blocks = blocks_of(figures.block(AGENT, now + BLOCK_MS))
        block = blocks[-1] if blocks and blocks[-1].active(now) else None
        burn = None if block is None else block.burn(now)
        self.model = _text(model.get("display_name")) or name
        self.session = _text(given.get("session_id"))
        self.session_nusd = _session(self.session, given, figures)
        self.today_nusd = known_nusd(*figures.today())
        self.block_nusd = None if block is None else block.known_nusd
        self.block_left_ms = _left(given, block, now)
        self.hour_nusd = None if burn is None else burn.cost_per_hour_nusd
        self.context_tokens = tokens
        self.context_window = window or figures.window(f"anthropic/{name}")
        self.logs_behind = logs_behind
        self.logs_age_ms = logs_age_ms


def _session(session: str, given: Mapping[str, Any], figures: Figures) -> int | None:
    """By the ledger where it knows the session, with its sub-agents', else as the agent says."""
    if session:
        cost, unknown, tries = figures.session(session)
        known = known_nusd(cost, unknown, tries)
        if tries and known is not None:
            return known
    told = _number(_object(given.get("cost")).get("total_cost_usd"))
    return None if told is None else round(told * _NUSD)


def _left(given: Mapping[str, Any], block: Block | None, now: int) -> int | None:
    resets = _number(_object(_object(given.get("rate_limits")).get("five_hour")).get("resets_at"))
    if resets is not None and now < resets * 1000 <= now + BLOCK_MS:
        return int(resets * 1000) - now
    return None if block is None else block.left_ms(now)


def _context(given: Mapping[str, Any]) -> tuple[int | None, int | None]:
    told = _object(given.get("context_window"))
    window = _count(told.get("context_window_size"))
    used = _object(told.get("current_usage"))
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    counts = [_count(used.get(name)) for name in names]
    if counts[0] is not None:
        return sum(count or 0 for count in counts), window
    percent = _number(told.get("used_percentage"))
    if window and percent is not None:
        return round(window * percent / 100), window
    return None, window


def status_line(status: Status) -> str:
    """Parts that are not known are left out."""
    spent = [f"{format_usd(status.session_nusd)} session"]
    spent.append(f"{format_usd(status.today_nusd)} today")
    if status.block_nusd is not None or status.block_left_ms is not None:
        spent.append(f"{format_usd(status.block_nusd)} block")
    if status.block_left_ms is not None:
        hours, minutes = divmod(status.block_left_ms // 60_000, 60)
        spent[-1] += f" ({hours}h {minutes:02d}m left)"
    parts = [status.model, ", ".join(spent)]
    if status.hour_nusd is not None:
        parts.append(f"{format_usd(status.hour_nusd)}/h")
    if status.context_tokens is not None:
        share = ""
        if status.context_window:
            share = f" ({100 * status.context_tokens / status.context_window:.0f}%)"
        parts.append(f"context {status.context_tokens:,}{share}")
    if status.logs_age_ms is not None:
        parts.append(f"logs read {_ago(status.logs_age_ms // 1000)} ago")
    return " | ".join(part for part in parts if part)


def _ago(seconds: int) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def status_document(status: Status) -> dict[str, Any]:
    from omni_cli.domain.document import document

    return document(status, *vars(status))


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return "".join(c for c in value if c.isprintable()) if isinstance(value, str) else ""


def _number(value: object) -> float | None:
    """None for what no agent means: JSON may hold numbers without an end, and none at all."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if 0 <= value < _MOST else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and _number(value) is not None else None
