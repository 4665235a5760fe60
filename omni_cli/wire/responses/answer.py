"""An answer in the Responses API's form, whole or as typed events.

Source: OpenAI API reference, "The response object", "Streaming events".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from omni_cli.domain.chat import ChatChunk, Completion, ToolCall, Usage
from omni_cli.wire.responses.tools import Names, names_of, offered_in
from omni_cli.wire.server import Answered, JsonObject, one_text_of, sse

_ARGUMENTS = "response.function_call_arguments.delta"

#: Why an answer is incomplete. A model that refuses says no more than a filter does.
_CUT = {
    "length": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}


def usage_of(usage: Usage) -> JsonObject:
    """Usage in the Responses API's form."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


def _reasoning_item(text: str, ident: str) -> JsonObject:
    summary = [{"type": "summary_text", "text": text}] if text else []
    return {"id": f"rs_{ident}", "type": "reasoning", "summary": summary}


def _message_item(
    text: str, ident: str, status: str = "completed", likely: Sequence[Any] = ()
) -> JsonObject:
    told = list(likely)
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": told}]
    return {
        "id": f"msg_{ident}",
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": content if status == "completed" else [],
    }


def _call_item(call: ToolCall, ident: str, names: Names, status: str = "completed") -> JsonObject:
    space, name = names.spaces.get(call.name, ("", call.name))
    where = {"namespace": space} if space else {}
    if call.name in names.custom:
        return {
            **where,
            "id": f"ctc_{ident}",
            "type": "custom_tool_call",
            "status": status,
            "call_id": call.id,
            "name": name,
            "input": one_text_of(call.arguments) if status == "completed" else "",
        }
    return {
        **where,
        "id": f"fc_{ident}",
        "type": "function_call",
        "status": status,
        "call_id": call.id,
        "name": name,
        "arguments": call.arguments if status == "completed" else "",
    }


def items_of(completion: Completion, ident: str, names: Names) -> list[JsonObject]:
    items = []
    if completion.reasoning:
        items.append(_reasoning_item(completion.reasoning, ident))
    if completion.text or not completion.tool_calls:
        items.append(_message_item(completion.text, ident, likely=completion.logprobs))
    items += [
        _call_item(call, f"{ident}_{number}", names)
        for number, call in enumerate(completion.tool_calls)
    ]
    return items


def response_of(
    about: Answered, output: list[JsonObject], completion: Completion | None
) -> JsonObject:
    """The response object; without a completion it is under way."""
    status, details, usage = "in_progress", None, None
    if completion is not None:
        cut = _CUT.get(completion.finish_reason or "")
        status = "incomplete" if cut else "completed"
        details = {"reason": cut} if cut else None
        usage = usage_of(completion.usage or Usage())
    return {
        "id": about.id,
        "object": "response",
        "created_at": about.created,
        "status": status,
        "error": None,
        "incomplete_details": details,
        "instructions": None,
        "metadata": {},
        "model": about.model,
        "output": output,
        "parallel_tool_calls": True,
        "store": False,
        "temperature": None,
        "tool_choice": "auto",
        "tools": [],
        "top_p": None,
        "usage": usage,
    }


