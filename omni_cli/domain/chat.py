"""What is asked and what comes back, in one vocabulary for all wire protocols."""

import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from msgspec import Struct, field

from omni_cli.domain.errors import UsageError
from omni_cli.domain.tokens import estimate_tokens

MessageRole = Literal["system", "user", "assistant", "tool"]

#: Why a model stopped, normalised. ``raw_finish_reason`` keeps the provider's own word.
FinishReason = Literal[
    "stop", "length", "tool_calls", "content_filter", "refusal", "pause", "error"
]


class TextPart(Struct, frozen=True):
    """``cache``: a marker of Anthropic's kind: what stands up to here is asked to be cached."""

    text: str
    cache: Mapping[str, Any] | None = None


_MAJORS: tuple[Literal["image", "audio", "video"], ...] = ("image", "audio", "video")


class MediaPart(Struct, frozen=True):
    """An image, audio clip or document: inline ``data`` (base64 text) or a ``url``, not both.

    ``media_type`` is a MIME type; for a URL it may be empty (unknown). ``detail``: how closely an
    image is to be looked at, in OpenAI's words. ``cache``: see TextPart.
    """

    media_type: str
    data: str | None = None
    url: str | None = None
    name: str | None = None
    detail: str | None = None
    cache: Mapping[str, Any] | None = None

    @property
    def kind(self) -> Literal["image", "audio", "video", "document"]:
        major = self.media_type.split("/", 1)[0]
        for kind in _MAJORS:
            if kind == major:
                return kind
        return "image" if not self.media_type and self.url else "document"


Part = TextPart | MediaPart


class ToolCall(Struct, frozen=True):
    """``arguments`` is JSON text exactly as the model wrote it; it may not parse."""

    id: str
    name: str
    arguments: str


