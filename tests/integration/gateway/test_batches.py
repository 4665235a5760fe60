"""Batches at the gateway: whose they are, what is held for them, and that each is settled, once."""

import asyncio
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.cli.commands.batches import _sync
from omni_cli.domain.batches import Batch
from omni_cli.domain.budgets import Budget
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.models import Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.domain.record import replace
from omni_cli.gateway.app import Options
from omni_cli.records import ClientKey
from omni_cli.services.engine import batches
from omni_cli.services.money.reprice import Selection
from omni_cli.simulator import Simulator
from omni_cli.store.budgets import BudgetStore
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import Served, serving

MINI, HAIKU, DEEP = (
    "openai/gpt-4o-mini",
    "anthropic/claude-3-haiku-20240307",
    "deepseek/deepseek-chat",
)
CHAT = "/v1/chat/completions"


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    with Simulator(seed=3) as sim, serving(tmp_path, sim) as served:
        yield served


@pytest.fixture
def http(gateway: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=gateway.url, timeout=30, trust_env=False) as client:
        yield client


def _line(n: object, model: str = MINI, url: str = CHAT, **body: Any) -> dict[str, Any]:
    asked = {"model": model, "messages": [{"role": "user", "content": "Is all well?"}]}
    return {
        "custom_id": f"n-{n}",
        "method": "POST",
        "url": url,
        "body": {**asked, "max_tokens": 30, **body},
    }


def _upload(http: httpx.Client, lines: list[Any], key: str = "", **headers: str) -> httpx.Response:
    if key:
        headers["authorization"] = f"Bearer {key}"
    text = b"\n".join(json.dumps(line).encode() for line in lines)
    files = {"file": ("ask.jsonl", text, "application/jsonl")}
    return http.post("/v1/files", files=files, data={"purpose": "batch"}, headers=headers)


def _make(http: httpx.Client, file: str, key: str = "", url: str = CHAT) -> httpx.Response:
    body = {"input_file_id": file, "endpoint": url, "completion_window": "24h"}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return http.post("/v1/batches", json=body, headers=headers)


def _made(http: httpx.Client, lines: list[Any], key: str = "") -> dict[str, Any]:
    file = _upload(http, lines, key)
    assert file.status_code == 200, file.text
    made = _make(http, file.json()["id"], key)
    assert made.status_code == 200, made.text
    found: dict[str, Any] = made.json()
    return found


def _held(served: Served) -> tuple[int, int]:
    """(spent, reserved) of the only budget."""
    (budget,) = served.app.budgets.all()
    status = served.app.budgets.status(budget, served.app.now_ms())
    return status.spent_nusd, status.reserved_nusd


def _synced(served: Served) -> list[Batch]:
    """As ``omni batches sync``, by a process of its own."""
    found: list[Batch] = []
    with App({"OMNI_HOME": str(served.home), "USER": "test"}) as app:
        asyncio.run(_sync(app, found))
    return found


def _asked(served: Served, path: str) -> int:
    return sum(n for at, n in served.sim.stats()["by_path"].items() if at.endswith(path))


_WRONG: list[tuple[list[Any], str]] = [
    ([_line(1), _line(2, DEEP)], "line 2: deepseek/deepseek-chat is deepseek's"),
    ([_line(1), _line(2, "nobody/knows")], "line 2: no model, role or chain"),
    ([_line(1), _line(2, "auto")], "line 2: 'auto' is decided for each request"),
    ([_line(1), _line(1)], "line 2: its custom_id 'n-1' is line 1's, too"),
    ([_line(1), _line(2, url="/v1/embeddings")], "line 2: it is for '/v1/embeddings'"),
    ([_line(1, url="/v1/audio/speech")], "line 1: a batch cannot carry '/v1/audio/speech'"),
    ([_line(1), {"custom_id": "x"}], "line 2: it is no request of a batch"),
    ([_line(1, HAIKU)], "line 1: anthropic speaks anthropic's protocol"),
    ([_line(1, "ollama/llama3.1:70b")], "line 1: ollama speaks ollama's protocol"),
    ([{**_line(1), "custom_id": "a\0b"}], "line 1: its custom_id is no text"),
    ([{**_line(1), "body": {"messages": []}}], "line 1: its body names no model"),
    ([], "the batch has no requests"),
]


