"""The toy protocol, as providers are told it."""

from collections.abc import Mapping, Sequence

from omni_cli.domain.bounds import CallBound
from omni_cli.domain.chat import ChatChunk, ChatRequest, Usage
from omni_cli.domain.errors import ProviderError
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, SentBody, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.client import Client
from omni_cli.wire.parsing import StreamParser
from omni_cli.wire.values import as_count, as_list, as_text, bearer, get, load_object, post
from tests.toy_protocol import ToyFacts


class Toy(ToyFacts, Client):
    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        body = {
            "model": wire_name,
            "say": [[message.role, message.text] for message in request.messages],
            "stream": request.stream,
        }
        if request.max_output_tokens is not None:
            body["most"] = request.max_output_tokens
        return post(
            endpoint.base_url.rstrip("/") + "/say",
            body,
            endpoint=endpoint,
            auth=bearer(endpoint),
            framing="sse" if request.stream else "json",
        )

    def parser(self, *, stream: bool) -> AnswerParser:
        return _Parser()

    def explain(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        return faults.explain(status, headers, body)

    def bound(self, sent: SentBody) -> CallBound:
        return CallBound(sent.size, sent.value("most"), 1, 0, 1, 0, "", 0, (), "", True, True)

    def limit(self, sent: SentBody, each: int, bound: CallBound) -> None:
        sent.put("most", each)

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        return get(endpoint.base_url.rstrip("/") + "/who", endpoint=endpoint, auth={})

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        return [RemoteModel(as_text(name)) for name in as_list(load_object(body).get("who"))]


class _Parser(StreamParser):
    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        body = load_object(event.data)
        why = as_text(body.get("why"))
        if not why:
            return (ChatChunk(text=as_text(body.get("bit"))),)
        self.complete = True
        usage = Usage(input_tokens=as_count(body["in"]), output_tokens=as_count(body["out"]))
        text = as_text(body.get("said"))
        return (ChatChunk(text=text, usage=usage, finish_reason=ToyFacts.means.get(why)),)
