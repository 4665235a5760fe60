"""What SDKs and frameworks send (fixtures/clients/recorded), again, for a model of each protocol:
all of it is answered. tests/clients/nightly.py records it and runs the clients themselves."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.clients.everyone import MODELS, everybody
from tests.clients.nightly import CLIENTS, RECORDED, changes, distinct, scrubbed
from tests.gateway_server import Served

NAMES = sorted(path.stem for path in RECORDED.glob("*.json"))


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with everybody(tmp_path_factory.mktemp("everyone")) as served:
        yield served


def _requests(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RECORDED / f"{name}.json").read_text())
    return [r for r in found if "no-such-model" not in json.dumps([r["path"], r["body"]])]


def test_every_client_is_known() -> None:
    assert len(NAMES) >= 25
    assert set(NAMES) <= set(CLIENTS)
    assert all(_requests(name) for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_answered(everyone: Served, name: str) -> None:
    refused: list[str] = []
    with httpx.Client(base_url=everyone.url, timeout=30, trust_env=False) as client:
        for request in _requests(name):
            for model in MODELS.values():
                path = request["path"].replace("MODEL", model)
                body = {**request["body"], "model": model}
                if "MODEL" in request["path"]:
                    del body["model"]
                answer = client.post(path, json=body, headers=request["headers"])
                if answer.status_code != 200 or b'"error":{' in answer.content:
                    refused.append(f"{model} {path}: {answer.text[:300]}")
    assert not refused


def test_a_recording_holds_no_path_and_no_id() -> None:
    body = {"id": "call_0123456789ab", "at": "/home/ann/project/x.py", "text": "x" * 90}
    assert scrubbed(body) == {"id": "[changes]", "at": "[changes]", "text": "[90 characters]"}


def test_what_a_client_sends_newly_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.clients.nightly.RECORDED", tmp_path)
    request = {"path": "/v1/chat/completions", "headers": {}, "body": {"model": "m", "seed": 1}}
    (tmp_path / "openai.json").write_text(json.dumps([request]))
    assert not changes("openai", [request])
    newer = {**request, "body": {"model": "m", "seed": 1, "turbo": True}}
    assert any("turbo" in line for line in changes("openai", [newer]))
    assert len(distinct([request, {**request, "body": {"model": "other", "seed": 1}}])) == 1
