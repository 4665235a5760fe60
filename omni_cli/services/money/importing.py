"""Usage that other tools recorded, into the ledger: what is new, what it cost, written once."""

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.chat import TEXT_FIELDS, Usage
from omni_cli.domain.clouds import in_dearer_region
from omni_cli.domain.errors import UnknownPrice
from omni_cli.domain.imports import ImportedCall, PricedCall, grown, unknown_only
from omni_cli.domain.money import usd_string
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.prices import Price
from omni_cli.domain.pricing import borrowed, costs_nusd, input_cost_nusd
from omni_cli.domain.record import replace
from omni_cli.ports import Clock
from omni_cli.records import StoredPrice
from omni_cli.repositories import Audit, Imports, Ledger, Models
from omni_cli.services.money.prices import (
    PriceHistory,
    by_sums,
    cost_or_none,
    month_start,
    sum_cost_or_none,
)

#: Rows per transaction: another omni waits no longer than this takes (some 0.2 s).
BATCH = 5000
_TOKENS = (*TEXT_FIELDS, "total_tokens")
_tokens_of = attrgetter(*TEXT_FIELDS)


class Totals(Struct):
    """Sums over rows; ``calls`` counts the calls that rows of a report add up.

    ``unknown``: rows whose cost is not known, apart from ``cost_nusd``. ``recorded_nusd`` is
    what the tool says, of the ``recorded`` rows for which it says something.
    """

    rows: int = 0
    calls: int = 0
    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_TOKENS, 0))
    cost_nusd: int = 0
    unknown: int = 0
    recorded: int = 0
    recorded_nusd: int = 0
    byok_nusd: int = 0
    estimated: int = 0

    @classmethod
    def of(cls, rows: Sequence[PricedCall]) -> "Totals":
        calls = [row.call for row in rows]
        counts = [_tokens_of(call.usage) for call in calls if call.usage is not None]
        tokens = dict(zip(TEXT_FIELDS, map(sum, zip(*counts, strict=True)), strict=False))
        tokens = dict.fromkeys(TEXT_FIELDS, 0) | tokens
        costs = [row.cost_nusd for row in rows if row.cost_nusd is not None]
        said = [c for call in calls if (c := call.recorded_cost_nusd) is not None]
        return cls(
            rows=len(rows),
            calls=sum(1 if call.requests is None else call.requests for call in calls),
            tokens=tokens | {"total_tokens": tokens["input_tokens"] + tokens["output_tokens"]},
            cost_nusd=sum(costs),
            unknown=len(rows) - len(costs),
            recorded=len(said),
            recorded_nusd=sum(said),
            byok_nusd=sum(call.byok_cost_nusd for call in calls),
            estimated=sum(row.estimated for row in rows),
        )

    def join(self, other: "Totals") -> None:
        for name in self.__struct_fields__:
            if name != "tokens":
                setattr(self, name, getattr(self, name) + getattr(other, name))
        for name, count in other.tokens.items():
            self.tokens[name] += count

    def document(self) -> dict[str, Any]:
        """For ``--json``: decimal strings, null where nothing of some calls is known."""
        return {
            "rows": self.rows,
            "calls": self.calls,
            **self.tokens,
            "cost_usd": None
            if self.rows and self.unknown == self.rows
            else usd_string(self.cost_nusd),
            "unknown_rows": self.unknown,
            "estimated_rows": self.estimated,
            "recorded_cost_usd": usd_string(self.recorded_nusd) if self.recorded else None,
            "byok_cost_usd": usd_string(self.byok_nusd),
        }


class _Alike(Struct):
    """Calls of a day that are recorded as of one model, provider and tier, and so cost alike.

    ``row``: None where no price is known. ``usual``: what came before costs them nothing less.
    ``open``: their price depends on something that omni's prices leave open.
    """

    model: str
    provider: str
    row: StoredPrice | None
    usual: bool
    open: bool
    new: list[PricedCall] = field(default_factory=list)
    others: list[PricedCall] = field(default_factory=list)


