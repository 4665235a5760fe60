"""The short way of reading a plain answer says what the adapter says, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_cli.domain.chat import Completion
from omni_cli.domain.errors import ProviderError
from omni_cli.ports import HttpCall
from omni_cli.wire.openai.glance import glance
from omni_cli.wire.reader import AnswerReader
from omni_cli.wire.registry import adapter

_COUNT = st.integers(0, 500)
_DETAILS = st.none() | st.dictionaries(
    st.sampled_from(
        ["cached_tokens", "audio_tokens", "reasoning_tokens", "text_tokens", "image_tokens"]
    ),
    _COUNT,
)
_USAGE = st.fixed_dictionaries(
    {"prompt_tokens": _COUNT, "completion_tokens": _COUNT, "total_tokens": _COUNT},
    optional={
        "prompt_tokens_details": _DETAILS,
        "completion_tokens_details": _DETAILS,
        "cost": st.just(0.1),
        "prompt_cache_hit_tokens": _COUNT,
    },
)
_MESSAGE = st.fixed_dictionaries(
    {"content": st.none() | st.text(max_size=9)},
    optional={
        "refusal": st.none() | st.just("no"),
        "tool_calls": st.none()
        | st.just([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]),
    },
)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    usage=_USAGE,
    message=_MESSAGE,
    finish=st.sampled_from(["stop", "length", "tool_calls", "content_filter", None]),
)
def test_it_agrees_with_the_adapter(usage: Any, message: Any, finish: str | None) -> None:
    choice = {"index": 0, "message": message, "finish_reason": finish}
    body = json.dumps({"id": "x", "choices": [choice], "usage": usage}).encode()
    quick = glance(body)
    if quick is None:
        return
    reader = AnswerReader(
        adapter("openai"), HttpCall("POST", "http://x/", {}, None, "json"), "application/json"
    )
    try:
        slow = Completion.from_chunks([*reader.feed(body), *reader.end()])
    except ProviderError:
        pytest.fail("the adapter does not take what the glance took")
    short = Completion.from_chunks([quick])
    assert (short.text, short.usage, short.finish_reason) == (
        slow.text,
        slow.usage,
        slow.finish_reason,
    )


def test_the_usual_answer_is_taken_at_a_glance() -> None:
    body = {
        "id": "x",
        "object": "chat.completion",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 9,
            "completion_tokens": 3,
            "total_tokens": 12,
            "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    }
    assert glance(json.dumps(body).encode()) is not None


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"error":{"message":"x"}}', b"\xff"])
def test_anything_else_is_left_to_the_adapter(body: bytes) -> None:
    assert glance(body) is None
