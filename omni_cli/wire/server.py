"""What every protocol's server side has in common: statuses, parsed requests, JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import Struct, field

from omni_cli.domain import errors
from omni_cli.domain.chat import ChatChunk, ChatRequest, Completion, MediaPart, Tool, ToolCallDelta
from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.domain.errors import BadRequest, OmniError
from omni_cli.domain.record import replace
from omni_cli.wire.facts import Facts, Operation
from omni_cli.wire.fitting import untranslatable
from omni_cli.wire.parsing import is_whole

JsonObject = dict[str, Any]

_ENCODER = msgspec.json.Encoder()
encode = _ENCODER.encode
_ANY = msgspec.json.Decoder()


class Parsed(Struct, frozen=True):
    """A caller's request in omni's words.

    ``left``: what has no place in them. It passes unchanged to a provider of the same protocol; for
    one of another protocol it is left out, and the caller told. ``refused``: what cannot be left
    out, as the answer would be to another question: for another protocol the request is refused.
    """

    request: ChatRequest
    left: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()


class Unsaid:
    """What of a request omni's words have no place for, gathered as it is read."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.refused: list[str] = []
        #: Tools that only the caller's own protocol has.
        self.tools: list[str] = []

    def leave(self, what: str) -> None:
        self.left.append(what)

    def refuse(self, what: str) -> None:
        self.refused.append(what)

    def parsed(self, request: ChatRequest, strange: Iterable[str] = ()) -> Parsed:
        left = tuple(dict.fromkeys([*strange, *self.left]))
        if self.tools:
            request = replace(request, vendor_tools=tuple(self.tools))
        return Parsed(request, left, tuple(dict.fromkeys(self.refused)))


class Answered(Struct, frozen=True):
    """What is known of an answer besides its content. ``created``: seconds, UTC.

    Money in nano-dollars, None where unknown; known once the answer is whole.
    """

    id: str
    model: str
    created: int
    options: Mapping[str, Any] = field(default_factory=dict)
    cost_nusd: int | None = None
    premium_nusd: int | None = None
    latency_ms: int | None = None
    task: str = ""
    attempts: int = 0


class StreamWriter(Protocol):
    """Writes one streamed answer."""

    def chunk(self, chunk: ChatChunk) -> bytes:
        """The events of a chunk; may be empty."""
        ...

    def end(self, completion: Completion) -> bytes:
        """The events after the last chunk."""
        ...


class InOrder:
    """Hands a writer one tool call after the other, each whole and named from its first piece.

    For protocols in which one thing is open at a time. Where pieces of several calls, or of a call
    and of text, come mixed, the call that was first is written as it comes, and the others wait.
    """

    def __init__(self, writer: StreamWriter) -> None:
        self._writer = writer
        self._open: int | None = None
        self._written: dict[int, list[str]] = {}
        self._waiting: list[ChatChunk] = []

    def chunk(self, chunk: ChatChunk) -> bytes:
        calls = chunk.tool_calls
        if self._open is None and not calls and not self._waiting:
            return self._writer.chunk(chunk)
        if calls:
            rest = replace(chunk, tool_calls=())
            if rest.has_content:
                self._waiting.append(rest)
            self._waiting += [ChatChunk(tool_calls=(delta,)) for delta in calls]
        elif chunk.has_content:
            self._waiting.append(chunk)
        return self._write(last=False)

    def end(self, completion: Completion) -> bytes:
        return self._write(last=True) + self._close() + self._writer.end(completion)

    def _close(self) -> bytes:
        """The call that is open is over; a client can read no arguments that are no JSON."""
        index, self._open = self._open, None
        if index is None or "".join(self._written[index]).strip():
            return b""
        return self._writer.chunk(ChatChunk(tool_calls=(ToolCallDelta(index, None, None, "{}"),)))

    def _write(self, *, last: bool) -> bytes:
        """What can be written by now; ``last``: all of it."""
        out = b""
        while self._waiting:
            if self._open is not None:
                out += self._pieces(self._open)
                if not self._waiting:
                    break
                if not last and not is_whole("".join(self._written[self._open])):
                    break
                out += self._close()
            head = self._waiting[0]
            if not head.tool_calls:
                out += self._writer.chunk(self._waiting.pop(0))
                continue
            index = head.tool_calls[0].index
            if index in self._written:  # over: nothing can be added to it
                self._waiting.pop(0)
                continue
            if not last and not any(delta.name for delta in self._of(index)):
                break
            self._open = index
        return out

    def _of(self, index: int) -> list[ToolCallDelta]:
        return [d for chunk in self._waiting for d in chunk.tool_calls if d.index == index]

    def _pieces(self, index: int) -> bytes:
        """What waits of one call, put together."""
        found = self._of(index)
        if not found:
            return b""
        self._waiting = [
            c for c in self._waiting if not c.tool_calls or c.tool_calls[0].index != index
        ]
        text = "".join(delta.arguments for delta in found)
        first = index not in self._written
        if first and text == "null":  # Meta's models, of a call without arguments
            text = ""
        self._written.setdefault(index, []).append(text)
        call_id = next((delta.id for delta in found if delta.id), None) if first else None
        name = next((delta.name for delta in found if delta.name), None) if first else None
        if not first and not text:
            return b""
        return self._writer.chunk(
            ChatChunk(tool_calls=(ToolCallDelta(index, call_id, name, text),))
        )


