"""What Claude Code, Codex and aider really sent (fixtures/clients), again, for models of every
protocol. Recorded with tests/clients/record.py from Claude Code 2.1.197, Codex 0.171.0 and aider
0.86.2, which ran to their ends against the gateway."""

import json
import time
from typing import Any

import httpx
import pytest

from omni_cli.domain.record import replace
from tests.gateway_server import Served
from tests.paths import REPO

MODELS = (
    "anthropic/claude-sonnet-4-20250514",
    "openai/gpt-4o",
    "google/gemini-2.0-flash",
    "ollama/llama3.1:70b",
    "deepseek/deepseek-chat",
)
ANY = (*MODELS, "auto", "auto:cheap", "auto:best", "role:heartbeat", "chain:Production Chain")


def _send(gateway: Served, name: str, model: str) -> httpx.Response:
    recorded = json.loads((REPO / "fixtures" / "clients" / f"{name}.json").read_text())
    return httpx.post(
        gateway.url + recorded["path"],
        json={**recorded["body"], "model": model},
        headers=recorded["headers"],
        timeout=20,
        trust_env=False,
    )


def _events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = (line for line in answer.text.splitlines() if line.startswith("data: {"))
    return [json.loads(line[6:]) for line in lines]


def _row(gateway: Served) -> Any:
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert row.state == "ok"
    assert not row.estimated
    return row


@pytest.mark.parametrize("model", ANY)
def test_claude_code_calls_a_tool(gateway: Served, model: str) -> None:
    answer = _send(gateway, "claude_code_first", model)
    events = _events(answer)
    kinds = [event["type"] for event in events if event["type"] != "ping"]
    assert kinds[0] == "message_start"
    assert kinds[-2:] == ["message_delta", "message_stop"]
    assert kinds.count("content_block_start") == kinds.count("content_block_stop") >= 1
    calls = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert [call["name"] for call in calls if call["type"] == "tool_use"] == ["Read"]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert answer.headers["request-id"].startswith("req_")
    row = _row(gateway)
    assert row.usage.output_tokens == events[-2]["usage"]["output_tokens"] > 0


@pytest.mark.parametrize("model", ANY)
def test_claude_code_goes_on_after_a_tool(gateway: Served, model: str) -> None:
    events = _events(_send(gateway, "claude_code_tool_result", model))
    assert events[-2]["delta"]["stop_reason"] in ("end_turn", "max_tokens")
    text = [e["delta"]["text"] for e in events if e.get("delta", {}).get("type") == "text_delta"]
    assert "".join(text)
    _row(gateway)


def test_claude_code_counts_tokens(gateway: Served) -> None:
    answer = _send(gateway, "claude_code_count", MODELS[1])
    assert answer.status_code == 200
    assert answer.json()["input_tokens"] > 0
    assert not list(gateway.app.ledger.recent(limit=2))


def test_claude_code_looks_whether_anybody_is_there(gateway: Served) -> None:
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        answer = client.head("/")
        assert (answer.status_code, answer.content) == (200, b"")
        assert client.get("/").json()["name"] == "omni"
        assert client.head("/v1/models").status_code == 200
        assert client.head("/metrics").status_code == 405


def _speak_responses(gateway: Served) -> None:
    provider = gateway.app.providers.get("openai")
    assert provider is not None
    gateway.app.fleet.put_provider(replace(provider, protocol="openai-responses"))
    time.sleep(0.6)  # the gateway looks at the store four times a second


@pytest.mark.parametrize(("model", "responses"), [*((m, False) for m in ANY), (MODELS[1], True)])
def test_codex_calls_a_tool_of_a_namespace(gateway: Served, model: str, responses: bool) -> None:
    if responses:
        _speak_responses(gateway)
    events = _events(_send(gateway, "codex_first", model))
    kinds = [event["type"] for event in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    response = events[-1]["response"]
    calls = [item for item in response["output"] if item["type"] == "function_call"]
    done = [e["item"] for e in events if e["type"] == "response.output_item.done"]
    if not responses:  # the simulator knows no namespaces
        assert [(call["namespace"], call["name"]) for call in calls] == [
            ("multi_agent_v1", "close_agent")
        ]
        assert calls == [item for item in done if item["type"] == "function_call"]
    assert response["usage"]["output_tokens"] == _row(gateway).usage.output_tokens > 0


@pytest.mark.parametrize("model", ANY)
def test_codex_goes_on_after_a_tool(gateway: Served, model: str) -> None:
    events = _events(_send(gateway, "codex_tool_result", model))
    output = events[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["message"]
    assert output[0]["content"][0]["text"]
    _row(gateway)


def test_what_a_provider_would_do_itself_is_left_out_elsewhere(gateway: Served) -> None:
    """Codex offers OpenAI's own search beside its functions unless it is told not to."""
    answer = _send(gateway, "codex_web_search", "anthropic/claude-sonnet-4-20250514")
    assert _events(answer)
    assert "web_search" in answer.headers["x-omni-left-out"]
    _speak_responses(gateway)
    assert _events(_send(gateway, "codex_web_search", "openai/gpt-4o"))


@pytest.mark.parametrize("model", ANY)
def test_aider_edits(gateway: Served, model: str) -> None:
    answer = _send(gateway, "aider", model)
    events = _events(answer)
    assert "".join(e["choices"][0]["delta"].get("content") or "" for e in events if e["choices"])
    assert "data: [DONE]" in answer.text
    _row(gateway)
