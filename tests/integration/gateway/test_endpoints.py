"""Paths that applications ask for beside chats: texts to go on with, vectors, one model, errors."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.gateway.app import Options
from omni_cli.gateway.meter import Quota
from omni_cli.ports import Endpoint
from omni_cli.simulator import Simulator
from omni_cli.wire.registry import adapter, callers
from tests.gateway_server import Served, serving

THERE = "openai/text-embedding-3-small"
CHAT = "openai/gpt-4o"
LOCAL = "ollama/llama3.1:70b"
OTHERS = ("anthropic/claude-3-haiku-20240307", "google/gemini-2.0-flash", LOCAL)


@pytest.mark.parametrize("model", [CHAT, *OTHERS])
@pytest.mark.parametrize("path", ["/v1/completions", "/completions"])
def test_a_text_is_gone_on_with_by_any_model(http: httpx.Client, path: str, model: str) -> None:
    ask = {"model": model, "prompt": "Once upon a time", "max_tokens": 20}
    answer = http.post(path, json=ask)
    assert answer.status_code == 200, answer.text
    whole = answer.json()
    assert whole["object"] == "text_completion"
    assert whole["choices"][0]["text"]
    assert whole["usage"]["completion_tokens"] > 0
    options = {"include_usage": True}
    stream = http.post(path, json={**ask, "stream": True, "stream_options": options})
    lines = [x[6:] for x in stream.text.splitlines() if x.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    events = [json.loads(line) for line in lines[:-1]]
    text = "".join(e["choices"][0]["text"] for e in events if e["choices"])
    assert text
    assert events[-1]["usage"]["completion_tokens"] > 0
    assert [e["choices"][0]["finish_reason"] for e in events if e["choices"]][-1]


@pytest.mark.parametrize(
    ("body", "suffix"),
    [
        ({"prompt": "Once"}, None),
        ({"prompt": ["Once"]}, None),
        ({"prompt": "a", "suffix": "c"}, "c"),
        ({"prompt": "<|fim_prefix|>a<|fim_suffix|>c<|fim_middle|>"}, ""),
        ({"prompt": "<PRE> a <SUF>c <MID>"}, ""),
        ({"prompt": "<|im_start|>user\nhi<|im_end|>"}, ""),
    ],
)
def test_a_prompt_in_a_models_own_form_is_no_chat(body: dict[str, Any], suffix: str | None) -> None:
    caller = callers("openai")[1]
    assert caller.parse({"model": "m", **body}).request.suffix == suffix


@pytest.mark.parametrize("model", ["anthropic/claude-3-haiku-20240307", "google/gemini-2.0-flash"])
def test_who_fills_no_gap_says_so(http: httpx.Client, model: str) -> None:
    answer = http.post("/v1/completions", json={"model": model, "prompt": "a", "suffix": "c"})
    assert answer.status_code == 400
    assert "suffix" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("protocol", "base", "suffix", "path"),
    [
        ("openai", "http://127.0.0.1:8080/v1", "c", "/v1/completions"),
        ("openai", "http://127.0.0.1:8080/v1", "", "/v1/completions"),
        ("openai", "https://api.mistral.ai/v1", "c", "/v1/fim/completions"),
        ("openai", "https://api.deepseek.com", "c", "/beta/completions"),
        ("openai", "https://api.openai.com/v1", "", "/v1/chat/completions"),
        ("ollama", "http://127.0.0.1:11434", "c", "/api/generate"),
    ],
)
def test_a_gap_goes_to_where_it_can_be_filled(
    protocol: Any, base: str, suffix: str, path: str
) -> None:
    request = ChatRequest((Message.text_of("user", "a"),), suffix=suffix, max_output_tokens=9)
    call = adapter(protocol).build(request, "codestral", Endpoint(base, None))
    assert call.url.endswith(path)
    body = json.loads(call.body or b"")
    assert body.get("suffix", "") == suffix
    assert "a" in (body.get("prompt"), str(body.get("messages", [{}])[-1].get("content")))


@pytest.mark.parametrize("model", [THERE, LOCAL])
def test_googles_clients_get_vectors(gateway: Served, http: httpx.Client, model: str) -> None:
    content = {"parts": [{"text": "the cat sat"}]}
    one = http.post(
        f"/v1beta/models/{model}:embedContent",
        json={"content": content, "taskType": "RETRIEVAL_QUERY", "outputDimensionality": 8},
    )
    assert one.status_code == 200, one.text
    assert len(one.json()["embedding"]["values"]) == 8
    wish = {"model": f"models/{model}", "content": content, "outputDimensionality": 8}
    many = http.post(f"/v1beta/models/{model}:batchEmbedContents", json={"requests": [wish, wish]})
    vectors = [item["values"] for item in many.json()["embeddings"]]
    assert vectors == [one.json()["embedding"]["values"]] * 2
    gateway.settle(2)
    wrong = http.post(f"/v1beta/models/{model}:batchEmbedContents", json={"requests": []})
    assert wrong.json()["error"]["status"] == "INVALID_ARGUMENT"


def test_a_gemini_provider_is_asked_for_a_list() -> None:
    from omni_cli.domain.embeddings import Texts

    client = adapter("gemini")
    texts = Texts(["a", "b"], 8, purpose="CLUSTERING")
    call = client.embed(texts, "gemini-embedding-001", Endpoint("https://x.test", "k"))
    assert call.url == "https://x.test/v1beta/models/gemini-embedding-001:batchEmbedContents"
    first = json.loads(call.body or b"")["requests"][0]
    assert first == {
        "model": "models/gemini-embedding-001",
        "outputDimensionality": 8,
        "taskType": "CLUSTERING",
        "content": {"parts": [{"text": "a"}]},
    }
    answer = (
        b'{"embeddings":[{"values":[1,2]},{"values":[3]}],"usageMetadata":{"promptTokenCount":4}}'
    )
    found = client.vectors(answer)
    assert found.vectors == [[1, 2], [3]]
    assert found.usage is not None
    assert found.usage.input_tokens == 4


def test_one_model_in_googles_form(http: httpx.Client) -> None:
    found = http.get(f"/v1beta/models/{CHAT}").json()
    assert found["name"] == f"models/{CHAT}"
    assert found["outputTokenLimit"] > 0
    assert "generateContent" in found["supportedGenerationMethods"]
    assert http.get("/v1beta/models/auto").json()["name"] == "models/auto"
    listed = {model["name"] for model in http.get("/v1beta/models").json()["models"]}
    assert {f"models/{CHAT}", "models/auto"} <= listed
    missing = http.get("/v1beta/models/nobody")
    assert missing.status_code == 404
    assert missing.json()["error"]["status"] == "NOT_FOUND"


def test_a_name_with_a_slash_needs_no_models_before_it(http: httpx.Client) -> None:
    ask = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    answer = http.post(f"/v1beta/{CHAT}:generateContent", json=ask)
    assert answer.status_code == 200, answer.text
    assert answer.json()["candidates"]


def test_ollamas_clients_read_what_they_are_told(http: httpx.Client) -> None:
    one = http.post("/api/embeddings", json={"model": LOCAL, "prompt": "the cat sat"})
    assert one.status_code == 200, one.text
    assert one.json()["embedding"]
    nulls = {"model": THERE, "input": "a", "options": {"mirostat": None, "num_ctx": None}}
    embedded = http.post("/api/embed", json=nulls)
    assert embedded.status_code == 200, embedded.text
    assert isinstance(embedded.json()["load_duration"], int)
    for model in http.get("/api/tags").json()["models"]:
        assert len(model["digest"]) == 64  # its command line shows the first twelve
    assert http.head("/api/tags").status_code == 200
    for path in ("pull", "push", "create", "copy", "delete", "blobs/sha256:00"):
        answer = http.post(f"/api/{path}", json={"model": "x"})
        assert answer.status_code == 404
        assert isinstance(answer.json()["error"], str)


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/v1/nothing", "error"),
        ("/v1/messages/nothing", "request_id"),
        ("/v1beta/nothing", "error"),
    ],
)
def test_what_is_not_there_says_what_is(http: httpx.Client, path: str, key: str) -> None:
    answer = http.post(path, json={})
    assert answer.status_code == 404
    assert key in answer.json()
    assert "POST /v1" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", ["/v1/v1/messages", "//v1/messages", "/v1//messages"])
def test_a_base_url_that_says_too_much_is_meant_well(http: httpx.Client, path: str) -> None:
    ask = {"model": CHAT, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    url = httpx.URL(str(http.base_url)).copy_with(raw_path=path.encode())
    answer = http.post(url, json=ask)
    assert answer.status_code == 200, answer.text
    assert answer.json()["type"] == "message"


def test_a_name_of_the_catalogue_without_its_provider_is_no_overload(http: httpx.Client) -> None:
    ask = {"model": "mistral-large-latest", "messages": [{"role": "user", "content": "hi"}]}
    answer = http.post("/v1/messages", json={**ask, "max_tokens": 9})
    assert answer.status_code == 404, answer.text
    assert answer.json()["error"]["type"] == "not_found_error"
    assert "fleet" in answer.json()["error"]["message"]


def test_a_callers_sdk_reads_what_is_left_of_its_limits(tmp_path: Path) -> None:
    ask = {"model": CHAT, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    options = Options(org=Quota(rpm=5, tpm=100_000))
    with Simulator() as sim, serving(tmp_path, sim, options) as gateway:
        client = httpx.Client(base_url=gateway.url)
        first, second = (client.post("/v1/chat/completions", json=ask).headers for _ in range(2))
        client.close()
    assert first["x-ratelimit-limit-requests"] == "5"
    assert int(first["x-ratelimit-remaining-requests"]) == 4
    assert int(second["x-ratelimit-remaining-requests"]) == 3
    assert int(second["x-ratelimit-remaining-tokens"]) < 100_000
    assert second["x-ratelimit-reset-tokens"].endswith("s")


def test_azures_packages_find_their_paths(http: httpx.Client) -> None:
    base, version = f"/openai/deployments/{CHAT}", "?api-version=2026-10-21"
    ask = {"model": CHAT, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    answer = http.post(f"{base}/chat/completions{version}", json=ask)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]
    path = f"/openai/deployments/{THERE}/embeddings{version}"
    vectors = http.post(path, json={"model": THERE, "input": "a"})
    assert vectors.json()["data"][0]["embedding"]