#: Recorded provider, model, the model that answered, tier, and day.
_Likeness = tuple[str | None, str | None, str | None, str | None, int]
#: (recorded provider, recorded model, tier, model in the ledger)
ModelKey = tuple[str | None, str | None, str | None, str]


class ImportPlan(Struct, frozen=True):
    """What an import would do; nothing is written yet. ``known``: calls that are there already;
    ``by_model``: the dearest first; ``known_models``: ids of the catalogue that calls were found to
    be of."""

    source: str
    new: list[PricedCall]
    grown: list[PricedCall]
    known: int
    all: Totals
    added: Totals
    by_model: dict[ModelKey, Totals]
    known_models: frozenset[str] = frozenset()

    def is_known(self, key: ModelKey) -> bool:
        """Whether the catalogue has the model."""
        return key[3] in self.known_models

    def unpriced(self) -> list[tuple[str, str, bool]]:
        """Models with calls of unknown price: recorded provider, name, whether it is known."""
        return [
            (key[0] or "", key[3], self.is_known(key))
            for key, sums in self.by_model.items()
            if sums.unknown and key[3]
        ]


class Importing:
    """Args:
    resolve: a recorded call's model in the catalogue's words, None where it is not certain.
    who: the person named in the audit log.
    """

    def __init__(
        self,
        *,
        imports: Imports,
        models: Models,
        ledger: Ledger,
        audit: Audit,
        clock: Clock,
        who: str,
        resolve: Callable[[ImportedCall], str | None],
    ) -> None:
        self._imports = imports
        self._models = models
        self._history = PriceHistory(models)
        self._ledger = ledger
        self._audit = audit
        self._clock = clock
        self._who = who
        self._resolve = resolve
        self._names: dict[tuple[str | None, str | None, str | None], str | None] = {}
        self._free_used: dict[tuple[str, int], int] = {}

    def plan(
        self, source: str, calls: Sequence[ImportedCall], *, trust_recorded: bool = False
    ) -> ImportPlan:
        """Price every call, and tell the new from the known.

        Args:
            calls: collapsed calls of one source, ordered by time.
            trust_recorded: where omni knows no price, the tool's own cost counts.
        """
        self._history = PriceHistory(self._models)
        self._free_used.clear()
        known = self._imports.known(source, calls)
        fresh = unknown_only(
            calls,
            external_ids=known.external_ids,
            ledger_ids=known.ledger_ids,
            imported_message_ids=known.message_ids,
            contents=known.contents,
        )
        later = grown(calls, self._imports.recorded_tokens(calls), known.external_ids)
        fresh_ids = later_ids = None
        if len(fresh) < len(calls) or later:
            fresh_ids = {call.external_id for call in fresh}
            later_ids = {call.external_id for call in later}
        new: list[PricedCall] = []
        more: list[PricedCall] = []
        found: dict[_Likeness, _Alike] = {}
        for call in calls:
            name = call.provider, call.model, call.served_model, call.tier, call.at_ms // DAY_MS
            alike = found.get(name)
            if alike is None:
                alike = found[name] = self._alike(call)
            row = self._priced(call, alike, trust_recorded)
            if fresh_ids is None or later_ids is None or call.external_id in fresh_ids:
                new.append(row)
                alike.new.append(row)
                continue
            alike.others.append(row)
            if call.external_id in later_ids:
                more.append(row)
        whole, added = Totals(), Totals()
        by_model: dict[ModelKey, Totals] = {}
        for (provider, model, _, tier, _), alike in found.items():
            sums = by_model.setdefault((provider, model, tier, alike.model), Totals())
            of_new, of_others = Totals.of(alike.new), Totals.of(alike.others)
            added.join(of_new)
            for part in (of_new, of_others):
                sums.join(part)
                whole.join(part)
        return ImportPlan(
            source,
            new,
            more,
            len(calls) - len(new) - len(more),
            whole,
            added,
            dict(sorted(by_model.items(), key=lambda item: (-item[1].cost_nusd, str(item[0])))),
            frozenset(model for model in self._names.values() if model),
        )

    def apply(
        self, plan: ImportPlan, progress: Callable[[int, int], None] = lambda _done, _all: None
    ) -> tuple[int, int]:
        """Write the plan in batches, each whole or not at all; running it again adds the rest.

        Returns:
            How many calls were added and how many brought to a later state.
        """
        added = changed = 0
        now = int(self._clock() * 1000)
        whole = len(plan.new) + len(plan.grown)
        for batch in _batches(plan.new):
            added += self._imports.add(batch)
            progress(added, whole)
        for batch in _batches(plan.grown):
            changed += self._imports.grow(batch, now_ms=now, who=self._who)
            progress(added + changed, whole)
        if added or changed:
            self._audit.record(
                at_ms=now,
                who=self._who,
                action="ledger.import",
                target=plan.source,
                after={"added": added, "grown": changed, **plan.added.document()},
            )
        return added, changed

    def record(self, source: str, calls: Sequence[ImportedCall]) -> None:
        """Write what is new of a few calls, without a line in the audit log for each."""
        plan = self.plan(source, calls)
        for batch in _batches(plan.new):
            self._imports.add(batch)

    def _priced(self, call: ImportedCall, alike: _Alike, trust_recorded: bool) -> PricedCall:
        model, provider, row, usage = alike.model, alike.provider, alike.row, call.usage
        if call.cache_hit or call.tier == "free":
            return PricedCall(call, model, provider, None, "free", 0, 0)
        recorded = call.recorded_cost_nusd
        if usage is None:
            # The tool's word is all there is: no price could ever fill this in.
            state = "unknown" if recorded is None else "priced"
            return PricedCall(call, model, provider, None, state, recorded)
        cost: int | None = None
        of_input: int | None = None
        if row is not None and alike.usual and call.requests == 1:
            try:
                cost, of_input = costs_nusd(usage, row.price)
            except UnknownPrice:
                cost = None
        elif row is not None:
            cost = self._cost(call, usage, model, row.price)
        is_open = bool(
            alike.open
            or call.web_searches
            or (call.unstated and call.unstated & {"input_tokens", "output_tokens"})
        )
        if row is None or cost is None:
            if trust_recorded and recorded is not None:
                return PricedCall(call, model, provider, None, "priced", recorded)
            return PricedCall(call, model, provider, None, "unknown", estimated=is_open)
        if of_input is None:
            of_input = _input_part(usage, row.price, call.requests)
        estimated = (
            is_open or (call.requests != 1 and by_sums(row.price)) or borrowed(usage, row.price)
        )
        state = row.price.state
        return PricedCall(call, model, provider, row.id, state, cost, of_input, estimated)

    def _alike(self, call: ImportedCall) -> _Alike:
        name = call.provider, call.model, call.served_model
        if name not in self._names:
            self._names[name] = self._resolve(call)
        known = self._names[name]
        is_open = bool(call.tier) or in_dearer_region(call.model)
        if known is None:
            return _Alike(call.model or "", call.provider or "", None, True, is_open)
        row = self._history.on(known, call.at_ms)
        usual = row is not None and not row.price.free_requests_per_month
        return _Alike(known, known.partition("/")[0], row, usual, is_open)

    def _cost(self, call: ImportedCall, usage: Usage, model: str, price: Price) -> int | None:
        if call.requests != 1:
            return sum_cost_or_none(usage, price, call.requests or 0)
        used: int | None = None
        if price.free_requests_per_month:
            month = month_start(call.at_ms)
            if (model, month) not in self._free_used:
                before = self._ledger.calls_between(model, month, call.at_ms)
                self._free_used[model, month] = before
            used = self._free_used[model, month]
            self._free_used[model, month] += 1
        return cost_or_none(usage, price, free_requests_used=used)


def _input_part(usage: Usage, price: Price, requests: int | None) -> int | None:
    if requests == 1:
        return input_cost_nusd(usage, price)
    only = replace(usage, output_tokens=0, reasoning_tokens=0)
    return sum_cost_or_none(only, price, requests or 0)


def _batches(rows: Sequence[PricedCall]) -> Iterable[Sequence[PricedCall]]:
    return (rows[at : at + BATCH] for at in range(0, len(rows), BATCH))
