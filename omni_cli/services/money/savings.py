"""What routing saved against always asking the premium model: signed, and how well it is founded.

Against the saving count all costs that only arise because there is a fleet: failed attempts and
dearer models that stood in (they are part of what a request cost), requests that ended without
an answer, and what comparing, judging, probing and testing models cost. Requests whose own cost
or whose cost at the premium model is unknown are left out and shown apart.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, timedelta
from typing import Literal

from msgspec import Struct

from omni_cli.domain.analytics import Totals, calendar, day_key, key_date, sum_totals
from omni_cli.domain.ledger import EVALUATION, FOREIGN
from omni_cli.domain.periods import local_date
from omni_cli.domain.quality import BY_SIZE, NO_EVIDENCE, Cell, QualityTable
from omni_cli.records import Baseline
from omni_cli.repositories import Reports
from omni_cli.services.engine.own_scores import OWN_SCORE
from omni_cli.services.money.usage import UsageQuery, UsageService

#: observed: outcomes this user saw; published: benchmark results for this kind of task;
#: estimate: anything less.
Evidence = Literal["observed", "published", "estimate"]
EVIDENCE: tuple[Evidence, ...] = ("observed", "published", "estimate")
#: How a basis begins that is no measurement of this model at this kind of task.
_INDIRECT = ("estimate", "inferred", "mean of", OWN_SCORE, BY_SIZE, NO_EVIDENCE)


class Saved(Struct, frozen=True):
    """The one definition of a saving, over any usage.

    ``routed``: what omni routed for its user. ``evaluation_nusd``: by source, what trying models
    out cost. ``imported_nusd``: what usage that omni did not route would have saved, None where
    none of it was compared.
    """

    routed: Totals
    evaluation_nusd: Mapping[str, int]
    imported_nusd: int | None

    @property
    def overhead_nusd(self) -> int:
        """Requests without an answer, and evaluation."""
        return self.routed.unanswered_nusd + sum(self.evaluation_nusd.values())

    @property
    def saving_nusd(self) -> int | None:
        """At the premium model, less what was paid and all overhead; None where no request could
        be compared."""
        if not self.routed.compared_calls:
            return None
        return self.routed.premium_nusd - self.routed.compared_nusd - self.overhead_nusd


def saved_of(usage: Iterable[tuple[str, Totals]]) -> Saved:
    """``usage``: (source, sums), any number of each source."""
    routed: list[Totals] = []
    foreign: list[Totals] = []
    evaluation: dict[str, int] = {}
    for source, totals in usage:
        if source in FOREIGN:
            foreign.append(totals)
        elif source not in EVALUATION:
            routed.append(totals)
        elif totals.cost_nusd:
            evaluation[source] = evaluation.get(source, 0) + totals.cost_nusd
    imported = sum_totals(foreign)
    return Saved(
        sum_totals(routed),
        evaluation,
        imported.premium_nusd - imported.compared_nusd if imported.compared_calls else None,
    )


class SavingsRow(Struct, frozen=True):
    """``name``: a model or a date. ``saving_nusd`` = premium - paid - overhead; ``paid_nusd`` is
    what the compared calls cost, ``overhead_nusd`` requests without an answer and evaluation."""

    name: str
    calls: int
    premium_nusd: int
    paid_nusd: int
    overhead_nusd: int

    @property
    def saving_nusd(self) -> int:
        return self.premium_nusd - self.paid_nusd - self.overhead_nusd


class EvidenceRow(Struct, frozen=True):
    """The part of the saving (before overhead) whose answers' quality rests on ``kind``."""

    kind: Evidence
    calls: int
    saving_nusd: int


class SavingsReport(Struct, frozen=True):
    """``total`` and ``saving_nusd`` are None where no request could be compared.

    ``baselines``: the premium models compared with, most used first. ``unanswered_nusd`` and
    ``evaluation_nusd`` (by source) make up the overhead. ``failed_nusd``: failed attempts, a part
    of what was paid. ``uncompared_nusd``: answered requests without a comparison, in no saving.
    ``imported_nusd``: what usage that omni did not route would have saved, in no saving either;
    None without any.
    ``measured_share``: of what was saved, the part on measured quality, 0..1; None without any.
    """

    label: str
    zone: str
    first: date
    last: date
    baselines: tuple[Baseline, ...]
    total: SavingsRow | None
    unanswered_nusd: int
    evaluation_nusd: Mapping[str, int]
    failed_nusd: int
    uncompared_nusd: int
    unknown_attempts: int
    imported_nusd: int | None
    by_model: tuple[SavingsRow, ...]
    by_day: tuple[SavingsRow, ...]
    evidence: tuple[EvidenceRow, ...]
    measured_share: float | None

    @property
    def saving_nusd(self) -> int | None:
        return None if self.total is None else self.total.saving_nusd

    @property
    def saving_percent(self) -> float | None:
        """Of the cost at the premium model."""
        if self.total is None or not self.total.premium_nusd:
            return None
        return 100 * self.total.saving_nusd / self.total.premium_nusd


