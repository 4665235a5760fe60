"""What is to be written in one turn of the event loop, written together at its end.

A reader that is woken by each write asks again before the next one comes: in turns, bursts of
answers are followed by bursts of requests, which share transactions and looks at the sockets, and a
stream's events that come together cost one system call.
"""

import asyncio


class Outbox:
    """Args:
    loop: whose transports these are.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[asyncio.Transport, list[bytes]] = {}

    def __contains__(self, transport: object) -> bool:
        """Something is still to be written there."""
        return transport in self._waiting

    def put(self, transport: asyncio.Transport, data: bytes) -> None:
        """Write once all callbacks that are ready now have run."""
        pieces = self._waiting.get(transport)
        if pieces is not None:
            pieces.append(data)
            return
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting[transport] = [data]

    def send(self, transport: asyncio.Transport) -> None:
        """Write what waits for this one now: before it is closed."""
        pieces = self._waiting.pop(transport, None)
        if pieces is not None:
            transport.write(b"".join(pieces))

    def drop(self, transport: asyncio.Transport) -> None:
        """Its connection is lost."""
        self._waiting.pop(transport, None)

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for transport, pieces in waiting.items():
            if not transport.is_closing():
                transport.write(b"".join(pieces))
