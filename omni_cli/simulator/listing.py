"""The calls around a chat: model lists, token counts, embeddings, labels, versions."""

import hashlib
import math
import re
import time
from random import Random
from typing import Any

from omni_cli.domain.chat import Usage
from omni_cli.domain.embeddings import Vectors
from omni_cli.domain.errors import BadRequest
from omni_cli.domain.models import parse_size
from omni_cli.simulator import fleet
from omni_cli.simulator.routes import Route
from omni_cli.simulator.text import labels
from omni_cli.simulator.tokens import count
from omni_cli.simulator.vendors import Json, Vendor
from omni_cli.wire.registry import callers
from omni_cli.wire.server import Answered, Caller, encode

#: Every listed model claims to have been made then: 2025-01-01T00:00:00Z.
CREATED, CREATED_AT = 1_735_689_600, "2025-01-01T00:00:00Z"
DIMENSIONS = 1536


def answer(route: Route, vendor: Vendor, body: Json, input_tokens: int, seed: int) -> bytes:
    """The JSON of any call that is not a chat. Raises BadRequest."""
    if route.operation == "labels":
        return encode(_labels(route, body, seed))
    if route.protocol == "bedrock" and route.operation == "models":
        summaries = [
            {"modelId": m.wire_name, "modelName": m.name, "outputModalities": ["TEXT"]}
            for m in fleet.served(route.provider, "anthropic")
        ]
        return encode({"modelSummaries": summaries})
    if route.given.get("published"):
        served = fleet.served(route.provider, route.protocol)
        names = [{"name": f"publishers/vendor/models/{m.wire_name}"} for m in served]
        return encode({"publisherModels": names})
    if vendor.caller is None:
        return encode(_labellers())
    caller = vendor.caller
    match route.operation:
        case "count":
            return encode(caller.count(input_tokens))
        case "embeddings":
            return _embeddings(vendor, _embedder(caller), body)
        case "document":
            said = {"version": "0.0.0-simulated"} if "version" in route.given else {}
            return encode({**route.given, **said})
        case "model":
            return encode(_one(caller, route.target or caller.asked_model(body)))
        case _:
            served = fleet.served(route.provider, route.protocol)
            return encode(_lister(caller).models([_entry(m.wire_name) for m in served], []))


def _lister(caller: Caller) -> Caller:
    """Who writes a protocol's list: OpenAI's has Anthropic's fields, too."""
    listing = any(operation.does == "models" for operation in caller.operations)
    return caller if listing else callers("openai")[0]


def _embedder(caller: Caller) -> Caller:
    """Who reads and writes a protocol's embeddings: Google's have a server of their own."""
    every = (caller, *callers(caller.name))
    return next(c for c in every if any(o.does == "embeddings" for o in c.operations))


def _one(caller: Caller, name: str) -> Json:
    entry = _entry(name)
    if any(operation.does == "model" for operation in caller.operations):
        return caller.model(entry)
    listed = _lister(caller).models([entry], [])
    found: Json = (listed.get("models") or listed["data"])[0]
    return found


def _entry(name: str) -> Json:
    """A model as ``Caller.models`` takes it."""
    model = fleet.find(name)
    family, _, size = name.partition(":")
    return {
        "id": name,
        "object": "model",
        "created": CREATED,
        "created_at": CREATED_AT,
        "owned_by": family if size else "simulator",
        "type": "model",
        "display_name": model.name if model else name,
        "context_window": model.context if model else None,
        "max_tokens": model.max_output if model else None,
        "parameters_b": parse_size(size) if size else None,
        "badges": ["function-calling"],
    }


def _vector(text: str, dimensions: int) -> list[float]:
    """A unit vector; texts that share words point in similar directions."""
    values = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()) or [text]:
        digest = hashlib.blake2b(word.encode(), digest_size=8).digest()
        number = int.from_bytes(digest, "big")
        values[number % dimensions] += 1.0 if number >> 63 else -1.0
    norm = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / norm for value in values]


def _embeddings(vendor: Vendor, caller: Caller, body: Json) -> bytes:
    texts = caller.texts(body)
    if vendor.strict and texts.left:
        raise BadRequest(f"Unrecognized request argument supplied: {texts.left[0]}")
    size = texts.dimensions or DIMENSIONS
    vectors = [_vector(text, size) for text in texts.inputs]
    usage = Usage(input_tokens=sum(map(count, texts.inputs)))
    about = Answered("", str(body.get("model")), int(time.time()))
    return caller.embeddings(texts, Vectors(vectors, usage), about)


# --- image recognition: labels that depend on the image's bytes alone -----------------------------

_LABELLER = "general-image-recognition"


def _seen(image: Any, seed: int, most: int) -> list[tuple[str, float]]:
    """(label, confidence 0..1), surest first."""
    digest = hashlib.blake2b(repr(image).encode(), digest_size=8).hexdigest()
    rng = Random(f"{seed}/{digest}")
    found = labels(rng, most)
    sure = sorted((round(rng.uniform(0.5, 0.99), 4) for _ in found), reverse=True)
    return list(zip(found, sure, strict=True))


def _labels(route: Route, body: Json, seed: int) -> Json:
    if route.protocol == "clarifai":
        return _clarifai(route.target or _LABELLER, body, seed)
    requests = body.get("requests") or []
    return {"responses": [_annotate(request, seed) for request in requests]}


def _labellers() -> Json:
    model = {"id": _LABELLER, "name": _LABELLER, "model_type_id": "visual-classifier"}
    return {"status": {"code": 10000, "description": "Ok"}, "models": [model]}


def _clarifai(model: str, body: Json, seed: int) -> Json:
    ok = {"code": 10000, "description": "Ok"}
    outputs = []
    for number, item in enumerate(body.get("inputs") or []):
        image = (item.get("data") or {}).get("image") or {}
        concepts = [
            {"id": f"ai_{label}", "name": label, "value": value, "app_id": "main"}
            for label, value in _seen(image.get("base64") or image.get("url"), seed, 5)
        ]
        outputs.append(
            {
                "id": f"simulated-{number}",
                "status": ok,
                "model": {"id": model, "name": model},
                "input": {"id": item.get("id", f"input-{number}")},
                "data": {"concepts": concepts},
            }
        )
    return {"status": ok, "outputs": outputs}


def _annotate(request: Json, seed: int) -> Json:
    image = request.get("image") or {}
    subject = image.get("content") or image.get("source")
    answer: Json = {}
    for feature in request.get("features") or []:
        seen = _seen(subject, seed, int(feature.get("maxResults") or 5))
        match feature.get("type"):
            case "LABEL_DETECTION":
                answer["labelAnnotations"] = [
                    {"mid": f"/m/{label}", "description": label, "score": v, "topicality": v}
                    for label, v in seen
                ]
            case "TEXT_DETECTION" | "DOCUMENT_TEXT_DETECTION":
                text = f"[simulated text] {seen[0][0]}"
                answer["textAnnotations"] = [{"locale": "en", "description": text}]
                answer["fullTextAnnotation"] = {"text": text}
            case "SAFE_SEARCH_DETECTION":
                kinds = ("adult", "spoof", "medical", "violence", "racy")
                answer["safeSearchAnnotation"] = dict.fromkeys(kinds, "VERY_UNLIKELY")
            case other:
                answer["error"] = {"code": 3, "message": f"Feature {other} is not simulated."}
    return answer
