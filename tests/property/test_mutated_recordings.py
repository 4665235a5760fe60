"""Recorded answers, damaged at random: read as an answer or told as a typed error, never otherwise,
and whatever is read can be told to every caller."""

import os
import random
from contextlib import suppress
from typing import Any

import pytest

from omni_cli.domain.chat import ChatChunk, Completion
from omni_cli.domain.errors import ProviderError
from omni_cli.ports import HttpCall
from omni_cli.wire import faults
from omni_cli.wire.reader import AnswerReader
from omni_cli.wire.registry import adapter, callers
from omni_cli.wire.server import Answered
from tests.unit.providers.wire import chats

PROTOCOLS: tuple[Any, ...] = ("openai", "openai-responses", "anthropic", "gemini", "ollama")
ABOUT = Answered("id-1", "some/model", 1_790_000_000, {"stream_options": {"include_usage": True}})
#: Damages to each recording; more where a long run is asked for.
ROUNDS = int(os.environ.get("OMNI_FUZZ_ROUNDS", "2"))
_ODD = [b"null", b"[]", b"{}", b'"', b"\\ud800", b"-1", b"1e999", b"\n\n", b"\r", b"data:", b"\xff"]


def damaged(body: bytes, rng: random.Random) -> bytes:
    """Cut, doubled, overwritten, or with a value that nobody expects."""
    made = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(made) + 1)
        match rng.randrange(5):
            case 0:
                del made[at:]
            case 1:
                del made[at : at + rng.randint(1, 40)]
            case 2:
                made[at:at] = made[at : at + rng.randint(1, 200)]
            case 3:
                made[at : at + 1] = rng.choice(_ODD)
            case _:
                start = made.find(b":", at) + 1
                if start:
                    ends = [e for e in (made.find(b",", start), made.find(b"}", start)) if e > 0]
                    made[start : min(ends, default=start)] = rng.choice(_ODD)
    return bytes(made)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_damage_is_an_answer_or_an_error(protocol: Any) -> None:
    rng = random.Random(4711)
    tried = 0
    for exchange in chats(protocol):
        if len(exchange.body) > 200_000:
            continue
        for _ in range(ROUNDS):
            tried += 1
            body = damaged(exchange.body, rng)
            framing: Any = "json"
            if exchange.stream:
                framing = "ndjson" if protocol == "ollama" else "sse"
            reader = AnswerReader(
                adapter(protocol), HttpCall("POST", "http://x/", {}, None, framing)
            )
            chunks: list[ChatChunk] = []
            cut = rng.randrange(len(body) + 1)
            with suppress(ProviderError):  # any other fails the test
                for piece in (body[:cut], body[cut:]):
                    chunks += reader.feed(piece)
                chunks += reader.end()
            completion = Completion.from_chunks(chunks)
            for name in PROTOCOLS:
                caller = callers(name)[0]
                writer = caller.writer(ABOUT)
                assert b"".join(map(writer.chunk, chunks)) + writer.end(completion)
                assert caller.whole(completion, ABOUT)
    assert tried


def test_any_body_of_an_error_is_explained() -> None:
    rng = random.Random(4711)
    seeds = [
        b'{"error":{"message":"Please try again in 1.2s.","code":"x","metadata":{"raw":"{}"}}}',
        b'{"error":{"details":[{"retryDelay":"3s","metadata":{"quotaResetDelay":"1h"}}]}}',
        b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}',
        b'[{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"wait 5 days 2 hours"}}]',
        b'{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}',
        b'{"detail":[{"loc":["body",1],"msg":"Extra inputs are not permitted"}]}',
    ]
    for _ in range(200 * ROUNDS):
        body = damaged(rng.choice(seeds), rng).decode("utf-8", "replace")
        status = rng.choice([400, 401, 403, 404, 408, 410, 413, 422, 429, 498, 500, 503, 529])
        headers = {"retry-after": rng.choice(["", "x", "-1", "1e999", "nan", "5"])}
        error = faults.explain(status, headers, body)
        assert error.message
        assert error.retry_after_s is None or 0 <= error.retry_after_s < 1e9
