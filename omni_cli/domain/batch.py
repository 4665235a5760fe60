"""What one transaction of the ledger is to hold: requests that begin, that end, and how far others
are. Plain values: whoever makes them has worked out all that the store needs to judge them."""

import zlib
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from omni_cli.domain.bounds import Most
from omni_cli.domain.budgets import Budget
from omni_cli.domain.errors import Busy, OmniError
from omni_cli.domain.ledger import Allowance, AttemptEnd, NewAttempt, NewRequest, RequestEnd
from omni_cli.domain.prices import Price

#: How long a call waits for a slot, seconds.
SLOT_WAIT_S = 30.0
#: How often a waiting process looks by itself, and shows that it still waits, seconds. The first
#: matters only where nobody can ring it (containers that share a store).
LOOK_S = 0.1
SHOW_S = 1.0


def pack_decision(text: str) -> bytes:
    """A decision (JSON) as the ledger stores it."""
    return zlib.compress(text.encode(), 1)


def unpack_decision(packed: bytes) -> str:
    return zlib.decompress(packed).decode()


#: A budget's id and the start of its period.
LeaseKey = tuple[int, int]


class Lease(Struct, frozen=True):
    """A budget's period that holds an attempt's worst case back. ``turns_at``: its end, after which
    a change alters what the next period got from it; 0 where nothing is carried over."""

    budget: Budget
    start_at: int
    turns_at: int = 0

    @property
    def key(self) -> LeaseKey:
        return self.budget.id, self.start_at


class Opening(Struct):
    """An attempt that is about to be sent, and its request's row when it is the first.

    ``most`` bounds its tokens, None where its price asks for no bound (see ``bounds.bound_of``); an
    error is why nothing bounds them: where money is limited, the call must not be sent.
    ``ceiling_nusd``: what its request may still cost of the maximum ``ceiling_of_nusd``, None for
    none. ``slots`` is the most attempts that may be under way at its provider, None without a
    limit. After the write, one of these holds: ``error`` (it must not be sent), ``full`` (it waits
    for a slot with the ``ticket`` that it was given; ask again when one may be free), or
    ``committed``: it may go, and costs ``held_nusd`` at most. Where money is limited, it has
    ``output_bound`` tokens of answer then, ``each`` of every choice; ``room_nusd``: what was left,
    where that held no longer answer. ``opened``: the request's row
    is written. ``named``: its caller named the model, so that once it is sent nothing is kept of
    the decision.
    """

    request: NewRequest
    n: int
    model: str
    provider: str
    started_at: int
    input_estimate: int
    most: Most | OmniError | None
    slots: int | None
    price_id: int | None = None
    price: Price | None = None
    ceiling_nusd: int | None = None
    ceiling_of_nusd: int = 0
    #: As ``pack_decision`` gives it.
    decision: bytes | None = None
    named: bool = False
    output_bound: int | None = None
    each: int | None = None
    room_nusd: int | None = None
    #: Tokens of answer that it can have at most, limited or not; None where nobody knows.
    most_out: int | None = None
    opened: bool = False
    committed: bool = False
    full: bool = False
    ticket: int | None = None
    waited_ms: int = 0
    error: OmniError | None = None
    #: What it may cost at most: its row holds it, also where no budget covers it yet.
    held_nusd: int = 0
    leases: tuple[Lease, ...] = ()
    #: The budgets that were kept when it was granted.
    budgets: Sequence[Budget] = ()
    #: Calls to its model that may go out within a minute, of all processes; None: without limit.
    rpm: int | None = None

    def attempt(self) -> NewAttempt:
        """The attempt that it began, as the ledger knows it."""
        return NewAttempt(
            request=self.request.id,
            n=self.n,
            model=self.model,
            provider=self.provider,
            started_at=self.started_at,
            input_estimate=self.input_estimate,
            price=self.price_id,
            reserve_nusd=self.held_nusd,
            output_bound=self.output_bound,
            waited_ms=self.waited_ms,
        )

    def busy(self) -> Busy:
        """Why it is not sent where no slot became free."""
        return Busy(
            f"all {self.slots} slots of {self.provider} were taken for {SLOT_WAIT_S:.0f} s",
            hint=f"omni providers edit {self.provider} --max-concurrency N",
        )


class AttemptEnding(Struct):
    """``priced``: how its charge is to be read, None where it cannot have cost anything."""

    request: int
    n: int
    end: AttemptEnd
    priced: str | None
    allowance: Allowance | None = None


class RequestEnding(Struct):
    request: int
    end: RequestEnd


Ending = AttemptEnding | RequestEnding


class Progressed(Struct, frozen=True):
    """How much of a stream has come."""

    request: int
    n: int
    first_at: int
    received_chars: int


class Batch(Struct):
    """What one transaction is to hold. ``jobs`` run within it, after everything else, and write
    through the writer's own store. ``leaving``: tickets of calls that wait for a slot no longer.
    ``granted``: by their requests, attempts that went out without asking and have no row yet.
    ``requests``: those that begin before their first attempt does, with their decisions."""

    endings: list[Ending] = field(default_factory=list)
    requests: list[tuple[NewRequest, bytes | None]] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    progress: list[Progressed] = field(default_factory=list)
    jobs: list[Callable[[], None]] = field(default_factory=list)
    leaving: list[int] = field(default_factory=list)
    granted: dict[int, Opening] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.endings
            or self.requests
            or self.openings
            or self.progress
            or self.jobs
            or self.leaving
            or self.granted
        )
