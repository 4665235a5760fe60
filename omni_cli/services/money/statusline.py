"""One line about an agent's session: what it and today cost, what is left of its block, and how
much of the context is used.

Claude Code writes a JSON object to a status line's command each time something changes (its docs,
"Status line"): ``session_id``, ``transcript_path``, ``model``, ``cost``, and in later versions
``context_window`` and ``rate_limits``. What it says of itself goes before what is worked out.
"""

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from omni_cli.domain.analytics import Totals, day_key
from omni_cli.domain.blocks import Block
from omni_cli.domain.document import document
from omni_cli.domain.money import format_usd
from omni_cli.domain.periods import DAY_MS, local_date
from omni_cli.ports import Clock
from omni_cli.repositories import Reports, Sessions
from omni_cli.services.money.usage import UsageService

#: As far back as blocks are looked at: an idle time of five hours sets them anew.
_BACK_MS = 4 * DAY_MS
_FIRST, _LAST = 0, 99_999_999
_NUSD = 1_000_000_000


class Status(Struct, frozen=True):
    """``context_tokens`` of ``context_window`` are used. ``block_left_ms``: until the block ends.
    None where it is not known."""

    model: str
    session: str
    session_nusd: int | None
    today_nusd: int | None
    block_nusd: int | None
    block_left_ms: int | None
    hour_nusd: int | None
    context_tokens: int | None
    context_window: int | None


class StatusLines(Struct, kw_only=True, eq=False):
    """Args:
    window: the context window of a model that an agent names, tokens; None where not known.
    """

    reports: Reports
    sessions: Sessions
    usage: UsageService
    zone: Callable[[], str]
    clock: Clock
    window: Callable[[str], int | None]

    def status(self, given: Mapping[str, Any], agent: str = "claude-code") -> Status:
        now = int(self.clock() * 1000)
        today = day_key(local_date(now, self.zone()))
        spent = self.reports.totals(today, today).get(())
        session = _text(given.get("session_id"))
        blocks = self.usage.blocks(agent, now - _BACK_MS)
        block = blocks[-1] if blocks and blocks[-1].active(now) else None
        model = _object(given.get("model"))
        name = _text(model.get("id"))
        tokens, window = _context(given)
        return Status(
            model=_text(model.get("display_name")) or name,
            session=session,
            session_nusd=self._session(session, given),
            today_nusd=0 if spent is None else spent.known_nusd,
            block_nusd=None if block is None else block.known_nusd,
            block_left_ms=_left(given, block, now),
            hour_nusd=None if block is None else _hour(block, now),
            context_tokens=tokens,
            context_window=window or self.window(name),
        )

    def _session(self, session: str, given: Mapping[str, Any]) -> int | None:
        """By the ledger where it knows the session, with its sub-agents', else as the agent
        says."""
        if session:
            spent = Totals()
            for one in (session, *(row.session.id for row in self.sessions.within(session))):
                spent += self.reports.totals(_FIRST, _LAST, (), {"session": one}).get((), Totals())
            if spent.attempts and spent.known_nusd is not None:
                return spent.known_nusd
        told = _object(given.get("cost")).get("total_cost_usd")
        return round(told * _NUSD) if isinstance(told, int | float) else None


def _hour(block: Block, now: int) -> int | None:
    burn = block.burn(now)
    return None if burn is None else burn.cost_per_hour_nusd


def _left(given: Mapping[str, Any], block: Block | None, now: int) -> int | None:
    resets = _object(_object(given.get("rate_limits")).get("five_hour")).get("resets_at")
    if isinstance(resets, int | float) and resets * 1000 > now:
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
    percent = told.get("used_percentage")
    if window and isinstance(percent, int | float):
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
    return " | ".join(part for part in parts if part)


def status_document(status: Status) -> dict[str, Any]:
    return document(status)


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return "".join(c for c in value if c.isprintable()) if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return None
    return value
