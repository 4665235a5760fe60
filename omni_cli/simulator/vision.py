"""Image recognition: labels that depend on the image's bytes alone."""

import hashlib
from random import Random
from typing import Any

from omni_cli.simulator.routes import Route
from omni_cli.simulator.text import labels
from omni_cli.simulator.vendors import Json

MODEL = "general-image-recognition"


def _seen(image: Any, seed: int, most: int) -> list[tuple[str, float]]:
    """(label, confidence 0..1), surest first."""
    digest = hashlib.blake2b(repr(image).encode(), digest_size=8).hexdigest()
    rng = Random(f"{seed}/{digest}")
    found = labels(rng, most)
    sure = sorted((round(rng.uniform(0.5, 0.99), 4) for _ in found), reverse=True)
    return list(zip(found, sure, strict=True))


def answer(route: Route, body: Json, seed: int) -> Json:
    if route.protocol == "clarifai":
        return _clarifai(route.target or MODEL, body, seed)
    requests = body.get("requests") or []
    return {"responses": [_annotate(request, seed) for request in requests]}


def models() -> Json:
    model = {"id": MODEL, "name": MODEL, "model_type_id": "visual-classifier"}
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
