"""Every recorded answer is read as its provider's own SDK reads it (requirement A1)."""

import json
from copy import deepcopy
from typing import Any

import pytest

from omni_cli.domain import errors
from omni_cli.domain.chat import Completion, Usage
from omni_cli.wire.registry import adapter
from tests.unit.providers.wire import Exchange, chats, completion

CUTS = ["whole", "lines", "bytes"]
_STATUS_CLASS = {
    400: errors.BadRequest,
    404: errors.ModelNotFound,
    429: errors.RateLimited,
}


def _name(exchange: Exchange) -> str:
    return exchange.id


def _read(exchange: Exchange, cut: str = "whole") -> Completion:
    framing = "ndjson" if exchange.protocol == "ollama" else "sse"
    return completion(
        adapter(exchange.protocol),
        exchange.body,
        stream=exchange.stream,
        framing=framing,
        cut=cut,
    )


def _is_error(exchange: Exchange) -> bool:
    said = exchange.expected is not None and "error" in exchange.expected
    return said or exchange.response["status"] >= 400


def _parsed_calls(found: Completion) -> list[dict[str, Any]]:
    return [
        {"name": call.name, "arguments": json.loads(call.arguments) if call.arguments else None}
        for call in found.tool_calls
    ]


def _expected_calls(expected: dict[str, Any]) -> list[dict[str, Any]]:
    calls = []
    for call in expected["tool_calls"]:
        arguments = call.get("arguments")
        if isinstance(arguments, str):
            arguments = json.loads(arguments) if arguments else None
        calls.append({"name": call["name"], "arguments": arguments})
    return calls


def _counts_openai(usage: dict[str, Any]) -> dict[str, int]:
    into = usage.get("prompt_tokens_details") or {}
    out = usage.get("completion_tokens_details") or {}
    reasoning = out.get("reasoning_tokens") or 0
    inside = usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    return {
        "input_tokens": usage["prompt_tokens"],
        "cached_tokens": into.get("cached_tokens")
        or usage.get("prompt_cache_hit_tokens")
        or usage.get("num_cached_tokens")
        or 0,
        "cache_write_tokens": into.get("cache_write_tokens") or 0,
        "output_tokens": usage["completion_tokens"] + (0 if inside else reasoning),
        "reasoning_tokens": reasoning,
    }


