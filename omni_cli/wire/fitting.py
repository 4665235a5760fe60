"""What a request becomes before it is written in a provider's protocol: what the protocol, its
host or the model cannot take is brought to what they can, or left out and told.

Every function here is pure, and gives the same for the same history: a provider's cache of the
prompt depends on it.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest, MediaPart, Message, Part, TextPart, ToolCall
from omni_cli.domain.errors import BadRequest
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace
from omni_cli.wire.facts import Facts
from omni_cli.wire.features import BY_NAME, put
from omni_cli.wire.values import as_list, as_object, as_text, is_strict_schema

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Alphabet(Struct, frozen=True):
    """Which ids, or names, a protocol takes. ``made``: how long one is that is made instead."""

    pattern: Pattern
    prefix: str = ""
    made: int = 24

    def takes(self, text: str) -> bool:
        return self.pattern.fullmatch(text) is not None

    def make(self, text: str) -> str:
        """One that is taken, always the same for the same text."""
        number = int.from_bytes(hashlib.sha256(text.encode("utf-8", "replace")).digest())
        digits = []
        for _ in range(self.made):
            number, digit = divmod(number, len(_DIGITS))
            digits.append(_DIGITS[digit])
        return self.prefix + "".join(digits)


#: Mistral's 400: "must be a-z, A-Z, 0-9, with a length of 9".
MISTRAL_IDS = Alphabet(Pattern(r"[a-zA-Z0-9]{9}"), "", 9)
#: OpenAI API reference, function.name.
USUAL_NAMES = Alphabet(Pattern(r"[a-zA-Z0-9_-]{1,64}"), "_", 8)
ANY_IDS = Alphabet(Pattern(r"[^\x00-\x1f]+"), "call_")
_LONGEST_NAME = 64


class Says(Struct, frozen=True):
    """What a protocol can be told beside the wishes of its facts.

    Args:
        result_media: kinds of media that a tool's result may hold.
        answer_media: whether an assistant's turn may hold media.
        late_system: whether a system turn may stand behind others.
        begins_with_user: whether the first turn has to be the user's.
        hottest: highest temperature.
        most_stops: stop sequences at most; 0 where there are none, None without limit.
        lacks: features of the protocol that this host does not know.
        text_documents: whether a document may be plain text; elsewhere it is said as such.
        elsewhere: wishes that are part of another field's value, which the protocol writes itself.
        capitals: whether kinds of media are written in capitals.
        blank_stops: whether a stop sequence may be blank.
        blank_turns: whether a user's turn may be blank.
    """

    facts: type[Facts]
    ids: Alphabet
    names: Alphabet
    result_media: frozenset[str] = frozenset()
    answer_media: bool = False
    late_system: bool = True
    begins_with_user: bool = False
    hottest: float = 2.0
    most_stops: int | None = None
    lacks: frozenset[str] = frozenset()
    seed: bool = True
    text_documents: bool = False
    elsewhere: frozenset[str] = frozenset()
    capitals: bool = False
    blank_stops: bool = True
    blank_turns: bool = True


class Fitted(Struct, frozen=True):
    """``renamed``: the names that functions had, by those that are sent."""

    request: ChatRequest
    renamed: Mapping[str, str]


def fit(request: ChatRequest, says: Says) -> Fitted:
    """The request as this protocol can say it. Raises BadRequest: what it cannot say changes what
    is asked."""
    told = list(request.told)
    wishes = _wishes(request, says, told)
    renamed, names = _names(request, says.names)
    messages = _with_ids(_paired(request.messages, told), says.ids)
    messages = [_sound(message) for message in messages]
    if not says.text_documents:
        messages = [_in_words(message) for message in messages]
    messages = _placed_media(messages, says, told)
    if not says.late_system:
        messages = _early_system(messages, told)
    if not says.blank_turns:
        messages = [_spoken(message) for message in messages]
    if says.begins_with_user or all(m.role in ("assistant", "tool") for m in messages):
        messages = _user_first(messages)
    changes: dict[str, Any] = {}
    single = {tool.name: tool for tool in reversed(request.tools)}
    if len(single) != len(request.tools):  # two of one name are refused
        request = replace(request, tools=tuple(reversed(single.values())))
    if names:
        messages = [_renamed(message, names) for message in messages]
        changes["tools"] = tuple(
            replace(tool, name=names.get(tool.name, tool.name)) for tool in request.tools
        )
        if request.tool_choice in names:
            changes["tool_choice"] = names[request.tool_choice]
    heat = request.temperature
    if heat is not None and not 0 <= heat <= says.hottest:
        changes["temperature"] = min(max(heat, 0.0), says.hottest)
        told.append(f"temperature: {changes['temperature']:g}")
    if request.stop:
        changes["stop"] = _stops(request.stop, says, told)
    if request.seed is not None and not says.seed:
        changes["seed"] = None
        told.append("seed")
    fitted = replace(
        request, messages=tuple(messages), wishes=wishes, told=tuple(dict.fromkeys(told)), **changes
    )
    return Fitted(fitted, renamed)


def leave_out(request: ChatRequest, *names: str) -> ChatRequest:
    """The request without these of its wishes, of sampling and of where to stop."""
    set_here = {
        "temperature": request.temperature is not None,
        "top_p": request.top_p is not None,
        "stop": bool(request.stop),
    }
    gone = [name for name in names if set_here.get(name) or name in request.wishes]
    if not gone:
        return request
    return replace(
        request,
        temperature=None if "temperature" in gone else request.temperature,
        top_p=None if "top_p" in gone else request.top_p,
        stop=() if "stop" in gone else request.stop,
        wishes={name: value for name, value in request.wishes.items() if name not in gone},
        told=(*request.told, *gone),
    )


def untranslatable(thing: str, facts: type[Facts] | None = None) -> BadRequest:
    """The error for what another provider's protocol cannot be told."""
    whose = "another" if facts is None else f"the {facts.name}"
    name = "" if facts is None else f" ({facts.title or facts.name})"
    return BadRequest(
        f"{thing} cannot be translated for a model of {whose} protocol{name}",
        hint="leave it out, or name a model of the protocol that you speak",
        status=400,
    )


