"""Places that cost more than the list price: told by a model's name or a provider's address."""

from decimal import Decimal

import pytest

from omni_cli.domain.clouds import charged_more
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.records import StoredPrice
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.sending import Sending, fields_of
from omni_cli.wire.registry import adapter

HERE = "https://api.openai.com/v1"
VERTEX = "https://us-east5-aiplatform.googleapis.com/v1"


@pytest.mark.parametrize(
    ("name", "base_url", "more"),
    [
        ("gpt-5.4", HERE, False),
        ("gpt-5.4", "https://eu.api.openai.com/v1", True),
        ("gpt-6", "https://us.api.openai.com/v1", True),
        ("gpt-4o", "https://us.api.openai.com/v1", False),
        ("gpt-5.4", "https://us.api.openai.com.example/v1", False),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "https://bedrock.example", True),
        ("global.anthropic.claude-sonnet-4-5-20250929-v1:0", "https://bedrock.example", False),
        ("us.anthropic.claude-sonnet-4-20250514-v1:0", "https://bedrock.example", False),
        ("us.amazon.nova-pro-v1:0", "https://bedrock.example", False),
        ("claude-sonnet-4-5@20250929", VERTEX, True),
        ("claude-sonnet-4@20250514", VERTEX, False),
        ("claude-sonnet-4-5@20250929", "https://aiplatform.googleapis.com/v1", False),
        ("gemini-3-pro", VERTEX, False),
    ],
)
def test_who_charges_more_where(name: str, base_url: str, more: bool) -> None:
    assert charged_more(name, base_url) is more


@pytest.mark.parametrize(("origin", "most"), [("catalogue", 1_100), ("user", 1_000)])
def test_a_budget_holds_the_surcharge_as_well(origin: str, most: int) -> None:
    """Of the catalogue's price; what the user says that it costs is what it costs."""
    price = Price("priced", input=Rate(Decimal(0)), output=Rate(Decimal("0.01")))
    stored = StoredPrice(1, origin, price)
    provider = Provider("p", "p", "openai", "https://eu.api.openai.com/v1")
    target = Target(ModelInfo("p/m", "p", "gpt-6", "m"), provider, stored, 0, 1000)
    body = b'{"model":"m","max_tokens":100,"messages":[]}'
    sent = Sending(body, target, adapter("openai"), "chat", {}, fields_of(body))
    found = sent.most()
    assert 100 * 10 + found.fees_nusd == most
    assert target.charged_more is (origin == "catalogue")
