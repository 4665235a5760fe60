"""Discovery, comparison and optimizing over HTTP, while requests go on (E3, A7, D2, D4)."""

import json
import time

import httpx

from omni_cli.services.judge.compare_documents import document
from tests.gateway_server import Served

MODELS = ["openai/gpt-4o", "deepseek/deepseek-chat"]


def test_discovery_holds_nobody_up(gateway: Served, http: httpx.Client) -> None:
    gateway.sim.fault("slow-first:1", "openai/*")
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as other:
        began = time.monotonic()
        with other.stream("GET", "/api/models/discover?provider=openai") as slow:
            assert http.get("/health").status_code == 200
            assert http.get("/api/roles").status_code == 200
            quick = time.monotonic() - began
            found = slow.read()
    assert quick < time.monotonic() - began
    assert b'"providers"' in found
    taken = http.post("/api/models/discover", json={"provider": "deepseek"}).json()
    assert "applied" in taken


def test_a_comparison_from_begin_to_results(gateway: Served, http: httpx.Client) -> None:
    asked = {"models": MODELS, "prompts": ["What is 3 + 6?", "Is all well?"], "expect": "simulated"}
    begun = http.post("/api/models/compare", json={**asked, "max_cost": 0.5})
    assert begun.status_code == 202, begun.text
    assert begun.json()["calls"] == 4
    name = begun.json()["comparison"]
    end = time.monotonic() + 20
    while (found := http.get(f"/api/models/compare/{name}").json())["state"] != "complete":
        assert time.monotonic() < end
        time.sleep(0.05)
    report = gateway.app.compare_reports.report(*gateway.app.compare.load(name))
    assert found == json.loads(json.dumps(document(report)))
    assert set(found["detailedResults"]) == set(MODELS)
    assert found["detailedResults"][MODELS[0]]["performance"]["accuracyScore"] == 1.0
    newest = http.get("/api/models/analytics/compare").json()
    assert newest == {**found, "comparison": newest["comparison"]}
    assert newest["comparison"]["id"] == name
    assert [one["quality"] for one in newest["comparison"]["results"]] == [100, 100]
    listed = http.get("/api/models/compare").json()["comparisons"]
    assert [row["comparison"] for row in listed] == [name]
    gateway.settle(4)


def test_what_a_comparison_may_not(gateway: Served, http: httpx.Client) -> None:
    asked = {"models": MODELS, "prompts": ["x"]}
    for wrong, status in (
        ({"max_cost": 0.0000001}, 402),
        ({"scorer": "command"}, 400),
        ({"scorer": "json-schema"}, 400),
        ({"models": ["nobody/nothing"]}, 404),
        ({"models": []}, 400),
        ({"prompts": []}, 400),
        ({"iterations": 1000}, 400),
        ({"max_cost": -1}, 400),
    ):
        answer = http.post("/api/models/compare", json={**asked, **wrong})
        assert answer.status_code == status, (wrong, answer.text)
    assert gateway.sim.stats()["requests"] == 0
    assert http.get("/api/models/compare/zzzz").status_code == 404


def test_optimizing_and_settings(gateway: Served, http: httpx.Client) -> None:
    few = http.post("/api/models/optimize", json={})
    assert few.status_code == 200
    assert few.json()["suggested"] is None
    assert "can be replayed" in few.json()["reason"]
    for number in range(22):
        body = {"messages": [{"role": "user", "content": f"Explain part {number} of a network."}]}
        assert http.post("/v1/chat", json=body).status_code == 200
    gateway.settle(22)
    found = http.post("/api/models/optimize", json={"lose": 5}).json()
    assert found["replayed"] == 22
    assert found["frontier"]
    config = http.get("/api/config").json()
    assert config["routing"]["priority"] == "balanced"
    assert config["alerts"]["webhook"] is False
