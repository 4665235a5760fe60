"""The official Anthropic package against the gateway."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.gateway_server import Served

OWN = "anthropic/claude-sonnet-4-20250514"
OTHERS = ("openai/gpt-4o", "google/gemini-2.0-flash", "ollama/llama3.1:70b")
TOOL: Any = {
    "name": "get_weather",
    "description": "Weather of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
ASK: Any = [{"role": "user", "content": "Is all well?"}]


@pytest.fixture
def client(gateway: Served) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=gateway.url, api_key="none", max_retries=0) as made:
        yield made


@pytest.mark.parametrize("model", [OWN, *OTHERS])
def test_message(client: anthropic.Anthropic, gateway: Served, model: str) -> None:
    raw = client.messages.with_raw_response.create(
        model=model, max_tokens=60, messages=ASK, system="Be brief."
    )
    answer = raw.parse()
    assert answer.content[0].type == "text"
    assert raw.headers["request-id"].startswith("req_")
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert (row.model, row.state) == (model, "ok")
    assert row.usage.output_tokens == answer.usage.output_tokens > 0


@pytest.mark.parametrize("model", [OWN, *OTHERS])
def test_stream(client: anthropic.Anthropic, gateway: Served, model: str) -> None:
    with client.messages.stream(model=model, max_tokens=60, messages=ASK) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text
    assert final.stop_reason in ("end_turn", "max_tokens")
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert row.usage.output_tokens == final.usage.output_tokens > 0
    assert not row.estimated


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [OWN, *OTHERS])
def test_tools(client: anthropic.Anthropic, model: str, stream: bool) -> None:
    messages: Any = [{"role": "user", "content": "Weather in Oslo? Use get_weather."}]
    if stream:
        with client.messages.stream(
            model=model, max_tokens=200, messages=messages, tools=[TOOL]
        ) as events:
            answer: Any = events.get_final_message()
    else:
        answer = client.messages.create(
            model=model, max_tokens=200, messages=messages, tools=[TOOL]
        )
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    assert call.name == "get_weather"
    assert answer.stop_reason == "tool_use"
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "rain"}
    done = client.messages.create(
        model=model,
        max_tokens=200,
        tools=[TOOL],
        messages=[
            *messages,
            {"role": "assistant", "content": answer.model_dump()["content"]},
            {"role": "user", "content": [result]},
        ],
    )
    assert [block for block in done.content if block.type == "text"]


def test_count_tokens(client: anthropic.Anthropic) -> None:
    short = client.messages.count_tokens(model=OWN, messages=ASK).input_tokens
    long = client.messages.count_tokens(
        model=OWN, messages=[{"role": "user", "content": "word " * 500}]
    ).input_tokens
    assert 0 < short < 50 < 400 < long


def test_models(client: anthropic.Anthropic) -> None:
    assert OWN in [model.id for model in client.models.list()]


def test_errors_are_typed(client: anthropic.Anthropic, gateway: Served) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="anthropic/none", max_tokens=5, messages=ASK)
    assert caught.value.body["error"]["type"] == "not_found_error"  # type: ignore[index]  # JSON
    gateway.sim.fault("529", "anthropic/*")
    with pytest.raises(anthropic.APIStatusError) as refused:
        client.messages.create(model=OWN, max_tokens=5, messages=ASK)
    assert refused.value.body["error"]["type"] == "overloaded_error"  # type: ignore[index]  # JSON


def test_server_tools_pass_to_anthropic_and_are_refused_elsewhere(
    client: anthropic.Anthropic,
) -> None:
    tool: Any = {"type": "web_search_20250305", "name": "web_search"}
    with pytest.raises(anthropic.BadRequestError, match="web_search"):
        client.messages.create(model=OTHERS[0], max_tokens=9, messages=ASK, tools=[tool])
