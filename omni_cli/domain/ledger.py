"""Rows of the ledger: one request, its attempts, and how they ended.

Times are ms since the epoch, UTC; money is integer nano-dollars, None where unknown.
"""

from typing import Literal, NamedTuple

from msgspec import Struct, field

from omni_cli.domain.chat import Usage
from omni_cli.domain.record import replace

RequestState = Literal["pending", "ok", "failed", "cancelled", "lost", "refused"]
#: planned: written, nothing sent. sent: bytes may have left. lost: its process died after that.
#: unsent: its process died, or the call was refused, before anything left.
AttemptState = Literal["planned", "sent", "ok", "failed", "cancelled", "lost", "unsent"]
#: Where a request came from. Probes, judges and imports are told apart in every report.
Source = Literal[
    "chat",
    "demo",
    "gateway",
    "compare",
    "judge",
    "probe",
    "import",
    "cache",
    "test",
    "shadow",
    "classify",
]
#: Requests that would not exist without a fleet to choose from: what they cost is overhead, and
#: none of them saves anything.
EVALUATION: frozenset[str] = frozenset({"compare", "judge", "probe", "test", "shadow", "classify"})
#: Usage that omni did not route.
FOREIGN: frozenset[str] = frozenset({"import"})


class NewRequest(Struct):
    """What is known of a request before its first call."""

    id: int
    created_at: int
    source: Source
    owner: str
    org: str = ""
    key: str = ""
    role: str = ""
    agent: str = ""
    task: str = ""
    complexity: str = ""
    difficulty: float | None = None
    conversation: int | None = None
    chain: str | None = None
    #: Of an agent (domain/sessions.py), and the folder that it works in; "" where not known.
    session: str = ""
    project: str = ""


class NewAttempt(Struct):
    """``price`` is the id of the price row that this attempt will be charged by.

    ``reserve_nusd`` is the most it can cost, None where its price is unknown: its row holds it,
    whether or not a budget covers the call by now. ``output_bound`` the most tokens that it may
    answer, None where nothing bounds it. ``waited_ms``: for a slot of its provider, before it
    started.
    """

    request: int
    n: int
    model: str
    provider: str
    started_at: int
    input_estimate: int
    price: int | None = None
    reserve_nusd: int | None = None
    output_bound: int | None = None
    waited_ms: int = 0


class _AttemptOver(Struct):
    """What is known of an attempt once it has ended: columns of its row."""

    state: AttemptState
    ended_at: int | None = None
    usage: Usage = field(default_factory=Usage)
    first_at: int | None = None
    received_chars: int = 0
    #: None: its price is unknown (never: zero).
    cost_nusd: int | None = None
    #: The part of cost_nusd that is for input, for charts of input against output.
    input_cost_nusd: int | None = None
    http_status: int | None = None
    provider_request_id: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class AttemptEnd(_AttemptOver):
    """How an attempt ended.

    ``unseen``: it was sent, and nobody saw the provider end it or count it, so that the provider
    may charge more than the cost: what that leaves of the worst case stays held until it is
    reconciled. ``most_nusd``: what the provider may charge by what came, None: the worst case.
    """

    ended_at: int
    unseen: bool = False
    most_nusd: int | None = None

    def held_nusd(self, reserved_nusd: int) -> int:
        """What its budgets go on to hold, of the worst case that was reserved."""
        if not self.unseen:
            return 0
        most = reserved_nusd if self.most_nusd is None else min(self.most_nusd, reserved_nusd)
        return max(most - (self.cost_nusd or 0), 0)


class Allowance(NamedTuple):
    """A month's free calls, one of which an ending call may be.

    ``calls`` of ``model`` are free that were asked for from ``since_ms`` on; ``until_ms``: when
    this one ended. ``price_state``: of the price that grants them.
    """

    model: str
    since_ms: int
    until_ms: int
    calls: int
    price_state: str

    def charge(self, end: AttemptEnd, priced: str | None, used: int) -> "Charged":
        """``end`` as it is charged after ``used`` calls; ``priced``: without the allowance."""
        if used >= self.calls:
            return Charged(end, priced)
        return Charged(replace(end, cost_nusd=0, input_cost_nusd=0, unseen=False), self.price_state)