def test_a_line_that_cannot_go_is_named(http: httpx.Client, gateway: Served) -> None:
    for lines, says in _WRONG:
        refused = _upload(http, lines)
        assert refused.status_code in (400, 404)
        assert says in refused.json()["error"]["message"]
    assert _asked(gateway, "/files") == 0


def test_a_messages_batch_names_its_request(http: httpx.Client) -> None:
    params = {"max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    asked = [
        {"custom_id": "a", "params": {**params, "model": HAIKU}},
        {"custom_id": "b", "params": {**params, "model": MINI}},
    ]
    refused = http.post("/v1/messages/batches", json={"requests": asked})
    assert refused.json()["type"] == "error"
    assert "request 2: openai speaks openai's protocol" in refused.json()["error"]["message"]
    assert "these have batches: anthropic" in refused.text
    empty = http.post("/v1/messages/batches", json={"requests": []})
    assert (empty.status_code, empty.json()["type"]) == (400, "error")


def test_nobody_else_sees_them(tmp_path: Path) -> None:
    with Simulator(seed=3) as sim, serving(tmp_path, sim, Options(require_key=True)) as served:
        for name, org in (("one", "acme"), ("two", "acme"), ("other", "rival"), ("alone", "")):
            made = ClientKey(name=name, shown="omni-...", created_at=1, org=org)
            GatewayKeyStore(served.app.store).add(made, f"omni-{name}")
        narrow = ClientKey(name="narrow", shown="o", created_at=1, models=("anthropic/*",))
        GatewayKeyStore(served.app.store).add(narrow, "omni-narrow")
        time.sleep(0.5)
        with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as http:
            assert "may not call" in _upload(http, [_line(1)], "omni-narrow").text
            batch = _made(http, [_line(1)], "omni-one")
            file = batch["input_file_id"]
            for key, seen in (("two", 200), ("other", 404), ("alone", 404), ("narrow", 404)):
                headers = {"authorization": f"Bearer omni-{key}"}
                for path in (
                    f"/v1/files/{file}",
                    f"/v1/files/{file}/content",
                    f"/v1/batches/{batch['id']}",
                ):
                    assert http.get(path, headers=headers).status_code == seen, (key, path)
                for path in ("/v1/files", "/v1/batches"):
                    listed = http.get(path, headers=headers).json()
                    assert bool(listed["data"]) is (seen == 200)
                if seen == 404:
                    path = f"/v1/files/{file}"
                    assert http.delete(path, headers=headers).status_code == 404
                    path = f"/v1/batches/{batch['id']}/cancel"
                    assert http.post(path, headers=headers).status_code == 404
                    assert _make(http, file, f"omni-{key}").status_code == 404
            served.settle(1)
            (row,) = served.app.ledger.recent(limit=2)
            assert (row.org, row.key) == ("acme", "one")


def test_a_budget_that_cannot_hold_it_lets_nothing_out(http: httpx.Client, gateway: Served) -> None:
    gateway.app.budgets.put(Budget(0, "all", "", "day", 1_000))
    file = _upload(http, [_line(n) for n in range(20)]).json()["id"]
    refused = _make(http, file)
    assert refused.status_code == 402
    assert "this batch may cost up to" in refused.json()["error"]["message"]
    assert _held(gateway) == (0, 0)
    assert _asked(gateway, "/batches") == 0
    assert gateway.app.batches.store.all() == []


def test_a_maximum_cost_is_all_of_its_requests(http: httpx.Client, gateway: Served) -> None:
    file = _upload(http, [_line(n) for n in range(3)]).json()["id"]
    http.headers["x-omni-max-cost"] = "0.000001"
    refused = _make(http, file)
    assert refused.status_code == 402
    assert "the batch: this call may cost up to" in refused.json()["error"]["message"]
    assert _asked(gateway, "/batches") == 0
    http.headers["x-omni-max-cost"] = "1"
    assert _make(http, file).status_code == 200


