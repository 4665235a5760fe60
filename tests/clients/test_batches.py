"""Batches by the vendors' own packages: uploaded, made, followed, fetched, and settled once, at the
batch's price."""

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from omni_cli.domain.money import usd_to_nusd
from omni_cli.services.money.prices import PriceBook
from tests.gateway_server import Served

MINI, HAIKU = "openai/gpt-4o-mini", "anthropic/claude-3-haiku-20240307"


@pytest.fixture
def client(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(gateway: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0) as made:
        yield made


def _lines(model: str, count: int = 3, url: str = "/v1/chat/completions") -> bytes:
    asked = {"messages": [{"role": "user", "content": "Is all well?"}], "max_tokens": 40}
    if url.endswith("responses"):
        asked = {"input": "Is all well?", "max_output_tokens": 40}
    if url.endswith("embeddings"):
        asked = {"input": "Is all well?"}
    if url.endswith("/completions") and "chat" not in url:
        asked = {"prompt": "Is all well?", "max_tokens": 40}
    return b"".join(
        json.dumps(
            {
                "custom_id": f"line-{n}",
                "method": "POST",
                "url": url,
                "body": {"model": model, **asked},
            }
        ).encode()
        + b"\n"
        for n in range(count)
    )


def _ended(client: openai.OpenAI, ident: str) -> Any:
    end = time.monotonic() + 10
    while time.monotonic() < end:
        batch = client.batches.retrieve(ident)
        if batch.status in ("completed", "expired", "cancelled", "failed"):
            return batch
        time.sleep(0.02)
    raise AssertionError("the batch did not end")


def _half(gateway: Served, model: str, tokens_in: int, tokens_out: int) -> int:
    """What these tokens cost in a batch, of a price without other kinds, nano-dollars."""
    row = PriceBook(gateway.app.models, now_ms=gateway.app.now_ms()).current(model)
    assert row is not None
    assert row.price.input is not None
    assert row.price.output is not None
    usd = (row.price.input.base * tokens_in + row.price.output.base * tokens_out) / 2_000_000
    return usd_to_nusd(usd)


@pytest.mark.parametrize("name", ["gpt-4o-mini", MINI])
def test_openai(client: openai.OpenAI, gateway: Served, name: str) -> None:
    file = client.files.create(file=("ask.jsonl", _lines(name)), purpose="batch")
    assert (file.filename, file.purpose) == ("ask.jsonl", "batch")
    assert [f.id for f in client.files.list()] == [file.id]
    assert b'"model":"gpt-4o-mini"' in client.files.content(file.id).content.replace(b" ", b"")
    made = client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"team": "docs"},
    )
    assert (made.input_file_id, made.metadata) == (file.id, {"team": "docs"})
    (status,) = [
        gateway.app.budgets.status(b, gateway.app.now_ms()) for b in gateway.app.budgets.all()
    ]
    assert status.reserved_nusd > 0
    assert status.spent_nusd == 0
    batch = _ended(client, made.id)
    assert batch.request_counts.completed == 3
    results = client.files.content(batch.output_file_id).text.splitlines()
    usages = [json.loads(line)["response"]["body"]["usage"] for line in results]
    gateway.settle(3)
    rows = list(gateway.app.ledger.recent(limit=10))
    assert {(row.model, row.agent, row.state) for row in rows} == {(MINI, "batch", "ok")}
    wanted = sum(
        _half(gateway, MINI, usage["prompt_tokens"], usage["completion_tokens"]) for usage in usages
    )
    assert sum(row.total_nusd or 0 for row in rows) == wanted > 0
    assert not any(row.estimated for row in rows)
    client.batches.retrieve(made.id)
    client.files.content(batch.output_file_id).read()
    gateway.settle(3)
    (status,) = [
        gateway.app.budgets.status(b, gateway.app.now_ms()) for b in gateway.app.budgets.all()
    ]
    assert (status.spent_nusd, status.reserved_nusd) == (wanted, 0)
    assert [b.id for b in client.batches.list()] == [made.id]
    assert {f.purpose for f in client.files.list()} == {"batch", "batch_output"}
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)


@pytest.mark.parametrize("url", ["/v1/responses", "/v1/completions", "/v1/embeddings"])
def test_openai_endpoints(client: openai.OpenAI, gateway: Served, url: Any) -> None:
    file = client.files.create(file=io.BytesIO(_lines(MINI, 2, url)), purpose="batch")
    made = client.batches.create(input_file_id=file.id, endpoint=url, completion_window="24h")
    assert _ended(client, made.id).request_counts.completed == 2
    gateway.settle(2)
    rows = list(gateway.app.ledger.recent(limit=10))
    assert all(row.usage.input_tokens > 0 and (row.cost_nusd or 0) > 0 for row in rows)


def test_anthropic(claude: anthropic.Anthropic, gateway: Served) -> None:
    def asked(n: int) -> Any:
        message = {"role": "user", "content": f"Is all well, {n}?"}
        params = {"model": "role:heartbeat", "max_tokens": 40, "messages": [message]}
        return {"custom_id": f"n-{n}", "params": params}

    made = claude.messages.batches.create(requests=[asked(n) for n in range(3)])
    assert made.processing_status == "in_progress"
    assert made.request_counts.processing == 3
    batch = claude.messages.batches.retrieve(made.id)
    assert batch.processing_status == "ended"
    results = list(claude.messages.batches.results(made.id))
    assert {r.custom_id for r in results} == {"n-0", "n-1", "n-2"}
    usages = [r.result.message.usage for r in results if r.result.type == "succeeded"]
    gateway.settle(3)
    rows = list(gateway.app.ledger.recent(limit=10))
    assert {(row.model, row.role, row.agent) for row in rows} == {(HAIKU, "heartbeat", "batch")}
    wanted = sum(_half(gateway, HAIKU, u.input_tokens, u.output_tokens) for u in usages)
    assert sum(row.total_nusd or 0 for row in rows) == wanted > 0
    assert [b.id for b in claude.messages.batches.list()] == [made.id]
    assert claude.messages.batches.delete(made.id).type == "message_batch_deleted"
    gateway.settle(3)


def test_cancelled(client: openai.OpenAI, claude: anthropic.Anthropic, gateway: Served) -> None:
    gateway.sim.hold_batches("hold")
    file = client.files.create(file=io.BytesIO(_lines(MINI, 4)), purpose="batch")
    made = client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    )
    assert client.batches.retrieve(made.id).status == "in_progress"
    gateway.settle(0)
    assert client.batches.cancel(made.id).status == "cancelling"
    assert _ended(client, made.id).status == "cancelled"
    gateway.settle(2)  # what was answered before is billed, and nothing else
    message = {"role": "user", "content": "Is all well?"}
    params: Any = {"model": HAIKU, "max_tokens": 40, "messages": [message]}
    batch = claude.messages.batches.create(
        requests=[{"custom_id": str(n), "params": params} for n in range(4)]
    )
    assert claude.messages.batches.cancel(batch.id).processing_status == "canceling"
    assert claude.messages.batches.retrieve(batch.id).request_counts.canceled == 2
    gateway.settle(4)
    (status,) = [
        gateway.app.budgets.status(b, gateway.app.now_ms()) for b in gateway.app.budgets.all()
    ]
    assert status.reserved_nusd == 0
    assert status.spent_nusd == sum(r.total_nusd or 0 for r in gateway.app.ledger.recent(limit=9))
