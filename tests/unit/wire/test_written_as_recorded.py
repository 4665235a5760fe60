"""What the server sides write, and the simulator says, against bytes that real vendors sent.

The simulator and the gateway write answers by the same code: a mistake in it would show in neither.
"""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from omni_cli.domain.chat import Completion, Usage
from omni_cli.domain.errors import ProviderError
from omni_cli.simulator import speech
from omni_cli.simulator.ask import Ask, Call, Delta, Reply
from omni_cli.simulator.vendors import VENDORS
from omni_cli.wire.registry import adapter, callers
from omni_cli.wire.server import Answered
from tests.unit.providers.wire import Exchange, chats, read

#: Of one answer only: nothing of these can be the same in another.
_OWN = frozenset(
    """id created created_at model modelVersion responseId total_duration store
    parallel_tool_calls tool_choice tools""".split()  # noqa: SIM905  # a list would fill a page
)
#: What is written that no recording here shows, and where it stands in the vendor's own words.
_BEYOND: dict[str, set[str]] = {
    "openai": set(),
    # OpenAI API reference, "Streaming events", reasoning summaries: none were recorded.
    "openai-responses": {"item.summary[].text", "item.summary[].type"},
    "anthropic": set(),
    # Gemini API reference, FunctionCall: "id".
    "gemini": {"candidates[].content.parts[].functionCall.id"},
    # ollama/ollama docs/api.md, "tool_calls"; servers from 0.12 on send ids.
    "ollama": {
        "message.tool_calls[].id",
        "message.tool_calls[].function.name",
        "message.thinking",
    },
}
#: Blocks of an answer that omni has a word for. Others, of tools that a vendor runs, are no part of
#: a completion.
_BLOCKS = frozenset(
    """text thinking redacted_thinking tool_use message reasoning function_call output_text
    summary_text function""".split()  # noqa: SIM905  # a list would fill a page
)
PROTOCOLS = tuple(_BEYOND)


def _events(body: str, *, lines: bool) -> Iterator[Any]:
    for line in body.splitlines():
        data = line if lines else line.removeprefix("data:").strip()
        if (lines or line.startswith("data:")) and data.startswith("{"):
            yield json.loads(data)


def _paths(value: Any, at: str = "") -> Iterator[tuple[str, str]]:
    """Every place in a value, and the kind of what stands there."""
    if isinstance(value, dict):
        for name, item in value.items():
            # What a tool is told is its own affair.
            free = name in ("input", "args", "arguments", "metadata") and isinstance(item, dict)
            yield from _paths({} if free else item, f"{at}.{name}".lstrip("."))
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item, f"{at}[]")
    else:
        kind = "number" if isinstance(value, int | float) and value is not True else "word"
        yield at, "null" if value is None else kind


def _values(exchange: Exchange) -> list[Any]:
    body = exchange.response["body"]
    if exchange.stream:
        return list(_events(body, lines=exchange.protocol == "ollama"))
    return [json.loads(body)]


def _kind(value: Any) -> str:
    """Events are told apart by their type, and what stands in them by that of its block."""
    kinds = [value.get("type")] if isinstance(value, dict) else []
    return str(kinds[0]) if kinds and kinds[0] else ""


@cache
def _recorded(protocol: str) -> dict[str, set[tuple[str, str]]]:
    """By kind of event, the places that recordings show and what stands there."""
    found: dict[str, set[tuple[str, str]]] = {}
    for exchange in chats(protocol):
        if exchange.response["status"] != 200:
            continue
        for value in _values(exchange):
            found.setdefault(_kind(value), set()).update(_paths(value))
            if _kind(value) == "response.completed":  # what a plain answer is
                found.setdefault("", set()).update(_paths(value["response"]))
    whole = {(f"response.{place}", kind) for place, kind in found.get("", ())}
    for name, places in found.items():
        if name.startswith("response.") and any(p.startswith("response.") for p, _ in places):
            places |= whole
    return found


REPLY = Reply(
    text=[Delta("Hello", 1), Delta(" there", 1)],
    reasoning=[Delta("I think", 2)],
    calls=(Call("look", '{"at": "it"}'),),
    finish="tool_calls",
    usage=Usage(input_tokens=20, cached_tokens=8, output_tokens=9, reasoning_tokens=2),
    ident="0a1b",
    created=1_790_000_000,
)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_written_that_no_vendor_sends(protocol: str, stream: bool) -> None:
    """Each place in what the simulator says is one that some recording has, holding the same."""
    vendor = VENDORS[protocol]
    options = {"stream_options": {"include_usage": True}}
    ask = Ask(model="m", turns=(), stream=stream, options=options)
    if stream:
        said = b"".join(data for data, _ in speech.events(vendor, ask, REPLY)).decode()
        values = list(_events(said, lines=protocol == "ollama"))
    else:
        values = [json.loads(speech.plain(vendor, ask, REPLY))]
    known = _recorded(protocol)
    strange = set()
    for value in values:
        if _kind(value).startswith("response.reasoning_summary"):
            continue
        there = known.get(_kind(value), set())
        places = {place for place, _ in there} | _BEYOND[protocol]
        for place, kind in _paths(value):
            # A field that is null says nothing; that it is there may matter to a client.
            known_so = (place, kind) in there or place in _BEYOND[protocol]
            if not known_so and not (kind == "null" and place in places):
                strange.add((_kind(value), place, kind))
    assert not strange


def _is_told(item: Any) -> bool:
    if not isinstance(item, dict):
        return True
    # A thought that is not summed up says nothing.
    silent = item.get("type") == "reasoning" and not item.get("summary")
    return item.get("type", "text") in _BLOCKS and not silent


def _same(ours: Any, theirs: Any, at: str = "") -> Iterator[str]:
    """Where both say something, and not the same."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for name in ours.keys() & theirs.keys() - _OWN:
            yield from _same(ours[name], theirs[name], f"{at}.{name}".lstrip("."))
    elif isinstance(ours, list) and isinstance(theirs, list):
        known = [item for item in theirs if _is_told(item)]
        if len(ours) != len(known):
            yield f"{at}: {len(ours)} for {len(known)}"
        for number, (one, other) in enumerate(zip(ours, known, strict=False)):
            yield from _same(one, other, f"{at}[{number}]")
    elif ours != theirs and ours is not None and (ours or theirs):
        yield f"{at}: {ours!r} for {theirs!r}"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_recorded_answers_are_written_again_as_they_were(protocol: str) -> None:
    """Read by the client, written by the server: what both say is what the vendor said."""
    told, (caller, *_) = 0, callers(protocol)
    for exchange in chats(protocol):
        if exchange.stream or exchange.response["status"] != 200:
            continue
        if exchange.folder == "deepseek_responses":
            continue  # tells its thoughts where OpenAI has none, not as their summary
        client = adapter(protocol)
        try:
            chunks = read(client, exchange.body, stream=False)
        except ProviderError:
            continue  # an error within a 200
        completion = Completion.from_chunks(chunks)
        ours = json.loads(caller.whole(completion, Answered("id", "m", 0)))
        theirs = json.loads(exchange.response["body"])
        thoughts = [item for item in theirs.get("output", ()) if item["type"] == "reasoning"]
        if len(thoughts) > 1 or theirs.get("status") == "complete":
            continue  # between calls of tools that OpenAI runs: one thought here; another's word
        if "toolUsePromptTokenCount" in theirs.get("usageMetadata", {}):
            continue  # read as input, beside which it stood
        differs = list(_same(ours, theirs))
        assert not differs, exchange.id
        told += 1
    assert told