class Caller(Facts):
    """A protocol as its callers speak it. ``name`` is that of the provider protocol it equals."""

    #: What may be asked for.
    operations: ClassVar[tuple[Operation, ...]] = ()

    def parse(self, body: JsonObject) -> Parsed:
        """Raises BadRequest, saying which field is wrong."""
        raise NotImplementedError

    def whole(self, completion: Completion, about: Answered) -> bytes:
        raise NotImplementedError

    def writer(self, about: Answered) -> StreamWriter:
        raise NotImplementedError

    def error(self, error: OmniError, request_id: str) -> JsonObject:
        """The body of an error answer."""
        raise NotImplementedError

    def error_event(self, error: OmniError, request_id: str) -> bytes:
        """The event that ends a stream with an error."""
        return sse(self.error(error, request_id))

    def glance(self, body: bytes) -> ChatChunk | None:
        """What settlement needs of the usual plain answer, read at little cost; None of any other,
        which the client's parser reads."""
        del body
        return None

    # --- what only some operations need -------------------------------------------------------

    def options(self, body: JsonObject, given: Mapping[str, Any]) -> tuple[str, JsonObject]:
        """Who is asked, and how the request is to be routed.

        Args:
            given: what the path says.
        """
        raise NotImplementedError

    def nothing_asked(self, body: bytes) -> tuple[str, JsonObject] | None:
        """The model, and the answer, of a request that asks it nothing; None of any other."""
        del body
        return None

    def counted(self, body: JsonObject) -> ChatRequest:
        """The request whose tokens are to be counted. Raises BadRequest."""
        return self.parse(body).request

    def count(self, tokens: int) -> JsonObject:
        """The answer of an operation that counts."""
        raise NotImplementedError

    def models(self, listed: Sequence[JsonObject], others: Sequence[JsonObject]) -> JsonObject:
        """The list of models.

        Args:
            listed: models, in OpenAI's form with omni's own fields beside.
            others: names that are no model's, in OpenAI's form: roles, chains, automatic choice.
        """
        raise NotImplementedError

    def asked_model(self, body: JsonObject) -> str:
        """Whom an operation about one model asks for, where the path does not say."""
        return text_field(body, "model")

    def model(self, listed: JsonObject) -> JsonObject:
        """One model, as ``models`` takes it."""
        return listed

    def texts(self, body: JsonObject) -> Texts:
        """What is to be embedded. Raises BadRequest."""
        raise NotImplementedError

    def embeddings(self, texts: Texts, vectors: Vectors, about: Answered) -> bytes:
        raise NotImplementedError


#: HTTP status by error class, the first that fits.
_STATUS: tuple[tuple[type[OmniError], int], ...] = (
    (errors.QuotaExceeded, 429),
    (errors.RateLimited, 429),
    (errors.AuthError, 502),  # the fleet's key is wrong, not the caller's
    (errors.ModelNotFound, 404),
    (errors.ContextTooLong, 400),
    (errors.ContentFiltered, 400),
    (errors.BadRequest, 400),
    (errors.TimedOut, 504),
    (errors.Overloaded, 503),
    (errors.ProviderError, 502),
    (errors.UsageError, 400),
    (errors.NotFound, 404),
    (errors.BudgetExceeded, 402),
    (errors.UnknownPrice, 402),
    (errors.NoRoute, 503),
    (errors.Busy, 503),
    (errors.StoreError, 503),
    (errors.ConfigError, 502),
)
#: Official SDKs send these again unasked, unless they are told not to.
_POINTLESS = (
    errors.QuotaExceeded,
    errors.AuthError,
    errors.ConfigError,
    errors.NoRoute,
    errors.BudgetExceeded,
)
#: A longer wait official SDKs do not keep to: they come back at once, again and again.
_MOST_WAIT_S = 60.0


