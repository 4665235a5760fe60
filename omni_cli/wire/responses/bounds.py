"""What a body of OpenAI's Responses API bounds.

Source: OpenAI API reference, "Create a model response" (types of openai 2.x), "Pricing" for what
built-in tools cost a call.
"""

from typing import Any

from omni_cli.domain.bounds import CallBound
from omni_cli.ports import SentBody
from omni_cli.wire.bounding import (
    ROUNDS,
    TOOLS_FRAME,
    Draft,
    Fields,
    among,
    begin,
    beside,
    count,
    folded,
    limit,
    names_like,
    objects,
    stored,
    within,
)
from omni_cli.wire.responses import ResponsesFacts
from omni_cli.wire.values import as_object, as_text

_LIMIT = "max_output_tokens"
_LIMITS = folded("max_output_tokens max_tokens max_completion_tokens")
_CALLS = folded("max_tool_calls")
_HARMLESS = folded(
    "model input stream stream_options temperature top_p top_k min_p user metadata store include",
    "instructions tool_choice parallel_tool_calls text truncation safety_identifier top_logprobs",
    "prompt_cache_key prompt_cache_retention prompt_cache_options client_metadata background",
    "tools max_tool_calls presence_penalty frequency_penalty seed stop repetition_penalty",
    "include_stop_str_in_output ignore_eos request_id priority cache_salt chat_template_kwargs",
)
_REASONING = Fields(
    folded("effort summary generate_summary exclude enabled context mode encrypted_content"),
    {"maxtokens": beside, "budgettokens": beside},
)


def _prompt(draft: Draft, name: str, value: Any) -> None:
    """A stored prompt may bring text and tools of its own."""
    if value:
        draft.run(name, _rounds(draft), _SEARCH_FEE)


_READERS = {
    **dict.fromkeys(_LIMITS, limit),
    "previousresponseid": stored,
    "conversation": stored,
    "prompt": _prompt,
    "reasoning": within(_REASONING),
    "servicetier": among("auto", "default", "flex", "standard", "batch"),
}
_FIELDS = Fields(_HARMLESS, _READERS)
#: Tools that the caller runs; their results come in a request of their own.
_CALLERS_OWN = frozenset(
    {"function", "custom", "local_shell", "apply_patch", "namespace", "tool_search"}
    | {"computer", "computer_use_preview", "computer-preview"}
)
_SEARCH_FEE = 25_000_000  # $25 a 1,000 calls: the dearest, of the preview for other models
#: Tools that the provider runs, with what a call is charged, nano-dollars.
_BUILT_IN = {
    "web_search": _SEARCH_FEE,
    "web_search_2025_08_26": _SEARCH_FEE,
    "web_search_preview": _SEARCH_FEE,
    "web_search_preview_2025_03_11": _SEARCH_FEE,
    "file_search": 2_500_000,
    "mcp": 0,
}
#: Input items that are all in their own bytes.
_WHOLE = frozenset(
    {"message", "function_call", "function_call_output", "reasoning", "custom_tool_call"}
    | {"custom_tool_call_output", "local_shell_call", "local_shell_call_output", "shell_call"}
    | {"shell_call_output", "apply_patch_call", "apply_patch_call_output", "mcp_list_tools"}
    | {"mcp_approval_request", "mcp_approval_response", "mcp_call", "tool_search_call"}
    | {"tool_search_output", "computer_call", "computer_call_output", "additional_tools"}
)
_TEXTS = frozenset({"input_text", "output_text", "text", "refusal", "summary_text"})


def bound(sent: SentBody) -> CallBound:
    draft = begin(sent, ResponsesFacts)
    names = sent.names
    _FIELDS.read(draft, names, sent.value)
    for name in names_like(names, folded("tools")):
        _tools(draft, name, sent.value(name))
    if not sent.texts_only("input"):
        for name in names_like(names, folded("input")):
            for item in objects(sent.value(name)):
                _item(draft, item)
    stated = draft.limits.get(_LIMIT)
    return draft.done(len(draft.limits) == 1 and type(stated) is int and stated > 0)


def write(sent: SentBody, each: int, bound: CallBound) -> None:
    for name in names_like(sent.names, _LIMITS):
        if name != _LIMIT:
            sent.drop(name)
    sent.put(_LIMIT, each)
    if bound.rounds > 1:
        for name in names_like(sent.names, _CALLS):
            sent.drop(name)
        sent.put("max_tool_calls", bound.rounds - 1)


def _rounds(draft: Draft) -> int:
    """As many as calls of built-in tools are allowed; omni writes that number."""
    for name in names_like(draft.sent.names, _CALLS):
        stated = count(draft.sent.value(name))
        if stated is not None and stated > 0:
            return stated + 1
    return ROUNDS


def _tools(draft: Draft, name: str, value: Any) -> None:
    if value:
        draft.input_tokens += TOOLS_FRAME
    for tool in objects(value):
        kind = as_text(tool.get("type")) or "function"
        if kind in _CALLERS_OWN:
            if kind == "namespace":
                _tools(draft, name, tool.get("tools"))
            elif kind == "tool_search" and tool.get("execution", "server") == "server":
                draft.run(f"{name}: {kind}", _rounds(draft))
        elif kind in _BUILT_IN:
            draft.run(f"{name}: {kind}", _rounds(draft), _BUILT_IN[kind])
        elif kind == "shell" and as_object(tool.get("environment")).get("type") == "local":
            continue
        else:
            draft.refuse(f"{name}: {kind}", "what it costs is not bound by tokens")


def _item(draft: Draft, item: dict[str, Any]) -> None:
    kind = item.get("type") or ("message" if "role" in item else "item_reference")
    if kind not in _WHOLE:
        draft.reach(f"input[]: {kind}")
        return
    if kind == "reasoning" and not (item.get("encrypted_content") or item.get("content")):
        draft.reach("input[]: reasoning by id")
    _tools(draft, "input[].tools", item.get("tools"))
    if kind == "computer_call_output":
        _part(draft, as_object(item.get("output")))
    for name in ("content", "output"):
        for part in objects(item.get(name)):
            _part(draft, part)


def _part(draft: Draft, part: dict[str, Any]) -> None:
    kind = part.get("type", "input_text")
    if kind in _TEXTS or "outcome" in part:  # the last: of a shell
        return
    name = f"input[].content: {kind}"
    if kind in ("input_image", "image_url", "computer_screenshot"):
        url = part.get("image_url")
        draft.media(name, "image", url if isinstance(url, str) and url[:5] == "data:" else "")
    elif kind not in ("reasoning_text", "encrypted_content"):
        draft.media(name, "document", "")
