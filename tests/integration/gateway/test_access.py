"""Who may ask, for what, and how much; and what a hostile caller gets."""

import asyncio
import gc
import re
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.gateway.app import Options
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.desk import Desk
from omni_cli.http.request import Limits
from omni_cli.records import SCOPES, ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.engine import store_env
from tests.gateway_server import Served, serving

ASK: dict[str, Any] = {
    "model": "openai/gpt-4o",
    "messages": [{"role": "user", "content": "Is all well?"}],
    "max_tokens": 20,
}
PATH = "/v1/chat/completions"


@pytest.fixture
def locked(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    options = Options(limits=Limits(max_body=100_000, body_s=1.0), require_key=True)
    with serving(tmp_path, sim, options) as served:
        yield served


@pytest.fixture
def http(locked: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=locked.url, timeout=20, trust_env=False) as client:
        yield client


def _key(served: Served, token: str, **fields: Any) -> dict[str, str]:
    made = ClientKey(name=token, shown="omni-...", created_at=1, **fields)
    GatewayKeyStore(served.app.store).add(made, f"omni-{token}")
    time.sleep(0.4)
    return {"authorization": f"Bearer omni-{token}"}


def test_a_key_is_required_and_revoked_at_once(locked: Served, http: httpx.Client) -> None:
    assert http.post(PATH, json=ASK).status_code == 401
    assert http.post(PATH, json=ASK, headers={"authorization": "Bearer x"}).status_code == 401
    key = _key(locked, "one", org="acme")
    assert http.post(PATH, json=ASK, headers=key).status_code == 200
    assert http.post(PATH, json=ASK, headers={"x-api-key": "omni-one"}).status_code == 200
    assert http.post(PATH, json=ASK, headers={"x-goog-api-key": "omni-one"}).status_code == 200
    locked.settle(3)
    assert {(row.org, row.key) for row in locked.app.ledger.recent(limit=5)} == {("acme", "one")}
    GatewayKeyStore(locked.app.store).revoke("one", now_ms=locked.app.now_ms())
    time.sleep(0.5)
    refused = http.post(PATH, json=ASK, headers=key)
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "unauthorized"


def test_a_key_expires(locked: Served, http: httpx.Client) -> None:
    key = _key(locked, "old", expires_at=locked.app.now_ms() - 1)
    assert http.post(PATH, json=ASK, headers=key).status_code == 401


def test_a_key_calls_only_its_models(locked: Served, http: httpx.Client) -> None:
    key = _key(locked, "narrow", models=("anthropic/*",))
    assert http.post(PATH, json=ASK, headers=key).status_code == 403
    for model in ("auto", "auto:cheap", "chain:Fast Chain"):
        answer = http.post(PATH, json={**ASK, "model": model}, headers=key)
        assert answer.status_code == 200, answer.text
        assert answer.headers["x-omni-model"].startswith("anthropic/")
    shown = http.get("/v1/models", headers=key).json()["data"]
    assert {m["owned_by"] for m in shown} == {"anthropic", "omni"}
    debug = http.post("/v1/router/debug", json={"messages": ASK["messages"]}, headers=key).json()
    assert all(c["model"].startswith("anthropic/") for c in debug["candidates"])


def test_rates_and_concurrency_are_kept(locked: Served, http: httpx.Client) -> None:
    key = _key(locked, "slow", rpm=3)
    codes = [http.post(PATH, json=ASK, headers=key).status_code for _ in range(5)]
    assert codes[:3] == [200, 200, 200]
    assert 429 in codes[3:]
    refused = http.post(PATH, json=ASK, headers=key)
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    tokens = _key(locked, "few", tpm=60)
    codes = [http.post(PATH, json=ASK, headers=tokens).status_code for _ in range(6)]
    assert codes[0] == 200
    assert codes[-1] == 429


def test_organisations_see_nothing_of_each_other(locked: Served, http: httpx.Client) -> None:
    keys = {org: _key(locked, f"k-{org}", org=org) for org in ("acme", "other")}
    for _ in range(2):
        http.post(PATH, json=ASK, headers=keys["acme"])
    http.post(PATH, json=ASK, headers=keys["other"])
    locked.settle(3)
    totals = {org: http.get("/v1/usage?by=key", headers=key).json() for org, key in keys.items()}
    assert totals["acme"]["total"]["calls"] == 2
    assert totals["other"]["total"]["calls"] == 1
    assert [row["key"] for row in totals["other"]["rows"]] == ["k-other"]


@pytest.mark.parametrize("path", ["/metrics", "/api/models", "/api/providers", "/api/budgets"])
def test_managing_needs_a_key_for_it(locked: Served, http: httpx.Client, path: str) -> None:
    plain = _key(locked, "plain")
    assert http.get(path).status_code == 401
    assert http.get(path, headers=plain).status_code == 403
    boss = _key(locked, "boss", scope="admin")
    assert http.get(path, headers=boss).status_code == 200


def test_each_path_needs_what_the_document_says(locked: Served, http: httpx.Client) -> None:
    """A key of less is told which scope is missing; one of that scope is let in."""
    keys = {scope: _key(locked, scope, scope=scope) for scope in SCOPES}
    keys[""] = _key(locked, "plain")
    order = ("", *SCOPES)
    seen = set()
    for path, operations in http.get("/openapi.json").json()["paths"].items():
        for method, operation in operations.items():
            scopes = operation.get("security", [{"key": []}])[0].get("bearer", [])
            if not scopes:
                continue
            (needed,) = scopes
            seen.add(needed)
            real = re.sub(r"\{\w+\}", "nobody", path)
            for scope in order[: order.index(needed)]:
                refused = http.request(method, real, headers=keys[scope])
                assert refused.status_code == 403, (method, path, scope)
                assert f"needs a key of scope {needed}" in refused.text
            if not path.endswith("/stream") and "discover" not in path:
                assert http.request(method, real, headers=keys[needed]).status_code != 403
    assert seen == set(SCOPES)


def test_an_organisation_is_asked_for_by_name(locked: Served, http: httpx.Client) -> None:
    """By who may look at all; a key of another has no part in it."""
    boss, acme = _key(locked, "boss", scope="read"), _key(locked, "acme", scope="admin", org="acme")
    made = http.post("/api/providers", headers=acme, json={
        "slug": "lab", "type": "openai", "baseUrl": "http://127.0.0.1:9/v1"})  # fmt: skip
    assert made.status_code == 201, made.text
    for path, what, name in (
        ("/api/providers", "providers", "slug"),
        ("/api/ai/provider-status", "providers", "id"),
    ):
        seen = http.get(f"{path}?org=acme", headers=boss).json()[what]
        assert "lab@acme" in {one[name] for one in seen}
        assert "lab@acme" not in http.get(path, headers=boss).text
        assert "lab@acme" not in http.get(f"{path}?org=globex", headers=boss).text
        assert http.get(f"{path}?org=globex", headers=acme).status_code == 403
    assert http.get("/api/providers?org=no%20org", headers=boss).status_code == 400
    with http.stream("GET", "/api/provider-status/stream?org=globex", headers=acme) as answer:
        assert answer.status_code == 403


def test_a_live_stream_ends_with_its_key(locked: Served, http: httpx.Client) -> None:
    boss = _key(locked, "boss", scope="read")
    with http.stream("GET", "/api/provider-status/stream", headers=boss) as answer:
        pieces = answer.iter_raw()
        assert next(pieces).startswith(b"event: status")
        locked.app.client_keys.revoke("boss", now_ms=2)
        # The next word would be an "alive", or a change: neither comes.
        assert next(pieces, b"") == b""


def test_who_pings_and_reads_nothing_is_cut_off(locked: Served) -> None:
    """Answers to it would fill the gateway's memory."""
    _key(locked, "boss", scope="read")
    port = int(locked.url.rpartition(":")[2])
    ping = (b"\x89\xfd\0\0\0\0" + bytes(125)) * 1000
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.sendall(
            b"GET /api/provider-status/stream HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            b"x-api-key: omni-boss\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        time.sleep(0.5)
        with pytest.raises(ConnectionError):
            caller.sendall(ping * 500)  # 65 MB: more than two sockets hold


def test_views_of_organisations_are_not_kept_without_end(tmp_path: Path) -> None:
    """Anybody who may look can name one after another that nobody has heard of."""

    async def ask() -> int:
        with App({"OMNI_HOME": str(tmp_path), **store_env(tmp_path)}) as app:
            desk = Desk(app)
            seen = set()
            for number in range(80):
                who = Principal(scope="read", org=f"org{number}")
                seen.add(await desk.do(weakref.ref, who))
            del app
            gc.collect()
            alive = sum(one() is not None for one in seen)
            desk.close()
            return alive

    assert asyncio.run(ask()) <= 40


def test_a_change_is_audited_with_who(locked: Served, http: httpx.Client) -> None:
    boss = _key(locked, "boss", scope="admin")
    assert http.put("/api/providers/openai", json={"enabled": False}, headers=boss).is_success
    assert locked.app.audit.entries(limit=1)[0].who == "key boss"


def test_web_pages_are_kept_out(gateway: Served) -> None:
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        page = client.post(PATH, json=ASK, headers={"origin": "https://evil.example"})
        assert page.status_code == 403
        rebound = client.post(PATH, json=ASK, headers={"host": "evil.example"})
        assert rebound.status_code == 403
        assert "access-control-allow-origin" not in client.get("/health").headers
        assert client.post(PATH, json=ASK).status_code == 200


def _raw(served: Served, data: bytes, *, wait_s: float = 5.0) -> bytes:
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), wait_s) as sock:
        sock.sendall(data)
        answer = b""
        try:
            while piece := sock.recv(65536):
                answer += piece
                if b"\r\n\r\n" in answer and b"}" in answer:
                    break
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def test_a_body_that_is_too_large_is_refused(locked: Served, http: httpx.Client) -> None:
    key = _key(locked, "big")
    large = {**ASK, "messages": [{"role": "user", "content": "x" * 200_000}]}
    assert http.post(PATH, json=large, headers=key).status_code == 413

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 5_000

    assert http.post(PATH, content=pieces(), headers=key).status_code == 413


