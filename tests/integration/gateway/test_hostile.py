"""Bodies that are no requests, or strange ones: refused in the caller's protocol, never an error of
ours, nothing charged for what was not asked (E3)."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

USER = {"role": "user", "content": "Is all well?"}
TOOL = {
    "name": "look",
    "description": "Looks.",
    "parameters": {"type": "object", "properties": {"a": {"type": "string"}}},
}
#: A sound request of each protocol, with about every field that omni reads.
SOUND: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": "openai/gpt-4o",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Is all well?"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "look", "arguments": "{}"},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "Yes."},
        ],
        "max_tokens": 20,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ["x"],
        "tools": [{"type": "function", "function": TOOL}],
        "tool_choice": "auto",
        "response_format": {"type": "json_object"},
        "stream": False,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "low",
    },
    "/v1/responses": {
        "model": "openai/gpt-4o",
        "instructions": "Be brief.",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "Is all well?"}]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "Yes."},
        ],
        "tools": [{"type": "function", **TOOL}, {"type": "namespace", "name": "n", "tools": []}],
        "tool_choice": "auto",
        "max_output_tokens": 20,
        "text": {"format": {"type": "text"}},
        "reasoning": {"effort": "low"},
        "stream": False,
    },
    "/v1/messages": {
        "model": "anthropic/claude-3-haiku-20240307",
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [
            USER,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "c1", "name": "look", "input": {}}],
            },
            {
                "role": "user",
                "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "Yes."}],
            },
        ],
        "max_tokens": 20,
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "auto"},
        "thinking": {"type": "disabled"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
        "stop_sequences": ["x"],
        "stream": False,
    },
    "/v1/messages/count_tokens": {
        "model": "anthropic/claude-3-haiku-20240307",
        "messages": [USER],
        "tools": [{"name": "look", "input_schema": {"type": "object"}}],
    },
    "/api/chat": {
        "model": "ollama/llama3.1:70b",
        "messages": [{**USER, "images": []}],
        "options": {"num_predict": 20, "temperature": 0.5, "stop": ["x"]},
        "format": "json",
        "think": False,
        "stream": False,
    },
    "/v1beta/models/google%2Fgemini-2.0-flash:generateContent": {
        "contents": [{"role": "user", "parts": [{"text": "Is all well?"}]}],
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "generationConfig": {"maxOutputTokens": 20, "temperature": 0.5, "stopSequences": ["x"]},
        "tools": [{"functionDeclarations": [TOOL]}],
        "toolConfig": {"functionCallingConfig": {"mode": "AUTO"}},
    },
    "/v1/embeddings": {"model": "openai/text-embedding-3-small", "input": ["a", "b"]},
    "/v1/chat": {
        "messages": [USER],
        "priority": "cheap",
        "latency_pref": "fast",
        "max_cost": 0.5,
        "needs": ["streaming"],
        "role": "heartbeat",
    },
    "/v1/router/debug": {"model": "auto", "messages": [USER], "priority": "best"},
}
NO_REQUESTS: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{'model': 1}",
    "cut": b'{"model": "openai/gpt-4o", "messages": [',
    "two": b"{}{}",
    "a list": b"[1, 2]",
    "null": b"null",
    "a number": b"1e999",
    "NaN": b'{"model": NaN}',
    "bytes": b"\xff\xfe\x00\x01",
    "not UTF-8": b'{"model": "\xff\xfe"}',
    "a BOM": b"\xef\xbb\xbf{}",
    "deep": b'{"model": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Simulator(seed=7) as sim, serving(tmp_path_factory.mktemp("hostile"), sim) as made:
        yield made


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=20, trust_env=False) as made:
        yield made


def _message(path: str, answer: httpx.Response) -> str:
    """Of an error in the form of the path's protocol."""
    document = answer.json()
    error = document["error"]
    if path == "/api/chat":
        assert isinstance(error, str)
        return error
    if path.startswith("/v1/messages"):
        assert document["type"] == "error"
    return str(error["message"])


@pytest.mark.parametrize("path", SOUND)
def test_sound_ones_are_sound(client: httpx.Client, path: str) -> None:
    answer = client.post(path, json=SOUND[path])
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", NO_REQUESTS)
@pytest.mark.parametrize("path", SOUND)
def test_no_requests_are_refused(
    served: Served, client: httpx.Client, path: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = served.sim.stats()["requests"]
    answer = client.post(
        path, content=NO_REQUESTS[name], headers={"content-type": "application/json"}
    )
    assert answer.status_code in (400, 404, 413), answer.text
    assert _message(path, answer)
    assert "Traceback" not in answer.text
    assert served.sim.stats()["requests"] == asked
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


ODD_TEXTS = st.sampled_from(
    ["", "\x00", "\r\nx-evil: 1", "\ud800", "\u202e", "a" * 3_000, "data:image/png;base64,!!"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | ODD_TEXTS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "role", "content", "name", "url", "parts", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in inner:
            yield from _places(item, (*at, key))


@st.composite
def changed(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A sound request with one or two values in it replaced."""
    path = draw(st.sampled_from(sorted(SOUND)))
    body = json.loads(json.dumps(SOUND[path]))
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(sorted(_places(body), key=repr)))
        holder: Any = body
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = draw(VALUES)
    # Also to a model of another protocol than its own.
    if "model" in SOUND[path] and body["model"] == SOUND[path]["model"] and draw(st.booleans()):
        body["model"] = draw(
            st.sampled_from(
                [
                    "google/gemini-2.0-flash",
                    "auto:cheap",
                    "openai/gpt-4o",
                    "anthropic/claude-3-haiku-20240307",
                ]
            )
        )
    return path, body


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(request=changed())
def test_strange_values_are_answered_or_refused(
    served: Served,
    client: httpx.Client,
    caplog: pytest.LogCaptureFixture,
    request: tuple[str, dict[str, Any]],
) -> None:
    path, body = request
    content = json.dumps(body).encode()
    answer = client.post(path, content=content, headers={"content-type": "application/json"})
    assert answer.status_code < 500, (path, content[:2_000], answer.text)
    assert "x-evil" not in answer.headers
    if answer.status_code != 200:
        assert _message(path, answer)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_everything_is_settled(served: Served, client: httpx.Client) -> None:
    """After all of the above."""
    assert client.post("/v1/chat/completions", json=SOUND["/v1/chat/completions"]).is_success
    rows = list(served.app.ledger.recent(limit=1_000_000))
    served.settle(len(rows))
