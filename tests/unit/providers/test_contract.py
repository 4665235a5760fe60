"""The contract of every registered adapter, over ``fixtures/<protocol>/*.json``.

A new provider needs no new test: its registry line makes this one ask for its folder with
``requests.json``, ``answers.json``, ``errors.json`` and (where it lists models) ``models.json``.
"""

import copy
import json
from functools import cache
from typing import Any

import pytest

from omni_cli.domain import errors
from omni_cli.domain.chat import (
    ChatRequest,
    Completion,
    MediaPart,
    Message,
    Part,
    TextPart,
    Tool,
    ToolCall,
    Usage,
)
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import Endpoint
from omni_cli.wire.registry import adapter, protocols
from tests.paths import REPO
from tests.unit.providers.wire import completion, wire_of

KEY = "sk-fixture-KEYKEYKEY"
Case = tuple[ProtocolName, dict[str, Any]]


@cache
def _file(protocol: str, kind: str) -> list[dict[str, Any]]:
    path = REPO / "fixtures" / protocol / f"{kind}.json"
    if kind == "models" and not path.exists():
        return []
    cases: list[dict[str, Any]] = json.loads(path.read_text())
    assert cases, f"{path} has no cases"
    return cases


def _cases(kind: str) -> list[Case]:
    return [(protocol, case) for protocol in protocols() for case in _file(protocol, kind)]


def _name(case: Case) -> str:
    return f"{case[0]}: {case[1]['name']}"


def _message(raw: dict[str, Any]) -> Message:
    parts: list[Part] = [TextPart(raw["text"])] if raw.get("text") else []
    parts += [MediaPart(**media) for media in raw.get("media", ())]
    return Message(
        raw["role"],
        tuple(parts),
        tool_calls=tuple(ToolCall(**call) for call in raw.get("tool_calls", ())),
        tool_call_id=raw.get("tool_call_id"),
        reasoning=tuple(raw.get("reasoning", ())),
    )


def _request(raw: dict[str, Any]) -> ChatRequest:
    fields = dict(raw)
    fields["messages"] = tuple(map(_message, raw["messages"]))
    fields["tools"] = tuple(Tool(**tool) for tool in raw.get("tools", ()))
    fields["stop"] = tuple(raw.get("stop", ()))
    return ChatRequest(**fields)


def _framing(protocol: ProtocolName) -> str:
    """How the adapter's own calls say that a streamed answer is cut into events."""
    parts = (TextPart("x"), MediaPart("image/png", data="AA=="))
    name = "label-detection" if protocol == "google-vision" else "m"
    request = ChatRequest((Message("user", parts),))
    return adapter(protocol).build(request, name, Endpoint("https://api.example.test")).framing


@pytest.mark.parametrize("case", _cases("requests"), ids=_name)
def test_request(case: Case) -> None:
    protocol, wanted = case
    request = _request(wanted["request"])
    untouched = copy.deepcopy(request)
    endpoint = Endpoint(wanted["base_url"], None if wanted.get("no_key") else KEY)
    if "refused" in wanted:
        with pytest.raises(errors.BadRequest) as caught:
            adapter(protocol).build(request, wanted["wire_name"], endpoint)
        assert wanted["refused"] in caught.value.message
        return
    call = adapter(protocol).build(request, wanted["wire_name"], endpoint)
    expected = wanted["expected"]
    assert call.body is not None
    assert json.loads(call.body) == expected["body"]
    assert call.url == expected.get("url", call.url)
    assert call.method == expected.get("method", "POST")
    assert call.framing == expected.get("framing", call.framing)
    assert "told" not in wanted or call.told == tuple(wanted["told"])
    for name, value in expected.get("headers", {}).items():
        assert call.headers[name] == value.replace("KEY", KEY)
    secret = [name for name, value in call.headers.items() if KEY in value]
    assert len(secret) == (0 if wanted.get("no_key") else 1)
    assert KEY not in call.url
    assert KEY not in repr(call)
    assert KEY not in repr(endpoint)
    assert request == untouched


