"""Texts to vectors, in the words of the protocols that have them.

Sources: OpenAI's API reference, "Create embeddings"; ollama/ollama docs/api.md, "Generate
Embeddings".
"""

import base64
import struct
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import Malformed
from omni_cli.wire.openai.usage import read_usage
from omni_cli.wire.server import (
    Answered,
    JsonObject,
    count_field,
    encode,
    left_of,
    optional_flag,
    text_field,
    untranslatable,
    wrong,
)

#: Protocols that know embeddings.
PROTOCOLS = ("openai", "ollama")
_KNOWN = {
    "openai": frozenset({"model", "input", "dimensions", "encoding_format", "user"}),
    "ollama": frozenset({"model", "input", "dimensions", "truncate", "keep_alive"}),
}
#: What these say when they are empty is nothing.
_HARMLESS: dict[str, tuple[object, ...]] = {"options": ({},)}


class _Counts(msgspec.Struct):
    usage: Any = None
    prompt_eval_count: int | None = None


class _Ollama(msgspec.Struct):
    embeddings: list[list[float]]


class _Item(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _OpenAI(msgspec.Struct):
    data: list[_Item]


_COUNTS = msgspec.json.Decoder(_Counts)
_OLLAMA = msgspec.json.Decoder(_Ollama)
_OPENAI = msgspec.json.Decoder(_OpenAI)
_T = TypeVar("_T")


class Texts(Struct, frozen=True):
    """What is to be embedded. ``packed``: the vectors are wanted as base64 of their floats."""

    inputs: list[str]
    dimensions: int | None = None
    packed: bool = False


def parse_texts(protocol: str, body: JsonObject, target: str) -> Texts:
    """A request in omni's words, for a model of protocol ``target``.

    Raises BadRequest: a field is wrong, or the other protocol cannot be told of it.
    """
    if target not in PROTOCOLS:
        raise untranslatable("embeddings", target)
    left = left_of(body, _KNOWN[protocol], _HARMLESS)
    if left:
        raise untranslatable(", ".join(left), target)
    sent = body.get("input")
    inputs = [sent] if isinstance(sent, str) else sent
    if not isinstance(inputs, list) or not inputs:
        raise wrong("'input' must be a text or a list of texts")
    if any(isinstance(item, int | list) and not isinstance(item, bool) for item in inputs):
        raise untranslatable("input of token ids", target)
    if not all(isinstance(item, str) for item in inputs):
        raise wrong("'input' must be a text or a list of texts")
    if protocol == "ollama":
        optional_flag(body, "truncate")
        return Texts(inputs, count_field(body, "dimensions"))
    form = text_field(body, "encoding_format", "float")
    if form not in ("float", "base64"):
        raise wrong(f"'encoding_format' is float or base64, not {form!r}")
    return Texts(inputs, count_field(body, "dimensions"), packed=form == "base64")


def written(texts: Texts, wire_name: str) -> bytes:
    """The body for a provider: both protocols agree on what they have in common."""
    body: JsonObject = {"model": wire_name, "input": texts.inputs}
    if texts.dimensions is not None:
        body["dimensions"] = texts.dimensions
    return encode(body)


def usage(protocol: str, answer: bytes) -> Usage | None:
    """The tokens that a provider counted, None where it says nothing. Raises Malformed."""
    counts = _decoded(_COUNTS, answer)
    if protocol == "openai":
        return read_usage(counts.usage)
    tokens = counts.prompt_eval_count
    return None if tokens is None else Usage(input_tokens=tokens)


def vectors(protocol: str, answer: bytes) -> list[list[float]]:
    """The vectors of a provider's answer, in the order of the texts. Raises Malformed."""
    if protocol == "ollama":
        return _decoded(_OLLAMA, answer).embeddings
    return [item.embedding for item in sorted(_decoded(_OPENAI, answer).data, key=_index)]


def answered(
    protocol: str, texts: Texts, found: list[list[float]], used: Usage, about: Answered
) -> bytes:
    """The answer in the caller's protocol."""
    tokens = used.input_tokens
    if protocol == "ollama":
        document: JsonObject = {"model": about.model, "embeddings": found}
        document["total_duration"] = (about.latency_ms or 0) * 1_000_000
        document["prompt_eval_count"] = tokens
        return encode(document)
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _packed(vector) if texts.packed else vector,
        }
        for index, vector in enumerate(found)
    ]
    counts = {"prompt_tokens": tokens, "total_tokens": tokens}
    return encode({"object": "list", "data": data, "model": about.model, "usage": counts})


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


def _index(item: _Item) -> int:
    return item.index


def _decoded(decoder: "msgspec.json.Decoder[_T]", answer: bytes) -> _T:
    try:
        return decoder.decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        message = f"the answer holds no list of vectors: {exc}"
    raise Malformed(message)
