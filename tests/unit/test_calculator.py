"""C6: costs of a workload on each model, custom prices, and honest counting."""

import hashlib
import sys
from decimal import Decimal
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.prices import Price, PriceState, Rate, Tier
from omni_cli.services.money import calculator as tokenizer
from omni_cli.services.money.calculator import Workload, calculate, custom_price


def model(name: str, context: int | None = None, **weights: float) -> ModelInfo:
    return ModelInfo(f"p/{name}", "p", name, name, context_window=context, token_weights=weights)


def priced(
    rate_in: str, rate_out: str, cached: str | None = None, state: PriceState = "priced"
) -> Price:
    return Price(
        state=state,
        input=Rate(Decimal(rate_in)),
        output=Rate(Decimal(rate_out)),
        cached=None if cached is None else Rate(Decimal(cached)),
    )


def test_cost_of_a_request_of_n_and_of_a_month() -> None:
    (line,) = calculate(
        Workload(1000, 500, requests=3, per_month=1000), [(model("a"), priced("3", "15"))]
    )
    # 1,000 x 3 + 500 x 15 dollars per million
    assert line.request_nusd == 10_500_000
    assert (line.total_nusd, line.month_nusd) == (31_500_000, 10_500_000_000)
    assert line.uncached_nusd == line.request_nusd


def test_with_and_without_the_cache() -> None:
    work = Workload(1000, 0, cached_tokens=800)
    with_rate, without = calculate(
        work, [(model("a"), priced("3", "15", "0.3")), (model("b"), priced("3", "15"))]
    )
    assert (with_rate.request_nusd, with_rate.uncached_nusd) == (840_000, 3_000_000)
    assert (without.request_nusd, without.uncached_nusd) == (3_000_000, 3_000_000)
    assert (with_rate.own_cached_rate, without.own_cached_rate) == (True, False)


def test_only_models_priced_by_tokens_cheapest_first_and_fitting_before_others() -> None:
    dear, cheap = (model("dear"), priced("9", "9")), (model("cheap"), priced("1", "1"))
    small = (model("small", context=100), priced("0.1", "0.1"))
    others = [
        (model("free"), Price(state="free")),
        (model("unknown"), Price(state="unknown")),
        (model("vision"), Price(state="priced", per_request_usd=Decimal("0.001"))),
        (model("embedding"), Price(state="priced", input=Rate(Decimal(1)))),
    ]
    lines = calculate(Workload(200, 10), [dear, small, *others, cheap])
    assert [(line.name, line.fits) for line in lines] == [
        ("cheap", True),
        ("dear", True),
        ("small", False),
    ]


def test_tiers_count_as_for_a_real_request() -> None:
    price = Price(
        state="priced",
        input=Rate(Decimal(1), (Tier(200_000, Decimal(2)),)),
        output=Rate(Decimal(1)),
    )
    below, above = (
        calculate(Workload(tokens, 0, requests=10), [(model("a"), price)])[0]
        for tokens in (200_000, 200_001)
    )
    assert below.request_nusd == 200_000_000
    assert above.request_nusd == 400_002_000


def test_a_token_weight_scales_a_counted_text_only() -> None:
    weighted = [(model("a", input=1.25), priced("1", "1"))]
    assert calculate(Workload(1001, 0, counted=True), weighted)[0].input_tokens == 1252
    assert calculate(Workload(1001, 0), weighted)[0].input_tokens == 1001


def test_custom_prices() -> None:
    price = custom_price("in=1.2, out=$4.8,cached=0.1,request=0.01")
    assert (price.input, price.output, price.cached, price.per_request_usd) == (
        Rate(Decimal("1.2")),
        Rate(Decimal("4.8")),
        Rate(Decimal("0.1")),
        Decimal("0.01"),
    )
    for text in ("in=1", "in=1,out=x", "in=1,out=-1", "in=1,out=1,other=2", "", "1.2", "in=nan"):
        with pytest.raises(UsageError):
            custom_price(text)


def test_impossible_workloads_are_refused() -> None:
    for tokens_in, cached, requests in ((-1, 0, 1), (10, 11, 1), (10, 0, 0)):
        with pytest.raises(UsageError):
            Workload(tokens_in, 0, cached_tokens=cached, requests=requests)


# ---- exact counting: only with ranks that are here and whole


def refuse(name: str, value: str) -> None:
    raise AssertionError(f"nothing is to be set, least of all {name}={value}")


@pytest.fixture
def fake_tiktoken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A tiktoken that counts words and notes what it was asked for."""
    asked: list[str] = []

    def get_encoding(name: str) -> SimpleNamespace:
        asked.append(name)
        return SimpleNamespace(encode_ordinary=str.split)

    module = ModuleType("tiktoken")
    module.__dict__["get_encoding"] = get_encoding
    monkeypatch.setitem(sys.modules, "tiktoken", module)
    monkeypatch.setattr(tokenizer, "find_spec", lambda name: module if name == "tiktoken" else None)
    monkeypatch.setattr("tempfile.gettempdir", lambda: "nowhere")
    return asked


def test_ranks_on_this_machine_are_used(
    fake_tiktoken: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / tokenizer.RANKS_FILE).write_bytes(b"ranks")
    monkeypatch.setattr(tokenizer, "RANKS_DIGEST", hashlib.sha256(b"ranks").hexdigest())
    told: dict[str, str] = {}
    count = tokenizer.exact_counter({"DATA_GYM_CACHE_DIR": str(tmp_path)}, told.__setitem__)
    assert count is not None
    assert count("three words here") == 3
    assert told == {"TIKTOKEN_CACHE_DIR": str(tmp_path)}
    assert fake_tiktoken == ["o200k_base"]


def test_without_whole_ranks_tiktoken_is_never_asked(
    fake_tiktoken: list[str], tmp_path: Path
) -> None:
    """It would download them."""
    env = {"TIKTOKEN_CACHE_DIR": str(tmp_path)}
    assert tokenizer.exact_counter(env, refuse) is None
    (tmp_path / tokenizer.RANKS_FILE).write_bytes(b"half a file")
    assert tokenizer.exact_counter(env, refuse) is None
    assert fake_tiktoken == []


@pytest.mark.parametrize(
    ("name", "exact"),
    [
        ("openai/gpt-4o-mini", True),
        ("openai/o3", True),
        ("openai/gpt-4", False),
        ("openai/gpt-4-turbo", False),
        ("anthropic/claude-sonnet-4-5", False),
        ("openrouter/openai/gpt-4o", False),
    ],
)
def test_exact_only_for_the_models_that_use_the_encoding(name: str, exact: bool) -> None:
    assert tokenizer.is_exact_for(name) is exact
