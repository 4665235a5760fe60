"""What a budget holds of a real call, and what becomes of those that it cannot hold."""

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

_PRICE = Price("priced", input=Rate(Decimal("2.5")), output=Rate(Decimal(10)))


class _Queued(BaseHTTPRequestHandler):
    """Takes an answer for later."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = json.dumps({"id": "resp_1", "status": "queued", "output": [], "model": "m"}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture
def queued(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Queued)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    with serving(tmp_path, sim) as served:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        with served.app.fleet.change("test", "later", None, "test"):
            served.app.fleet.put_provider(
                Provider("later", "later", "openai-responses", url, auth_method="none")
            )
            served.app.models.put(
                ModelInfo("later/m", "later", "m", "m", context_window=1_000), now_ms=0
            )
            served.app.models.set_price("later/m", _PRICE, origin="user", now_ms=0)
        yield served
    server.shutdown()
    server.server_close()


def _post(served: Served, path: str, body: dict[str, Any]) -> httpx.Response:
    with httpx.Client(base_url=served.url, timeout=20, trust_env=False) as http:
        for _ in range(100):  # the gateway looks at its store a few times a second
            answer = http.post(path, json=body)
            if answer.status_code != 404:
                return answer
    raise AssertionError(answer.text)


def test_an_answer_in_the_background_stays_held(queued: Served) -> None:
    """Its provider charges when it ends, which nobody here sees."""
    number = queued.app.budgets.put(Budget(0, "all", "", "day", 50_000_000))
    ask = {"model": "later/m", "input": "Write it", "background": True, "max_output_tokens": 4_000}
    assert _post(queued, "/v1/responses", ask).status_code == 200
    queued.settle(1)
    budget = queued.app.budgets.get(number)
    assert budget is not None
    status = queued.app.budgets.status(budget, queued.app.now_ms())
    assert status.spent_nusd + status.reserved_nusd >= 40_000_000
    again = _post(queued, "/v1/responses", ask)
    assert again.status_code == 200  # what is left bounds it
    assert _post(queued, "/v1/responses", ask).status_code == 402


@pytest.mark.parametrize("covered", [False, True])
def test_a_file_by_id_costs_nobody_else_an_answer(
    gateway: Served, http: httpx.Client, covered: bool
) -> None:
    """Under a budget it is the whole window, or refused by name; others go on."""
    if covered:
        gateway.app.budgets.put(Budget(0, "all", "", "day", 50_000_000))
    source = {"type": "file", "file_id": "file_1"}
    content = [{"type": "document", "source": source}, {"type": "text", "text": "?"}]
    by_id = {
        "model": "anthropic/claude-3-haiku-20240307",
        "max_tokens": 20,
        "messages": [{"role": "user", "content": content}],
    }
    plain = {**by_id, "messages": [{"role": "user", "content": "Is all well?"}]}
    bodies = [by_id, plain, plain, by_id, plain, plain]
    found: list[httpx.Response] = [httpx.Response(0)] * len(bodies)

    def ask(number: int) -> None:
        found[number] = http.post("/v1/messages", json=bodies[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for body, answer in zip(bodies, found, strict=True):
        if body is plain or not covered:
            assert answer.status_code == 200, answer.text
        else:
            assert answer.status_code == 402
            assert "document" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    "field", [b'"max_tokens":1e999', b'"n":-1e999', b'"max_tokens":1e400,"stream":true']
)
@pytest.mark.parametrize("covered", [False, True])
def test_a_number_beyond_all_numbers_is_the_callers_mistake(
    gateway: Served, http: httpx.Client, covered: bool, field: bytes
) -> None:
    if covered:
        gateway.app.budgets.put(Budget(0, "all", "", "day", 10**9))
    body = b'{"model":"openai/gpt-4o","messages":[{"role":"user","content":"x"}],%b}' % field
    answer = http.post("/v1/chat/completions", content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("field", "value"), [("service_tier", "priority"), ("made_up", 5), ("n", "several")]
)
def test_what_a_budget_cannot_hold_is_refused_by_name(
    gateway: Served, http: httpx.Client, field: str, value: Any
) -> None:
    ask = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "x"}], field: value}
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**9))
    answer = http.post("/v1/chat/completions", json=ask)
    assert answer.status_code == 402
    assert field in answer.json()["error"]["message"]
    assert "leave it out" in answer.json()["error"]["message"]
    maximum = http.post("/v1/chat/completions", json=ask, headers={"x-omni-max-cost": "1"})
    assert maximum.status_code == 402


def test_a_stand_in_is_asked_only_while_the_maximum_holds_it(
    gateway: Served, http: httpx.Client
) -> None:
    """Cut answers may be billed whole: each counts as much as it could cost."""
    gateway.sim.fault("truncate:5", "*")
    ask = {
        "model": "openai/gpt-4o",
        "messages": [{"role": "user", "content": "x"}],
        "max_tokens": 900,
    }
    answer = http.post("/v1/chat/completions", json=ask, headers={"x-omni-max-cost": "0.0102"})
    assert answer.status_code in (402, 502, 503), answer.text
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=5)
    assert len(gateway.app.ledger.attempts(row.id)) == 1