@pytest.mark.parametrize("cut", ["whole", "bytes"])
@pytest.mark.parametrize("case", _cases("answers"), ids=_name)
def test_answer(case: Case, cut: str) -> None:
    protocol, wanted = case
    framing = _framing(protocol)
    body = wire_of(wanted)

    def read() -> Completion:
        return completion(
            adapter(protocol), body, stream=wanted["stream"], framing=framing, cut=cut
        )

    if "error" in wanted:
        with pytest.raises(errors.ProviderError) as caught:
            read()
        assert type(caught.value).__name__ == wanted["error"]["class"]
        assert wanted["error"]["message"] in caught.value.message
        return
    found, expected = read(), wanted["expected"]
    if "json" in expected:
        assert json.loads(found.text) == expected["json"]
    else:
        assert found.text == expected.get("text", "")
    assert found.reasoning == expected.get("reasoning", "")
    wished = expected.get("tool_calls", [])
    calls = [[call.id, call.name, call.arguments] for call in found.tool_calls]
    assert all(call_id for call_id, *_ in calls)
    # An id that the provider did not give is made up, and any will do.
    made = {at for at, (call_id, *_) in enumerate(wished) if call_id is None}
    assert [[None, *c[1:]] if at in made else c for at, c in enumerate(calls)] == wished
    images = [[image.media_type, image.data] for image in found.images]
    assert images == expected.get("images", [])
    if "reasoning_blocks" in expected:
        assert list(found.reasoning_blocks) == expected["reasoning_blocks"]
    for name in ("finish_reason", "raw_finish_reason", "model", "response_id"):
        if name in expected:
            assert getattr(found, name) == expected[name]
    if "usage" in expected:
        usage = expected["usage"]
        assert found.usage == (None if usage is None else Usage(**usage))


@pytest.mark.parametrize("case", _cases("errors"), ids=_name)
def test_error(case: Case) -> None:
    protocol, wanted = case
    error = adapter(protocol).explain(wanted["status"], wanted.get("headers", {}), wanted["body"])
    expected = wanted["expected"]
    assert type(error).__name__ == expected["class"]
    assert expected["message"] in error.message
    assert error.status == wanted["status"]
    assert error.retry_after_s == expected.get("retry_after_s")
    if "provider_code" in expected:
        assert error.provider_code == expected["provider_code"]
    assert expected.get("hint", "") in error.hint
    for text in expected.get("absent", ()):
        assert text not in error.message
    assert "\n" not in error.message


@pytest.mark.parametrize("case", _cases("models"), ids=_name)
def test_model_list(case: Case) -> None:
    protocol, wanted = case
    found = [
        {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in {
                "wire_name": model.wire_name,
                "name": model.name,
                "context_window": model.context_window,
                "max_output": model.max_output,
                "input_types": model.input_types,
                "output_types": model.output_types,
                "badges": sorted(model.badges),
                "prices": dict(model.prices),
            }.items()
            if value
        }
        for model in adapter(protocol).parse_models(wanted["body"])
    ]
    assert found == wanted["expected"]


@pytest.mark.parametrize("protocol", protocols())
def test_listing_is_a_get_with_the_key_in_a_header(protocol: ProtocolName) -> None:
    wire = adapter(protocol)
    call = wire.list_models(Endpoint("https://api.example.test/v1", KEY))
    if call is None:
        assert not _file(protocol, "models")
        return
    assert _file(protocol, "models")
    assert call.method == "GET"
    assert call.body is None
    assert KEY not in call.url
    assert any(KEY in value for value in call.headers.values())
    for body in ("", "[", "{}", "7", '{"data": 3, "models": 3}', "<html>"):
        try:
            assert wire.parse_models(body) == []
        except errors.Malformed:
            continue


@pytest.mark.parametrize("protocol", protocols())
def test_what_is_no_json_is_refused(protocol: ProtocolName) -> None:
    image = MediaPart("image/png", data="AA==")
    request = ChatRequest((Message("user", (image,)),), extra={"bad": {1, 2}})
    name = "label-detection" if protocol == "google-vision" else "m"
    with pytest.raises(errors.BadRequest, match="cannot be written as JSON"):
        adapter(protocol).build(request, name, Endpoint("https://api.example.test"))


@pytest.mark.parametrize("protocol", protocols())
def test_undecodable_bytes_of_a_command_line_can_be_sent(protocol: ProtocolName) -> None:
    parts = (TextPart("caf\udce9"), MediaPart("image/png", data="AA=="))
    name = "label-detection" if protocol == "google-vision" else "m"
    call = adapter(protocol).build(
        ChatRequest((Message("user", parts),)), name, Endpoint("https://api.example.test")
    )
    assert call.body is not None
    json.loads(call.body.decode("utf-8"))
