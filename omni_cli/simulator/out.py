"""The answer to one request over our own HTTP server, and the ways to break it off."""

import asyncio
from collections.abc import Callable, Mapping

from omni_cli.http.request import Request, header_lines


class Out:
    """Call ``send``, or ``start`` + ``write``... + ``end``. What is written after the peer has left
    ends the request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        #: Called once, when the answer's first byte was written.
        self.on_first_byte: Callable[[], None] | None = None

    def _first(self) -> None:
        hook, self.on_first_byte = self.on_first_byte, None
        if hook is not None:
            hook()

    async def send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self._request.respond(status, _lines(headers), body)
        self._first()

    async def send_part(self, headers: Mapping[str, str], body: bytes) -> None:
        """Announce ``body`` whole, send half of it."""
        self._request.begin(_lines(headers), len(body))
        self._first()
        await self.write(body[: len(body) // 2])

    async def start(self, headers: Mapping[str, str]) -> None:
        self._request.begin(_lines(headers))
        self._first()

    async def write(self, data: bytes) -> None:
        if self._request.gone:
            raise asyncio.CancelledError
        await self._request.piece(data)

    async def end(self) -> None:
        self._request.end()

    def close(self) -> None:
        """FIN after what was written, whether or not the answer was whole."""
        self._request.break_off()

    def reset(self) -> None:
        """RST: the peer sees "connection reset" once it has read what came before."""
        self._request.break_off(reset=True)


def _lines(headers: Mapping[str, str]) -> bytes:
    return header_lines(
        [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    )
