"""Which operation of which protocol a path means, whatever prefix stands before it."""

import re
from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qs, unquote

from msgspec import Struct

Operation = Literal[
    "chat", "count", "models", "model", "embeddings", "labels", "show", "version", "admin"
]


class Route(Struct, frozen=True):
    """``target``: the model in the path, where the protocol puts it there, and its verb."""

    operation: Operation
    protocol: str
    provider: str
    path: str
    target: str = ""
    verb: str = ""


_ENDINGS: tuple[tuple[str, Operation, str], ...] = (
    ("/chat/completions", "chat", "openai"),
    ("/responses", "chat", "openai-responses"),
    ("/messages/count_tokens", "count", "anthropic"),
    ("/messages", "chat", "anthropic"),
    ("/embeddings", "embeddings", "openai"),
    ("/api/chat", "chat", "ollama"),
    ("/api/embed", "embeddings", "ollama"),
    ("/api/tags", "models", "ollama"),
    ("/api/show", "show", "ollama"),
    ("/api/version", "version", "ollama"),
    ("/images:annotate", "labels", "google-vision"),
    ("/outputs", "labels", "clarifai"),
)
_GEMINI = re.compile(r"/models/([^:]+):(generateContent|streamGenerateContent|countTokens)$")
_ONE_MODEL = re.compile(r"/models/(.+)$")
_CLARIFAI_MODEL = re.compile(r"/models/([^/]+)")
#: First path segments that belong to a protocol and so name no provider.
_OWN = re.compile(r"v\d\w*|api|models|users|chat|messages|responses|embeddings")
_HOUSE = {"openai-responses": "openai", "gemini": "google"}


def _provider(path: str, protocol: str) -> str:
    first = path.lstrip("/").partition("/")[0].partition(":")[0]
    return _HOUSE.get(protocol, protocol) if not first or _OWN.fullmatch(first) else first


def _lister(path: str, query: str, headers: Mapping[str, str]) -> str:
    """Three protocols list models at the same path: who is asking?"""
    if "anthropic-version" in headers:
        return "anthropic"
    if "/v1beta/" in path or "x-goog-api-key" in headers or "key" in parse_qs(query):
        return "gemini"
    return "clarifai" if "/v2/" in path else "openai"


def find(path: str, query: str, headers: Mapping[str, str]) -> Route | None:
    """The route of a request; None where no protocol has such a path."""
    path = unquote(path).rstrip("/")
    if path.startswith("/__sim/"):
        return Route("admin", "", "", path)
    for ending, operation, protocol in _ENDINGS:
        if path.endswith(ending):
            target = _CLARIFAI_MODEL.search(path) if protocol == "clarifai" else None
            name = target[1] if target else ""
            return Route(operation, protocol, _provider(path, protocol), path, name)
    match = _GEMINI.search(path)
    if match:
        operation = "count" if match[2] == "countTokens" else "chat"
        return Route(operation, "gemini", _provider(path, "gemini"), path, match[1], match[2])
    protocol = _lister(path, query, headers)
    if path.endswith("/models"):
        return Route("models", protocol, _provider(path, protocol), path)
    match = _ONE_MODEL.search(path)
    if match:
        return Route("model", protocol, _provider(path, protocol), path, match[1])
    return None
