"""What a body of Anthropic's Messages API bounds.

Source: Anthropic API reference, "Messages" (types of anthropic 2.x), "Extended thinking", "Server
tools", "Pricing" (tools, data residency, fast mode), "Context windows".
"""

from typing import Any

from omni_cli.domain.bounds import CallBound
from omni_cli.ports import SentBody
from omni_cli.wire.anthropic import AnthropicFacts
from omni_cli.wire.bounding import (
    ROUNDS,
    TOOLS_FRAME,
    Draft,
    Fields,
    among,
    begin,
    count,
    fold,
    folded,
    limit,
    names_like,
    objects,
    size_of,
    stored,
    usual,
)
from omni_cli.wire.values import as_object, as_text

_LIMIT = "max_tokens"
_LIMITS = folded("max_tokens max_tokens_to_sample")
#: Least budget of thinking that the API takes.
_LEAST_THINKING = 1_024
_PLAIN = frozenset(
    {
        "model",
        "messages",
        "system",
        "max_tokens",
        "stream",
        "temperature",
        "top_p",
        "top_k",
        "stop_sequences",
        "metadata",
    }
)
_HARMLESS = folded(
    "model messages system stream temperature top_p top_k stop_sequences metadata tool_choice",
    "cache_control diagnostics user_profile_id workspace_id tools anthropic_version",
)


def _config(draft: Draft, name: str, value: Any) -> None:
    """How hard, and in which form: within the limit; a form's schema is read with the input."""
    for key, item in as_object(value).items():
        if fold(key) in ("format", "schema"):
            draft.input_tokens += size_of(item) + TOOLS_FRAME if item else 0
        elif fold(key) not in ("effort", "type", "taskbudget"):
            draft.refuse(f"{name}.{key}", "not a field whose cost omni knows")


def _thinking(draft: Draft, name: str, value: Any) -> None:
    """Its budget is part of the limit."""
    for key, item in as_object(value).items():
        if fold(key) in ("budgettokens", "maxtokens"):
            budget = count(item)
            if item is not None and budget is None:
                draft.refuse(f"{name}.{key}", "no number of tokens")
        elif fold(key) not in ("type", "display"):
            draft.refuse(f"{name}.{key}", "not a field whose cost omni knows")


def _management(draft: Draft, name: str, value: Any) -> None:
    """Clearing what is old costs nothing; a summary is a call of its own."""
    for edit in objects(as_object(value).get("edits")):
        if not as_text(edit.get("type")).startswith("clear_"):
            draft.refuse(f"{name}: {edit.get('type')}", "the model is asked more than once")


def _servers(draft: Draft, name: str, value: Any) -> None:
    if value:
        draft.run(name)


_READERS = {
    **dict.fromkeys(_LIMITS, limit),
    "thinking": _thinking,
    "outputconfig": _config,
    "outputformat": _config,
    "contextmanagement": _management,
    "mcpservers": _servers,
    "container": stored,
    "thread": stored,
    "servicetier": among("auto", "standard_only", "standard", "batch"),
    "speed": among("standard", "default"),
    "inferencegeo": among("global", "not_available"),
}
_FIELDS = Fields(_HARMLESS, _READERS)
#: By the beginning of its type: tools that the caller runs, and those that Anthropic does, with
#: what a call is charged (web search $10 a 1,000; code $0.05 an hour of a container).
_CALLERS_OWN = ("custom", "bash_", "text_editor_", "computer_", "memory_", "browser_toolset_")
_SERVERS = {
    "web_search_": 10_000_000,
    "web_fetch_": 0,
    "code_execution_": 5_000_000,
    "tool_search_tool_": 0,
    "mcp_toolset": 0,
}
#: Blocks that are all in their own bytes.
_WHOLE = frozenset(
    {"text", "thinking", "redacted_thinking", "tool_use", "tool_result", "search_result"}
    | {"server_tool_use", "web_search_tool_result", "web_fetch_tool_result", "mcp_tool_use"}
    | {"mcp_tool_result", "code_execution_tool_result", "bash_code_execution_tool_result"}
    | {"text_editor_code_execution_tool_result", "tool_search_tool_result", "tool_reference"}
    | {"tool_removal", "mid_conv_system", "web_search_result", "web_fetch_result"}
)


