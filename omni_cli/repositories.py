"""The store's side of the ports: what services ask of any store, SQLite's or another's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

# Only names in signatures: a command that reads one table must not load every domain module.
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from omni_cli.domain.analytics import Totals
    from omni_cli.domain.budgets import Budget, BudgetStatus
    from omni_cli.domain.chat import Message, Usage
    from omni_cli.domain.imports import ImportedCall, PricedCall
    from omni_cli.domain.ledger import (
        AttemptEnd,
        AttemptRow,
        NewAttempt,
        NewRequest,
        RequestEnd,
        RequestRow,
    )
    from omni_cli.domain.models import Chain, ModelInfo, Provider, ProviderStatus, Role, Rule
    from omni_cli.domain.prices import Price, PriceState
    from omni_cli.domain.recommend import Finding


@dataclass(frozen=True, slots=True)
class StoredPrice:
    """A price row: ``id`` is what attempts point at. ``origin``: catalogue, provider or user."""

    id: int
    origin: str
    price: Price


@dataclass(frozen=True, slots=True)
class ModelStats:
    """Measured behaviour of a model at one task type.

    ``mean_output_tokens`` over good calls; latencies in ms, newest weighted most.
    """

    calls: int
    ok: int
    mean_output_tokens: float | None
    latency_ms: float | None
    ttft_ms: float | None


@dataclass(frozen=True, slots=True)
class AuditEntry:
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


@dataclass(frozen=True, slots=True)
class Revision:
    """A numbered snapshot of the fleet as TOML text."""

    number: int
    at_ms: int
    who: str
    reason: str
    fleet: str


@dataclass(frozen=True, slots=True)
class KnownCalls:
    """What the ledger holds already: arguments of ``domain.imports.unknown_only``."""

    external_ids: Container[tuple[str, str]]
    message_ids: Container[tuple[str, str]]
    ledger_ids: Container[str]


@dataclass(frozen=True, slots=True)
class Charge:
    """An attempt and what it is charged at now.

    ``current_nusd``: its cost with corrections, None where unknown. ``input_nusd``: the part for
    input. ``calls``: how many calls an imported report's row adds up (1: a single call).
    """

    request: RequestRow
    attempt: AttemptRow
    current_nusd: int | None
    input_nusd: int | None
    calls: int


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A correction as written: of attempt ``n``, when (ms UTC), by whom, why, by how much."""

    n: int
    at_ms: int
    who: str
    reason: str
    delta_nusd: int


@dataclass(frozen=True, slots=True)
class DaySum:
    """A model's day (ISO date, UTC) in the ledger. ``cost_nusd`` None: nothing is known;
    ``unknown``: attempts of unknown price, which are not in it."""

    day: str
    provider: str
    model: str
    usage: Usage
    cost_nusd: int | None
    unknown: int


@dataclass(frozen=True, slots=True)
class Correction:
    """What one attempt should have cost. ``price``: id of the price row that says so."""

    request: int
    n: int
    cost_nusd: int
    input_nusd: int | None
    price: int | None


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One rollup row: ``day`` yyyymmdd; ``keys`` by source, org, key, provider, model, role,
    agent and task."""

    day: int
    keys: Mapping[str, str]
    totals: Totals


@dataclass(frozen=True, slots=True)
class Baseline:
    """A premium model, how many requests were compared with it, and their cost there."""

    model: str
    calls: int
    premium_nusd: int


@dataclass(frozen=True, slots=True)
class StoreStats:
    """The store's file. ``rows`` by table; times of requests in ms UTC, None without any."""

    path: str
    schema: int
    size_bytes: int
    free_bytes: int
    wal_bytes: int
    rows: Mapping[str, int]
    oldest_ms: int | None
    newest_ms: int | None


@dataclass(frozen=True, slots=True)
class BackupFacts:
    """A file that holds a whole store."""

    path: str
    schema: int
    size_bytes: int
    requests: int
    newest_ms: int | None


class Reports(Protocol):
    """Sums over days (yyyymmdd, both included); see store/reports.py."""

    def first_day(self) -> int | None: ...
    def totals(
        self,
        first: int,
        last: int,
        by: Sequence[str] = (),
        filters: Mapping[str, str] | None = None,
    ) -> dict[tuple[str, ...], Totals]: ...
    def daily(
        self, first: int, last: int, filters: Mapping[str, str] | None = None
    ) -> dict[int, Totals]: ...
    def daily_by(
        self, first: int, last: int, by: Sequence[str]
    ) -> dict[tuple[int, tuple[str, ...]], Totals]: ...
    def latencies(
        self,
        first: int,
        last: int,
        by: Sequence[str] = (),
        filters: Mapping[str, str] | None = None,
    ) -> dict[tuple[str, ...], dict[int, int]]: ...
    def baselines(self, first: int, last: int) -> list[Baseline]: ...
    def lines(self, first: int, last: int) -> Iterator[UsageLine]: ...


