"""Images, speech and transcriptions: what a request of them bounds, and what was used.

Sources: OpenAI API reference, "Create image", "Create image edit", "Create speech", "Create
transcription" (fields, usage by tokens or by seconds); its guides "Image generation" (tokens by
size and quality; 100 for each partial image; the cost calculator of gpt-image-2) and "Speech to
text"; ISO/IEC 13818-3 and RFC 6716 (lowest bit rates of MP3 and Opus); Cohere, "Pricing", and
Amazon Bedrock, "Pricing and search units" (a search is a question with up to 100 parts of texts).
"""

import json
import re
from typing import Any

from omni_cli.domain.chat import Usage
from omni_cli.domain.record import replace
from omni_cli.ports import SentBody
from omni_cli.wire.bounding import Draft, Fields, choices, count, folded, names_like, size_of
from omni_cli.wire.multipart import Part
from omni_cli.wire.openai.usage import read_usage
from omni_cli.wire.values import JsonObject, as_count, as_list, as_object, as_text, load_object

IMAGES = ("images/generations", "images/edits", "images/variations")
SPOKEN = "audio/speech"
HEARD = ("audio/transcriptions", "audio/translations")
#: Those whose answer is more than what tells of it.
MADE = (*IMAGES, SPOKEN, *HEARD)

#: The most tokens of an image, the dearest size and quality, by the beginning of its model's name:
#: 1536x1024 at high quality; the largest square of 8,294,400 pixels at high quality.
_IMAGE_TOKENS = {"gpt-image-1": 6_240, "gpt-image-2": 23_719, "chatgpt-image": 23_719}
_PARTIAL_TOKENS = 100
_MOST_PARTIAL = 3
#: Bytes of a second of sound, at least: MP3 of MPEG-2 at 8 kbit/s, Opus at 6.
_LEAST_BYTES_S = {b"mp3": 1_000, b"ogg": 750, b"webm": 750, b"mp4": 750}
#: Some charge each file as so long at least (Groq, "Speech to text").
_LEAST_MS = 10_000
#: Parts of texts that one search ranks, and the shortest such part, in bytes.
_SEARCH, _CHUNK = 100, 256


def _partial(draft: Draft, name: str, value: Any) -> None:
    asked = count(value) if value is not None else 0
    if asked is None or asked > _MOST_PARTIAL:
        draft.refuse(name, f"not one of 0 to {_MOST_PARTIAL}")
    else:
        draft.beside += asked * _PARTIAL_TOKENS


_IMAGE_FIELDS = Fields(
    folded(
        "model prompt size quality style background moderation output_format output_compression",
        "response_format user input_fidelity stream image image[] mask seed negative_prompt steps",
        "num_inference_steps guidance_scale width height aspect_ratio",
    ),
    {"n": choices, "partialimages": _partial},
)
_SPEECH_FIELDS = Fields(
    folded("model input voice instructions response_format speed stream_format sample_rate lang")
    | folded("language_code"),
    {},
)
_INPUT, _FILE = folded("input"), folded("file")
_HEARD_FIELDS = Fields(
    folded(
        "model file language prompt response_format temperature stream include include[]",
        "timestamp_granularities timestamp_granularities[] known_speaker_names[] chunking_strategy",
        "hotwords diarize",
    ),
    {},
)


def bound(draft: Draft) -> None:
    """Read into ``draft`` what a request to make or to hear something bounds."""
    sent = draft.sent
    what = sent.operation
    if what in IMAGES:
        _IMAGE_FIELDS.read(draft, sent.names, sent.value)
        _images(draft)
    elif what == SPOKEN:
        _SPEECH_FIELDS.read(draft, sent.names, sent.value)
        draft.kinds += ("audio",)
        draft.units = (("characters", _characters(sent)),)
        draft.asks, draft.unlimited = f"'input' of /{what}", True
    else:
        _HEARD_FIELDS.read(draft, sent.names, sent.value)
        draft.reach("file")
        draft.asks, draft.unlimited = f"'file' of /{what}", True
        length = longest_ms(sent)
        if length is not None:
            draft.units = (("audio_ms", length),)


def _images(draft: Draft) -> None:
    sent = draft.sent
    number = 1
    for value in draft.counts.values():
        if value is not None:
            number = max(number, count(value) or 0)
    draft.kinds += ("image",)
    draft.asks = f"'prompt' of /{sent.operation}"
    draft.units = (("images", number),)
    if any(isinstance(sent.value(name), Part | list) for name in ("image", "image[]", "mask")):
        draft.reach("image")
    model = as_text(sent.value("model")).rpartition("/")[2]
    each = next((n for start, n in _IMAGE_TOKENS.items() if model.startswith(start)), None)
    if each is None:
        draft.unlimited = True
    else:
        draft.beside += each


