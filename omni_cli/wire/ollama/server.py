"""Ollama's /api/chat, as its callers see it, and what its other ways of asking share with it.

Source: ollama/ollama docs/api.md, "Generate a chat completion".
"""

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from typing import ClassVar

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
    CompletionFolder,
    MediaPart,
    Message,
    Part,
    TextPart,
    Tool,
    ToolCall,
    Usage,
)
from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.domain.errors import OmniError
from omni_cli.wire.facts import Operation
from omni_cli.wire.features import wishes_in
from omni_cli.wire.ollama import OllamaFacts
from omni_cli.wire.server import (
    Answered,
    Caller,
    JsonObject,
    Parsed,
    count_field,
    encode,
    inputs_of,
    integer_field,
    left_of,
    message_of,
    number_field,
    object_field,
    object_of,
    objects,
    optional_flag,
    optional_text,
    text_field,
    texts,
    wrong,
)
from omni_cli.wire.values import arguments_object, as_object, compact

_KNOWN = frozenset(
    {"model", "messages", "tools", "format", "options", "stream", "think", "keep_alive"}
)
_EMBEDDINGS = frozenset({"model", "input", "dimensions", "truncate", "keep_alive"})
#: Version of Ollama's API that this speaks: clients look at it before they ask for tools.
VERSION = "0.12.0"
#: How long a model is to be kept that is to be unloaded.
_AT_ONCE = (0, "0", "0s")
#: Longest body that may be a wish to load a model: it holds no more than a name.
_SHORT = 512
_OPTIONS = frozenset(
    {
        *("num_predict", "temperature", "top_p", "stop", "seed"),
        # How the server holds the model, which says nothing to it.
        *("num_ctx", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_gqa"),
        *("low_vram", "use_mmap", "use_mlock", "vocab_only", "numa", "f16_kv", "logits_all"),
    }
)
#: The first bytes of images in base64, by their type; Ollama's images carry none.
_SIGNATURES = (("iVBOR", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"))


class OllamaChat(OllamaFacts, Caller):
    """The caller's side of protocol ``ollama``."""

    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("chat", "/chat", "Chat", loads=True),
        Operation("embeddings", "/embed", "Embeddings"),
        Operation("models", "/tags", "Models", "GET"),
        Operation("model", "/show", "One model"),
        # The gateway holds no model in memory.
        Operation("document", "/ps", "Loaded models: none", "GET", given={"models": []}),
        Operation(
            "document", "/version", "Version", "GET", access="open", given={"version": VERSION}
        ),
    )
    #: Fields that ask something, and how an answer to nothing says that.
    _asks: ClassVar[tuple[str, ...]] = ("messages",)
    _silence: ClassVar[JsonObject] = {"message": {"role": "assistant", "content": ""}}

    def parse(self, body: JsonObject) -> Parsed:
        messages = _messages(objects(body.get("messages"), "messages"))
        if not messages:
            raise wrong("'messages' must hold at least one message")
        tools = tuple(_tool(tool) for tool in objects(body.get("tools"), "tools"))
        return parsed(body, messages, tools, _KNOWN)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        message = _message(completion.text, completion.reasoning, completion.tool_calls)
        took = Took(about)
        told = {"logprobs": completion.logprobs} if completion.logprobs else {}
        return encode({**base(about), "message": message, **told, **took.ending(completion)})

    def writer(self, about: Answered) -> "LineWriter":
        return LineWriter(about, lambda *said: {"message": _message(*said)})

    def nothing_asked(self, body: bytes) -> tuple[str, JsonObject] | None:
        """Clients so load a model, or unload it, ahead of time. There is nothing to load here: who
        answers is decided when something is asked."""
        if len(body) > _SHORT:
            return None
        wish = object_of(body)
        if any(wish.get(name) for name in self._asks):
            return None
        name = text_field(wish, "model")
        over = wish.get("keep_alive") in _AT_ONCE
        return name, {
            "model": name,
            "created_at": _stamp(time.time()),
            **self._silence,
            "done": True,
            "done_reason": "unload" if over else "load",
        }

    def models(self, listed: Sequence[JsonObject], others: Sequence[JsonObject]) -> JsonObject:
        return {"models": [_tag(model) for model in (*listed, *others)]}

    def asked_model(self, body: JsonObject) -> str:
        return text_field(body, "model", text_field(body, "name", ""))

    def model(self, listed: JsonObject) -> JsonObject:
        outputs = listed.get("output_types") or ["text"]
        capabilities = ["completion"] if "text" in outputs else list(outputs)
        badges = listed.get("badges") or []
        capabilities += ["tools"] if "function-calling" in badges else []
        capabilities += ["vision"] if "vision" in badges else []
        window, family = listed.get("context_window"), str(listed["owned_by"])
        return {
            "details": {"format": "gguf", "family": family, "families": None},
            "model_info": {"general.architecture": family, f"{family}.context_length": window},
            "capabilities": capabilities,
        }

    def texts(self, body: JsonObject) -> Texts:
        optional_flag(body, "truncate")
        left = left_of(body, _EMBEDDINGS, {"options": ({},)})
        if not any(value is not None for value in as_object(body.get("options")).values()):
            left = tuple(name for name in left if name != "options")  # LangChain's, all null
        return Texts(inputs_of(body), count_field(body, "dimensions"), left=left)

    def embeddings(self, texts: Texts, vectors: Vectors, about: Answered) -> bytes:
        del texts
        return encode(
            {
                "model": about.model,
                "embeddings": vectors.vectors,
                "total_duration": (about.latency_ms or 0) * 1_000_000,
                "load_duration": 0,
                "prompt_eval_count": vectors.usage.input_tokens if vectors.usage else 0,
            }
        )

    def error(self, error: OmniError, request_id: str) -> JsonObject:  # noqa: ARG002  # protocol
        return {"error": message_of(error)}

    def error_event(self, error: OmniError, request_id: str) -> bytes:
        return encode(self.error(error, request_id)) + b"\n"


class OllamaEmbedding(OllamaChat):
    """The old way to ask for one text's vector; no provider is asked in it."""

    name = "ollama-embeddings"
    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("embeddings", "/embeddings", "One embedding"),
    )

    def texts(self, body: JsonObject) -> Texts:
        left = left_of(body, _EMBEDDINGS | {"prompt", "options"}, {})
        return Texts([text_field(body, "prompt")], left=left, single=True)

    def embeddings(self, texts: Texts, vectors: Vectors, about: Answered) -> bytes:
        del texts, about
        return encode({"embedding": vectors.vectors[0]})


def _tag(model: JsonObject) -> JsonObject:
    name, size = model["id"], model.get("parameters_b")
    return {
        "name": name,
        "model": name,
        "modified_at": _stamp(model["created"]),
        "size": 0,
        # Nobody's weights, but its clients show its beginning.
        "digest": sha256(name.encode()).hexdigest(),
        "details": {
            "format": "gguf",
            "family": name.partition("/")[0],
            "families": None,
            "parameter_size": f"{size:g}B" if size else "",
            "quantization_level": "",
            "parent_model": "",
        },
    }


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def parsed(
    body: JsonObject,
    messages: tuple[Message, ...],
    tools: tuple[Tool, ...],
    known: frozenset[str],
    refused: tuple[str, ...] = (),
) -> Parsed:
    """A request in omni's words: what Ollama's ways of asking have in common.

    Args:
        known: fields that are read.
        refused: what no chat can be told.
    """
    options = object_field(body.get("options") or {}, "options")
    shape = body.get("format") or None
    think = body.get("think")
    limit = integer_field(options, "num_predict")
    wishes, strange = wishes_in(OllamaFacts, body, known)
    more, others = wishes_in(OllamaFacts, options, _OPTIONS, "options")
    request = ChatRequest(
        messages=messages,
        tools=tools,
        max_output_tokens=limit if limit and limit > 0 else None,  # -1: without limit
        temperature=number_field(options, "temperature"),
        top_p=number_field(options, "top_p"),
        stop=texts(options.get("stop"), "options.stop"),
        seed=integer_field(options, "seed"),
        json_mode=shape is not None,
        json_schema=shape if isinstance(shape, dict) else None,
        reasoning_effort=_effort(think),
        stream=body.get("stream") is not False,
        wishes=wishes | more,
    )
    return Parsed(request, strange + others, refused)


def _effort(think: object) -> str | None:
    if isinstance(think, str):
        return think or None
    return None if not isinstance(think, bool) else "medium" if think else "none"


def _tool(tool: JsonObject) -> Tool:
    function = object_field(tool.get("function"), "tools[].function")
    return Tool(
        text_field(function, "name"),
        optional_text(function, "description"),
        object_field(function.get("parameters") or {}, "parameters"),
    )


def _messages(turns: list[JsonObject]) -> tuple[Message, ...]:
    """Ollama's calls have no ids: results belong to them by name, else by their order."""
    found: list[Message] = []
    waiting: list[ToolCall] = []
    counted = 0
    for turn in turns:
        role = turn.get("role")
        parts: tuple[Part, ...] = ()
        if text := text_field(turn, "content", ""):
            parts = (TextPart(text),)
        parts += images_of(turn)
        if role == "tool":
            name = optional_text(turn, "tool_name") or optional_text(turn, "name") or None
            call = next((c for c in waiting if not name or c.name == name), None)
            if call is not None:
                waiting.remove(call)
            ident = optional_text(turn, "tool_call_id") or (call.id if call else "call_0")
            found.append(Message("tool", parts, tool_call_id=ident, name=name))
            continue
        if role not in ("system", "user", "assistant"):
            raise wrong(f"a message of role {role!r} is not known")
        calls = []
        for call_object in objects(turn.get("tool_calls"), "tool_calls"):
            function = object_field(call_object.get("function"), "tool_calls[].function")
            ident = call_object.get("id") or f"call_{counted}"
            counted += 1
            arguments = compact(function.get("arguments") or {})
            calls.append(ToolCall(ident, text_field(function, "name"), arguments))
        waiting += calls
        thought = optional_text(turn, "thinking")
        reasoning = ({"protocol": "text", "value": thought},) if thought else ()
        found.append(Message(role, parts, tuple(calls), reasoning=reasoning))
    return tuple(found)


def images_of(fields: JsonObject) -> tuple[MediaPart, ...]:
    """Raises BadRequest."""
    return tuple(_image(data) for data in texts(fields.get("images"), "images"))


def _image(data: str) -> MediaPart:
    kind = next((kind for start, kind in _SIGNATURES if data.startswith(start)), "image/webp")
    return MediaPart(kind, data=data)


def base(about: Answered) -> JsonObject:
    """What every line of an answer begins with."""
    return {"model": about.model, "created_at": _stamp(about.created)}


def _message(text: str, thinking: str = "", calls: tuple[ToolCall, ...] = ()) -> JsonObject:
    message: JsonObject = {"role": "assistant", "content": text}
    if thinking:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": arguments_object(call)}}
            for call in calls
        ]
    return message


