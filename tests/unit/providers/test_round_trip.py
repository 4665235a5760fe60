"""Recorded requests, read into omni's values and built again, say the same (A1)."""

import json
from typing import Any

import pytest

from omni_cli.domain.chat import ChatRequest, MediaPart, Message, Part, TextPart, Tool, ToolCall
from omni_cli.ports import Endpoint
from omni_cli.wire.registry import adapter
from tests.unit.providers.wire import Exchange, chats

Json = dict[str, Any]


class _Inexpressible(Exception):
    """The request uses what omni's vocabulary leaves to ``extra``."""


def _only(raw: Json, *known: str) -> None:
    if unknown := {key for key, value in raw.items() if value is not None} - set(known):
        raise _Inexpressible(unknown)


def _image(url: str) -> MediaPart:
    if url.startswith("data:"):
        head, _, data = url.partition(",")
        return MediaPart(head[5:].partition(";")[0], data=data)
    return MediaPart("image/png", url=url)


def _openai_message(raw: Json) -> Message:
    _only(raw, "role", "content", "tool_calls", "tool_call_id")
    content = raw.get("content")
    parts: list[Part] = []
    if isinstance(content, str):
        parts = [TextPart(content)] if content else []
    for part in content if isinstance(content, list) else ():
        if part["type"] == "text":
            _only(part, "type", "text")
            parts.append(TextPart(part["text"]))
        elif part["type"] == "image_url":
            _only(part["image_url"], "url")
            parts.append(_image(part["image_url"]["url"]))
        else:
            raise _Inexpressible(part["type"])
    calls = [
        ToolCall(call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in raw.get("tool_calls") or ()
    ]
    return Message(raw["role"], tuple(parts), tuple(calls), raw.get("tool_call_id"))


def _openai_plain(raw: Json) -> Json:
    """The message in one of the several spellings that mean the same."""
    content = raw.get("content") or ""
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        content = "".join(part["text"] for part in content)
    calls = [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in raw.get("tool_calls") or ()
    ]
    return {
        "role": raw["role"],
        "content": content,
        "calls": calls,
        "id": raw.get("tool_call_id"),
    }


def _anthropic_messages(raw: Json) -> list[Message]:
    _only(raw, "role", "content")
    content = raw["content"]
    blocks: list[Json]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    parts: list[Part] = []
    calls: list[ToolCall] = []
    reasoning: list[Json] = []
    found: list[Message] = []
    for block in blocks:
        if block["type"] == "text":
            _only(block, "type", "text")
            parts.append(TextPart(block["text"]))
        elif block["type"] == "tool_use":
            _only(block, "type", "id", "name", "input")
            calls.append(ToolCall(block["id"], block["name"], json.dumps(block["input"])))
        elif block["type"] in ("thinking", "redacted_thinking"):
            reasoning.append({"protocol": "anthropic", "block": block})
        elif block["type"] == "tool_result" and isinstance(block["content"], str):
            if block.get("is_error"):
                raise _Inexpressible("is_error")
            text = (TextPart(block["content"]),)
            found.append(Message("tool", text, tool_call_id=block["tool_use_id"]))
        elif block["type"] == "image" and block["source"]["type"] == "url":
            parts.append(MediaPart("image/png", url=block["source"]["url"]))
        else:
            raise _Inexpressible(block["type"])
    if parts or calls:
        role = raw["role"]
        found.append(Message(role, tuple(parts), tuple(calls), reasoning=tuple(reasoning)))
    return found


def _anthropic_plain(raw: Json) -> Json:
    content = raw["content"]
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
    for position, block in enumerate(blocks):
        if block["type"] == "tool_result":
            text = block["content"]
            if isinstance(text, str):
                text = [{"type": "text", "text": text}]
            blocks[position] = {
                "type": "tool_result",
                "tool_use_id": block["tool_use_id"],
                "content": text,
            }
    return {"role": raw["role"], "content": blocks}


def _rebuilt(exchange: Exchange, request: ChatRequest) -> Json:
    body = exchange.request["body"]
    call = adapter(exchange.protocol).build(request, body["model"], Endpoint("https://x.test/v1"))
    assert call.body is not None
    rebuilt: Json = json.loads(call.body)
    assert rebuilt["model"] == body["model"]
    assert rebuilt["stream"] is bool(body.get("stream"))
    return rebuilt


def _openai(exchange: Exchange) -> None:
    body = exchange.request["body"]
    messages = tuple(_openai_message(raw) for raw in body["messages"])
    if any(tool["type"] != "function" for tool in body.get("tools") or () if "type" in tool):
        raise _Inexpressible("server tools")
    tools = tuple(Tool(**tool["function"]) for tool in body.get("tools") or ())
    stream = bool(body.get("stream"))
    choice = body.get("tool_choice")
    rebuilt = _rebuilt(
        exchange, ChatRequest(messages, tools=tools, tool_choice=choice, stream=stream)
    )
    assert [*map(_openai_plain, rebuilt["messages"])] == [*map(_openai_plain, body["messages"])]
    for tool, recorded in zip(rebuilt.get("tools", ()), body.get("tools") or (), strict=True):
        assert tool["function"] == {"description": "", **recorded["function"]}
    if tools:
        assert rebuilt.get("tool_choice") == choice


def _anthropic(exchange: Exchange) -> None:
    body = exchange.request["body"]
    if "tools" in body:
        if any("type" in tool or "defer_loading" in tool for tool in body["tools"]):
            raise _Inexpressible("server tools")
        for tool in body["tools"]:
            _only(tool, "name", "description", "input_schema", "strict")
    messages = [m for raw in body["messages"] for m in _anthropic_messages(raw)]
    if system := body.get("system"):
        if not isinstance(system, str):
            raise _Inexpressible("system blocks")
        messages.insert(0, Message.text_of("system", system))
    tools = tuple(
        Tool(t["name"], t.get("description", ""), t["input_schema"], t.get("strict"))
        for t in body.get("tools", ())
    )
    request = ChatRequest(
        tuple(messages),
        tools=tools,
        max_output_tokens=body["max_tokens"],
        stream=bool(body.get("stream")),
    )
    rebuilt = _rebuilt(exchange, request)
    recorded = [*map(_anthropic_plain, body["messages"])]
    assert [*map(_anthropic_plain, rebuilt["messages"])] == recorded
    assert rebuilt["max_tokens"] == body["max_tokens"]
    assert rebuilt.get("system") == body.get("system")
    for tool, original in zip(rebuilt.get("tools", ()), body.get("tools", ()), strict=True):
        assert tool == {"description": "", **original}


@pytest.mark.parametrize(
    ("protocol", "check", "least"), [("openai", _openai, 60), ("anthropic", _anthropic, 15)]
)
def test_recorded_requests_round_trip(protocol: str, check: Any, least: int) -> None:
    same = 0
    for exchange in chats(protocol):
        try:
            check(exchange)
        except _Inexpressible:
            continue
        same += 1
    assert same >= least