def searches(sent: SentBody, names: list[str]) -> int:
    """How many searches a ranking is at most."""
    parts = 0
    for name in names:
        for document in as_list(sent.value(name)):
            parts += 1 + size_of(document) // _CHUNK
    return max(1, -(-parts // _SEARCH))


# --- what was used --------------------------------------------------------------------------------


def used(sent: SentBody, body: bytes) -> Usage | None:
    """Of an answer as it came, whole or the end of its stream; None: it tells nothing, and nothing
    of the request does."""
    what = sent.operation
    answer = _answer(body)
    told = as_object(answer.get("usage"))
    if what in HEARD:
        return _heard(sent, answer, told)
    usage = read_usage(told) if told else None
    if what in IMAGES:
        units = (("images", len(as_list(answer.get("data"))) or 1),)
        if usage is None:
            return Usage(units=units)
        into = as_object(told.get("input_tokens_details"))
        return replace(
            usage,
            units=units,
            input_image_tokens=min(as_count(into.get("image_tokens")), usage.input_tokens),
            output_image_tokens=usage.output_tokens,
        )
    if what == SPOKEN:
        units = (("characters", _characters(sent)),)
        if usage is None:
            return Usage(units=units)
        return replace(usage, units=units, output_audio_tokens=usage.output_tokens)
    if what == "rerank":
        billed = as_object(as_object(answer.get("meta")).get("billed_units"))
        if number := as_count(billed.get("search_units")):
            return Usage(units=(("searches", number),))
    if usage is None:  # Jina and Voyage count a ranking's tokens in one sum
        total = as_count(told.get("total_tokens"))
        return Usage(input_tokens=total) if total else None
    return usage


def _answer(body: bytes) -> JsonObject:
    if body[:1] == b"{":
        return load_object(body.decode("utf-8", "replace"))
    at = body.rfind(b'"usage"')  # of the last events of a stream
    found = _OBJECT.match(body[at:]) if at >= 0 else None
    if found is None:
        return {}
    try:
        value, _ = _DECODER.raw_decode(body[at + found.end() - 1 :].decode("utf-8", "replace"))
    except ValueError:
        return {}
    return {"usage": value}


_OBJECT = re.compile(rb'"usage"\s*:\s*\{')
_DECODER = json.JSONDecoder()


def _heard(sent: SentBody, answer: JsonObject, told: JsonObject) -> Usage | None:
    seconds = told.get("seconds")
    if seconds is None:
        seconds = told.get("prompt_audio_seconds")  # Mistral, beside tokens
    if seconds is None:
        seconds = answer.get("duration")  # verbose_json
    known = _milliseconds(seconds)
    units = () if known is None else (("audio_ms", known),)
    usage = read_usage(told) if told else None
    if usage is not None:
        into = as_object(told.get("input_token_details"))
        heard = min(as_count(into.get("audio_tokens")), usage.input_tokens)
        return replace(usage, units=units, input_audio_tokens=heard)
    if units:
        return Usage(units=units)
    longest = longest_ms(sent)
    return None if longest is None else Usage(units=(("audio_ms", longest),), estimated=True)


def _milliseconds(value: object) -> int | None:
    try:
        seconds = float(value) if isinstance(value, int | float | str) else -1.0
    except ValueError:
        return None
    return round(seconds * 1000) if 0 <= seconds < 10**7 else None


def _characters(sent: SentBody) -> int:
    texts = [sent.value(name) for name in names_like(sent.names, _INPUT)]
    return sum(len(text) if isinstance(text, str) else size_of(text) for text in texts)


# --- how long a sound can be ----------------------------------------------------------------------


def longest_ms(sent: SentBody) -> int | None:
    """The longest that the file of a request can be: WAV's by its own rate, others by the lowest
    bit rate of their coding. None: nothing bounds it."""
    files = names_like(sent.names, _FILE)
    part = sent.value(files[0]) if len(files) == 1 else None
    if not isinstance(part, Part):
        return None
    data = part.data
    rate = _bytes_a_second(data)
    return None if rate is None else max(_LEAST_MS, -(-len(data) * 1000 // rate))


#: WAV's forms without compression: whole numbers, floating ones, and either with more channels.
_PLAIN_WAV = (1, 3, 0xFFFE)


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _bytes_a_second(data: bytes) -> int | None:
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        at = data.find(b"fmt ", 12, 4096)
        if at < 0 or len(data) < at + 24 or _number(data, at + 8, 2) not in _PLAIN_WAV:
            return None
        told, worked_out = _number(data, at + 16, 4), _number(data, at + 12, 4)
        return min(told, worked_out * _number(data, at + 20, 2)) or None
    if data[:3] == b"ID3" or (data[:1] == b"\xff" and len(data) > 1 and data[1] & 0xE6 == 0xE2):
        return _LEAST_BYTES_S[b"mp3"]
    if data[:4] == b"OggS":
        return _LEAST_BYTES_S[b"ogg"]
    if data[:4] == b"\x1a\x45\xdf\xa3":
        return _LEAST_BYTES_S[b"webm"]
    if data[4:8] == b"ftyp":
        return _LEAST_BYTES_S[b"mp4"]
    return None
