"""The ledger's side of a comparison with an invoice, and what a drift asks for."""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.imports import COUNTED_BY, InvoiceLine, TokenKind, split_usage
from omni_cli.domain.models import fold_alias
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.record import replace
from omni_cli.records import Charge
from omni_cli.repositories import Adjustments, Models
from omni_cli.services.money.prices import PriceHistory, cost_or_none

_CHUNK = 500


class Reported(Struct):
    """What providers or tools said that calls cost, against ours, for calls where both are known.

    ``unpriced``: calls with a reported cost that omni has no price for, ``unpriced_nusd`` theirs.
    """

    calls: int = 0
    ours_nusd: int = 0
    theirs_nusd: int = 0
    differing: int = 0
    unpriced: int = 0
    unpriced_nusd: int = 0
    worst: tuple[int, int] | None = None


class Reconciling:
    """Args:
    resolve: (provider, recorded name) to a catalogue id, None where it is not certain.
    pruned_before_ms: requests before then may have been removed.
    """

    def __init__(
        self,
        adjustments: Adjustments,
        models: Models,
        resolve: Callable[[str | None, str], str | None],
        pruned_before_ms: Callable[[], int],
    ) -> None:
        self._adjustments = adjustments
        self._models = models
        self._resolve_name = resolve
        self._pruned_before_ms = pruned_before_ms
        self._titles: dict[tuple[str, str], str] | None = None

    def resolve(self, provider: str | None, name: str) -> str | None:
        """A model by the name on an invoice: a wire name, or the vendor's display name."""
        found = self._resolve_name(provider, name)
        if found is not None or provider is None:
            return found
        if self._titles is None:
            self._titles = {}
            # The shortest id of a title is the one without a date in it.
            models = sorted(self._models.all(hidden=True), key=lambda m: -len(m.id))
            for model in models:
                for title in (model.name, *model.aliases):
                    self._titles[model.provider, _title(title)] = model.id
        return self._titles.get((provider, _title(name)))

    def ledger_lines(
        self, first_day: str, last_day: str, *, with_imports: bool = True
    ) -> tuple[list[InvoiceLine], int]:
        """Our side: tokens by kind and money unsplit; and how many attempts have no price.

        Raises UsageError: requests of those days were removed.
        """
        # They went by days of the fleet's zone; an invoice's are UTC's, and one may be half gone.
        gone = datetime.fromtimestamp((self._pruned_before_ms() + DAY_MS - 1) / 1000, UTC)
        if first_day < gone.date().isoformat():
            raise UsageError(
                f"the ledger's requests before {gone:%Y-%m-%d} were removed (omni db prune, or "
                f"store.keep_days): days from {first_day} on cannot be held against it",
                hint=f"omni usage --from {first_day} has their sums by day and model",
            )
        lines: list[InvoiceLine] = []
        unknown = 0
        for row in self._adjustments.daily(first_day, last_day, with_imports=with_imports):
            provider = row.provider or None
            model = self.resolve(provider, row.model) or row.model or None
            unknown += row.unknown
            for kind, tokens in split_usage(row.usage).items():
                if tokens:
                    lines.append(InvoiceLine(row.day, model, kind, tokens, None, provider))
            if row.cost_nusd is not None:
                lines.append(InvoiceLine(row.day, model, "total", None, row.cost_nusd, provider))
        return lines, unknown

    def estimated(self, day: str, model: str | None) -> list[Charge]:
        """The day's (UTC) charges that rest on estimated tokens."""
        start = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
        found = self._adjustments.charges(
            after=(-1, -1),
            limit=_CHUNK,
            start_ms=start,
            end_ms=start + DAY_MS,
            models=() if model is None else (model,),
            only_estimated=True,
        )
        return [charge for charge in found if charge.current_nusd is not None]

    def corrected_nusd(
        self, charge: Charge, tokens_off: Mapping[TokenKind, int], cost_off: int | None
    ) -> int | None:
        """What an estimated charge must be for its day to agree; None where that cannot be told.

        Args:
            tokens_off: ours less theirs, by kind.
            cost_off: the same of the money; it decides where it is known.
        """
        current = charge.current_nusd
        if cost_off is not None:
            fitting = None if current is None else current - cost_off
            return fitting if fitting is not None and fitting >= 0 else None
        usage = charge.attempt.usage
        counts: dict[str, Any] = {}
        for kind, off in tokens_off.items():
            for name in COUNTED_BY.get(kind, ()):
                counts[name] = counts.get(name, getattr(usage, name)) - off
        if not counts or min(counts.values()) < 0:
            return None
        fixed = replace(usage, **counts)
        if fixed.cached_tokens + fixed.cache_write_tokens > fixed.input_tokens:
            return None
        if charge.attempt.price is not None:
            price = self._models.price_by_id(charge.attempt.price)
        else:
            row = PriceHistory(self._models).on(charge.attempt.model, charge.request.created_at)
            price = None if row is None else row.price
        return cost_or_none(fixed, price)

    def reported(self, start_ms: int, end_ms: int) -> dict[tuple[str, str], Reported]:
        """By (who reported, model): the provider for omni's own calls, the tool for imports."""
        sums: dict[tuple[str, str], Reported] = {}
        for charge in self._reported_charges(start_ms, end_ms):
            theirs = charge.attempt.usage.reported_cost_nusd or 0
            request = charge.request
            who = request.agent if request.source == "import" else charge.attempt.provider
            entry = sums.setdefault((who, charge.attempt.model), Reported())
            ours = charge.current_nusd
            if ours is None:
                entry.unpriced += 1
                entry.unpriced_nusd += theirs
                continue
            entry.calls += 1
            entry.ours_nusd += ours
            entry.theirs_nusd += theirs
            off = abs(ours - theirs)
            entry.differing += off > 0
            if off and (entry.worst is None or off > entry.worst[1]):
                entry.worst = request.id, off
        return sums

    def _reported_charges(self, start_ms: int, end_ms: int) -> Iterator[Charge]:
        after = (-1, -1)
        while chunk := self._adjustments.charges(
            after=after, limit=_CHUNK, start_ms=start_ms, end_ms=end_ms, only_reported=True
        ):
            yield from chunk
            after = chunk[-1].request.id, chunk[-1].attempt.n


def _title(name: str) -> str:
    """ "Claude Opus 4.5" and "claude-opus-4-5" are the same."""
    return fold_alias(name).replace(".", "-")
