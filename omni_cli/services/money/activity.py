"""Requests as people look for them: all that a search finds, those under way with what they have
cost until now."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

from msgspec import Struct

from omni_cli.domain.chat import tokens_document
from omni_cli.domain.document import document
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.money import format_usd, usd
from omni_cli.domain.search import Order, Search
from omni_cli.ports import Clock
from omni_cli.repositories import Glance, Models
from omni_cli.services.engine.settlement import estimated_usage
from omni_cli.services.money.prices import cost_or_none


class Found(Struct, frozen=True):
    """A request with ``tries``: (model, how often in a row) as they were asked, empty where nothing
    was. ``failure``: what the last failed try ended in. ``running_nusd``: of one under way, what
    it has cost until now by what has come; None where unknown."""

    row: RequestRow
    tries: tuple[tuple[str, int], ...] = ()
    failure: str = ""
    running_nusd: int | None = None

    @property
    def cost_nusd(self) -> int | None:
        """None where it is unknown; of one under way until now."""
        if self.row.state == "pending":
            return self.running_nusd
        return self.row.known_nusd

    @property
    def cost_words(self) -> str:
        """A refused request sent nothing; what one under way has cost is about."""
        if self.row.state == "refused":
            return "-"
        if self.row.state == "pending":
            return "…" if self.cost_nusd is None else f"~{format_usd(self.cost_nusd)}"
        return format_usd(self.cost_nusd)


class Listing(Struct, frozen=True):
    """``more``: whether there may be others that match."""

    search: Search
    order: Order
    limit: int
    found: tuple[Found, ...]
    more: bool


class ActivityService(Struct, kw_only=True, eq=False):
    """Args:
    zone: of the dates that a search names.
    """

    glance: Glance
    prices: Models
    clock: Clock
    zone: Callable[[], str]

    def find(self, search: Search, *, limit: int, order: Order = "time") -> Listing:
        """The newest, or the largest, of all requests that match. Raises UsageError."""
        return self._listing(search, order, limit, 0, ())

    def again(self, listing: Listing) -> Listing:
        """The same as it is now. By time only what may be another since is read: what has begun,
        and what was under way."""
        rows = [found.row for found in listing.found]
        if listing.order != "time" or not rows:
            return self.find(listing.search, limit=listing.limit, order=listing.order)
        open_at = [row.created_at for row in rows if row.state == "pending"]
        since = min([rows[0].created_at, *open_at])
        kept = tuple(found for found in listing.found if found.row.created_at < since)
        return self._listing(listing.search, "time", listing.limit, since, kept, more=listing.more)

    def _listing(
        self,
        search: Search,
        order: Order,
        limit: int,
        since: int,
        kept: Sequence[Found],
        *,
        more: bool = False,
    ) -> Listing:
        first, after = search.span(int(self.clock() * 1000), self.zone())
        rows = self.glance.search(
            search,
            limit=limit + 1,
            order=order,
            first_ms=max(first, since),
            after_ms=after,
        )
        tried = [row.id for row in rows if row.attempts > 1 or row.state == "pending"]
        attempts = self.glance.attempts(tried)
        found = [self._found(row, attempts.get(row.id, [])) for row in rows]
        found += [one for one in kept if one.row.created_at >= first]
        more = len(found) > limit or more
        return Listing(search, order, limit, tuple(found[:limit]), more)

    def _found(self, row: RequestRow, attempts: Sequence[AttemptRow]) -> Found:
        tries = tuple(
            (model, len(list(same))) for model, same in groupby(attempts, lambda a: a.model)
        )
        failed = [a.error_code for a in attempts if a.error_code]
        if not tries and row.model:
            tries = ((row.model, max(row.attempts, 1)),)
        failure = row.error_code or (failed[-1] if failed else "")
        running = self._running(attempts) if row.state == "pending" else None
        return Found(row, tries, failure, running)

    def _running(self, attempts: Sequence[AttemptRow]) -> int | None:
        whole = 0
        for attempt in attempts:
            cost = attempt.cost_nusd
            if attempt.state in ("planned", "sent"):
                price = None if attempt.price is None else self.prices.price_by_id(attempt.price)
                usage = estimated_usage(
                    attempt.input_estimate, attempt.received_chars, attempt.output_bound
                )
                cost = cost_or_none(usage, price)
            if cost is None:
                return None
            whole += cost
        return whole


def request_document(row: RequestRow) -> dict[str, Any]:
    """A request in a list; all of it is its receipt (services/money/receipt.py)."""
    return {
        "id": id_text(row.id),
        **document(row, "created_at", "state", "source"),
        "model_used": row.model or None,
        "task_type": row.task or None,
        "complexity": row.complexity or None,
        "role": row.role or None,
        "agent": row.agent or None,
        "conversation": None if row.conversation is None else id_text(row.conversation),
        "attempts": row.attempts,
        "usage": tokens_document(row.usage),
        "cost_usd": usd(row.known_nusd),
        **document(row, "price_state", "estimated", "savings_nusd"),
        **document(row, "latency_ms", "ttft_ms", "error_code"),
    }
