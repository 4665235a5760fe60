"""OpenAI's Responses API, as its callers see it. Answers are not stored.

Source: OpenAI API reference, "Create a model response", "Streaming events".
"""

from omni_cli.domain.chat import ChatRequest, Completion, Message
from omni_cli.domain.errors import OmniError
from omni_cli.wire.facts import Operation
from omni_cli.wire.features import wishes_in
from omni_cli.wire.openai.server import OpenAiChat
from omni_cli.wire.responses import LOGPROBS, ResponsesFacts
from omni_cli.wire.responses.answer import ResponsesWriter, items_of, response_of
from omni_cli.wire.responses.input import messages_of
from omni_cli.wire.responses.tools import choice_of, names_of, offered_in, tools_of
from omni_cli.wire.server import (
    Answered,
    Caller,
    InOrder,
    JsonObject,
    Parsed,
    StreamWriter,
    Unsaid,
    code_of,
    count_field,
    encode,
    flag,
    message_of,
    number_field,
    object_field,
    objects,
    optional_text,
    sse,
    text_field,
    wrong,
)

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
