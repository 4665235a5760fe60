"""Facts, benchmark results and priors: nothing without a source, nothing out of range."""

import math
import re
import subprocess
import sys
import tomllib
from datetime import date
from typing import Any

import pytest

from omni_cli.catalog.load import FOLDER as CATALOG
from omni_cli.catalog.priors import load_priors
from omni_cli.domain.models import BADGES, CAPABILITIES, size_of_name
from omni_cli.domain.quality import PRIOR_STRENGTH, QualityTable, family_key
from omni_cli.domain.tasks import TASK_TYPES
from tools import priors as fit

FACTS: dict[str, Any] = tomllib.loads((CATALOG / "facts.toml").read_text("utf-8"))
BADGE_LISTS: dict[str, Any] = tomllib.loads((CATALOG / "badges.toml").read_text("utf-8"))
TABLE: dict[str, Any] = tomllib.loads(fit.TABLE.read_text("utf-8"))
INPUTS = {"text", "image", "audio", "video", "document"}
FLEET = (
    "anthropic/claude-opus-4-20250514",
    "anthropic/claude-sonnet-4-20250514",
    "anthropic/claude-3-haiku-20240307",
    "openai/gpt-4",
    "openai/gpt-4-turbo",
    "deepseek/deepseek-chat",
    "google/gemini-pro",
    "google/gemini-2.0-flash",
    "moonshot/kimi-k2.5",
)


def is_source(text: str) -> bool:
    return all(re.match(r"https://[\w.-]+/\S+$", part) for part in text.split("; "))


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    seeing = fit.families_that_see(FACTS, TABLE["families"], BADGE_LISTS)
    return fit.build_priors(TABLE, seeing, fit.known_sizes(TABLE, FACTS))


def test_every_fact_has_a_source_and_a_day() -> None:
    for model, entry in FACTS.items():
        assert "/" in model
        assert is_source(entry["source"]), model
        assert date.fromisoformat(entry["date"]), model


def test_facts_are_within_their_ranges() -> None:
    for model, entry in FACTS.items():
        assert set(entry.get("badges", ())) <= set(BADGES), model
        assert set(entry.get("input_types", ())) <= INPUTS, model
        assert entry.get("type", "text") in ("text", "vision", "multimodal"), model
        assert entry.get("context_window", 1) > 0
        assert entry.get("max_output", 1) <= entry.get("context_window", 10**9), model
        assert entry.get("parameters_b", 1.0) > 0.0


def test_a_model_that_sees_takes_images() -> None:
    for model, entry in FACTS.items():
        if "input_types" in entry:
            sees = "vision" in entry.get("badges", ())
            assert ("image" in entry["input_types"]) == sees, model
            assert (entry["type"] == "multimodal") == sees, model


def test_no_score_without_a_source() -> None:
    names = {entry["name"] for entry in TABLE["benchmarks"].values()}
    for model, entry in FACTS.items():
        assert entry.get("scores", {}).keys() == entry.get("score_sources", {}).keys(), model
        for capability, score in entry.get("scores", {}).items():
            assert capability in CAPABILITIES
            assert 0.0 <= score <= 100.0
            assert set(entry["score_sources"][capability].split("; ")) <= names, model


@pytest.mark.slow
def test_scores_are_what_the_fit_gives() -> None:
    scores = fit.capability_scores(TABLE)
    for model, entry in FACTS.items():
        key = family_key(model)
        for capability, score in entry.get("scores", {}).items():
            assert scores[TABLE["families"].get(key, key)][capability][0] == score, model


def test_every_benchmark_has_a_source_a_day_and_a_use() -> None:
    used = {skill for skills in fit.SKILLS.values() for skill in skills}
    for key, entry in TABLE["benchmarks"].items():
        assert is_source(entry["source"]), key
        assert date.fromisoformat(entry["date"]) >= date.fromisoformat(entry["published"]), key
        assert entry["skill"] in used, key
        assert len(entry["scores"]) >= 3, key
        if entry["unit"] == "percent":
            assert all(0.0 <= score <= 100.0 for score in entry["scores"].values()), key


