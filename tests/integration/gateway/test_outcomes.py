"""Outcomes that come back over the gateway: told by callers, and seen in agents' next turns."""

import time
from typing import Any

import httpx
import pytest

from omni_cli.config import set_value
from tests.gateway_server import Served

MODEL = "openai/gpt-4o-mini"


def _ask(http: httpx.Client, *messages: dict[str, Any], **headers: str) -> str:
    body = {"model": MODEL, "messages": list(messages), "max_tokens": 20}
    answer = http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers["x-request-id"]


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _told(gateway: Served, request: str) -> list[tuple[str, float, str]]:
    number = gateway.app.ledger.find(request).id
    return gateway.app.learning.outcomes_of(number)


def test_a_caller_tells_and_routing_learns(gateway: Served, http: httpx.Client) -> None:
    request = _ask(http, _user("Write a function."))
    told = http.post("/v1/outcomes", json={"request": request, "outcome": "fail", "note": "tests"})
    assert told.status_code == 200, told.text
    assert told.json()["model"] == MODEL
    assert (told.json()["kind"], told.json()["value"], told.json()["losses"]) == ("test", 0.0, 1.0)
    # Told again it replaces itself; a rating stands beside it.
    again = http.post("/v1/outcomes", json={"request": request, "score": 0.75}).json()
    assert (again["wins"], again["losses"]) == (0.75, 0.25)
    assert http.post("/v1/outcomes", json={"request": request, "rating": 5}).status_code == 200
    receipt = http.get(f"/v1/requests/{request.removeprefix('req_')}").json()
    assert {o["kind"] for o in receipt["outcomes"]} == {"test", "rating"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"request": "zzz", "outcome": "pass"}, 404),
        ({"request": "REQ"}, 400),
        ({"request": "REQ", "outcome": "pass", "score": 1}, 400),
        ({"request": "REQ", "score": 1.5}, 400),
        ({"request": "REQ", "outcome": "maybe"}, 400),
        ({"outcome": "pass"}, 400),
    ],
)
def test_what_does_not_fit_changes_nothing(
    gateway: Served, http: httpx.Client, body: dict[str, Any], status: int
) -> None:
    request = _ask(http, _user("hi"))
    sent = {k: request if v == "REQ" else v for k, v in body.items()}
    answer = http.post("/v1/outcomes", json=sent)
    assert answer.status_code == status, answer.text
    assert _told(gateway, request) == []


def test_next_turns_of_agents_are_learned_from_where_the_user_wants(
    gateway: Served, http: httpx.Client
) -> None:
    agent = {"user-agent": "claude-cli/2.1", "x-claude-code-session-id": "s-1"}
    call = {"id": "c1", "type": "function", "function": {"name": "Edit", "arguments": "{}"}}
    turns = [
        _user("Rename it."),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "String to replace not found"},
    ]
    silent = _ask(http, turns[0], **agent)
    _ask(http, *turns, **agent)
    set_value(gateway.app.paths, "routing.learn_from_next_turns", "true")
    time.sleep(0.6)  # the gateway looks for changes four times a second
    first = _ask(http, turns[0], **agent)
    _ask(http, *turns, **agent)
    gateway.settle(4)
    end = time.monotonic() + 5
    while not _told(gateway, first) and time.monotonic() < end:
        time.sleep(0.02)
    assert _told(gateway, first) == [("test", 0.0, "its Edit failed")]
    assert _told(gateway, silent) == []
    # What somebody says of it goes before, and a hint does not come after it.
    assert http.post("/v1/outcomes", json={"request": first, "outcome": "pass"}).status_code == 200
    assert [value for _, value, _ in _told(gateway, first)] == [1.0]
