"""Lists of vectors in providers' answers: long ones, read without an object for each number.

Sources: OpenAI's API reference, "Create embeddings"; Google's, "Embeddings"; ollama/ollama
docs/api.md, "Generate Embeddings".
"""

from typing import Any, TypeVar

import msgspec

from omni_cli.domain.errors import Malformed

_T = TypeVar("_T")


class _Item(msgspec.Struct):
    embedding: list[float]
    index: int = 0


class _Indexed(msgspec.Struct):
    data: list[_Item]
    usage: Any = None


class _Listed(msgspec.Struct):
    embeddings: list[list[float]]
    prompt_eval_count: int | None = None


class _Values(msgspec.Struct):
    values: list[float]


class _Valued(msgspec.Struct, rename="camel"):
    embeddings: list[_Values]
    usage_metadata: Any = None


class _Counts(msgspec.Struct):
    usage: Any = None
    prompt_eval_count: int | None = None


_COUNTS = msgspec.json.Decoder(_Counts)
_INDEXED = msgspec.json.Decoder(_Indexed)
_VALUED = msgspec.json.Decoder(_Valued)
_LISTED = msgspec.json.Decoder(_Listed)


def counts(answer: bytes) -> tuple[Any, int | None]:
    """OpenAI's usage and Ollama's count, each as it stands, without a look at the vectors. Raises
    Malformed."""
    found = _decoded(_COUNTS, answer)
    return found.usage, found.prompt_eval_count


def indexed(answer: bytes) -> tuple[list[list[float]], Any]:
    """OpenAI's form, and its usage as it stands. Raises Malformed."""
    found = _decoded(_INDEXED, answer)
    items = sorted(found.data, key=lambda item: item.index)
    return [item.embedding for item in items], found.usage


def valued(answer: bytes) -> tuple[list[list[float]], Any]:
    """Google's form, and its usage as it stands. Raises Malformed."""
    found = _decoded(_VALUED, answer)
    return [item.values for item in found.embeddings], found.usage_metadata


def listed(answer: bytes) -> tuple[list[list[float]], int | None]:
    """Ollama's form, and its count of tokens. Raises Malformed."""
    found = _decoded(_LISTED, answer)
    return found.embeddings, found.prompt_eval_count


def _decoded(decoder: "msgspec.json.Decoder[_T]", answer: bytes) -> _T:
    try:
        return decoder.decode(answer)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        message = f"the answer holds no list of vectors: {exc}"
    raise Malformed(message)
