"""OpenAI's Responses API, as its callers see it. Answers are not stored.

Source: OpenAI API reference, "Create a model response", "Streaming events".
"""

from collections.abc import Mapping, Sequence
from typing import Any

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
    MediaPart,
    Message,
    MessageRole,
    Part,
    TextPart,
    ToolCall,
    Usage,
)
from omni_cli.domain.errors import OmniError
from omni_cli.wire.facts import Operation
from omni_cli.wire.features import wishes_in
from omni_cli.wire.openai.server import OpenAiChat
from omni_cli.wire.responses import LOGPROBS, ResponsesFacts
from omni_cli.wire.responses.tools import (
    LATE_TOOLS,
    Names,
    choice_of,
    flat_name,
    names_of,
    offered_in,
    tools_of,
)
from omni_cli.wire.server import (
    ONE_TEXT,
    Answered,
    Caller,
    InOrder,
    JsonObject,
    Parsed,
    StreamWriter,
    Unsaid,
    code_of,
    count_field,
    detail_of,
    encode,
    flag,
    marker,
    media_of,
    message_of,
    number_field,
    object_field,
    objects,
    one_text_of,
    optional_text,
    sse,
    text_field,
    wrong,
)
from omni_cli.wire.values import compact

#: Items of tools that OpenAI runs: what they found is in the text that follows them.
_HOSTED = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "mcp_list_tools",
        "mcp_approval_request",
        "mcp_approval_response",
        "tool_search_call",
    }
)


_ROLES: dict[str, MessageRole] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
}


def messages_of(value: object, unsaid: Unsaid) -> list[Message]:
    """The messages of ``input``. Raises BadRequest."""
    if isinstance(value, str):
        return [Message.text_of("user", value)]
    found: list[Message] = []
    reasoning: list[Any] = []
    for item in objects(value, "input"):
        kind = text_field(item, "type", "message")
        if kind == "message":
            role = _ROLES.get(str(item.get("role")))
            if role is None:
                raise wrong(f"an input of role {item.get('role')!r} is not known")
            thought: tuple[Any, ...] = ()
            if role == "assistant":
                thought, reasoning = tuple(reasoning), []
            parts = _parts(item.get("content"), unsaid)
            found.append(Message(role, parts, reasoning=thought))
        elif kind in ("function_call", "custom_tool_call", "local_shell_call"):
            call = _call(kind, item)
            last = found[-1] if found else None
            if last is not None and last.role == "assistant" and not reasoning:
                # Neighbouring calls, and the text before them, are one turn.
                found[-1] = Message(
                    "assistant", last.parts, (*last.tool_calls, call), reasoning=last.reasoning
                )
            else:
                found.append(Message("assistant", (), (call,), reasoning=tuple(reasoning)))
                reasoning = []
        elif kind in ("function_call_output", "custom_tool_call_output", "local_shell_call_output"):
            output = item.get("output")
            parts = _output(output, unsaid)
            call_id = text_field(item, "call_id" if "call_id" in item else "id")
            failed = item.get("status") == "failed"
            found.append(Message("tool", parts, tool_call_id=call_id, is_error=failed))
        elif kind == "reasoning":
            reasoning.append({"protocol": "openai-responses", "block": item})
        elif kind in LATE_TOOLS:
            pass  # read with the other tools
        elif kind in _HOSTED:
            unsaid.leave(f"an input of type {kind!r}")
        else:
            unsaid.refuse(f"an input of type {kind!r}")
    if not found and not unsaid.refused:
        raise wrong("'input' must hold at least one message")
    return found


def _call(kind: str, item: JsonObject) -> ToolCall:
    if kind == "local_shell_call":
        action = object_field(item.get("action") or {}, "action")
        ident = text_field(item, "call_id" if "call_id" in item else "id")
        return ToolCall(ident, "local_shell", compact(action))
    name = flat_name(text_field(item, "name"), item.get("namespace"))
    if kind == "custom_tool_call":
        said = compact({ONE_TEXT: text_field(item, "input", "")})
        return ToolCall(text_field(item, "call_id"), name, said)
    return ToolCall(text_field(item, "call_id"), name, text_field(item, "arguments", "{}"))


def _output(output: object, unsaid: Unsaid) -> tuple[Part, ...]:
    if isinstance(output, list) and all(
        isinstance(part, dict) and isinstance(part.get("type"), str) for part in output
    ):
        return _parts(output, unsaid)
    if output is None or isinstance(output, str):
        return (TextPart(output),) if output else ()
    return (TextPart(compact(output)),)


