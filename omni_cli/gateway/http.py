"""Reading requests and writing answers over ASGI, without a framework."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from omni_cli.domain.errors import OmniError
from omni_cli.gateway.protocols.base import (
    Refused,
    encode,
    retry_headers,
    status_of,
)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_JSON = (b"content-type", b"application/json")

#: How much of a body that is too large is read before it is refused, and for how long.
_DRAIN_BYTES = 16 * 1024 * 1024
_DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one request: bytes of its body, and seconds that these may take to come."""

    max_body: int = 32 * 1024 * 1024
    body_s: float = 30.0


class Gone(Exception):
    """The caller closed the connection."""


@dataclass(slots=True)
class Request:
    """One request. Header names are lower-case; of repeated ones the last counts."""

    method: str
    path: str
    query: bytes
    headers: dict[str, str]
    scope: Scope
    receive: Receive
    send: Send
    limits: Limits

    @classmethod
    def of(cls, scope: Scope, receive: Receive, send: Send, limits: Limits) -> "Request":
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]}
        return cls(
            scope["method"],
            scope["path"],
            scope["query_string"],
            headers,
            scope,
            receive,
            send,
            limits,
        )

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            Refused: it is larger than allowed, or takes too long.
            Gone: the caller left before its end.
        """
        stated = self.headers.get("content-length", "")
        if stated.isdecimal() and int(stated) > self.limits.max_body:
            await self._drain()
            raise self._too_large()
        message = await self._receive_soon()
        data: bytes = message.get("body", b"")
        if not message.get("more_body"):
            return data
        pieces = bytearray(data)
        with _Patience(self.limits.body_s):
            while message.get("more_body"):
                message = await self._receive()
                pieces += message.get("body", b"")
                if len(pieces) > self.limits.max_body:
                    break
        if len(pieces) > self.limits.max_body:
            if message.get("more_body"):
                await self._drain()
            raise self._too_large()
        return bytes(pieces)

    async def _drain(self) -> None:
        """Read on a little: a caller that is still sending would not see the refusal."""
        left = _DRAIN_BYTES
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                while left > 0:
                    message = await self._receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body"):
                        return

    async def _receive_soon(self) -> MutableMapping[str, Any]:
        if "content-length" not in self.headers and "transfer-encoding" not in self.headers:
            return await self._receive()
        with _Patience(self.limits.body_s):
            return await self._receive()

    async def _receive(self) -> MutableMapping[str, Any]:
        message = await self.receive()
        if message["type"] == "http.disconnect":
            raise Gone
        return message

    def _too_large(self) -> Refused:
        most = self.limits.max_body // (1024 * 1024)
        return Refused(413, "too_large", f"the body exceeds {most} MB")

    async def answer(
        self,
        status: int,
        body: bytes,
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> None:
        """Send a whole answer; JSON unless ``headers`` say otherwise."""
        head = [(b"content-length", b"%d" % len(body))]
        head += headers if headers is not None else [_JSON]
        await self.send({"type": "http.response.start", "status": status, "headers": head})
        await self.send({"type": "http.response.body", "body": body})

    async def json(self, value: object, status: int = 200, **headers: str) -> None:
        extra = [(k.replace("_", "-").encode(), v.encode("latin-1")) for k, v in headers.items()]
        await self.answer(status, encode(value), [_JSON, *extra])

    async def refuse(self, error: OmniError, body: object, request_id: tuple[str, str]) -> None:
        """An error answer, with what the caller needs to know when to come back."""
        headers = [_JSON, (request_id[0].encode(), request_id[1].encode())]
        headers += [(k.encode(), v.encode()) for k, v in retry_headers(error).items()]
        if request_id[0] != "x-request-id":
            headers.append((b"x-request-id", request_id[1].encode()))
        await self.answer(status_of(error), encode(body), headers)


class _Patience:
    """Ends what its task waits for by a refusal, at a quarter of ``asyncio.timeout``'s cost."""

    __slots__ = ("_late", "_task", "_timer")

    def __init__(self, seconds: float) -> None:
        self._late = False
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._end)

    def _end(self) -> None:
        self._late = True
        if self._task is not None:
            self._task.cancel()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._late and kind is asyncio.CancelledError and self._task is not None:
            self._task.uncancel()
            raise Refused(408, "timeout", "the body did not come in time")


class Watch:
    """Ends a task when its caller goes away. Looks only at calls that take a while.

    Args:
        after_s: most calls are over by then and cost no watcher.
    """

    def __init__(self, receive: Receive, *, after_s: float = 0.05) -> None:
        self._receive = receive
        self._loop = asyncio.get_running_loop()
        self._watched = asyncio.current_task()
        self._task: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(after_s, self._begin)
        self.gone = False

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._wait())

    async def _wait(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self.gone = True
                if self._watched is not None:
                    self._watched.cancel()
                return

    def end(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()
