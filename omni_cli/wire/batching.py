"""What every protocol's batches have in common: how a batch is read, asked about and understood."""

from collections.abc import Iterator, Mapping
from typing import BinaryIO, ClassVar, NamedTuple, Protocol

import msgspec

from omni_cli.domain.chat import Usage
from omni_cli.domain.errors import BadRequest, Malformed
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import Endpoint, HttpCall, Method
from omni_cli.wire.values import JsonObject, as_object, as_text

_ANY = msgspec.json.Decoder()
#: No name that a provider gives is longer, characters.
_LONGEST_ID = 512


class Item(NamedTuple):
    """One request of a batch as its caller wrote it. ``line``: its number, from 1. ``endpoint``:
    the path that it is for. ``body``: a JSON object."""

    line: int
    custom_id: str
    endpoint: str
    body: bytes


class Told(NamedTuple):
    """What a provider says of a batch. ``results``: paths beneath its address, once it has ended.
    ``requests``: how many it has, None where that is not told; ``answered``: of these, 0 where that
    is not told. Times in ms."""

    id: str
    status: str
    ended: bool
    created_at: int
    expires_at: int | None
    requests: int | None
    input_file: str
    results: tuple[str, ...]
    answered: int = 0


class Result(NamedTuple):
    """What became of one request. ``answered`` and not: it failed, or was never tried
    (``tried``), which costs nothing."""

    custom_id: str
    answered: bool
    tried: bool = True
    usage: Usage | None = None
    response_id: str | None = None
    http_status: int | None = None
    error_code: str | None = None
    error_message: str | None = None


class Batching(Protocol):
    """A protocol's batches: pure functions between omni's values and a provider's bytes."""

    name: ClassVar[ProtocolName]
    #: What one of its requests is called by where its number is told.
    word: ClassVar[str]
    #: As the vendor limits them.
    most_requests: ClassVar[int]
    most_bytes: ClassVar[int]
    #: The paths that requests may be for; the protocol that says them, and what they are there.
    endpoints: ClassVar[Mapping[str, tuple[ProtocolName, str]]]
    #: A batch is made of a file that was uploaded before; else its requests come with the call.
    from_files: ClassVar[bool]
    #: Where batches are, beneath the provider's address.
    path: ClassVar[str]
    #: What stands before, between and after the requests of one.
    around: ClassVar[tuple[bytes, bytes, bytes]]

    def items(self, source: BinaryIO) -> Iterator[Item]:
        """Raises BadRequest, which names the request: it cannot be read."""
        ...

    def written(self, item: Item, body: bytes) -> bytes: ...

    def call(self, endpoint: Endpoint, method: Method, path: str) -> HttpCall:
        """A call without a body. ``path``: beneath the provider's address."""
        ...

    def told(self, body: bytes) -> Told:
        """Raises Malformed."""
        ...

    def listed(self, body: bytes) -> tuple[list[Told], str]:
        """One page of a list, and the query of the next, "" after the last. Raises Malformed."""
        ...

    def at(self, body: bytes, address: str) -> bytes:
        """What the provider says of a batch, with this gateway's address in the place of its."""
        ...

    def result(self, line: bytes) -> Result | None:
        """None for what is no result. Raises nothing: a line that cannot be read is none."""
        ...


def at_line(line: int, why: str, hint: str = "") -> BadRequest:
    return BadRequest(f"line {line}: {why}", hint=hint, status=400)


def object_of(body: bytes) -> JsonObject:
    """A JSON object, {} where it is none."""
    try:
        return as_object(_ANY.decode(body))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def name_in(said: JsonObject) -> str:
    """The name that a provider gives a file or a batch. Raises Malformed: it gives none."""
    ident = as_text(said.get("id"))
    if not ident or len(ident) > _LONGEST_ID:
        raise Malformed("what its provider says of a batch or a file has no id")
    return ident
