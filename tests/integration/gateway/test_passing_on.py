"""Rankings, moderations, images and speech: on to a provider that has them, and into the ledger."""

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.pricing import Price, Rate
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

SOUND = b"ID3\x00\x01sound"
#: By path: the type and the body of the answer.
ANSWERS: dict[str, tuple[str, Any]] = {
    "/v1/rerank": ("application/json", {"results": [{"index": 1}], "usage": {"total_tokens": 500}}),
    "/v1/moderations": ("application/json", {"id": "m", "results": [{"flagged": False}]}),
    "/v1/images/generations": (
        "application/json",
        {"data": [{"b64_json": "AA=="}], "usage": {"input_tokens": 50, "output_tokens": 4000}},
    ),
    "/v1/audio/speech": ("audio/mpeg", SOUND),
}
BODIES: dict[str, dict[str, Any]] = {
    "rerank": {"query": "q", "documents": ["a", "b"], "top_n": 1},
    "moderations": {"input": "all is well"},
    "images/generations": {"prompt": "a cat", "size": "1024x1024"},
    "audio/speech": {"input": "hello", "voice": "alloy"},
}


class _Vendor(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.asked.append((self.path, body))
        kind, answer = ANSWERS.get(self.path, ("application/json", {"error": "no such path"}))
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200 if self.path in ANSWERS else 404)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nothing: pytest shows what matters."""


@pytest.fixture
def served(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    _Vendor.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Vendor)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    with serving(tmp_path, sim) as found:
        base = f"http://127.0.0.1:{server.server_port}/v1"
        found.app.fleet.put_provider(Provider("up", "up", "openai", base, "none"))
        model = ModelInfo("up/any", "up", "any-1", "any", status="active")
        found.app.fleet.put_model(model, set_fields=("status",))
        price = Price("priced", input=Rate(Decimal(2)), output=Rate(Decimal(10)))
        found.app.models.set_price("up/any", price, origin="user", now_ms=0)
        yield found
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("what", BODIES)
def test_body_and_answer_go_as_they_are(served: Served, what: str) -> None:
    ask = {"model": "up/any", **BODIES[what]}
    answer = httpx.post(f"{served.url}/v1/{what}", json=ask, trust_env=False)
    assert answer.status_code == 200, answer.text
    assert _Vendor.asked == [(f"/v1/{what}", {**ask, "model": "any-1"})]
    kind, body = ANSWERS[f"/v1/{what}"]
    assert answer.headers["content-type"] == kind
    assert (answer.content if isinstance(body, bytes) else answer.json()) == body
    served.settle(1)
    (row,) = served.app.ledger.recent(limit=2)
    usage = row.usage
    match what:
        case "rerank":
            assert (usage.input_tokens, row.estimated, row.total_nusd) == (500, False, 1_000_000)
        case "images/generations":
            assert (usage.input_tokens, usage.output_image_tokens) == (50, 4000)
            assert row.estimated  # the price of a made image's tokens is not known
        case _:
            assert row.estimated  # nothing was counted


def test_who_has_it_not_is_named(served: Served, http: httpx.Client) -> None:
    ask = {"model": "anthropic/claude-3-haiku-20240307", "input": "x"}
    answer = httpx.post(f"{served.url}/v1/moderations", json=ask, trust_env=False)
    assert answer.status_code == 400
    assert "/moderations" in answer.json()["error"]["message"]


def test_rankings_have_coheres_path_as_well(served: Served) -> None:
    ask = {"model": "up/any", **BODIES["rerank"]}
    answer = httpx.post(f"{served.url}/v2/rerank", json=ask, trust_env=False)
    assert answer.json()["results"] == [{"index": 1}]


@pytest.mark.parametrize("what", BODIES)
def test_a_provider_without_the_path_is_no_fault_of_ours(
    gateway: Served, http: httpx.Client, what: str
) -> None:
    """The model that was named goes on answering chats: its breaker tells of them alone."""
    ask = {"model": "openai/gpt-4o", **BODIES[what]}
    for _ in range(3):
        answer = http.post(f"/v1/{what}", json=ask)
        assert answer.status_code == 404, answer.text
        error = answer.json()["error"]
        assert error["code"] == "not_offered"
        assert f"/{what}" in error["message"]
        assert "omni models list" in error["message"]
    chat = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "Is all well?"}]}
    assert http.post("/v1/chat/completions", json=chat).status_code == 200
    gateway.settle(4)
    assert [row.total_nusd for row in gateway.app.ledger.recent(limit=4)][1:] == [0, 0, 0]


def _hard(served: Served, nusd: int) -> None:
    """A budget of everything, once the gateway holds the model that was put beside it."""
    served.app.budgets.put(Budget(0, "all", "", "day", nusd))


def _ask(served: Served, what: str, **more: Any) -> httpx.Response:
    ask = {"model": "up/any", **BODIES[what], **more}
    return httpx.post(f"{served.url}/v1/{what}", json=ask, trust_env=False)


def _used(served: Served) -> int:
    (budget,) = served.app.budgets.all()
    status = served.app.budgets.status(budget, served.app.now_ms())
    return status.spent_nusd + status.reserved_nusd


@pytest.mark.parametrize(
    ("what", "field"), [("images/generations", "prompt"), ("audio/speech", "input")]
)
@pytest.mark.parametrize("limited", ["budget", "maximum"])
def test_what_nothing_limits_is_refused_by_its_field_where_money_is_limited(
    served: Served, what: str, field: str, limited: str
) -> None:
    assert _ask(served, what).status_code == 200  # as nothing is limited
    _Vendor.asked.clear()
    ask, headers = {"model": "up/any", **BODIES[what]}, {}
    if limited == "budget":
        _hard(served, 10**12)
    else:
        headers = {"x-omni-max-cost": "1000"}
    for more in ({}, {"max_tokens": 5}, {"messages": [], "max_completion_tokens": 1}):
        answer = httpx.post(
            f"{served.url}/v1/{what}", json=ask | more, headers=headers, trust_env=False
        )
        assert answer.status_code == 402, answer.text
        message = answer.json()["error"]["message"]
        assert repr(field) in message
        assert f"/{what}" in message
        assert "a key that no budget covers" in message
    assert not _Vendor.asked


@pytest.mark.parametrize("what", ["rerank", "moderations"])
def test_no_ranking_or_judgement_passes_a_limit(served: Served, what: str) -> None:
    """Asked until the budget takes no more: what was counted and is held stays within it, and a
    field that is not known is refused by name."""
    limit = 4_000_000
    _hard(served, limit)
    odd = _ask(served, what, made_up=5)
    assert odd.status_code == 402
    assert "made_up" in odd.json()["error"]["message"]
    answers = [_ask(served, what) for _ in range(12)]
    assert {answer.status_code for answer in answers} == {200, 402}
    assert 0 < _used(served) <= limit


def test_a_rankings_question_counts_for_each_text(served: Served) -> None:
    """It is charged again before each of them: a long one before many short ones is dear."""
    query, documents = "q" * 1_000, ["d"] * 1_000  # a million tokens, in 6 kB
    _hard(served, 1_000_000_000)  # $1; a million tokens cost $2
    refused = _ask(served, "rerank", query=query, documents=documents)
    assert refused.status_code == 402, refused.text
    assert _ask(served, "rerank", query=query, documents=documents[:100]).status_code == 200


@pytest.mark.parametrize(
    ("what", "field", "value"),
    [
        ("rerank", "documents", [{"image": "https://x.test/a.png"}]),
        ("rerank", "query", {"image": "https://x.test/a.png"}),
        ("moderations", "input", [{"type": "image_url", "image_url": {"url": "https://x/a"}}]),
    ],
)
def test_a_picture_to_be_ranked_or_judged_needs_a_window(
    served: Served, what: str, field: str, value: Any
) -> None:
    _hard(served, 10**12)
    refused = _ask(served, what, **{field: value})
    assert refused.status_code == 402, refused.text
    message = refused.json()["error"]["message"]
    assert repr(field) in message
    assert "--context" in message
