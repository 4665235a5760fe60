"""What the protocol modules share."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from omni_cli.simulator.ask import Ask, Event, Problem, Reply

Json = dict[str, Any]


class Wire(Struct, frozen=True):
    """One protocol.

    ``error_event`` puts an error into a stream that has begun; ``frame`` makes an event of raw
    text, for the faults that send bad data; ``request_id`` is the header that carries the
    answer's id, its value ``id_prefix`` + ident; ``check`` raises BadAsk for what a chat needs
    beyond what ``parse`` does.
    """

    name: str
    parse: Callable[[Json, str], Ask]
    plain: Callable[[Ask, Reply], Json]
    events: Callable[[Ask, Reply], Iterator[Event]]
    problem: Callable[[Problem], tuple[int, Json]]
    error_event: Callable[[Problem], bytes]
    frame: Callable[[str], bytes]
    stream_type: str = "text/event-stream; charset=utf-8"
    request_id: str = "x-request-id"
    id_prefix: str = "req_"
    check: Callable[[Json], None] = lambda _body: None


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def sse(value: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {dumps(value)}\n\n".encode()


def sse_raw(text: str) -> bytes:
    return f"data: {text}\n\n".encode()


def strings(value: Any) -> tuple[str, ...]:
    """A string or a list of them."""
    if isinstance(value, str):
        return (value,)
    return tuple(item for item in value or () if isinstance(item, str))


def whole(value: Any) -> int | None:
    """An integer, or None where there is none."""
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def nonce(body: Mapping[str, Any]) -> str | None:
    """What the client sent to recognise its request by: ``user``, or values of ``metadata``."""
    if isinstance(body.get("user"), str):
        return str(body["user"])
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping):
        values = [value for value in metadata.values() if isinstance(value, str)]
        return ",".join(values) or None
    return None


def halves(text: str) -> tuple[str, ...]:
    """Tool arguments arrive in two pieces, so that clients must join them."""
    middle = len(text) // 2
    return tuple(part for part in (text[:middle], text[middle:]) if part)


class BadAsk(ValueError):
    """The body lacks what the protocol requires; the message says what."""
