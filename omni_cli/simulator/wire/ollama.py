"""Ollama's native chat: one JSON object a line."""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from omni_cli.simulator.ask import Ask, Event, Problem, Reply, ToolSpec, Turn
from omni_cli.simulator.engine import tools_turn
from omni_cli.simulator.tokens import count
from omni_cli.simulator.wire.common import BadAsk, Json, Wire, dumps, strings, whole


def _turn(message: Mapping[str, Any]) -> Turn:
    calls = dumps(message["tool_calls"]) if message.get("tool_calls") else ""
    text = str(message.get("content") or "") + calls
    return Turn(str(message.get("role", "user")), text, len(message.get("images") or ()))


def parse(body: Json, _target: str) -> Ask:
    """Raises BadAsk."""
    if not body.get("model"):
        raise BadAsk("model is required")
    messages = body.get("messages") or []
    if not messages:
        raise BadAsk("messages are required")
    tools = [tool["function"] for tool in body.get("tools") or () if tool.get("function")]
    options = body.get("options") or {}
    form = body.get("format")
    limit = whole(options.get("num_predict"))
    think = body.get("think")
    turns = tuple(_turn(message) for message in messages if isinstance(message, Mapping))
    return Ask(
        model=str(body["model"]),
        turns=tools_turn(dumps(tools) if tools else "") + turns,
        stream=bool(body.get("stream", True)),
        tools=tuple(ToolSpec(str(t.get("name")), t.get("parameters") or {}) for t in tools),
        max_tokens=limit if limit is not None and limit >= 0 else None,
        json_mode=form == "json",
        schema=form if isinstance(form, Mapping) else None,
        thinking=None if think is None else bool(think),
        effort=think if isinstance(think, str) else None,
        stop=strings(options.get("stop")),
    )


def _frame(ask: Ask, reply: Reply, message: Json) -> Json:
    created = datetime.fromtimestamp(reply.created, UTC).isoformat().replace("+00:00", "Z")
    return {
        "model": ask.model,
        "created_at": created,
        "message": {"role": "assistant", "content": ""} | message,
    }


def _last(reply: Reply) -> Json:
    """Durations in nanoseconds; they follow from the counts, as on a machine of one speed."""
    end: Json = {"done": True, "done_reason": "length" if reply.finish == "length" else "stop"}
    if reply.usage is None:
        return end
    prompt_ns = reply.usage.input * 1_000_000
    answer_ns = reply.usage.output * 20_000_000
    return end | {
        "total_duration": prompt_ns + answer_ns,
        "load_duration": 0,
        "prompt_eval_count": reply.usage.input,
        "prompt_eval_duration": prompt_ns,
        "eval_count": reply.usage.output,
        "eval_duration": answer_ns,
    }


def _calls(reply: Reply) -> list[Json]:
    calls: list[Json] = []
    for call in reply.calls:
        try:
            arguments = json.loads(call.arguments)
        except ValueError:  # cut by num_predict: only whole calls are passed on
            continue
        calls.append({"function": {"name": call.name, "arguments": arguments}})
    return calls


def plain(ask: Ask, reply: Reply) -> Json:
    message: Json = {"content": reply.whole_text}
    if reply.reasoning:
        message["thinking"] = reply.whole_reasoning
    if reply.calls:
        message["tool_calls"] = _calls(reply)
    return _frame(ask, reply, message) | _last(reply)


def _line(value: Any) -> bytes:
    return f"{dumps(value)}\n".encode()


def events(ask: Ask, reply: Reply) -> Iterator[Event]:
    def chunk(message: Json) -> bytes:
        return _line(_frame(ask, reply, message) | {"done": False})

    for delta in reply.reasoning:
        yield chunk({"thinking": delta.text}), delta.tokens
    for delta in reply.text:
        yield chunk({"content": delta.text}), delta.tokens
    calls = _calls(reply)
    if calls:
        yield chunk({"tool_calls": calls}), count(dumps(calls))
    yield _line(_frame(ask, reply, {}) | _last(reply)), 0


_WORDS: Mapping[str, str] = {
    "400": "invalid request",
    "400-context": "the input length ({tokens}) exceeds the context length ({limit})",
    "400-filter": "the request was filtered",
    "401": "unauthorized",
    "402": "payment required",
    "403": "forbidden",
    "404": 'model "{model}" not found, try pulling it first',
    "429": "too many requests",
    "429-quota": "you have reached your usage limit",
    "500": "llama runner process has terminated: exit status 2",
    "503": "server busy, please try again.  maximum pending requests exceeded",
    "529": "server overloaded",
}


def describe(problem: Problem) -> tuple[int, Json]:
    kind = "401" if problem.kind == "400-key" else problem.kind
    text = problem.message or _WORDS.get(kind, _WORDS["500"]).format(
        model=problem.model, tokens=problem.tokens, limit=problem.limit
    )
    return 401 if problem.kind == "400-key" else problem.status, {"error": text}


def error_event(problem: Problem) -> bytes:
    return _line(describe(problem)[1])


def raw_line(text: str) -> bytes:
    return f"{text}\n".encode()


WIRE = Wire(
    "ollama",
    parse,
    plain,
    events,
    describe,
    error_event,
    raw_line,
    stream_type="application/x-ndjson",
)
