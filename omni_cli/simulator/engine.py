"""From an Ask to a Reply: what to say, where to stop, what it counts."""

import json
import re
import time
from collections.abc import Mapping
from random import Random

from omni_cli.domain.chat import Usage
from omni_cli.domain.record import replace
from omni_cli.simulator import text, tokens
from omni_cli.simulator.ask import Ask, Call, Finish, Reply, ToolSpec
from omni_cli.simulator.vendors import Vendor

#: Names of models that think before they answer.
_REASONING = re.compile(
    r"(^|[/-])(o[134]|gpt-[5-9]|r1|qwq|magistral|grok-[34])|reason|think|gemini-(2\.5|[3-9])",
    re.IGNORECASE,
)


#: A call that the prompt dictates: ``[[call:NAME {...}]]``.
_DICTATED = re.compile(r"\[\[call:([\w.-]+) (\{.*?\})\]\]", re.DOTALL)


def is_reasoning(model: str) -> bool:
    return _REASONING.search(model) is not None


def input_tokens(ask: Ask, vendor: Vendor) -> int:
    return sum(tokens.turn_tokens(turn, vendor.image_tokens) for turn in ask.turns) + 3


def chosen_tool(ask: Ask) -> ToolSpec | None:
    """The tool to call: demanded by ``tool_choice``, or named in the last user turn."""
    if not ask.tools or ask.tool_choice == "none" or ask.turns[-1].role == "tool":
        return None
    by_name = {tool.name: tool for tool in ask.tools}
    if ask.tool_choice in by_name:
        return by_name[ask.tool_choice]
    asked = ask.last_user.lower()
    for tool in ask.tools:
        name = tool.name.lower()
        if name in asked or re.sub(r"[_-]+", " ", name) in asked:
            return tool
    return ask.tools[0] if ask.tool_choice == "required" else None


def dictated(ask: Ask) -> tuple[Call, ...] | None:
    """The call whose turn it is of those that the prompt dictates: one after each tool's result,
    and none after the last. None where the prompt dictates nothing that is offered.

    So an agent's work takes as many turns as the prompt has calls, and then an answer in words.
    """
    offered = {tool.name for tool in ask.tools}
    for at in range(len(ask.turns) - 1, -1, -1):
        turn = ask.turns[at]
        found = _DICTATED.findall(turn.text) if turn.role == "user" else ()
        if calls := [Call(*each) for each in found if each[0] in offered]:
            done = sum(later.role == "tool" for later in ask.turns[at:])
            return tuple(calls[done : done + 1])
    return None


def _prompt(
    ask: Ask, vendor: Vendor, scope: str, cache: tokens.PromptCache, input_tokens: int
) -> Usage:
    """The prompt's side of the usage."""
    cached, write_5m, write_1h = 0, 0, 0
    if vendor.caches == "marked":
        cached, write_5m, write_1h = cache.marked(scope, ask, vendor.image_tokens)
    elif vendor.caches:
        cached = cache.automatic(scope, ask)
    return Usage(
        input_tokens=input_tokens,
        cached_tokens=cached,
        cache_write_tokens=write_5m + write_1h,
        cache_write_1h_tokens=write_1h,
    )


def reply(
    ask: Ask,
    *,
    vendor: Vendor,
    provider: str,
    seed: int,
    ident: str,
    cache: tokens.PromptCache,
    shape: Mapping[str, float | None],
    input_tokens: int,
    prompt_hash: str,
) -> Reply:
    """Answer. ``shape`` holds the faults that change content: empty, wrong, huge, no-usage."""
    rng = Random(f"{seed}/{ask.model}/{prompt_hash}")
    counted = _prompt(ask, vendor, f"{provider}/{ask.model}", cache, input_tokens)
    thoughts: list[str] = []
    calls: tuple[Call, ...] = ()
    said: list[str] = []
    script = dictated(ask)
    tool = chosen_tool(ask) if script is None else None
    if "huge" in shape:
        said = text.huge(ask.model, int(shape["huge"] or 0), rng)
    elif "empty" not in shape:
        if ask.thinking or (ask.thinking is None and is_reasoning(ask.model)):
            thoughts = tokens.pieces(text.reasoning(ask.last_user, rng, ask.effort))
        if script:
            calls = script
        elif tool is not None:
            value = text.sample(tool.parameters, ask.last_user, rng, tool.parameters)
            arguments = json.dumps(value if isinstance(value, dict) else {})
            calls = (Call(tool.name, arguments),)
        elif ask.json_mode or ask.schema:
            said = tokens.pieces(text.json_text(ask.schema, ask.model, ask.last_user, rng))
        elif "wrong" in shape:
            said = tokens.pieces(text.wrong(ask.model))
        else:
            said = tokens.pieces(text.answer(ask.model, ask.last_user, ask.images, rng))
    finish: Finish = "stop"
    if "huge" not in shape:  # its point is to be larger than what was asked for
        thoughts, said, calls, finish = _cut(ask, thoughts, said, calls)
    spoken = len(said) + sum(tokens.count(call.name + call.arguments) for call in calls)
    usage = None
    if "no-usage" not in shape:
        usage = replace(
            counted, output_tokens=len(thoughts) + spoken, reasoning_tokens=len(thoughts)
        )
    return Reply(
        text=tokens.deltas(said),
        reasoning=tokens.deltas(thoughts),
        calls=calls,
        finish=finish,
        usage=usage,
        ident=ident,
        created=int(time.time()),
    )


def _cut(
    ask: Ask, thoughts: list[str], said: list[str], calls: tuple[Call, ...]
) -> tuple[list[str], list[str], tuple[Call, ...], Finish]:
    """Stop at a stop sequence or at the token limit, thoughts counting first."""
    finish: Finish = "tool_calls" if calls else "stop"
    for word in ask.stop:
        at = "".join(said).find(word) if word else -1
        if at >= 0:
            said = tokens.pieces("".join(said)[:at])
    if ask.max_tokens is None:
        return thoughts, said, calls, finish
    left = max(ask.max_tokens, 0)
    if len(thoughts) > left:
        return thoughts[:left], [], (), "length"
    left -= len(thoughts)
    if len(said) > left:
        return thoughts, said[:left], (), "length"
    if calls:
        parts = tokens.pieces(calls[0].arguments)
        room = left - tokens.count(calls[0].name)
        if room <= 0:
            return thoughts, said, (), "length"
        if len(parts) > room:
            return thoughts, said, (Call(calls[0].name, "".join(parts[:room])),), "length"
    return thoughts, said, calls, finish
