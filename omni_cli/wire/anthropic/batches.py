"""Anthropic's Message Batches.

Sources: Claude docs, "Batch processing" (100,000 requests, 256 MB, the price of all tokens, cached
ones too, halved; what errored, was cancelled or expired is not billed) and the API
reference, "Create a Message Batch", "Retrieve Message Batch results", "List Message Batches".
"""

import mmap
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import BinaryIO, ClassVar
from urllib.parse import quote

import msgspec

from omni_cli.domain.errors import BadRequest
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import Endpoint, HttpCall, Method
from omni_cli.wire.anthropic import AnthropicFacts
from omni_cli.wire.anthropic.client import auth_of, read_usage, url_of
from omni_cli.wire.batching import Item, Result, Told, name_in, object_of
from omni_cli.wire.values import JsonObject, as_count, as_list, as_object, as_text

_encode = msgspec.json.Encoder().encode


class _Request(msgspec.Struct):
    custom_id: str
    params: msgspec.Raw


class _Requests(msgspec.Struct):
    requests: list[_Request]


_REQUESTS = msgspec.json.Decoder(_Requests)


class AnthropicBatches(AnthropicFacts):
    word = "request"
    most_requests = 100_000
    most_bytes = 256 * 1024 * 1024
    endpoints: ClassVar[Mapping[str, tuple[ProtocolName, str]]] = {
        "/v1/messages": ("anthropic", "chat")
    }
    from_files = False
    path = "messages/batches"
    around = (b'{"requests":[', b",", b"]}")

    def items(self, source: BinaryIO) -> Iterator[Item]:
        """``source``: a real file; its requests stay there until they are asked for."""
        try:
            whole = mmap.mmap(source.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise _strange("it is empty") from None
        try:
            requests = _REQUESTS.decode(whole).requests
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
            raise _strange(str(exc)) from None
        if not requests:
            raise _strange("it has no requests")
        requests.reverse()
        number = 0
        while requests:
            request = requests.pop()
            number += 1
            yield Item(number, request.custom_id, "/v1/messages", bytes(request.params))

    def written(self, item: Item, body: bytes) -> bytes:
        return _encode(_Request(item.custom_id, msgspec.Raw(body)))

    def call(self, endpoint: Endpoint, method: Method, path: str) -> HttpCall:
        headers = {"accept": "*/*", **auth_of(endpoint), **endpoint.headers}
        return HttpCall(method, url_of(endpoint, path), headers, None, "json")

    def told(self, body: bytes) -> Told:
        return _told(object_of(body))

    def listed(self, body: bytes) -> tuple[list[Told], str]:
        page = object_of(body)
        found = [_told(as_object(item)) for item in as_list(page.get("data"))]
        more = bool(page.get("has_more")) and bool(found)
        return found, f"after_id={quote(found[-1].id, safe='')}" if more else ""

    def at(self, body: bytes, address: str) -> bytes:
        batch = object_of(body)
        if not batch.get("results_url"):
            return body
        ident = quote(name_in(batch), safe="")
        return _encode({**batch, "results_url": f"{address}/v1/{self.path}/{ident}/results"})

    def result(self, line: bytes) -> Result | None:
        said = object_of(line)
        custom_id, result = said.get("custom_id"), as_object(said.get("result"))
        kind = as_text(result.get("type"))
        if not isinstance(custom_id, str) or not kind:
            return None
        if kind == "succeeded":
            message = as_object(result.get("message"))
            counts = as_object(message.get("usage"))
            if counts.get("service_tier") == "batch":
                counts = {**counts, "service_tier": None}  # whose price it is charged by
            ident = as_text(message.get("id")) or None
            return Result(custom_id, True, usage=read_usage(counts), response_id=ident)
        error = as_object(result.get("error"))
        error = as_object(error.get("error")) or error
        code = as_text(error.get("type")) if kind == "errored" else kind
        words = as_text(error.get("message"))
        tried = kind == "errored"
        return Result(
            custom_id, False, tried, error_code=code or "failed", error_message=words or None
        )


def _strange(why: str) -> BadRequest:
    return BadRequest(
        f"the body is no batch: {why}",
        hint='it is {"requests": [{"custom_id": ..., "params": {...}}, ...]}',
        status=400,
    )


def _told(batch: JsonObject) -> Told:
    ident = name_in(batch)
    status = as_text(batch.get("processing_status"))
    ended = status == "ended"
    counts = as_object(batch.get("request_counts"))
    return Told(
        ident,
        status,
        ended,
        _ms(batch.get("created_at")) or 0,
        _ms(batch.get("expires_at")),
        sum(map(as_count, counts.values())) or None,
        "",
        (f"messages/batches/{quote(ident, safe='')}/results",) if ended else (),
        as_count(counts.get("succeeded")),
    )


def _ms(text: object) -> int | None:
    """Of RFC 3339."""
    try:
        return int(datetime.fromisoformat(as_text(text)).timestamp() * 1000)
    except ValueError:
        return None