@dataclass(frozen=True, slots=True)
class StoredAdvice:
    """A recommendation and what became of it: pending, applied, dismissed or undone.

    ``undo`` are JSON values that say how to take it back. Times in ms UTC.
    """

    id: int
    status: str
    finding: Finding
    seen_at_ms: int
    decided_at_ms: int | None
    undo: Any


class Advice(Protocol):
    def refresh(self, findings: list[Finding], *, now_ms: int) -> None: ...
    def all(self) -> list[StoredAdvice]: ...
    def get(self, advice_id: int) -> StoredAdvice | None: ...
    def decide(self, advice_id: int, status: str, *, now_ms: int, undo: object = None) -> None: ...


class Providers(Protocol):
    def all(self) -> list[Provider]: ...
    def get(self, slug: str) -> Provider | None: ...
    def put(self, provider: Provider) -> None: ...
    def delete(self, slug: str) -> None: ...
    def record_test(
        self,
        slug: str,
        status: ProviderStatus,
        *,
        at_ms: int,
        latency_ms: int | None,
        error: str | None,
    ) -> None: ...
    def last_test(self, slug: str) -> tuple[int, int | None, str | None] | None: ...


class Models(Protocol):
    def all(self, *, provider: str | None = None, hidden: bool = False) -> list[ModelInfo]: ...
    def of_providers(self, slugs: Iterable[str]) -> list[ModelInfo]: ...
    def get(self, model_id: str) -> ModelInfo | None: ...
    def find(self, name: str) -> list[str]: ...
    def put(self, model: ModelInfo, *, now_ms: int, user_fields: Iterable[str] = ()) -> None: ...
    def touched(self) -> dict[str, frozenset[str]]: ...
    def user_fields(self, model_id: str) -> frozenset[str]: ...
    def own(self) -> list[ModelInfo]: ...
    def own_scores(self) -> dict[str, dict[str, float]]: ...
    def user_prices(self) -> dict[str, StoredPrice]: ...
    def delete(self, model_id: str) -> None: ...
    def prices(self, wanted: Iterable[str] | None = None) -> dict[str, list[StoredPrice]]: ...
    def price_by_id(self, price_id: int) -> Price | None: ...
    def set_price(self, model_id: str, price: Price, *, origin: str, now_ms: int) -> int: ...
    def drop_prices(self, model_id: str, *, origin: str, now_ms: int) -> None: ...
    def price_states(self) -> Mapping[PriceState, int]: ...


class Assignments(Protocol):
    def roles(self) -> list[Role]: ...
    def role(self, name: str) -> Role | None: ...
    def put_role(self, role: Role) -> None: ...
    def delete_role(self, name: str) -> None: ...
    def rules(self) -> list[Rule]: ...
    def put_rule(self, rule: Rule) -> int: ...
    def delete_rule(self, rule_id: int) -> None: ...
    def chains(self) -> list[Chain]: ...
    def chain(self, name: str) -> Chain | None: ...
    def put_chain(self, chain: Chain) -> None: ...
    def rename_chain(self, name: str, new_name: str) -> None: ...
    def delete_chain(self, name: str) -> None: ...


class Audit(Protocol):
    def record(
        self,
        *,
        at_ms: int,
        who: str,
        action: str,
        target: str,
        before: object = None,
        after: object = None,
    ) -> None: ...
    def entries(self, *, limit: int = 100, target: str | None = None) -> list[AuditEntry]: ...
    def first_broken(self) -> int | None: ...
    def add_revision(self, *, at_ms: int, who: str, reason: str, fleet: str) -> int: ...
    def revisions(self, *, limit: int = 50) -> list[Revision]: ...
    def revision(self, number: int) -> Revision | None: ...


class Budgets(Protocol):
    def all(self) -> list[Budget]: ...
    def get(self, budget_id: int) -> Budget | None: ...
    def put(self, budget: Budget) -> int: ...
    def delete(self, budget_id: int) -> None: ...
    def room_nusd(self, provider: str, model: str, request: RequestRow) -> int | None: ...
    def status(self, budget: Budget, at_ms: int) -> BudgetStatus: ...
    def mark_alerted(self, budget_id: int, start_at: int, percent: float) -> bool: ...
    def estimated_nusd(self, budget: Budget, start: int, end: int) -> int: ...


