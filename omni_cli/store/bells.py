"""Waking other processes of this machine."""

import contextlib
import socket
import time
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

    def wait(self, seconds: float) -> None:
        """Until it rings, at most so long."""
        if self.socket is None:
            time.sleep(seconds)
            return
        self.socket.settimeout(seconds)
        with contextlib.suppress(OSError):  # a timeout is one
            self.socket.recv(16)
        self.socket.setblocking(False)
        self.silence()

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
