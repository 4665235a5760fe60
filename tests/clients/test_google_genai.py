"""Google's own package on the gateway's Gemini paths, also for other providers' models (E3)."""

from collections.abc import Iterator

import pytest
from google import genai
from google.genai import errors, types

from tests.gateway_server import Served

OWN, OTHER = "google/gemini-2.0-flash", "openai/gpt-4o"


@pytest.fixture(params=["v1beta", "v1", None], ids=["v1beta", "v1", "its own"])
def client(gateway: Served, request: pytest.FixtureRequest) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=gateway.url, api_version=request.param)
    made = genai.Client(api_key="none", http_options=options)
    yield made
    made.close()


def get_weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


@pytest.mark.parametrize("name", [OWN, OTHER])
def test_chat_with_usage(client: genai.Client, gateway: Served, name: str) -> None:
    config = types.GenerateContentConfig(system_instruction="Be brief.", max_output_tokens=50)
    answer = client.models.generate_content(model=name, contents="Is all well?", config=config)
    assert "[simulated" in (answer.text or "")
    assert answer.usage_metadata is not None
    gateway.settle(1)
    (row,) = gateway.app.ledger.recent(limit=2)
    assert row.usage.input_tokens == answer.usage_metadata.prompt_token_count


@pytest.mark.parametrize("name", [OWN, OTHER])
def test_stream(client: genai.Client, name: str) -> None:
    pieces = list(client.models.generate_content_stream(model=name, contents="Is all well?"))
    assert "[simulated" in "".join(piece.text or "" for piece in pieces)


@pytest.mark.parametrize("name", [OWN, OTHER])
def test_tools(client: genai.Client, name: str) -> None:
    """The package calls the function itself, and sends its result back."""
    config = types.GenerateContentConfig(tools=[get_weather])
    answer = client.models.generate_content(
        model=name, contents="Use get_weather for Oslo.", config=config
    )
    assert answer.automatic_function_calling_history


def test_count_image_and_error(client: genai.Client) -> None:
    assert client.models.count_tokens(model=OWN, contents="one two three").total_tokens
    part = types.Part.from_bytes(data=b"\x89PNG\r\n\x1a\n" + b"0" * 32, mime_type="image/png")
    answer = client.models.generate_content(model=OTHER, contents=["What is this?", part])
    assert "I see 1 image" in (answer.text or "")
    with pytest.raises(errors.ClientError, match="no-such-model"):
        client.models.generate_content(model="google/no-such-model", contents="x")
