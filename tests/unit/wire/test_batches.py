"""Batches as vendors tell of them, after their references (fixtures/*/batches.json)."""

import json
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.batches import batch_share
from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import BadRequest, Malformed
from omni_cli.domain.prices import Price, Rate, Tier, price_from_json, price_to_json
from omni_cli.domain.pricing import cost_nusd, of_batch
from omni_cli.wire.batching import Batching, Item
from omni_cli.wire.registry import batching, protocols

FIXTURES = Path(__file__).parents[3] / "fixtures"
BOTH = ("openai", "anthropic")


def _speaks(protocol: str) -> Batching:
    found = batching(protocol)
    assert found is not None
    return found


def _cases(kind: str) -> list[tuple[str, Any, Any]]:
    return [
        (protocol, case["said"], case["means"])
        for protocol in BOTH
        for case in json.loads((FIXTURES / protocol / "batches.json").read_text("utf-8"))[kind]
    ]


def _items(protocol: str, text: bytes) -> list[Item]:
    with tempfile.TemporaryFile() as file:
        file.write(text)
        file.seek(0)
        return list(_speaks(protocol).items(file))


def test_which_protocols_have_batches() -> None:
    assert [name for name in protocols() if batching(name) is not None] == list(BOTH)


@pytest.mark.parametrize(("protocol", "said", "means"), _cases("batches"))
def test_how_far_a_batch_is(protocol: str, said: Any, means: Any) -> None:
    told = _speaks(protocol).told(json.dumps(said).encode())
    assert {**told._asdict(), "results": list(told.results)} == means


@pytest.mark.parametrize(("protocol", "said", "means"), _cases("results"))
def test_what_became_of_a_request(protocol: str, said: Any, means: Any) -> None:
    result = _speaks(protocol).result(json.dumps(said).encode())
    assert result is not None
    usage = result.usage
    assert means == {
        "custom_id": result.custom_id,
        "answered": result.answered,
        "tried": result.tried,
        "input": usage and usage.input_tokens,
        "output": usage and usage.output_tokens,
        "estimated": usage and usage.estimated,
        "response_id": result.response_id,
        "error_code": result.error_code,
    }


@pytest.mark.parametrize("protocol", BOTH)
def test_what_is_no_batch(protocol: str) -> None:
    speaks = _speaks(protocol)
    for line in (b"", b"[]", b"{", b'{"custom_id": 3}', b'{"custom_id": null}', b"\xff"):
        assert speaks.result(line) is None
    for body in (b"", b"[]", b"{}", b'{"id": ""}', b'{"id": 7}', b"<html>"):
        with pytest.raises(Malformed):
            speaks.told(body)
    assert speaks.listed(b"{}") == ([], "")


@pytest.mark.parametrize("protocol", BOTH)
def test_lists_go_on_until_they_end(protocol: str) -> None:
    first = json.loads((FIXTURES / protocol / "batches.json").read_text("utf-8"))["batches"][0]
    page = {"data": [first["said"]], "has_more": True}
    found, more = _speaks(protocol).listed(json.dumps(page).encode())
    assert [told.id for told in found] == [first["means"]["id"]]
    assert more.endswith(first["means"]["id"])
    assert _speaks(protocol).listed(json.dumps({**page, "has_more": False}).encode())[1] == ""


def test_requests_are_read_and_written_as_they_are() -> None:
    line = b'{"custom_id":"a","url":"/v1/responses","body":{"model": "m",  "x": 1e400}}'
    (item,) = _items("openai", line + b"\r\n\r\n")
    assert item == Item(1, "a", "/v1/responses", b'{"model": "m",  "x": 1e400}')
    assert json.loads(_speaks("openai").written(item, b'{"model":"n"}')) == {
        "custom_id": "a",
        "method": "POST",
        "url": "/v1/responses",
        "body": {"model": "n"},
    }
    one, two = b'{"custom_id": "a", "params": {"model":"m"}}', b'{"custom_id":"b","params":{}}'
    body = b'{"requests": [' + one + b", " + two + b"]}"
    items = _items("anthropic", body)
    assert items == [
        Item(1, "a", "/v1/messages", b'{"model":"m"}'),
        Item(2, "b", "/v1/messages", b"{}"),
    ]
    speaks = _speaks("anthropic")
    before, between, after = speaks.around
    again = before + between.join(speaks.written(i, i.body) for i in items) + after
    assert json.loads(again) == json.loads(body)


@pytest.mark.parametrize(
    ("protocol", "text", "says"),
    [
        ("openai", b'{"custom_id":"a","url":"/v1/x","body":{}}\n{"custom_id":1}\n', "line 2: "),
        ("openai", b"not json\n", "line 1: "),
        (
            "openai",
            b'{"custom_id":"a","url":"/v1/x","body":{},"method":"GET"}',
            "line 1: its method",
        ),
        ("openai", b"\xff\xfe\n", "line 1: "),
        ("anthropic", b"", "it is empty"),
        ("anthropic", b"[]", "no batch"),
        ("anthropic", b'{"requests":[]}', "it has no requests"),
        ("anthropic", b'{"requests":[{"custom_id":"a"}]}', "no batch"),
    ],
)
def test_what_cannot_be_read_is_named(protocol: str, text: bytes, says: str) -> None:
    with pytest.raises(BadRequest, match=says):
        _items(protocol, text)


def test_the_address_of_results_is_the_gateways() -> None:
    said = next(s for p, s, m in _cases("batches") if p == "anthropic" and m["ended"])
    shown = json.loads(_speaks("anthropic").at(json.dumps(said).encode(), "http://here:1"))
    assert shown["results_url"] == "http://here:1/v1/messages/batches/msgbatch_013Y/results"
    assert _speaks("openai").at(b"{}", "http://here:1") == b"{}"


def test_shares_that_vendors_publish() -> None:
    half = Decimal("0.5")
    assert batch_share("openai", "127.0.0.1") == half
    assert batch_share("mine", "api.openai.com") == half
    assert batch_share("moonshot", "api.moonshot.ai") == Decimal("0.6")
    assert batch_share("groq", "api.groq.com") is None
    assert batch_share("mine", "notopenai.com") is None
    assert batch_share("claude", "api.anthropic.com") == half
    assert batch_share("vertex", "example.com") is None


def test_a_batchs_price_is_a_share_of_every_rate() -> None:
    price = Price(
        "priced",
        input=Rate(Decimal(3), (Tier(200_000, Decimal(6)),)),
        cached=Rate(Decimal("0.3")),
        output=Rate(Decimal(15)),
        per_request_usd=Decimal("0.001"),
    )
    half = of_batch(price, Decimal("0.5"))
    assert price_from_json(price_to_json(half)) == half
    usage = Usage(input_tokens=300_000, cached_tokens=100_000, output_tokens=1_000)
    fee = 1_000_000
    assert cost_nusd(usage, half) - fee == (cost_nusd(usage, price) - fee) // 2
    assert of_batch(half, Decimal("0.5")) is half
