"""OpenAI Chat Completions, as DeepSeek, Moonshot, OpenRouter and many servers speak it too."""

from collections.abc import Iterator, Mapping
from typing import Any

from omni_cli.simulator.ask import Ask, Event, Problem, Reply, Tally, ToolSpec, Turn
from omni_cli.simulator.engine import tools_turn
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


def _turn(message: Mapping[str, Any]) -> Turn:
    role = str(message.get("role", "user"))
    role = "system" if role == "developer" else role
    content = message.get("content")
    calls = dumps(message["tool_calls"]) if message.get("tool_calls") else ""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping)]
        text = "".join(str(part.get("text", "")) for part in parts)
        images = sum(part.get("type") in ("image_url", "input_image") for part in parts)
        return Turn(role, text + calls, images)
    return Turn(role, (content if isinstance(content, str) else "") + calls)


def choice_of(value: Any) -> str:
    """``tool_choice`` as a word: "auto", "none", "required" or a tool's name."""
    if isinstance(value, Mapping):
        named = value.get("function", value)
        return str(named.get("name", "required")) if isinstance(named, Mapping) else "required"
    return value if isinstance(value, str) else "auto"


def parse(body: Json, _target: str) -> Ask:
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadAsk("Missing required parameter: 'messages'.")
    if not isinstance(body.get("model"), str):
        raise BadAsk("you must provide a model parameter")
    tools = [t["function"] for t in body.get("tools") or () if isinstance(t.get("function"), dict)]
    form = body.get("response_format") or {}
    options = body.get("stream_options") or {}
    turns = tuple(_turn(message) for message in messages if isinstance(message, Mapping))
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return Ask(
        model=body["model"],
        turns=tools_turn(dumps(tools) if tools else "") + turns,
        stream=bool(body.get("stream")),
        tools=tuple(ToolSpec(t.get("name", ""), t.get("parameters") or {}) for t in tools),
        tool_choice=choice_of(body.get("tool_choice")),
        max_tokens=whole(limit),
        json_mode=form.get("type") in ("json_object", "json_schema"),
        schema=(form.get("json_schema") or {}).get("schema"),
        effort=body.get("reasoning_effort"),
        stop=strings(body.get("stop")),
        user=nonce(body),
        extra={"include_usage": bool(options.get("include_usage"))},
    )


def usage_of(tally: Tally, model: str) -> Json:
    usage: Json = {
        "prompt_tokens": tally.input,
        "completion_tokens": tally.output,
        "total_tokens": tally.input + tally.output,
        "prompt_tokens_details": {"cached_tokens": tally.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": tally.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if "deepseek" in model:
        usage["prompt_cache_hit_tokens"] = tally.cached
        usage["prompt_cache_miss_tokens"] = tally.input - tally.cached
    return usage


def _tells_thoughts(model: str) -> bool:
    """OpenAI keeps its thoughts to itself; DeepSeek, Kimi and others send them."""
    return not model.rsplit("/", 1)[-1].startswith(("o1", "o3", "o4", "gpt-"))


def _calls(reply: Reply) -> list[Json]:
    return [
        {
            "id": f"call_{reply.ident}{index}",
            "type": "function",
            "function": {"name": call.name, "arguments": call.arguments},
        }
        for index, call in enumerate(reply.calls)
    ]


def plain(ask: Ask, reply: Reply) -> Json:
    message: Json = {
        "role": "assistant",
        "content": None if reply.calls else reply.whole_text,
        "refusal": None,
    }
    if reply.reasoning and _tells_thoughts(ask.model):
        message["reasoning_content"] = reply.whole_reasoning
    if reply.calls:
        message["tool_calls"] = _calls(reply)
    answer: Json = {
        "id": f"chatcmpl-{reply.ident}",
        "object": "chat.completion",
        "created": reply.created,
        "model": ask.model,
        "choices": [
            {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish}
        ],
        "system_fingerprint": "fp_simulated",
    }
    if reply.usage is not None:
        answer["usage"] = usage_of(reply.usage, ask.model)
    return answer


def events(ask: Ask, reply: Reply) -> Iterator[Event]:
    head: Json = {
        "id": f"chatcmpl-{reply.ident}",
        "object": "chat.completion.chunk",
        "created": reply.created,
        "model": ask.model,
        "system_fingerprint": "fp_simulated",
    }
    told = bool(ask.extra.get("include_usage")) and reply.usage is not None

    def chunk(delta: Json, finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return sse(head | {"choices": [choice]} | ({"usage": None} if told else {}))

    yield chunk({"role": "assistant", "content": None if reply.calls else ""}), 0
    if _tells_thoughts(ask.model):
        for delta in reply.reasoning:
            yield chunk({"reasoning_content": delta.text}), delta.tokens
    for delta in reply.text:
        yield chunk({"content": delta.text}), delta.tokens
    for index, call in enumerate(_calls(reply)):
        function = call["function"]
        first = {**call, "index": index, "function": {**function, "arguments": ""}}
        yield chunk({"tool_calls": [first]}), count(function["name"])
        for part in halves(function["arguments"]):
            piece = {"index": index, "function": {"arguments": part}}
            yield chunk({"tool_calls": [piece]}), count(part)
    yield chunk({}, reply.finish), 0
    if told and reply.usage is not None:
        yield sse(head | {"choices": [], "usage": usage_of(reply.usage, ask.model)}), 0
    yield b"data: [DONE]\n\n", 0


_WORDS: Mapping[str, tuple[str, str | None, str]] = {
    # kind: (type, code, message)
    "400": ("invalid_request_error", None, "The request could not be processed."),
    "400-context": (
        "invalid_request_error",
        "context_length_exceeded",
        (
            "This model's maximum context length is {limit} tokens. However, your messages "
            "resulted in {tokens} tokens. Please reduce the length of the messages."
        ),
    ),
    "400-filter": (
        "invalid_request_error",
        "content_filter",
        "The response was filtered due to the prompt triggering the content management policy.",
    ),
    "401": ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "402": ("unknown_error", "invalid_request_error", "Insufficient Balance"),
    "403": ("invalid_request_error", "permission_denied", "The key may not use this model."),
    "404": (
        "invalid_request_error",
        "model_not_found",
        "The model `{model}` does not exist or you do not have access to it.",
    ),
    "429": (
        "requests",
        "rate_limit_exceeded",
        "Rate limit reached for {model}. Please try again in {retry:g}s.",
    ),
    "429-quota": (
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "500": ("server_error", None, "The server had an error while processing your request."),
    "503": ("server_error", "service_unavailable", "The engine is currently overloaded."),
    "529": ("server_error", "overloaded", "That model is currently overloaded."),
}


def error_object(problem: Problem) -> Json:
    kind = "401" if problem.kind == "400-key" else problem.kind
    type_, code, message = _WORDS.get(kind, _WORDS["500"])
    text = problem.message or message.format(
        model=problem.model, limit=problem.limit, tokens=problem.tokens, retry=problem.retry_after_s
    )
    return {"message": text, "type": type_, "param": None, "code": code}


def describe(problem: Problem) -> tuple[int, Json]:
    status = 401 if problem.kind == "400-key" else problem.status
    return status, {"error": error_object(problem)}


def error_event(problem: Problem) -> bytes:
    return sse({"error": error_object(problem)})


WIRE = Wire("openai", parse, plain, events, describe, error_event, sse_raw)
