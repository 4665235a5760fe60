"""Correct what past calls cost: shown first, then written beside the ledger, never into it."""

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.document import document
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import usd_string
from omni_cli.domain.prices import Price
from omni_cli.domain.pricing import of_batch
from omni_cli.ports import Clock
from omni_cli.records import Charge, Correction
from omni_cli.repositories import Adjustments, Audit, Ledger, Models
from omni_cli.services.engine.names import Names
from omni_cli.services.engine.settlement import input_cost
from omni_cli.services.money.prices import (
    PriceHistory,
    allowance_used,
    base_rates,
    by_units,
    check_rates,
    cost_or_none,
    published,
    sum_cost_or_none,
)

#: Attempts per transaction.
CHUNK = 500
_FOREVER = 1 << 62
#: More attempts than one request can have: a chain's links with all their retries.
_MOST_ATTEMPTS = 1_000


class Selection(Struct, frozen=True):
    """Which charges: of a model (id, alias or recorded name; None: all), asked for in
    ``[start_ms, end_ms)``, and whether only those of unknown price."""

    model: str | None = None
    start_ms: int = 0
    end_ms: int = _FOREVER
    only_unknown: bool = False


class ModelChange(Struct):
    """Of one model: attempts whose cost changes, those of them that had none before, the sums
    before and after, and attempts that stay of unknown price."""

    changed: int = 0
    filled: int = 0
    before_nusd: int = 0
    after_nusd: int = 0
    unknown: int = 0


class Report(Struct):
    seen: int = 0
    by_model: dict[str, ModelChange] = field(default_factory=dict)
    applied: bool = False

    @property
    def ranked(self) -> list[tuple[str, ModelChange]]:
        """The dearest first."""
        return sorted(self.by_model.items(), key=lambda item: (-abs(item[1].after_nusd), item[0]))

    @property
    def changed(self) -> int:
        return sum(change.changed for change in self.by_model.values())

    @property
    def delta_nusd(self) -> int:
        return sum(c.after_nusd - c.before_nusd for c in self.by_model.values())


