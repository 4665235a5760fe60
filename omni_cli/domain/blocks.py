"""Blocks of five hours, as Claude's subscriptions count them: use, burn rate and projection.

A block begins with the hour (UTC) of the first call after the one before it has ended. Rules as
ccusage's, whose totals the tests compare.
"""

from collections.abc import Iterable

from msgspec import Struct, field

from omni_cli.domain.periods import HOUR_MS

BLOCK_MS = 5 * HOUR_MS
_MINUTE_MS = 60_000


class HourUse(Struct, frozen=True):
    """What one model did within one hour: ``first_at`` and ``last_at`` are its first and last call,
    ms UTC. ``input_tokens`` includes what the cache read and wrote."""

    model: str
    first_at: int
    last_at: int
    calls: int
    input_tokens: int
    cached_tokens: int
    cache_write_tokens: int
    output_tokens: int
    cost_nusd: int
    unknown: int = 0


class Burn(Struct, frozen=True):
    """How fast a block is used, and what it will have come to at its end if that goes on. Money is
    None where no call has a known price."""

    tokens_per_minute: float
    cost_per_hour_nusd: int | None
    projected_tokens: int
    projected_cost_nusd: int | None


class Block(Struct):
    """``[start_at, end_at)``, ms UTC; ``last_at`` its last call. ``unknown``: calls without a known
    price, which are not in ``cost_nusd``."""

    start_at: int
    first_at: int
    last_at: int
    models: list[str] = field(default_factory=list)
    calls: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    cost_nusd: int = 0
    unknown: int = 0

    @property
    def end_at(self) -> int:
        return self.start_at + BLOCK_MS

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def known_nusd(self) -> int | None:
        """The cost; None where no call has a known price."""
        return None if self.unknown and self.unknown == self.calls else self.cost_nusd

    def active(self, now_ms: int) -> bool:
        return now_ms < self.end_at and now_ms - self.last_at < BLOCK_MS

    def left_ms(self, now_ms: int) -> int:
        return max(self.end_at - now_ms, 0)

    def burn(self, now_ms: int) -> Burn | None:
        """None where the block is over, or all its calls were made at once."""
        span = self.last_at - self.first_at
        if span <= 0 or not self.active(now_ms):
            return None
        left, cost = self.left_ms(now_ms), self.known_nusd
        return Burn(
            self.total_tokens * _MINUTE_MS / span,
            None if cost is None else cost * HOUR_MS // span,
            self.total_tokens + self.total_tokens * left // span,
            None if cost is None else cost + cost * left // span,
        )


def blocks_of(uses: Iterable[HourUse]) -> list[Block]:
    """Oldest first."""
    found: list[Block] = []
    for use in sorted(uses, key=lambda use: (use.first_at, use.model)):
        block = found[-1] if found else None
        if block is None or use.first_at >= block.end_at:
            start = use.first_at // HOUR_MS * HOUR_MS
            block = Block(start, use.first_at, use.last_at)
            found.append(block)
        block.last_at = max(block.last_at, use.last_at)
        if use.model not in block.models:
            block.models.append(use.model)
        for name in (
            "calls",
            "input_tokens",
            "cached_tokens",
            "cache_write_tokens",
            "output_tokens",
            "cost_nusd",
            "unknown",
        ):
            setattr(block, name, getattr(block, name) + getattr(use, name))
    return found
