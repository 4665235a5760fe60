"""Answers whose tokens at the usual rates are not all that they cost are marked as estimated."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.chat import Usage
from omni_cli.domain.prices import Price, Rate
from omni_cli.domain.pricing import borrowed
from omni_cli.wire.openai.glance import glance
from omni_cli.wire.registry import adapter
from tests.unit.providers.wire import chats, completion

CHAT = {
    "id": "chatcmpl-1",
    "model": "gpt-5",
    "choices": [{"index": 0, "message": {"content": "Yes."}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}
RESPONSE = {
    "id": "resp_1",
    "status": "completed",
    "output": [{"type": "message", "content": [{"type": "output_text", "text": "Yes."}]}],
    "usage": {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11},
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "content": [{"type": "text", "text": "Yes."}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 9, "output_tokens": 2, "service_tier": "standard"},
}
CONTENT = {
    "candidates": [{"content": {"parts": [{"text": "Yes."}]}, "finishReason": "STOP"}],
    "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 2},
}


def step(kind: str, into: int, out: int, model: str = "", **more: int) -> dict[str, Any]:
    """One of a message's iterations."""
    counts = {"input_tokens": into, "output_tokens": out, **more}
    return {"type": kind, **({"model": model} if model else {}), **counts}


def read(protocol: Any, document: dict[str, Any]) -> Usage:
    body = json.dumps(document).encode()
    found = completion(adapter(protocol), body, stream=False, framing="json", cut="whole")
    assert found.usage is not None
    return found.usage


