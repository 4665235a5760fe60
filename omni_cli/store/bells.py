"""Waking other processes of this machine."""

import asyncio
import contextlib
import socket
from collections.abc import Iterable

#: As many as are taken at once.
_MANY = 64


class Bell:
    """Rung by other processes of this machine when a slot is free for this one.

    A datagram to a port of the loopback: it says nothing but "look now", so one that nobody of
    ours sent costs a look.
    """

    def __init__(self) -> None:
        self.socket: socket.socket | None = None
        self.port = 0
        self._waiting: list[asyncio.Future[None]] = []
        made = None
        with contextlib.suppress(OSError):  # without it one looks now and then
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setblocking(False)
            made.bind(("127.0.0.1", 0))
            self.socket, self.port = made, made.getsockname()[1]
        if made is not None and self.socket is None:
            made.close()

    def silence(self) -> None:
        """Take what was rung so far."""
        if self.socket is not None:
            with contextlib.suppress(OSError):
                for _ in range(_MANY):
                    self.socket.recv(16)

    async def rung(self, seconds: float) -> None:
        """Until it rings, at most so long."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        if self.socket is not None and not self._waiting:
            loop.add_reader(self.socket, self.wake)
        self._waiting.append(waiter)
        try:
            await asyncio.wait((waiter,), timeout=seconds)
        finally:
            self._waiting.remove(waiter)
            if self.socket is not None and not self._waiting:
                loop.remove_reader(self.socket)

    def wake(self) -> None:
        """Whoever waits may look."""
        self.silence()
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def close(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None


def ring(ports: Iterable[int]) -> None:
    """Wake the processes that listen there."""
    ports = list(ports)
    if not ports:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.setblocking(False)
        for port in ports:
            with contextlib.suppress(OSError):
                out.sendto(b"!", ("127.0.0.1", port))
