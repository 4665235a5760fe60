"""Requests in the forms that agents send them in."""

import gzip
import json
import zlib

import httpx
import pytest
import zstandard

from tests.gateway_server import Served

ASK = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Is all well?"}]}
BODY = json.dumps(ASK).encode()
PACKED = {
    "gzip": gzip.compress(BODY),
    "deflate": zlib.compress(BODY),
    "zstd": zstandard.ZstdCompressor().compress(BODY),
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
    answer = _post(gateway, "/v1/chat/completions", b"x", **{"content-encoding": "br"})
    assert answer.status_code == 415
    assert "zstd" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "path", ["/v1/v1/chat/completions", "//v1/chat/completions", "/v1/chat/completions/"]
)
def test_a_base_url_with_too_much(gateway: Served, path: str) -> None:
    assert _post(gateway, path).status_code == 200


def test_googles_sdk_names_a_model_with_a_slash(gateway: Served) -> None:
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).encode()
    answer = _post(gateway, "/v1beta/openai/gpt-4o:generateContent", body)
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