class Refused(OmniError):
    """The gateway itself refuses, with a status of its own.

    Args:
        status: HTTP status.
        kind: a stable word: "unauthorized", "forbidden", "rate_limited", "too_large"...
        retry_after_s: seconds to wait, or None.
    """

    code = "refused"

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        hint: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.kind = kind
        self.retry_after_s = retry_after_s


def status_of(error: OmniError) -> int:
    """The HTTP status that tells a caller what kind of failure this is."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, errors.AllProvidersFailed):
        causes = [cause for _, cause in error.causes]
        if causes and all(isinstance(cause, errors.RateLimited) for cause in causes):
            return 429
        return status_of(causes[-1]) if len(causes) == 1 else 503
    if isinstance(error, errors.StreamInterrupted):
        return status_of(error.cause)
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def code_of(error: OmniError) -> str:
    """A stable word for the error, for programs."""
    return error.kind if isinstance(error, Refused) else error.code


def retry_headers(error: OmniError) -> dict[str, str]:
    """Retry-After where waiting helps, and a word to the official SDKs where it does not."""
    wait: float | None = getattr(error, "retry_after_s", None)
    if isinstance(error, errors.AllProvidersFailed):
        # One that is out of credit comes back no sooner for the others' sake.
        waits = [
            getattr(cause, "retry_after_s", None)
            for _, cause in error.causes
            if not isinstance(cause, errors.QuotaExceeded) or len(error.causes) == 1
        ]
        wait = min((w for w in waits if w is not None), default=None)
    if isinstance(error, errors.Busy):
        wait = 1.0
    headers: dict[str, str] = {}
    if wait is not None:
        headers["retry-after"] = str(max(1, -(-int(wait * 1000) // 1000)))
    causes = [error]
    if isinstance(error, errors.AllProvidersFailed):
        causes = [cause for _, cause in error.causes]
    if (causes and all(isinstance(c, _POINTLESS) for c in causes)) or (wait or 0) > _MOST_WAIT_S:
        headers["x-should-retry"] = "false"
    return headers


def message_of(error: OmniError) -> str:
    """What happened and what to do, in one line."""
    return f"{error.message} ({error.hint})" if error.hint else error.message


def wrong(message: str) -> BadRequest:
    """The error for a request that does not follow its protocol."""
    return BadRequest(message, status=400)


def object_of(body: bytes) -> JsonObject:
    """Raises BadRequest when ``body`` is no JSON object."""
    try:
        value = _ANY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        message = f"the body must be a JSON object: {exc}"
    else:
        if isinstance(value, dict):
            return value
        message = "the body must be a JSON object"
    raise wrong(message)


def text_field(body: Mapping[str, Any], name: str, default: str | None = None) -> str:
    """A text field. Raises BadRequest when it is something else, or missing without default."""
    value = body.get(name, default)
    if not isinstance(value, str):
        raise wrong(f"{name!r} must be a string")
    return value


def optional_text(body: Mapping[str, Any], name: str) -> str:
    """A text field, "" where it is missing or null. Raises BadRequest."""
    return "" if body.get(name) is None else text_field(body, name)


def number_field(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(f"{name!r} must be a number")
    return value


def count_field(body: Mapping[str, Any], *names: str) -> int | None:
    """The first of these fields that is given: a whole number of 1 or more."""
    for name in names:
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise wrong(f"{name!r} must be a whole number of 1 or more")
        return value
    return None


def integer_field(body: Mapping[str, Any], name: str) -> int | None:
    value = body.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise wrong(f"{name!r} must be a whole number")
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    return bool(optional_flag(body, name))


def optional_flag(body: Mapping[str, Any], name: str) -> bool | None:
    """None where it is missing or null. Raises BadRequest."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(f"{name!r} must be true or false")
    return value


