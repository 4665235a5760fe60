"""Clarifai's image recognition: images in, concepts out as JSON text.

Source: Clarifai API guide, "PostModelOutputs" (``/v2/users/../apps/../models/../outputs``).
"""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from omni_cli.domain.bounds import CallBound
from omni_cli.domain.chat import ChatChunk, ChatRequest, MediaPart, Usage
from omni_cli.domain.errors import BadRequest, Malformed
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, SentBody, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.clarifai import ClarifaiFacts
from omni_cli.wire.client import Client
from omni_cli.wire.parsing import StreamParser
from omni_cli.wire.values import (
    JsonObject,
    as_list,
    as_object,
    as_text,
    compact,
    get,
    listed,
    load_object,
    post,
)
from omni_cli.wire.vision import images_of, refuse_chat_features

#: The status code of a call, and of an image, that worked.
_OK = 10000
#: Where a model that is named without user and app lives.
_HOME = ("clarifai", "main")


class Clarifai(ClarifaiFacts, Client):
    """The adapter of protocol ``clarifai``. A model is ``user/app/model`` or Clarifai's own."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        refuse_chat_features(request, "clarifai")
        inputs = [{"data": {"image": _image(part)}} for part in images_of(request, "clarifai")]
        body: JsonObject = {"inputs": inputs, **request.extra}
        steps = wire_name.split("/")
        user, app = steps[:2] if len(steps) == 3 else _HOME
        url = f"{_base(endpoint)}/users/{quote(user)}/apps/{quote(app)}/models/{quote(steps[-1])}"
        auth = _auth(endpoint)
        return post(f"{url}/outputs", body, endpoint=endpoint, auth=auth, framing="json")

    def parser(self, *, stream: bool) -> AnswerParser:
        return _Parser("event" if stream else "answer")

    def bound(self, sent: SentBody) -> CallBound:  # noqa: ARG002  # the port's signature
        """Billed by the call: no tokens at all."""
        return CallBound(0, plain=True, writes=False)

    def limit(self, sent: SentBody, each: int, bound: CallBound) -> None:
        """There is nothing to limit."""

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        user, app = _HOME
        url = f"{_base(endpoint)}/users/{user}/apps/{app}/models?per_page=100"
        return get(url, endpoint=endpoint, auth=_auth(endpoint))

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        entries = listed(load_object(body, "model list").get("models"))
        return [
            RemoteModel(wire_name=_wire_name(entry), name=as_text(entry.get("name")) or None)
            for entry in entries
            if as_text(entry.get("id"))
        ]


def _base(endpoint: Endpoint) -> str:
    base = endpoint.base_url.rstrip("/")
    return base if base.endswith("/v2") else f"{base}/v2"


def _auth(endpoint: Endpoint) -> dict[str, str]:
    return {"authorization": f"Key {endpoint.key}"} if endpoint.key else {}


def _image(part: MediaPart) -> JsonObject:
    return {"url": part.url} if part.url is not None else {"base64": part.data or ""}


def _wire_name(entry: JsonObject) -> str:
    user, app = as_text(entry.get("user_id")), as_text(entry.get("app_id"))
    name = as_text(entry.get("id"))
    return f"{user}/{app}/{name}" if user and app else name


class _Parser(StreamParser):
    """Reads the one JSON body. The text is an object for one image, an array for several."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        body = load_object(event.data, self._what)
        status = as_object(body.get("status"))
        outputs = body.get("outputs")
        failed = [
            output
            for output in map(as_object, as_list(outputs))
            if as_object(output.get("status")).get("code", _OK) != _OK
        ]
        if failed:  # Clarifai's own codes say nothing in HTTP's terms: the words must do
            raise BadRequest(faults.in_band(failed[0]).message, status=200)
        if status and status.get("code") != _OK:
            raise faults.in_band({"status": status})
        if not isinstance(outputs, list) or not outputs:
            raise Malformed("The answer has no outputs")
        self.complete = True
        found = [_reading(as_object(as_object(output).get("data"))) for output in outputs]
        first = as_object(outputs[0])
        return (
            ChatChunk(
                text=compact(found[0] if len(found) == 1 else found),
                usage=Usage(),  # billed by the operation, not by tokens
                finish_reason="stop",
                model=as_text(as_object(first.get("model")).get("id")) or None,
                response_id=as_text(first.get("id")) or None,
            ),
        )


def _reading(data: JsonObject) -> JsonObject:
    """What one image shows: concepts with confidences, regions with theirs, text."""
    reading: dict[str, Any] = {"concepts": _concepts(data)}
    regions = [
        {
            "box": as_object(as_object(region.get("region_info")).get("bounding_box")),
            "concepts": _concepts(as_object(region.get("data"))),
        }
        for region in map(as_object, as_list(data.get("regions")))
    ]
    if regions:
        reading["regions"] = regions
    if raw := as_text(as_object(data.get("text")).get("raw")):
        reading["text"] = raw
    return reading


def _concepts(data: JsonObject) -> list[JsonObject]:
    return [
        {"name": as_text(concept.get("name")), "confidence": concept.get("value")}
        for concept in map(as_object, as_list(data.get("concepts")))
    ]
