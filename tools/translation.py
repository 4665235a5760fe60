"""Write ``docs/translation.md``: ``python -m tools.translation``.

What a request of one protocol becomes in another is asked of the code itself: each feature is put
into a request, and each protocol's client writes it. ``--check`` writes nothing and fails where the
page is not what the code does.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omni_cli.domain.chat import ChatRequest, MediaPart, Message, TextPart, Tool, ToolCall
from omni_cli.domain.errors import OmniError
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.record import replace
from omni_cli.ports import Endpoint
from omni_cli.wire.features import FEATURES
from omni_cli.wire.fitting import fit_model
from omni_cli.wire.registry import FOLDERS, adapter, callers, facts

PAGE = Path(__file__).resolve().parents[1] / "docs" / "translation.md"
#: The protocols that are translated, by what people call them.
NAMES = {name: facts(name).title for name in FOLDERS if facts(name).title}
#: A model of each, of today, that reasons.
MODELS = {
    "openai": "gpt-5.1",
    "openai-responses": "gpt-5.1",
    "anthropic": "claude-opus-4-5",
    "gemini": "gemini-3-pro",
    "bedrock": "us.anthropic.claude-opus-4-5",
    "ollama": "qwen3",
}
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"p": {"$ref": "#/$defs/path"}},
    "$defs": {"path": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
}
_CLOSED: dict[str, Any] = {
    "type": "object",
    "properties": {"path": {"type": "string"}},
    "required": ["path"],
    "additionalProperties": False,
}
_TOOL = Tool("read", "reads a file", _SCHEMA)
_ASK = Message.text_of("user", "go")
_CALL = Message("assistant", (), (ToolCall("call_1", "read", '{"p": "a"}'),))
_IMAGE = MediaPart("image/png", data="iVBORw0KGgo=")


def _result(*parts: Any, failed: bool = False) -> tuple[Message, ...]:
    return _ASK, _CALL, Message("tool", parts, tool_call_id="call_1", is_error=failed)


def _with(*parts: Any) -> ChatRequest:
    return ChatRequest((Message("user", (TextPart("look"), *parts)),))


def _asked(**fields: Any) -> ChatRequest:
    return ChatRequest((_ASK,), **fields)


def _tooled(**fields: Any) -> ChatRequest:
    return ChatRequest((_ASK,), tools=(_TOOL,), **fields)


#: What a request may hold besides wishes: its name, and one that has it.
CASES: tuple[tuple[str, ChatRequest], ...] = (
    ("a system turn first", ChatRequest((Message.text_of("system", "be brief"), _ASK))),
    (
        "a system or developer turn later",
        ChatRequest(
            (_ASK, Message.text_of("assistant", "ok"), Message.text_of("system", "x"), _ASK)
        ),
    ),
    (
        "a conversation that the assistant begins",
        ChatRequest((Message.text_of("assistant", "hello"), _ASK)),
    ),
    (
        "the answer's own beginning (prefill)",
        ChatRequest((_ASK, Message.text_of("assistant", "{"))),
    ),
    ("a tool (`$ref`, `anyOf`)", _tooled()),
    ("a tool without parameters", _asked(tools=(Tool("now"),))),
    ("a strict tool", _asked(tools=(replace(_TOOL, strict=True, parameters=_CLOSED),))),
    ("a strict tool with optional fields", _asked(tools=(replace(_TOOL, strict=True),))),
    ("tool choice: none", _tooled(tool_choice="none")),
    ("tool choice: some tool", _tooled(tool_choice="required")),
    ("tool choice: one by name", _tooled(tool_choice="read")),
    ("no calls beside each other", _tooled(wishes={"parallel_tool_calls": False})),
    (
        "a tool's id and name in another alphabet",
        ChatRequest(
            (
                _ASK,
                Message("assistant", (), (ToolCall("functions.read:0", "a.b", "{}"),)),
                Message("tool", (TextPart("ok"),), tool_call_id="functions.read:0"),
            ),
            tools=(Tool("a.b"),),
        ),
    ),
    ("a tool's result", ChatRequest(_result(TextPart("ok")), tools=(_TOOL,))),
    (
        "a tool's result that failed",
        ChatRequest(_result(TextPart("no"), failed=True), tools=(_TOOL,)),
    ),
    ("a tool's call without its result", ChatRequest(_result(TextPart("ok"))[:-1], tools=(_TOOL,))),
    ("a result without its call", ChatRequest((*_result(TextPart("ok"))[-1:], _ASK))),
    ("a tool's result with an image", ChatRequest(_result(TextPart("ok"), _IMAGE), tools=(_TOOL,))),
    ("an image, inline", _with(_IMAGE)),
    ("an image by URL", _with(MediaPart("image/png", url="https://a.example/b.png"))),
    ("sound, inline", _with(MediaPart("audio/wav", data="AAAA"))),
    ("a document, inline", _with(MediaPart("application/pdf", data="AAAA", name="a.pdf"))),
    ("a document by URL", _with(MediaPart("application/pdf", url="https://a.example/b.pdf"))),
    ("a video, inline", _with(MediaPart("video/mp4", data="AAAA"))),
    ("most tokens of the answer", _asked(max_output_tokens=500)),
    ("temperature", _asked(temperature=0.5)),
    ("a temperature of 1.5", _asked(temperature=1.5)),
    ("top_p", _asked(top_p=0.5)),
    ("stop sequences", _asked(stop=("END",))),
    ("seed", _asked(seed=7)),
    ("JSON, of any form", _asked(json_mode=True)),
    ("JSON by a schema", _asked(json_mode=True, json_schema=_SCHEMA)),
    ("reasoning effort: low", _asked(reasoning_effort="low")),
    ("reasoning effort: minimal", _asked(reasoning_effort="minimal")),
)


def outcome(request: ChatRequest, protocol: str) -> str:
    """What becomes of a request at a provider of that protocol."""
    wire_name = MODELS[protocol]
    badges = frozenset({"reasoning", "vision", "function-calling"})
    model = ModelInfo(f"p/{wire_name}", "p", wire_name, wire_name, badges=badges)
    try:
        asked = fit_model(replace(request, stream=False), model)
        call = adapter(protocol).build(asked, wire_name, Endpoint("https://models.example/v1", "k"))
    except OmniError as exc:
        return f"refused: {exc.message}"
    return f"said: {'; '.join(call.told)}" if call.told else "carried"


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
    yield ""


def _wishes() -> Iterator[tuple[str, ...]]:
    for feature in FEATURES:
        reads = {NAMES[p]: facts(p).reads.get(feature.name) for p in NAMES}
        asked = ", ".join(f"{title} `{field}`" for title, field in reads.items() if field)
        cells = []
        for protocol in NAMES:
            field = facts(protocol).writes.get(feature.name)
            cells.append(f"`{field}`" if field else feature.lacking)
        yield (asked, *cells)


def _words(kind: str) -> Iterator[tuple[str, ...]]:
    tables = [getattr(facts(protocol), kind) for protocol in NAMES]
    for key in dict.fromkeys(key for table in tables for key in table):
        yield (str(key), *(f"`{table[key]}`" if key in table else "" for table in tables))


def _paths() -> Iterator[tuple[str, ...]]:
    for protocol in NAMES:
        for caller in callers(protocol):
            for operation in caller.operations:
                at = [f"`{p}{operation.path}`" for p in operation.prefixes or caller.prefixes]
                yield NAMES[protocol], operation.summary, operation.method, ", ".join(at)


def page() -> str:
    names = tuple(NAMES.values())
    lines = [
        "# Translation between protocols",
        "",
        "Written by `python -m tools.translation`, which asks the code: do not edit it by hand.",
        "",
        "A request in the protocol of the model that answers is passed on as it came. For a model",
        "of another protocol it is read into omni's own words and written anew. What the other",
        "side cannot be told is left out where the question stays the same, and said in the",
        "answer's headers (`x-omni-left-out`, `x-omni-changed`) and in its receipt; where the",
        "question would change the request is refused, naming the field. Thoughts that another",
        "vendor signed are not sent on: nobody else can read them.",
        "",
        "## What may be asked, and where",
        "",
        *_table(("protocol", "what", "method", "paths"), _paths()),
        "## What a request holds",
        "",
        "Columns: the protocol of the model that answers. *said*: what the headers tell.",
        "",
        *_table(
            ("", *names),
            ((name, *(outcome(request, p) for p in NAMES)) for name, request in CASES),
        ),
        "## Wishes that only some protocols know",
        "",
        "Which callers can have each, and its field at a provider of each protocol.",
        "",
        *_table(("callers", *names), _wishes()),
        "## Why an answer ended",
        "",
        "omni's word, and what callers of each protocol are told. (Responses say it by a status.)",
        "",
        *_table(("omni", *names), _words("finishes")),
        "## What an error is called, by HTTP status",
        "",
        *_table(("status", *names), _words("error_words")),
    ]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    written = page()
    if "--check" in sys.argv:
        same = PAGE.exists() and PAGE.read_text() == written
        if not same:
            print(f"{PAGE.name} is not what the code does: python -m tools.translation")
        return 0 if same else 1
    PAGE.write_text(written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
