"""What an agent is at: which step a request is, by its last turn, and what it asks for besides.

An agent sends its whole conversation with every call, below a system prompt of its own that says
nothing of the work. What kind of step a call is stands at its end: a person's question, or what a
tool gave back.

Sources: the agents' recorded requests in fixtures/clients, and the names of their tools there.
"""

import re

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.patterns import Pattern

#: What the last turn is: a question, or the result of tools that change, run, plan, search the web
#: or read.
STEPS: tuple[str, ...] = ("question", "edit", "run", "plan", "web", "read", "other")
#: Agents that offer tools with each call of their work: one without is a side task.
WORK_BY_TOOLS = frozenset(
    {"claude-code", "codex", "gemini-cli", "opencode", "qwen-code", "crush", "goose", "copilot"}
)
#: A call of more tokens is no title or summary of a line.
_SIDE_TOKENS = 8_000
#: From so many characters on a system prompt beside tools is an agent's, not its task's.
_AGENTS_PROMPT = 4_000
#: Of the end and the beginning of a tool's result, characters that are looked at.
_LOOKED_AT = 400
_HARNESS = Pattern(
    r"<(system-reminder|environment_context|environment_details|user_instructions|"
    r"session_context|local-command-stdout|command-message)>.*?</\1>",
    re.DOTALL,
)
_TROUBLE = Pattern(
    r"traceback \(most recent|exit(?:ed)?(?: with)?(?: (?:code|status))?:? [1-9]|"
    r"\berror:|\bfailed\b|\bfatal:|command not found|no such file|permission denied",
    re.IGNORECASE,
)
_WORD = Pattern(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
#: By what a tool's name has among its words; the first that fits.
_KINDS: tuple[tuple[str, frozenset[str]], ...] = (
    ("plan", frozenset({"todo", "todos", "plan", "goal", "task", "agent", "topic"})),
    ("web", frozenset({"web", "fetch", "url", "browser"})),
    ("run", frozenset({"bash", "shell", "exec", "command", "terminal", "run", "stdin", "python"})),
    ("edit", frozenset({"edit", "write", "patch", "replace", "insert", "create", "delete"})),
    ("read", frozenset({"read", "view", "glob", "grep", "search", "list", "ls", "find", "open"})),
)


class Step(Struct, frozen=True):
    """``kind``: one of STEPS. ``failed``: a tool's result says that something went wrong."""

    kind: str
    failed: bool = False


def step_of(request: ChatRequest) -> Step:
    """By the last turn. Of several results the kind that stands first in STEPS."""
    results: list[Message] = []
    for message in reversed(request.messages):
        if message.role == "system" or (message.role == "user" and results and not message.parts):
            continue
        if message.role == "tool":
            results.append(message)
            continue
        if message.role == "user" and not results:
            if message.parts and not asked(message.text) and not _has_media(message):
                continue  # what the agent itself says beside a result
            return Step("question")
        if message.role == "assistant" and results:
            names = {call.id: call.name for call in message.tool_calls}
            kinds = {kind_of(names.get(r.tool_call_id or "", r.name or "")) for r in results}
            return Step(min(kinds, key=STEPS.index), any(map(_failed, results)))
        break
    return Step("other", any(map(_failed, results)))


def kind_of(tool: str) -> str:
    """The kind of step that a tool's result is, by its name."""
    words = {word.lower() for word in _WORD.findall(tool)}
    return next((kind for kind, known in _KINDS if not known.isdisjoint(words)), "other")


def asked(text: str) -> str:
    """What a person said, without what an agent adds to it."""
    return _HARNESS.sub("", text).strip() if "<" in text else text


def system_of_task(request: ChatRequest) -> str:
    """The system prompt where it tells of the task, "" where it is an agent's own."""
    text = request.system_text
    return "" if request.tools and len(text) >= _AGENTS_PROMPT else text


def is_side_task(request: ChatRequest, agent: str | None, input_tokens: int) -> bool:
    """A title, a summary, a check: nothing that the work waits for."""
    return (
        (agent or "").partition(":")[0] in WORK_BY_TOOLS
        and not request.tools
        and not request.vendor_tools
        and input_tokens < _SIDE_TOKENS
    )


def wants_thought(request: ChatRequest) -> bool:
    """Whether the caller asks the model to think, more than a little."""
    return request.reasoning_effort not in (None, "none", "minimal", "low")


def wants_search(request: ChatRequest) -> bool:
    """Whether the model's own vendor is to search the web."""
    return "web_search_options" in request.wishes or any(
        "search" in kind.lower() for kind in request.vendor_tools
    )


def _has_media(message: Message) -> bool:
    return any(not hasattr(part, "text") for part in message.parts)


def _failed(result: Message) -> bool:
    text = result.text
    return result.is_error or bool(
        _TROUBLE.search(text[:_LOOKED_AT]) or _TROUBLE.search(text[-_LOOKED_AT:])
    )
