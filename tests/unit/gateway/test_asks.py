"""What a caller's own words bound, and what is sent on of them."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.bounds import CallBound, most_of
from omni_cli.domain.errors import BadRequest, BudgetExceeded
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price
from omni_cli.gateway.asks import Ask, Thoughts
from omni_cli.ports import HttpCall
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.sending import Sending
from omni_cli.wire.anthropic.server import AnthropicMessages
from omni_cli.wire.gemini.server import GeminiContent
from omni_cli.wire.ollama.server import OllamaChat
from omni_cli.wire.openai.server import OpenAiChat
from omni_cli.wire.registry import adapter
from omni_cli.wire.responses.server import OpenAiResponses
from omni_cli.wire.server import Caller

REPO = Path(__file__).parents[3]
MESSAGES = [{"role": "user", "content": "Is all well?"}]
WINDOW = 50_000
CALLERS: dict[str, Caller] = {
    "openai": OpenAiChat(),
    "openai-responses": OpenAiResponses(),
    "anthropic": AnthropicMessages(),
    "gemini": GeminiContent(),
    "ollama": OllamaChat(),
}
#: Where each protocol has its question.
ASKED: dict[str, dict[str, Any]] = {
    "openai": {"messages": MESSAGES},
    "openai-responses": {"input": "Is all well?"},
    "anthropic": {"messages": MESSAGES},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Is all well?"}]}]},
    "ollama": {"messages": MESSAGES},
}


def _target(protocol: str, base_url: str = "http://127.0.0.1:9/v1") -> Target:
    provider = Provider("p", "p", protocol, base_url, auth_method="none")  # type: ignore[arg-type]  # a protocol's name
    return Target(ModelInfo("p/m", "p", "m", "m", context_window=WINDOW), provider, None, 0, 1_000)


@dataclass
class _Read:
    bound: CallBound
    sent: Sending
    protocol: str

    def limited(self, each: int) -> dict[str, Any]:
        """What goes out once the answer is limited."""
        adapter(self.protocol).limit(self.sent, each, self.bound)  # type: ignore[arg-type]  # a protocol's name
        found: dict[str, Any] = json.loads(self.sent.written())
        return found


def _read(protocol: str, text: bytes | None = None, **fields: Any) -> _Read:
    body = text or json.dumps({"model": "m", **ASKED[protocol], **fields}).encode()
    ask = Ask(CALLERS[protocol], body, model="m", stream=False)
    sent, _ = ask.passed(_target(protocol), adapter(protocol), {}, Thoughts())  # type: ignore[arg-type]  # a protocol's name
    bound = adapter(protocol).bound(sent)  # type: ignore[arg-type]  # a protocol's name
    # The command line's body says the same of the same bytes.
    call = HttpCall("POST", "http://x", {}, sent.written(), "json")
    made = Sending(call.body or b"", _target(protocol), adapter(protocol), "chat", {})  # type: ignore[arg-type]  # a protocol's name
    again = adapter(protocol).bound(made)  # type: ignore[arg-type]  # a protocol's name
    assert (again.output_tokens, again.choices, again.beyond, again.refused, again.rounds) == (
        bound.output_tokens,
        bound.choices,
        bound.beyond,
        bound.refused,
        bound.rounds,
    )
    return _Read(bound, sent, protocol)


@pytest.mark.parametrize(
    ("protocol", "fields", "limit"),
    [
        ("openai", {"max_tokens": 9}, 9),
        ("openai", {"max_tokens": "9"}, 9),
        ("openai", {"max_tokens": 9.0}, 9),
        ("openai", {"max_tokens": 8.5}, 9),
        ("openai", {"max_tokens": " 1_000 "}, 1_000),
        ("openai", {"max_tokens": "1e3"}, 1_000),
        ("openai", {"max_tokens": "0x10"}, 16),
        ("openai", {"max_tokens": 9, "max_completion_tokens": 70_000}, 70_000),
        ("openai", {"max_completion_tokens": None, "max_tokens": 70_000}, 70_000),
        ("openai", {"maxTokens": 70_000, "max_tokens": 9}, 70_000),
        ("openai", {}, None),
        # Servers take these for "as long as you like".
        ("openai", {"max_tokens": -1}, None),
        ("openai", {"max_tokens": 0}, None),
        ("openai", {"max_completion_tokens": -1, "max_tokens": 9}, None),
        ("openai", {"max_tokens": "many"}, None),
        ("openai-responses", {"max_output_tokens": "12"}, 12),
        ("openai-responses", {"max_output_tokens": 12, "max_tokens": 99}, 99),
        ("anthropic", {"max_tokens": 12}, 12),
        ("anthropic", {"max_tokens": "12"}, 12),
        ("ollama", {"options": {"num_predict": 12}}, 12),
        ("ollama", {"options": {"num_predict": -1}}, None),
        ("ollama", {"options": {"num_predict": -2}}, None),
        ("ollama", {"options": {"num_predict": 3}, "Options": {"NUM_PREDICT": 99}}, 99),
        ("gemini", {"generationConfig": {"maxOutputTokens": "12"}}, 12),
        ("gemini", {"generation_config": {"max_output_tokens": 12}}, 12),
        (
            "gemini",
            {
                "generation_config": {"max_output_tokens": 99},
                "generationConfig": {"maxOutputTokens": 3},
            },
            99,
        ),
    ],
)
def test_a_limit_is_read_in_every_spelling_and_written_once(
    protocol: str, fields: dict[str, Any], limit: int | None
) -> None:
    read = _read(protocol, **fields)
    assert read.bound.output_tokens == limit
    text = json.dumps(read.limited(77))
    assert text.count("77") == 1
    for name in ("70000", "99", "max_completion", "maxTokens", "generation_config", "Options"):
        assert name not in text


@pytest.mark.parametrize("value", [4, 4.0, "4", "4.0", "4e0", 3.5, " 4 ", "0x4"])
@pytest.mark.parametrize("name", ["n", "best_of", "N", "bestOf"])
def test_choices_are_counted_in_every_spelling(name: str, value: Any) -> None:
    read = _read("openai", max_tokens=50, **{name: value})
    assert read.bound.choices == 4
    assert read.limited(50)[name] == 4


@pytest.mark.parametrize("config", ["generationConfig", "generation_config"])
@pytest.mark.parametrize("name", ["candidateCount", "candidate_count"])
@pytest.mark.parametrize("value", [3, 3.0, "3"])
def test_geminis_candidates_are(config: str, name: str, value: Any) -> None:
    read = _read("gemini", **{config: {name: value, "temperature": 0.5}})
    assert read.bound.choices == 3
    assert read.limited(50)["generationConfig"] == {
        "temperature": 0.5,
        "candidateCount": 3,
        "maxOutputTokens": 50,
    }


@pytest.mark.parametrize("value", [None, 0, -3, 1, True])
def test_no_count_is_one(value: Any) -> None:
    read = _read("openai", max_tokens=50, n=value)
    assert read.bound.choices == 1
    assert read.limited(50).get("n", 1) == 1


_URL = "https://example.org/a.pdf"
_STORED: list[tuple[str, dict[str, Any], str]] = [
    ("openai-responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("openai-responses", {"conversation": "conv_1"}, "conversation"),
    ("openai-responses", {"conversation": {"id": "conv_1"}}, "conversation"),
    ("openai-responses", {"prompt": {"id": "pmpt_1"}}, "prompt"),
    ("openai-responses", {"input": [{"type": "item_reference", "id": "a"}]}, "item_reference"),
    ("openai-responses", {"input": [{"id": "msg_1"}]}, "item_reference"),
    (
        "openai-responses",
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": _URL}]}]},
        "input_file",
    ),
    ("anthropic", {"container": "c_1"}, "container"),
    *[
        (
            "anthropic",
            {"messages": [{"role": "user", "content": [{"type": "document", "source": source}]}]},
            "document",
        )
        for source in (
            {"type": "url", "url": _URL},
            {"type": "file", "file_id": "file_1"},
            {"type": "base64", "media_type": "application/pdf", "data": "AAAA"},
        )
    ],
    (
        "anthropic",
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t",
                            "content": [
                                {"type": "document", "source": {"type": "file", "file_id": "f"}}
                            ],
                        }
                    ],
                }
            ]
        },
        "document",
    ),
    ("gemini", {"cachedContent": "cachedContents/1"}, "cachedContent"),
    ("gemini", {"cached_content": "cachedContents/1"}, "cached_content"),
    ("gemini", {"contents": [{"parts": [{"fileData": {"fileUri": _URL}}]}]}, "fileData"),
    ("gemini", {"contents": {"parts": {"file_data": {"file_uri": _URL}}}}, "file_data"),
    (
        "openai",
        {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]},
        "file",
    ),
    ("openai", {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]}, "audio"),
    ("openai", {"chat_template": "{% for i in range(9999) %}x{% endfor %}"}, "chat_template"),
]


@pytest.mark.parametrize(("protocol", "fields", "name"), _STORED)
def test_input_that_the_bytes_do_not_hold_is_the_whole_window(
    protocol: str, fields: dict[str, Any], name: str
) -> None:
    read = _read(protocol, **fields)
    assert name in read.bound.beyond
    known = most_of(read.bound, _target(protocol).model, Price("priced"))
    assert known.input_tokens >= WINDOW
    with pytest.raises(BudgetExceeded, match=name) as caught:
        most_of(read.bound, ModelInfo("p/m", "p", "m", "m"), Price("priced"))
    assert "--context" in caught.value.hint


_TOOLS: list[tuple[str, dict[str, Any], int]] = [
    ("openai-responses", {"tools": [{"type": "web_search"}]}, 11),
    ("openai-responses", {"tools": [{"type": "web_search"}], "max_tool_calls": 2}, 3),
    ("openai-responses", {"tools": [{"type": "mcp", "server_url": _URL}]}, 11),
    ("anthropic", {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, 11),
    (
        "anthropic",
        {"tools": [{"type": "web_search_20250305", "name": "w", "max_uses": 2}]},
        3,
    ),
    ("anthropic", {"mcp_servers": [{"type": "url", "url": _URL, "name": "m"}]}, 11),
    ("gemini", {"tools": [{"googleSearch": {}}]}, 11),
    ("gemini", {"tools": [{"url_context": {}}]}, 11),
]


@pytest.mark.parametrize(("protocol", "fields", "rounds"), _TOOLS)
def test_tools_that_a_provider_runs_read_the_window_again_and_again(
    protocol: str, fields: dict[str, Any], rounds: int
) -> None:
    read = _read(protocol, **fields)
    assert read.bound.rounds == rounds
    most = most_of(read.bound, _target(protocol).model, Price("priced"))
    assert most.input_tokens == rounds * WINDOW
    if protocol == "openai-responses":  # which can be told how many
        assert read.limited(100)["max_tool_calls"] == rounds - 1


_REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("openai", {"service_tier": "priority"}, "service_tier"),
    ("openai", {"num_generations": 50}, "num_generations"),
    ("openai", {"models": ["openai/o1-pro"]}, "models"),
    ("openai", {"plugins": [{"id": "web"}]}, "plugins"),
    ("openai", {"search_parameters": {"mode": "on"}}, "search_parameters"),
    ("openai", {"tools": [{"type": "browser_search"}]}, "browser_search"),
    ("openai", {"n": "several"}, "n"),
    ("openai", {"provider": {"order": ["dear"]}}, "provider.order"),
    ("openai-responses", {"n": 50}, "n"),
    ("openai-responses", {"service_tier": "fast"}, "service_tier"),
    ("openai-responses", {"tools": [{"type": "image_generation"}]}, "image_generation"),
    ("openai-responses", {"context_management": [{"type": "compaction"}]}, "context_management"),
    ("anthropic", {"speed": "fast"}, "speed"),
    ("anthropic", {"inference_geo": "us"}, "inference_geo"),
    ("anthropic", {"fallbacks": [{"model": "claude-opus-4-8"}]}, "fallbacks"),
    ("anthropic", {"tools": [{"type": "advisor_20260301", "model": "x"}]}, "advisor"),
    (
        "anthropic",
        {"context_management": {"edits": [{"type": "compact_20260112"}]}},
        "context_management",
    ),
    ("gemini", {"generationConfig": {"sampleCount": 9}}, "sampleCount"),
    ("gemini", {"serviceTier": "priority"}, "serviceTier"),
    ("ollama", {"n": 9}, "n"),
]


@pytest.mark.parametrize(("protocol", "fields", "name"), _REFUSED)
def test_what_nothing_bounds_is_refused_by_name(
    protocol: str, fields: dict[str, Any], name: str
) -> None:
    read = _read(protocol, **fields)
    with pytest.raises(BudgetExceeded, match=name):
        most_of(read.bound, _target(protocol).model, Price("priced"))


@pytest.mark.parametrize("value", [None, False, "", [], {}])
@pytest.mark.parametrize("protocol", list(CALLERS))
def test_an_unknown_field_that_says_nothing_passes(protocol: str, value: Any) -> None:
    assert not _read(protocol, made_up=value).bound.refused


def test_thinking_stays_below_the_limit_that_money_leaves() -> None:
    read = _read(
        "anthropic", max_tokens=20_000, thinking={"type": "enabled", "budget_tokens": 16_384}
    )
    assert read.bound.output_tokens == 20_000
    cut = read.limited(4_000)
    assert (cut["max_tokens"], cut["thinking"]["budget_tokens"]) == (4_000, 2_000)
    assert read.limited(300)["thinking"] == {"type": "disabled"}


def test_predictions_and_budgets_beside_the_limit_count() -> None:
    content = "x" * 5_000
    read = _read("openai", max_tokens=10, prediction={"type": "content", "content": content})
    assert read.bound.beside >= 5_000
    assert _read("openai", max_tokens=10, reasoning={"max_tokens": "900"}).bound.beside == 900
    assert _read("openai", max_tokens=10, thinking_budget=700).bound.beside == 700


def test_a_doubled_key_is_sent_once_where_money_is_limited() -> None:
    config = b'{"maxOutputTokens":90000,"maxOutputTokens":3}'
    read = _read("gemini", b'{"contents":[{"parts":[]}],"generationConfig":%b}' % config)
    assert read.limited(3)["generationConfig"] == {"maxOutputTokens": 3}
    assert read.sent.written().count(b"maxOutputTokens") == 1


def test_sound_and_pictures_need_a_price_of_their_own() -> None:
    for fields in ({"modalities": ["text", "audio"]}, {"audio": {"voice": "a", "format": "mp3"}}):
        read = _read("openai", max_tokens=10, **fields)
        with pytest.raises(BudgetExceeded, match="audio"):
            most_of(read.bound, _target("openai").model, Price("priced"))


def test_what_is_plain_goes_out_byte_for_byte() -> None:
    read = _read("openai", max_tokens=9, n=2)
    assert read.bound.plain
    assert _read("anthropic", max_tokens=9).bound.plain
    assert not _read("openai", max_completion_tokens=9).bound.plain  # this server may not know it


def test_pictures_count_by_their_formula_not_by_their_bytes() -> None:
    data = "data:image/png;base64," + "A" * 400_000
    part = {"type": "image_url", "image_url": {"url": data}}
    read = _read("openai", messages=[{"role": "user", "content": [part]}])
    assert read.bound.input_tokens < 100_000
    assert not read.bound.beyond


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n", "stream_options"])
def test_a_number_that_none_can_hold_is_the_callers_mistake(name: str) -> None:
    body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}],"%b":1e999}'
    ask = Ask(OpenAiChat(), body % name.encode())
    with pytest.raises(BadRequest, match=name):
        ask.passed(_target("openai"), adapter("openai"), {}, Thoughts())


def test_a_model_that_is_such_a_number_too() -> None:
    with pytest.raises(BadRequest, match="model"):
        Ask(OpenAiChat(), b'{"model":1e999,"messages":[]}')


_BY_PATH = {"messages": "anthropic", "responses": "openai-responses", "completions": "openai"}
_RECORDED = sorted((REPO / "fixtures" / "clients").glob("*.json"))


@pytest.mark.parametrize("path", _RECORDED, ids=lambda path: path.stem)
def test_no_request_of_a_real_agent_is_refused_for_its_fields(path: Path) -> None:
    """As recorded; what their tools search for is reserved, and nothing else is out of bounds."""
    recorded = json.loads(path.read_text())
    words = recorded["path"].partition("?")[0].split("/")
    protocol = next(_BY_PATH[word] for word in reversed(words) if word in _BY_PATH)
    read = _read(protocol, json.dumps(recorded["body"]).encode())
    assert not read.bound.refused
    assert ("search" in path.stem) == bool(read.bound.beyond), read.bound.beyond