class Took:
    """How long an answer takes. Made when it is whole, or with the first of its stream."""

    def __init__(self, about: Answered, *, streams: bool = False) -> None:
        self._first_ns = (about.latency_ms or 0) * 1_000_000
        self._since = time.perf_counter_ns() if streams else None

    def ending(self, completion: Completion) -> JsonObject:
        """The fields of the last line. What was not measured is left out, as Ollama does."""
        counts = completion.usage or Usage()
        took = {"total_duration": self._first_ns}
        if self._since is not None:
            rest = time.perf_counter_ns() - self._since
            took = {
                "total_duration": self._first_ns + rest,
                "prompt_eval_duration": self._first_ns,
                "eval_duration": rest,
            }
        return {
            "done": True,
            "done_reason": OllamaFacts.finish_word(completion.finish_reason),
            **took,
            "prompt_eval_count": counts.input_tokens,
            "eval_count": counts.output_tokens,
        }


class LineWriter:
    """Writes lines; a call is written once it is whole, as its arguments are an object.

    Args:
        shape: how a line says (text, thinking, calls).
    """

    def __init__(self, about: Answered, shape: Callable[..., JsonObject]) -> None:
        self._about = about
        self._shape = shape
        self._took = Took(about, streams=True)
        self._calls = CompletionFolder()

    def chunk(self, chunk: ChatChunk) -> bytes:
        if chunk.tool_calls:
            self._calls.add(ChatChunk(tool_calls=chunk.tool_calls))
        if not (chunk.text or chunk.reasoning):
            return b""
        told = {"logprobs": chunk.logprobs} if chunk.logprobs else {}
        return self._line(self._shape(chunk.text, chunk.reasoning), {**told, "done": False})

    def end(self, completion: Completion) -> bytes:
        out = b""
        calls = self._calls.completion().tool_calls
        if calls:
            out = self._line(self._shape("", "", calls), {"done": False})
        return out + self._line(self._shape(""), self._took.ending(completion))

    def _line(self, said: JsonObject, more: JsonObject) -> bytes:
        return encode({**base(self._about), **said, **more}) + b"\n"


