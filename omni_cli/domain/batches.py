"""Batches: many requests that a provider answers within a day, at a lower price; and the files that
it keeps for its callers.

Money is integer nano-dollars, times are ms since the epoch, UTC.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, NamedTuple

from msgspec import Struct

from omni_cli.domain.ledger import AttemptRow, RequestRow

#: opening: its money is held, and whether the provider has it is not known yet. open: the provider
#: works on it. ended: it does so no more, and its results are to be read. settled: each of them is
#: in the ledger, and nothing is held. unread: its results cannot be had any more.
BatchState = Literal["opening", "open", "ended", "settled", "unread"]
#: Whose requests they are in reports, where their caller names no other.
AGENT = "batch"
HALF = Decimal("0.5")


class BatchPrice(NamedTuple):
    """What a vendor's batches cost: ``share`` of every usual rate, 0..1; ``domain``: of its API;
    ``source``: where that is said."""

    share: Decimal
    domain: str
    source: str


#: By provider: platform.claude.com/docs/en/build-with-claude/batch-processing (read 2026-11-27),
#: developers.googleblog.com/scale-your-ai-workloads-batch-mode-gemini-api (2025-07-07),
#: inspect.aisi.org.uk/models-batch.html on OpenAI, Anthropic and Google (read 2026-11-27),
#: platform.kimi.ai/docs/pricing/batch (60 %, read 2026-11-29).
BATCH_PRICES: Mapping[str, BatchPrice] = {
    "anthropic": BatchPrice(HALF, "anthropic.com", "its batch processing page"),
    "google": BatchPrice(HALF, "googleapis.com", "its announcement of batch mode"),
    "openai": BatchPrice(HALF, "openai.com", "inspect.aisi.org.uk/models-batch.html"),
    "moonshot": BatchPrice(Decimal("0.6"), "moonshot.ai", "its batch pricing page"),
}


def batch_share(provider: str, host: str) -> Decimal | None:
    """What a batch costs of the usual price; None where that is not known.

    Args:
        host: of the provider's address.
    """
    for slug, (share, domain, _) in BATCH_PRICES.items():
        if provider == slug or host == domain or host.endswith(f".{domain}"):
            return share
    return None


class Line(Struct, frozen=True, array_like=True):
    """What one request of a batch asks, and the most it can be billed for, in tokens."""

    custom_id: str
    model: str
    role: str
    input_tokens: int
    output_tokens: int
    fees_nusd: int = 0


class Asked(Struct, frozen=True):
    """What the requests of a batch ask. ``endpoint``: the path that each of them names.

    ``unbounded``: why nothing bounds what one of them may cost, "" where all are bound.
    """

    endpoint: str
    lines: tuple[Line, ...]
    unbounded: str = ""


class KeptFile(Struct):
    """A file that a provider keeps. ``document``: what it says of it, JSON. ``batch``: of which it
    is the output, None for one that was uploaded."""

    id: str
    provider: str
    org: str
    key: str
    purpose: str
    created_at: int
    document: str
    batch: int | None = None


class Part(Struct, frozen=True):
    """The requests of a batch for one model, as budgets see them.

    ``price``: by which they are charged, JSON; None where it is unknown. ``marked``: what a batch
    costs there is not known, so that they are charged as single calls, and marked as estimated.
    """

    model: str
    role: str
    price: str | None
    marked: bool
    lines: int
    held_nusd: int


class Batch(Struct):
    """``remote``: the provider's own name of it, None while it has not told. ``status``: in its
    word. ``document``: as it told last, JSON. ``settled``: requests that are in the ledger, which
    cost ``cost_nusd`` together; ``unknown`` of them are of unknown price. ``trouble``: why it could
    not be asked the last time, "" where it could."""

    id: int
    provider: str
    org: str
    key: str
    agent: str
    endpoint: str
    input_file: str
    created_at: int
    state: BatchState = "opening"
    remote: str | None = None
    status: str = ""
    document: str = ""
    lines: int = 0
    settled: int = 0
    unknown: int = 0
    cost_nusd: int = 0
    held_nusd: int = 0
    expires_at: int | None = None
    ended_at: int | None = None
    settled_at: int | None = None
    checked_at: int = 0
    trouble: str = ""


class Waiting(NamedTuple):
    """A request of a batch that has no row in the ledger yet: which it is, and what it asks."""

    n: int
    model: str
    role: str
    input_tokens: int


class Outcome(Struct, frozen=True):
    """The result of a batch's request ``n`` as it is charged: the rows that it becomes, but for
    their ids and their price."""

    n: int
    request: RequestRow
    attempt: AttemptRow
