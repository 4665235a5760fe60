"""What step of an agent's work a request is, by its end; on the agents' own recorded requests."""

import json
from pathlib import Path
from typing import Any

import pytest

from omni_cli.cli.commands.rules import read_recorded
from omni_cli.domain.chat import ChatRequest, Message, Tool, ToolCall
from omni_cli.domain.errors import UsageError
from omni_cli.domain.steps import Step, asked, is_side_task, kind_of, step_of
from omni_cli.domain.tasks import TaskEstimate
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions, rule_facts, signals_of
from tests.paths import FIXTURES

CLIENTS = FIXTURES / "clients"
ESTIMATE = TaskEstimate("coding", {"coding": 1.0}, "low", 0.1)


def facts(path: Path, selector: str = "") -> dict[str, Any]:
    found = read_recorded(path)
    options = RouteOptions(agent=found.agent or None)
    chosen = Selector("auto", selector)
    return dict(rule_facts(found.request, options, ESTIMATE, 1_000, chosen))


@pytest.mark.parametrize(
    ("name", "agent", "said"),
    [
        ("claude_code_first", "claude-code", {"step": "question", "thinking": True}),
        ("claude_code_tool_result", "claude-code", {"step": "read", "step_failed": True}),
        ("codex_first", "codex", {"step": "question", "thinking": False, "web_search": False}),
        ("codex_tool_result", "codex", {"step": "plan"}),
        ("codex_web_search", "codex", {"step": "question", "web_search": True, "has_tools": True}),
        ("aider", None, {"step": "question", "background": False, "has_tools": False}),
    ],
)
def test_recorded_requests(name: str, agent: str | None, said: dict[str, Any]) -> None:
    found = facts(CLIENTS / f"{name}.json")
    assert found["agent"] == agent
    assert {key: found[key] for key in said} == said
    assert not found["background"]
    assert not found["sub_agent"]


def test_a_title_is_a_side_task_and_a_subagent_one(tmp_path: Path) -> None:
    title, work = json.loads((CLIENTS / "recorded/claude-code.json").read_text("utf-8"))
    path = tmp_path / "request.json"
    for told, background in ((title, True), (work, False)):
        path.write_text(json.dumps(told))
        assert facts(path)["background"] is background
    assert facts(path, "cheap")["background"]
    assert facts(path, "cheap")["requested_model"] == "auto:cheap"
    work["headers"]["x-claude-code-agent-id"] = "a1"
    path.write_text(json.dumps(work))
    assert facts(path)["sub_agent"]


def test_a_search_alone_is_told_by_every_protocol(tmp_path: Path) -> None:
    user = [{"role": "user", "content": "what is new?"}]
    bodies: list[dict[str, Any]] = [
        {
            "max_tokens": 9,
            "system": "s",
            "messages": user,
            "tools": [{"type": "web_search_20250305", "name": "web_search"}],
        },
        {"input": "what is new?", "tools": [{"type": "web_search"}]},
        {"contents": [{"parts": [{"text": "what is new?"}]}], "tools": [{"googleSearch": {}}]},
        {"messages": user, "web_search_options": {}},
    ]
    path = tmp_path / "request.json"
    for body in bodies:
        path.write_text(json.dumps({"model": "m", **body}))
        found = facts(path)
        assert (found["web_search"], found["has_tools"]) == (True, False)


@pytest.mark.parametrize(
    ("tool", "kind"),
    [
        ("Read", "read"), ("Grep", "read"), ("search_file_content", "read"),
        ("list_directory", "read"), ("Bash", "run"), ("exec_command", "run"),
        ("write_stdin", "run"), ("run_shell_command", "run"), ("Edit", "edit"),
        ("MultiEdit", "edit"), ("apply_patch", "edit"), ("write_file", "edit"),
        ("TodoWrite", "plan"), ("update_plan", "plan"), ("Task", "plan"), ("WebFetch", "web"),
        ("google_web_search", "web"), ("mcp__db__query", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_tools_by_their_names(tool: str, kind: str) -> None:
    assert kind_of(tool) == kind


def conversation(*results: tuple[str, str], after: str = "") -> ChatRequest:
    calls = tuple(ToolCall(str(n), name, "{}") for n, (name, _) in enumerate(results))
    given = [
        Message("tool", Message.text_of("user", text).parts, tool_call_id=str(n))
        for n, (_, text) in enumerate(results)
    ]
    rest = [Message.text_of("user", after)] if after else []
    messages = (
        Message.text_of("system", "You are an agent. " * 400),
        Message.text_of("user", "mend it <system-reminder>a thing</system-reminder>"),
        Message("assistant", tool_calls=calls),
        *given,
        *rest,
    )
    return ChatRequest(messages, tools=(Tool("Bash"),))


@pytest.mark.parametrize(
    ("request_", "step"),
    [
        (conversation(("Read", "text"), ("Edit", "done")), Step("edit")),
        (conversation(("Bash", "1 passed\nexit code 0")), Step("run")),
        (conversation(("Bash", "x\nTraceback (most recent call last)")), Step("run", failed=True)),
        (conversation(("Bash", "exited with code 2")), Step("run", failed=True)),
        (conversation(("Read", "t"), after="<system-reminder>x</system-reminder>"), Step("read")),
        (conversation(("Read", "t"), after="and now the docs"), Step("question")),
        (ChatRequest((Message("assistant"),)), Step("other")),
    ],
)
def test_the_last_turn_says_which_step_it_is(request_: ChatRequest, step: Step) -> None:
    assert step_of(request_) == step


def test_a_step_is_rated_by_the_question_not_by_the_agents_prompt() -> None:
    signals = signals_of(conversation(("Read", "text")))
    assert (signals.text, signals.system) == ("mend it", "")
    own = ChatRequest((Message.text_of("system", "Translate."), Message.text_of("user", "a < b")))
    assert (signals_of(own).text, signals_of(own).system) == ("a < b", "Translate.")
    assert asked("<system-reminder>x</system-reminder>\n\nhello") == "hello"
    assert not is_side_task(own, "aider", 10)
    assert is_side_task(own, "codex:subagent", 10)


@pytest.mark.parametrize("text", ["[]", "{", '{"x": 1}', '{"messages": [{"role": 3}]}'])
def test_what_is_no_request_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "request.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"request\.json"):
        read_recorded(path)
