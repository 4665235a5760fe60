"""OpenAI's batches, and the files that they are made of.

Sources: OpenAI API reference, "Batch", "The request input object", "The request output object",
"Files"; "Batch API" guide (50,000 requests, 200 MB, 24 hours; what a batch that expired or was
cancelled had answered is charged).
"""

from collections.abc import Iterator, Mapping
from typing import BinaryIO, ClassVar
from urllib.parse import quote

import msgspec

from omni_cli.domain.models import ProtocolName
from omni_cli.ports import Endpoint, HttpCall, Method
from omni_cli.wire.batching import Item, Result, Told, at_line, name_in, object_of
from omni_cli.wire.openai import OpenAiFacts
from omni_cli.wire.openai.azure import auth_of, url_of
from omni_cli.wire.openai.usage import of_tier, read_usage
from omni_cli.wire.values import JsonObject, as_count, as_list, as_object, as_text

_ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_encode = msgspec.json.Encoder().encode


class _Line(msgspec.Struct):
    custom_id: str
    url: str
    body: msgspec.Raw
    method: str = "POST"


_LINE = msgspec.json.Decoder(_Line)


class OpenAiBatches(OpenAiFacts):
    word = "line"
    most_requests = 50_000
    most_bytes = 200 * 1024 * 1024
    endpoints: ClassVar[Mapping[str, tuple[ProtocolName, str]]] = {
        "/v1/chat/completions": ("openai", "chat"),
        "/v1/responses": ("openai-responses", "chat"),
        "/v1/completions": ("openai", "chat"),
        "/v1/embeddings": ("openai", "embeddings"),
    }
    from_files = True
    path = "batches"
    around = (b"", b"\n", b"\n")

    def items(self, source: BinaryIO) -> Iterator[Item]:
        for number, text in enumerate(source, 1):
            if not text.strip():
                continue
            try:
                line = _LINE.decode(text)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
                raise at_line(
                    number,
                    f"it is no request of a batch: {exc}",
                    'each line is {"custom_id": ..., "method": "POST", "url": ..., "body": {...}}',
                ) from None
            if line.method.upper() != "POST":
                raise at_line(number, f"its method is POST, not {line.method[:20]!r}")
            yield Item(number, line.custom_id, line.url, bytes(line.body))

    def written(self, item: Item, body: bytes) -> bytes:
        # Between values it is a blank; some readers of lines would end one there.
        line = _Line(item.custom_id, item.endpoint, msgspec.Raw(body.replace(b"\r", b" ")))
        return _encode(line)

    def call(self, endpoint: Endpoint, method: Method, path: str) -> HttpCall:
        headers = {"accept": "*/*", **auth_of(endpoint), **endpoint.headers}
        return HttpCall(
            method, url_of(endpoint, path), headers, None, "json", access=endpoint.access
        )

    def told(self, body: bytes) -> Told:
        return _told(object_of(body))

    def listed(self, body: bytes) -> tuple[list[Told], str]:
        page = object_of(body)
        found = [_told(as_object(item)) for item in as_list(page.get("data"))]
        more = bool(page.get("has_more")) and bool(found)
        return found, f"after={quote(found[-1].id, safe='')}" if more else ""

    def at(self, body: bytes, address: str) -> bytes:  # noqa: ARG002  # it names none
        return body

    def result(self, line: bytes) -> Result | None:
        said = object_of(line)
        custom_id = said.get("custom_id")
        if not isinstance(custom_id, str):
            return None
        response, error = as_object(said.get("response")), as_object(said.get("error"))
        body, status = as_object(response.get("body")), as_count(response.get("status_code"))
        ident = as_text(body.get("id")) or as_text(response.get("request_id")) or None
        if 200 <= status < 300 and not error:
            tier = body.get("service_tier")
            usage = of_tier(read_usage(body.get("usage")), None if tier == "batch" else tier)
            return Result(custom_id, True, usage=usage, response_id=ident, http_status=status)
        error = error or as_object(body.get("error"))
        code = as_text(error.get("code")) or as_text(error.get("type")) or "failed"
        tried = code not in ("batch_expired", "batch_cancelled")
        words = as_text(error.get("message"))
        return Result(custom_id, False, tried, None, ident, status or None, code, words)


def _told(batch: JsonObject) -> Told:
    ident = name_in(batch)
    status = as_text(batch.get("status")).lower()
    ended = status in _ENDED
    named = [as_text(batch.get(name)) for name in ("output_file_id", "error_file_id")]
    counts = as_object(batch.get("request_counts"))
    return Told(
        ident,
        status,
        ended,
        as_count(batch.get("created_at")) * 1000,
        as_count(batch.get("expires_at")) * 1000 or None,
        as_count(counts.get("total")) or None,
        as_text(batch.get("input_file_id")),
        tuple(f"files/{quote(name, safe='')}/content" for name in named if name) if ended else (),
        as_count(counts.get("completed")),
    )
