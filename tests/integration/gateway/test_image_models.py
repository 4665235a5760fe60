"""The catalogue's recognisers through the gateway: labels in the caller's own protocol."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.domain.models import Provider
from omni_cli.simulator import Simulator
from tests.gateway_server import serving
from tests.image_vendors import KEY, PIXEL, Vendors, vendors

TAGS = "clarifai/general-image-recognition"
LABELS = "google-vision/LABEL_DETECTION"
_DATA = base64.b64encode(PIXEL).decode()
_OPENAI = [
    {"type": "text", "text": "tags"},
    {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_DATA}"}},
]
_ANTHROPIC = [
    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": _DATA}},
    {"type": "text", "text": "tags"},
]


@pytest.fixture
def seen() -> Iterator[Vendors]:
    with vendors() as found:
        yield found


@pytest.fixture
def client(tmp_path: Path, sim: Simulator, seen: Vendors) -> Iterator[httpx.Client]:
    env = {"CLARIFAI_PAT": KEY, "GOOGLE_VISION_API_KEY": KEY}
    with serving(tmp_path, sim, env=env) as served:
        fleet = served.app.fleet
        for slug, protocol, base, variable in (
            ("clarifai", "clarifai", seen.url, "CLARIFAI_PAT"),
            ("google-vision", "google-vision", f"{seen.url}/v1", "GOOGLE_VISION_API_KEY"),
        ):
            fleet.put_provider(Provider(slug, slug, protocol, base, key_env=variable))  # type: ignore[arg-type]  # the two literals above
        fleet.set_status(TAGS, "active")
        fleet.set_status(LABELS, "active")
        fleet.assign_role("photo_tags", LABELS, 1, "tags of photos")
        with httpx.Client(base_url=served.url, timeout=20, trust_env=False) as client:
            yield client


def _chat(client: httpx.Client, model: str, content: Any, **more: Any) -> httpx.Response:
    messages = [{"role": "user", "content": content}]
    return client.post("/v1/chat/completions", json={"model": model, "messages": messages, **more})


def _text(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return json.loads(answer.json()["choices"][0]["message"]["content"])


def test_labels_come_in_the_callers_protocol(client: httpx.Client, seen: Vendors) -> None:
    labels = {"labels": [{"name": "Train", "confidence": 0.97}]}
    assert _text(_chat(client, TAGS, _OPENAI))["concepts"][0] == {
        "name": "train",
        "confidence": 0.9994,
    }
    assert _text(_chat(client, LABELS, _OPENAI)) == labels
    assert _text(_chat(client, "photo_tags", _OPENAI)) == labels
    body = {
        "model": LABELS,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": _ANTHROPIC}],
    }
    other = client.post("/v1/messages", json=body)
    assert other.status_code == 200, other.text
    assert json.loads(other.json()["content"][0]["text"]) == labels
    assert seen.asked[-1][2]["requests"][0]["image"] == {"content": _DATA}


def test_a_streaming_caller_gets_them_too(client: httpx.Client) -> None:
    answer = _chat(client, TAGS, _OPENAI, stream=True)
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    pieces = [json.loads(event)["choices"] for event in events]
    text = "".join(choice["delta"].get("content") or "" for found in pieces for choice in found)
    assert json.loads(text)["concepts"][1]["name"] == "railway"


def test_a_question_without_a_picture_is_refused_by_name(
    client: httpx.Client, seen: Vendors
) -> None:
    answer = _chat(client, TAGS, "what do you see?")
    assert answer.status_code == 400
    assert "answers images only" in answer.text
    assert not seen.asked


def test_auto_does_not_take_labels_for_an_answer(client: httpx.Client, seen: Vendors) -> None:
    for content in ("hello there", _OPENAI):
        answer = _chat(client, "auto", content)
        assert answer.status_code == 200, answer.text
    assert not seen.asked
