"""Which operation of which protocol a path means, whatever prefix stands before it."""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qs, unquote

from msgspec import Struct

from omni_cli.wire.registry import callers, protocols

#: What is simulated of what a protocol's callers may ask.
_KNOWN = frozenset({"chat", "count", "models", "model", "embeddings", "document"})


class Route(Struct, frozen=True):
    """``operation``: as ``wire.facts.Operation.does``, "labels" or "admin". ``target``: the model
    in the path, where the protocol puts it there; ``stream`` as the path says. ``given``: of an
    operation whose answer is always the same."""

    operation: str
    protocol: str
    provider: str
    path: str
    target: str = ""
    stream: bool | None = None
    given: Mapping[str, Any] = {}


#: Three protocols list models at the same paths.
_SHARED = ("/models", "/models/{model+}")
_ONE_MODEL = re.compile(r"/models/(.+)$")
#: What the protocols without a server side of ours are asked.
_LABELS = (
    (re.compile(r"/images:annotate$"), "google-vision"),
    (re.compile(r"/models/(?P<model>[^/]+)/.*outputs$|/outputs$"), "clarifai"),
)
#: Paths of the clouds: whose protocol, and whether the answer streams.
_CLOUDS = (
    (re.compile(r"/model/(?P<model>.+)/converse$"), "bedrock", False),
    (re.compile(r"/model/(?P<model>.+)/converse-stream$"), "bedrock", True),
    (re.compile(r"/publishers/anthropic/models/(?P<model>[^/]+):rawPredict$"), "anthropic", False),
    (
        re.compile(r"/publishers/anthropic/models/(?P<model>[^/]+):streamRawPredict$"),
        "anthropic",
        True,
    ),
)
_TOKENS = re.compile(r"/token$")
_PUBLISHED = re.compile(r"/publishers/(?P<who>[^/]+)/models$")
#: A deployment's name stands before what is asked of it.
_DEPLOYMENT = re.compile(r"/deployments/(?P<model>[^/]+)/")
#: First path segments that belong to a protocol and so name no provider.
_OWN = re.compile(
    r"v\d\w*|api|model|foundation-models|openai|models|users|chat|messages|responses|embeddings|files|batches"
)
#: Paths of what is kept, whose ends hold a name.
_KEPT = (
    (re.compile(r"/messages/batches$"), "batches", "anthropic"),
    (re.compile(r"/messages/batches/[^/]+$"), "batch", "anthropic"),
    (re.compile(r"/messages/batches/[^/]+/(cancel|results)$"), "batch_{}", "anthropic"),
    (re.compile(r"/batches$"), "batches", "openai"),
    (re.compile(r"/batches/[^/]+$"), "batch", "openai"),
    (re.compile(r"/batches/[^/]+/(cancel)$"), "batch_{}", "openai"),
    (re.compile(r"/files$"), "files", "openai"),
    (re.compile(r"/files/[^/]+$"), "file", "openai"),
    (re.compile(r"/files/[^/]+/(content)$"), "file_{}", "openai"),
)
_HOUSE = {"openai-responses": "openai", "gemini": "google"}


@cache
def _table() -> tuple[tuple[re.Pattern[str], Route], ...]:
    """Ends of paths, and what they mean."""
    return tuple(_rows())


def _rows() -> Iterator[tuple[re.Pattern[str], Route]]:
    for name in protocols():
        found = callers(name)
        embeds = any(o.does == "embeddings" for caller in found[:1] for o in caller.operations)
        for caller in found[:1] if embeds else found:
            prefix = min(caller.prefixes, key=len)
            for operation in caller.operations:
                if caller is not found[0] and operation.does != "embeddings":
                    continue  # another form of what the first has
                if operation.does not in _KNOWN or operation.path in (
                    "/models",
                    "/models/{model+}",
                ):
                    continue
                named = "{model+}" in operation.path
                end = re.escape(operation.path if named else prefix + operation.path)
                pattern = end.replace(re.escape("{model+}"), "(?P<model>[^:]+)") + "$"
                route = Route(operation.does, name, "", "", "", operation.stream, operation.given)
                yield re.compile(pattern), route


def _provider(path: str, protocol: str) -> str:
    first = path.lstrip("/").partition("/")[0].partition(":")[0]
    return _HOUSE.get(protocol, protocol) if not first or _OWN.fullmatch(first) else first


def _lister(path: str, query: str, headers: Mapping[str, str]) -> str:
    """Who is asking for a list of models?"""
    if "anthropic-version" in headers:
        return "anthropic"
    if "/v1beta/" in path or "x-goog-api-key" in headers or "key" in parse_qs(query):
        return "gemini"
    return "clarifai" if "/v2/" in path else "openai"


def find(path: str, query: str, headers: Mapping[str, str]) -> Route | None:
    """The route of a request; None where no protocol has such a path."""
    path = unquote(path).rstrip("/")
    if _TOKENS.search(path):
        return Route("token", "", "", path)
    for pattern, protocol, stream in _CLOUDS:
        if match := pattern.search(path):
            name = match["model"]
            return Route("chat", protocol, _provider(path, protocol), path, name, stream)
    if path.endswith("/foundation-models"):
        return Route("models", "bedrock", _provider(path, "bedrock"), path)
    if match := _PUBLISHED.search(path):
        protocol = "gemini" if match["who"] == "google" else "anthropic"
        return Route("models", protocol, _provider(path, protocol), path, given={"published": True})
    if path.startswith("/__sim/"):
        return Route("admin", "", "", path)
    for pattern, protocol in _LABELS:
        if match := pattern.search(path):
            name = match.groupdict().get("model") or ""
            return Route("labels", protocol, _provider(path, protocol), path, name)
    for pattern, does, protocol in _KEPT:
        if match := pattern.search(path):
            return Route(does.format(*match.groups()), protocol, _provider(path, protocol), path)
    for pattern, known in _table():
        if match := pattern.search(path):
            protocol, name = known.protocol, match.groupdict().get("model", "")
            if deployment := _DEPLOYMENT.search(path):
                name = deployment["model"]
            house = _provider(path, protocol)
            return Route(known.operation, protocol, house, path, name, known.stream, known.given)
    protocol = _lister(path, query, headers)
    if path.endswith("/models"):
        return Route("models", protocol, _provider(path, protocol), path)
    if match := _ONE_MODEL.search(path):
        return Route("model", protocol, _provider(path, protocol), path, match[1])
    return None
