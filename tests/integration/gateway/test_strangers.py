"""What strangers, web pages and narrow keys learn of a fleet, and what their requests cost."""

import difflib
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.domain.errors import NotFound
from omni_cli.domain.models import Chain, ChainLink, ModelInfo, Provider
from omni_cli.gateway.app import Options
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import Served, serving

PATHS = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    "/v1/responses": {"input": "Hi"},
    "/api/chat": {"messages": [{"role": "user", "content": "Hi"}]},
}
CHAT = "/v1/chat/completions"
PAGE = "https://page.example"


def _ask(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}]}


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_name_is_refused_without_a_look_at_the_catalogue(
    gateway: Served, http: httpx.Client, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> list[str]:
        raise AssertionError("the whole catalogue was looked at")

    monkeypatch.setattr(difflib, "get_close_matches", never)
    near = http.post(path, json={**PATHS[path], "model": "GPT_4o"})
    assert near.status_code == 404
    assert "did you mean openai/gpt-4o or gpt-4o?" in near.text
    for name in ("nothing-like-it", "role:none", "chain:none"):
        far = http.post(path, json={**PATHS[path], "model": name})
        assert far.status_code == 404
        assert "GET /v1/models lists" in far.text
    long = http.post(path, json={**PATHS[path], "model": "x" * 7_000_000})
    assert long.status_code == 404
    assert len(long.content) < 1_000
    assert "7,000,000 characters" in long.text


def test_no_table_is_read_through_for_a_name(gateway: Served) -> None:
    """By SQLite's own account: what a name costs does not grow with the catalogue."""
    db = gateway.app.store.db
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    with pytest.raises(NotFound):
        gateway.app.names.select("nothing-like-it", suggest=False)
    db.set_trace_callback(None)
    looked = [statement for statement in asked if " models " in statement]
    assert looked
    for statement in looked:
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {statement}")]
        assert not [step for step in plan if step.startswith("SCAN")], (statement, plan)


@pytest.mark.parametrize("path", PATHS)
def test_a_model_whose_provider_is_not_in_the_fleet_is_not_found(
    gateway: Served, http: httpx.Client, path: str
) -> None:
    gateway.app.fleet.remove_provider("deepseek")
    end = time.monotonic() + 5
    while "deepseek" in http.get("/v1/models").text and time.monotonic() < end:
        time.sleep(0.05)
    answer = http.post(path, json={**PATHS[path], "model": "deepseek/deepseek-chat"})
    assert answer.status_code == 404, answer.text
    assert "its provider, deepseek, is not in the fleet" in answer.text
    assert http.get("/v1/models/deepseek/deepseek-chat").status_code == 404


def test_one_model_is_found_where_the_list_has_it(gateway: Served, http: httpx.Client) -> None:
    listed = {item["id"] for item in http.get("/v1/models").json()["data"]}
    for name in listed:
        assert http.get(f"/v1/models/{name}").json()["id"] == name
    # Of the catalogue, and not active: callable by nobody.
    assert http.get("/v1/models/openai/gpt-3.5-turbo").status_code == 404
    assert http.get("/v1/models/gpt-4o").json()["id"] == "openai/gpt-4o"


@pytest.fixture
def narrow(tmp_path: Path, sim: Simulator) -> Iterator[tuple[Served, httpx.Client]]:
    """A gateway with a key for one model only, beside a model with a secret name."""
    with serving(tmp_path, sim, Options(require_key=True, origins=(PAGE,))) as served:
        fleet = served.app.fleet
        fleet.put_provider(Provider("up", "up", "openai", "http://127.0.0.1:9/v1", "none"))
        secret = ModelInfo("up/secret-model", "up", "secret-model", "s", aliases=("topsecret",))
        fleet.put_model(secret, set_fields=())
        fleet.set_status("up/secret-model", "active")
        fleet.assign_role("hidden", "up/secret-model", 1, "hidden")
        fleet.put_chain(Chain("Hush", (ChainLink("up/secret-model", 0, 1_000),)))
        fleet.put_model(ModelInfo("up/own", "up", "own", "own"), set_fields=())
        fleet.set_status("up/own", "active")
        keys = GatewayKeyStore(served.app.store)
        keys.add(ClientKey("narrow", "omni-...", created_at=1, models=("up/own",)), "omni-narrow")
        headers = {"authorization": "Bearer omni-narrow"}
        with httpx.Client(
            base_url=served.url, headers=headers, trust_env=False, timeout=20
        ) as client:
            end = time.monotonic() + 5
            while client.get("/v1/models").status_code != 200 and time.monotonic() < end:
                time.sleep(0.05)
            yield served, client


def test_a_narrow_key_learns_no_other_names(narrow: tuple[Served, httpx.Client]) -> None:
    _, client = narrow
    told = [client.get("/v1/models").text, client.get("/api/tags").text]
    told.append(client.get("/v1beta/models").text)
    for name in ("topsecre", "secret_model", "topsecret", "hidden", "chain:Hush", "role:x", "auto"):
        answer = client.post(CHAT, json=_ask(name))
        assert answer.status_code in (403, 404, 502, 503), answer.text
        told.append(answer.text.replace(name, ""))
        told.append(client.get(f"/v1/models/{name}").text.replace(name, ""))
    for words in told:
        for secret in ("secret-model", "topsecret", "hidden", "Hush"):
            assert secret not in words, words


def test_no_error_tells_where_a_provider_is(narrow: tuple[Served, httpx.Client]) -> None:
    served, client = narrow
    answer = client.post(CHAT, json=_ask("up/own"))
    assert answer.status_code == 502
    assert "cannot connect to up: Connection refused" in answer.json()["error"]["message"]
    assert "127.0.0.1" not in answer.text
    served.settle(1)
    (row,) = served.app.ledger.recent(limit=1)
    (*_, last) = served.app.ledger.attempts(row.id)
    assert "127.0.0.1:9" in str(last.error_message)  # its owner is told


def test_retries_of_ours_are_not_done_again_by_the_caller(
    narrow: tuple[Served, httpx.Client],
) -> None:
    _, client = narrow
    answer = client.post(CHAT, json=_ask("up/own"))
    assert int(answer.headers["x-omni-attempts"]) > 1
    assert answer.headers.get_list("x-should-retry") == ["false"]


def test_a_named_page_may_ask_and_read(narrow: tuple[Served, httpx.Client]) -> None:
    _, client = narrow
    asks = {
        "origin": PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-omni-priority",
    }
    with httpx.Client(base_url=client.base_url, trust_env=False) as browser:
        before = browser.options(CHAT, headers=asks)  # without a key, as browsers do
        assert before.status_code == 200
        assert before.headers["access-control-allow-origin"] == PAGE
        assert "POST" in before.headers["access-control-allow-methods"]
        assert "x-omni-priority" in before.headers["access-control-allow-headers"]
        other = browser.options(CHAT, headers={**asks, "origin": "https://evil.example"})
        assert other.status_code == 403
        assert "access-control-allow-origin" not in other.headers
        refused = browser.post(CHAT, json=_ask("up/own"), headers={"origin": PAGE})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == PAGE  # or it could not read why
    for origin, told in ((PAGE, PAGE), ("https://evil.example", None), ("app://desktop", None)):
        answer = client.get("/v1/models", headers={"origin": origin})
        assert answer.status_code == 200  # it has a key; a page has none of its own
        assert answer.headers.get("access-control-allow-origin") == told
    stream = client.post(CHAT, json={**_ask("auto:none")}, headers={"origin": PAGE})
    assert stream.headers["vary"] == "origin"


def test_a_long_wait_is_the_callers_to_keep(gateway: Served, http: httpx.Client) -> None:
    """SDKs keep to it; a connection that hangs for 30 s looks dead to them."""
    gateway.sim.fault("429:30", "openai/*")
    answer = http.post(CHAT, json=_ask("openai/gpt-4o-mini"))
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "30")
    assert answer.headers["x-omni-attempts"] == "1"
    assert "x-should-retry" not in answer.headers