class Ledger(Protocol):
    """See store/ledger.py for what each promises."""

    @property
    def owner(self) -> str: ...
    def unit(self) -> AbstractContextManager[Any]: ...
    def open(self, request: NewRequest, decision: str | None) -> bool: ...
    def plan(self, attempt: NewAttempt, *, slots: int | None = None) -> bool: ...
    def mark_sent(self, request: int, n: int) -> None: ...
    def checkpoint(self, request: int, n: int, *, first_at: int, received_chars: int) -> None: ...
    def annotate(self, request: int, n: int, code: str, message: str) -> None: ...
    def end_attempt(self, request: int, n: int, end: AttemptEnd, *, priced: str | None) -> bool: ...
    def end_request(self, request: int, end: RequestEnd) -> bool: ...
    def abandoned(self) -> list[RequestRow]: ...
    def open_attempts(self, provider: str) -> int: ...
    def get(self, request: int) -> RequestRow | None: ...
    def find(self, text: str) -> RequestRow: ...
    def recent(
        self,
        *,
        limit: int,
        model: str | None = None,
        state: str | None = None,
        since_ms: int | None = None,
        source: str | None = None,
        role: str | None = None,
    ) -> Iterator[RequestRow]: ...
    def attempts(self, request: int) -> list[AttemptRow]: ...
    def decision(self, request: int) -> str | None: ...
    def calls_between(self, model: str, start_ms: int, end_ms: int) -> int: ...


class Imports(Protocol):
    """See store/imports.py for what each promises."""

    def known(self, source: str, calls: Sequence[ImportedCall]) -> KnownCalls: ...
    def recorded_tokens(self, calls: Iterable[ImportedCall]) -> dict[tuple[str, str], int]: ...
    def add(self, rows: Iterable[PricedCall]) -> int: ...
    def grow(self, rows: Iterable[PricedCall], *, now_ms: int, who: str) -> int: ...


class Adjustments(Protocol):
    """See store/adjustments.py for what each promises."""

    def charges(
        self,
        *,
        after: tuple[int, int],
        limit: int,
        start_ms: int,
        end_ms: int,
        models: Sequence[str] = (),
        only_unknown: bool = False,
        only_estimated: bool = False,
        only_reported: bool = False,
    ) -> list[Charge]: ...
    def unpriced_names(self) -> list[tuple[str, str]]: ...
    def charge(self, request: int, n: int) -> Charge | None: ...
    def apply(
        self, corrections: Iterable[Correction], *, at_ms: int, who: str, reason: str
    ) -> int: ...
    def add_price(self, model: str, price: Price, *, at_ms: int) -> int: ...
    def of_request(self, request: int) -> list[Adjustment]: ...
    def daily(
        self, first_day: str, last_day: str, *, with_imports: bool = True
    ) -> list[DaySum]: ...


class Learning(Protocol):
    def stats(self) -> dict[tuple[str, str], ModelStats]: ...
    def add_outcome(
        self,
        *,
        request: int | None,
        at_ms: int,
        model: str,
        task: str,
        form: str = "",
        kind: str,
        value: float,
        weight: float = 1.0,
        note: str = "",
    ) -> None: ...
    def outcomes_of(self, request: int) -> list[tuple[str, float, str]]: ...
    def rated(self) -> list[tuple[int, str, float]]: ...
    def quality(self) -> Mapping[tuple[str, str], tuple[float, float]]: ...
    def reset_quality(self) -> int: ...


class Conversations(Protocol):
    def create(self, conversation: int, *, at_ms: int, title: str) -> None: ...
    def last(self) -> int | None: ...
    def exists(self, conversation: int) -> bool: ...
    def messages(self, conversation: int) -> list[Message]: ...
    def append(
        self, conversation: int, messages: Sequence[Message], *, request: int, at_ms: int
    ) -> None: ...
    def last_request(self, conversation: int) -> int | None: ...
    def last_model(self, conversation: int) -> str | None: ...


class Breakers(Protocol):
    """Circuit breakers shared between processes; ``target`` is a model id."""

    def all(self) -> Mapping[str, str]: ...
    def get(self, target: str) -> str | None: ...
    def update(self, target: str, change: BreakerChange, *, now_ms: int) -> None: ...


class BreakerChange(Protocol):
    """From the stored state (JSON text or None) to the new one."""

    def __call__(self, stored: str | None) -> str: ...
