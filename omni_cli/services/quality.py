"""How likely a model answers a kind of prompt well: shipped priors and the user's outcomes."""

from collections.abc import Mapping
from typing import Self

from omni_cli.domain.quality import NO_EVIDENCE, PriorLookup, QualityTable
from omni_cli.repositories import Learning


class TableQuality:
    """The quality table behind the router's seam (``services.routing.Quality``)."""

    def __init__(self, table: QualityTable) -> None:
        self._table = table

    @classmethod
    def load(cls, learning: Learning, priors: PriorLookup, type_means: Mapping[str, float]) -> Self:
        return cls(QualityTable(priors, learning.quality(), type_means))

    @property
    def table(self) -> QualityTable:
        return self._table

    def __call__(
        self, probabilities: Mapping[str, float], model_id: str
    ) -> tuple[float | None, str]:
        mixture = self._table.mixed(probabilities, model_id)
        basis = mixture.basis
        if basis == NO_EVIDENCE and not mixture.observations:
            return None, basis
        seen = mixture.observations
        return mixture.mean, f"{basis}; {seen:.3g} of your outcomes" if seen else basis
