"""LangChain's ChatOpenAI with one base URL changed (E3)."""

from typing import Any

import openai
import pytest
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from tests.clients.test_openai_sdk import PIXEL
from tests.gateway_server import Served

OWN, OTHER = "openai/gpt-4o", "anthropic/claude-3-haiku-20240307"


def model(gateway: Served, name: str = "auto", **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        base_url=f"{gateway.url}/v1", api_key=SecretStr("none"), model=name, max_retries=0, **more
    )


@tool
def get_weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


@pytest.mark.parametrize("name", [OWN, OTHER, "auto", "chain:Fast Chain"])
def test_chat_with_usage(gateway: Served, name: str) -> None:
    answer = model(gateway, name).invoke([SystemMessage("Be brief."), HumanMessage("Is all well?")])
    assert "[simulated" in answer.text
    assert answer.usage_metadata is not None
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert row.usage.input_tokens == answer.usage_metadata["input_tokens"]
    assert row.usage.output_tokens == answer.usage_metadata["output_tokens"]


@pytest.mark.parametrize("name", [OWN, OTHER])
def test_stream(gateway: Served, name: str) -> None:
    pieces = list(model(gateway, name, stream_usage=True).stream("Is all well?"))
    assert len(pieces) > 3
    assert "[simulated" in "".join(piece.text for piece in pieces)
    assert any(piece.usage_metadata for piece in pieces)


@pytest.mark.parametrize("name", [OWN, OTHER])
def test_tools(gateway: Served, name: str) -> None:
    made = model(gateway, name).bind_tools([get_weather])
    asked = HumanMessage("Use get_weather for Oslo.")
    first = made.invoke([asked])
    (call,) = first.tool_calls
    assert call["name"] == "get_weather"
    result = ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"])
    assert made.invoke([asked, first, result]).text


@pytest.mark.parametrize("name", [OWN, OTHER])
def test_image(gateway: Served, name: str) -> None:
    content: list[Any] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    assert "I see 1 image" in model(gateway, name).invoke([HumanMessage(content)]).text


def test_error(gateway: Served) -> None:
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        model(gateway, "openai/no-such-model").invoke("x")
