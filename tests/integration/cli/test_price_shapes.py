"""A price has one meaning: each shape costs the same by CLI and by gateway (C1, structure A1)."""

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate, Tier
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving
from tests.integration.cli.conftest import Omni

#: What each call used; the second stands above the threshold of the tiers.
FEW, MANY = 1_000, 5_000
ANSWER = 100
ONE = Rate(Decimal(1))
TWO = Rate(Decimal(2))

#: Shape -> its price, and what calls of FEW and of MANY input tokens cost, dollars.
SHAPES: dict[str, tuple[Price | None, str | None, str | None]] = {
    "plain": (Price("priced", ONE, output=TWO), "0.0012", "0.0052"),
    "free": (Price("free"), "0", "0"),
    "minimum": (Price("priced", ONE, output=TWO, minimum_usd=Decimal("0.003")), "0.003", "0.0052"),
    "per-request": (
        Price("priced", ONE, output=TWO, per_request_usd=Decimal("0.01")),
        "0.0112",
        "0.0152",
    ),
    "tiers": (
        Price("priced", Rate(Decimal(1), (Tier(FEW, Decimal(3)),)), output=TWO),
        "0.0012",
        "0.0152",
    ),
    "no-output-rate": (Price("priced", ONE), None, None),
    "unknown": (None, None, None),
    "reported": (None, None, None),
}
ALLOWANCES = {
    "four-free": Price("priced", ONE, output=TWO, free_requests_per_month=4),
    "five-free": Price("priced", ONE, output=TWO, free_requests_per_month=5),
}


class _Upstream(BaseHTTPRequestHandler):
    """Answers whole or as a stream; counts as the request's text says."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        usage: dict[str, Any] = {
            "prompt_tokens": MANY if "many" in json.dumps(body["messages"]) else FEW,
            "completion_tokens": ANSWER,
        }
        if body["model"] == "reported":
            usage["cost"] = 0.25
        message = {"role": "assistant", "content": "Fine."}
        if body.get("stream"):
            events = [
                {"choices": [{"index": 0, "delta": message}]},
                {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": usage},
            ]
            data = "".join(f"data: {json.dumps({'id': 'a', **e})}\n\n" for e in events)
            self._send("text/event-stream", data + "data: [DONE]\n\n")
        else:
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._send("application/json", json.dumps({"choices": [choice], "usage": usage}))

    def _send(self, kind: str, text: str) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base's name
        pass


@pytest.fixture
def lab(home: Path) -> Iterator[Served]:
    """A gateway with a provider whose models have one price shape each."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    with (
        App({"OMNI_HOME": str(home)}) as app,
        app.fleet.change("test", "price shapes", None, "lab"),
    ):
        app.fleet.put_provider(
            Provider("lab", "Lab", "openai", url, auth_method="none", status="connected")
        )
        prices = {name: price for name, (price, _, _) in SHAPES.items()} | ALLOWANCES
        for name, price in prices.items():
            model = ModelInfo(f"lab/{name}", "lab", name, name, status="active")
            app.fleet.put_model(model, set_fields=("status",))
            if price is not None:
                app.models.set_price(model.id, price, origin="user", now_ms=app.now_ms())
    with Simulator() as sim, serving(home, sim) as served:
        yield served
    server.shutdown()
    server.server_close()


def by_cli(omni: Omni, model: str, text: str) -> str | None:
    done = omni("chat", "-m", model, "--json", text)
    assert done.code == 0, done.err
    cost: str | None = done.data["cost_usd"]
    return cost


def by_gateway(served: Served, model: str, text: str, *, stream: bool = False) -> str | None:
    """The ledger's charge; where the answer is whole, its header must tell the same."""
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
    before = len(list(served.app.ledger.recent(limit=10_000)))
    with httpx.Client(trust_env=False, timeout=20) as http:
        answer = http.post(f"{served.url}/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert "Fine." in answer.text
    served.settle(before + 1)
    charged = next(served.app.ledger.recent(limit=1)).cost_nusd
    cost = None if charged is None else str((Decimal(charged) / 10**9).normalize())
    told = answer.headers.get("x-omni-cost-usd")
    if not stream:
        assert (None if told is None else Decimal(told)) == (
            None if cost is None else Decimal(cost)
        )
    return cost


def same(*costs: str | None) -> bool:
    return len({None if cost is None else Decimal(cost) for cost in costs}) == 1


def test_a_shape_costs_the_same_by_both_ways(lab: Served, omni: Omni) -> None:
    for name, (_, few, many) in SHAPES.items():
        model = f"lab/{name}"
        told = (by_cli(omni, model, "few"), by_gateway(lab, model, "few"))
        assert same(*told, few), (name, told)
        told = (by_gateway(lab, model, "many"), by_gateway(lab, model, "many", stream=True))
        assert same(*told, many), (name, told)


def test_free_calls_are_counted_over_both_ways(lab: Served, omni: Omni) -> None:
    model = "lab/four-free"
    assert same(by_gateway(lab, model, "few"), "0")
    assert same(by_cli(omni, model, "few"), "0")
    assert same(by_gateway(lab, model, "few", stream=True), "0")
    assert same(by_gateway(lab, model, "few"), "0")
    assert same(by_gateway(lab, model, "few"), by_cli(omni, model, "few"), "0.0012")
    assert same(by_gateway(lab, model, "few", stream=True), "0.0012")


def test_callers_together_never_get_more_free_calls_than_there_are(lab: Served) -> None:
    body = {"model": "lab/five-free", "messages": [{"role": "user", "content": "few"}]}

    def ask() -> None:
        with httpx.Client(trust_env=False, timeout=20) as http:
            assert http.post(f"{lab.url}/v1/chat/completions", json=body).status_code == 200

    crowd = [threading.Thread(target=ask) for _ in range(12)]
    for caller in crowd:
        caller.start()
    for caller in crowd:
        caller.join()
    lab.settle(12)
    costs = sorted(row.cost_nusd or 0 for row in lab.app.ledger.recent(limit=12))
    assert costs == [0] * 5 + [1_200_000] * 7
