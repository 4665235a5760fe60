"""Requests in the forms that agents send them in."""

import gzip
import json
import zlib

import httpx
import pytest

from omni_cli.domain.ids import id_text
from omni_cli.domain.record import replace
from omni_cli.http.coding import zstandard
from tests.gateway_server import Served
from tests.strict_upstream import Body, strict

ASK = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Is all well?"}]}
ZSTD = zstandard()
BODY = json.dumps(ASK).encode()
PACKED = {
    "gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "zstd": ZSTD.compress(BODY),
}


def _post(gateway: Served, path: str, body: bytes = BODY, **headers: str) -> httpx.Response:
    sent = {"content-type": "application/json", **headers}
    return httpx.post(gateway.url + path, content=body, headers=sent, timeout=30)


@pytest.mark.parametrize("coding", PACKED)
def test_a_compressed_body_is_read(gateway: Served, coding: str) -> None:
    answer = _post(gateway, "/v1/chat/completions", PACKED[coding], **{"content-encoding": coding})
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]


def test_an_unknown_coding_is_told(gateway: Served) -> None:
    answer = _post(gateway, "/v1/chat/completions", b"x", **{"content-encoding": "compress"})
    assert answer.status_code == 415
    assert "zstd" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/v1/v1/chat/completions", "//v1/chat/completions", "/v1/chat/completions/"]
)
def test_a_base_url_with_too_much(gateway: Served, path: str) -> None:
    assert _post(gateway, path).status_code == 200


@pytest.mark.parametrize("model", ["openai/gpt-4o", "ollama/llama3.1:70b"])
def test_googles_sdk_names_a_model_with_a_slash(gateway: Served, model: str) -> None:
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).encode()
    answer = _post(gateway, f"/v1beta/{model}:generateContent", body)
    assert answer.status_code == 200, answer.text


def test_another_path_is_told_what_a_base_url_is(gateway: Served) -> None:
    answer = _post(gateway, "/somewhere/v1/chat/completions")
    assert answer.status_code == 404
    assert "base URL" in answer.json()["error"]["message"]


def test_what_was_left_out_is_told(gateway: Served) -> None:
    body = {**ASK, "model": "anthropic/claude-sonnet-4-20250514", "seed": 7, "temperature": 1.5}
    answer = _post(gateway, "/v1/chat/completions", json.dumps(body).encode())
    assert answer.headers["x-omni-left-out"] == "seed"
    assert answer.headers["x-omni-changed"] == "temperature: 1"
    stream = {**body, "stream": True}
    streamed = _post(gateway, "/v1/chat/completions", json.dumps(stream).encode())
    assert streamed.headers["x-omni-left-out"] == "seed"
    gateway.settle(2)
    for row in gateway.app.ledger.recent(limit=2):
        receipt = gateway.app.receipts.read(id_text(row.id))
        assert receipt.unsaid == {body["model"]: ["temperature: 1", "seed"]}


# --- sessions that go from one vendor to another --------------------------------------------------


def _verdict(body: Body) -> tuple[int, Body]:
    """As Anthropic: no thought that it has not signed, no id of another form."""
    text = json.dumps(body["messages"])
    if "SIG-OF-ANOTHER" in text:
        words = "messages.1.content.0: Invalid `signature` in `thinking` block"
        return 400, {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    if "functions.read:0" in text:
        words = "messages.1.content.0.tool_use.id: String should match pattern"
        return 400, {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
    content = [{"type": "text", "text": "answered"}]
    usage = {"input_tokens": 10, "output_tokens": 2}
    told = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": content}
    return 200, {**told, "stop_reason": "end_turn", "usage": usage}


def _claude(gateway: Served, url: str) -> None:
    app = gateway.app
    with app.fleet.change("test", "strict", None, "strict"):
        provider = app.fleet.provider("anthropic")
        app.fleet.put_provider(replace(provider, base_url=url))


def _session(*blocks: Body, result: Body | None = None) -> bytes:
    last = {"type": "text", "text": "go on"} if result is None else result
    turns = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": list(blocks)},
        {"role": "user", "content": [last]},
    ]
    thinking = {"type": "enabled", "budget_tokens": 1024}
    model = "anthropic/claude-sonnet-4-20250514"
    body = {"model": model, "max_tokens": 2000, "thinking": thinking, "messages": turns}
    return json.dumps(body).encode()


THOUGHT: Body = {"type": "thinking", "thinking": "hm", "signature": "SIG-OF-ANOTHER"}


def test_a_thought_of_another_vendor_does_not_end_a_session(gateway: Served) -> None:
    with strict(_verdict) as upstream:
        _claude(gateway, upstream.url)
        said = _session(THOUGHT, {"type": "text", "text": "hello"})
        answer = _post(gateway, "/v1/messages", said)
        assert answer.status_code == 200, answer.text
        assert answer.json()["content"][0]["text"] == "answered"
        first, second = upstream.asked
        assert "SIG-OF-ANOTHER" in json.dumps(first)
        assert second["messages"][1]["content"] == [{"type": "text", "text": "hello"}]
        assert second["thinking"] == first["thinking"]


def test_a_thought_that_was_refused_is_sent_no_second_time(gateway: Served) -> None:
    """One refusal a vendor, not one a turn; and what its own model thought later stays."""
    own: Body = {"type": "thinking", "thinking": "aha", "signature": "ITS-OWN"}
    with strict(_verdict) as upstream:
        _claude(gateway, upstream.url)
        for turn in range(3):
            said = json.loads(_session(THOUGHT, {"type": "text", "text": "hello"}))
            if turn:
                answer = [own, {"type": "text", "text": "answered"}]
                said["messages"] += [
                    {"role": "assistant", "content": answer},
                    {"role": "user", "content": "and then?"},
                ]
            assert _post(gateway, "/v1/messages", json.dumps(said).encode()).status_code == 200
        refused, *others = map(json.dumps, upstream.asked)
    assert "SIG-OF-ANOTHER" in refused
    assert len(others) == 3
    assert not any("SIG-OF-ANOTHER" in sent for sent in others)
    assert ["ITS-OWN" in sent for sent in others] == [False, True, True]


def test_nor_one_before_a_call_of_a_tool(gateway: Served) -> None:
    call: Body = {"type": "tool_use", "id": "functions.read:0", "name": "read", "input": {}}
    result: Body = {"type": "tool_result", "tool_use_id": "functions.read:0", "content": "ok"}
    with strict(_verdict) as upstream:
        _claude(gateway, upstream.url)
        answer = _post(gateway, "/v1/messages", _session(THOUGHT, call, result=result))
        assert answer.status_code == 200, answer.text
        last = upstream.asked[-1]
        (use,), (told,) = last["messages"][1]["content"], last["messages"][2]["content"]
        assert use["id"] == told["tool_use_id"]
        assert last["thinking"] == {"type": "disabled"}, (
            "its turn begins with a thought, or without"
        )


def test_other_errors_are_told_at_once(gateway: Served) -> None:
    wrong = {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}
    with strict(lambda _: (400, wrong)) as upstream:
        _claude(gateway, upstream.url)
        answer = _post(gateway, "/v1/messages", _session(THOUGHT))
        assert answer.status_code == 400
        assert len(upstream.asked) == 1
