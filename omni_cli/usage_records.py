"""What the store gives back of usage, corrections and its own size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from omni_cli.domain.analytics import Totals
    from omni_cli.domain.chat import Usage
    from omni_cli.domain.ledger import (
        AttemptRow,
        RequestRow,
    )


class KnownCalls(Struct, frozen=True):
    """What the ledger holds already: arguments of ``domain.imports.unknown_only``."""

    external_ids: Container[tuple[str, str]]
    message_ids: Container[tuple[str, str]]
    ledger_ids: Container[str]


class Charge(Struct, frozen=True):
    """An attempt and what it is charged at now.

    ``current_nusd``: its cost with corrections, None where unknown. ``input_nusd``: the part for
    input. ``calls``: how many calls an imported report's row adds up (1: a single call).
    """

    request: RequestRow
    attempt: AttemptRow
    current_nusd: int | None
    input_nusd: int | None
    calls: int


class Adjustment(Struct, frozen=True):
    """A correction as written: of attempt ``n``, when (ms UTC), by whom, why, by how much."""

    n: int
    at_ms: int
    who: str
    reason: str
    delta_nusd: int


class DaySum(Struct, frozen=True):
    """A model's day (ISO date, UTC) in the ledger. ``cost_nusd`` None: nothing is known;
    ``unknown``: attempts of unknown price, which are not in it."""

    day: str
    provider: str
    model: str
    usage: Usage
    cost_nusd: int | None
    unknown: int


class Correction(Struct, frozen=True):
    """What one attempt should have cost. ``price``: id of the price row that says so. ``final``: it
    is known to have cost that, and nothing more is held for it."""

    request: int
    n: int
    cost_nusd: int
    input_nusd: int | None
    price: int | None
    final: bool = False


class UsageLine(Struct, frozen=True):
    """One rollup row: ``day`` yyyymmdd; ``keys`` by source, org, key, provider, model, role,
    agent and task."""

    day: int
    keys: Mapping[str, str]
    totals: Totals


class Baseline(Struct, frozen=True):
    """A premium model, how many requests were compared with it, and their cost there."""

    model: str
    calls: int
    premium_nusd: int


class StoreStats(Struct, frozen=True):
    """The store's file. ``rows`` by table; times of requests in ms UTC, None without any."""

    path: str
    schema: int
    size_bytes: int
    free_bytes: int
    wal_bytes: int
    rows: Mapping[str, int]
    oldest_ms: int | None
    newest_ms: int | None


class BackupFacts(Struct, frozen=True):
    """A file that holds a whole store."""

    path: str
    schema: int
    size_bytes: int
    requests: int
    newest_ms: int | None
