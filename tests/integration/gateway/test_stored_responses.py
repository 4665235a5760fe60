"""Responses that a provider keeps: fetched, stopped and deleted by whoever had them made."""

import json
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from omni_cli.domain.budgets import Budget
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import Served, serving

_USAGE = {"input_tokens": 100, "output_tokens": 200, "total_tokens": 300}
_ASK = {"model": "later/m", "input": "Write it", "background": True, "max_output_tokens": 4_000}


class _Keeper(BaseHTTPRequestHandler):
    """Keeps responses, as OpenAI does: the first answer is queued, the next ones are whole."""

    protocol_version = "HTTP/1.1"
    kept: ClassVar[dict[str, dict[str, Any]]] = {}
    asked: ClassVar[list[tuple[str, str]]] = []
    named: ClassVar[str] = "resp_"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"] or 0))
        _, _, ident, *more = (*self.path.split("/")[1:], "")
        if more:
            self.asked.append(("POST", self.path))
            self._answer({**self.kept[ident], "status": "cancelled"})
            return
        ident = f"{self.named}{len(self.kept)}"
        self.kept[ident] = {"id": ident, "object": "response", "output": [], "model": "m"}
        self._answer({**self.kept[ident], "status": "queued"})

    def do_GET(self) -> None:
        self.asked.append(("GET", self.path))
        _, _, ident, *more = self.path.partition("?")[0].split("/")[1:]
        if ident not in self.kept:
            error = {"message": f"Response with id '{ident}' not found.", "code": None}
            self._answer({"error": error}, 404)
        elif more:
            self._answer({"object": "list", "data": [{"type": "message"}]})
        else:
            self._answer({**self.kept[ident], "status": "completed", "usage": _USAGE})

    def do_DELETE(self) -> None:
        ident = self.path.rpartition("/")[2]
        del self.kept[ident]
        self._answer({"id": ident, "object": "response", "deleted": True})

    def _answer(self, value: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing is said."""


@pytest.fixture
def keeper(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    _Keeper.kept.clear()
    _Keeper.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Keeper)
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
            price = Price("priced", input=Rate(Decimal("2.5")), output=Rate(Decimal(10)))
            served.app.models.set_price("later/m", price, origin="user", now_ms=0)
        yield served
    server.shutdown()
    server.server_close()


def _call(
    served: Served, method: str, path: str, key: str = "", body: dict[str, Any] | None = None
) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    with httpx.Client(base_url=served.url, timeout=20, trust_env=False, headers=headers) as http:
        for _ in range(100):  # the gateway looks at its store a few times a second
            answer = http.request(method, path, json=body)
            if body is None or answer.status_code not in (401, 404):
                return answer
    raise AssertionError(answer.text)


def test_a_response_in_the_background_is_fetched_and_settled(keeper: Served) -> None:
    number = keeper.app.budgets.put(Budget(0, "all", "", "day", 50_000_000))
    made = _call(keeper, "POST", "/v1/responses", body=_ASK)
    ident = made.json()["id"]
    whole = _call(keeper, "GET", f"/v1/responses/{ident}?include[]=reasoning&key=secret")
    assert whole.status_code == 200, whole.text
    assert whole.json() == {**_Keeper.kept[ident], "status": "completed", "usage": _USAGE}
    assert whole.headers["x-omni-model"] == "later/m"
    assert _Keeper.asked == [("GET", f"/v1/responses/{ident}?include%5B%5D=reasoning")]
    budget = keeper.app.budgets.get(number)
    assert budget is not None
    status = keeper.app.budgets.status(budget, keeper.app.now_ms())
    assert (status.spent_nusd, status.reserved_nusd) == (100 * 2_500 + 200 * 10_000, 0)
    again = _call(keeper, "GET", f"/responses/{ident}")
    assert again.json() == whole.json()
    keeper.settle(1)  # nothing of it is a request of its own
    assert keeper.app.budgets.status(budget, keeper.app.now_ms()) == status


def test_it_is_stopped_listed_and_deleted_at_its_provider(keeper: Served) -> None:
    ident = _call(keeper, "POST", "/v1/responses", body=_ASK).json()["id"]
    path = f"/v1/responses/{ident}"
    assert _call(keeper, "POST", f"{path}/cancel").json()["status"] == "cancelled"
    items = _call(keeper, "GET", f"{path}/input_items?limit=5&order=asc")
    assert items.json()["data"] == [{"type": "message"}]
    assert _Keeper.asked == [
        ("POST", f"{path}/cancel"),
        ("GET", f"{path}/input_items?limit=5&order=asc"),
    ]
    assert _call(keeper, "DELETE", path).json()["deleted"] is True
    gone = _call(keeper, "GET", path)
    assert gone.status_code == 404
    assert gone.json()["error"]["type"] == "invalid_request_error"
    assert "keeps no response" in gone.json()["error"]["message"]
    assert "127.0.0.1" not in gone.text
    streamed = _call(keeper, "GET", f"{path}?stream=true")
    assert streamed.status_code == 400
    assert "stream" in streamed.json()["error"]["message"]


def test_nobody_elses_response_is_told_of(keeper: Served) -> None:
    mine, other, same = "omni-mine", "omni-other", "omni-same"
    for token, org in ((mine, "a"), (other, "b"), (same, "a")):
        made = ClientKey(name=token, shown="omni-...", created_at=1, org=org)
        GatewayKeyStore(keeper.app.store).add(made, token)
    for _ in range(100):  # the gateway looks at its store a few times a second
        if _call(keeper, "GET", "/v1/models").status_code == 401:
            break
        time.sleep(0.02)
    ident = _call(keeper, "POST", "/v1/responses", mine, _ASK).json()["id"]
    path = f"/v1/responses/{ident}"
    for method, tail in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        told = _call(keeper, method, path + tail, other)
        unknown = _call(keeper, method, f"/v1/responses/resp_none{tail}", other)
        assert (told.status_code, unknown.status_code) == (404, 404), told.text
        words = [answer.json()["error"]["message"] for answer in (told, unknown)]
        assert words[0].replace(ident, "") == words[1].replace("resp_none", "")
    assert not _Keeper.asked
    assert _call(keeper, "GET", path, same).status_code == 200
    assert _call(keeper, "GET", path).status_code == 401


def test_what_was_translated_is_stored_nowhere(gateway: Served, http: httpx.Client) -> None:
    made = http.post("/v1/responses", json={"model": "openai/gpt-4o", "input": "Is all well?"})
    gateway.settle(1)
    gone = http.get(f"/v1/responses/{made.json()['id']}")
    assert gone.status_code == 404
    assert "stored nowhere" in gone.json()["error"]["message"]


def test_a_name_of_another_form_is_found_too(
    keeper: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """xAI's are UUIDs (its API reference, "Get a response")."""
    monkeypatch.setattr(_Keeper, "named", "0e1c7a52-6a3f-4be3-9d43-0c1f6a3c58b")
    ident = _call(keeper, "POST", "/v1/responses", body=_ASK).json()["id"]
    assert ident.startswith("0e1c")
    keeper.settle(1)
    fetched = _call(keeper, "GET", f"/v1/responses/{ident}")
    assert fetched.json().get("status") == "completed", fetched.text
    assert _call(keeper, "GET", f"/v1/responses/{ident}x").status_code == 404
    assert _call(keeper, "DELETE", f"/v1/responses/{ident}").json()["deleted"]