def bound(sent: SentBody) -> CallBound:
    names = sent.names
    if names <= _PLAIN and sent.texts_only("messages"):
        found = usual(sent, sent.value(_LIMIT), plain=True)
        if found is not None:
            return found
    draft = begin(sent, AnthropicFacts)
    _FIELDS.read(draft, names, sent.value)
    for name in names_like(names, folded("tools")):
        _tools(draft, name, sent.value(name))
    if not sent.texts_only("messages"):
        for name in names_like(names, folded("messages")):
            for message in objects(sent.value(name)):
                _content(draft, message.get("content"))
    for name, value in sent.headers.items():
        if name.lower() == "anthropic-beta" and "context-1m" in value:
            draft.window = 1_000_000
    stated = draft.limits.get(_LIMIT)
    plain = len(draft.limits) == 1 and type(stated) is int and stated > 0
    # A budget of thinking is part of the limit, once ``write`` has seen to it that it is below.
    return draft.done(plain and _budget(sent) is None)


def write(sent: SentBody, each: int, bound: CallBound) -> None:  # noqa: ARG001  # as every protocol
    for name in names_like(sent.names, _LIMITS):
        if name != _LIMIT:
            sent.drop(name)
    sent.put(_LIMIT, each)
    budget = _budget(sent)
    if budget is None or budget < each:
        return
    # The API refuses a budget of thinking that is not below the limit.
    for name in names_like(sent.names, folded("thinking")):
        least = _LEAST_THINKING
        thinks = {"type": "enabled", "budget_tokens": max(least, each // 2)}
        sent.put(name, thinks if each > least else {"type": "disabled"})


def _budget(sent: SentBody) -> int | None:
    """Tokens of thinking that are asked for by number."""
    found: int | None = None
    for name in names_like(sent.names, folded("thinking")):
        for key, item in as_object(sent.value(name)).items():
            tokens = count(item) if fold(key) in ("budgettokens", "maxtokens") else None
            if tokens is not None:
                found = max(found or 0, tokens)
    return found


def _tools(draft: Draft, name: str, value: Any) -> None:
    if value:
        draft.input_tokens += TOOLS_FRAME
    for tool in objects(value):
        kind = as_text(tool.get("type")) or "custom"
        if kind.startswith(_CALLERS_OWN):
            draft.input_tokens += 0 if kind == "custom" else TOOLS_FRAME
            continue
        fee = next((fee for start, fee in _SERVERS.items() if kind.startswith(start)), None)
        if fee is None:
            draft.refuse(f"{name}: {kind}", "a tool whose cost omni does not know")
            continue
        uses = count(tool.get("max_uses"))
        rounds = ROUNDS if uses is None or uses < 1 else min(ROUNDS, uses + 1)
        draft.run(f"{name}: {kind}", rounds, fee)


def _content(draft: Draft, content: Any) -> None:
    for block in [content] if isinstance(content, dict) else objects(content):
        kind = as_text(block.get("type")) or "text"
        name = f"messages[].content: {kind}"
        source = as_object(block.get("source"))
        if kind == "tool_addition":
            draft.refuse(name, "the tools of a call stand in 'tools'")
        elif kind == "image":
            data = source.get("data") if source.get("type") == "base64" else ""
            draft.media(name, "image", data)
        elif kind == "document" and source.get("type") in ("text", "content"):
            _content(draft, source.get("content"))
        elif kind not in _WHOLE:
            draft.media(name, "document", "")
        elif kind.endswith("result"):
            _content(draft, block.get("content"))
