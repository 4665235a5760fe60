"""Who may be recommended, and what they would do for the same work."""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from omni_cli.domain.analytics import Totals
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.prices import Rates
from omni_cli.domain.quality import QualityTable, plainness
from omni_cli.domain.recommend import AS_GOOD, LEAST_CONFIDENCE, Candidate
from omni_cli.domain.retirement import is_leaving

#: A model that is not in use yet is named only where published results of its own, or the user's
#: outcomes, weigh at least this much.
_EVIDENCE = 10.0


class Candidates(Struct, frozen=True):
    """``models``: who may be named, those in use first; see ``namable``."""

    models: tuple[ModelInfo, ...]
    rates: Mapping[str, Rates | None]
    table: QualityTable

    def of(self, current: str, tasks: Mapping[str, Totals], totals: Totals) -> list[Candidate]:
        """All that could do the work of ``current`` for less, by type of task."""
        return [
            found
            for other in self.models
            if other.id != current and (found := self._one(other, current, tasks, totals))
        ]

    def substitute(self, current: str, tasks: Mapping[str, Totals]) -> str:
        """Who may stand in for ``current``: of those likely as good the cheapest, one in use
        before another; "" where there is none."""
        totals = sum(tasks.values(), Totals())
        able = [
            found
            for other in self.models
            if other.id != current
            and (found := self._one(other, current, tasks, totals, dearer=True))
            and found.as_good >= LEAST_CONFIDENCE
        ]
        best = min(able, key=lambda c: (c.standby, c.cost_nusd), default=None)
        return "" if best is None else best.model

    def with_badge(self, badge: str) -> list[str]:
        """Models on standby that have a badge, the best value first: of those close to the best
        in quality the cheapest."""
        known = [m for m in self.models if m.status != "active" and m.has(badge)]
        quality = {m.id: self.table.cell("chat", m.id).mean for m in known}
        top = max(quality.values(), default=0.0)

        def value(model: ModelInfo) -> tuple[bool, int]:
            rate = self.rates[model.id]
            return quality[model.id] < top - 0.05, 0 if rate is None else rate.cost_nusd(
                1_000, 0, 1_000
            )

        return [model.id for model in sorted(known, key=value)]

    def _one(
        self,
        other: ModelInfo,
        current: str,
        tasks: Mapping[str, Totals],
        totals: Totals,
        *,
        dearer: bool = False,
    ) -> Candidate | None:
        """``other`` in place of ``current`` for the same tokens; None where it cannot do it."""
        rate = self.rates.get(other.id)
        if rate is None:
            return None
        cost = rate.cost_nusd(totals.input_tokens, totals.cached_tokens, totals.output_tokens)
        if cost >= totals.cost_nusd and not dearer:
            return None
        if "image" in tasks and not other.has("vision"):
            return None
        if "agent_step" in tasks and not other.has("function-calling"):
            return None
        mean_input = totals.input_tokens / max(totals.calls, 1)
        if other.context_window is not None and other.context_window < 2 * mean_input:
            return None
        standby = other.status != "active"
        calls = max(sum(t.calls for t in tasks.values()), 1)
        as_good = 0.0
        basis = ""
        heaviest = 0
        for task, part in tasks.items():
            if not part.calls:
                continue
            cell = self.table.cell(task, other.id)
            if standby and cell.strength + cell.observations < _EVIDENCE:
                return None
            bar = AS_GOOD * self.table.cell(task, current).mean
            as_good += part.calls / calls * cell.chance_at_least(bar)
            if part.calls > heaviest:
                heaviest, basis = part.calls, cell.basis
        return Candidate(other.id, cost, as_good, basis, standby)


def namable(
    models: Iterable[ModelInfo],
    *,
    today: str,
    simulated: set[str],
    usable: set[str],
    here: set[str],
) -> tuple[ModelInfo, ...]:
    """Models that may be recommended, those in use first, then by the plainness of their names.

    Args:
        models: of the fleet's enabled providers.
        simulated: providers whose active models never retire.
        usable: providers that could be asked at once: their key is there.
        here: servers on this machine, which serve what was pulled, not what the catalogue lists.
    """

    def leaving(model: ModelInfo) -> bool:
        return is_leaving(model, today)

    found = [
        model
        for model in models
        if "text" in model.output_types
        and not model.hidden
        and (
            (model.status == "active" and (model.provider in simulated or not leaving(model)))
            or (
                model.status == "standby"
                and model.provider in usable
                and not leaving(model)
                and not (model.is_system and model.provider in here)
                and _documented(model)
            )
        )
    ]
    return tuple(
        sorted(
            found,
            key=lambda model: (model.status != "active", *plainness(model.wire_name), model.id),
        )
    )


def _documented(model: ModelInfo) -> bool:
    """Its abilities are known, so it is known to chat in the usual way."""
    texts = "text" in model.input_types and "streaming" in model.badges
    return texts and not model.by_batch
