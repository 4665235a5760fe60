"""What a model's name tells of its size."""

import pytest

from omni_cli.domain.models import parse_size, size_of_name


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("smollm-135m-instruct", 0.135),
        ("tinyllama:1.1b", 1.1),
        ("TinyLlama-1.1B-Chat-v1.0.Q4_K_M.gguf", 1.1),
        ("llama3.1:70b", 70.0),
        ("meta-llama/Llama-3.2-3B-Instruct", 3.0),
        ("qwen2.5-coder:0.5b", 0.5),
        ("qwen3-30b-a3b", 30.0),
        ("gemma-3n-e4b-it", 4.0),
        ("gpt-oss-120b", 120.0),
        ("qwen2.5-7b-instruct-1m", 7.0),
        ("mixtral-8x7b-32768", pytest.approx(46.7, rel=0.03)),
        ("mixtral:8x22b", pytest.approx(141, rel=0.03)),
        ("kimi-1t", 1000.0),
    ],
)
def test_sizes_are_read(name: str, size: float) -> None:
    assert size_of_name(name) == size


@pytest.mark.parametrize(
    "name",
    ["gpt-4o", "claude-sonnet-4-1m", "phi-3-mini-4k", "model-4bit", "gemini-2.0-flash",
     "mistral-large-2411", "v0.2b2", "a3b", "grok-4-2m"],
)  # fmt: skip
def test_what_is_no_size_is_none(name: str) -> None:
    assert size_of_name(name) is None


@pytest.mark.parametrize(
    ("text", "size"),
    [("7.2B", 7.2), ("134.52M", pytest.approx(0.13452)), ("1T", 1000.0), ("", None), ("big", None)],
)
def test_a_listings_words(text: str, size: float | None) -> None:
    assert parse_size(text) == size