def test_a_line_that_nothing_bounds_is_refused_by_its_number(
    http: httpx.Client, gateway: Served
) -> None:
    searches = _line(2, web_search_options={}, unheard_of={"a": 1})
    free = _upload(http, [_line(1), searches]).json()["id"]
    open_ended = _line(2)
    del open_ended["body"]["max_tokens"]
    early = _upload(http, [_line(1), open_ended]).json()["id"]
    assert _make(http, free).status_code == 200  # no budget covers it
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    refused = _make(http, free)
    assert refused.status_code == 402
    assert "line 2: " in refused.json()["error"]["message"]
    refused = _make(http, early)
    assert "line 2: it states no limit" in refused.json()["error"]["message"]
    late = _upload(http, [_line(1), open_ended]).json()["id"]
    bodies = http.get(f"/v1/files/{late}/content").text.splitlines()
    body = json.loads(bodies[1])["body"]
    assert body.get("max_tokens") or body.get("max_completion_tokens")
    assert _make(http, late).status_code == 200


@pytest.mark.parametrize(
    "body", [{"n": 10**30}, {"n": 1e300}, {"n": "9" * 90}, {"max_tokens": 10**25}]
)
def test_numbers_that_no_server_can_mean(
    http: httpx.Client, gateway: Served, body: dict[str, Any]
) -> None:
    """Such many answers are bound by nothing; no answer is as long, so that one is held to less."""
    call = {**_line(1)["body"], **body}
    assert http.post(CHAT, json=call).status_code == 200  # nothing limits its cost
    file = _upload(http, [{**_line(1), "body": call}]).json()["id"]
    assert _make(http, file).status_code == 200
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**13))
    status = 402 if "n" in body else 200
    assert http.post(CHAT, json=call).status_code == status
    file = _upload(http, [{**_line(1), "body": call}]).json()["id"]
    assert _make(http, file).status_code == status


def test_what_is_held_is_the_batchs_price(http: httpx.Client, gateway: Served) -> None:
    """And is spread over the budgets of each model, key and agent as calls are."""
    for scope, value in (("model", MINI), ("agent", "night"), ("provider", "anthropic")):
        gateway.app.budgets.put(Budget(0, scope, value, "day", 10**12))
    file = _upload(http, [_line(1)]).json()["id"]
    http.headers["x-omni-agent"] = "night"
    gateway.sim.hold_batches("hold")
    assert _make(http, file).status_code == 200
    statuses = {
        budget.scope: gateway.app.budgets.status(budget, gateway.app.now_ms()).reserved_nusd
        for budget in gateway.app.budgets.all()
    }
    size = len(json.dumps(_line(1)["body"]))
    assert statuses["provider"] == 0
    assert statuses["model"] == statuses["agent"] > 0
    price = gateway.app.routing.known(MINI)[2]
    assert price is not None
    assert price.price.input is not None
    assert price.price.output is not None
    most = price.price.input.base * (size + 256) * 1000 + price.price.output.base * 30 * 1000
    assert statuses["model"] <= most / 2
    gateway.sim.hold_batches("")
    _synced(gateway)
    assert {row.agent for row in gateway.app.ledger.recent(limit=3)} == {"night"}


def test_a_batch_whose_client_never_comes_back_is_settled(
    http: httpx.Client, gateway: Served
) -> None:
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    gateway.sim.hold_batches("expire")
    _made(http, [_line(n) for n in range(6)])
    assert _held(gateway)[1] > 0
    (batch,) = _synced(gateway)
    assert (batch.state, batch.status, batch.settled) == ("settled", "expired", 3)
    rows = list(gateway.app.ledger.recent(limit=10))
    assert len(rows) == 3  # what expired was not answered, and is not charged
    assert _held(gateway) == (batch.cost_nusd, 0)
    assert _synced(gateway) == []
    assert len(list(gateway.app.ledger.recent(limit=10))) == 3
    assert BudgetStore(gateway.app.store).drifts() == []  # type: ignore[arg-type]  # the real one
    assert gateway.app.rebuild.check().different_rows == 0


def test_failed_lines_are_rows_that_cost_nothing(http: httpx.Client, gateway: Served) -> None:
    gateway.sim.fault("500", "gpt-4o-mini", first=1)
    _made(http, [_line(n) for n in range(3)])
    (batch,) = _synced(gateway)
    assert batch.settled == 3
    rows = list(gateway.app.ledger.recent(limit=10))
    assert sorted(row.state for row in rows) == ["failed", "ok", "ok"]
    (failed,) = (row for row in rows if row.state == "failed")
    assert failed.total_nusd == 0
    assert failed.error_code


