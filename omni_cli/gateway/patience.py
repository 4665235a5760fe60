"""uvicorn's HTTP protocol with an end to its patience: a connection must get to the point."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Seconds that a request's head may take to come.
HEAD_S = 15.0
#: Bytes that a request's head may have.
MAX_HEAD = 64 * 1024


class PatientHttp(HttpToolsProtocol):
    """Closes connections whose request line and headers do not come, or do not end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as its base
        super().connection_made(transport)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(HEAD_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_timer is not None:  # its headers are still not over
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD:
                self._give_up()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(HEAD_S, self._give_up)

    def on_headers_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        super().connection_lost(exc)

    def _give_up(self) -> None:
        self._head_timer = None
        transport = cast("Any", self.transport)
        if transport is not None and not transport.is_closing():
            transport.abort()