def _counts_anthropic(usage: dict[str, Any]) -> dict[str, int]:
    written = usage.get("cache_creation_input_tokens") or 0
    return {
        "input_tokens": usage["input_tokens"]
        + written
        + (usage.get("cache_read_input_tokens") or 0),
        "cached_tokens": usage.get("cache_read_input_tokens") or 0,
        "cache_write_tokens": written,
        "cache_write_1h_tokens": (usage.get("cache_creation") or {}).get(
            "ephemeral_1h_input_tokens", 0
        ),
        "output_tokens": usage["output_tokens"],
        "reasoning_tokens": (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
    }


def _counts_gemini(usage: dict[str, Any]) -> dict[str, int]:
    thoughts = usage.get("thoughts_token_count", 0)
    counts = {
        "input_tokens": usage.get("prompt_token_count", 0)
        + usage.get("tool_use_prompt_token_count", 0),
        "cached_tokens": usage.get("cached_content_token_count", 0),
        "output_tokens": usage.get("candidates_token_count", 0) + thoughts,
        "reasoning_tokens": thoughts,
    }
    assert counts["input_tokens"] + counts["output_tokens"] == usage["total_token_count"]
    return counts


_COUNTS = {"openai": _counts_openai, "anthropic": _counts_anthropic, "gemini": _counts_gemini}


def _assert_counts(usage: Usage | None, expected: dict[str, int]) -> None:
    assert usage is not None
    assert {name: getattr(usage, name) for name in expected} == expected
    assert usage.total_tokens == expected["input_tokens"] + expected["output_tokens"]


#: Recordings whose `expected` describes another exchange (its usage is not in the body): the
#: SDK's replay took the first answer of a repeated request. Read against their own body instead.
MISFILED = {
    "mistral-multimodal-tool-return-matrix-tool-return-conten-1",
    "openrouter-eager-input-streaming-sent-to-openrouter-anthrop-0",
}
#: Kimi repeats a call's whole name in its second chunk; the SDK glues the two together. The
#: request that follows in the recording shows the name that was meant.
NAME_SENT_TWICE = "openai-llm-tools-streaming-variant-a-0"

SDK_CHATS = [e for e in chats("openai", "anthropic", "gemini") if not _is_error(e)]


def test_the_recordings_are_all_there() -> None:
    assert len(SDK_CHATS) >= 110
    assert all(exchange.expected is not None for exchange in SDK_CHATS)


def _as_its_body_says(exchange: Exchange) -> dict[str, Any]:
    body = json.loads(exchange.response["body"])
    assert exchange.expected is not None
    assert body["usage"]["total_tokens"] != exchange.expected["usage"]["total_tokens"]
    choice = body["choices"][0]
    assert not choice["message"].get("tool_calls")
    return {
        "text": choice["message"]["content"],
        "finish": choice["finish_reason"],
        "usage": body["usage"],
        "tool_calls": [],
    }


@pytest.mark.parametrize("exchange", SDK_CHATS, ids=_name)
def test_answer_equals_the_sdks(exchange: Exchange) -> None:
    found = _read(exchange)
    misfiled = exchange.id in MISFILED
    expected = _as_its_body_says(exchange) if misfiled else deepcopy(exchange.expected)
    assert expected is not None
    if exchange.id == NAME_SENT_TWICE:
        assert expected["tool_calls"][0]["name"] == "llm_version" * 2
        expected["tool_calls"][0]["name"] = "llm_version"
    assert found.text == expected["text"]
    assert found.raw_finish_reason == expected["finish"]
    assert found.finish_reason is not None
    assert _parsed_calls(found) == _expected_calls(expected)
    assert all(call.id for call in found.tool_calls)
    assert len({call.id for call in found.tool_calls}) == len(found.tool_calls)
    _assert_counts(found.usage, _COUNTS[exchange.protocol](expected["usage"]))
    assert found.model
    if found.tool_calls:
        assert found.finish_reason == "tool_calls"


@pytest.mark.parametrize("cut", ["lines", "bytes"])
def test_cutting_the_bytes_changes_nothing(cut: str) -> None:
    for exchange in chats("openai", "anthropic", "gemini", "openai-responses", "ollama"):
        if not _is_error(exchange):
            assert _read(exchange, cut) == _read(exchange), exchange.id


@pytest.mark.parametrize(
    "exchange",
    [e for e in chats("openai", "anthropic", "gemini", "openai-responses") if _is_error(e)],
    ids=_name,
)
def test_error_is_typed_with_the_providers_words(exchange: Exchange) -> None:
    status = exchange.response["status"]
    if status >= 400:
        error = adapter(exchange.protocol).explain(
            status, exchange.response["headers"], exchange.response["body"]
        )
        assert type(error) is _STATUS_CLASS[status]
        assert error.status == status
        said = json.loads(exchange.response["body"])["error"]["message"]
        assert said in error.message
    else:
        assert exchange.expected is not None
        with pytest.raises(errors.BadRequest) as caught:
            _read(exchange)
        assert caught.value.message.startswith(exchange.expected["error"]["message"])
        assert caught.value.status == 400


def test_rate_limit_tells_what_the_upstream_said() -> None:
    limited = [e for e in chats("openai") if e.response["status"] == 429]
    assert limited
    for exchange in limited:
        error = adapter("openai").explain(429, {}, exchange.response["body"])
        assert "temporarily rate-limited upstream" in error.message


@pytest.mark.parametrize(
    "exchange", [e for e in chats("openai-responses") if not _is_error(e)], ids=_name
)
def test_responses_answer_equals_its_final_event(exchange: Exchange) -> None:
    text = exchange.response["body"]
    if exchange.stream:
        last = [line[6:] for line in text.splitlines() if line.startswith("data: {")][-1]
        final = json.loads(last)["response"]
    else:
        final = json.loads(text)
    found = _read(exchange)
    written = "".join(
        part["text"]
        for item in final["output"]
        if item["type"] == "message"
        for part in item["content"]
        if part["type"] == "output_text"
    )
    calls = [item for item in final["output"] if item["type"] == "function_call"]
    assert found.text == written
    assert [(c.id, c.name, c.arguments) for c in found.tool_calls] == [
        (c["call_id"], c["name"], c["arguments"]) for c in calls
    ]
    assert final["status"] in ("completed", "complete")  # one hand-made recording says the latter
    assert found.raw_finish_reason == final["status"]
    assert found.finish_reason == ("tool_calls" if calls else "stop")
    usage = final["usage"]
    into = usage["input_tokens_details"]
    _assert_counts(
        found.usage,
        {
            "input_tokens": usage["input_tokens"],
            "cached_tokens": into["cached_tokens"],
            "cache_write_tokens": into.get("cache_write_tokens", 0),
            "output_tokens": usage["output_tokens"],
            "reasoning_tokens": usage["output_tokens_details"]["reasoning_tokens"],
        },
    )
    assert found.response_id == final["id"]
    assert found.model == final["model"]


@pytest.mark.parametrize("exchange", chats("ollama"), ids=_name)
def test_ollama_answer_equals_its_lines(exchange: Exchange) -> None:
    lines = [json.loads(line) for line in exchange.response["body"].splitlines()]
    found = _read(exchange)
    assert found.text == "".join(line.get("message", {}).get("content", "") for line in lines)
    last = lines[-1]
    _assert_counts(
        found.usage,
        {"input_tokens": last["prompt_eval_count"], "output_tokens": last["eval_count"]},
    )
    assert found.finish_reason == "stop"
    assert found.raw_finish_reason == last.get("done_reason")
    assert found.model == last["model"]


def test_reasoning_text_is_kept_apart() -> None:
    reasoned = {e.id: _read(e) for e in chats("openai", "anthropic") if not _is_error(e)}
    for name, start in {
        "deepseek-deepseek-model-thinking-part-0": "Okay, the user is asking how",
        "zai-zai-thinking-stream-0": "",
        "groq-groq-model-thinking-part-1": "",
        "anthropic-anthropic-mcp-servers-stream-0": "The user is asking about the",
        "openrouter-openrouter-preserve-reasoning-block-1": "**Structuring Voltaire",
    }.items():
        assert reasoned[name].reasoning, name
        assert reasoned[name].reasoning.startswith(start), name


def test_anthropic_reasoning_blocks_survive_unchanged() -> None:
    for exchange in chats("anthropic"):
        if exchange.stream or _is_error(exchange):
            continue
        content = json.loads(exchange.response["body"])["content"]
        kept = [b for b in content if b["type"] in ("thinking", "redacted_thinking")]
        assert [b["block"] for b in _read(exchange).reasoning_blocks] == kept


def test_openrouter_cost_is_read_exactly() -> None:
    by_id = {e.id: e for e in chats("openai")}
    streamed = _read(by_id["openrouter-openrouter-cache-streaming-e2e-0"])
    assert streamed.usage is not None
    assert streamed.usage.reported_cost_nusd == 837_000
