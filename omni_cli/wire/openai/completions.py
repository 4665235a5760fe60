"""OpenAI's /v1/completions, as its callers see it: a text, and how it goes on.

Source: OpenAI API reference, "Completions"; vLLM and llama.cpp, which editors ask for a line with a
gap (``suffix``).
"""

import re
from collections.abc import Mapping
from typing import ClassVar

from omni_cli.domain.chat import ChatChunk, ChatRequest, Completion, Message
from omni_cli.wire.facts import Operation
from omni_cli.wire.fitting import untranslatable
from omni_cli.wire.openai.server import OpenAiChat, usage_of
from omni_cli.wire.server import (
    Answered,
    JsonObject,
    Parsed,
    StreamWriter,
    count_field,
    encode,
    flag,
    integer_field,
    left_of,
    number_field,
    optional_text,
    sse,
    texts,
    wrong,
)

_KNOWN = frozenset(
    {
        "model",
        "prompt",
        "suffix",
        "max_tokens",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "stream",
        "stream_options",
        "user",
    }
)
_HARMLESS: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "logprobs": (0, False),
    "presence_penalty": (0, 0.0),
    "frequency_penalty": (0, 0.0),
    "logit_bias": ({},),
}


#: A prompt that its caller has put into a model's own form: a gap's ends, or a chat's. Read as a
#: chat's message it would mean something else.
_RAW = re.compile(
    r"<\|?fim[_▁-]|<｜fim|<(?:PRE|SUF|MID)>|\[(?:PREFIX|SUFFIX)\]|<\|(?:im_start|start_header_id)\|>"
    r"|\[INST\]|<start_of_turn>|<｜(?:User|Assistant)｜>|<\|(?:user|assistant|system)\|>"
)


class OpenAiCompletions(OpenAiChat):
    """A text with a gap, or in a model's own form, goes to a server that completes texts; any other
    is a chat of one message everywhere."""

    name = "openai-completions"
    id_prefix = "cmpl-"
    answers_by: ClassVar[tuple[str, ...]] = ("stream_options",)
    operations: ClassVar[tuple[Operation, ...]] = (
        Operation("chat", "/completions", "Completion of a text"),
    )

    def parse(self, body: JsonObject) -> Parsed:
        prompt = _prompt(body.get("prompt"))
        suffix = optional_text(body, "suffix") or ("" if _RAW.search(prompt) else None)
        request = ChatRequest(
            messages=(Message.text_of("user", prompt),),
            max_output_tokens=count_field(body, "max_tokens"),
            temperature=number_field(body, "temperature"),
            top_p=number_field(body, "top_p"),
            stop=texts(body.get("stop"), "stop"),
            seed=integer_field(body, "seed"),
            stream=flag(body, "stream"),
            suffix=suffix,
        )
        return Parsed(request, refused=left_of(body, _KNOWN, _HARMLESS))

    def whole(self, completion: Completion, about: Answered) -> bytes:
        choice = _choice(completion.text, self.finish_word(completion.finish_reason))
        body = _base(about, [choice])
        if completion.usage is not None:
            body["usage"] = usage_of(completion.usage)
        return encode(body)

    def writer(self, about: Answered) -> StreamWriter:
        return _Writer(about)

    @staticmethod
    def glance(body: bytes) -> ChatChunk | None:
        del body
        return None


def _prompt(value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(item, int) for item in value):
        raise untranslatable("a prompt of token ids")
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    if isinstance(value, list) and value:
        raise wrong("'prompt' must be one text: several at once are several requests")
    raise wrong("'prompt' must be a text")


def _choice(text: str, finish: str | None) -> JsonObject:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}


def _base(about: Answered, choices: list[JsonObject]) -> JsonObject:
    return {
        "id": about.id,
        "object": "text_completion",
        "created": about.created,
        "model": about.model,
        "choices": choices,
    }


class _Writer:
    """Writes the text's pieces; thoughts and calls have no place in it."""

    def __init__(self, about: Answered) -> None:
        self._about = about

    def chunk(self, chunk: ChatChunk) -> bytes:
        return sse(_base(self._about, [_choice(chunk.text, None)])) if chunk.text else b""

    def end(self, completion: Completion) -> bytes:
        finish = OpenAiCompletions.finish_word(completion.finish_reason)
        events = sse(_base(self._about, [_choice("", finish)]))
        options = self._about.options.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage") and completion.usage:
            events += sse({**_base(self._about, []), "usage": usage_of(completion.usage)})
        return events + b"data: [DONE]\n\n"
