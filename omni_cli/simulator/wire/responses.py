"""OpenAI Responses."""

from collections.abc import Iterator, Mapping
from typing import Any

from omni_cli.simulator.ask import Ask, Call, Event, Problem, Reply, Tally, ToolSpec, Turn
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
    whole,
)
from omni_cli.simulator.wire.openai import choice_of, describe, error_object


def _turn(item: Mapping[str, Any]) -> Turn:
    kind = item.get("type", "message")
    if kind == "function_call_output":
        output = item.get("output")
        return Turn("tool", output if isinstance(output, str) else dumps(output))
    if kind != "message":
        return Turn("assistant", dumps(item))
    role = str(item.get("role", "user"))
    role = "system" if role == "developer" else role
    content = item.get("content")
    if isinstance(content, str):
        return Turn(role, content)
    parts = [part for part in content or () if isinstance(part, Mapping)]
    text = "".join(str(part.get("text", "")) for part in parts)
    return Turn(role, text, sum(part.get("type") == "input_image" for part in parts))


def parse(body: Json, _target: str) -> Ask:
    """Raises BadAsk."""
    if not isinstance(body.get("model"), str):
        raise BadAsk("Missing required parameter: 'model'.")
    sent = body.get("input")
    if not sent:
        raise BadAsk("Missing required parameter: 'input'.")
    items = [{"role": "user", "content": sent}] if isinstance(sent, str) else sent
    tools = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    turns = list(tools_turn(dumps(tools) if tools else ""))
    if body.get("instructions"):
        turns.append(Turn("system", str(body["instructions"])))
    turns += [_turn(item) for item in items if isinstance(item, Mapping)]
    form = (body.get("text") or {}).get("format") or {}
    reasoning = body.get("reasoning") or {}
    return Ask(
        model=body["model"],
        turns=tuple(turns),
        stream=bool(body.get("stream")),
        tools=tuple(ToolSpec(str(t.get("name")), t.get("parameters") or {}) for t in tools),
        tool_choice=choice_of(body.get("tool_choice")),
        max_tokens=whole(body.get("max_output_tokens")),
        json_mode=form.get("type") in ("json_object", "json_schema"),
        schema=form.get("schema"),
        effort=reasoning.get("effort"),
        user=nonce(body),
        extra={"summary": bool(reasoning.get("summary"))},
    )


def _usage(tally: Tally) -> Json:
    return {
        "input_tokens": tally.input,
        "input_tokens_details": {"cached_tokens": tally.cached},
        "output_tokens": tally.output,
        "output_tokens_details": {"reasoning_tokens": tally.reasoning},
        "total_tokens": tally.input + tally.output,
    }


def _reasoning_item(ask: Ask, reply: Reply) -> Json:
    summary = [{"type": "summary_text", "text": reply.whole_reasoning}]
    told = summary if ask.extra.get("summary") else []
    return {"id": f"rs_{reply.ident}", "type": "reasoning", "summary": told}


def _message_item(reply: Reply, text: str, status: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": f"msg_{reply.ident}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [part] if text else [],
    }


def _call_item(reply: Reply, index: int, call: Call, status: str) -> Json:
    return {
        "id": f"fc_{reply.ident}{index}",
        "type": "function_call",
        "status": status,
        "call_id": f"call_{reply.ident}{index}",
        "name": call.name,
        "arguments": call.arguments if status != "in_progress" else "",
    }


def _frame(ask: Ask, reply: Reply, status: str, output: list[Json], usage: Json | None) -> Json:
    cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
    return {
        "id": f"resp_{reply.ident}",
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "error": None,
        "incomplete_details": cut,
        "instructions": None,
        "max_output_tokens": ask.max_tokens,
        "model": ask.model,
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "tool_choice": ask.tool_choice,
        "usage": usage,
        "metadata": {},
    }


def plain(ask: Ask, reply: Reply) -> Json:
    status = "incomplete" if reply.finish == "length" else "completed"
    output = [_reasoning_item(ask, reply)] if reply.reasoning else []
    if reply.text or not reply.calls:
        output.append(_message_item(reply, reply.whole_text, status))
    output += [_call_item(reply, i, call, status) for i, call in enumerate(reply.calls)]
    return _frame(ask, reply, status, output, _usage(reply.usage) if reply.usage else None)


def events(ask: Ask, reply: Reply) -> Iterator[Event]:
    number = -1

    def event(name: str, **fields: Any) -> bytes:
        nonlocal number
        number += 1
        return sse({"type": name, "sequence_number": number} | fields, name)

    empty = _frame(ask, reply, "in_progress", [], None)
    yield event("response.created", response=empty), 0
    yield event("response.in_progress", response=empty), 0
    whole_answer = plain(ask, reply)
    for index, item in enumerate(whole_answer["output"]):
        started = item | {"status": "in_progress"}
        kind = item["type"]
        where: Json = {"item_id": item["id"], "output_index": index}
        if kind == "message":
            yield (
                event(
                    "response.output_item.added", output_index=index, item=started | {"content": []}
                ),
                0,
            )
            yield from _text_events(event, where, reply)
        elif kind == "function_call":
            added = started | {"arguments": ""}
            yield (
                event("response.output_item.added", output_index=index, item=added),
                count(item["name"]),
            )
            for part in halves(item["arguments"]):
                yield (
                    event("response.function_call_arguments.delta", **where, delta=part),
                    count(part),
                )
            done = event(
                "response.function_call_arguments.done", **where, arguments=item["arguments"]
            )
            yield done, 0
        else:
            added = item | {"summary": []}
            yield event("response.output_item.added", output_index=index, item=added), 0
            if item["summary"]:
                part_of = where | {"summary_index": 0}
                for piece in reply.reasoning:
                    name = "response.reasoning_summary_text.delta"
                    yield event(name, **part_of, delta=piece.text), piece.tokens
        yield event("response.output_item.done", output_index=index, item=item), 0
    yield event(f"response.{whole_answer['status']}", response=whole_answer), 0


def _text_events(event: Any, where: Json, reply: Reply) -> Iterator[Event]:
    spot = where | {"content_index": 0}
    part: Json = {"type": "output_text", "text": "", "annotations": []}
    yield event("response.content_part.added", **spot, part=part), 0
    for piece in reply.text:
        data = event("response.output_text.delta", **spot, delta=piece.text, logprobs=[])
        yield data, piece.tokens
    text = reply.whole_text
    yield event("response.output_text.done", **spot, text=text, logprobs=[]), 0
    yield event("response.content_part.done", **spot, part=part | {"text": text}), 0


def error_event(problem: Problem) -> bytes:
    error = error_object(problem)
    fields = {"code": error["code"], "message": error["message"], "param": None}
    # The number does not continue the stream's: it is made without knowing how far that got.
    return sse({"type": "error", "sequence_number": 0} | fields, "error")


WIRE = Wire("openai-responses", parse, plain, events, describe, error_event, sse_raw)
