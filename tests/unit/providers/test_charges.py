"""Answers whose tokens at the usual rates are not all that they cost are marked as estimated."""

import json
from typing import Any

import pytest

from omni_cli.wire.openai.glance import glance
from omni_cli.wire.registry import adapter
from tests.unit.providers.wire import chats, completion

CHAT = {
    "id": "chatcmpl-1",
    "model": "gpt-5",
    "choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Yes."}]}],
    "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "content": [{"type": "text", "text": "Yes."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 9, "output_tokens": 2, "service_tier": "standard"},
}
CONTENT = {
    "candidates": [{"content": {"parts": [{"text": "Yes."}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2},
}


def _with(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    made = json.loads(json.dumps(document))
    for path, value in changes.items():
        *way, last = path.split(".")
        at = made
        for step in way:
            at = at[int(step)] if step.isdecimal() else at[step]
        at[last] = value
    return dict(made)


@pytest.mark.parametrize(
    ("protocol", "document", "changes", "estimated"),
    [
        ("openai", CHAT, {}, False),
        ("openai", CHAT, {"service_tier": "default"}, False),
        ("openai", CHAT, {"service_tier": "on_demand"}, False),  # Groq's usual one
        ("openai", CHAT, {"service_tier": "priority"}, True),
        ("openai", CHAT, {"service_tier": "flex"}, True),
        ("openai-responses", RESPONSE, {"service_tier": "default"}, False),
        ("openai-responses", RESPONSE, {"service_tier": "flex"}, True),
        ("openai-responses", RESPONSE, {"output": [{"type": "web_search_call"}]}, True),
        ("anthropic", MESSAGE, {}, False),
        ("anthropic", MESSAGE, {"usage.service_tier": "priority"}, True),
        ("anthropic", MESSAGE, {"usage.speed": "fast"}, True),
        ("anthropic", MESSAGE, {"usage.server_tool_use": {"web_search_requests": 0}}, False),
        ("anthropic", MESSAGE, {"usage.server_tool_use": {"web_search_requests": 2}}, True),
        ("gemini", CONTENT, {"candidates.0.groundingMetadata": {}}, False),
        (
            "gemini",
            CONTENT,
            {"candidates.0.groundingMetadata": {"webSearchQueries": ["omni"]}},
            True,
        ),
    ],
)
def test_what_is_charged_otherwise_is_marked(
    protocol: Any, document: dict[str, Any], changes: dict[str, Any], estimated: bool
) -> None:
    body = json.dumps(_with(document, changes)).encode()
    found = completion(adapter(protocol), body, stream=False, framing="json", cut="whole")
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (9, 2)
    assert found.usage.estimated == estimated
    if protocol == "openai":
        quick = glance(body)  # the gateway's short way leaves the marked ones to the adapter
        assert (quick is None) == estimated


def test_recorded_searches_are_marked() -> None:
    searches = ("openai-responses-model-web-search-tool", "google-model-web-search-tool")
    found = [e for e in chats("openai-responses", "gemini") if any(n in e.id for n in searches)]
    assert len(found) >= 2
    for exchange in found:
        read = completion(
            adapter(exchange.protocol),
            exchange.body,
            stream=exchange.stream,
            framing="sse",
            cut="whole",
        )
        assert read.usage is not None
        assert read.usage.estimated, exchange.id
