"""What the store gives back besides domain values."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from omni_cli.domain.analytics import Totals
    from omni_cli.domain.chat import Message, Usage
    from omni_cli.domain.ledger import AttemptRow, RequestRow
    from omni_cli.domain.prices import Price
    from omni_cli.domain.recommend import Finding
    from omni_cli.domain.sessions import Session

#: How many of the newest requests a filter looks through.
NEWEST = 5_000
#: Values that sums must have, by dimension.
Filters: TypeAlias = "Mapping[str, str]"
DeployState = Literal["canary", "watching", "promoted", "held", "rolled_back", "aborted", "left"]


class Lock(Enum):
    """What a transaction keeps others from changing while it reads first and writes then. A store
    may lock more than was asked for: SQLite has one lock."""

    LEDGER = auto()
    BUDGETS = auto()
    SLOTS = auto()
    FLEET = auto()
    AUDIT = auto()
    KEYS = auto()
    HEALTH = auto()
    LEARNING = auto()
    ADVICE = auto()
    ANSWERS = auto()
    TESTS = auto()
    DEPLOYS = auto()
    COMPARISONS = auto()
    CONVERSATIONS = auto()
    ALERTS = auto()
    META = auto()


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
    """A recommendation and what became of it: pending, applied or dismissed.

    ``undo`` are JSON values that say how to take it back. Times in ms UTC.
    """

    id: int
    status: str
    finding: Finding
    seen_at_ms: int
    decided_at_ms: int | None
    undo: Any


class KnownCalls(Struct, frozen=True):
    """What the ledger holds already: arguments of ``domain.imports.unknown_only``."""

    external_ids: Collection[tuple[str, str]]
    message_ids: Collection[tuple[str, str]]
    contents: Collection[tuple[str, str]]
    ledger_ids: Collection[str]


class Charge(Struct, frozen=True):
    """An attempt and what it is charged at now.

    ``current_nusd``: its cost with corrections, None where unknown. ``calls``: how many calls an
    imported report's row adds up (1: a single call).
    """

    request: RequestRow
    attempt: AttemptRow
    current_nusd: int | None
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


class Verdict(Struct, frozen=True):
    """What shared limits say of a request. ``refused``: "" where it is counted in, else the limit:
    "requests", "tokens", or "once", those at once. ``left_``: of a minute's, None without a limit.
    ``wait_ms``: until there is room, or all of it is there again."""

    refused: str
    left_requests: int | None
    left_tokens: int | None
    wait_ms: int


class MoveFacts(Struct, frozen=True):
    """A store that is, or would be, carried to another place. ``rows``: by table; ``money_nusd``:
    what the ledger's calls have cost; ``under_way``: it was begun before, and cut off."""

    source: str
    target: str
    rows: Mapping[str, int]
    money_nusd: int
    size_bytes: int
    under_way: bool


class CachedAnswer(Struct, frozen=True):
    """``origin``: the request that was really asked; ``cost_nusd``: what that cost, None:
    unknown."""

    origin: int
    answer: str
    cost_nusd: int | None


class CacheStats(Struct, frozen=True):
    """``saved_nusd``: what the answers cost when they were really asked, hit by hit."""

    answers: int
    bytes: int
    hits: int
    saved_nusd: int


class Deploy(Struct, frozen=True):
    """``share``: of new conversations, None for all of them. ``until_at``, ms: then a canary is
    promoted, or a whole deploy held for good. ``tests``: its A/B tests by role."""

    id: int
    started_at: int
    ended_at: int | None
    until_at: int | None
    state: DeployState
    share: float | None
    condition: str
    base_revision: int
    revision: int | None
    document: Mapping[str, Any]
    tests: Mapping[str, int]
    reason: str


class Discovered(Struct, frozen=True):
    """A finding as recorded. Times ms UTC; ``applied_at_ms`` None: nothing was done about it."""

    at_ms: int
    provider: str
    kind: str
    model: str
    details: Mapping[str, Any]
    applied_at_ms: int | None


#: What a key may do with the fleet, each with what stands before it: look; run what is run from day
#: to day (tests, comparisons, who is first in a role); change what it is made of.
SCOPES = ("read", "operate", "admin")