def _with(document: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    made = json.loads(json.dumps(document))
    for path, value in changes.items():
        *way, last = path.split(".")
        at = made
        for step in way:
            at = at[int(step)] if step.isdecimal() else at[step]
        at[last] = value
    return dict(made)


@pytest.mark.parametrize(
    ("protocol", "document", "changes", "estimated"),
    [
        ("openai", CHAT, {}, False),
        ("openai", CHAT, {"service_tier": "default"}, False),
        ("openai", CHAT, {"service_tier": "on_demand"}, False),  # Groq's usual one
        ("openai", CHAT, {"service_tier": "priority"}, True),
        ("openai", CHAT, {"service_tier": "flex"}, True),
        ("openai-responses", RESPONSE, {"service_tier": "default"}, False),
        ("openai-responses", RESPONSE, {"service_tier": "flex"}, True),
        ("openai-responses", RESPONSE, {"output": [{"type": "web_search_call"}]}, True),
        ("anthropic", MESSAGE, {}, False),
        ("anthropic", MESSAGE, {"usage.service_tier": "priority"}, True),
        ("anthropic", MESSAGE, {"usage.speed": "fast"}, True),
        ("anthropic", MESSAGE, {"usage.server_tool_use": {"web_search_requests": 0}}, False),
        ("anthropic", MESSAGE, {"usage.server_tool_use": {"web_search_requests": 2}}, True),
        ("anthropic", MESSAGE, {"usage.server_tool_use": {"code_execution_requests": 1}}, True),
        ("anthropic", MESSAGE, {"usage.service_tier": "flex"}, True),
        ("anthropic", MESSAGE, {"usage.inference_geo": "us"}, True),
        ("anthropic", MESSAGE, {"usage.inference_geo": "eu"}, True),
        ("anthropic", MESSAGE, {"usage.inference_geo": "global"}, False),
        ("anthropic", MESSAGE, {"usage.inference_geo": "not_available"}, False),
        ("anthropic", MESSAGE, {"usage.iterations": [step("message", 9, 2)]}, False),
        (
            "anthropic",
            MESSAGE,
            {"usage.iterations": [step("message", 9, 2), step("advisor_message", 900, 20, "x")]},
            True,
        ),
        ("anthropic", MESSAGE, {"usage.iterations": [step("fallback_message", 9, 2)]}, True),
        ("openai", CHAT, {"service_tier": "performance"}, True),  # Groq's
        ("gemini", CONTENT, {"usageMetadata.trafficType": "ON_DEMAND"}, False),
        ("gemini", CONTENT, {"usageMetadata.trafficType": "ON_DEMAND_FLEX"}, True),
        ("gemini", CONTENT, {"usageMetadata.trafficType": "ON_DEMAND_PRIORITY"}, True),
        ("gemini", CONTENT, {"usageMetadata.trafficType": "PROVISIONED_THROUGHPUT"}, True),
        ("gemini", CONTENT, {"usageMetadata.serviceTier": "SERVICE_TIER_FLEX"}, True),
        ("gemini", CONTENT, {"candidates.0.groundingMetadata": {}}, False),
        (
            "gemini",
            CONTENT,
            {"candidates.0.groundingMetadata": {"webSearchQueries": ["omni"]}},
            True,
        ),
    ],
)
def test_what_is_charged_otherwise_is_marked(
    protocol: Any, document: dict[str, Any], changes: dict[str, Any], estimated: bool
) -> None:
    body = json.dumps(_with(document, changes)).encode()
    found = completion(adapter(protocol), body, stream=False, framing="json", cut="whole")
    assert found.usage is not None
    assert (found.usage.input_tokens, found.usage.output_tokens) == (9, 2)
    assert found.usage.estimated == estimated
    if protocol == "openai":
        quick = glance(body)  # the gateway's short way leaves the marked ones to the adapter
        assert (quick is None) == estimated


def test_recorded_searches_are_marked() -> None:
    searches = ("openai-responses-model-web-search-tool", "google-model-web-search-tool")
    found = [e for e in chats("openai-responses", "gemini") if any(n in e.id for n in searches)]
    assert len(found) >= 2
    for exchange in found:
        read = completion(
            adapter(exchange.protocol),
            exchange.body,
            stream=exchange.stream,
            framing="sse",
            cut="whole",
        )
        assert read.usage is not None
        assert read.usage.estimated, exchange.id


@pytest.mark.parametrize(
    ("usage", "steps", "into", "out", "cached", "estimated"),
    [
        # The message's own counts leave the compaction out.
        ((10, 1), [("compaction", 180_000, 35), ("message", 10, 1)], 180_010, 36, 0, False),
        # A relay that has added them up already.
        ((180_010, 36), [("compaction", 180_000, 35), ("message", 10, 1)], 180_010, 36, 0, False),
        # Compaction alone, its cache within.
        ((0, 0), [("compaction", 500, 80, 9_500)], 10_000, 80, 9_500, False),
        # Each fits the usual rates, both together would not.
        ((150_000, 1), [("compaction", 190_000, 5), ("message", 150_000, 1)], 340_000, 6, 0, True),
        # A loop of tools that the server runs: the message's counts are their sum.
        ((300, 30), [("message", 100, 10), ("message", 200, 20)], 300, 30, 0, False),
    ],
)  # fmt: skip
def test_a_compaction_is_counted_once(
    usage: tuple[int, int],
    steps: list[tuple[Any, ...]],
    into: int,
    out: int,
    cached: int,
    estimated: bool,
) -> None:
    made = [
        step(kind, i, o, cache_read_input_tokens=rest[0] if rest else 0)
        for kind, i, o, *rest in steps
    ]
    counts = {"input_tokens": usage[0], "output_tokens": usage[1], "iterations": made}
    found = read("anthropic", _with(MESSAGE, {"usage": counts}))
    assert (found.input_tokens, found.output_tokens) == (into, out)
    assert (found.cached_tokens, found.estimated) == (cached, estimated)


def test_an_advisors_tokens_are_its_own_models() -> None:
    steps = [step("message", 9, 2), step("advisor_message", 900, 20, "claude-opus-4-7")]
    found = read("anthropic", _with(MESSAGE, {"usage.iterations": steps}))
    assert (found.input_tokens, found.output_tokens) == (9, 2)
    assert found.beside == (("claude-opus-4-7", Usage(900, output_tokens=20)),)


@pytest.mark.parametrize(
    ("counts", "into", "out", "cached", "written", "estimated"),
    [
        # Within the prompt, as OpenAI counts.
        ({"prompt": 500, "completion": 9, "total": 509, "cached": 400}, 500, 9, 400, 0, False),
        # More than the prompt: beside it, whatever the total says.
        ({"prompt": 500, "completion": 9, "total": 509, "cached": 7000}, 7500, 9, 7000, 0, False),
        # The total shows it.
        ({"prompt": 500, "completion": 9, "total": 909, "cached": 400}, 900, 9, 400, 0, False),
        (
            {"prompt": 500, "completion": 9, "total": 1109, "cached": 400, "written": 200},
            1100, 9, 400, 200, False,
        ),
        # Thoughts that only the total tells of.
        ({"prompt": 20, "completion": 30, "total": 650}, 20, 630, 0, 0, True),
        # No total, or a wrong one, shows nothing.
        ({"prompt": 20, "completion": 30, "total": 0}, 20, 30, 0, 0, False),
        ({"prompt": 20, "completion": 30, "total": 40}, 20, 30, 0, 0, False),
    ],
)  # fmt: skip
def test_no_kind_of_token_is_lost(
    counts: dict[str, int], into: int, out: int, cached: int, written: int, estimated: bool
) -> None:
    usage = {f"{name}_tokens": counts[name] for name in ("prompt", "completion", "total")}
    details = {
        "cached_tokens": counts.get("cached", 0),
        "cache_write_tokens": counts.get("written", 0),
    }
    document = _with(CHAT, {"usage": {**usage, "prompt_tokens_details": details}})
    found = read("openai", document)
    assert (found.input_tokens, found.output_tokens) == (into, out)
    assert (found.cached_tokens, found.cache_write_tokens) == (cached, written)
    assert found.estimated == estimated
    quick = glance(json.dumps(document).encode())
    assert quick is None or quick.usage == found


def test_what_geminis_total_alone_tells_of_is_output() -> None:
    counts = {"promptTokenCount": 20, "candidatesTokenCount": 30, "totalTokenCount": 650}
    found = read("gemini", _with(CONTENT, {"usageMetadata": counts}))
    assert (found.output_tokens, found.reasoning_tokens, found.estimated) == (630, 600, True)


@pytest.mark.parametrize(
    ("usage", "own", "lent"),
    [
        (Usage(10, input_audio_tokens=5, output_tokens=1), {}, True),
        (Usage(10, input_audio_tokens=5, output_tokens=1), {"input_audio": "9"}, False),
        (Usage(10, output_tokens=9, output_audio_tokens=5), {}, True),
        (Usage(10, output_tokens=9, output_image_tokens=5), {}, True),
        (Usage(10, input_image_tokens=5, output_tokens=1), {}, False),  # billed as text is
        (Usage(10, cache_write_tokens=5, cache_write_1h_tokens=5), {"cache_write": "2"}, True),
        (Usage(10, cache_write_tokens=5), {"cache_write": "2"}, False),
        (Usage(10, output_tokens=9, reasoning_tokens=5), {}, False),
    ],
)
def test_a_rate_that_is_lent_makes_no_exact_cost(
    usage: Usage, own: dict[str, str], lent: bool
) -> None:
    rates = {kind: Rate(Decimal(rate)) for kind, rate in own.items()}
    price = Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(2)), **rates)
    assert borrowed(usage, price) == lent


@pytest.mark.parametrize(
    ("source", "protocol", "stream", "body", "counts"),
    [row[1:] for row in json.loads((Path(__file__).parent / "usages.json").read_text("utf-8"))],
)
def test_counts_as_public_reports_have_them(
    source: str, protocol: Any, stream: bool, body: str, counts: dict[str, Any] | None
) -> None:
    """Servers' dialects: where their counts stand, what is counted within or beside what, counts
    of zero before or after the real ones."""
    usage = completion(adapter(protocol), body.encode(), stream=stream).usage
    if counts is None:
        assert usage is None, source
        return
    assert usage is not None, source
    assert {name: getattr(usage, name) for name in counts} == counts, source
