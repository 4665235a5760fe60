"""The toy protocol, as its callers see it."""

from collections.abc import Sequence

from omni_cli.domain.chat import ChatChunk, ChatRequest, Completion, Message, Usage
from omni_cli.domain.errors import OmniError
from omni_cli.wire.facts import Operation
from omni_cli.wire.server import (
    Answered,
    Caller,
    JsonObject,
    Parsed,
    count_field,
    encode,
    flag,
    left_of,
    message_of,
    sse,
)
from tests.toy_protocol import ToyFacts

_KNOWN = frozenset({"model", "say", "stream", "most"})


class ToyServer(ToyFacts, Caller):
    operations = (
        Operation("chat", "/say", "Say something"),
        Operation("models", "/who", "Who is there", "GET"),
    )

    def parse(self, body: JsonObject) -> Parsed:
        said = tuple(Message.text_of(role, text) for role, text in body.get("say") or ())
        most = count_field(body, "most")
        request = ChatRequest(said, max_output_tokens=most, stream=flag(body, "stream"))
        return Parsed(request, left_of(body, _KNOWN, {}))

    def whole(self, completion: Completion, about: Answered) -> bytes:
        return encode({"said": completion.text, **_end(completion), "id": about.id})

    def writer(self, about: Answered) -> "_Writer":
        del about
        return _Writer()

    def error(self, error: OmniError, request_id: str) -> JsonObject:
        return {"oops": message_of(error), "toy": request_id}

    def models(self, listed: Sequence[JsonObject], others: Sequence[JsonObject]) -> JsonObject:
        return {"who": [model["id"] for model in (*listed, *others)]}


def _end(completion: Completion) -> JsonObject:
    usage = completion.usage or Usage()
    why = ToyFacts.finish_word(completion.finish_reason)
    return {"why": why, "in": usage.input_tokens, "out": usage.output_tokens}


class _Writer:
    def chunk(self, chunk: ChatChunk) -> bytes:
        return sse({"bit": chunk.text}) if chunk.text else b""

    def end(self, completion: Completion) -> bytes:
        return sse(_end(completion))
