"""The recorded answers of real providers, and how a test feeds them to an adapter."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from omni_cli.domain.chat import ChatChunk, Completion
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import HttpCall, ProviderAdapter
from omni_cli.wire.bedrock.framing import EXCEPTION, message
from omni_cli.wire.reader import AnswerReader
from tests.paths import FIXTURES

WIRE = FIXTURES / "wire"

#: Folder of recordings -> protocol that reads them.
PROTOCOL_OF: dict[str, ProtocolName] = {
    "anthropic": "anthropic",
    "cerebras": "openai",
    "deepseek": "openai",
    "deepseek_responses": "openai-responses",
    "gemini": "gemini",
    "groq": "openai",
    "mistral": "openai",
    "ollama": "ollama",
    "ollama_openai": "openai",
    "openai": "openai",
    "openai_responses": "openai-responses",
    "openrouter": "openai",
    "openrouter_responses": "openai-responses",
    "zai": "openai",
}


@dataclass(frozen=True)
class Exchange:
    id: str
    folder: str
    request: dict[str, Any]
    response: dict[str, Any]
    stream: bool
    expected: dict[str, Any] | None

    @property
    def protocol(self) -> ProtocolName:
        return PROTOCOL_OF[self.folder]

    @property
    def body(self) -> bytes:
        text: str = self.response["body"]
        return text.encode()


@cache
def exchanges() -> tuple[Exchange, ...]:
    """Every recorded exchange; fails when the recordings are missing."""
    files = sorted(WIRE.glob("*/*.json"))
    assert len(files) >= 114, f"recordings are missing from {WIRE}"
    found = []
    for path in files:
        recording = json.loads(path.read_text())
        expected = recording.get("expected") or [None] * len(recording["exchanges"])
        for number, exchange in enumerate(recording["exchanges"]):
            found.append(
                Exchange(
                    f"{path.stem}-{number}",
                    path.parent.name,
                    exchange["request"],
                    exchange["response"],
                    exchange["stream"],
                    expected[number],
                )
            )
    return tuple(found)


def chats(*protocols: str) -> list[Exchange]:
    """The exchanges of ``protocols`` that are chat calls, not model listings."""
    return [e for e in exchanges() if e.protocol in protocols and e.request["method"] == "POST"]


def wire_of(case: dict[str, Any]) -> bytes:
    """The bytes of a fixture's answer: as text, or as events of Amazon's, which are binary."""
    if "events" not in case:
        text: str = case["wire"]
        return text.encode()
    return b"".join(
        message(name.removeprefix(EXCEPTION), json.dumps(value).encode(), exception=fault)
        for name, value in case["events"]
        for fault in [name.startswith(EXCEPTION)]
    )


def pieces(body: bytes, cut: str) -> Iterator[bytes]:
    """``body`` whole, by line, or byte by byte."""
    if cut == "whole":
        yield body
    elif cut == "lines":
        yield from body.splitlines(keepends=True)
    else:
        for position in range(len(body)):
            yield body[position : position + 1]


def read(
    adapter: ProviderAdapter, body: bytes, *, stream: bool, framing: str = "sse", cut: str = "whole"
) -> list[ChatChunk]:
    """The chunks of an answer that arrives as ``cut`` says."""
    call = HttpCall("POST", "http://test/", {}, None, framing if stream else "json")
    reader = AnswerReader(adapter, call)
    chunks: list[ChatChunk] = []
    for piece in pieces(body, cut):
        chunks.extend(reader.feed(piece))
    chunks.extend(reader.end())
    return chunks


def completion(
    adapter: ProviderAdapter, body: bytes, *, stream: bool, framing: str = "sse", cut: str = "whole"
) -> Completion:
    return Completion.from_chunks(read(adapter, body, stream=stream, framing=framing, cut=cut))