class Charged(NamedTuple):
    """An attempt's end as it is written; ``priced``: how its charge is to be read."""

    end: AttemptEnd
    priced: str | None


class _RequestOver(Struct):
    """What is known of a request once it has ended: columns of its row. ``model`` is who answered,
    or who was tried last."""

    state: RequestState = "pending"
    settled_at: int | None = None
    model: str = ""
    provider: str = ""
    premium_model: str | None = None
    premium_cost_nusd: int | None = None
    latency_ms: int | None = None
    ttft_ms: int | None = None
    finish_reason: str | None = None
    error_code: str | None = None
    error_message: str | None = None


class RequestEnd(_RequestOver):
    """How a request ended."""

    state: RequestState
    settled_at: int


class AttemptRow(_AttemptOver, kw_only=True):
    """An attempt as stored: the columns of its table, with its token counts as ``usage``."""

    request: int
    n: int
    model: str
    provider: str
    started_at: int
    input_estimate: int = 0
    output_bound: int | None = None
    price: int | None = None
    waited_ms: int = 0
    #: What budgets hold for it: the worst case while it is under way, and what its cost leaves
    #: of that where its end was not seen, or its provider did not count it.
    held_nusd: int = 0

    @property
    def latency_ms(self) -> int | None:
        return None if self.ended_at is None else self.ended_at - self.started_at

    @property
    def outcome(self) -> str:
        """How it went in a word, for lists of what is held: an answer that nobody counted is no
        "ok" there."""
        if self.state == "ok" and self.held_nusd:
            return "uncounted"
        return self.error_code or self.state


class RequestRow(_RequestOver, kw_only=True):
    """A request as stored: the columns of its table, with its token counts as ``usage``.

    ``cost_nusd`` is the sum of its attempts with a known price plus later corrections
    (``adjusted_nusd``); ``price_state`` tells whether any was unknown."""

    id: int
    created_at: int
    source: Source
    owner: str | None = None
    org: str = ""
    key: str = ""
    role: str = ""
    agent: str = ""
    task: str = ""
    complexity: str = ""
    difficulty: float | None = None
    conversation: int | None = None
    chain: str | None = None
    session: str = ""
    project: str = ""
    attempts: int = 0
    usage: Usage = field(default_factory=Usage)
    price_state: str | None = None
    cost_nusd: int | None = None
    adjusted_nusd: int = 0
    estimated: bool = False

    @property
    def total_nusd(self) -> int | None:
        """Cost with corrections, 0 where nothing was sent; None where unknown."""
        return total_nusd(self.state, self.cost_nusd, self.adjusted_nusd)

    @property
    def known_nusd(self) -> int | None:
        """``total_nusd``; None where a part of it has no known price."""
        return None if self.price_state == "unknown" else self.total_nusd

    @property
    def savings_nusd(self) -> int | None:
        """Cost at the premium model minus actual cost; negative when it cost more. None where
        either is unknown, and for calls that only try models out: those save nothing."""
        return saving_nusd(self.source, self.price_state, self.premium_cost_nusd, self.total_nusd)


def total_nusd(state: str, cost_nusd: int | None, adjusted_nusd: int) -> int | None:
    """See ``RequestRow.total_nusd``."""
    if cost_nusd is None:
        return 0 if state == "refused" else None
    return cost_nusd + adjusted_nusd


def saving_nusd(
    source: str, price_state: str | None, premium_nusd: int | None, cost_nusd: int | None
) -> int | None:
    """What one request saved: see ``RequestRow.savings_nusd``."""
    if premium_nusd is None or cost_nusd is None or price_state == "unknown":
        return None
    return None if source in EVALUATION else premium_nusd - cost_nusd
