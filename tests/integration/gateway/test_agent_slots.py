"""A coding agent's sessions by slots: who does what, and at most half of always the premium model.

The bodies are those of the agents, recorded (fixtures/clients), their texts made as long as they
were; the prices are the catalogue's, the prompt caches the simulator's.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.domain.ledger import RequestRow
from omni_cli.services.fleet.demo import DEMO
from omni_cli.services.fleet.slots import apply_slots
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving
from tests.paths import FIXTURES

CLIENTS = FIXTURES / "clients"
WORDS = "the module reads a line and gives back what stands in it unless it is empty; " * 600
#: Tool, characters of its result, and whether it failed.
STEPS = (
    ("Grep", 600, False), ("Read", 6_000, False), ("Read", 4_000, False), ("Edit", 200, False),
    ("Bash", 1_500, True), ("Read", 2_500, False), ("Edit", 200, False), ("Bash", 900, False),
)  # fmt: skip


def filled(value: Any) -> Any:
    """Texts as long as they were before they were trimmed."""
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item) for item in value]
    found = re.fullmatch(r"\[(\d+) characters\]", value) if isinstance(value, str) else None
    return value if found is None else (WORDS * 2)[: int(found[1])]


def recorded(name: str) -> dict[str, Any]:
    told: dict[str, Any] = filled(json.loads((CLIENTS / name).read_text("utf-8")))
    told["body"] |= {"model": "auto", "stream": False}
    return told


def claude_session() -> list[tuple[str, dict[str, Any]]]:
    """Each call of a session with two questions, and what it is: a whole conversation each."""
    title = filled(json.loads((CLIENTS / "recorded/claude-code.json").read_text("utf-8"))[0])
    calls = [("title", {**title["body"], "model": "auto", "stream": False})]
    body = recorded("claude_code_first.json")["body"]
    messages = list(body["messages"])
    for question in ("Mend the parser's test", "Now write down what has changed"):
        messages = [*messages, {"role": "user", "content": question}]
        calls.append(("question", {**body, "messages": messages}))
        for n, (tool, size, failed) in enumerate(STEPS):
            ident = f"toolu_{len(messages)}_{n}"
            said = "exit code 1\n" * failed + WORDS[:size]
            use = {"type": "tool_use", "id": ident, "name": tool, "input": {"path": "a.py"}}
            result = {"type": "tool_result", "tool_use_id": ident, "content": said}
            messages = [
                *messages,
                {"role": "assistant", "content": [use]},
                {"role": "user", "content": [result]},
            ]
            calls.append(("failed" if failed else "step", {**body, "messages": messages}))
    return calls


def codex_session() -> list[tuple[str, dict[str, Any]]]:
    body = recorded("codex_first.json")["body"]
    items = list(body["input"])
    calls = [("question", {**body, "input": items})]
    for n, (_, size, failed) in enumerate(STEPS * 2):
        said = "Process exited with code 1\n" * failed + WORDS[:size]
        call = {
            "type": "function_call",
            "name": "exec_command",
            "arguments": "{}",
            "call_id": f"call_{n}",
        }
        output = {"type": "function_call_output", "call_id": f"call_{n}", "output": said}
        items = [*items, call, output]
        calls.append(("failed" if failed else "step", {**body, "input": items}))
    return calls


def played(
    gateway: Served, path: str, agent: str, bodies: list[dict[str, Any]]
) -> list[RequestRow]:
    """The rows of a session's calls, in their order."""
    before = len(list(gateway.app.ledger.recent(limit=1_000)))
    headers = {"user-agent": agent, "x-omni-session": f"s{before}"}
    with httpx.Client(base_url=gateway.url, timeout=30, trust_env=False, headers=headers) as client:
        for body in bodies:
            answered = client.post(path, json=body)
            assert answered.status_code == 200, answered.text
    gateway.settle(before + len(bodies))
    rows = sorted(gateway.app.ledger.recent(limit=len(bodies)), key=lambda row: row.id)
    assert not any(row.cost_nusd is None for row in rows)
    return rows


@pytest.mark.parametrize(
    ("agent", "program", "path", "session"),
    [
        ("claude-code", "claude-cli/2.1.197", "/v1/messages", claude_session),
        ("codex", "codex_cli_rs/0.171.0", "/v1/responses", codex_session),
    ],
)
def test_slots_cost_at_most_half_of_always_premium(
    tmp_path: Path,
    sim: Simulator,
    agent: str,
    program: str,
    path: str,
    session: Callable[[], list[tuple[str, dict[str, Any]]]],
    record_property: Callable[[str, object], None],
) -> None:
    calls = session()
    with serving(tmp_path, sim) as gateway:
        app = gateway.app
        with app.fleet.change("test", "the demo's models", None, "fleet"):
            for model in app.routing.active_models():
                app.fleet.set_status(model.id, "standby")
            for name in DEMO.active:
                app.fleet.set_status(name, "active")
        app.refresh()
        found = app.propose_slots(agent)
        apply_slots(app.fleet, app.assignments.rules(), frozenset(), found)
        assert not app.propose_slots(agent).chosen[-1].is_new
    by_slot = {one.slot: one.models for one in found.chosen}
    default, strong = by_slot["default"][0], by_slot["thinking"][0]
    with serving(tmp_path, sim) as gateway:
        bodies = [body for _, body in calls]
        premium = played(gateway, path, program, [{**b, "model": DEMO.premium} for b in bodies])
        slots = played(gateway, path, program, bodies)
    assert {row.model for row in premium} == {DEMO.premium}
    for (kind, _), row in zip(calls, slots, strict=True):
        asks = kind == "question" and agent == "claude-code"  # Codex asks for no more thought
        expected = strong if asks or kind == "failed" else default
        assert row.model == (by_slot["background"][0] if kind == "title" else expected), kind
    costs = [sum(row.cost_nusd or 0 for row in rows) for rows in (slots, premium)]
    record_property("by slots and premium, USD", f"{costs[0] / 1e9:.4f} {costs[1] / 1e9:.4f}")
    assert 0 < costs[0] <= costs[1] / 2
