"""The kinds of call that a role gets, and a small real one of each to prove a model by."""

import base64
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Literal

from omni_cli.domain.chat import ChatRequest, Completion, MediaPart, Message, TextPart, Tool
from omni_cli.domain.models import ModelInfo, Role
from omni_cli.services.engine.checks import is_json, not_refused, tool_calls_parse
from omni_cli.services.fleet.connection_test import QUESTION

Kind = Literal["text", "image", "tools", "json"]
CALLS: Mapping[Kind, str] = {
    "text": "its call",
    "image": "its call with an image",
    "tools": "its call with a tool",
    "json": "its call for JSON",
}
GETS: Mapping[Kind, str] = {
    "text": "questions",
    "image": "images",
    "tools": "tools to call",
    "json": "requests for JSON",
}
#: What was proved, in words after "answered".
SAID: Mapping[Kind, str] = {
    "text": "a question",
    "image": "a question about an image",
    "tools": "with a call of the tool offered",
    "json": "in JSON",
}
#: Words of a role's name or description that say what it gets.
_WORDS: Mapping[Kind, re.Pattern[str]] = {
    "image": re.compile(
        r"(?<![a-z])(photos?|images?|pictures?|vision|visual|screenshots?|ocr)(?![a-z])"
    ),
    "tools": re.compile(r"(?<![a-z])(agents?|agentic|tools?|functions?)(?![a-z])"),
    "json": re.compile(r"(?<![a-z])(json|structured)(?![a-z])"),
}
#: The type of task that a call of a kind is counted under. (That JSON was asked for is not kept.)
_TASKS: Mapping[Kind, str] = {"image": "image", "tools": "agent_step"}
#: What a model is known to lack that cannot take such a call. (Without a mode for it, many write
#: JSON all the same.)
_BADGES: Mapping[Kind, str] = {"image": "vision", "tools": "function-calling"}
#: From this share of its calls on a role gets a kind, whatever its name; and below it, whatever
#: its name, once so many calls are known.
_SHARE, _ENOUGH = 0.05, 20
#: Enough for a word and for a thinking model's least thought; for a call or an object.
_MOST_TOKENS: Mapping[Kind, int] = {"text": 64, "image": 64, "tools": 512, "json": 512}
_TOOL = Tool(
    "report_status",
    "Report whether all is well.",
    {
        "type": "object",
        "properties": {"status": {"type": "string", "description": "The word OK"}},
        "required": ["status"],
        "additionalProperties": False,
    },
)


def kinds_of(role: Role, calls: Mapping[str, int], models: Sequence[ModelInfo]) -> tuple[Kind, ...]:
    """What a role is asked: by its traffic, else by its name, description and models.

    Args:
        calls: recent real calls of the role by type of task.
        models: those that serve it now.
    """
    total = sum(calls.values())
    words = f"{role.name} {role.description}".lower()
    found: list[Kind] = []
    for kind, pattern in _WORDS.items():
        task = _TASKS.get(kind)
        share = calls.get(task, 0) / total if task and total else 0.0
        if share >= _SHARE:
            found.append(kind)
        elif task is None or total < _ENOUGH:
            only_images = kind == "image" and any(model.type == "vision" for model in models)
            if only_images or pattern.search(words):
                found.append(kind)
    return tuple(found) or ("text",)


def cannot(kind: Kind, model: ModelInfo) -> str:
    """What to do about a model that is known not to take such a call, or "". Where nobody says,
    it is asked."""
    badge = _BADGES.get(kind)
    if badge is None or model.has(badge) is not False:
        return ""
    return f"if it does take them, omni models edit {model.id} --badge {badge} says so"


def doubt(kind: Kind, model: ModelInfo) -> str:
    """What keeps routing from such calls though the model takes them: that nobody says so."""
    badge = "json-mode" if kind == "json" else _BADGES.get(kind)
    if badge is None or model.has(badge) is not None:
        return ""
    return (
        f"others of the role that are known to have {badge} come before it: if all is well, "
        f"omni models edit {model.id} --badge {badge} says that it has"
    )


def request_of(kind: Kind) -> ChatRequest:
    """A call of a few tokens."""
    most = _MOST_TOKENS[kind]
    if kind == "image":
        parts = (
            MediaPart("image/png", data=_picture()),
            TextPart("What colour is this picture? Answer with one word."),
        )
        return ChatRequest((Message("user", parts),), max_output_tokens=most, stream=False)
    if kind == "tools":
        question = Message.text_of("user", "All is well: call report_status with the word OK.")
        return ChatRequest(
            (question,),
            tools=(_TOOL,),
            tool_choice="required",
            max_output_tokens=most,
            stream=False,
        )
    if kind == "json":
        question = Message.text_of("user", 'Answer with this JSON object: {"status": "OK"}')
        return ChatRequest((question,), json_mode=True, max_output_tokens=most, stream=False)
    return ChatRequest((Message.text_of("user", QUESTION),), max_output_tokens=most, stream=False)


def flaw(kind: Kind, answer: Completion) -> str:
    """What is wrong with an answer to ``request_of(kind)``, or ""."""
    if answer.finish_reason in ("content_filter", "refusal", "error"):
        return f"it ended with {answer.finish_reason}"
    if kind == "tools":
        if not answer.tool_calls:
            return "it called no tool"
        return tool_calls_parse(frozenset({_TOOL.name}))(answer)
    if kind == "json":
        return is_json(None)(answer)
    if not (answer.text.strip() or answer.reasoning or answer.finish_reason == "length"):
        return "it answered nothing"
    return not_refused(answer)


def _picture() -> str:
    """A red square, 64 pixels a side, as a PNG in base64: some providers refuse smaller ones."""
    side = 64
    rows = (b"\x00" + b"\xe0\x20\x20" * side) * side

    def chunk(name: bytes, data: bytes) -> bytes:
        summed = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + summed

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows))
    return base64.b64encode(png + chunk(b"IEND", b"")).decode()
