"""How likely a model answers a kind of prompt well: shipped priors and the user's outcomes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Self

from omni_cli.domain.quality import (
    NO_EVIDENCE,
    TELLING_OUTCOMES,
    Observed,
    PriorLookup,
    QualityTable,
    is_evidence,
    shares,
)
from omni_cli.domain.tasks import TASK_TYPES

if TYPE_CHECKING:
    from omni_cli.repositories import Learning

#: A model's quality at a kind of prompt: its mean 0..1 or None without evidence; how far the
#: true one may be off (standard deviation); what it rests on.
Judgement = tuple[float | None, float, str]


class _Column(dict[str, tuple[float, float, float, str]]):
    """One task type's mean, variance, observations and basis by model, worked out once."""

    def __init__(self, table: QualityTable, task: str) -> None:
        super().__init__()
        self._table = table
        self.task = task

    def __missing__(self, model_id: str) -> tuple[float, float, float, str]:
        cell = self._table.cell(self.task, model_id)
        mean = cell.mean
        variance = mean * (1.0 - mean) / (cell.alpha + cell.beta + 1.0)
        value = self[model_id] = (mean, variance, cell.observations, cell.basis)
        return value


#: Observations that a type's cell counts for behind the cell of one of its forms: what the
#: measurement in docs/routing-figures.md used.
FORM_STRENGTH = 10.0


_EVENLY = dict.fromkeys(TASK_TYPES, 1.0)


def _of_form(mean: float, counts: tuple[float, float]) -> tuple[float, float]:
    """Mean and variance of a form's cell that starts from its type's mean."""
    alpha = mean * FORM_STRENGTH + counts[0]
    beta = (1.0 - mean) * FORM_STRENGTH + counts[1]
    moved = alpha / (alpha + beta)
    return moved, moved * (1.0 - moved) / (alpha + beta + 1.0)


class TableQuality:
    """The quality table behind the router's seam (``services.fleet_view.Quality``)."""

    def __init__(self, table: QualityTable, forms: Observed | None = None) -> None:
        self._table = table
        self._forms = forms or {}
        self._columns: dict[str, _Column] = {}

    @classmethod
    def load(cls, learning: Learning, priors: PriorLookup) -> Self:
        observed = learning.quality()
        by_type = {key: counts for key, counts in observed.items() if "/" not in key[0]}
        forms = {key: counts for key, counts in observed.items() if "/" in key[0]}
        return cls(QualityTable(priors, by_type), forms)

    @property
    def table(self) -> QualityTable:
        return self._table

    def __call__(
        self, probabilities: Mapping[str, float], model_ids: Sequence[str], form: str = ""
    ) -> list[Judgement]:
        """Each model's cells mixed by task type; ``probabilities`` need not sum to 1.

        ``form``: the prompt's (``TaskEstimate.form``); where this user saw outcomes of a type's
        prompts in that form, they move the type's cell further.
        """
        parts = sorted(shares(probabilities), key=lambda part: -part[1])
        weighted = [(share, self._column(task)) for task, share in parts]
        judged: list[Judgement] = []
        for model_id in model_ids:
            mean = variance = seen = 0.0
            basis = ""
            for share, column in weighted:
                cell_mean, cell_variance, cell_seen, cell_basis = column[model_id]
                counts = self._forms.get((f"{column.task}/{form}", model_id)) if form else None
                if counts is not None:
                    cell_mean, cell_variance = _of_form(cell_mean, counts)
                mean += share * cell_mean
                variance += share * cell_variance
                seen += share * cell_seen
                basis = basis or cell_basis
            spread = math.sqrt(variance)
            if seen >= TELLING_OUTCOMES and not is_evidence(basis):
                judged.append((mean, spread, f"{seen:.3g} of your outcomes; before: {basis}"))
            elif seen:
                judged.append((mean, spread, f"{basis}; {seen:.3g} of your outcomes"))
            else:
                judged.append((None if basis == NO_EVIDENCE else mean, spread, basis))
        return judged

    def overall(self, model_id: str) -> tuple[float | None, str]:
        """Over all task types alike: the mean or None, and what it rests on."""
        if not self._table.knows(model_id):
            return None, NO_EVIDENCE  # what it would say, too: half the catalogue is so
        ((mean, _, basis),) = self(_EVENLY, [model_id])
        return mean, basis

    def _column(self, task: str) -> _Column:
        column = self._columns.get(task)
        if column is None:
            column = self._columns[task] = _Column(self._table, task)
        return column
