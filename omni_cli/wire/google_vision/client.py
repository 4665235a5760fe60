"""Google Cloud Vision: images in, labels, text, faces and the like out as JSON text.

Source: Cloud Vision API reference, ``images:annotate``.
"""

from collections.abc import Sequence
from typing import Any

from omni_cli.domain.bounds import CallBound
from omni_cli.domain.chat import ChatChunk, ChatRequest, MediaPart, Usage
from omni_cli.domain.errors import BadRequest, Malformed
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, SentBody, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.client import Client
from omni_cli.wire.google_vision import GoogleVisionFacts
from omni_cli.wire.parsing import StreamParser
from omni_cli.wire.values import JsonObject, as_list, as_object, as_text, compact, load_object, post
from omni_cli.wire.vision import images_of, refuse_chat_features

MAX_RESULTS = 10

#: Feature types that a wire name may hold, joined by "+": "label-detection+text-detection".
FEATURES = frozenset(
    {
        "CROP_HINTS",
        "DOCUMENT_TEXT_DETECTION",
        "FACE_DETECTION",
        "IMAGE_PROPERTIES",
        "LABEL_DETECTION",
        "LANDMARK_DETECTION",
        "LOGO_DETECTION",
        "OBJECT_LOCALIZATION",
        "PRODUCT_SEARCH",
        "SAFE_SEARCH_DETECTION",
        "TEXT_DETECTION",
        "WEB_DETECTION",
    }
)
#: Annotations that are a list of names with scores -> (their name here, the wire's name field).
_NAMED = {
    "labelAnnotations": ("labels", "description"),
    "logoAnnotations": ("logos", "description"),
    "landmarkAnnotations": ("landmarks", "description"),
    "localizedObjectAnnotations": ("objects", "name"),
}
_AS_SENT = (
    "safeSearchAnnotation",
    "faceAnnotations",
    "imagePropertiesAnnotation",
    "webDetection",
    "cropHintsAnnotation",
)


class GoogleVision(GoogleVisionFacts, Client):
    """The adapter of protocol ``google-vision``. The key goes into a header, not the URL."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        refuse_chat_features(request, "google-vision")
        features = [{"type": name, "maxResults": MAX_RESULTS} for name in _feature_names(wire_name)]
        requests = [
            {"image": _image(part), "features": features}
            for part in images_of(request, "google-vision")
        ]
        return post(
            f"{_base(endpoint)}/images:annotate",
            {"requests": requests, **request.extra},
            endpoint=endpoint,
            auth={"x-goog-api-key": endpoint.key} if endpoint.key else {},
            framing="json",
        )

    def parser(self, *, stream: bool) -> AnswerParser:
        return _Parser("event" if stream else "answer")

    def bound(self, sent: SentBody) -> CallBound:  # noqa: ARG002  # the port's signature
        """Billed by the call: no tokens at all."""
        return CallBound(0, plain=True, writes=False)

    def limit(self, sent: SentBody, each: int, bound: CallBound) -> None:
        """There is nothing to limit."""

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:  # noqa: ARG002  # the port's signature
        """None: the API has fixed features and no listing."""
        return None

    def parse_models(self, body: str) -> Sequence[RemoteModel]:  # noqa: ARG002  # the port's signature
        raise Malformed("The google-vision protocol has no model list")


def _feature_names(wire_name: str) -> list[str]:
    names = [part.strip().upper().replace("-", "_") for part in wire_name.split("+")]
    for name in names:
        if name not in FEATURES:
            raise BadRequest(
                f"Google Cloud Vision has no feature {name!r}",
                hint=f"One of: {', '.join(sorted(FEATURES))}; several joined by '+'.",
            )
    return names


def _base(endpoint: Endpoint) -> str:
    base = endpoint.base_url.rstrip("/")
    return base if base.rpartition("/")[2].startswith("v1") else f"{base}/v1"


def _image(part: MediaPart) -> JsonObject:
    if part.url is not None:
        return {"source": {"imageUri": part.url}}
    return {"content": part.data or ""}


class _Parser(StreamParser):
    """Reads the one JSON body. The text is an object for one image, an array for several."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self._what = what

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        body = load_object(event.data, self._what)
        if body.get("error"):
            raise faults.in_band(body)
        responses = body.get("responses")
        if not isinstance(responses, list) or not responses:
            raise Malformed("The answer has no responses")
        for response in map(as_object, responses):
            if response.get("error"):
                # google.rpc codes, which say nothing in HTTP's terms: the words must do.
                message = as_text(as_object(response["error"]).get("message"))
                raise BadRequest(faults.in_band({"message": message}).message, status=200)
        self.complete = True
        found = [_reading(as_object(response)) for response in responses]
        return (
            ChatChunk(
                text=compact(found[0] if len(found) == 1 else found),
                usage=Usage(),  # billed by the feature, not by tokens
                finish_reason="stop",
            ),
        )


def _reading(response: JsonObject) -> dict[str, Any]:
    """What one image shows; parts that are not about names and scores pass through as sent."""
    reading: dict[str, Any] = {}
    for annotations, (name, field) in _NAMED.items():
        if annotations in response:
            reading[name] = [_entry(item, field) for item in as_list(response[annotations])]
    text = as_text(as_object(response.get("fullTextAnnotation")).get("text"))
    pieces = as_list(response.get("textAnnotations"))
    if not text and pieces:  # the first is the whole text
        text = as_text(as_object(pieces[0]).get("description"))
    if text:
        reading["text"] = text
    reading.update({name: response[name] for name in _AS_SENT if name in response})
    return reading


def _entry(item: object, name: str) -> JsonObject:
    entry = as_object(item)
    return {"name": as_text(entry.get(name)), "confidence": entry.get("score")}
