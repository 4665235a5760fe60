"""Clarifai and Google Cloud Vision as their references describe them, on loopback.

Shapes: docs.clarifai.com, "API outputs"; cloud.google.com/vision/docs, ``images:annotate``,
``AnnotateImageResponse`` and ``SafeSearchAnnotation``.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: A PNG of one pixel.
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f64540"
    "0000000049454e44ae426082"
)
KEY = "planted-key-0123456789"
_OK = {"code": 10000, "description": "Ok"}
_CONCEPTS = {
    "general-image-recognition": (("train", 0.9994), ("railway", 0.9991)),
    "nsfw-recognition": (("sfw", 0.9871), ("nsfw", 0.0129)),
}
_SAFE = {
    "adult": "VERY_UNLIKELY",
    "spoof": "UNLIKELY",
    "medical": "VERY_UNLIKELY",
    "violence": "UNLIKELY",
    "racy": "POSSIBLE",
}


@dataclass
class Vendors:
    """``asked``: (path, headers in lower case, body) of every call, in order."""

    url: str
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)


def _clarifai(path: str, body: Any) -> tuple[int, Any]:
    model = path.split("/models/")[1].split("/")[0]
    if model not in _CONCEPTS:
        return 404, {"status": {"code": 21200, "description": "Model does not exist"}}
    concepts = [
        {"id": f"ai_{name}", "name": name, "value": value, "app_id": "main"}
        for name, value in _CONCEPTS[model]
    ]
    outputs = [
        {
            "id": f"out-{number}",
            "status": _OK,
            "created_at": "2026-11-28T09:41:55.568082659Z",
            "model": {"id": model, "name": model, "app_id": "main", "user_id": "clarifai"},
            "input": {"id": f"in-{number}", "data": item["data"]},
            "data": {"concepts": concepts},
        }
        for number, item in enumerate(body["inputs"])
    ]
    return 200, {"status": {**_OK, "req_id": "20ab5bcf"}, "outputs": outputs}


def _google(body: Any) -> tuple[int, Any]:
    responses = []
    for request in body["requests"]:
        response: dict[str, Any] = {}
        for feature in request["features"]:
            if feature["type"] == "LABEL_DETECTION":
                response["labelAnnotations"] = [
                    {"mid": "/m/07jdr", "description": "Train", "score": 0.97, "topicality": 0.97}
                ]
            elif feature["type"] == "SAFE_SEARCH_DETECTION":
                response["safeSearchAnnotation"] = _SAFE
        responses.append(response)
    return 200, {"responses": responses}


@contextmanager
def vendors() -> Iterator[Vendors]:
    """Both on one port; a wrong key is refused as each of them does."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = json.loads(self.rfile.read(length))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.asked.append((self.path, headers, body))
            if self.path.endswith("/images:annotate"):
                if headers.get("x-goog-api-key") == KEY:
                    status, answer = _google(body)
                else:
                    words = "API key not valid. Please pass a valid API key."
                    error = {"code": 400, "message": words, "status": "INVALID_ARGUMENT"}
                    status, answer = 400, {"error": error}
            elif headers.get("authorization") == f"Key {KEY}":
                status, answer = _clarifai(self.path, body)
            else:
                refusal = {"code": 11009, "description": "API key not found", "details": "Invalid"}
                status, answer = 401, {"status": refusal}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Vendors(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