def _wishes(request: ChatRequest, says: Says, told: list[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    for name, value in request.wishes.items():
        if name == "parallel_tool_calls" and not request.tools:
            continue  # means nothing
        if name in says.facts.writes and name not in says.lacks:
            kept[name] = value
        elif BY_NAME[name].lacking == "refused":
            raise untranslatable(name, says.facts)
        else:
            told.append(name)
    return kept


def write_plain(body: dict[str, Any], request: ChatRequest, *same: str, **named: str) -> None:
    """Put into a body what a request says in plain values: by their own names, or a protocol's."""
    for field, name in (*((field, field) for field in same), *named.items()):
        value = getattr(request, field)
        if value is not None and value != ():
            body[name] = list(value) if isinstance(value, tuple) else value


def write_wishes(body: dict[str, Any], request: ChatRequest, says: Says) -> None:
    """Write what was wished and can be told, but for what is part of another field's value."""
    fields = says.facts.writes
    for name, value in request.wishes.items():
        if name in says.elsewhere:
            continue
        if name == "modalities" and isinstance(value, list):
            words = [str(word) for word in value]
            value = [word.upper() if says.capitals else word.lower() for word in words]
        put(body, fields[name], value)


# --- names and ids --------------------------------------------------------------------------------


def _names(request: ChatRequest, alphabet: Alphabet) -> tuple[dict[str, str], dict[str, str]]:
    """(old by new, new by old), of the functions whose names are not taken."""
    called = [call.name for message in request.messages for call in message.tool_calls]
    every = dict.fromkeys([*(tool.name for tool in request.tools), *called])
    wrong = [name for name in every if not alphabet.takes(name)]
    new: dict[str, str] = {}
    for name in wrong:
        start = re.sub(r"[^a-zA-Z0-9_-]", "_", name)
        if not start[:1].isalpha():
            start = f"f_{start}"
        mark = alphabet.make(name)
        new[name] = start[: _LONGEST_NAME - len(mark)] + mark
    return {sent: name for name, sent in new.items()}, new


def _renamed(message: Message, names: Mapping[str, str]) -> Message:
    if message.name is not None and message.role == "tool" and message.name in names:
        return replace(message, name=names[message.name])
    if not message.tool_calls:
        return message
    calls = tuple(replace(c, name=names.get(c.name, c.name)) for c in message.tool_calls)
    return replace(message, tool_calls=calls)


def _with_ids(messages: Sequence[Message], alphabet: Alphabet) -> list[Message]:
    """Ids that are taken and that no two calls share; a result has its call's.

    Some servers give no ids, or the same ones in every turn.
    """
    used: set[str] = set()
    waiting: dict[str, list[str]] = {}
    last: dict[str, str] = {}
    found: list[Message] = []
    for message in messages:
        if message.tool_calls:
            calls: list[ToolCall] = []
            for call in message.tool_calls:
                ident = call.id
                number = 0
                while not alphabet.takes(ident) or ident in used:
                    # An id without a text is made of its place among the calls so far.
                    number += 1
                    seed = call.id or f"{call.name} {len(used)}"
                    ident = alphabet.make(
                        seed if number == 1 and call.id not in used else f"{seed} {number}"
                    )
                used.add(ident)
                waiting.setdefault(call.id, []).append(ident)
                calls.append(replace(call, id=ident) if ident != call.id else call)
            found.append(replace(message, tool_calls=tuple(calls)))
        elif message.role == "tool":
            asked = message.tool_call_id or ""
            queue = waiting.get(asked)
            if queue:
                last[asked] = queue.pop(0)
            ident = last.get(asked) or (asked if alphabet.takes(asked) else alphabet.make(asked))
            found.append(replace(message, tool_call_id=ident) if ident != asked else message)
        else:
            found.append(message)
    return found


# --- the order of turns ---------------------------------------------------------------------------


def _paired(messages: Sequence[Message], told: list[str]) -> list[Message]:
    """Each call of a tool with its result right behind the turn that called, in the order of the
    calls, whatever else was said meanwhile.

    Histories that were cut or interrupted hold one without the other, which every vendor refuses: a
    call without its result gets one that says so, a result without its call is told as the user's.
    """
    found: list[tuple[Message, list[Message | None]]] = []
    waiting: list[tuple[ToolCall, list[Message | None], int]] = []
    spoken = False
    for message in messages:
        results: list[Message | None] = []
        if message.role == "assistant":
            if spoken:  # what was not answered before the user spoke and was answered never will be
                waiting.clear()
            spoken = False
            results = [None] * len(message.tool_calls)
            waiting += [(call, results, n) for n, call in enumerate(message.tool_calls)]
        elif message.role == "user":
            spoken = True
        elif message.role == "tool":
            asked, name = message.tool_call_id or "", message.name
            mine = next((n for n, entry in enumerate(waiting) if entry[0].id == asked), None)
            if mine is None and name:
                mine = next((n for n, entry in enumerate(waiting) if entry[0].name == name), None)
            if mine is not None:
                call, place, number = waiting.pop(mine)
                place[number] = replace(message, tool_call_id=call.id)
                continue
            told.append("tool: a result without its call is said in the user's turn")
            note = TextPart(f"(Result of {name or 'a tool'}:)")
            message = Message("user", (note, *message.parts))
        found.append((message, results))
    whole: list[Message] = []
    for message, results in found:
        whole.append(message)
        for call, result in zip(message.tool_calls, results, strict=True):
            if result is None:
                told.append("tool: a call without its result is said to have none")
                result = Message(
                    "tool",
                    (TextPart("(This call was given no result.)"),),
                    tool_call_id=call.id,
                    name=call.name,
                    is_error=True,
                )
            whole.append(result)
    return whole


def _early_system(messages: Sequence[Message], told: list[str]) -> list[Message]:
    """System turns at the beginning stay; later ones keep their place as the user's."""
    found: list[Message] = []
    begun = False
    for message in messages:
        if message.role != "system":
            begun = True
        elif begun:
            told.append("system: a later one is said in the user's turn")
            found.append(replace(message, role="user"))
            continue
        found.append(message)
    if not begun and found:  # nothing but instructions: they are what is asked
        found[-1] = replace(found[-1], role="user")
    return found


def _user_first(messages: Sequence[Message]) -> list[Message]:
    first = next((n for n, m in enumerate(messages) if m.role != "system"), None)
    if first is None or messages[first].role == "user":
        return list(messages)
    begin = Message.text_of("user", "(The conversation begins with your turn.)")
    return [*messages[:first], begin, *messages[first:]]


def _placed_media(messages: Sequence[Message], says: Says, told: list[str]) -> list[Message]:
    """Media that a result, or an assistant's turn, cannot hold follow it in the user's."""
    found: list[Message] = []
    moved: list[Part] = []
    for message in messages:
        if message.role not in ("tool", "assistant") and moved:
            if message.role == "user":
                found.append(replace(message, parts=(*moved, *message.parts)))
                moved = []
                continue
            found.append(Message("user", tuple(moved)))
            moved = []
        if message.role == "assistant" and moved:
            found.append(Message("user", tuple(moved)))
            moved = []
        if message.role == "tool":
            kept, out = _parted(message.parts, says.result_media)
        elif message.role == "assistant" and not says.answer_media:
            kept, out = _parted(message.parts, frozenset())
        else:
            found.append(message)
            continue
        if not out:
            found.append(message)
            continue
        kinds = ", ".join(dict.fromkeys(part.kind for part in out))
        result = message.role == "tool"
        whose = "tool's result" if result else "answer"
        told.append(f"{kinds}: beside the {whose} that holds it")
        note = TextPart(f"({kinds} of this {whose}: see the user's next message)")
        if result or not (message.tool_calls or any(isinstance(p, TextPart) for p in kept)):
            kept = (*kept, note)
        found.append(replace(message, parts=kept))
        name = f" {message.tool_call_id}" if result and message.tool_call_id else ""
        moved += [TextPart(f"({kinds} of the {whose}{name})"), *out]
    if moved:
        found.append(Message("user", tuple(moved)))
    return found


#: How the bytes of pictures and documents begin, in base64.
_BEGINNINGS = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi", "application/pdf"),
)


def _sound(message: Message) -> Message:
    """Its inline media without line breaks, and of a kind where the bytes alone tell it."""
    if not any(isinstance(p, MediaPart) and p.data for p in message.parts):
        return message
    return replace(message, parts=tuple(map(_sound_part, message.parts)))


def _sound_part(part: Part) -> Part:
    if not isinstance(part, MediaPart) or not part.data:
        return part
    data = "".join(part.data.split())
    kind = part.media_type
    if kind in ("", "application/octet-stream", "binary/octet-stream", "image/*"):
        kind = next((k for begin, k in _BEGINNINGS if data.startswith(begin)), kind)
    if data == part.data and kind == part.media_type:
        return part
    return replace(part, data=data, media_type=kind)


def _spoken(message: Message) -> Message:
    """A user's turn that says nothing, in words: left out, the turns beside it would be one."""
    blank = all(isinstance(part, TextPart) and not part.text.strip() for part in message.parts)
    if message.role != "user" or not blank:
        return message
    return replace(message, parts=(TextPart("(This message is empty.)"),))


def _in_words(message: Message) -> Message:
    """Its documents of plain text as text."""
    if not any(isinstance(p, MediaPart) and p.kind == "document" for p in message.parts):
        return message
    return replace(message, parts=tuple(_worded(part) for part in message.parts))


def _worded(part: Part) -> Part:
    kind = part.media_type.partition(";")[0] if isinstance(part, MediaPart) else ""
    if not isinstance(part, MediaPart) or part.data is None:
        return part
    if not (kind.startswith("text/") or kind in ("application/json", "application/xml")):
        return part
    try:
        text = base64.b64decode(part.data).decode()
    except ValueError:
        return part
    return TextPart(f"{part.name}:\n{text}" if part.name else text, part.cache)


def _parted(
    parts: Iterable[Part], stay: frozenset[str]
) -> tuple[tuple[Part, ...], list[MediaPart]]:
    kept: list[Part] = []
    out: list[MediaPart] = []
    for part in parts:
        if isinstance(part, MediaPart) and part.kind not in stay:
            out.append(part)
        else:
            kept.append(part)
    return tuple(kept), out


def result_text(message: Message) -> str:
    """A tool's result where the protocol has no field that says that it failed."""
    text = message.text
    if message.is_error and "error" not in text[:200].lower():
        return f"Error: {text}" if text else "Error"
    return text


def reasoning_text(message: Message) -> str:
    """What a turn thought, whoever's words they are in; "" where it cannot be read."""
    texts: list[str] = []
    for block in message.reasoning:
        inner = block.get("block")
        if isinstance(inner, Mapping):
            texts.append(as_text(inner.get("thinking")))
            for name in ("summary", "content"):
                pieces = inner.get(name)
                texts += [as_text(as_object(piece).get("text")) for piece in as_list(pieces)]
        elif block.get("field") == "reasoning_content" or block.get("protocol") == "text":
            texts.append(as_text(block.get("value")))
        elif isinstance(block.get("value"), list):
            details = map(as_object, block["value"])
            texts += [as_text(detail.get("text") or detail.get("summary")) for detail in details]
    return "\n".join(dict.fromkeys(text for text in texts if text))


def _stops(stop: tuple[str, ...], says: Says, told: list[str]) -> tuple[str, ...]:
    wanted = [text for text in stop if text]
    if says.most_stops == 0:
        if wanted:
            told.append("stop")
        return ()
    kept = [text for text in wanted if says.blank_stops or text.strip()]
    kept = kept if says.most_stops is None else kept[: says.most_stops]
    if len(kept) != len(wanted):
        told.append("stop: " + (f"the first {len(kept)}" if kept else "none"))
    return tuple(kept)


def in_words(request: ChatRequest) -> ChatRequest:
    """The form of the answer asked for in the instructions, where no field can say it."""
    words = "Answer with one JSON object and nothing else."
    if request.json_schema is not None:
        schema = json.dumps(request.json_schema, ensure_ascii=False, separators=(",", ":"))
        words += f" It follows this JSON Schema: {schema}"
    told = (*request.told, "response_format: asked for in words")
    messages = list(request.messages)
    place = next((n for n, m in enumerate(messages) if m.role != "system"), len(messages))
    messages.insert(place, Message.text_of("system", words))
    return replace(request, messages=tuple(messages), json_mode=False, json_schema=None, told=told)


def with_the_word(request: ChatRequest, *, instructions: bool) -> ChatRequest:
    """OpenAI's JSON mode is a 400 unless the conversation speaks of JSON.

    ``instructions``: whether those at its beginning are part of it.
    """
    if not request.json_mode or request.json_schema is not None:
        return request
    messages = request.messages
    heard = messages if instructions else [m for m in messages if m.role != "system"]
    if any("json" in message.text.lower() for message in heard):
        return request
    ask = Message.text_of("system", "Answer in JSON.")
    return replace(request, messages=(ask, *messages) if instructions else (*messages, ask))


def loosened(request: ChatRequest) -> ChatRequest:
    """No tool strict whose schema OpenAI's strict mode refuses: others' strict mode takes more."""
    loose = {
        tool.name
        for tool in request.tools
        if tool.strict and not is_strict_schema(object_schema(tool.parameters))
    }
    if not loose:
        return request
    tools = tuple(replace(t, strict=False) if t.name in loose else t for t in request.tools)
    return replace(request, tools=tools, told=(*request.told, "strict"))


# --- the model ------------------------------------------------------------------------------------

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_USUAL = ("none", "minimal", "low", "medium", "high")
#: Efforts that a model takes, by its name (developers.openai.com, "Reasoning models" and the pages
#: of the models); the first that fits.
_TAKES = (
    (Pattern(r"gpt-5(\.\d+)?-pro"), ("high",)),
    (
        Pattern(r"gpt-5\.1-codex-max|gpt-5\.([2-9]|\d\d)"),
        ("none", "low", "medium", "high", "xhigh"),
    ),
    (Pattern(r"gpt-5\.1"), ("none", "low", "medium", "high")),
    (Pattern(r"gpt-5-codex"), ("low", "medium", "high")),
    (Pattern(r"gpt-5(?!\.)"), ("minimal", "low", "medium", "high")),
    (Pattern(r"(^|/)o\d|gpt-oss"), ("low", "medium", "high")),
)
#: OpenAI's models that reason: none of them takes sampling parameters while it does.
_OPENAI_REASONS = Pattern(r"(^|[/.])(o[1-9](-|$)|gpt-[5-9](?!.*chat))")
#: Models known to reason, where neither a badge nor a lack of one is recorded.
_REASONS = Pattern(
    r"(^|[/.:])(o[1-9](-|$)|gpt-[5-9](?!.*chat)|gpt-oss|claude-(opus|sonnet|haiku)-([4-9]|\d\d)|"
    r"claude-3-7|claude-(mythos|fable)|gemini-(2\.5|[3-9])|deepseek-(r|v[4-9]|reason)|qwq|qwen3|"
    r"glm-(4\.[5-9]|[5-9])|kimi-k2|kimi-k[3-9]|grok-[3-9]|magistral|minimax-m)|think|reason"
)


def reasons(model: ModelInfo) -> bool:
    """Whether it takes an effort: its badge says so, or, where nobody says, its name does."""
    known = model.has("reasoning")
    return known if known is not None else bool(_REASONS.search(model.wire_name.lower()))


def fit_model(request: ChatRequest, model: ModelInfo) -> ChatRequest:
    """The request within what the model is known to take: no effort where it does not reason, no
    more output than it has."""
    effort = request.reasoning_effort
    if effort is not None and not reasons(model):
        told = request.told if effort == "none" else (*request.told, "reasoning_effort")
        request = replace(request, reasoning_effort=None, told=told)
    most, asked = model.max_output, request.max_output_tokens
    if most:
        request = replace(request, most_output_tokens=most)
        if asked is not None and asked > most:
            told = (*request.told, f"max_output_tokens: {most}")
            request = replace(request, max_output_tokens=most, told=told)
    return request


def fit_effort(request: ChatRequest, takes: Sequence[str]) -> ChatRequest:
    """The nearest of the efforts that are taken."""
    effort = request.reasoning_effort
    if effort is None or effort in takes or effort not in EFFORTS:
        return request
    place = EFFORTS.index(effort)
    nearest = min(takes, key=lambda word: (abs(EFFORTS.index(word) - place), EFFORTS.index(word)))
    return replace(
        request, reasoning_effort=nearest, told=(*request.told, f"reasoning_effort: {nearest}")
    )


def fit_openai_model(request: ChatRequest, wire_name: str) -> ChatRequest:
    """What OpenAI's models that reason do not take (developers.openai.com, "Using GPT-5",
    parameter compatibility)."""
    name = wire_name.lower()
    takes = next((words for pattern, words in _TAKES if pattern.search(name)), _USUAL)
    request = fit_effort(request, takes)
    if not _OPENAI_REASONS.search(name) or request.reasoning_effort == "none":
        return request
    sampling = ("temperature", "top_p", "frequency_penalty", "presence_penalty", "stop")
    return leave_out(request, *sampling)


def sound_schema(value: Any) -> Any:
    """A schema as all vendors read it, who answer 400 to what validators of old let pass: names
    required twice, or by a flag of their own; arrays of nobody knows what; empty types."""
    if isinstance(value, list):
        return [sound_schema(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, item in value.items():
        if key in ("properties", "$defs", "definitions"):
            inner = item if isinstance(item, Mapping) else {}
            found[key] = {name: sound_schema(one) for name, one in inner.items()}
        elif key in ("enum", "const", "default", "examples", "example"):
            found[key] = item
        elif key == "required":
            if isinstance(item, list):
                found[key] = list(dict.fromkeys(name for name in item if isinstance(name, str)))
        elif key != "type" or item not in ("", None, []):
            found[key] = sound_schema(item)
    kind = found.get("type")
    if "array" in (kind if isinstance(kind, list) else (kind,)) and "prefixItems" not in found:
        found.setdefault("items", {})
    return found


def object_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A function's parameters with "type": "object" and without alternatives at the top, which
    OpenAI and Anthropic refuse there: what any of them may hold, none of it required unless all
    require it."""
    found: dict[str, Any] = sound_schema(schema)
    if isinstance(reference := found.get("$ref"), str) and reference.startswith("#/"):
        named: Any = found
        for step in reference[2:].split("/"):
            named = named.get(step) if isinstance(named, Mapping) else None
        if isinstance(named, Mapping):
            found = {**named, **{key: v for key, v in found.items() if key != "$ref"}}
    if found.get("type") != "object":
        found = {"type": "object", **{key: v for key, v in found.items() if key != "type"}}
    for word in ("enum", "not"):
        found.pop(word, None)
    for word in ("anyOf", "oneOf", "allOf"):
        choices = [choice for choice in found.pop(word, None) or () if isinstance(choice, dict)]
        if not choices:
            continue
        properties = dict(found.get("properties") or {})
        for choice in choices:
            properties = {**(choice.get("properties") or {}), **properties}
        needed = [set(choice.get("required") or ()) for choice in choices]
        test = any if word == "allOf" else all
        always = [name for name in properties if test(name in names for names in needed)]
        required = list(dict.fromkeys([*(found.get("required") or ()), *always]))
        found["properties"] = properties
        if required:
            found["required"] = required
    found.setdefault("properties", {})
    return found


#: Levels of references that are followed; a schema that refers to itself has no end.
_DEEPEST = 6


def inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema without references, for who does not follow them."""
    if "$ref" not in str(schema):
        return dict(schema)
    found = _inlined(schema, schema, 0)
    return {key: value for key, value in found.items() if key not in ("$defs", "definitions")}


def _inlined(value: Any, root: Mapping[str, Any], depth: int) -> Any:
    if isinstance(value, list):
        return [_inlined(item, root, depth) for item in value]
    if not isinstance(value, Mapping):
        return value
    reference = value.get("$ref")
    if not isinstance(reference, str):
        return {
            key: item if key in ("$defs", "definitions") else _inlined(item, root, depth)
            for key, item in value.items()
        }
    target: Any = root
    for step in reference.removeprefix("#").strip("/").split("/"):
        target = target.get(step) if isinstance(target, Mapping) else None
    rest = {key: item for key, item in value.items() if key != "$ref"}
    if not isinstance(target, Mapping) or depth >= _DEEPEST:
        return {"type": "object", **rest}
    return {**_inlined(target, root, depth + 1), **rest}


#: Words of a schema that Anthropic's structured outputs refuse (platform.claude.com, "Structured
#: outputs", JSON Schema limitations); they are said in the description instead.
_REFUSED_WORDS = (
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    *("minLength", "maxLength", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
)


def closed_schema(schema: Any) -> Any:
    """A schema as Anthropic's structured outputs take it: objects closed, bounds in words."""
    if isinstance(schema, list):
        return [closed_schema(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    found: dict[str, Any] = {}
    bounds: list[str] = []
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, Mapping):
            found[key] = {name: closed_schema(item) for name, item in value.items()}
        elif key in ("enum", "const", "default", "examples", "required"):
            found[key] = value
        elif key in _REFUSED_WORDS or (key == "minItems" and value not in (0, 1)):
            bounds.append(f"{key}: {json.dumps(value)}")
        elif key == "oneOf":
            found["anyOf"] = closed_schema(value)
        else:
            found[key] = closed_schema(value)
    if bounds:
        about = found.get("description")
        found["description"] = f"{about + ' ' if about else ''}({', '.join(bounds)})"
    kind = found.get("type")
    if kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in found:
        found["additionalProperties"] = False
    return found