_GENERATES = frozenset(
    {"model", "prompt", "system", "images", "format", "options", "stream", "think", "keep_alive"}
)
#: A prompt without its model's template (``raw``, ``template``), one with a gap (``suffix``), and
#: tokens of an earlier one (``context``): no chat says these.
_OTHER: dict[str, object] = {"raw": False, "template": "", "suffix": "", "context": []}


class OllamaGenerate(OllamaChat):
    """No provider is asked in this way: it is a chat of one message everywhere."""

    name = "ollama-generate"
    operations = (Operation("chat", "/generate", "One answer", loads=True),)
    _asks = ("prompt", "images")
    _silence: ClassVar[JsonObject] = {"response": ""}

    def parse(self, body: JsonObject) -> Parsed:
        prompt, images = optional_text(body, "prompt"), images_of(body)
        if not prompt and not images:
            raise wrong("'prompt' must be a text")
        parts = ((TextPart(prompt),) if prompt else ()) + images
        system = optional_text(body, "system")
        head = (Message.text_of("system", system),) if system else ()
        other = tuple(name for name, plain in _OTHER.items() if body.get(name) not in (None, plain))
        known = _GENERATES | _OTHER.keys()
        return parsed(body, (*head, Message("user", parts)), (), known, other)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        said = _said(completion.text, completion.reasoning)
        return encode({**base(about), **said, **Took(about).ending(completion)})

    def writer(self, about: Answered) -> LineWriter:
        return LineWriter(about, _said)


def _said(text: str, thinking: str = "", _: tuple[ToolCall, ...] = ()) -> JsonObject:
    return {"response": text, "thinking": thinking} if thinking else {"response": text}
