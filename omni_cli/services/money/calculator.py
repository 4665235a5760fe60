"""What a text, or a number of requests, would cost on each model (C6). Sends nothing."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec import Struct

from omni_cli.domain.chat import Usage
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.money import usd, usd_string
from omni_cli.domain.prices import Price, Rate
from omni_cli.domain.record import replace
from omni_cli.services.money.prices import cost_or_none

ENCODING = "o200k_base"
#: What tiktoken calls the ranks' file: the SHA-1 of the address that it loads them from.
RANKS_FILE = "fb374d419588a4632f3f557e76b4b70aebbca790"
#: tiktoken's own pin of the file's content (SHA-256).
RANKS_DIGEST = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
#: Wire names of OpenAI's models that use this encoding begin with one of these.
FAMILIES = ("gpt-4o", "gpt-4.1", "gpt-4.5", "gpt-5", "gpt-oss", "chatgpt-4o", "o1", "o3", "o4")


def exact_counter(
    env: Mapping[str, str], set_env: Callable[[str, str], None]
) -> Callable[[str], int] | None:
    """Counts the tokens of a text in ``o200k_base``; None where that cannot be done offline.

    Args:
        set_env: sets a variable of this process: how tiktoken is told where the ranks are.
    """
    if find_spec("tiktoken") is None:
        return None
    for folder in _places(env):
        if _digest(folder / RANKS_FILE) == RANKS_DIGEST:
            break
    else:
        return None
    set_env("TIKTOKEN_CACHE_DIR", str(folder))
    encoding = import_module("tiktoken").get_encoding(ENCODING)
    return lambda text: len(encoding.encode_ordinary(text))


def is_exact_for(model_id: str) -> bool:
    """Whether a model counts by this encoding."""
    provider, _, name = model_id.partition("/")
    return provider == "openai" and name.startswith(FAMILIES)


def _places(env: Mapping[str, str]) -> Iterator[Path]:
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if env.get(name):
            yield Path(env[name])
    yield Path(tempfile.gettempdir()) / "data-gym-cache"
    litellm = find_spec("litellm")
    for folder in (litellm.submodule_search_locations or ()) if litellm else ():
        yield Path(folder) / "litellm_core_utils" / "tokenizers"


def _digest(file: Path) -> str | None:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return None


#: How far the estimate was off on recorded answers of six vendors: half of them less, all of
#: them less (tests/unit/test_tokens.py holds it to that).
MEDIAN_ERROR_PERCENT = 8
MOST_ERROR_PERCENT = 20
_CUSTOM_KINDS = {
    "in": "input",
    "out": "output",
    "cached": "cached",
    "cache_write": "cache_write",
    "reasoning": "reasoning",
}


class Workload(Struct, frozen=True):
    """``requests`` calls of these tokens each; ``cached_tokens`` are part of input.

    ``counted``: the input was counted from a text, so a model's token weight applies to it.
    ``per_month``: calls a month, for a projection; None: no projection.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    requests: int = 1
    per_month: int | None = None
    counted: bool = False

    def __post_init__(self) -> None:
        if min(self.input_tokens, self.output_tokens, self.cached_tokens) < 0:
            raise UsageError("token counts are 0 or more")
        if self.cached_tokens > self.input_tokens:
            raise UsageError(
                f"{self.cached_tokens:,} cached tokens are more than {self.input_tokens:,} of "
                "input: cached tokens are part of the input"
            )
        if self.requests < 1 or (self.per_month is not None and self.per_month < 0):
            raise UsageError("--requests is 1 or more, --per-month 0 or more")


class Line(Struct, frozen=True):
    """One model's costs, nano-dollars. ``uncached_nusd``: of a request without the cache.

    ``fits``: the tokens go into the model's context window, as far as that is known.
    ``own_cached_rate``: the price has a rate for cached input, so caching changes something.
    """

    model: str
    name: str
    input_tokens: int
    request_nusd: int
    uncached_nusd: int
    total_nusd: int
    month_nusd: int | None
    fits: bool
    own_cached_rate: bool


def calculate(workload: Workload, models: Iterable[tuple[ModelInfo, Price]]) -> list[Line]:
    """Cheapest first; models that are not priced by tokens in both directions are left out."""
    lines = [
        line
        for model, price in models
        if price.state == "priced" and price.input is not None and price.output is not None
        if (line := _line(workload, model, price)) is not None
    ]
    lines.sort(key=lambda line: (not line.fits, line.request_nusd, line.model))
    return lines


def _line(workload: Workload, model: ModelInfo, price: Price) -> Line | None:
    weight = model.token_weights.get("input", 1.0) if workload.counted else 1.0
    counted = -(-workload.input_tokens * round(weight * 1000) // 1000)
    usage = Usage(
        input_tokens=counted,
        cached_tokens=min(workload.cached_tokens, counted),
        output_tokens=workload.output_tokens,
    )
    cost = cost_or_none(usage, price)
    uncached = cost_or_none(replace(usage, cached_tokens=0), price)
    if cost is None or uncached is None:
        return None
    window = model.context_window
    return Line(
        model=model.id,
        name=model.name,
        input_tokens=counted,
        request_nusd=cost,
        uncached_nusd=uncached,
        total_nusd=cost * workload.requests,
        month_nusd=None if workload.per_month is None else cost * workload.per_month,
        fits=window is None or counted + workload.output_tokens <= window,
        own_cached_rate=price.cached is not None,
    )


def custom_price(text: str) -> Price:
    """``in=1.2,out=4.8[,cached=0.1][,cache_write=1.5][,request=0.01]``: US dollars per 1M tokens.

    Raises:
        UsageError: an unknown kind, a number that does not fit, or no ``in`` and ``out``.
    """
    rates: dict[str, Any] = {}
    fee = Decimal(0)
    for part in text.split(","):
        kind, equals, amount = part.partition("=")
        try:
            value = Decimal(amount.strip().removeprefix("$"))
        except ArithmeticError:
            value = Decimal("NaN")
        kind = kind.strip()
        if not equals or not value.is_finite() or value < 0:
            raise UsageError(f"--custom {part!r} is no price", hint="--custom in=1.2,out=4.8")
        if kind == "request":
            fee = value
        elif kind in _CUSTOM_KINDS:
            rates[_CUSTOM_KINDS[kind]] = Rate(value)
        else:
            raise UsageError(
                f"--custom has no kind {kind!r}", hint=f"{', '.join(_CUSTOM_KINDS)}, request"
            )
    if not {"input", "output"} <= rates.keys():
        raise UsageError("--custom needs in= and out=", hint="--custom in=1.2,out=4.8")
    return Price(state="priced", per_request_usd=fee, source="custom", **rates)


class Counted(Struct, frozen=True):
    """``method``: ``given``, ``estimate`` or the encoding's name."""

    tokens: int
    method: str


def calculation_document(workload: Workload, counted: Counted, lines: list[Line]) -> dict[str, Any]:
    return {
        "input_tokens": counted.tokens,
        **document(workload, "output_tokens", "cached_tokens", "requests", "per_month"),
        "counted_by": counted.method,
        "margin_percent": MOST_ERROR_PERCENT if counted.method == "estimate" else None,
        "models": [
            {
                **document(line, "model", "name", "input_tokens"),
                "exact_tokens": counted.method == "given"
                or (counted.method == ENCODING and is_exact_for(line.model)),
                "request_usd": usd_string(line.request_nusd),
                "request_without_cache_usd": usd_string(line.uncached_nusd),
                "total_usd": usd_string(line.total_nusd),
                "month_usd": usd(line.month_nusd),
                "fits_context": line.fits,
            }
            for line in lines
        ],
    }
