"""Reads that end when a call's time is over, whatever trickles in.

httpx bounds each read of a socket: a host that sends one line of its head a second is waited for
without end. Here all reads of a block share one time.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ssl import SSLContext
from typing import Any

import httpcore


class _Due(threading.local):
    """``at``: when the block's time is over, by the monotonic clock."""

    at: float | None = None


_due = _Due()


@contextmanager
def due_in(seconds: float) -> Iterator[None]:
    """All reads that this thread does within the block end after so long together."""
    before, _due.at = _due.at, time.monotonic() + seconds
    try:
        yield
    finally:
        _due.at = before


class PunctualBackend(httpcore.NetworkBackend):
    """Connections whose reads keep to ``due_in``."""

    def __init__(self, inner: httpcore.NetworkBackend) -> None:
        self._inner = inner

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_tcp(*args, **kwargs))

    def connect_unix_socket(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        return _Stream(self._inner.connect_unix_socket(*args, **kwargs))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if _due.at is not None:
            left = _due.at - time.monotonic()
            if left <= 0:
                raise httpcore.ReadTimeout("the call's time is over")
            timeout = left if timeout is None else min(timeout, left)
        return self._inner.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, timeout)

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def make_punctual(transports: Iterable[Any]) -> None:
    """Let the connections of these transports of httpx keep to ``due_in``.

    httpx hands no backend on to httpcore, which takes one: it is set where httpcore keeps it.
    """
    for transport in transports:
        pool = getattr(transport, "_pool", None)
        if isinstance(pool, httpcore.ConnectionPool):
            pool._network_backend = PunctualBackend(pool._network_backend)  # see above