def test_estimates_are_marked_and_say_why() -> None:
    known = {family_key(m) for b in TABLE["benchmarks"].values() for m in b["scores"]}
    for model, entry in TABLE["estimates"].items():
        assert entry["estimate"] is True, model
        assert entry["basis"], model
        assert {TABLE["families"].get(key, key) for key in entry["like"]} <= known, model
    assert set(TABLE["families"].values()) <= known
    assert not set(TABLE["families"]) & known


def test_task_types_and_their_mixtures_are_omnis() -> None:
    assert tuple(fit.SKILLS) == TASK_TYPES
    assert set(TABLE["calibration"]) == set(TASK_TYPES)
    for task_type, skills in fit.SKILLS.items():
        assert sum(skills.values()) == pytest.approx(1.0), task_type


@pytest.mark.slow
def test_the_shipped_priors_are_what_the_data_gives(built: dict[str, Any]) -> None:
    assert fit.render(built) == fit.PRIORS.read_bytes()
    assert fit.main(["--check"]) == 0


def test_priors_are_probabilities_of_bounded_weight(built: dict[str, Any]) -> None:
    for model, entry in built["models"].items():
        for task_type, cell in zip(TASK_TYPES, entry["cells"], strict=True):
            if cell is None:
                assert task_type == "image", model
                continue
            mean, strength, evidence = cell
            assert 50 <= mean <= 980
            assert 0 < strength <= PRIOR_STRENGTH
            if "estimate" in entry and not evidence:
                assert strength < PRIOR_STRENGTH / 2, model


@pytest.mark.slow
def test_calibration_passes_near_its_anchors() -> None:
    benchmarks = fit.read_benchmarks(TABLE)
    fitted = fit.fit_abilities(benchmarks)
    lookup = load_priors().lookup
    for task_type in set(TASK_TYPES) - {"image"}:
        for model, score in TABLE["calibration"][task_type]["scores"].items():
            prior = lookup(task_type, model)
            assert prior is not None
            assert prior.mean == pytest.approx(score / 100, abs=0.06), (task_type, model)
    assert set(fitted.ability) <= load_priors().families


#: Percent, read in a table that is not in benchmarks.toml: Microsoft's card of Phi-3.5 mini, as
#: copied at https://huggingface.co/reach-vb/test-lol-lol (HumanEval 0-shot, MMLU-Pro 0-shot CoT).
HELD_OUT = {
    "coding": {"phi-3.5-mini": 62.8, "mistral-nemo": 63.4, "gemma-2-9b": 61.0},
    "reasoning": {"phi-3.5-mini": 47.4, "mistral-nemo": 40.7, "gemma-2-9b": 50.1},
}


@pytest.mark.parametrize("task_type", sorted(HELD_OUT))
def test_results_held_out_of_the_fit_are_foreseen(task_type: str) -> None:
    lookup = load_priors().lookup
    off = []
    for model, score in HELD_OUT[task_type].items():
        prior = lookup(task_type, model)
        assert prior is not None
        off.append(abs(prior.mean - score / 100))
    assert sum(off) / len(off) < 0.1


@pytest.mark.parametrize(
    ("better", "worse", "task_type"),
    [
        ("anthropic/claude-opus-4-8", "anthropic/claude-3-haiku-20240307", "coding"),
        ("openai/gpt-5", "openai/gpt-4o", "math"),
        ("openai/gpt-4o", "openai/gpt-3.5-turbo", "reasoning"),
        ("ollama/llama3.1:70b", "groq/llama-3.1-8b-instant", "coding"),
        ("groq/llama-3.1-8b-instant", "ollama/llama3.2:1b", "chat"),
        ("google/gemini-2.5-pro", "google/gemini-2.0-flash", "reasoning"),
    ],
)
def test_the_order_nobody_disputes(better: str, worse: str, task_type: str) -> None:
    lookup = load_priors().lookup
    high, low = lookup(task_type, better), lookup(task_type, worse)
    assert high is not None
    assert low is not None
    assert high.mean > low.mean


def test_the_fleet_of_the_spec_is_known() -> None:
    table = QualityTable(load_priors().lookup)
    for model in FLEET:
        for task_type in set(TASK_TYPES) - {"image"}:
            cell = table.cell(task_type, model)
            assert cell.strength > 4.0, (model, task_type)
            assert "no evidence" not in cell.basis


