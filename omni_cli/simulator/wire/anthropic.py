"""Anthropic Messages."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from omni_cli.simulator.ask import Ask, Event, Problem, Reply, Tally, ToolSpec, Turn
from omni_cli.simulator.tokens import count
from omni_cli.simulator.wire.common import (
    BadAsk,
    Json,
    Wire,
    dumps,
    halves,
    nonce,
    sse,
    sse_raw,
    strings,
    whole,
)

STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


def _mark(block: Mapping[str, Any]) -> str | None:
    control = block.get("cache_control")
    if not isinstance(control, Mapping):
        return None
    return "1h" if control.get("ttl") == "1h" else "5m"


def _block(role: str, block: Mapping[str, Any]) -> Turn:
    kind = block.get("type")
    if kind == "text":
        return Turn(role, str(block.get("text", "")), 0, _mark(block))
    if kind == "image":
        return Turn(role, "", 1, _mark(block))
    if kind == "tool_result":
        inner = block.get("content")
        text = inner if isinstance(inner, str) else dumps(inner)
        return Turn("tool", text, 0, _mark(block))
    return Turn(role, dumps({k: v for k, v in block.items() if k != "signature"}), 0, _mark(block))


def _blocks(role: str, content: Any) -> Iterator[Turn]:
    if isinstance(content, str):
        yield Turn(role, content)
    else:
        for block in content or ():
            if isinstance(block, Mapping):
                yield _block(role, block)


def parse(body: Json, _target: str) -> Ask:
    """Raises BadAsk."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadAsk("messages: at least one message is required")
    if not isinstance(body.get("model"), str):
        raise BadAsk("model: Field required")
    tools = [tool for tool in body.get("tools") or () if isinstance(tool, Mapping)]
    turns = [Turn("tools", dumps(tool), 0, _mark(tool)) for tool in tools]
    turns += _blocks("system", body.get("system"))
    for message in messages:
        turns += _blocks(str(message.get("role", "user")), message.get("content"))
    if isinstance(body.get("cache_control"), Mapping):  # the whole prompt, to its last block
        last = turns[-1]
        turns[-1] = Turn(last.role, last.text, last.images, _mark(body))
    choice = body.get("tool_choice") or {}
    thinking = (body.get("thinking") or {}).get("type", "disabled")
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return Ask(
        model=body["model"],
        turns=tuple(turns),
        stream=bool(body.get("stream")),
        tools=tuple(ToolSpec(str(t.get("name")), t.get("input_schema") or {}) for t in tools),
        tool_choice={"any": "required", "tool": str(choice.get("name"))}.get(
            choice.get("type", "auto"), choice.get("type", "auto")
        ),
        max_tokens=whole(body.get("max_tokens")),
        schema=form.get("schema"),
        thinking=thinking != "disabled",
        effort=(body.get("output_config") or {}).get("effort"),
        stop=strings(body.get("stop_sequences")),
        user=nonce(body),
    )


def check(body: Json) -> None:
    """What ``/v1/messages`` asks for and ``count_tokens`` does not. Raises BadAsk."""
    if not isinstance(body.get("max_tokens"), int):
        raise BadAsk("max_tokens: Field required")


def usage_of(tally: Tally) -> Json:
    written = tally.write_5m + tally.write_1h
    return {
        "input_tokens": tally.input - tally.cached - written,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": tally.cached,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tally.write_5m,
            "ephemeral_1h_input_tokens": tally.write_1h,
        },
        "output_tokens": tally.output,
        "service_tier": "standard",
    }


def _signature(reply: Reply) -> str:
    return f"simulated-{reply.ident}"