class ResponsesWriter:
    """Writes typed events; one output item is open at a time."""

    def __init__(self, about: Answered) -> None:
        self._about = about
        self._names = names_of(offered_in(about.options))
        self._number = -1
        self._items: list[JsonObject] = []
        self._open: tuple[str, list[str], ToolCall | None] | None = None
        self._likely: list[Mapping[str, Any]] = []

    def chunk(self, chunk: ChatChunk) -> bytes:
        out = b"" if self._number >= 0 else self._begin()
        if chunk.reasoning:
            out += self._enter("reasoning")
            out += self._piece("response.reasoning_summary_text.delta", chunk.reasoning)
        if chunk.text:
            out += self._enter("message")
            self._likely += chunk.logprobs
            told = list(chunk.logprobs)
            out += self._piece("response.output_text.delta", chunk.text, logprobs=told)
        for delta in chunk.tool_calls:
            call = ToolCall(delta.id or f"call_{delta.index}", delta.name or "", "")
            out += self._enter(f"call {delta.index}", call)
            if delta.arguments:
                out += self._piece(_ARGUMENTS, delta.arguments)
        return out

    def end(self, completion: Completion) -> bytes:
        out = b"" if self._number >= 0 else self._begin()
        if not self._items and self._open is None:
            out += self._enter("message")
        out += self._leave()
        response = response_of(self._about, self._items, completion)
        return out + self._event(f"response.{response['status']}", response=response)

    def _begin(self) -> bytes:
        response = response_of(self._about, [], None)
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _event(self, kind: str, **fields: object) -> bytes:
        self._number += 1
        return sse({"type": kind, "sequence_number": self._number, **fields}, kind)

    def _ident(self) -> str:
        return f"{self._about.id}_{len(self._items)}"

    def _place(self) -> JsonObject:
        kind = self._open[0] if self._open else ""
        prefix = {"reasoning": "rs", "message": "msg"}.get(kind, "ctc" if self._is_text else "fc")
        place: JsonObject = {
            "item_id": f"{prefix}_{self._ident()}",
            "output_index": len(self._items),
        }
        if kind == "message":
            place |= {"content_index": 0, "logprobs": []}
        elif kind == "reasoning":
            place["summary_index"] = 0
        return place

    @property
    def _is_text(self) -> bool:
        """What is open is a call of a tool that takes a text."""
        call = self._open[2] if self._open else None
        return call is not None and call.name in self._names.custom

    def _enter(self, kind: str, call: ToolCall | None = None) -> bytes:
        if self._open is not None and self._open[0] == kind:
            return b""
        out = self._leave()
        self._open = (kind, [], call)
        ident = self._ident()
        if kind == "message":
            item = _message_item("", ident, "in_progress")
        elif kind == "reasoning":
            item = _reasoning_item("", ident)
        else:
            item = _call_item(call or ToolCall("", "", ""), ident, self._names, "in_progress")
        out += self._event("response.output_item.added", output_index=len(self._items), item=item)
        if kind == "message":
            part = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
            out += self._event("response.content_part.added", **_part_place(self._place(), part))
        elif kind == "reasoning":
            part = {"type": "summary_text", "text": ""}
            out += self._event("response.reasoning_summary_part.added", **self._place(), part=part)
        return out

    def _piece(self, kind: str, text: str, **more: object) -> bytes:
        assert self._open is not None
        self._open[1].append(text)
        if kind == _ARGUMENTS and self._is_text:
            return b""  # the text is known once the JSON around it is whole
        return self._event(kind, **(self._place() | more), delta=text)

    def _leave(self) -> bytes:
        if self._open is None:
            return b""
        kind, pieces, call = self._open
        text, place, ident = "".join(pieces), self._place(), self._ident()
        if kind == "message":
            item = _message_item(text, ident, likely=self._likely)
            place["logprobs"], self._likely = self._likely, []
            part = item["content"][0]
            out = self._event("response.output_text.done", **place, text=text)
            out += self._event("response.content_part.done", **_part_place(place, part))
        elif kind == "reasoning":
            item = _reasoning_item(text, ident)
            part = {"type": "summary_text", "text": text}
            out = self._event("response.reasoning_summary_text.done", **place, text=text)
            out += self._event("response.reasoning_summary_part.done", **place, part=part)
        else:
            made = call or ToolCall("", "", "")
            item = _call_item(ToolCall(made.id, made.name, text or "{}"), ident, self._names)
            if self._is_text:
                said = item["input"]
                out = self._event("response.custom_tool_call_input.delta", **place, delta=said)
                out += self._event("response.custom_tool_call_input.done", **place, input=said)
            else:
                out = self._event(f"{_ARGUMENTS[:-6]}.done", **place, arguments=text or "{}")
        out += self._event("response.output_item.done", output_index=len(self._items), item=item)
        self._items.append(item)
        self._open = None
        return out


def _part_place(place: JsonObject, part: JsonObject) -> JsonObject:
    return {key: value for key, value in place.items() if key != "logprobs"} | {"part": part}