def evidence_of(cell: Cell) -> Evidence:
    """What a quality cell rests on. ``Priors`` and ``QualityTable`` word its basis."""
    if cell.observations > 0:
        return "observed"
    return "estimate" if cell.basis.startswith(_INDIRECT) else "published"


class SavingsService(Struct, kw_only=True, eq=False):
    """Args:
    quality: gives the quality table; called once a report has something to judge.
    """

    reports: Reports
    usage: UsageService
    quality: Callable[[], QualityTable]

    def saved(self, query: UsageQuery) -> Saved:
        """The figures alone, over the requests of a query. Raises UsageError, NotFound."""
        found = self._totals(self.usage.known(query), ("source",))
        return saved_of((source, totals) for (source,), totals in found.items())

    def _totals(self, query: UsageQuery, by: tuple[str, ...]) -> dict[tuple[str, ...], Totals]:
        span, zone = self.usage.span(query)
        first, last = local_date(span.start_ms, zone), local_date(span.end_ms - 1, zone)
        return self.reports.totals(day_key(first), day_key(last), by, query.filters)

    def report(
        self,
        *,
        period: str | None = "month",
        from_date: str | None = None,
        to_date: str | None = None,
    ) -> SavingsReport:
        """Raises UsageError: no such range."""
        query = UsageQuery(period=period, from_date=from_date, to_date=to_date)
        span, zone = self.usage.span(query)
        first, last = local_date(span.start_ms, zone), local_date(span.end_ms - 1, zone)
        keys = day_key(first), day_key(last)
        found = self._totals(query, ("source", "model", "task"))
        own = {key: t for key, t in found.items() if key[0] not in EVALUATION | FOREIGN}
        saved = saved_of((source, totals) for (source, _, _), totals in found.items())
        routed = saved.routed
        models: dict[str, list[Totals]] = {}
        for (_, model, _), totals in own.items():
            models.setdefault(model, []).append(totals)
        by_model = (_row(name, sum_totals(parts)) for name, parts in models.items())
        evidence = self._evidence(own)
        return SavingsReport(
            label=span.label,
            zone=zone,
            first=first,
            last=last,
            baselines=tuple(self.reports.baselines(*keys)) if routed.compared_calls else (),
            total=_row("total", routed, sum(saved.evaluation_nusd.values()))
            if routed.compared_calls
            else None,
            unanswered_nusd=routed.unanswered_nusd,
            evaluation_nusd=saved.evaluation_nusd,
            failed_nusd=routed.failed_nusd,
            uncompared_nusd=routed.cost_nusd - routed.compared_nusd - routed.unanswered_nusd,
            unknown_attempts=routed.unknown_attempts,
            imported_nusd=saved.imported_nusd,
            by_model=tuple(
                sorted(
                    (row for row in by_model if row.calls or row.overhead_nusd),
                    key=lambda row: (-row.saving_nusd, row.name),
                )
            ),
            by_day=tuple(self._by_day(first, last)),
            evidence=evidence,
            measured_share=_measured(evidence),
        )

    def _by_day(self, first: date, last: date) -> Iterable[SavingsRow]:
        found = self.reports.daily_by(day_key(first), day_key(last), ("source",))
        routed: dict[int, Totals] = {}
        spent: dict[int, int] = {}
        for (day, (source,)), totals in found.items():
            if source in EVALUATION:
                spent[day] = spent.get(day, 0) + totals.cost_nusd
            elif source not in FOREIGN:
                routed[day] = routed.get(day, Totals()) + totals
        for day in calendar(first, last + timedelta(days=1)):
            if day in routed or day in spent:
                name = key_date(day).isoformat()
                yield _row(name, routed.get(day, Totals()), spent.get(day, 0))

    def _evidence(self, own: Mapping[tuple[str, ...], Totals]) -> tuple[EvidenceRow, ...]:
        calls = dict.fromkeys(EVIDENCE, 0)
        saved = dict.fromkeys(EVIDENCE, 0)
        compared = {key: totals for key, totals in own.items() if totals.compared_calls}
        if compared:
            table = self.quality()
            for (_, model, task), totals in compared.items():
                kind = evidence_of(table.cell(task, model))
                calls[kind] += totals.compared_calls
                saved[kind] += totals.premium_nusd - totals.compared_nusd
        return tuple(EvidenceRow(kind, calls[kind], saved[kind]) for kind in EVIDENCE)


def _row(name: str, totals: Totals, evaluation: int = 0) -> SavingsRow:
    return SavingsRow(
        name,
        totals.compared_calls,
        totals.premium_nusd,
        totals.compared_nusd,
        totals.unanswered_nusd + evaluation,
    )


def _measured(evidence: Iterable[EvidenceRow]) -> float | None:
    """Losses rest on no quality: only what was saved needs to be founded."""
    saved = {row.kind: max(row.saving_nusd, 0) for row in evidence}
    whole = sum(saved.values())
    return (whole - saved["estimate"]) / whole if whole else None