def _parts(content: object, unsaid: Unsaid) -> tuple[Part, ...]:
    if content is None or isinstance(content, str):
        return (TextPart(content),) if content else ()
    return tuple(_part(part, unsaid) for part in objects(content, "content"))


def _part(part: JsonObject, unsaid: Unsaid) -> Part:
    kind = part.get("type")
    mark = marker(part)
    if kind in ("input_text", "output_text", "text", "summary_text"):
        return TextPart(text_field(part, "text"), mark)
    if kind == "refusal":
        return TextPart(text_field(part, "refusal"))
    if kind in ("input_image", "image_url") and part.get("image_url"):
        image = part["image_url"]
        url = text_field(image, "url") if isinstance(image, dict) else text_field(part, "image_url")
        return media_of(url, detail=detail_of(part), cache=mark)
    if kind == "input_file":
        if part.get("file_data"):
            name = optional_text(part, "filename") or None
            return media_of(text_field(part, "file_data"), "application/pdf", name=name, cache=mark)
        if part.get("file_url"):
            return MediaPart("application/pdf", url=text_field(part, "file_url"), cache=mark)
    if kind == "input_audio":
        audio = object_field(part.get("input_audio"), kind)
        return MediaPart(f"audio/{text_field(audio, 'format')}", data=text_field(audio, "data"))
    unsaid.refuse(f"content of type {kind!r} by id")
    return TextPart("")


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


_KNOWN = frozenset(
    {
        "model",
        "input",
        "instructions",
        "tools",
        "tool_choice",
        "max_output_tokens",
        "temperature",
        "top_p",
        "reasoning",
        "text",
        "stream",
        "stream_options",
        "include",
        "client_metadata",
    }
)
_FORM = frozenset({"format"})


class OpenAiResponses(ResponsesFacts, Caller):
    """The caller's side of protocol ``openai-responses``."""

    operations = (
        Operation("chat", "/responses", "Response"),
        Operation("stored", "/responses/{response}", "A response made before", "GET"),
        Operation("stored", "/responses/{response}", "Delete it at its provider", "DELETE"),
        Operation("stored", "/responses/{response}/cancel", "Stop what is in the background"),
        Operation(
            "stored",
            "/responses/{response}/input_items",
            "What it was asked",
            "GET",
            query=("after", "limit", "order"),
        ),
    )

    def parse(self, body: JsonObject) -> Parsed:
        unsaid = Unsaid()
        messages: list[Message] = []
        if body.get("instructions"):
            messages.append(Message.text_of("system", text_field(body, "instructions")))
        messages += messages_of(body.get("input"), unsaid)
        shape = object_field(body.get("text") or {}, "text")
        schema = object_field(shape.get("format") or {}, "text.format")
        kind = schema.get("type", "text")
        if kind not in ("text", "json_object", "json_schema"):
            raise wrong(f"text.format of type {kind!r} is not known")
        reasoning = object_field(body.get("reasoning") or {}, "reasoning")
        objects(body.get("tools"), "tools")
        offered = tools_of(offered_in(body), unsaid)
        choice, tools = choice_of(body.get("tool_choice"), offered, unsaid)
        wishes, strange = wishes_in(ResponsesFacts, body, _KNOWN)
        included = body.get("include")
        if isinstance(included, list) and LOGPROBS in included:
            wishes["logprobs"] = True
        else:
            wishes.pop("top_logprobs", None)  # they are told to whom asks for them only
        more, others = wishes_in(ResponsesFacts, shape, _FORM, "text")
        request = ChatRequest(
            messages=tuple(messages),
            tools=tools,
            tool_choice=choice,
            max_output_tokens=count_field(body, "max_output_tokens"),
            temperature=number_field(body, "temperature"),
            top_p=number_field(body, "top_p"),
            json_mode=kind != "text",
            json_schema=schema.get("schema") if kind == "json_schema" else None,
            reasoning_effort=optional_text(reasoning, "effort") or None,
            stream=flag(body, "stream"),
            wishes=wishes | more,
        )
        return unsaid.parsed(request, strange + others)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        names = names_of(offered_in(about.options))
        return encode(response_of(about, items_of(completion, about.id, names), completion))

    def writer(self, about: Answered) -> StreamWriter:
        return InOrder(ResponsesWriter(about))

    def error(self, error: OmniError, request_id: str) -> JsonObject:
        return OpenAiChat().error(error, request_id)

    def error_event(self, error: OmniError, request_id: str) -> bytes:  # noqa: ARG002  # protocol
        event = {
            "type": "error",
            "code": code_of(error),
            "message": message_of(error),
            "param": None,
            "sequence_number": 0,
        }
        return sse(event, "error")
