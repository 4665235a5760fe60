"""``POST /ask`` with ``{"model", "text", "most"}`` answers ``{"reply", "read", "wrote"}``."""

from collections.abc import Iterable, Mapping, Sequence

from omni_cli.domain.bounds import CallBound
from omni_cli.domain.chat import ChatChunk, ChatRequest, Usage
from omni_cli.domain.errors import Malformed, ProviderError
from omni_cli.ports import AnswerParser, Endpoint, HttpCall, RemoteModel, SentBody, WireEvent
from omni_cli.wire import faults
from omni_cli.wire.client import Client
from omni_cli.wire.fitting import ANY_IDS, USUAL_NAMES, Says, fit, write_wishes
from omni_cli.wire.values import as_list, as_text, get, load_object, post
from omni_toy.protocol import ToyFacts

_SAYS = Says(ToyFacts, ANY_IDS, USUAL_NAMES)


class Toy(ToyFacts, Client):
    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        request = fit(request, _SAYS).request
        text = "\n".join(message.text for message in request.messages)
        body = {"model": wire_name, "text": text, "most": request.max_output_tokens}
        write_wishes(body, request, _SAYS)
        url = f"{endpoint.base_url}/ask"
        return post(url, body, endpoint=endpoint, auth={}, framing="json", told=request.told)

    def parser(self, *, stream: bool) -> AnswerParser:
        return _Parser()

    def explain(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError:
        return faults.explain(status, headers, body)

    def bound(self, sent: SentBody) -> CallBound:
        """A token is a byte of text at least."""
        most = sent.value("most")
        return CallBound(sent.size, most if isinstance(most, int) else None)

    def limit(self, sent: SentBody, each: int, bound: CallBound) -> None:
        sent.put("most", each)

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        return get(f"{endpoint.base_url}/models", endpoint=endpoint, auth={})

    def parse_models(self, body: str) -> Sequence[RemoteModel]:
        names = as_list(load_object(body, "model list").get("models"))
        return [RemoteModel(wire_name=as_text(name)) for name in names]


class _Parser:
    def __init__(self) -> None:
        self._said = False

    def feed(self, event: WireEvent) -> Iterable[ChatChunk]:
        answer = load_object(event.data, "answer")
        self._said = "reply" in answer
        usage = Usage(input_tokens=int(answer["read"]), output_tokens=int(answer["wrote"]))
        return [ChatChunk(text=as_text(answer["reply"]), usage=usage, finish_reason="stop")]

    def finish(self) -> Iterable[ChatChunk]:
        if not self._said:
            raise Malformed("the answer has no reply")
        return []
