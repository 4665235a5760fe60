"""Streams as servers really send them: framing, calls in pieces of every kind, every way to end.

The bodies are made up after public reports on LiteLLM, the Vercel AI SDK, LangChain, opencode and
agents' own trackers.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from omni_cli.domain.errors import ProviderError
from omni_cli.domain.models import ProtocolName
from omni_cli.wire.registry import adapter
from tests.unit.providers.wire import completion

STREAMS = json.loads((Path(__file__).parent / "streams.json").read_text("utf-8"))


@pytest.mark.parametrize(("protocol", "body", "right"), [row[1:] for row in STREAMS])
@pytest.mark.parametrize("cut", ["whole", "bytes"])
def test_what_came_is_read_for_what_it_is(
    protocol: ProtocolName, body: str, right: dict[str, Any], cut: str
) -> None:
    framing = "ndjson" if protocol == "ollama" else "sse"
    data = body.encode()
    if "error" in right:
        with pytest.raises(ProviderError) as caught:
            completion(adapter(protocol), data, stream=True, framing=framing, cut=cut)
        assert caught.value.code == right["error"]
        return
    found = completion(adapter(protocol), data, stream=True, framing=framing, cut=cut)
    calls = [[call.name, call.arguments] for call in found.tool_calls]
    said = {"text": found.text, "finish": found.finish_reason, "calls": calls}
    assert said == right
