"""An invoice against the ledger: where they part, why that may be, and what puts it right."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from shlex import quote
from typing import Any, Literal

from msgspec import Struct

from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.imports import COUNTED_BY, InvoiceLine, TokenKind, split_usage
from omni_cli.domain.models import fold_alias
from omni_cli.domain.money import format_usd, usd_string
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

    @property
    def drift_nusd(self) -> int:
        return self.ours_nusd - self.theirs_nusd

    @property
    def drift(self) -> float | None:
        """Of what they say it cost."""
        return self.drift_nusd / self.theirs_nusd if self.theirs_nusd else None


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
        """By (who reported, model), the largest drift first: the provider for omni's own calls, the
        tool for imports."""
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
        return dict(sorted(sums.items(), key=lambda item: -abs(item[1].drift_nusd)))

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


Measure = Literal["tokens", "cost"]
Finding = Literal["differs", "missing_in_ledger", "missing_on_invoice"]
#: (day, model); model None: the whole day, because one side's line names no model.
Place = tuple[str, str | None]


class Drift(Struct, frozen=True):
    """One disagreement. ``kind`` ``total``: one side does not split its money by kind.

    ``ours`` and ``theirs`` are tokens, or nano-dollars for ``cost``; None on the side that has
    no such line. ``difference`` is ours - theirs, absent counted as 0; ``percent`` of theirs,
    to two decimals, None where theirs is absent or 0.
    """

    day: str
    model: str | None
    kind: TokenKind
    measure: Measure
    finding: Finding
    ours: int | None
    theirs: int | None

    @property
    def difference(self) -> int:
        return (self.ours or 0) - (self.theirs or 0)

    @property
    def percent(self) -> Decimal | None:
        if not self.theirs:
            return None
        return (Decimal(self.difference) * 100 / self.theirs).quantize(Decimal("0.01"))


def compare(
    ledger: Iterable[InvoiceLine],
    invoice: Iterable[InvoiceLine],
    *,
    tolerance_nusd: int = 0,
) -> list[Drift]:
    """Where the two sides differ, by day, model, measure and kind; empty when they agree.

    Only what both sides speak of is compared: tokens where the invoice has tokens at all, money
    where it has money, and only its providers and the days from its first to its last. Money is
    compared by kind where both sides split it, else per model, and per day where either side
    has money without a model's name. Lines of the same place and kind are added up first.

    Args:
        ledger: our side, models in the same words as the invoice's (``invoices.resolved``).
        invoice: their side.
        tolerance_nusd: allowed difference of each compared amount, beside what the rounding
            printed on the lines explains.
    """
    theirs = list(invoice)
    days = {line.day for line in theirs}
    if not days:
        return []
    first, last = min(days), max(days)
    providers = {line.provider for line in theirs}
    ours = [
        line
        for line in ledger
        if first <= line.day <= last
        and (None in providers or line.provider is None or line.provider in providers)
    ]
    drifts: list[Drift] = []
    if any(line.tokens is not None for line in theirs):
        drifts.extend(_tokens(ours, theirs))
    if any(line.cost_nusd is not None for line in theirs):
        drifts.extend(_costs(ours, theirs, tolerance_nusd))
    drifts.sort(key=lambda d: (d.day, d.model or "", d.measure, d.kind))
    return drifts


def _tokens(ours: list[InvoiceLine], theirs: list[InvoiceLine]) -> Iterator[Drift]:
    left, right = _sum_tokens(ours), _sum_tokens(theirs)
    merged = {day for day, model, _ in (*left, *right) if model is None}
    left, right = _merge_days(left, merged), _merge_days(right, merged)
    for day, model, kind in left.keys() | right.keys():
        key = (day, model, kind)
        yield from _compare(key, "tokens", left.get(key), right.get(key), 0)


def _sum_tokens(lines: list[InvoiceLine]) -> dict[tuple[str, str | None, TokenKind], int]:
    sums: dict[tuple[str, str | None, TokenKind], int] = defaultdict(int)
    for line in lines:
        if line.tokens:
            sums[line.day, line.model, line.kind] += line.tokens
    return sums


def _merge_days(
    sums: dict[tuple[str, str | None, TokenKind], int], days: set[str]
) -> dict[tuple[str, str | None, TokenKind], int]:
    """Models of ``days`` added up, because one side cannot tell them apart there."""
    merged: dict[tuple[str, str | None, TokenKind], int] = defaultdict(int)
    for (day, model, kind), value in sums.items():
        merged[day, None if day in days else model, kind] += value
    return merged


def _costs(ours: list[InvoiceLine], theirs: list[InvoiceLine], tolerance: int) -> Iterator[Drift]:
    both = [line for line in (*ours, *theirs) if line.cost_nusd is not None]
    whole_days = {line.day for line in both if line.model is None and line.kind == "total"}

    def place(line: InvoiceLine) -> Place:
        return line.day, None if line.day in whole_days else line.model

    unsplit = {place(line) for line in both if line.kind == "total"}
    left, right = _Money(), _Money()
    for side, those in ((left, ours), (right, theirs)):
        for line in those:
            if line.cost_nusd is not None:
                where = place(line)
                side.add(where, "total" if where in unsplit else line.kind, line)
    for key in left.sums.keys() | right.sums.keys():
        allowed = tolerance + left.rounding[key] + right.rounding[key]
        yield from _compare(key, "cost", left.sums.get(key), right.sums.get(key), allowed)


class _Money:
    """Amounts of one side by place and kind, and how far their rounding can have moved them."""

    def __init__(self) -> None:
        self.sums: dict[tuple[str, str | None, TokenKind], int] = {}
        self.rounding: dict[tuple[str, str | None, TokenKind], int] = defaultdict(int)

    def add(self, where: Place, kind: TokenKind, line: InvoiceLine) -> None:
        key = (*where, kind)
        self.sums[key] = self.sums.get(key, 0) + (line.cost_nusd or 0)
        self.rounding[key] += line.rounding_nusd


def _compare(
    key: tuple[str, str | None, TokenKind],
    measure: Measure,
    ours: int | None,
    theirs: int | None,
    allowed: int,
) -> Iterator[Drift]:
    if abs((ours or 0) - (theirs or 0)) <= allowed:
        return
    finding: Finding = "differs"
    if ours is None:
        finding = "missing_in_ledger"
    elif theirs is None:
        finding = "missing_on_invoice"
    yield Drift(*key, measure, finding, ours, theirs)


class Advice(Struct, frozen=True):
    """Why a day's model may differ, and the command that puts it right, if there is one."""

    day: str
    model: str | None
    why: str
    command: str | None = None


