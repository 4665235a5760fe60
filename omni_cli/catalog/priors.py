"""The quality table's priors, as shipped: read ``priors.json``, which ``catalog.fit`` writes."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.resources import files
from typing import Any

from omni_cli.domain.quality import Prior, family_key

FILE = "priors.json"
#: Index of the fields of a cell: mean in thousandths, strength, evidence (benchmark indexes).
_MEAN, _STRENGTH, _EVIDENCE = range(3)


class Priors:
    """Priors by task type and model, whatever provider serves it.

    ``lookup`` and ``type_means`` are what ``QualityTable`` takes.
    """

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._types = {name: i for i, name in enumerate(data["types"])}
        self._benchmarks: Sequence[Mapping[str, Any]] = data["benchmarks"]
        self._families: Mapping[str, str] = data["families"]
        self._models: Mapping[str, Mapping[str, Any]] = data["models"]
        self._type_means: Sequence[int] = data["type_means"]

    @cached_property
    def type_means(self) -> Mapping[str, float]:
        """Mean prior of each task type over the models that have one."""
        return {name: self._type_means[i] / 1000 for name, i in self._types.items()}

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

    def _entry(self, model_id: str) -> tuple[str, Mapping[str, Any] | None]:
        key = family_key(model_id)
        key = key if key in self._models else self._families.get(key, key)
        return key, self._models.get(key)

    def _basis(self, key: str, entry: Mapping[str, Any], cell: Sequence[Any]) -> str:
        if cell[_EVIDENCE]:
            return self._named(key, cell[_EVIDENCE])
        if "estimate" in entry:
            return f"estimate: {entry['estimate']}"
        return f"inferred from its other results: {self._named(key, entry['all'])}"

    def _named(self, key: str, indexes: Sequence[int]) -> str:
        found = (self._benchmarks[i] for i in indexes)
        return "; ".join(f"{b['name']} {b['scores'][key]:g}" for b in found)


def load_priors() -> Priors:
    """The priors that came with this version of omni."""
    return Priors(json.loads(files(__package__).joinpath(FILE).read_bytes()))