def test_an_unknown_batch_price_is_marked(http: httpx.Client, gateway: Served) -> None:
    _made(http, [_line(1, DEEP)])
    (batch,) = _synced(gateway)
    (row,) = gateway.app.ledger.recent(limit=2)
    price = gateway.app.routing.known(DEEP)[2]
    assert price is not None
    assert row.estimated
    (part,) = gateway.app.batches.store.parts(batch.id)
    assert part.marked
    receipt = gateway.app.receipts.read("last")
    assert sum(line.cost_usd for line in receipt.attempts[0].lines) > 0


def test_a_batch_in_a_dearer_region_costs_a_tenth_more(
    http: httpx.Client, gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Held and charged, and marked: as single calls are there."""
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    gateway.sim.hold_batches("hold")
    _made(http, [_line(1)])
    usual = _held(gateway)[1]
    monkeypatch.setattr(batches, "charged_more", lambda *_: True)
    _made(http, [_line(1)])
    assert _held(gateway)[1] - usual == pytest.approx(usual * 1.1, abs=1)
    gateway.sim.hold_batches("")
    _synced(gateway)
    dearer, plain = gateway.app.ledger.recent(limit=2)
    assert (dearer.estimated, plain.estimated) == (True, False)
    assert dearer.cost_nusd == pytest.approx((plain.cost_nusd or 0) * 1.1, abs=1)


def test_a_receipt_adds_up_and_repricing_keeps_the_share(
    http: httpx.Client, gateway: Served
) -> None:
    _made(http, [_line(1)])
    _synced(gateway)
    (row,) = gateway.app.ledger.recent(limit=2)
    (attempt,) = gateway.app.receipts.read("last").attempts
    assert sum(line.cost_usd for line in attempt.lines) * 10**9 == row.cost_nusd
    assert attempt.attempt.price is not None
    price = gateway.app.models.price_by_id(attempt.attempt.price)
    assert price is not None
    assert price.share == Decimal("0.5")
    report = gateway.app.repricing.run(Selection(model=MINI), None, apply=False, reason="x")
    assert (report.seen, report.changed) == (1, 0)
    dearer = Price("priced", input=Rate(Decimal(100)), output=Rate(Decimal(100)))
    report = gateway.app.repricing.run(
        Selection(model=MINI), dearer, apply=False, reason="x", sure=True
    )
    tokens = row.usage.input_tokens + row.usage.output_tokens
    assert report.by_model[MINI].after_nusd == tokens * 50_000
    # Its price is no other call's.
    found = gateway.app.routing.known(MINI)[2]
    assert found is not None
    assert found.price.share == 1


@pytest.mark.parametrize("made", [True, False])
def test_a_call_that_died_while_it_made_a_batch(
    http: httpx.Client, gateway: Served, made: bool
) -> None:
    """Between the hold and the provider's answer: what it made is found, what it did not freed."""
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    if not made:
        gateway.sim.fault("reset-before", "openai/", after=1)
    file = _upload(http, [_line(n) for n in range(3)]).json()["id"]
    answer = _make(http, file)
    assert (answer.status_code == 200) is made
    held = _held(gateway)[1]
    assert held > 0
    gateway.sim.heal()
    db = gateway.app.store.db  # type: ignore[attr-defined]  # the real one
    db.execute("UPDATE batches SET remote = NULL, state = 'opening', document = ''")
    assert _synced(gateway)[0].state == "opening"  # whoever began it may be at it yet
    db.execute("UPDATE batches SET created_at = created_at - 4000000")
    for _ in range(2):  # found, and then looked at
        _synced(gateway)
    assert _held(gateway)[1] == 0
    assert len(list(gateway.app.ledger.recent(limit=9))) == (3 if made else 0)


def test_results_that_are_gone_stay_held_until_they_are_released(
    http: httpx.Client, gateway: Served
) -> None:
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    _made(http, [_line(1)])
    gateway.sim.fault("404", "openai/", after=1)
    (batch,) = _synced(gateway)
    assert (batch.state, batch.trouble != "") == ("unread", True)
    held = _held(gateway)[1]
    assert held > 0
    service = gateway.app.batches
    assert _synced(gateway) == []
    assert (
        service.release(service.find("last"[:0] or str(batch.remote)), who="me").state == "settled"
    )
    assert _held(gateway) == (0, 0)
    with pytest.raises(UsageError, match="is settled"):
        service.release(service.find(str(batch.remote)), who="me")
    with pytest.raises(NotFound, match="no batch"):
        service.find("zzzz")


@pytest.mark.parametrize(
    "given", [b"", b'{"custom_id": "n-0", "response": {"status_code": 200, "bo']
)
def test_results_that_are_fewer_than_were_answered_free_nothing(
    http: httpx.Client, gateway: Served, given: bytes
) -> None:
    """Cut off, or not there yet: the rest was answered, and will be billed."""
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    made = _made(http, [_line(n) for n in range(3)])
    done = {"custom_id": "n-2", "response": {"status_code": 200, "body": {"usage": _USAGE}}}
    text = json.dumps(done).encode() + b"\n" + given
    file = http.post("/v1/files", files={"file": ("a", text)}, data={"purpose": "user_data"},
                     headers={"x-omni-provider": "openai"}).json()["id"]  # fmt: skip
    ended = {**made, "status": "completed", "output_file_id": file}
    ended["request_counts"] = {"total": 3, "completed": 3, "failed": 0}
    db = gateway.app.store.db  # type: ignore[attr-defined]  # the real one
    whole = gateway.app.batches.find(made["id"])
    db.execute("UPDATE batches SET state = 'ended', document = ?", (json.dumps(ended),))
    (batch,) = _synced(gateway)
    assert (batch.state, batch.settled) == ("ended", 1)
    assert "answered 3 of its requests, and gave results of 1" in batch.trouble
    assert 0 < _held(gateway)[1] < whole.held_nusd
    db.execute("UPDATE batches SET state = 'open'")  # and once they are there
    (batch,) = _synced(gateway)
    assert (batch.state, batch.settled, _held(gateway)[1]) == ("settled", 3, 0)


_USAGE = {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}


def test_what_tells_of_its_cost_is_not_deleted_before_it_is_settled(
    http: httpx.Client, gateway: Served
) -> None:
    gateway.sim.hold_batches("hold")
    asked = [{"custom_id": "a", "params": {**_line(1)["body"], "model": HAIKU}}]
    ident = http.post("/v1/messages/batches", json={"requests": asked}).json()["id"]
    before = _asked(gateway, ident)
    assert http.delete(f"/v1/messages/batches/{ident}").status_code == 409
    assert _asked(gateway, ident) == before + 1  # only looked at: it may end at any moment
    made = _made(http, [_line(1)])
    gateway.sim.hold_batches("")
    _synced(gateway)
    output = http.get(f"/v1/batches/{made['id']}").json()["output_file_id"]
    db = gateway.app.store.db  # type: ignore[attr-defined]  # the real one
    gateway.sim.hold_batches("hold")
    other = _made(http, [_line(2)])
    db.execute("UPDATE files SET batch = (SELECT id FROM batches WHERE remote = ?) WHERE id = ?",
               (other["id"], output))  # fmt: skip
    assert http.delete(f"/v1/files/{output}").status_code == 409
    gateway.sim.hold_batches("")
    assert http.delete(f"/v1/files/{output}").status_code == 200
    assert gateway.app.batches.find(other["id"]).settled == 1


def test_what_stands_twice_goes_out_once(http: httpx.Client, gateway: Served) -> None:
    """Servers differ on which of two they take; some end a line at a carriage return."""
    wire = MINI.partition("/")[2]
    body = json.dumps({**_line(1)["body"], "model": wire})[:-1]
    text = (
        f'{{"custom_id": "a", "url": "{CHAT}", "body": {{"max_tokens": 9000000, "stop": ['
        f'\r"a"\r], {body[1:]}'
        "}}"
    )
    files = {"file": ("ask.jsonl", text.encode())}
    file = http.post("/v1/files", files=files, data={"purpose": "batch"}).json()["id"]
    sent = http.get(f"/v1/files/{file}/content").text
    assert "9000000" not in sent
    assert "\r" not in sent
    assert json.loads(sent)["body"]["stop"] == ["a"]
    wrong = _line(1)
    wrong["body"]["Model"] = "gpt-4"
    refused = _upload(http, [wrong])
    assert refused.status_code == 400
    assert "line 1: 'Model' is read as 'model'" in refused.json()["error"]["message"]
    for twice in ('"input_file_id": "file-other", ', '"Input_File_Id": "file-other", '):
        made = http.post(
            "/v1/batches",
            content=f'{{{twice}"input_file_id": "{file}", "endpoint": "{CHAT}"}}',
        )
        if "Input" in twice:
            assert made.status_code == 400
        else:
            assert made.json()["input_file_id"] == file


def test_a_large_upload_goes_through_a_file(http: httpx.Client, gateway: Served) -> None:
    """Larger than any other body may be; a batch may have 200 MB."""
    filler = "x" * 1_000_000
    lines = [_line(n, safety_identifier=filler) for n in range(36)]
    assert _upload(http, lines).status_code == 200
    other = http.post(CHAT, content=b"x" * (33 * 1024 * 1024))
    assert other.status_code == 413
    with socket.create_connection(("127.0.0.1", int(gateway.url.rpartition(":")[2]))) as raw:
        kind = b"content-type: multipart/form-data; boundary=x\r\n"
        head = b"POST /v1/files HTTP/1.1\r\nhost: localhost\r\n" + kind
        raw.sendall(head + b"content-length: 300000000\r\n\r\n")
        raw.settimeout(10)
        assert b"413" in raw.recv(4096)


def test_other_files_go_where_they_are_sent(http: httpx.Client, gateway: Served) -> None:
    files = {"file": ("notes.txt", b"hello", "text/plain")}
    unsaid = http.post("/v1/files", files=files, data={"purpose": "user_data"})
    assert "x-omni-provider says it" in unsaid.text
    told = {"x-omni-provider": "openai"}
    kept = http.post("/v1/files", files=files, data={"purpose": "user_data"}, headers=told)
    assert kept.json()["filename"] == "notes.txt"
    ident = kept.json()["id"]
    assert http.get(f"/v1/files/{ident}/content").content == b"hello"
    assert "was not uploaded here with the purpose" in _make(http, ident).text
    assert http.delete(f"/v1/files/{ident}").json()["deleted"]
    assert http.get(f"/v1/files/{ident}").status_code == 404
    assert http.get("/v1/files/nothing").json()["error"]["message"].startswith("no file")
    assert http.get("/v1/batches/nothing").status_code == 404


def test_a_provider_without_batches_says_so(http: httpx.Client, gateway: Served) -> None:
    with gateway.app.fleet.change("test", "bare", None, "test"):
        bare = Provider("bare", "bare", "openai", gateway.url + "/nothing", auth_method="none")
        gateway.app.fleet.put_provider(bare)
        model = gateway.app.models.get(MINI)
        assert model is not None
        gateway.app.models.put(
            replace(model, id="bare/m", provider="bare", wire_name="m", aliases=()), now_ms=0
        )
        gateway.app.fleet.set_status("bare/m", "active")
    time.sleep(0.6)
    refused = _upload(http, [_line(1, "bare/m")])
    assert refused.status_code == 404
    assert "bare" in refused.json()["error"]["message"]


_WORKER = """
import asyncio, sys
from omni_cli.bootstrap import App
from omni_cli.cli.commands.batches import _sync
from omni_cli.services.engine import batches
batches._CHUNK = 1
with App({"OMNI_HOME": sys.argv[1], "USER": "test"}) as app:
    print("go", flush=True)
    asyncio.run(_sync(app, []))
"""


def test_kill_9_while_it_settles_charges_each_once(http: httpx.Client, gateway: Served) -> None:
    gateway.app.budgets.put(Budget(0, "all", "", "day", 10**12))
    _made(http, [_line(n) for n in range(150)])
    dice, kills, left = random.Random(5), 0, 150
    for _ in range(8):
        command = [sys.executable, "-c", _WORKER, str(gateway.home)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as worker:  # ours
            assert worker.stdout is not None
            worker.stdout.readline()
            try:
                worker.wait(dice.uniform(0.02, 0.08))
            except subprocess.TimeoutExpired:
                worker.kill()
                kills += 1
        (batch,) = gateway.app.batches.store.all()
        spent, held = _held(gateway)
        assert spent == batch.cost_nusd
        assert (held == 0) is (batch.state == "settled")
        assert batch.lines - batch.settled <= left  # what is settled stays
        left = batch.lines - batch.settled
        if batch.state == "settled" or kills >= 4:
            break
    _synced(gateway)
    rows = list(gateway.app.ledger.recent(limit=500))
    assert kills > 0
    assert (len(rows), len({row.id for row in rows})) == (150, 150)
    assert sum(row.total_nusd or 0 for row in rows) == _held(gateway)[0]
    assert _held(gateway)[1] == 0
    assert gateway.app.rebuild.check().different_rows == 0
