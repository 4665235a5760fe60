"""What a request's own words bound, and what is sent on of them."""

import json
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.models import Provider
from omni_cli.gateway.asks import Ask
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.protocols.anthropic_messages import AnthropicMessages
from omni_cli.gateway.protocols.base import Caller
from omni_cli.gateway.protocols.gemini_content import GeminiContent
from omni_cli.gateway.protocols.ollama_chat import OllamaChat
from omni_cli.gateway.protocols.openai_chat import OpenAiChat
from omni_cli.services.bounds import DEFAULT_MAX_OUTPUT
from tests.unit.gateway.test_batches import _app

MESSAGES = [{"role": "user", "content": "Is all well?"}]


def _ask(caller: Caller, **fields: Any) -> Ask:
    return Ask(caller, json.dumps({"model": "m", "messages": MESSAGES, **fields}).encode())


@pytest.mark.parametrize(
    ("caller", "fields", "limit"),
    [
        (OpenAiChat(), {"max_tokens": 9}, 9),
        (OpenAiChat(), {"max_tokens": 9, "max_completion_tokens": 7}, 7),
        (OpenAiChat(), {}, None),
        # Servers take these for "as long as you like": no bound, and never a negative cost.
        (OpenAiChat(), {"max_tokens": -1}, None),
        (OpenAiChat(), {"max_tokens": 0}, None),
        (OpenAiChat(), {"max_tokens": True}, None),
        (OpenAiChat(), {"max_tokens": "9"}, None),
        (AnthropicMessages(), {"max_tokens": -1}, None),
        (OllamaChat(), {"options": {"num_predict": -1}}, None),
        (OllamaChat(), {"options": {"num_predict": 12}}, 12),
    ],
)
def test_the_answers_bound_is_what_the_caller_stated(
    caller: Caller, fields: dict[str, Any], limit: int | None
) -> None:
    ask = _ask(caller, **fields)
    assert ask.limit() == limit
    assert ask.limit() == limit


@pytest.mark.parametrize(
    ("caller", "fields", "choices"),
    [
        (OpenAiChat(), {"n": 3, "max_tokens": 50}, 3),
        (OpenAiChat(), {"n": None, "max_tokens": 50}, 1),
        (OpenAiChat(), {"n": "3", "max_tokens": 50}, 1),
        (OpenAiChat(), {"n": -3, "max_tokens": 50}, 1),
        (AnthropicMessages(), {"n": 3, "max_tokens": 50}, 1),
        (GeminiContent(), {"generationConfig": {"candidateCount": 3, "maxOutputTokens": 50}}, 3),
    ],
)
def test_a_bound_holds_for_each_choice(
    tmp_path: Path, caller: Caller, fields: dict[str, Any], choices: int
) -> None:
    with _app(tmp_path) as app:
        with app.fleet.change("test", "test", None, "test"):
            app.fleet.put_provider(
                Provider("openai", "here", "openai", "http://127.0.0.1:9/v1", auth_method="none")
            )
            app.fleet.set_status("openai/gpt-4o", "active")
        target = Fleet(app).target("openai/gpt-4o")
        ask = _ask(caller, **fields)
        assert ask.most_out(target) == choices * 50
        sent, _ = ask.passed(target, choices * 20)
        assert b"20" in sent
        assert b"50" not in sent


@pytest.mark.parametrize("stated", [-1, 0, 500_000_000])
def test_a_budgets_bound_takes_the_place_of_one_that_is_none(tmp_path: Path, stated: int) -> None:
    with _app(tmp_path) as app:
        url = "http://127.0.0.1:9/v1"
        with app.fleet.change("test", "test", None, "test"):
            app.fleet.put_provider(Provider("openai", "here", "openai", url, auth_method="none"))
            app.fleet.set_status("openai/gpt-4o", "active")
        target = Fleet(app).target("openai/gpt-4o")
        ask = _ask(OpenAiChat(), max_tokens=stated)
        assert ask.most_out(target) == (stated if stated > 0 else 16_384) != DEFAULT_MAX_OUTPUT
        sent, _ = ask.passed(target, 77)
        assert json.loads(sent)["max_tokens"] == 77
        untouched, _ = ask.passed(target, None)
        assert json.loads(untouched)["max_tokens"] == stated
