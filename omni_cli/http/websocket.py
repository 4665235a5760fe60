"""A caller's connection as a WebSocket (RFC 6455), where it asks for one.

The protocol is the package websockets', without its I/O; it is imported at the first such request.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from omni_cli.http.request import Request

if TYPE_CHECKING:
    from websockets.server import ServerProtocol

#: Bytes that a message of the caller's may have: there is nothing to tell a stream.
_MOST = 64 * 1024


#: Told of what the caller sends: a message's bytes, and whether it is text.
Heard = Callable[[bytes, bool], object]


class WebSocket:
    """What the server sends; what the caller sends is answered as the protocol wants, and told to
    ``heard``, where there is one.

    Args:
        left: called once the caller has closed.
    """

    def __init__(
        self,
        protocol: "ServerProtocol",
        request: Request,
        left: Callable[[], object],
        heard: Heard | None,
    ) -> None:
        self._protocol = protocol
        self._request = request
        self._left = left
        self._heard = heard
        #: When anything came last, by the monotonic clock, seconds.
        self.heard_at = time.monotonic()

    @classmethod
    async def accept(
        cls, request: Request, left: Callable[[], object], heard: Heard | None = None
    ) -> "WebSocket | None":
        """Switch protocols, or refuse as the protocol says; None where none is asked for."""
        if request.headers.get("upgrade", "").lower() != "websocket":
            return None
        protocol = await asyncio.to_thread(_protocol)
        lines = ["GET / HTTP/1.1", *(f"{name}: {v}" for name, v in request.headers.items())]
        protocol.receive_data(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        for head in protocol.events_received():
            from websockets.http11 import Request as Head

            assert isinstance(head, Head)
            protocol.send_response(protocol.accept(head))
        found = cls(protocol, request, left, heard)
        request.take_over(found._receive)
        request.send(found._out())
        if protocol.close_expected():  # refused: its head was no handshake
            left()
        return found

    def text(self, data: bytes) -> bytes:
        """The bytes of a message."""
        self._protocol.send_text(data)
        return self._out()

    def binary(self, data: bytes) -> bytes:
        """The bytes of a message that is no text."""
        self._protocol.send_binary(data)
        return self._out()

    def ping(self) -> bytes:
        """The bytes of a ping."""
        self._protocol.send_ping(b"")
        return self._out()

    def close(self) -> None:
        """Say goodbye."""
        from websockets.protocol import OPEN

        if self._protocol.state is OPEN:
            self._protocol.send_close(1001)
        self._request.end(self._out())

    def _receive(self, data: bytes) -> None:
        self.heard_at = time.monotonic()
        self._protocol.receive_data(data)
        events = self._protocol.events_received()
        if self._heard is not None:
            from websockets.frames import Frame, Opcode

            for event in events:  # omni's own caller sends each message whole
                if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
                    self._heard(bytes(event.data), event.opcode is Opcode.TEXT)
        out = self._out()
        if out and self._request.send(out):
            # It pings on, and reads nothing: the answers would pile up here.
            self._request.break_off(reset=True)
            self._left()
        elif self._protocol.close_expected():
            self._left()

    def _out(self) -> bytes:
        return b"".join(self._protocol.data_to_send())


def _protocol() -> "ServerProtocol":
    from websockets.server import ServerProtocol

    return ServerProtocol(max_size=_MOST)