class Repricing:
    """Args:
    resolve: (provider, recorded name) to a catalogue id, None where it is not certain.
    who: the person named in corrections and the audit log.
    """

    def __init__(
        self,
        *,
        adjustments: Adjustments,
        models: Models,
        ledger: Ledger,
        audit: Audit,
        names: Names,
        clock: Clock,
        who: str,
        resolve: Callable[[str | None, str], str | None],
    ) -> None:
        self._adjustments = adjustments
        self._models = models
        self._history = PriceHistory(models)
        self._ledger = ledger
        self._audit = audit
        self._names = names
        self._clock = clock
        self._who = who
        self._resolve = resolve
        self._resolved: dict[tuple[str, str], str | None] = {}
        self._charged_by: dict[int, Price | None] = {}

    def run(
        self,
        selection: Selection,
        price: Price | None,
        *,
        apply: bool,
        reason: str,
        progress: Callable[[int], None] = lambda _seen: None,
        sure: bool = False,
    ) -> Report:
        """Work out every charge anew; with ``apply`` write the differences, a chunk at a time.

        Args:
            price: what the selected model's calls should have cost by; None: what the price
                list says today for the day of each call.
            reason: kept with every correction.
            progress: told how many charges have been looked at.

        Raises:
            NotFound: no such model, in the fleet or the ledger.
            UsageError: a price without a model.
            Doubtful: a price that looks like another unit, unless the user is ``sure``.
        """
        self._history = PriceHistory(self._models)
        names, provider = ((), None) if selection.model is None else self._named(selection.model)
        if price is not None and not names:
            raise UsageError("a price needs --model", hint="or --current for all models")
        if price is not None and not sure:
            now = int(self._clock() * 1000)
            check_rates(base_rates(price), published(self._models, names[0], now), names[0])
        report = Report(applied=apply)
        price_id: int | None = None
        now = int(self._clock() * 1000)
        for chunk in self._chunks(selection, names, provider):
            corrections = []
            for charge in chunk:
                report.seen += 1
                correction = self._correction(charge, price, report)
                if correction is not None:
                    corrections.append(correction)
            progress(report.seen)
            if not apply or not corrections:
                continue
            if price is not None:
                if price_id is None:
                    price_id = self._adjustments.add_price(names[0], price, at_ms=now)
                corrections = [
                    Correction(c.request, c.n, c.cost_nusd, c.input_nusd, price_id)
                    for c in corrections
                ]
            self._adjustments.apply(corrections, at_ms=now, who=self._who, reason=reason)
        if apply and report.changed:
            self._record(now, selection.model or "all", reason, report.changed, report.delta_nusd)
        return report

    def charge_of(self, request: int, n: int | None = None) -> Charge:
        """One attempt's charge.

        Args:
            n: the attempt; None takes the only one that was charged, or the estimated one.

        Raises:
            NotFound: no such attempt.
            UsageError: more than one can be meant.
        """
        found = self._adjustments.charges(
            after=(request, -1), limit=_MOST_ATTEMPTS, start_ms=0, end_ms=_FOREVER
        )
        mine = [charge for charge in found if charge.request.id == request]
        if n is not None:
            mine = [charge for charge in mine if charge.attempt.n == n]
        elif len(mine) > 1:
            mine = [c for c in mine if c.attempt.usage.estimated] or [
                c for c in mine if c.current_nusd != 0
            ]
        if not mine:
            raise NotFound(
                f"request {id_text(request)} has no such attempt that ended",
                hint=f"omni why {id_text(request)} shows its attempts",
            )
        if len(mine) > 1:
            raise UsageError(
                f"request {id_text(request)} has {len(mine)} attempts that were charged",
                hint="name one with --attempt N",
            )
        return mine[0]

    def set_cost(self, charge: Charge, cost_nusd: int, *, reason: str) -> bool:
        """Say what an attempt really cost, as an invoice shows it; False when it did already."""
        now = int(self._clock() * 1000)
        request = charge.request.id
        correction = Correction(request, charge.attempt.n, cost_nusd, None, None, final=True)
        written = self._adjustments.apply([correction], at_ms=now, who=self._who, reason=reason)
        if written:
            delta = cost_nusd - (charge.current_nusd or 0)
            self._record(now, id_text(request), reason, 1, delta)
        return bool(written)

    def _record(self, now: int, target: str, reason: str, changed: int, delta: int) -> None:
        self._audit.record(
            at_ms=now,
            who=self._who,
            action="ledger.reprice",
            target=target,
            after={"changed": changed, "delta_usd": usd_string(delta), "reason": reason},
        )

    def _named(self, text: str) -> tuple[tuple[str, ...], str | None]:
        """The names under which the ledger has a model, and of which provider, None for any.

        A model is there by its id, and by names that imports recorded before the catalogue knew
        them; what no catalogue knows by the recorded name, ``provider/name`` or ``name``.
        """
        unpriced = self._adjustments.unpriced_names()
        strangers = [pair for pair in unpriced if self._is_stranger(*pair)]
        for provider, name in strangers:
            if text == recorded_name(provider, name) and text != name:
                return (name,), provider
        alike = [pair for pair in strangers if pair[1] == text]
        try:
            model = self._names.model(text)
        except OmniError:
            if not alike:
                raise
            names: tuple[str, ...] = ()
        else:
            found = [n for provider, n in unpriced if self._find(provider, n) == model]
            names = tuple(dict.fromkeys((model, *found)))
        if not alike:
            return names, None
        meant = [recorded_name(*pair) for pair in alike]
        if names and self._any(names):
            meant.append(names[0])
        if len(meant) > 1:
            raise UsageError(
                f"{text!r} may mean {', '.join(meant)}", hint=f"name one: --model {meant[0]}"
            )
        return (text,), alike[0][0]

    def _any(self, names: Sequence[str]) -> bool:
        """Whether the ledger has a charge of a model so named."""
        return bool(
            self._adjustments.charges(
                after=(-1, -1), limit=1, start_ms=0, end_ms=_FOREVER, models=names
            )
        )

    def strangers(self, text: str) -> list[str]:
        """Unpriced calls of a name that no catalogue knows, as ``--model`` takes them."""
        return [
            recorded_name(provider, name)
            for provider, name in self._adjustments.unpriced_names()
            if text in (name, recorded_name(provider, name)) and self._is_stranger(provider, name)
        ]

    def _is_stranger(self, provider: str, name: str) -> bool:
        """Whether neither the fleet nor the catalogue has the model."""
        if not name or self._models.get(name) is not None:
            return False
        return self._find(provider, name) is None

    def _find(self, provider: str, name: str) -> str | None:
        key = provider, name
        if key not in self._resolved:
            self._resolved[key] = self._resolve(provider or None, name) if name else None
        return self._resolved[key]

    def _chunks(
        self, selection: Selection, names: Sequence[str], provider: str | None
    ) -> Iterator[list[Charge]]:
        after = (-1, -1)
        while True:
            chunk = self._adjustments.charges(
                after=after,
                limit=CHUNK,
                start_ms=selection.start_ms,
                end_ms=selection.end_ms,
                models=names,
                provider=provider,
                only_unknown=selection.only_unknown,
            )
            if not chunk:
                return
            yield chunk
            after = chunk[-1].request.id, chunk[-1].attempt.n

    def _correction(self, charge: Charge, price: Price | None, report: Report) -> Correction | None:
        attempt = charge.attempt
        if not _priceable(charge):
            if charge.current_nusd is None:
                report.by_model.setdefault(attempt.model, ModelChange()).unknown += 1
            return None
        price_id: int | None = None
        model = attempt.model
        if price is None:
            row = self._history.on(model, charge.request.created_at)
            if row is None and charge.request.source == "import":
                model = self._find(attempt.provider, attempt.model) or model
                row = self._history.on(model, charge.request.created_at)
            used, price_id = (None, None) if row is None else (row.price, row.id)
        else:
            used = price
        share = self._share(attempt.price)
        if used is not None and share != used.share and used.state == "priced":
            # A call of a batch stays one, whatever its model costs.
            used, price_id = of_batch(used, share), None
        cost, part = self._cost(charge, model, used)
        if cost is None:
            if charge.current_nusd is None:
                report.by_model.setdefault(attempt.model, ModelChange()).unknown += 1
            return None
        if cost == charge.current_nusd:
            return None
        change = report.by_model.setdefault(attempt.model, ModelChange())
        change.changed += 1
        change.filled += charge.current_nusd is None
        change.before_nusd += charge.current_nusd or 0
        change.after_nusd += cost
        return Correction(attempt.request, attempt.n, cost, part, price_id)

    def _share(self, price: int | None) -> Decimal:
        """What a call was charged of the usual price."""
        found = None if price is None else self._price_of(price)
        return Decimal(1) if found is None else found.share

    def _price_of(self, price: int) -> Price | None:
        if price not in self._charged_by:
            self._charged_by[price] = self._models.price_by_id(price)
        return self._charged_by[price]

    def _cost(
        self, charge: Charge, model: str, price: Price | None
    ) -> tuple[int | None, int | None]:
        """The whole cost and its part for input."""
        usage = charge.attempt.usage
        if price is None:
            return None, None
        if charge.calls != 1:
            return sum_cost_or_none(usage, price, charge.calls), None
        beside = self._beside_nusd(charge)
        if beside is None and not usage.total_tokens and by_units(price):
            return None, None  # how many there were is not kept
        used = allowance_used(price, model, charge.request.created_at, self._ledger)
        cost = cost_or_none(usage, price, free_requests_used=used)
        part = input_cost(usage, price) if cost else cost
        return None if cost is None else cost + (beside or 0), part

    def _beside_nusd(self, charge: Charge) -> int | None:
        """What the attempt was charged that its tokens do not show, such as another model's part or
        a sound's length: that stays as it was. None: nobody knows."""
        attempt = charge.attempt
        if attempt.price is None or attempt.cost_nusd is None:
            return None
        cost = cost_or_none(attempt.usage, self._price_of(attempt.price))
        return None if cost is None else max(attempt.cost_nusd - cost, 0)


def recorded_name(provider: str, name: str) -> str:
    """What calls of a model that no catalogue knows are named by: as imports recorded them."""
    return f"{provider}/{name}" if provider else name


def price_command(provider: str, name: str) -> str:
    """What prices the imported calls of such a model, to be typed with two amounts put in."""
    from shlex import quote

    model = quote(recorded_name(provider, name))
    return f"omni reprice --model {model} --unknown --price-in USD --price-out USD --apply"


def _priceable(charge: Charge) -> bool:
    """Whether tokens decide the cost.

    They do not where a tool's own cost or an answer from its cache was taken over, where an
    attempt failed without using any, and where an import does not know them.
    """
    attempt = charge.attempt
    if attempt.cost_nusd is not None and attempt.price is None:
        return False
    if attempt.usage.total_tokens:
        return True
    return attempt.state == "ok" and charge.request.source != "import"


def repricing_document(report: Report) -> dict[str, Any]:
    return {
        "applied": report.applied,
        "looked_at": report.seen,
        "changed": report.changed,
        "filled": sum(change.filled for change in report.by_model.values()),
        "delta_usd": usd_string(report.delta_nusd),
        "models": [{"model": model, **document(change)} for model, change in report.ranked],
    }
