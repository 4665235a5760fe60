"""Amazon's binary event stream, cut into events.

A message is its length, that of its headers, a checksum of both, headers, a payload, and a checksum
of it all. Source: AWS, "Event stream encoding" (Amazon Transcribe developer guide), Smithy 2.0,
"Amazon Event Stream".
"""

import struct
from collections.abc import Iterator
from zlib import crc32

from omni_cli.domain.errors import Malformed
from omni_cli.ports import WireEvent

_PRELUDE = struct.Struct(">III")
#: Lengths of header values by their type; a text and bytes say theirs.
_LENGTHS = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_TEXTS = (6, 7)
#: Begins the name of an event that is an error.
EXCEPTION = "exception:"


class EventStreamSplitter:
    """Messages in pieces of any size; the event's name is its type, or its error's."""

    def __init__(self, max_bytes: int) -> None:
        self._held = bytearray()
        self._max = max_bytes

    def feed(self, piece: bytes) -> Iterator[WireEvent]:
        self._held += piece
        while len(self._held) >= _PRELUDE.size:
            total, heads, check = _PRELUDE.unpack_from(self._held)
            if crc32(self._held[:8]) != check or total < _PRELUDE.size + heads + 4:
                raise Malformed("The answer is no event stream of Amazon's")
            if total > self._max:
                raise Malformed(
                    f"The answer has an event of more than {self._max // 1_048_576} MiB"
                )
            if len(self._held) < total:
                return
            message = bytes(self._held[:total])
            del self._held[:total]
            if crc32(message[:-4]) != int.from_bytes(message[-4:]):
                raise Malformed("An event of the answer was damaged on its way")
            yield _event(message[12 : 12 + heads], message[12 + heads : -4])

    def finish(self) -> Iterator[WireEvent]:
        """A message that is cut off counts for nothing."""
        return iter(())


def _event(heads: bytes, payload: bytes) -> WireEvent:
    said = dict(_headers(heads))
    kind = said.get(":message-type", "event")
    name = said.get(":event-type", "")
    if kind != "event":
        name = EXCEPTION + (said.get(":exception-type") or said.get(":error-code") or kind)
    data = payload.decode("utf-8", "replace")
    return WireEvent(data or said.get(":error-message", ""), name)


def _headers(heads: bytes) -> Iterator[tuple[str, str]]:
    """Those that are texts. Raises Malformed."""
    at = 0
    try:
        while at < len(heads):
            end = at + 1 + heads[at]
            name, kind, at = heads[at + 1 : end].decode("utf-8", "replace"), heads[end], end + 1
            if kind in _TEXTS:
                size = int.from_bytes(heads[at : at + 2])
                at += 2
                if kind == 7:
                    yield name, heads[at : at + size].decode("utf-8", "replace")
                at += size
            else:
                at += _LENGTHS[kind]
    except (IndexError, KeyError):
        raise Malformed("An event's headers cannot be read") from None


def message(name: str, payload: bytes, *, exception: bool = False) -> bytes:
    """An event as Amazon writes it."""
    kind = "exception" if exception else "event"
    heads = b"".join(
        bytes([len(key)]) + key.encode() + b"\x07" + len(value).to_bytes(2) + value.encode()
        for key, value in (
            (f":{kind}-type", name),
            (":content-type", "application/json"),
            (":message-type", kind),
        )
    )
    prelude = struct.pack(">II", 16 + len(heads) + len(payload), len(heads))
    whole = prelude + crc32(prelude).to_bytes(4) + heads + payload
    return whole + crc32(whole).to_bytes(4)
