"""Vectors through the gateway, in both protocols that know them, and their bills."""

import base64
import struct
from typing import Any

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from tests.gateway_server import Served

THERE = "openai/text-embedding-3-small"
HERE = "ollama/llama3.1:70b"  # the simulator embeds with any model
GOOGLES = "google/gemini-2.0-flash"
TEXTS = ["the cat sat", "höher, \U0001f600 [weiter]"]
PATHS = ("/v1/embeddings", "/api/embed")
OWN_PATH = {THERE: PATHS[0], HERE: PATHS[1]}


def _vectors(path: str, answer: httpx.Response) -> list[list[float]]:
    assert answer.status_code == 200, answer.text
    document = answer.json()
    if path == "/api/embed":
        return [list(vector) for vector in document["embeddings"]]
    assert [item["index"] for item in document["data"]] == list(range(len(document["data"])))
    return [list(item["embedding"]) for item in document["data"]]


@pytest.mark.parametrize("model", [THERE, HERE])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("texts", [TEXTS, TEXTS[0]])
def test_each_protocol_embeds_with_each_model(
    gateway: Served, http: httpx.Client, path: str, model: str, texts: Any
) -> None:
    answer = http.post(path, json={"model": model, "input": texts, "dimensions": 8})
    found = _vectors(path, answer)
    assert [len(vector) for vector in found] == [8] * (1 if isinstance(texts, str) else 2)
    # The same texts give the same vectors, whichever way they are asked for.
    own = http.post(OWN_PATH[model], json={"model": model, "input": texts, "dimensions": 8})
    assert found == _vectors(OWN_PATH[model], own)
    gateway.settle(2)
    row = list(gateway.app.ledger.recent(limit=2))[1]
    counts = answer.json()
    told = counts["prompt_eval_count"] if path == "/api/embed" else counts["usage"]["total_tokens"]
    assert row.usage.input_tokens == told > 0
    assert (row.usage.output_tokens, row.estimated, row.savings_nusd) == (0, False, None)
    assert bool(row.total_nusd) == (model == THERE)


@pytest.mark.parametrize("path", PATHS)
def test_googles_models_embed_for_all(gateway: Served, http: httpx.Client, path: str) -> None:
    answer = http.post(path, json={"model": GOOGLES, "input": TEXTS, "dimensions": 8})
    found = _vectors(path, answer)
    assert [len(vector) for vector in found] == [8, 8]
    for method, body in (
        ("embedContent", {"content": {"parts": [{"text": TEXTS[0]}]}}),
        ("batchEmbedContents", {"requests": [{"content": {"parts": [{"text": TEXTS[0]}]}}]}),
    ):
        wish = body.get("requests", [body])[0]
        wish["outputDimensionality"] = 8
        own = http.post(f"/v1beta/models/{GOOGLES}:{method}", json=body)
        assert own.status_code == 200, own.text
        vectors = own.json().get("embeddings") or [own.json()["embedding"]]
        assert [vector["values"] for vector in vectors] == found[:1]
        straight = httpx.post(
            f"{gateway.sim.url}/google/v1beta/models/any:{method}", json=body, trust_env=False
        )
        assert straight.json() == own.json()  # as Google's own packages ask for it
    gateway.settle(3)
    for row in gateway.app.ledger.recent(limit=3):
        assert row.usage.input_tokens > 0
        assert (row.state, row.usage.output_tokens, row.estimated) == ("ok", 0, False)


def test_openais_package_gets_packed_vectors_of_a_local_model(http: httpx.Client) -> None:
    ask = {"model": HERE, "input": TEXTS, "dimensions": 8}
    plain = _vectors("/v1/embeddings", http.post("/v1/embeddings", json=ask))
    packed = http.post("/v1/embeddings", json={**ask, "encoding_format": "base64"})
    for item, vector in zip(packed.json()["data"], plain, strict=True):
        raw = base64.b64decode(item["embedding"])
        assert struct.unpack("<8f", raw) == pytest.approx(vector, abs=1e-6)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("model", [THERE, HERE])
def test_a_budget_holds_what_the_input_can_cost(
    gateway: Served, http: httpx.Client, path: str, model: str
) -> None:
    """The answer has no tokens: nothing is held for it, and no bound of it is sent,
    which OpenAI and the simulator refuse."""
    number = gateway.app.budgets.put(Budget(0, "all", "", "day", 10_000))
    answer = http.post(path, json={"model": model, "input": TEXTS})
    assert answer.status_code == 200, answer.text
    gateway.settle(1)
    budget = next(b for b in gateway.app.budgets.all() if b.id == number)
    status = gateway.app.budgets.status(budget, gateway.app.now_ms())
    (row,) = gateway.app.ledger.recent(limit=1)
    assert (status.spent_nusd, status.reserved_nusd) == (row.total_nusd, 0)
    if model == HERE:
        return
    refused = http.post(path, json={"model": model, "input": ["x " * 20_000]})
    assert refused.status_code == 402, refused.text


@pytest.mark.parametrize(
    ("path", "body", "word"),
    [
        ("/v1/embeddings", {"model": HERE, "input": [[1, 2, 3]]}, "token ids"),
        ("/v1/embeddings", {"model": HERE, "input": [1, 2]}, "token ids"),
        ("/v1/embeddings", {"model": HERE, "input": 5}, "'input'"),
        ("/v1/embeddings", {"model": HERE, "input": []}, "'input'"),
        ("/v1/embeddings", {"model": HERE, "input": [True]}, "'input'"),
        ("/v1/embeddings", {"model": HERE, "input": "x", "encoding_format": "int8"}, "int8"),
        ("/v1/embeddings", {"model": HERE, "input": "x", "dimensions": 0}, "dimensions"),
        ("/v1/embeddings", {"model": HERE, "input": "x", "late": 1}, "late"),
        ("/api/embed", {"model": THERE, "input": "x", "options": {"num_ctx": 5}}, "options"),
        ("/v1/embeddings", {"model": "anthropic/claude-3-haiku-20240307", "input": "x"}, "embed"),
        ("/v1/embeddings", {"model": "auto", "input": "x"}, "no model's name"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    gateway: Served, http: httpx.Client, path: str, body: dict[str, Any], word: str
) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == 400, answer.text
    assert word in answer.text
    assert not list(gateway.app.ledger.recent(limit=5))


@pytest.mark.parametrize("model", [THERE, HERE])
@pytest.mark.parametrize("fault", ["malformed", "wrong-json"])
def test_an_answer_without_vectors_is_the_providers_fault(
    gateway: Served, http: httpx.Client, model: str, fault: str
) -> None:
    gateway.sim.fault(fault, "*")
    for path in PATHS:
        answer = http.post(path, json={"model": model, "input": TEXTS})
        if OWN_PATH[model] == path and fault == "wrong-json":
            continue  # it passes as it came
        assert answer.status_code == 502, answer.text
