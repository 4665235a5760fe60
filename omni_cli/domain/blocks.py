"""Blocks of five hours, as Claude's subscriptions count them: use, burn rate and projection.

A block begins with the hour (UTC) of the first call after the one before it has ended. Rules as
ccusage's, whose totals the tests compare.

Plain classes: a status line is drawn before msgspec or typing would be loaded (statusline.py).
"""

from __future__ import annotations

from omni_cli.domain.money import known_nusd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_HOUR_MS = 3_600_000
BLOCK_MS = 5 * _HOUR_MS
_MINUTE_MS = 60_000
#: What one model did within one hour: its name; its first and its last call, ms UTC; how many
#: calls; input tokens, with what the cache read and wrote; those two; output tokens; the cost in
#: nano-dollars of calls whose price is known; and how many have none.
HourUse = tuple[str, int, int, int, int, int, int, int, int, int]


class Burn:
    """How fast a block is used, and what it will have come to at its end if that goes on. Money is
    None where no call has a known price."""

    def __init__(self, block: Block, span_ms: int, left_ms: int) -> None:
        tokens, cost = block.total_tokens, block.known_nusd
        self.tokens_per_minute = tokens * _MINUTE_MS / span_ms
        self.cost_per_hour_nusd = None if cost is None else cost * _HOUR_MS // span_ms
        self.projected_tokens = tokens + tokens * left_ms // span_ms
        self.projected_cost_nusd = None if cost is None else cost + cost * left_ms // span_ms


class Block:
    """``[start_at, end_at)``, ms UTC; ``last_at`` its last call. ``unknown``: calls without a known
    price, which are not in ``cost_nusd``."""

    def __init__(self, first_at: int) -> None:
        self.start_at = first_at // _HOUR_MS * _HOUR_MS
        self.first_at = self.last_at = first_at
        self.models: list[str] = []
        self.calls = self.input_tokens = self.cached_tokens = self.cache_write_tokens = 0
        self.output_tokens = self.cost_nusd = self.unknown = 0

    def add(self, use: HourUse) -> None:
        model, _, last_at, calls, tokens_in, cached, cache_write, tokens_out, cost, unknown = use
        self.last_at = max(self.last_at, last_at)
        if model not in self.models:
            self.models.append(model)
        self.calls += calls
        self.input_tokens += tokens_in
        self.cached_tokens += cached
        self.cache_write_tokens += cache_write
        self.output_tokens += tokens_out
        self.cost_nusd += cost
        self.unknown += unknown

    @property
    def end_at(self) -> int:
        return self.start_at + BLOCK_MS

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def known_nusd(self) -> int | None:
        """The cost; None where no call has a known price."""
        return known_nusd(self.cost_nusd, self.unknown, self.calls)

    def active(self, now_ms: int) -> bool:
        return now_ms < self.end_at and now_ms - self.last_at < BLOCK_MS

    def left_ms(self, now_ms: int) -> int:
        return max(self.end_at - now_ms, 0)

    def burn(self, now_ms: int) -> Burn | None:
        """None where the block is over, or all its calls were made at once."""
        span = self.last_at - self.first_at
        if span <= 0 or not self.active(now_ms):
            return None
        return Burn(self, span, self.left_ms(now_ms))


def blocks_of(uses: Iterable[HourUse]) -> list[Block]:
    """Oldest first."""
    found: list[Block] = []
    for use in sorted(uses, key=lambda use: (use[1], use[0])):
        if not found or use[1] >= found[-1].end_at:
            found.append(Block(use[1]))
        found[-1].add(use)
    return found