class Tool(Struct, frozen=True):
    """A function the model may call. ``parameters`` is a JSON Schema object. ``cache``: see
    TextPart."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool | None = None
    cache: Mapping[str, Any] | None = None


class Message(Struct, frozen=True):
    """One turn. ``tool_call_id`` is set on ``tool`` messages: the call that this answers, and
    ``is_error`` where that failed.

    ``reasoning`` holds opaque reasoning blocks (with signatures) that their provider wants
    back unchanged in the next turn; other providers' adapters leave them out.
    """

    role: MessageRole
    parts: tuple[Part, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None
    reasoning: tuple[Mapping[str, Any], ...] = ()
    is_error: bool = False

    @classmethod
    def text_of(cls, role: MessageRole, text: str) -> "Message":
        return cls(role, (TextPart(text),))

    @property
    def text(self) -> str:
        """Its parts of text, kept apart where a reader would run two of them together."""
        texts = [part.text for part in self.parts if isinstance(part, TextPart) and part.text]
        if len(texts) < 2:
            return texts[0] if texts else ""
        joined = texts[0]
        for text in texts[1:]:
            # A model's own words are cut where a citation begins, in the middle of a sentence.
            open_end = self.role == "assistant" and joined[-1] not in _SENTENCE_ENDS
            glued = joined[-1].isspace() or text[0].isspace() or open_end
            joined += text if glued else f"\n\n{text}"
        return joined


#: A model's text that ends so is not cut in the middle of a sentence.
_SENTENCE_ENDS = '.!?:;)]}"\u2019\u201d\u3002\uff01\uff1f`*'


class ChatRequest(Struct, frozen=True):
    """One logical call, before a model is chosen.

    ``json_schema`` implies JSON mode. ``extra`` are provider-specific fields, merged into the
    body unchanged. ``max_output_tokens`` None means the model's own default. ``wishes``: what only
    some protocols can be told, by the names of ``wire/features.py``. ``told``: what was left out
    or changed so far, for whoever asks why an answer is not as wished. ``most_output_tokens``: the
    model's own maximum, None where it is unknown. ``suffix``: the one message is a text to be gone
    on with, up to this one; "" where nothing is to follow, None for a chat. ``vendor_tools``: what
    its provider would run itself, in its protocol's words, such as a search of the web.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: str | None = None  # "auto" | "none" | "required" | a tool's name
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    json_mode: bool = False
    json_schema: Mapping[str, Any] | None = None
    reasoning_effort: str | None = None  # "minimal" | "low" | "medium" | "high"
    stream: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    wishes: Mapping[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    most_output_tokens: int | None = None
    suffix: str | None = None
    vendor_tools: tuple[str, ...] = ()

    @property
    def has_images(self) -> bool:
        return any(
            isinstance(part, MediaPart) and part.kind == "image"
            for message in self.messages
            for part in message.parts
        )

    @property
    def last_user_text(self) -> str:
        for message in reversed(self.messages):
            if message.role == "user":
                return message.text
        return ""

    @property
    def system_text(self) -> str:
        return "\n\n".join(m.text for m in self.messages if m.role == "system")


class Usage(Struct, frozen=True, gc=False):
    """Token counts in omni's convention, whatever the provider's own is.

    ``input_tokens`` includes cached, cache-write, image and audio input; ``output_tokens``
    includes reasoning. ``cache_write_tokens`` is both lifetimes together,
    ``cache_write_1h_tokens`` the part with the 1 h lifetime. ``reported_cost_nusd`` is what the
    provider says it charged (nano-dollars), None when it says nothing. ``estimated`` marks
    counts that omni worked out because the provider sent none, and counts that are not all that
    is charged: another service tier's rates, searches charged by the call. ``beside``: what other
    models, by their vendor's names, used for this answer, charged at their own prices. ``units``:
    what is charged that are no tokens, by ``domain/prices.py:UNITS``.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_image_tokens: int = 0
    input_audio_tokens: int = 0
    cached_audio_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    output_image_tokens: int = 0
    output_audio_tokens: int = 0
    reported_cost_nusd: int | None = None
    estimated: bool = False
    beside: "tuple[tuple[str, Usage], ...]" = ()
    units: tuple[tuple[str, int], ...] = ()

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def all_bits(self) -> int:
        """All counts or-ed together: below zero where one is, and below a power of two where all
        are. At a tenth of what it takes to look at each."""
        u = self
        bits = u.input_tokens | u.cached_tokens | u.cache_write_tokens | u.cache_write_1h_tokens
        bits |= u.input_image_tokens | u.input_audio_tokens | u.cached_audio_tokens
        bits |= u.output_tokens | u.reasoning_tokens
        return bits | u.output_image_tokens | u.output_audio_tokens

    def uncached(self) -> "Usage":
        """As where no cache had anything of it."""
        kept = (name for name in self.__struct_fields__ if name not in CACHE_FIELDS)
        return Usage(**{name: getattr(self, name) for name in kept})


#: Its counts: every list of kinds of tokens is made of these.
TOKEN_FIELDS = tuple(name for name in Usage.__struct_fields__ if name.endswith("_tokens"))
#: Those of text, and those of what a provider's cache held or took in.
TEXT_FIELDS = tuple(n for n in TOKEN_FIELDS if "image" not in n and "audio" not in n)
CACHE_FIELDS = tuple(n for n in TOKEN_FIELDS if n.startswith("cache"))


def tokens_document(usage: Usage) -> dict[str, int]:
    """The counts that answers and receipts show, under the stable keys."""
    return {name: getattr(usage, name) for name in _SHOWN}


_SHOWN = (
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "output_tokens",
)


class ToolCallDelta(Struct, frozen=True):
    """Part of a tool call. ``index`` tells calls apart; ``arguments`` are appended."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class ChatChunk(Struct, frozen=True):
    """One step of an answer; every field is optional. ``usage`` replaces what came before.
    ``logprobs``: of its tokens, each with ``token``, ``logprob`` and perhaps ``top_logprobs``."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCallDelta, ...] = ()
    images: tuple[MediaPart, ...] = ()
    reasoning_blocks: tuple[Mapping[str, Any], ...] = ()
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    model: str | None = None
    response_id: str | None = None
    logprobs: tuple[Mapping[str, Any], ...] = ()

    @property
    def has_content(self) -> bool:
        """True once something was received that cannot be taken back from the reader."""
        return bool(self.text or self.reasoning or self.tool_calls or self.images)


class Completion(Struct, frozen=True):
    """A whole answer, folded from its chunks."""

    text: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    images: tuple[MediaPart, ...] = ()
    reasoning_blocks: tuple[Mapping[str, Any], ...] = ()
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    model: str | None = None
    response_id: str | None = None
    logprobs: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def from_chunks(cls, chunks: Iterable[ChatChunk]) -> "Completion":
        folder = CompletionFolder()
        for chunk in chunks:
            folder.add(chunk)
        return folder.completion()

    def as_message(self) -> Message:
        parts: tuple[Part, ...] = (TextPart(self.text),) if self.text else ()
        return Message(
            "assistant",
            parts + self.images,
            tool_calls=self.tool_calls,
            reasoning=self.reasoning_blocks,
        )


#: Tokens of output that a chat template may add to an answer, and to each call of a tool.
FRAME_TOKENS = 64


class CompletionFolder:
    """Folds chunks as they arrive; ``completion()`` may be asked at any time."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._images: list[MediaPart] = []
        self._blocks: list[Mapping[str, Any]] = []
        self._logprobs: list[Mapping[str, Any]] = []
        self.usage: Usage | None = None
        self.finish_reason: FinishReason | None = None
        self.raw_finish_reason: str | None = None
        self.model: str | None = None
        self.response_id: str | None = None

    def add(self, chunk: ChatChunk) -> None:
        if chunk.text:
            self._text.append(chunk.text)
        if chunk.reasoning:
            self._reasoning.append(chunk.reasoning)
        for delta in chunk.tool_calls:
            call = self._calls.setdefault(delta.index, ["", "", ""])
            if delta.id:
                call[0] = delta.id
            if delta.name:
                call[1] = delta.name
            call[2] += delta.arguments
        self._images.extend(chunk.images)
        self._blocks.extend(chunk.reasoning_blocks)
        self._logprobs.extend(chunk.logprobs)
        if chunk.usage is not None and (self.usage is None or chunk.usage.all_bits):
            self.usage = chunk.usage  # a last chunk of zeros takes no count back
        self.finish_reason = chunk.finish_reason or self.finish_reason
        self.raw_finish_reason = chunk.raw_finish_reason or self.raw_finish_reason
        self.model = chunk.model or self.model
        self.response_id = chunk.response_id or self.response_id

    @property
    def received_chars(self) -> int:
        """Characters of text, reasoning and tool arguments received so far."""
        return self.folded_chars()

    def folded_chars(self) -> int:
        """Those among them that were folded here."""
        found = sum(map(len, self._text))
        if self._reasoning:
            found += sum(map(len, self._reasoning))
        if self._calls:
            found += sum(len(call[1]) + len(call[2]) for call in self._calls.values())
        return found

    def estimated_tokens(self) -> int:
        """About how many tokens what was received is, by the estimator."""
        calls = [part for call in self._calls.values() for part in call[1:]]
        return estimate_tokens("".join([*self._text, *self._reasoning, *calls]))

    def most_tokens(self) -> int | None:
        """No tokenizer makes more tokens of what was received: one for each byte, and what frames
        an answer and its calls. None where nothing bounds them: pictures, or nothing came."""
        if self._images or not self.received_chars:
            return None
        calls = [part for call in self._calls.values() for part in call[1:]]
        size = len("".join([*self._text, *self._reasoning, *calls]).encode("utf-8", "replace"))
        return size + FRAME_TOKENS * (1 + len(self._calls))

    def completion(self, usage: Usage | None = None) -> Completion:
        """What has been received; ``usage`` in place of what the provider sent."""
        return Completion(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(ToolCall(*self._calls[i]) for i in sorted(self._calls)),
            images=tuple(self._images),
            reasoning_blocks=tuple(self._blocks),
            usage=usage or self.usage,
            finish_reason=self.finish_reason,
            raw_finish_reason=self.raw_finish_reason,
            model=self.model,
            response_id=self.response_id,
            logprobs=tuple(self._logprobs),
        )


def conversation(
    system: str | None, turns: Sequence[tuple[MessageRole, str]]
) -> tuple[Message, ...]:
    """Messages from plain texts; a system text, when given, comes first."""
    head = (Message.text_of("system", system),) if system else ()
    return head + tuple(Message.text_of(role, text) for role, text in turns)


_SAID = ("tool_call_id", "name", "is_error")


def message_document(message: Message) -> dict[str, Any]:
    """A turn as JSON values, from which ``message_from`` makes it again."""
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        fields = {name: getattr(part, name) for name in part.__struct_fields__}
        parts.append({name: value for name, value in fields.items() if value is not None})
    body: dict[str, Any] = {"role": message.role, "parts": parts}
    if message.tool_calls:
        body["tool_calls"] = [[call.id, call.name, call.arguments] for call in message.tool_calls]
    if message.reasoning:
        body["reasoning"] = [dict(block) for block in message.reasoning]
    said = {name: getattr(message, name) for name in _SAID}
    return body | {name: value for name, value in said.items() if value}


def message_from(body: Mapping[str, Any]) -> Message:
    """The turn that ``message_document`` wrote."""
    return Message(
        role=body["role"],
        parts=tuple(
            TextPart(**part) if "text" in part else MediaPart(**part) for part in body["parts"]
        ),
        tool_calls=tuple(ToolCall(*call) for call in body.get("tool_calls", ())),
        reasoning=tuple(body.get("reasoning", ())),
        **{name: body[name] for name in _SAID if name in body},
    )


#: What a file is by its content: names lie, and a provider bills what it is sent. First bytes of
#: files (their formats' specifications).
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_BRANDS = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"avif": "image/avif",
    b"M4A ": "audio/mp4",
}


def media_type(data: bytes) -> str:
    """What a file is by its first bytes, whatever it is called; "" where they do not tell."""
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
    return next((kind for head, kind in _HEADS if data.startswith(head)), "")


def image_part(data: bytes, name: str, where: str) -> MediaPart:
    """An image to send, as what it really is.

    Args:
        where: how the error names the file.

    Raises UsageError where it is none.
    """
    kind = media_type(data)
    if not kind.startswith("image/"):
        holds = f"it holds {kind}" if kind else "its content is none that omni knows"
        raise UsageError(
            f"{where} is no image: {holds}", hint="PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC are taken"
        )
    return MediaPart(kind, binascii.b2a_base64(data, newline=False).decode(), name=name)
