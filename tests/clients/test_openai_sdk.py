"""The official OpenAI package against the gateway: every model of the fleet answers it."""

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.gateway_server import Served

OWN = "openai/gpt-4o"
OTHERS = (
    "anthropic/claude-3-haiku-20240307",
    "google/gemini-2.0-flash",
    "ollama/llama3.1:70b",
    "deepseek/deepseek-chat",
)
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@pytest.fixture
def client(gateway: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def _ask(text: str = "Is all well?") -> Any:
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


@pytest.mark.parametrize("model", [OWN, *OTHERS])
def test_chat(client: openai.OpenAI, gateway: Served, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=_ask(), max_tokens=50)
    assert answer.choices[0].message.content
    assert answer.usage is not None
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert (row.model, row.state) == (model, "ok")
    assert row.usage.input_tokens == answer.usage.prompt_tokens
    assert row.usage.output_tokens == answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", [OWN, *OTHERS])
def test_stream(client: openai.OpenAI, gateway: Served, model: str) -> None:
    stream = client.chat.completions.create(
        model=model,
        messages=_ask(),
        max_tokens=50,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    usage = chunks[-1].usage
    assert text
    assert usage is not None
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] in ("stop", "length")
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert row.usage.output_tokens == usage.completion_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [OWN, *OTHERS])
def test_tools(client: openai.OpenAI, model: str, stream: bool) -> None:
    messages = _ask("Weather in Oslo? Use get_weather.")
    if stream:
        with client.chat.completions.stream(model=model, messages=messages, tools=[TOOL]) as events:
            answer = events.get_final_completion()
    else:
        answer = client.chat.completions.create(model=model, messages=messages, tools=[TOOL])
    (call,) = answer.choices[0].message.tool_calls or ()
    assert call.type == "function"
    assert call.function.name == "get_weather"
    assert answer.choices[0].finish_reason == "tool_calls"
    follow: Any = [
        *messages,
        answer.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"}),
        {"role": "tool", "tool_call_id": call.id, "content": "4 degrees, rain"},
    ]
    for message in follow:
        for made in message.get("tool_calls", []):
            made["function"].pop("parsed_arguments", None)
    done = client.chat.completions.create(model=model, messages=follow, tools=[TOOL])
    assert done.choices[0].message.content


@pytest.mark.parametrize("model", [OWN, *OTHERS[:2]])
def test_image(client: openai.OpenAI, model: str) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    messages: Any = [{"role": "user", "content": content}]
    answer = client.chat.completions.create(model=model, messages=messages)
    assert answer.choices[0].message.content


def test_json_mode(client: openai.OpenAI) -> None:
    for model in (OWN, "google/gemini-2.0-flash"):
        answer = client.chat.completions.create(
            model=model, messages=_ask("JSON please"), response_format={"type": "json_object"}
        )
        assert (answer.choices[0].message.content or "").startswith("{")


@pytest.mark.parametrize("model", [OWN, *OTHERS[:3]])
def test_responses(client: openai.OpenAI, gateway: Served, model: str) -> None:
    answer = client.responses.create(model=model, input="Is all well?", max_output_tokens=50)
    assert answer.output_text
    assert answer.usage is not None
    with client.responses.stream(model=model, input="Is all well?") as events:
        kinds = [event.type for event in events]
        final = events.get_final_response()
    assert final.output_text
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    gateway.settle(2)


def test_responses_with_a_tool(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", **TOOL["function"], "strict": False}
    asked: Any = [{"role": "user", "content": "Weather in Oslo? Use get_weather."}]
    with client.responses.stream(model=OTHERS[0], input=asked, tools=[tool]) as events:
        final = events.get_final_response()
    (call,) = [item for item in final.output if item.type == "function_call"]
    assert call.name == "get_weather"
    follow: Any = [
        *asked,
        {
            "type": "function_call",
            "call_id": call.call_id,
            "name": call.name,
            "arguments": call.arguments,
        },
        {"type": "function_call_output", "call_id": call.call_id, "output": "rain"},
    ]
    assert client.responses.create(model=OTHERS[0], input=follow, tools=[tool]).output_text


def test_models(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert OWN in ids
    assert "auto" in ids
    assert "role:heartbeat" in ids
    assert client.models.retrieve(OWN).owned_by == "openai"


@pytest.mark.parametrize("model", ["auto", "auto:cheap", "auto:best", "auto:fast"])
def test_auto(client: openai.OpenAI, gateway: Served, model: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=_ask())
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert raw.headers["x-omni-model"] == row.model
    assert row.task
    assert row.difficulty is not None


def test_role_and_chain(client: openai.OpenAI, gateway: Served) -> None:
    client.chat.completions.create(model="role:heartbeat", messages=_ask())
    client.chat.completions.create(model="chain:Fast Chain", messages=_ask())
    gateway.settle(2)
    chain, role = gateway.app.ledger.recent(limit=2)
    assert (role.role, role.model) == ("heartbeat", "anthropic/claude-3-haiku-20240307")
    assert chain.chain == "Fast Chain"


def test_errors_are_typed(client: openai.OpenAI, gateway: Served) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="openai/no-such", messages=_ask())
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=OWN, messages=[])
    gateway.sim.fault("429:2", "openai/*")
    with pytest.raises(openai.RateLimitError) as caught:
        client.with_options(timeout=30).chat.completions.create(model=OWN, messages=_ask())
    assert int(caught.value.response.headers["retry-after"]) >= 2


def test_what_cannot_be_translated_is_refused_by_name(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="logit_bias"):
        client.chat.completions.create(model=OTHERS[0], messages=_ask(), logit_bias={"50256": -100})
    with pytest.raises(openai.BadRequestError, match="n cannot be translated"):
        client.chat.completions.create(model=OTHERS[0], messages=_ask(), n=2)
