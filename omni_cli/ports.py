"""What the services need from the outside: protocols that adapters fulfil."""

from __future__ import annotations

from collections.abc import (
    AsyncIterator,
    Callable,
    Coroutine,
    Iterable,
    KeysView,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

from msgspec import Struct, field

if TYPE_CHECKING:
    from omni_cli.domain.bounds import CallBound
    from omni_cli.domain.chat import ChatChunk, ChatRequest, Usage
    from omni_cli.domain.errors import ProviderError
    from omni_cli.domain.models import Provider

Framing = Literal["sse", "ndjson", "json", "aws"]


class Access(Protocol):
    """Authorizes calls where no fixed header does: it signs each, or has a token fetched first.

    It does no I/O itself: whoever sends a call asks it (``wire.access.authorized``).
    """

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log and no error may hold."""
        ...

    def authorize(self, call: HttpCall, body: bytes, now_s: float) -> Mapping[str, str] | HttpCall:
        """Headers to add to ``call``; or the call to make first, whose answer ``take`` is given."""
        ...

    def take(self, status: int, body: str, now_s: float) -> None:
        """Raises AuthError, ProviderError: what was asked for is refused."""
        ...


class Endpoint(Struct, frozen=True):
    """Where to send and with what. ``key`` is a secret: no repr, no log, no error holds it."""

    base_url: str
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    access: Access | None = None

    @classmethod
    def of(cls, provider: Provider, key: str | Access | None) -> Endpoint:
        """A provider's, with what its key was found to be."""
        if key is None or isinstance(key, str):
            return cls(provider.base_url, key, provider.headers)
        return cls(provider.base_url, None, provider.headers, key)

    def __repr__(self) -> str:
        return f"Endpoint({self.base_url!r}, key={'set' if self.key else None})"


Method = Literal["GET", "POST", "DELETE"]


class HttpCall(Struct, frozen=True):
    """A request ready to send; ``framing`` tells how its answer's body is cut into events.

    ``told``: what was left out or changed as the protocol, or the model, cannot be told of it.
    ``renamed``: functions whose names it does not take, by the names that were sent instead.
    ``called``: the function whose arguments the answer's text is, where no call can be forced.
    ``access``: what has to authorize it, once its body is settled.
    """

    method: Method
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    framing: Framing
    told: tuple[str, ...] = ()
    renamed: Mapping[str, str] = field(default_factory=dict)
    called: str = ""
    access: Access | None = None

    def __repr__(self) -> str:
        return f"HttpCall({self.method} {self.url})"


class WireEvent(Struct, frozen=True):
    """One server-sent event, NDJSON line or whole JSON body. ``name`` is SSE's event field."""

    data: str
    name: str = ""


class RemoteModel(Struct, frozen=True):
    """A model as its provider lists it; None where the listing is silent."""

    wire_name: str
    name: str | None = None
    context_window: int | None = None
    max_output: int | None = None
    input_types: tuple[str, ...] = ()
    output_types: tuple[str, ...] = ()
    badges: frozenset[str] = frozenset()
    #: US dollars per 1M tokens by kind ("input", "output", "cached", ...), as decimal strings.
    prices: Mapping[str, str] = field(default_factory=dict)
    #: Billions of parameters.
    parameters_b: float | None = None
    #: Who stands behind it, in the server's word ("vllm", "openai", ...).
    owner: str = ""
    #: The server says of itself that it runs the weights: nobody else is paid for its answers.
    own_weights: bool = False


class AnswerParser(Protocol):
    """Reads one answer's events in order. One instance reads one answer."""

    def feed(self, event: WireEvent) -> Iterable[ChatChunk]:
        """Raises a ProviderError: what the provider reports in-band, or Malformed."""
        ...

    def finish(self) -> Iterable[ChatChunk]:
        """Called once at the end of the body. Raises Malformed when the answer is cut off."""
        ...


class SentBody(Protocol):
    """A call's body, a JSON object, as it is about to go out. Fields are read when asked for."""

    #: Bytes as it stands.
    size: int
    #: Where it goes, and what it is: "chat" or "embeddings".
    base_url: str
    operation: str
    #: Headers of the caller's own that go with it.
    headers: Mapping[str, str]

    #: Of its fields.
    names: KeysView[str]

    def texts_only(self, name: str) -> bool:
        """Whether the field is known to be a text, or messages that are nothing but texts."""
        ...

    def value(self, name: str) -> Any:
        """A field's value, None where it is missing. Raises BadRequest: it cannot be read."""
        ...

    def put(self, name: str, value: object) -> None: ...

    def drop(self, name: str) -> None: ...


class ProviderAdapter(Protocol):
    """A wire protocol: pure functions between omni's values and a provider's bytes."""

    def build(self, request: ChatRequest, wire_name: str, endpoint: Endpoint) -> HttpCall:
        """Raises BadRequest when the request needs what the protocol cannot say."""
        ...

    def parser(self, *, stream: bool) -> AnswerParser: ...

    def explain(self, status: int, headers: Mapping[str, str], body: str) -> ProviderError: ...

    def bound(self, sent: SentBody) -> CallBound:
        """What the bytes bound. Raises BadRequest: they cannot be read."""
        ...

    def limit(self, sent: SentBody, each: int, bound: CallBound) -> None:
        """Write into ``sent`` that each answer has ``each`` tokens at most, once and in the one way
        that the provider reads, and its counts as they were understood."""
        ...

    def list_models(self, endpoint: Endpoint) -> HttpCall | None:
        """The unbilled call that lists models; None where the API has none."""
        ...

    def parse_models(self, body: str) -> Sequence[RemoteModel]: ...


@runtime_checkable
class ListsDetails(Protocol):
    """An adapter whose lists may be short of what another call of the same server tells."""

    def list_details(self, endpoint: Endpoint, listing: str) -> HttpCall | None:
        """The call that tells more, for the body of a list; None where there is none."""
        ...


class AnswerStream(AbstractAsyncContextManager["AnswerStream"], Protocol):
    """An answer being received: iterate for chunks; leaving the context closes the call."""

    def __aiter__(self) -> AsyncIterator[ChatChunk]: ...

    #: Response headers worth keeping (request ids, rate limits), lower-case names.
    headers: Mapping[str, str]


@runtime_checkable
class TellsCost(Protocol):
    """An adapter whose API tells later what a call has cost, by the provider's own id of it."""

    def ask_cost(self, endpoint: Endpoint, response_id: str) -> HttpCall | None:
        """The unbilled call that asks; None where this server cannot be asked."""
        ...

    def read_cost(self, body: str) -> tuple[Usage | None, int | None] | None:
        """(its counts, nano-dollars that were charged), each None where it is not told; None
        where the call is not over. Raises Malformed."""
        ...


class Transport(Protocol):
    """Sends calls, within one event loop. Raises ProviderError subclasses only."""

    async def open(
        self, adapter: ProviderAdapter, call: HttpCall, *, timeout_s: float
    ) -> AnswerStream:
        """Send and wait for the answer's head. ``timeout_s`` bounds the silence before the
        first event and between two events."""
        ...

    async def fetch(self, adapter: ProviderAdapter, call: HttpCall, *, timeout_s: float) -> str:
        """Send and return the whole body as text."""
        ...


_T = TypeVar("_T")


class Fetcher(Protocol):
    """Unbilled calls of code without an event loop, from any thread that runs none."""

    def fetch(self, adapter: ProviderAdapter, call: HttpCall, *, timeout_s: float) -> str:
        """Send and return the whole body as text. Raises ProviderError subclasses only."""
        ...

    def run(self, work: Callable[[Transport], Coroutine[Any, Any, _T]]) -> _T:
        """Do ``work`` in an event loop of its own, whose calls share connections and
        certificates. Raises what it does."""
        ...


#: Seconds since the epoch, UTC.
Clock = Callable[[], float]
