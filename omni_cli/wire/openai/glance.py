"""The usual plain answer of Chat Completions, read at a tenth of what its parser costs."""

from typing import Annotated, Literal

import msgspec

from omni_cli.domain.chat import ChatChunk, Usage
from omni_cli.wire.openai.usage import USUAL_TIERS


class _Message(msgspec.Struct):
    content: str
    tool_calls: None = None
    refusal: None = None


class _Choice(msgspec.Struct):
    message: _Message
    finish_reason: Literal["stop", "length"]


class _In(msgspec.Struct, forbid_unknown_fields=True):
    cached_tokens: int = 0
    audio_tokens: int = 0


class _Out(msgspec.Struct, forbid_unknown_fields=True):
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class _Usage(msgspec.Struct, forbid_unknown_fields=True):
    prompt_tokens: Annotated[int, msgspec.Meta(ge=0)]
    completion_tokens: Annotated[int, msgspec.Meta(ge=0)]
    total_tokens: int
    prompt_tokens_details: _In | None = None
    completion_tokens_details: _Out | None = None


class _Answer(msgspec.Struct):
    id: str
    choices: tuple[_Choice]
    usage: _Usage
    service_tier: str | None = None


_ANSWER = msgspec.json.Decoder(_Answer)
_IN, _OUT = _In(), _Out()


def glance(body: bytes) -> ChatChunk | None:
    """What settlement needs of the usual plain answer of Chat Completions: one choice, text,
    whole or cut at its limit, OpenAI's own counts. None for any other, which the adapter reads."""
    try:
        answer = _ANSWER.decode(body)
    except msgspec.MsgspecError:
        return None
    choice, usage = answer.choices[0], answer.usage
    into = usage.prompt_tokens_details or _IN
    out = usage.completion_tokens_details or _OUT
    odd = answer.service_tier not in USUAL_TIERS
    odd = odd or usage.total_tokens > usage.prompt_tokens + usage.completion_tokens
    if odd or into.audio_tokens or out.audio_tokens or into.cached_tokens > usage.prompt_tokens:
        return None
    reason = choice.finish_reason
    tokens_in, tokens_out = usage.prompt_tokens, usage.completion_tokens
    counts = Usage(tokens_in, into.cached_tokens, 0, 0, 0, 0, 0, tokens_out, out.reasoning_tokens)
    return ChatChunk(
        choice.message.content, "", (), (), (), counts, reason, reason, None, answer.id
    )