def advise(
    service: Reconciling,
    drifts: list[Drift],
    ours: list[InvoiceLine],
    file: Path,
    source: str | None,
) -> list[Advice]:
    """One piece of advice for each day and model that differ; the same advice once."""
    places: dict[tuple[str, str | None], list[Drift]] = defaultdict(list)
    for drift in drifts:
        places[drift.day, drift.model].append(drift)
    seen = {(line.day, line.model) for line in ours if line.tokens}
    found: dict[tuple[str, str | None], Advice] = {}
    for (day, model), mine in places.items():
        advice: Advice | None
        if service.estimated(day, model):
            advice = _correction(service, day, model, mine, file)
        else:
            advice = _cause(day, model, mine, (day, model) in seen, file, source)
        if advice is not None:
            found.setdefault((advice.why, advice.command), advice)
    return list(found.values())


def _cause(
    day: str,
    model: str | None,
    drifts: list[Drift],
    in_ledger: bool,
    file: Path,
    source: str | None,
) -> Advice | None:
    """What a drift at a day and model without estimated calls says, if it can be told."""
    findings = {drift.finding for drift in drifts}
    measures = {drift.measure for drift in drifts}
    if findings == {"missing_in_ledger"} and not in_ledger:
        if "tokens" in measures and source is not None:
            command = f"omni import {source} {quote(str(file))}"
            return Advice(day, model, "calls that did not go through omni", command)
        return Advice(
            day, model, "calls that did not go through omni; a usage export can be imported"
        )
    if findings == {"missing_on_invoice"}:
        return Advice(day, model, "not billed yet, or billed to another account")
    if measures != {"cost"} or model is None:
        return None
    if findings == {"missing_in_ledger"}:
        why = "its tokens are in the ledger, and omni knows no price for them"
        command = f"omni models price {quote(model)} --price-in USD --price-out USD"
        return Advice(day, model, why, command)
    after = date.fromisoformat(day) + timedelta(days=1)
    why = "the tokens agree and the price differs; what today's price list makes of it"
    command = f"omni reprice --current --model {quote(model)} --from {day} --to {after}"
    return Advice(day, model, why, command)


