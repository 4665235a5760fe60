"""The router spec's own API: ``POST /v1/chat`` and ``/v1/agent-step``.

Source: the router plan, "Universal API", "API endpoints"; its error shape.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import msgspec

from omni_cli.domain.chat import ChatRequest, Completion, Usage
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.ledger import saving_nusd
from omni_cli.wire.facts import Operation
from omni_cli.wire.omni import OmniFacts
from omni_cli.wire.openai.server import OpenAiChat, usage_of
from omni_cli.wire.server import (
    Answered,
    Caller,
    JsonObject,
    Parsed,
    StreamWriter,
    code_of,
    encode,
    message_of,
    sse,
    wrong,
)

#: Fields of the call's own options; the others are those of a chat completion.
OPTIONS = frozenset(
    {
        "priority",
        "latency_pref",
        "max_cost",
        "any_cost",
        "free_to_paid",
        "escalate",
        "task_type",
        "complexity",
        "role",
        "agent",
        "needs",
        "context_tokens",
        "step",
    }
)
_NUSD = Decimal(10) ** -9
_numbers = msgspec.json.Encoder(decimal_format="number").encode


class OmniChat(OmniFacts, Caller):
    """The caller's side of omni's own protocol, which no provider speaks."""

    operations = (
        Operation(
            "chat", "/v1/chat", "The right model answers", stream=False, body="Chat", routed=True
        ),
        # Each step of an agent's work is routed by itself.
        Operation(
            "chat",
            "/v1/agent-step",
            "One agent step",
            stream=False,
            body="Chat",
            routed=True,
            given={"task_type": "agent_step"},
        ),
    )

    def options(self, body: JsonObject, given: Mapping[str, Any]) -> tuple[str, JsonObject]:
        found = {**given, **{k: v for k, v in body.items() if k in OPTIONS and v is not None}}
        model = body.get("model", "auto")
        if not isinstance(model, str):
            raise UsageError("model must name a model, a role, a chain, or auto")
        if "role" in found and model == "auto":
            model = f"role:{found.pop('role')}"
        return model, found

    def parse(self, body: JsonObject) -> Parsed:
        if body.get("stream"):
            raise wrong("this endpoint does not stream; /v1/chat/completions does")
        rest = {name: value for name, value in body.items() if name not in OPTIONS}
        parsed = OpenAiChat().parse(rest)
        if unknown := (*parsed.refused, *parsed.left):
            raise wrong(f"unknown fields: {', '.join(unknown)}")
        return parsed

    def whole(self, completion: Completion, about: Answered) -> bytes:
        savings = saving_nusd("gateway", None, about.premium_nusd, about.cost_nusd)
        return _numbers(
            {
                "id": about.id,
                "output": completion.text,
                "model_used": about.model,
                "cost": _usd(about.cost_nusd),
                "latency_ms": about.latency_ms,
                "savings_estimate": _usd(savings),
                "estimated_savings": _usd(savings),
                "task_type": about.task or None,
                "usage": usage_of(completion.usage or Usage()),
                "finish_reason": completion.finish_reason,
                "tool_calls": [
                    {"id": call.id, "name": call.name, "arguments": call.arguments}
                    for call in completion.tool_calls
                ],
                "attempts": about.attempts,
            }
        )

    def writer(self, about: Answered) -> StreamWriter:
        return OpenAiChat().writer(about)

    def error(self, error: OmniError, request_id: str) -> JsonObject:
        return {
            "error": {
                "code": code_of(error),
                "message": message_of(error),
                "request_id": request_id,
            }
        }

    def error_event(self, error: OmniError, request_id: str) -> bytes:
        return sse(self.error(error, request_id))


def own_request(body: JsonObject) -> tuple[ChatRequest, dict[str, Any]]:
    """The request of a body of this API, and its options. Raises BadRequest."""
    request = OmniChat().parse(body).request
    return request, {name: value for name, value in body.items() if name in OPTIONS}


def _usd(nusd: int | None) -> Decimal | None:
    """US dollars as an exact JSON number."""
    return None if nusd is None else (nusd * _NUSD).normalize() + 0


__all__ = ["OPTIONS", "OmniChat", "encode", "own_request"]