class ClientKey(Struct, frozen=True):
    """A key as it is kept. ``name`` is what requests, usage and budgets of it are filed under.

    ``shown``: its first and last characters. ``scope``: one of SCOPES, what it may do with the
    fleet, "" nothing; one of no organisation sees what all of them use. ``models``: patterns of
    the models it may call, none for all. ``rpm``, ``tpm``: requests and tokens a minute;
    ``concurrency``: requests at once; None without limit. Times in ms UTC.
    ``session``: of a key that a launcher made for one session: what comes with it is of that
    session, or of one below it. Such keys do not close the gateway to callers without a key.
    """

    name: str
    shown: str
    org: str = ""
    scope: str = ""
    models: tuple[str, ...] = ()
    rpm: int | None = None
    tpm: int | None = None
    concurrency: int | None = None
    created_at: int = 0
    expires_at: int | None = None
    revoked_at: int | None = None
    used_at: int | None = None
    session: Session | None = None

    def state(self, now_ms: int) -> str:
        """``active``, ``expired`` or ``revoked``."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now_ms else "active"


def digest_of(token: str) -> bytes:
    """What is kept of a key, 32 bytes."""
    from hashlib import sha256  # loads OpenSSL

    return sha256(token.encode("utf-8", "surrogatepass")).digest()


class Tally(Struct, frozen=True):
    """Sums of a model over a day (yyyymmdd in the rollups' zone), or over one task of it.

    ``unknown_attempts`` are those whose price is unknown: they are not in ``cost_nusd``.
    """

    day: int
    provider: str
    model: str
    task: str
    calls: int
    ok: int
    attempts: int
    failed_attempts: int
    unknown_attempts: int
    input_tokens: int
    output_tokens: int
    cost_nusd: int
    latency_ms: int
    latency_calls: int


class ModelHour(Struct, frozen=True):
    """A model's hour; ``hour`` counts hours since the epoch, UTC."""

    hour: int
    provider: str
    model: str
    calls: int
    attempts: int
    failed_attempts: int
    cost_nusd: int
    latency_ms: int
    latency_calls: int


class Failure(Struct, frozen=True):
    """One failed attempt; ``at_ms`` is when it started."""

    request: int
    model: str
    provider: str
    at_ms: int
    code: str
    message: str


class Takeover(Struct, frozen=True):
    """A request that ``failed`` was asked first, and ``model`` answered; ``code``: why."""

    request: int
    failed: str
    model: str
    code: str


class Answered(Struct, frozen=True):
    """A stored question and what was answered. ``messages``: all up to the question;
    ``cost_nusd`` None where unknown."""

    request: int
    model: str
    task: str
    messages: tuple[Message, ...]
    answer: str
    finish_reason: str | None
    latency_ms: int | None
    ttft_ms: int | None
    cost_nusd: int | None


class RollupCheck(Struct, frozen=True):
    """Sums of money in nano-dollars, and rows that differ.

    ``ledger_nusd``: attempts and corrections; ``receipts_nusd``: what requests say of themselves;
    ``archive_nusd``: what retention removed from the ledger and rollups still hold.
    ``different_rows``: rollup rows that the ledger would have otherwise; ``examples`` some.
    """

    ledger_nusd: int
    receipts_nusd: int
    day_nusd: int
    hour_nusd: int
    archive_nusd: int
    different_rows: int
    examples: tuple[str, ...]

    @property
    def sound(self) -> bool:
        whole = self.ledger_nusd + self.archive_nusd
        return (
            not self.different_rows
            and self.ledger_nusd == self.receipts_nusd
            and self.day_nusd == self.hour_nusd == whole
        )


class ComparisonRow(Struct, frozen=True):
    """``plan`` is the comparison as JSON values: contenders, cases, settings."""

    id: int
    created_at: int
    updated_at: int
    state: str
    plan: dict[str, Any]


class ResultRow(Struct, frozen=True):
    """One answer. ``prompt`` is its hash; ``cost_nusd`` None where unknown; ``earlier_nusd``:
    what failed tries of it cost in earlier runs."""

    prompt: str
    contender: str
    iteration: int
    request: int
    state: str
    model: str
    task: str
    output: str
    finish_reason: str | None
    latency_ms: int | None
    ttft_ms: int | None
    cost_nusd: int | None
    earlier_nusd: int
    error_code: str | None
    error_message: str | None


class JudgementRow(Struct, frozen=True):
    """``scores`` 0..1 by contender; empty where the judge could not be read."""

    prompt: str
    iteration: int
    turn: int
    request: int
    scores: Mapping[str, float]
    cost_nusd: int | None


class StoreFacts(Struct, frozen=True):
    """``problems``: what the engine says, empty where the store is sound. ``newest``: the schema
    that this omni writes. ``open_requests``: not yet settled, alive or abandoned. ``server``: the
    version of the database's server, "?" where it does not answer, "" where the store is a file."""

    exists: bool
    problems: tuple[str, ...] = ()
    journal_mode: str = ""
    schema: int = 0
    newest: int = 0
    size_bytes: int = 0
    requests: int = 0
    open_requests: int = 0
    sqlite: str = ""
    server: str = ""
