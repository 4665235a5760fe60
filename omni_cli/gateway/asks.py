"""A caller's request as it came: its fields unread, parsed only when something hangs on it."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.errors import OmniError
from omni_cli.gateway.embeddings import Texts, parse_texts
from omni_cli.gateway.protocols.base import Caller, JsonObject, Parsed, wrong
from omni_cli.providers.quirks import quirks_of
from omni_cli.services.attempts import Target
from omni_cli.services.bounds import DEFAULT_MAX_OUTPUT, input_bound
from omni_cli.services.routing import input_estimate

_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY = msgspec.json.Decoder()
_encode = msgspec.json.Encoder().encode
#: Of a number that was not looked for yet; none is negative.
_UNREAD = -1
_TRUTHS = (b"true", b"false", b"null")
#: How each protocol marks input that is not text. Without it, no input has more tokens than
#: bytes.
_MEDIA: Mapping[str, tuple[bytes, ...]] = {
    "openai": (b'"image_url"', b'"input_audio"', b'"file"'),
    "openai-responses": (b'"input_image"', b'"input_file"'),
    "anthropic": (b'"image"', b'"document"'),
    "ollama": (b'"images"',),
    "ollama-generate": (b'"images"',),
    "gemini": (b'"inlineData"', b'"inline_data"', b'"fileData"', b'"file_data"'),
    "omni": (b'"image_url"', b'"input_audio"', b'"file"'),
}
#: Protocols whose media stand in a message's list of parts. A byte is counted ten times faster
#: than a word is found.
_PARTS_IN_LISTS = frozenset({"openai", "openai-responses", "anthropic", "omni"})
#: Bytes of JSON that a token stands for in an estimate.
_BYTES_PER_TOKEN = 4
#: The field that bounds the answer, where it is one of the body's own.
_LIMITS = {
    "openai": ("max_completion_tokens", "max_tokens"),
    "anthropic": ("max_tokens",),
    "openai-responses": ("max_output_tokens",),
}
#: The object that holds it, and its name there.
_NESTED_LIMITS = {
    "gemini": ("generationConfig", "maxOutputTokens"),
    "ollama": ("options", "num_predict"),
    "ollama-generate": ("options", "num_predict"),
}


class Ask:
    """One request of a caller.

    Args:
        body: its bytes, a JSON object.
        model: who is asked, where the protocol's path says it; else the body does.
        stream: likewise.
        forwarded: headers that go on to a provider of the same protocol.
        operation: "chat" or "embeddings".

    Raises:
        BadRequest: the body is no JSON object, or names no model.
    """

    __slots__ = (
        "_choices",
        "_limit",
        "_parsed",
        "_texts",
        "body",
        "caller",
        "embeds",
        "fields",
        "forwarded",
        "model",
        "operation",
        "stream",
    )

    def __init__(
        self,
        caller: Caller,
        body: bytes,
        *,
        model: str | None = None,
        stream: bool | None = None,
        forwarded: Mapping[str, str] | None = None,
        operation: str = "chat",
    ) -> None:
        self.caller = caller
        self.operation = operation
        self.embeds = operation == "embeddings"
        self.body = body
        self.fields = fields_of(body)
        self.forwarded = forwarded or {}
        self._parsed: Parsed | None = None
        self._limit: int | None = _UNREAD
        self._choices = _UNREAD
        self._texts: Texts | None = None
        self.model = self._text("model") if model is None else model
        if stream is None:
            stated = bytes(self.fields.get("stream", b"null"))
            if stated not in _TRUTHS:
                raise wrong("'stream' must be true or false")
            stream = caller.streams_unasked if stated == b"null" else stated == b"true"
        self.stream = stream

    def parsed(self) -> Parsed:
        """In omni's words. Raises BadRequest."""
        if self._parsed is None:
            self._parsed = self.caller.parse(decode_object(self.body))
        return self._parsed

    def texts(self, protocol: str) -> Texts:
        """What is to be embedded by a model of that protocol. Raises BadRequest."""
        if self._texts is None:
            self._texts = parse_texts(self.caller.name, decode_object(self.body), protocol)
        return self._texts

    @property
    def request(self) -> ChatRequest:
        return self.parsed().request

    def number(self, name: str) -> int | None:
        """A whole number among the fields; None where it is missing or something else."""
        raw = self.fields.get(name)
        if raw is None:
            return None
        value = _ANY.decode(raw)
        return value if type(value) is int else None

    def value(self, name: str) -> Any:
        """A field's value, None where it is missing."""
        raw = self.fields.get(name)
        return None if raw is None else _ANY.decode(raw)

    def estimate(self) -> int:
        """Tokens of the input, for what a lost call is charged."""
        if self._parsed is not None:
            return input_estimate(self._parsed.request)
        return len(self.body) // _BYTES_PER_TOKEN

    def sent_tokens(self) -> int:
        """Tokens of the input by the estimator, for an answer without counts."""
        try:
            return input_estimate(self.request)
        except OmniError:
            return self.estimate()  # of a body that only its own protocol's provider can read

    def most_in(self, target: Target) -> int:
        """The most tokens that the input can be counted as."""
        if not self.embeds and self._has_media():
            return input_bound(self.request, target.model, target.provider.protocol)
        return len(self.body)

    def most_out(self, target: Target) -> int:
        """The most tokens that the answer can have, all its choices together."""
        if self.embeds:  # with vectors
            return 0
        return self.choices() * (self.limit() or target.model.max_output or DEFAULT_MAX_OUTPUT)

    def choices(self) -> int:
        """How many answers are wanted at once: each may be as long as the bound allows."""
        if self._choices == _UNREAD:
            self._choices = self._stated_choices()
        return self._choices

    def _stated_choices(self) -> int:
        stated: object = None
        if self.caller.name == "openai":
            stated = self.number("n")
        elif self.caller.name == "gemini":
            nested = self.value("generationConfig")
            if isinstance(nested, dict):
                stated = nested.get("candidateCount", nested.get("candidate_count"))
        return stated if isinstance(stated, int) and stated > 1 else 1

    def limit(self) -> int | None:
        """The answer's bound as the caller stated it."""
        if self._limit == _UNREAD:
            self._limit = self._stated_limit()
        return self._limit

    def _stated_limit(self) -> int | None:
        for name in _LIMITS.get(self.caller.name, ()):
            # What servers take for "no limit" (-1) is none.
            if (stated := self.number(name)) is not None:
                return stated if stated > 0 else None
        if self.caller.name in _NESTED_LIMITS:
            outer, inner = _NESTED_LIMITS[self.caller.name]
            nested = self.value(outer)
            value = nested.get(inner) if isinstance(nested, dict) else None
            return value if isinstance(value, int) and value > 0 else None
        return None

    def passed(self, target: Target, bound: int | None) -> tuple[bytes, bool]:
        """The body for a provider of the same protocol, and whether usage was asked for unasked.

        Only the model's name changes, the answer's bound where a budget sets one, and the wish
        for usage in a stream; every other field is sent on byte for byte.
        """
        fields = dict(self.fields)
        if self.caller.name != "gemini":
            fields["model"] = _raw_text(target.model.wire_name)
        if bound is not None and not self.embeds:
            each = bound // self.choices()
            if each != self.limit():
                self._bind(fields, target, each)
        added = False
        if self.stream and self.caller.name == "openai":
            added = self._wish_usage(fields, target)
        return _encode(fields), added

    def _bind(self, fields: dict[str, msgspec.Raw], target: Target, bound: int) -> None:
        name = self.caller.name
        if name in _NESTED_LIMITS:
            outer, inner = _NESTED_LIMITS[name]
            nested = self.value(outer)
            fields[outer] = _raw({**(nested if isinstance(nested, dict) else {}), inner: bound})
            return
        usual = quirks_of(target.provider.base_url).max_tokens if name == "openai" else ""
        given = [known for known in _LIMITS[name] if known in fields]
        fields[next(iter(given), usual or _LIMITS[name][0])] = _raw(bound)

    def _wish_usage(self, fields: dict[str, msgspec.Raw], target: Target) -> bool:
        if not quirks_of(target.provider.base_url).stream_options:
            fields.pop("stream_options", None)
            return False
        stated = fields.get("stream_options")
        options = {} if stated is None else _ANY.decode(stated)
        options = options if isinstance(options, dict) else {}
        if options.get("include_usage") is True:
            return False
        fields["stream_options"] = _raw({**options, "include_usage": True})
        return True

    def _has_media(self) -> bool:
        body = self.body
        if body.count(b"[") <= 1 and self.caller.name in _PARTS_IN_LISTS:
            return False  # only the list of messages: their contents are plain texts
        # A mark may be written in another way (\\u escapes): those bodies are read whole.
        return b"\\u" in body or any(mark in body for mark in _MEDIA[self.caller.name])

    def _text(self, name: str) -> str:
        raw = self.fields.get(name)
        value = None if raw is None else _ANY.decode(raw)
        if not isinstance(value, str) or not value:
            raise wrong(f"{name!r} must name a model")
        return value


def fields_of(body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a JSON object, their values unread. Raises BadRequest."""
    try:
        if not body.isascii():
            body.decode()  # values that are left unread are not looked at by the parser
        return _FIELDS.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        message = f"the body must be a JSON object: {exc}"
    raise wrong(message)


def decode_object(body: bytes) -> JsonObject:
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


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


@lru_cache(maxsize=1024)
def _raw_text(text: str) -> msgspec.Raw:
    return _raw(text)