def test_the_basis_names_benchmark_and_score_or_says_estimate() -> None:
    lookup = load_priors().lookup
    direct = lookup("coding", "openrouter/anthropic/claude-3.5-sonnet")
    indirect = lookup("math", "google/gemini-4-argon")
    guessed = lookup("coding", "perplexity/sonar")
    assert direct is not None
    assert indirect is not None
    assert guessed is not None
    assert "Aider polyglot, second try 51.6" in direct.basis
    assert indirect.basis.startswith("inferred from its other results")
    assert guessed.basis.startswith("estimate: ")
    assert direct.strength > indirect.strength > guessed.strength


def test_unknown_models_and_types_have_no_prior() -> None:
    lookup = load_priors().lookup
    assert lookup("coding", "local/my-own-finetune") is None
    assert lookup("juggling", "openai/gpt-4o") is None
    assert lookup("image", "openai/gpt-3.5-turbo") is None


def test_a_size_places_a_model_among_the_known_ones() -> None:
    priors = load_priors()
    for task_type in TASK_TYPES:
        found = [priors.by_size(task_type, size) for size in (0.135, 0.5, 1.1, 3, 8, 32, 70, 405)]
        means = [prior.mean for prior in found if prior is not None]
        assert means == sorted(set(means))
        assert len(means) == 8
    tiny, large = priors.by_size("coding", 0.135), priors.by_size("coding", 70)
    known = priors.lookup("coding", "openai/gpt-5.1")
    assert tiny is not None
    assert large is not None
    assert known is not None
    assert tiny.mean < 0.2 < 0.7 < large.mean < known.mean
    assert (tiny.basis, large.basis) == ("by its size, 135 M", "by its size, 70 B")
    assert large.strength < known.strength / 3


def test_results_of_small_models_lie_where_their_size_says() -> None:
    """IFEval fixes the scale of chat: the card's figures against the relation, which lies below
    the mean of what is published on purpose."""
    priors = load_priors()
    for name, score in TABLE["small"]["scores"].items():
        size = size_of_name(name)
        assert size is not None
        prior = priors.by_size("chat", size)
        assert prior is not None
        assert abs(prior.mean - score / 100) < 0.4


def test_a_model_known_elsewhere_borrows_and_a_stranger_does_not() -> None:
    priors = load_priors()
    pooled = priors.weak("image", "openai/gpt-3.5-turbo", None)
    assert pooled is not None
    assert pooled.basis == "mean of known models at image"
    assert priors.weak("coding", "lab/mystery", None) is None


def test_the_size_relation_recovers_what_was_planted() -> None:
    points = [
        (size, -2.0 + (1.5 if size < 3 else 0.5) * math.log(size / 3))
        for size in (0.1, 0.4, 1.0, 2.0, 5.0, 20.0, 70.0, 400.0)
    ]
    line = fit.fit_sizes(points)
    assert (line.at_hinge, line.below, line.above) == pytest.approx((-2.0, 1.5, 0.5))
    assert line.spread == pytest.approx(0.0, abs=1e-9)


def test_the_fit_recovers_planted_abilities() -> None:
    truth = {f"m{i}": (i - 10) / 5 for i in range(21)}
    table = {
        "benchmarks": {
            f"b{k}": {
                "name": f"b{k}",
                "skill": "coding",
                "unit": "elo",
                "scores": {m: 1000 + 100 * k + 90 * t for m, t in truth.items() if knows(k, m)},
            }
            for k in range(4)
        }
    }
    ability = fit.fit_abilities(fit.read_benchmarks(table)).ability
    models = sorted(truth, key=lambda m: truth[m])
    fitted = [ability[family_key(m)] for m in models]
    assert fitted == sorted(fitted)


def knows(k: int, model: str) -> bool:
    """Three benchmarks of four know each model, a different three each time."""
    return (int(model[1:]) + k) % 4 != 0


def test_an_unknown_unit_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown unit"):
        fit.read_benchmarks(
            {
                "benchmarks": {
                    "x": {"name": "x", "skill": "math", "unit": "stars", "scores": {"m": 1}}
                }
            }
        )


def test_reading_priors_loads_little() -> None:
    code = (
        "import sys; from omni_cli.catalog.priors import load_priors; load_priors();"
        "print(*sorted({'tomllib', 'genai_prices', 'httpx', 'pydantic', 'tools.priors'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
