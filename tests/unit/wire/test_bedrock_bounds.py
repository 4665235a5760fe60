"""What a body of Converse can cost at most, and how its limit is written."""

import json
from decimal import Decimal
from typing import Any

import pytest

from omni_cli.domain.bounds import Most, bound_of
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.records import StoredPrice
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.sending import Sending
from omni_cli.wire.registry import adapter

PRICE = Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(10)))
TURN = {"role": "user", "content": [{"text": "Hi"}]}


def sending(body: dict[str, Any], url: str = "https://bedrock.test") -> Sending:
    provider = Provider("b", "b", "bedrock", url)
    model = ModelInfo("b/m", "b", "us.anthropic.claude-haiku-4-5", "m", max_output=64_000)
    target = Target(model, provider, StoredPrice(1, "catalogue", PRICE), 0, 1000)
    return Sending(json.dumps(body).encode(), target, adapter("bedrock"), "chat", {})


def test_the_limit_is_written_where_it_is_read() -> None:
    thinking = {"thinking": {"type": "enabled", "budget_tokens": 4_000}}
    sent = sending(
        {
            "messages": [TURN],
            "inferenceConfig": {"maxTokens": 9_000, "temperature": 0.5},
            "additionalModelRequestFields": thinking,
        }
    )
    most = sent.most()
    assert most.each == 9_000
    sent.limit(3_000)
    body = json.loads(sent.written())
    assert body["inferenceConfig"] == {"maxTokens": 3_000, "temperature": 0.5}
    assert body["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 1_500
    sent.limit(500)
    said = json.loads(sent.written())["additionalModelRequestFields"]["thinking"]
    assert said == {"type": "disabled"}
    bare = sending({"messages": [TURN]})
    bare.most()
    bare.limit(77)
    assert json.loads(bare.written())["inferenceConfig"] == {"maxTokens": 77}


@pytest.mark.parametrize(
    "more",
    [
        {"serviceTier": {"type": "priority"}},
        {"performanceConfig": {"latency": "optimized"}},
        {"additionalModelRequestFields": {"max_tokens": 9}},
        {"guardrailConfig": {"guardrailIdentifier": "x"}},
        {"somethingNew": 1},
    ],
)
def test_what_may_cost_more_bounds_nothing(more: dict[str, Any]) -> None:
    sent = sending({"messages": [TURN], "inferenceConfig": {"maxTokens": 9}, **more})
    assert not isinstance(bound_of(PRICE, sent.most), Most)
