"""From an Ask to a Reply: what to say, where to stop, what it counts."""

import json
import re
import time
from collections.abc import Mapping
from random import Random

from omni_cli.domain.record import replace
from omni_cli.simulator import text, tokens
from omni_cli.simulator.ask import Ask, Call, Finish, Reply, Tally, ToolSpec, Turn

#: Names of models that think before they answer.
_REASONING = re.compile(
    r"(^|[/-])(o[134]|gpt-[5-9]|r1|qwq|magistral|grok-[34])|reason|think|gemini-(2\.5|[3-9])",
    re.IGNORECASE,
)
#: Tokens an image counts. Google documents 258 for a small one; the others are of the size
#: that the providers' pages give for a small picture. The simulator does not decode images.
IMAGE_TOKENS = {"openai": 255, "openai-responses": 255, "anthropic": 200, "gemini": 258}


def is_reasoning(model: str) -> bool:
    return _REASONING.search(model) is not None


def input_tokens(ask: Ask, protocol: str) -> int:
    per_image = IMAGE_TOKENS.get(protocol, 0)
    return sum(tokens.turn_tokens(turn, per_image) for turn in ask.turns) + 3


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


def _prompt(
    ask: Ask, protocol: str, scope: str, cache: tokens.PromptCache, input_tokens: int
) -> Tally:
    """The prompt's side of the usage."""
    per_image = IMAGE_TOKENS.get(protocol, 0)
    cached, write_5m, write_1h = 0, 0, 0
    if protocol == "anthropic":
        cached, write_5m, write_1h = cache.marked(scope, ask, per_image)
    elif protocol != "ollama":
        cached = cache.automatic(scope, ask)
    return Tally(
        input=input_tokens,
        cached=cached,
        write_5m=write_5m,
        write_1h=write_1h,
        image=ask.images * per_image,
    )


def reply(
    ask: Ask,
    *,
    protocol: str,
    provider: str,
    seed: int,
    ident: str,
    cache: tokens.PromptCache,
    shape: Mapping[str, float | None],
    input_tokens: int,
    prompt_hash: str,
) -> Reply:
    """Answer. ``shape`` holds the faults that change content: empty, huge, no-usage."""
    rng = Random(f"{seed}/{ask.model}/{prompt_hash}")
    counted = _prompt(ask, protocol, f"{provider}/{ask.model}", cache, input_tokens)
    thoughts: list[str] = []
    calls: tuple[Call, ...] = ()
    said: list[str] = []
    tool = chosen_tool(ask)
    if "huge" in shape:
        said = text.huge(ask.model, int(shape["huge"] or 0), rng)
    elif "empty" not in shape:
        if ask.thinking or (ask.thinking is None and is_reasoning(ask.model)):
            thoughts = tokens.pieces(text.reasoning(ask.last_user, rng, ask.effort))
        if tool is not None:
            value = text.sample(tool.parameters, ask.last_user, rng, tool.parameters)
            arguments = json.dumps(value if isinstance(value, dict) else {})
            calls = (Call(tool.name, arguments),)
        elif ask.json_mode or ask.schema:
            said = tokens.pieces(text.json_text(ask.schema, ask.model, ask.last_user, rng))
        else:
            said = tokens.pieces(text.answer(ask.model, ask.last_user, ask.images, rng))
    finish: Finish = "stop"
    if "huge" not in shape:  # its point is to be larger than what was asked for
        thoughts, said, calls, finish = _cut(ask, thoughts, said, calls)
    spoken = len(said) + sum(tokens.count(call.name + call.arguments) for call in calls)
    usage = None
    if "no-usage" not in shape:
        usage = replace(counted, output=len(thoughts) + spoken, reasoning=len(thoughts))
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


def tools_turn(tools_json: str) -> tuple[Turn, ...]:
    """Offered tools count as the prompt's first block."""
    return (Turn("tools", tools_json),) if tools_json else ()
