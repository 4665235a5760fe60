"""Speeds before the first call: each with its source, and measured ones take over."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from omni_cli.catalog import speeds
from omni_cli.catalog.load import load_catalog
from omni_cli.domain.latency import (
    CLASS_CALLS,
    HOPE,
    PRIOR_CALLS,
    Expected,
    Foreseen,
    Latencies,
    weighed_ms,
)
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.quality import family_key
from omni_cli.services.fleet.browse import Listed

DATA = json.loads(Path(speeds.FOLDER / speeds.FILE).read_text("utf-8"))
FIND = speeds.load_speeds()


def _model(name: str) -> ModelInfo:
    provider, _, wire_name = name.partition("/")
    return ModelInfo(name, provider, wire_name, name)


def test_each_figure_has_its_source_and_is_of_a_model_that_there_is() -> None:
    infos = [model.info for model in load_catalog().models]
    assert set(DATA["served"]) <= {info.id for info in infos}
    assert set(DATA["families"]) <= {family_key(info.id) for info in infos}
    named: set[str] = set()
    for entry in (*DATA["served"].values(), *DATA["families"].values()):
        figures = {**entry.get("ttft_ms", {}), **entry.get("tokens_s", {})}
        assert figures
        assert all(value > 0 for value in figures.values())
        named |= set(figures)
    assert named == set(DATA["sources"])
    assert all("20" in text for text in DATA["sources"].values())  # its year


def test_a_published_speed_names_who_published_it() -> None:
    found = FIND(_model("google/gemini-2.5-flash"), None)
    assert found is not None
    assert (found.basis, found.calls) == ("published", PRIOR_CALLS)
    assert found.ttft_ms == pytest.approx((492 * 412) ** 0.5)
    assert "ModelStats" in found.source
    assert "2026-04-03" in found.source
    assert found.latency_ms(0) == found.ttft_ms
    assert found.words.startswith("219 tokens a second, the first after 0.5 s (published: ")
    # The same family at who passes it on; elsewhere it runs on other hardware.
    assert FIND(_model("openrouter/google/gemini-2.5-flash"), None) == found
    served = FIND(_model("cerebras/gpt-oss-120b"), None)
    assert served is not None
    assert served.tokens_s == pytest.approx(3000)


def test_a_model_that_nobody_published_is_estimated_by_its_class() -> None:
    small, large = FIND(_model("openai/new-nano"), None), FIND(_model("openai/new-pro"), None)
    plain, cheap = FIND(_model("openai/new"), None), FIND(_model("openai/new"), Decimal("0.4"))
    dear = FIND(_model("openai/new"), Decimal(75))
    assert small is not None
    assert large is not None
    assert plain is not None
    assert (small.basis, small.calls) == ("by its class", CLASS_CALLS)
    assert small.ttft_ms < plain.ttft_ms < large.ttft_ms
    assert (cheap, dear) == (small, large)
    assert FIND(_model("ollama/llama3.1:8b"), None) is None
    assert FIND(_model("mine/model"), None) is None
    groq = FIND(_model("groq/new-model"), None)
    assert groq is not None
    assert groq.tokens_s > 3 * plain.tokens_s


def test_what_was_measured_takes_over_by_its_weight() -> None:
    def foreseen(model: str, task: str) -> Foreseen | None:
        return {
            "p/known": Foreseen(8_000.0, PRIOR_CALLS, "published"),
            "p/class": Foreseen(8_000.0, CLASS_CALLS, "by its class"),
        }.get(model)

    before = Latencies([], foreseen)
    assert before.of("p/known", "chat") == Expected(8_000.0, "published")
    assert before.of("p/new", "chat").basis == "not measured"

    def after(model: str, calls: int) -> float:
        found = Latencies([(model, "chat", 500.0, calls)], foreseen).of(model, "chat")
        assert found.basis == "measured"
        assert found.ms is not None
        return found.ms

    # Drawn towards a part of what was foreseen: who was never measured must be tried.
    halfway = (HOPE * 8_000.0 * 500.0) ** 0.5
    assert after("p/known", 5) == pytest.approx(halfway)
    assert after("p/class", 2) == pytest.approx(halfway)
    assert after("p/known", 500) == pytest.approx(500.0, rel=0.05)
    # What one task showed is an estimate at another; another model shows nothing of this one.
    slow = Latencies([("p/known", "chat", 16_000.0, 1_000)], foreseen)
    assert slow.of("p/known", "coding").basis == "estimated"
    assert slow.of("p/class", "chat") == Latencies([], foreseen).of("p/class", "chat")
    assert weighed_ms(8_000.0, "published") == weighed_ms(1_000.0, "measured") == 1_000.0
    assert weighed_ms(None, "not measured") is None


def test_lists_are_filtered_by_what_is_foreseen() -> None:
    def kind(name: str) -> str | None:
        model = _model(name)
        return Listed(model, None, None, None, 0, "", FIND(model, None)).speed_class

    assert kind("cerebras/gpt-oss-120b") == "fast"
    assert kind("openai/gpt-5.5") == "slow"
    assert kind("mine/model") is None
    assert Listed(_model("openai/gpt-5.5"), None, None, 900.0, 3).speed_class == "fast"