def _tool_input(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:  # cut by max_tokens
        return {}


def _message(ask: Ask, reply: Reply) -> Json:
    return {
        "id": f"msg_{reply.ident}",
        "type": "message",
        "role": "assistant",
        "model": ask.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
    }


def plain(ask: Ask, reply: Reply) -> Json:
    content: list[Json] = []
    if reply.reasoning:
        content.append(
            {
                "type": "thinking",
                "thinking": reply.whole_reasoning,
                "signature": _signature(reply),
            }
        )
    if reply.text:
        content.append({"type": "text", "text": reply.whole_text})
    for index, call in enumerate(reply.calls):
        content.append(
            {
                "type": "tool_use",
                "id": f"toolu_{reply.ident}{index}",
                "name": call.name,
                "input": _tool_input(call.arguments),
            }
        )
    answer = _message(ask, reply) | {
        "content": content,
        "stop_reason": STOP_REASONS[reply.finish],
    }
    if reply.usage is not None:
        answer["usage"] = usage_of(reply.usage)
    return answer


def _event(name: str, value: Json) -> bytes:
    return sse({"type": name} | value, name)


def events(ask: Ask, reply: Reply) -> Iterator[Event]:
    message = _message(ask, reply)
    if reply.usage is not None:
        message["usage"] = usage_of(reply.usage) | {"output_tokens": 1}
    yield _event("message_start", {"message": message}), 0
    index = 0

    def start(block: Json) -> bytes:
        return _event("content_block_start", {"index": index, "content_block": block})

    def delta(value: Json) -> bytes:
        return _event("content_block_delta", {"index": index, "delta": value})

    def stop() -> bytes:
        return _event("content_block_stop", {"index": index})

    if reply.reasoning:
        yield start({"type": "thinking", "thinking": "", "signature": ""}), 0
        for piece in reply.reasoning:
            yield delta({"type": "thinking_delta", "thinking": piece.text}), piece.tokens
        yield delta({"type": "signature_delta", "signature": _signature(reply)}), 0
        yield stop(), 0
        index += 1
    yield sse({"type": "ping"}, "ping"), 0
    if reply.text:
        yield start({"type": "text", "text": ""}), 0
        for piece in reply.text:
            yield delta({"type": "text_delta", "text": piece.text}), piece.tokens
        yield stop(), 0
        index += 1
    for number, call in enumerate(reply.calls):
        tool = {"type": "tool_use", "id": f"toolu_{reply.ident}{number}", "name": call.name}
        yield start(tool | {"input": {}}), count(call.name)
        yield delta({"type": "input_json_delta", "partial_json": ""}), 0
        for part in halves(call.arguments):
            yield delta({"type": "input_json_delta", "partial_json": part}), count(part)
        yield stop(), 0
        index += 1
    end: Json = {"delta": {"stop_reason": STOP_REASONS[reply.finish], "stop_sequence": None}}
    if reply.usage is not None:
        usage = usage_of(reply.usage)
        end["usage"] = {
            key: usage[key]
            for key in (
                "input_tokens",
                "cache_creation_input_tokens",
                "cache_read_input_tokens",
                "output_tokens",
            )
        }
    yield _event("message_delta", end), 0
    yield _event("message_stop", {}), 0


_WORDS: Mapping[str, tuple[str, str]] = {
    "400": ("invalid_request_error", "The request could not be processed."),
    "400-context": (
        "invalid_request_error",
        "prompt is too long: {tokens} tokens > {limit} maximum",
    ),
    "400-filter": ("invalid_request_error", "Output blocked by content filtering policy"),
    "401": ("authentication_error", "invalid x-api-key"),
    "402": ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    "403": ("permission_error", "Your API key does not have permission to use this model."),
    "404": ("not_found_error", "model: {model}"),
    "429": ("rate_limit_error", "This request would exceed your account's rate limit."),
    "429-quota": ("rate_limit_error", "You have reached your specified API usage limits."),
    "500": ("api_error", "Internal server error"),
    "503": ("api_error", "Service unavailable"),
    "529": ("overloaded_error", "Overloaded"),
}


def _error(problem: Problem) -> Json:
    kind = "401" if problem.kind == "400-key" else problem.kind
    type_, message = _WORDS.get(kind, _WORDS["500"])
    text = problem.message or message.format(
        model=problem.model, limit=problem.limit, tokens=problem.tokens
    )
    return {
        "type": "error",
        "error": {"type": type_, "message": text},
        "request_id": f"req_{problem.ident}",
    }


def describe(problem: Problem) -> tuple[int, Json]:
    return 401 if problem.kind == "400-key" else problem.status, _error(problem)


def error_event(problem: Problem) -> bytes:
    return sse(_error(problem), "error")


WIRE = Wire(
    "anthropic",
    parse,
    plain,
    events,
    describe,
    error_event,
    sse_raw,
    request_id="request-id",
    check=check,
)