def _correction(
    service: Reconciling, day: str, model: str | None, drifts: list[Drift], file: Path
) -> Advice:
    estimated = service.estimated(day, model)
    names = ", ".join(id_text(charge.request.id) for charge in estimated[:5])
    unseen = [charge for charge in estimated if charge.attempt.held_nusd]
    off = [drift.difference for drift in drifts if drift.measure == "cost"]
    known = sum(charge.current_nusd or 0 for charge in unseen)
    most = known + sum(charge.attempt.held_nusd for charge in unseen)
    if len(unseen) > 1 and off and model is not None and 0 <= known - sum(off) <= most:
        return Advice(
            day,
            model,
            f"the end of {len(unseen)} calls was not seen ({names}); "
            f"{format_usd(known - sum(off))} for them together would make the day agree",
            f"omni budgets release --model {quote(model)} --day {day} "
            f"--cost {usd_string(known - sum(off))} --reason {quote(file.name)}",
        )
    if len(estimated) > 1:
        why = f"{len(estimated)} calls were estimated ({names}); correct each with its true cost"
        return Advice(
            day, model, why, f"omni reprice --request {id_text(estimated[0].request.id)} --cost USD"
        )
    charge = estimated[0]
    money = [drift.difference for drift in drifts if drift.measure == "cost"]
    tokens: dict[TokenKind, int] = {
        drift.kind: drift.difference for drift in drifts if drift.measure == "tokens"
    }
    cost = service.corrected_nusd(charge, tokens, sum(money) if money else None)
    if cost is None:
        return Advice(day, model, f"call {names} was estimated, and does not explain it alone")
    return Advice(
        day,
        model,
        f"call {names} was estimated at {format_usd(charge.current_nusd)}; "
        f"{format_usd(cost)} would make the day agree",
        f"omni reprice --request {names} --attempt {charge.attempt.n} --cost {usd_string(cost)} "
        f"--reason {quote(file.name)} --apply",
    )


def _drift_document(drift: Drift) -> dict[str, Any]:
    def shown(value: int | None) -> int | str | None:
        if value is None or drift.measure == "tokens":
            return value
        return usd_string(value)

    return {
        **document(drift, "day", "model", "kind", "measure", "finding"),
        "ours": shown(drift.ours),
        "theirs": shown(drift.theirs),
        "difference": shown(drift.difference),
        "percent": None if drift.percent is None else str(drift.percent),
    }


def invoice_document(
    theirs: Sequence[InvoiceLine],
    unknown: int,
    drifts: Sequence[Drift],
    advice: Sequence[Advice],
) -> dict[str, Any]:
    """Args:
    theirs: at least one line.
    unknown: of our attempts in these days have no price.
    """
    days = [line.day for line in theirs]
    return {
        "from": min(days),
        "to": max(days),
        "lines": len(theirs),
        "agrees": not drifts,
        "unknown_attempts": unknown,
        "drifts": [_drift_document(drift) for drift in drifts],
        "advice": [document(one) for one in advice],
    }


def reported_document(who: str, model: str, row: Reported) -> dict[str, Any]:
    return {
        "reported_by": who,
        "model": model,
        **document(row, "calls", "differing", "ours_nusd", "theirs_nusd"),
        "drift_usd": usd_string(row.drift_nusd),
        "unpriced_calls": row.unpriced,
        "unpriced_theirs_usd": usd_string(row.unpriced_nusd),
        "most_off": None if row.worst is None else id_text(row.worst[0]),
    }
