"""Which handler answers a path."""

import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from msgspec import Struct

from omni_cli.gateway.auth import Principal
from omni_cli.http.request import Request
from omni_cli.wire.server import Caller

Handler = Callable[[Request, Principal, dict[str, str]], Awaitable[None]]


class Route(Struct, frozen=True):
    """``path`` may hold ``{name}`` (one segment) and ``{name+}`` (the rest, with slashes).

    ``access``: "open" to anybody, "key" for anyone who may ask, else the scope (``records.py``)
    that a key needs. ``query`` and ``body`` describe it for the OpenAPI document.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    access: str = "key"
    tag: str = "models"
    query: tuple[str, ...] = ()
    body: str = ""
    status: int = 200
    #: It tells of everybody's requests at once: no organisation's key may ask.
    whole: bool = False
    #: The protocol whose path it is.
    caller: Caller | None = None


#: Paths that an error names at most.
_NEAR = 12


class Router:
    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self._exact = {(r.method, r.path): r for r in routes if "{" not in r.path}
        self._patterns = [(re.compile(_pattern(r.path)), r) for r in routes if "{" in r.path]

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        route = self._exact.get((method, path))
        if route is None and method == "HEAD":  # asked whether anybody is there
            route = self._exact.get(("GET", path))
            if route is not None and route.access not in ("open", "key"):
                route = None
        if route is not None:
            return route, {}
        for pattern, other in self._patterns:
            if other.method == method and (match := pattern.fullmatch(path)):
                return other, match.groupdict()
        return None

    def near(self, path: str) -> list[str]:
        """Paths that there are, for whom this one is none: of the same beginning."""
        head = path.split("/")[1:2]
        found = dict.fromkeys(
            f"{r.method} {r.path.replace('+}', '}')}"
            for r in self.routes
            if r.path.split("/")[1:2] == head and r.access == "key"
        )
        return list(found)[:_NEAR]

    def caller(self, path: str) -> Caller | None:
        """The protocol that has this path, whatever the method."""
        found = [r for (_, exact), r in self._exact.items() if exact == path]
        found += [r for pattern, r in self._patterns if pattern.fullmatch(path)]
        return next((r.caller for r in found), None)

    def methods(self, path: str) -> list[str]:
        """Methods that this path takes."""
        found = {method for method, exact in self._exact if exact == path}
        found |= {r.method for pattern, r in self._patterns if pattern.fullmatch(path)}
        return sorted(found)


#: What clients put before a path that has it already, as part of their base URL.
_BASES = ("v1", "v1beta", "v1alpha", "api")
#: Google's own packages ask for a name with a slash in it as it is, without "models/".
_UNNAMED = re.compile(r"(/v1(?:beta|alpha)?)/(?!models/)([^:/]+/.+:\w+)")


def meant(path: str) -> Iterator[str]:
    """Paths that a client may have meant whose base URL has too much or too little."""
    segments = [segment for segment in path.split("/") if segment]
    tidy = "/" + "/".join(segments)
    if tidy != path:
        yield tidy
    if match := _UNNAMED.fullmatch(tidy):
        yield f"{match[1]}/models/{match[2]}"
    while len(segments) > 1 and segments[0] in _BASES:
        segments = segments[1:]
        yield "/" + "/".join(segments)


def _pattern(path: str) -> str:
    escaped = re.escape(path).replace(r"\{", "{").replace(r"\}", "}").replace(r"\+", "+")
    escaped = re.sub(r"\{(\w+)\+\}", r"(?P<\1>.+?)", escaped)
    return re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", escaped)


def openapi(routes: list[Route], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    from omni_cli.gateway.bodies import schemas

    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = route.path.replace("+}", "}")
        operation: dict[str, Any] = {
            "summary": route.summary,
            "tags": [route.tag],
            "responses": {
                str(route.status): {"description": "As its protocol describes it."},
                "4XX": {"description": "The request cannot be served as it is."},
                "5XX": {"description": "A provider, or the gateway, could not answer."},
            },
        }
        parameters: list[dict[str, Any]] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"\{(\w+)\}", path)
        ]
        parameters += [
            {"name": name, "in": "query", "schema": {"type": "string"}} for name in route.query
        ]
        if parameters:
            operation["parameters"] = parameters
        if route.method in ("POST", "PUT"):
            schema = {"$ref": f"#/components/schemas/{route.body}"} if route.body else {}
            operation["requestBody"] = {
                "required": True,
                "content": {"application/json": {"schema": schema or {"type": "object"}}},
            }
        if route.access != "open":
            # The scope that a key needs, "" for any.
            scopes = [] if route.access == "key" else [route.access]
            if route.whole:
                operation["description"] = "Of the whole fleet: not for keys of an organisation."
            operation["security"] = [{"bearer": scopes}, {"key": scopes}]
            operation["responses"]["401"] = {"description": "No key that is known here."}
        paths.setdefault(path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "omni gateway", "version": version},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": _SCHEMAS | schemas(),
        },
    }


_MESSAGES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "items": {
        "type": "object",
        "required": ["role"],
        "properties": {"role": {"type": "string"}, "content": {}},
    },
}
_EXAMPLE = [{"role": "user", "content": "Is all well?"}]
_SCHEMAS: dict[str, Any] = {
    "Completion": {
        "type": "object",
        "examples": [{"model": "auto", "messages": _EXAMPLE, "stream": False}],
        "required": ["model", "messages"],
        "properties": {
            "model": {
                "type": "string",
                "description": "provider/model, an alias, role:NAME, chain:NAME, auto, "
                "auto:cheap, auto:balanced, auto:best or auto:fast",
            },
            "messages": _MESSAGES,
            "stream": {"type": "boolean"},
        },
    },
    "Chat": {
        "type": "object",
        "examples": [{"messages": _EXAMPLE, "priority": "cheap", "max_cost": 0.05}],
        "required": ["messages"],
        "properties": {
            "messages": _MESSAGES,
            "model": {"type": "string", "default": "auto"},
            "priority": {"enum": ["cheap", "balanced", "best"]},
            "latency_pref": {"enum": ["fast", "normal"]},
            "max_cost": {"type": "number", "minimum": 0, "description": "US dollars"},
            "max_tokens": {"type": "integer", "minimum": 1},
            "role": {"type": "string"},
            "agent": {"type": "string"},
            "step": {"type": "string"},
        },
    },
    "Routing": {
        "type": "object",
        "examples": [{"task": "coding", "complexity": "medium", "context": 20000}],
        "properties": {
            "task": {"type": "string", "description": "a type of task, or the text of one"},
            "complexity": {"enum": ["low", "medium", "high"]},
            "context": {
                "type": ["integer", "string"],
                "description": "tokens that the model must be able to read, or text",
            },
            "messages": _MESSAGES,
            "priority": {"enum": ["cheap", "balanced", "best"]},
        },
    },
}