def test_a_slow_body_is_given_up(locked: Served) -> None:
    _key(locked, "slowly")
    head = b"POST %b HTTP/1.1\r\nhost: x\r\nauthorization: Bearer omni-slowly\r\n" % PATH.encode()
    answer = _raw(locked, head + b"content-length: 500\r\n\r\n{")
    assert b"408" in answer.split(b"\r\n")[0]


def test_smuggled_and_broken_requests_reach_nobody(locked: Served) -> None:
    _key(locked, "smuggle")
    auth = b"authorization: Bearer omni-smuggle\r\n"
    for head in (
        b"GET /v1/models HTTP/1.1\r\nhost: x\r\nx: a\rb\r\n\r\n",
        b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: 5\r\ncontent-length: 6\r\n\r\n{}xxx"
        % (PATH.encode(), auth),
        b"POST %b HTTP/1.1\r\nhost: x\r\n%bcontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n"
        b"0\r\n\r\n" % (PATH.encode(), auth),
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ):
        answer = _raw(locked, head, wait_s=2.0)
        assert b" 200 " not in answer.split(b"\r\n")[0]
    assert locked.sim.stats()["requests"] == 0


@pytest.mark.parametrize(
    "model",
    ["../../etc/passwd", "openai/gpt-4o\r\nx-evil: 1", "openai/../../admin", "\x00", "a" * 5_000],
)
def test_names_cannot_leave_their_place(gateway: Served, model: str) -> None:
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        answer = client.post(PATH, json={**ASK, "model": model})
        assert answer.status_code == 404
        assert "x-evil" not in answer.headers
        found = client.post("/v1beta/models/..%2f..%2fx:generateContent", json={"contents": []})
        assert found.status_code in (400, 404)
    assert gateway.sim.stats()["requests"] == 0


def test_unknown_paths_and_methods(gateway: Served) -> None:
    with httpx.Client(base_url=gateway.url, trust_env=False) as client:
        assert client.get("/nothing").status_code == 404
        assert client.get(PATH).status_code == 405
        assert client.delete("/v1/messages").json()["type"] == "error"
