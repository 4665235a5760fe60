"""A request that was recorded: a body of any protocol, and what came with it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest
from omni_cli.domain.errors import NotFound, OmniError, UsageError
from omni_cli.services.engine.names import AUTO_SELECTOR, Names, Selector

#: By how a path ends, or by what stands in a body.
_PATHS = (
    ("/messages", "anthropic"),
    ("/responses", "openai-responses"),
    ("/chat/completions", "openai"),
    ("/api/chat", "ollama"),
)


class Recorded(Struct, frozen=True):
    """``model``: who is asked, "" where the body does not say. ``agent``: who asks, by its
    headers."""

    request: ChatRequest
    model: str
    agent: str
    protocol: str


def read_recorded(path: Path) -> Recorded:
    """Raises UsageError: no such file, or no request of a protocol that omni speaks."""
    from omni_cli.gateway.sessions import agent_of
    from omni_cli.wire.registry import callers

    try:
        told = json.loads(path.read_text("utf-8"))
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise UsageError(f"{path} is no JSON: {exc}") from exc
    if not isinstance(told, dict):
        raise UsageError(f"{path} holds no request: it is no JSON object")
    whole = isinstance(told.get("body"), dict)
    body: dict[str, Any] = told["body"] if whole else told
    headers = told.get("headers") if whole else None
    found = _protocol(str(told.get("path", "")) if whole else "", body)
    if found is None:
        raise UsageError(
            f"{path} is no request that omni knows",
            hint="it is the body of a call for a chat, or an object with path, headers and body",
        )
    try:
        parsed = callers(found)[0].parse(body)
    except OmniError as exc:
        raise UsageError(f"{path} cannot be read as {found}: {exc.message}") from exc
    named = (
        {str(k).lower(): str(v) for k, v in headers.items()} if isinstance(headers, dict) else {}
    )
    model = body.get("model")
    return Recorded(parsed.request, model if isinstance(model, str) else "", agent_of(named), found)


def _protocol(path: str, body: Mapping[str, Any]) -> str | None:
    path = path.partition("?")[0]
    for ending, protocol in _PATHS:
        if path.endswith(ending):
            return protocol
    if "contents" in body or "generateContent" in path.replace("streamG", "g"):
        return "gemini"
    if "input" in body:
        return "openai-responses"
    if not isinstance(body.get("messages"), list):
        return None
    anthropic = "system" in body or any(
        isinstance(tool, dict) and "input_schema" in tool for tool in body.get("tools") or ()
    )
    anthropic = anthropic or any(
        isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result", "thinking")
        for turn in body["messages"]
        if isinstance(turn, dict) and isinstance(turn.get("content"), list)
        for block in turn["content"]
    )
    if anthropic:
        return "anthropic"
    return "ollama" if "options" in body else "openai"


def selector_of(names: Names, model: str) -> Selector:
    """What the fleet makes of the name; a model that it lacks is left to the router, as where an
    agent is told to ask for auto."""
    try:
        return names.select(model or None, suggest=False)
    except NotFound:
        return AUTO_SELECTOR
