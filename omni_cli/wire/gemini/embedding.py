"""Google's embedContent and batchEmbedContents, as their callers see them.

Source: Gemini API reference, "Embeddings".
"""

from typing import ClassVar

from omni_cli.domain.embeddings import Texts, Vectors
from omni_cli.wire.facts import Operation
from omni_cli.wire.gemini.server import GeminiContent, renamed
from omni_cli.wire.server import (
    Answered,
    JsonObject,
    count_field,
    encode,
    left_of,
    object_field,
    objects,
    optional_text,
    text_field,
    wrong,
)

_KNOWN = frozenset({"model", "content", "requests", "task_type", "title", "output_dimensionality"})


class GeminiEmbeddings(GeminiContent):
    """No provider is asked in this way: of one text or of many, all are asked for a list."""

    name = "gemini-embeddings"
    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("embeddings", "/models/{model+}:embedContent", "Embedding"),
        Operation("embeddings", "/models/{model+}:batchEmbedContents", "Embeddings"),
    )

    def texts(self, body: JsonObject) -> Texts:
        body = renamed(body, "body")
        single = "requests" not in body
        wishes = [body] if single else [renamed(r, "requests") for r in _many(body)]
        sizes = {count_field(wish, "output_dimensionality") for wish in wishes}
        if len(sizes) > 1:
            raise wrong("'outputDimensionality' must be the same in all requests")
        left = tuple(dict.fromkeys(n for wish in wishes for n in left_of(wish, _KNOWN, {})))
        return Texts(
            [_text(wish.get("content")) for wish in wishes],
            sizes.pop(),
            left=left,
            purpose=optional_text(wishes[0], "task_type"),
            single=single,
        )

    def embeddings(self, texts: Texts, vectors: Vectors, about: Answered) -> bytes:
        del about
        values = [{"values": vector} for vector in vectors.vectors]
        tokens = vectors.usage.input_tokens if vectors.usage else 0
        body: JsonObject = {"embedding": values[0]} if texts.single else {"embeddings": values}
        return encode({**body, "usageMetadata": {"promptTokenCount": tokens}})


def _many(body: JsonObject) -> list[JsonObject]:
    found = objects(body.get("requests"), "requests")
    if not found:
        raise wrong("'requests' must hold at least one request")
    return found


def _text(content: object) -> str:
    if isinstance(content, str):
        return content
    parts = objects(object_field(content, "content").get("parts"), "content.parts")
    if not parts:
        raise wrong("'content.parts' must hold a text")
    return "".join(text_field(part, "text") for part in parts)
