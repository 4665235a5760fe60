"""How fast models are before anything was measured: read ``speeds.json``, which names its sources.

What is published of a model (or of its family, at a provider that computes on the usual hardware)
counts as some calls of the user's own would; where nothing is, the geometric mean of what is
published of its class counts as fewer. docs/quality-sources.md says how classes are told.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from omni_cli.domain.latency import CLASS_CALLS, PRIOR_CALLS, Speed
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.quality import family_key

FOLDER = Path(__file__).parent
FILE = "speeds.json"
#: US dollars per 1M output tokens up to which a model whose name says no size counts as a small
#: one, and from which as a large one.
SMALL_USD, LARGE_USD = Decimal(2), Decimal(20)


class Speeds:
    """Called with a model and what 1M of its output tokens cost (None: unknown); None where
    nothing can be said: at a provider that is not known, or on the user's own machine."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self._sources: Mapping[str, str] = data["sources"]
        self._served: Mapping[str, Any] = data["served"]
        self._families: Mapping[str, Any] = data["families"]
        self._hosts = frozenset(data["hosts"])
        self._words = {name: frozenset(data[name].split()) for name in ("fast", "large")}
        self._found: dict[tuple[str, Decimal | None], Speed | None] = {}

    def __call__(self, model: ModelInfo, output_usd: Decimal | None) -> Speed | None:
        key = model.id, output_usd
        if key not in self._found:
            self._found[key] = self._work_out(model, output_usd)
        return self._found[key]

    def _work_out(self, model: ModelInfo, output_usd: Decimal | None) -> Speed | None:
        if model.provider not in self._hosts:
            return None
        usual = model.provider not in {name.partition("/")[0] for name in self._served}
        kind = self._class_of(model, output_usd) if usual else "fast"
        entry = self._served.get(model.id)
        if entry is None and usual:
            entry = self._families.get(family_key(model.id))
        ttft = _mean(_all(entry, "ttft_ms")) or self._class_mean("ttft_ms", kind)
        rate = _mean(_all(entry, "tokens_s"))
        if rate is None and usual:
            rate = self._class_mean("tokens_s", kind)
        elif rate is None:
            own = (o for name, o in self._served.items() if name.startswith(model.provider + "/"))
            rate = _mean(value for other in own for value in _all(other, "tokens_s"))
        if ttft is None or rate is None:
            return None
        if entry is None:
            return Speed(ttft, rate, CLASS_CALLS, "by its class", f"other {kind} models")
        named = [*entry.get("ttft_ms", ()), *entry.get("tokens_s", ())]
        text = "; ".join(self._sources[name] for name in dict.fromkeys(named))
        return Speed(ttft, rate, PRIOR_CALLS, "published", text)

    def _class_of(self, model: ModelInfo, output_usd: Decimal | None) -> str:
        known = self._families.get(family_key(model.id))
        if known is not None:
            return str(known["class"])
        words = set(re.split(r"[^a-z0-9]+", model.wire_name.lower()))
        for name, signs in self._words.items():
            if not signs.isdisjoint(words):
                return name
        if output_usd is not None and output_usd <= SMALL_USD:
            return "fast"
        return "large" if output_usd is not None and output_usd >= LARGE_USD else "standard"

    def _class_mean(self, field: str, kind: str) -> float | None:
        own = (other for other in self._families.values() if other["class"] == kind)
        return _mean(mean for other in own if (mean := _mean(_all(other, field))) is not None)


def _all(entry: Mapping[str, Any] | None, field: str) -> Iterable[float]:
    return () if entry is None else entry.get(field, {}).values()


def _mean(values: Iterable[float]) -> float | None:
    """Geometric."""
    logs = [math.log(value) for value in values]
    return math.exp(sum(logs) / len(logs)) if logs else None


def load_speeds() -> Callable[[ModelInfo, Decimal | None], Speed | None]:
    """The speeds that came with this version of omni."""
    return Speeds(msgspec.json.decode((FOLDER / FILE).read_bytes()))
