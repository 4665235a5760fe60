"""Reads an answer from bytes that somebody else receives: no I/O, sync and async share it."""

from collections.abc import Iterable, Iterator, Mapping

from omni_cli.domain.chat import ChatChunk, ToolCallDelta
from omni_cli.domain.errors import Malformed, ProviderError
from omni_cli.domain.patterns import Pattern
from omni_cli.domain.record import replace
from omni_cli.ports import Framing, HttpCall, ProviderAdapter
from omni_cli.wire.access import secrets_of
from omni_cli.wire.framing import MAX_EVENT_BYTES, splitter
from omni_cli.wire.parsing import made_id
from omni_cli.wire.scrub import echoes, scrub
from omni_cli.wire.values import host_of

_KEPT_EXACTLY = frozenset(
    {"retry-after", "retry-after-ms", "cf-ray", "x-generation-id", "openai-processing-ms"}
)


#: Bytes of a plain body that have to come within a call's timeout, again and again.
GOOD_PIECE = 64 * 1024
#: What providers' ids of requests are made of.
_REQUEST_ID = Pattern(r"[\w.:/+=@-]{1,200}")


def kept_headers(headers: Mapping[str, str], secrets: Iterable[str] = ()) -> dict[str, str]:
    """Response headers worth keeping: request ids, rate limits, waits; lower-case names.

    Args:
        secrets: the call's own; a header that says one of them back is left out.
    """
    kept: dict[str, str] = {}
    for name, value in headers.items():
        lower = name.lower()
        wanted = lower in _KEPT_EXACTLY or "request-id" in lower or "ratelimit" in lower
        if wanted and not echoes(value, secrets):
            kept[lower] = value
    return kept


class AnswerReader:
    """Cuts one answer's bytes into events and feeds them to the adapter's parser.

    Args:
        content_type: the response's; a server that ignores ``stream`` answers with plain JSON.
        max_bytes: most bytes of one event.
    """

    def __init__(
        self,
        adapter: ProviderAdapter,
        call: HttpCall,
        content_type: str = "",
        *,
        max_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        framing: Framing = call.framing
        if framing in ("sse", "aws") and content_type.lower().startswith("application/json"):
            framing = "json"
        self._splitter = splitter(framing, max_bytes)
        self._parser = adapter.parser(stream=framing != "json")
        self._plain = framing == "json"
        self._renamed = call.renamed
        self._called, self._call_id = call.called, ""
        self._bytes = 0
        self.events = 0
        #: Signs of life so far, which a watchdog on silence looks at: an event that is no ping; of
        #: a plain body, a good piece of it. Comments and single bytes are none.
        self.signs = 0

    def feed(self, piece: bytes) -> Iterator[ChatChunk]:
        """The chunks that ``piece`` completes. Raises a ProviderError."""
        if self._plain:
            self._bytes += len(piece)
            self.signs = self._bytes // GOOD_PIECE
        for event in self._splitter.feed(piece):
            self.events += 1
            self.signs += event.name != "ping"
            yield from self._named(self._parser.feed(event))

    def _named(self, chunks: Iterable[ChatChunk]) -> Iterable[ChatChunk]:
        """With the names that functions had before the provider's protocol was told of them."""
        if self._called:
            return map(self._as_call, chunks)
        if not self._renamed:
            return chunks
        return [self._with_names(chunk) if chunk.tool_calls else chunk for chunk in chunks]

    def _as_call(self, chunk: ChatChunk) -> ChatChunk:
        """The text as the arguments of the function that had to be called."""
        calls: tuple[ToolCallDelta, ...] = ()
        if chunk.text:
            delta = ToolCallDelta(0, None, None, chunk.text)
            if not self._call_id:
                self._call_id = made_id()
                name = self._renamed.get(self._called, self._called)
                delta = replace(delta, id=self._call_id, name=name)
            calls = (delta,)
        called = chunk.finish_reason == "stop" and (calls or self._call_id)
        finish = "tool_calls" if called else chunk.finish_reason
        return replace(chunk, text="", tool_calls=calls, finish_reason=finish)

    def _with_names(self, chunk: ChatChunk) -> ChatChunk:
        calls = tuple(
            replace(call, name=self._renamed.get(call.name or "", call.name))
            for call in chunk.tool_calls
        )
        return replace(chunk, tool_calls=calls)

    def end(self) -> Iterator[ChatChunk]:
        """The chunks that the end of the body completes. Raises Malformed when cut off."""
        for event in self._splitter.finish():
            self.events += 1
            yield from self._named(self._parser.feed(event))
        yield from self._named(self._parser.finish())

    def end_after(self, fault: ProviderError) -> Iterator[ChatChunk]:
        """The same after the connection failed with ``fault``.

        An answer that was whole before that is a whole answer; else ``fault`` says why it is
        not, and how much had come.
        """
        rest: list[ChatChunk] = []
        cut: ProviderError | None = None
        try:
            rest.extend(self.end())
        except ProviderError as error:
            cut = error
        if cut is None:
            yield from rest
            return
        if self.events and isinstance(cut, Malformed):
            fault.message = f"{fault.message} ({_lowered(cut.message)})"
        raise fault


def _lowered(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]


def cleaned(fault: ProviderError, call: HttpCall) -> ProviderError:
    """``fault`` without the call's secrets in its words."""
    secrets = secrets_of(call)
    fault.message = scrub(fault.message, secrets)
    if fault.provider_code:
        fault.provider_code = scrub(fault.provider_code, secrets)
    fault.args = (fault.message,)
    return fault


def request_id_of(headers: Mapping[str, str], secrets: Iterable[str]) -> str | None:
    """The provider's own id of a call, where it is one: it is kept, so no key may pass for it.

    Args:
        headers: lower-case names.
        secrets: the call's own.
    """
    # OpenRouter's id of a generation, by which it can be asked what that cost.
    found = (
        headers.get("x-generation-id") or headers.get("x-request-id") or headers.get("request-id")
    )
    if found is None or not _REQUEST_ID.fullmatch(found) or echoes(found, secrets):
        return None
    return found


def refused(
    adapter: ProviderAdapter, call: HttpCall, status: int, headers: Mapping[str, str], body: str
) -> ProviderError:
    """The error of an answer whose status is not 2xx. ``headers``: lower-case names."""
    if 300 <= status < 400:
        target = headers.get("location", "").partition("?")[0]
        where = host_of(target) or target or "nowhere"
        # Following would hand the key to another host, or turn a POST into a GET. It is the
        # provider's address that is wrong, not the request: another model may well answer.
        fault = ProviderError(
            f"HTTP {status}: {host_of(call.url)} redirects to {where}; omni does not follow",
            hint="Set the provider's base URL to the address it redirects to.",
            status=status,
        )
    else:
        fault = adapter.explain(status, headers, body)
    return cleaned(fault, call)