def objects(value: object, name: str) -> list[JsonObject]:
    """A list of JSON objects; none where it is missing."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise wrong(f"{name!r} must be a list of objects")
    return value


def object_field(value: object, name: str) -> JsonObject:
    if not isinstance(value, dict):
        raise wrong(f"{name!r} must be an object")
    return value


def texts(value: object, name: str) -> tuple[str, ...]:
    """One text or a list of texts."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise wrong(f"{name!r} must be a string or a list of strings")


def left_of(
    body: JsonObject, known: frozenset[str], harmless: Mapping[str, tuple[object, ...]]
) -> tuple[str, ...]:
    """Names of fields that other protocols cannot be told of and that are set to something."""
    return tuple(
        name
        for name, value in body.items()
        if name not in known and value is not None and value not in harmless.get(name, ())
    )


def inputs_of(body: JsonObject) -> list[str]:
    """Texts to be embedded. Raises BadRequest: there are none, or some are no texts."""
    sent = body.get("input")
    inputs = [sent] if isinstance(sent, str) else sent
    if not isinstance(inputs, list) or not inputs:
        raise wrong("'input' must be a text or a list of texts")
    if any(isinstance(item, int | list) and not isinstance(item, bool) for item in inputs):
        raise untranslatable("input of token ids")
    if not all(isinstance(item, str) for item in inputs):
        raise wrong("'input' must be a text or a list of texts")
    return inputs


def media_of(url: str, media_type: str = "", **more: Any) -> MediaPart:
    """An image or file by its URL; ``data:`` URLs become inline data. ``more``: of MediaPart."""
    head, comma, data = url.partition(",")
    if comma and head.startswith("data:"):
        return MediaPart(head[5:].partition(";")[0] or media_type, data=data, **more)
    return MediaPart(media_type, url=url, **more)


#: The least budget of thinking, in tokens, that counts as this effort.
_EFFORTS = ((16_384, "high"), (8_192, "medium"), (2_048, "low"))


def effort_of(budget: int) -> str:
    """The effort that a budget of thinking stands for."""
    if budget <= 0:
        return "none" if budget == 0 else "medium"
    return next((word for least, word in _EFFORTS if budget >= least), "minimal")


def strange_tools(tools: list[str], others: bool, unsaid: Unsaid) -> None:
    """Tools that a provider runs, or that only its protocol has. Among functions they are one
    means of several, which an agent offers always; alone they are what is asked for."""
    for kind in tools:
        unsaid.tools.append(kind)
        (unsaid.leave if others else unsaid.refuse)(f"the tool {kind!r}")


def detail_of(image: Mapping[str, Any]) -> str | None:
    """How closely an image is to be looked at; None where the model may choose."""
    detail = optional_text(image, "detail")
    return None if detail in ("", "auto") else detail


def marker(fields: Mapping[str, Any]) -> JsonObject | None:
    """A part's, tool's or message's marker of the cache."""
    value = fields.get("cache_control")
    return value if isinstance(value, dict) and value else None


def one_text_tool(name: str, description: str, form: object, **more: Any) -> Tool:
    """A tool that is called with text of any form, as a function of one text.

    ``form``: the grammar of the text, as OpenAI's custom tools have it.
    """
    about = description
    if isinstance(form, dict) and form.get("type") == "grammar":
        inner = form.get("grammar")
        grammar = inner if isinstance(inner, dict) else form
        definition, syntax = grammar.get("definition"), grammar.get("syntax")
        if isinstance(definition, str):
            about = f"{about}\n\nThe input follows this grammar ({syntax}):\n{definition}".strip()
    field = {"type": "string", "description": "The tool's whole input, as it is."}
    schema = {
        "type": "object",
        "properties": {ONE_TEXT: field},
        "required": [ONE_TEXT],
        "additionalProperties": False,
    }
    return Tool(name, about, schema, **more)


#: The one field of such a function.
ONE_TEXT = "input"


def one_text_of(arguments: str) -> str:
    """The text that a function of one text was called with; models do not always keep to it."""
    try:
        value = msgspec.json.decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return arguments
    if isinstance(value, dict):
        given = value.get(ONE_TEXT)
        if given is None and len(value) == 1:
            (given,) = value.values()
        return given if isinstance(given, str) else arguments
    return value if isinstance(value, str) else arguments


def sse(value: object, name: str = "") -> bytes:
    """One server-sent event of JSON."""
    data = encode(value)
    if name:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
    return b"data: %b\n\n" % data
