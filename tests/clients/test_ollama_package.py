"""The ollama package against the gateway."""

import time
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.gateway_server import Served

MODELS = ("ollama/llama3.1:70b", "openai/gpt-4o", "anthropic/claude-3-haiku-20240307")
ASK = [{"role": "user", "content": "Is all well?"}]


@pytest.fixture
def client(gateway: Served) -> Iterator[ollama.Client]:
    made = ollama.Client(host=gateway.url)
    yield made
    made._client.close()


@pytest.mark.parametrize("model", MODELS)
def test_chat_and_stream(client: ollama.Client, gateway: Served, model: str) -> None:
    answer = client.chat(model=model, messages=ASK, options={"num_predict": 40})
    assert answer.message.content
    pieces = list(client.chat(model=model, messages=ASK, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces)
    assert pieces[-1].done
    gateway.settle(2)
    for row in gateway.app.ledger.recent(limit=2):
        assert (row.model, row.state) == (model, "ok")
        assert row.usage.output_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", MODELS)
def test_tools(client: ollama.Client, model: str, stream: bool) -> None:
    def get_weather(city: str) -> str:
        """Weather of a city.

        Args:
            city: its name
        """
        return city

    messages: list[Any] = [{"role": "user", "content": "Weather in Oslo? Use get_weather."}]
    if stream:
        pieces = list(client.chat(model=model, messages=messages, tools=[get_weather], stream=True))
        calls = [call for piece in pieces for call in piece.message.tool_calls or ()]
        turn: Any = {"role": "assistant", "content": "", "tool_calls": calls}
    else:
        answer = client.chat(model=model, messages=messages, tools=[get_weather])
        calls = list(answer.message.tool_calls or ())
        turn = answer.message
    (call,) = calls
    assert call.function.name == "get_weather"
    messages += [turn, {"role": "tool", "content": "rain", "tool_name": "get_weather"}]
    assert client.chat(model=model, messages=messages, tools=[get_weather]).message.content


def test_listing_and_errors(client: ollama.Client) -> None:
    assert "openai/gpt-4o" in [model.model for model in client.list().models]
    assert client.show("openai/gpt-4o").capabilities is not None
    with pytest.raises(ollama.ResponseError, match="no-such") as caught:
        client.chat(model="no-such/model", messages=ASK)
    assert caught.value.status_code == 404


@pytest.mark.parametrize("model", MODELS)
def test_one_prompt(client: ollama.Client, gateway: Served, model: str) -> None:
    answer = client.generate(
        model=model, prompt="Is all well?", system="Be brief.", options={"num_predict": 40}
    )
    assert answer.response
    assert answer.done_reason in ("stop", "length")
    pieces = list(client.generate(model=model, prompt="Is all well?", stream=True))
    assert "".join(piece.response for piece in pieces)
    assert pieces[-1].done
    assert (pieces[-1].eval_count or 0) > 0
    assert (pieces[-1].total_duration or 0) >= (pieces[-1].eval_duration or 0) > 0
    gateway.settle(2)
    for row in gateway.app.ledger.recent(limit=2):
        assert (row.model, row.state) == (model, "ok")
        assert row.usage.output_tokens > 0


@pytest.mark.parametrize("model", ["ollama/llama3.1:70b", "openai/text-embedding-3-small"])
def test_vectors(client: ollama.Client, gateway: Served, model: str) -> None:
    answer = client.embed(model=model, input=["one", "two"], dimensions=4)
    assert [len(vector) for vector in answer.embeddings] == [4, 4]
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert row.usage.input_tokens == answer.prompt_eval_count


def test_what_a_model_can_do_is_shown(client: ollama.Client, gateway: Served) -> None:
    vectors = "openai/text-embedding-3-small"
    gateway.app.fleet.set_status(vectors, "active")  # what is not in the list is not shown
    while vectors not in [model.model for model in client.list().models]:
        time.sleep(0.02)
    assert client.show(vectors).capabilities == ["embedding"]
    assert "completion" in (client.show(MODELS[0]).capabilities or ())


def test_loading_ahead_of_time_asks_nobody(client: ollama.Client, gateway: Served) -> None:
    assert client.generate(model=MODELS[0]).done_reason == "load"
    assert client.generate(model=MODELS[0], keep_alive=0).done_reason == "unload"
    assert client.chat(model=MODELS[0], messages=[]).done_reason == "load"
    assert not client.ps().models
    with pytest.raises(ollama.ResponseError) as error:
        client.generate(model="nobody/nothing")
    assert error.value.status_code == 404
    assert not gateway.sim.answered()


@pytest.mark.parametrize("field", [{"raw": True}, {"suffix": "end"}, {"template": "{{ .Prompt }}"}])
def test_what_no_chat_can_say_is_refused_by_name(
    client: ollama.Client, field: dict[str, Any]
) -> None:
    with pytest.raises(ollama.ResponseError, match=next(iter(field))):
        client.generate(model=MODELS[0], prompt="Is all well?", **field)
