"""What the store gives back besides domain values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from omni_cli.domain.prices import Price
    from omni_cli.domain.recommend import Finding


class StoredPrice(Struct, frozen=True):
    """A price row: ``id`` is what attempts point at. ``origin``: catalogue, provider or user."""

    id: int
    origin: str
    price: Price


class ModelStats(Struct, frozen=True):
    """Measured behaviour of a model at one task type.

    ``mean_output_tokens`` over good calls; latencies in ms, newest weighted most.
    """

    calls: int
    ok: int
    mean_output_tokens: float | None
    latency_ms: float | None
    ttft_ms: float | None


class AuditEntry(Struct, frozen=True):
    """``before`` and ``after`` are JSON texts or None; ``hash`` covers all fields and the
    entry before, so that an edit or a gap shows. Times in ms UTC."""

    id: int
    at_ms: int
    who: str
    action: str
    target: str
    before: str | None
    after: str | None
    previous_hash: str
    hash: str


class Revision(Struct, frozen=True):
    """A numbered snapshot of the fleet as TOML text."""

    number: int
    at_ms: int
    who: str
    reason: str
    fleet: str


class StoredAdvice(Struct, frozen=True):
    """A recommendation and what became of it: pending, applied, dismissed or undone.

    ``undo`` are JSON values that say how to take it back. Times in ms UTC.
    """

    id: int
    status: str
    finding: Finding
    seen_at_ms: int
    decided_at_ms: int | None
    undo: Any
