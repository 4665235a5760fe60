"""The quality table's priors, as shipped: read ``priors.json``, which ``tools.priors`` writes."""

import math
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from omni_cli.domain.quality import BY_SIZE, POOLED_STRENGTH, SIZE_STRENGTH, Prior, family_key

FILE = "priors.json"
#: Index of the fields of a cell: mean in thousandths, strength, evidence (benchmark indexes).
_MEAN, _STRENGTH, _EVIDENCE = range(3)


class Priors:
    """Priors by task type and model, whatever provider serves it.

    ``lookup`` is what ``QualityTable`` takes.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._types = {name: i for i, name in enumerate(data["types"])}
        self._benchmarks: Sequence[Mapping[str, Any]] = data["benchmarks"]
        self._families: Mapping[str, str] = data["families"]
        self._models: Mapping[str, Mapping[str, Any]] = data["models"]
        self._type_means: Sequence[int] = data["type_means"]
        self._by_size: Mapping[str, Any] = data["by_size"]
        self._found: dict[str, tuple[str, Mapping[str, Any] | None]] = {}
        self._sized: dict[tuple[str, float], Prior | None] = {}

    @property
    def types(self) -> tuple[str, ...]:
        """The task types that there are priors of."""
        return tuple(self._types)

    @property
    def families(self) -> frozenset[str]:
        """Family keys of the models with priors of their own."""
        return frozenset(self._models)

    def lookup(self, task_type: str, model_id: str) -> Prior | None:
        """None where nothing was published and nothing estimated, or the type is unknown."""
        key, entry = self._entry(model_id)
        index = self._types.get(task_type)
        if entry is None or index is None:
            return None
        cell = entry["cells"][index]
        if cell is None:
            return None
        return Prior(cell[_MEAN] / 1000, cell[_STRENGTH], self._basis(key, entry, cell))

    def weak(self, task_type: str, model_id: str, size_b: float | None) -> Prior | None:
        """Where ``lookup`` finds nothing: what other models suggest, given little weight.

        Args:
            size_b: billions of parameters, above 0, or None where they are unknown.

        Returns:
            For a model that is known at other tasks the mean of known models at this one, for
            any other what its size alone suggests, or None.
        """
        index = self._types.get(task_type)
        if index is not None and self._entry(model_id)[1] is not None:
            mean = self._type_means[index] / 1000
            return Prior(mean, POOLED_STRENGTH, f"mean of known models at {task_type}")
        if size_b is None:
            return None
        at = task_type, size_b
        if at not in self._sized:
            self._sized[at] = self.by_size(task_type, size_b)
        return self._sized[at]

    def by_size(self, task_type: str, size_b: float) -> Prior | None:
        """What a model's size alone suggests; ``size_b``: billions of parameters, above 0."""
        index = self._types.get(task_type)
        if index is None:
            return None
        at_hinge, below, above = self._by_size["types"][index]
        x = math.log(size_b / self._by_size["hinge_b"])
        mean = 1.0 / (1.0 + math.exp(-at_hinge - (below if x < 0 else above) * x))
        shown = f"{size_b:.3g} B" if size_b >= 1 else f"{size_b * 1000:.3g} M"
        return Prior(mean, SIZE_STRENGTH, f"{BY_SIZE}, {shown}")

    def _entry(self, model_id: str) -> tuple[str, Mapping[str, Any] | None]:
        found = self._found.get(model_id)
        if found is None:
            key = family_key(model_id)
            key = key if key in self._models else self._families.get(key, key)
            found = self._found[model_id] = key, self._models.get(key)
        return found

    def _basis(self, key: str, entry: Mapping[str, Any], cell: Sequence[Any]) -> str:
        if cell[_EVIDENCE]:
            return self._named(key, cell[_EVIDENCE])
        if "estimate" in entry:
            return f"estimate: {entry['estimate']}"
        return f"inferred from its other results: {self._named(key, entry['all'])}"

    def _named(self, key: str, indexes: Sequence[int]) -> str:
        found = (self._benchmarks[i] for i in indexes)
        return "; ".join(f"{b['name']} {b['scores'][key]:g}" for b in found)


@cache
def load_priors() -> Priors:
    """The priors that came with this version of omni: a process reads them once."""
    return Priors(msgspec.json.decode(Path(__file__).with_name(FILE).read_bytes()))
