"""A transport whose calls can be given up from another thread, even while they wait in silence.

Each call is received by a thread of its own; the caller waits on a queue instead of a socket.
When it is stopped, ``Stopped`` reaches the caller at once, as Ctrl-C does in a shell, and the
chat service settles what had arrived. The receiving thread ends with the next byte, or with the
call's own timeout.
"""

import queue
import threading
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Protocol, Self

from omni_cli.domain.chat import ChatChunk
from omni_cli.ports import HttpCall, ProviderAdapter, Transport


class Stopped(BaseException):
    """The user gave up. No Exception: nothing may take it for a failure and try again."""


class ClosableTransport(Transport, Protocol):
    def close(self) -> None: ...


_END = object()
#: What travels from the receiver: headers first, then chunks, then _END or what was raised.
_Item = ChatChunk | Mapping[str, str] | BaseException | object


class StoppableTransport:
    """Args: ``inner``: what really sends; closed with this."""

    def __init__(self, inner: ClosableTransport) -> None:
        self._inner = inner
        self._stopped = threading.Event()
        self._waiting: list[queue.SimpleQueue[_Item]] = []

    def stop(self) -> None:
        """Give up the call under way and all later ones. May be called from any thread."""
        self._stopped.set()
        for items in tuple(self._waiting):
            items.put(_END)

    def open(self, adapter: ProviderAdapter, call: HttpCall, *, timeout_s: float) -> "_Answer":
        """Raises: as the inner transport; Stopped."""
        items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._waiting.append(items)
        threading.Thread(
            target=self._receive, args=(adapter, call, timeout_s, items), daemon=True
        ).start()
        head = self._next(items)
        assert isinstance(head, Mapping)
        return _Answer(self, items, head)

    def fetch(self, adapter: ProviderAdapter, call: HttpCall, *, timeout_s: float) -> str:
        return self._inner.fetch(adapter, call, timeout_s=timeout_s)

    def close(self) -> None:
        self._inner.close()

    def _receive(
        self,
        adapter: ProviderAdapter,
        call: HttpCall,
        timeout_s: float,
        items: "queue.SimpleQueue[_Item]",
    ) -> None:
        try:
            with self._inner.open(adapter, call, timeout_s=timeout_s) as answer:
                items.put(dict(answer.headers))
                for chunk in answer:
                    if self._stopped.is_set():
                        return
                    items.put(chunk)
            items.put(_END)
        except BaseException as exc:  # noqa: BLE001  # handed to the thread that waits for it
            items.put(exc)

    def _next(self, items: "queue.SimpleQueue[_Item]") -> _Item:
        item = items.get()
        if self._stopped.is_set():
            raise Stopped
        if isinstance(item, BaseException):
            raise item
        return item

    def chunks(self, items: "queue.SimpleQueue[_Item]") -> Iterator[ChatChunk]:
        while (item := self._next(items)) is not _END:
            assert isinstance(item, ChatChunk)
            yield item

    def forget(self, items: "queue.SimpleQueue[_Item]") -> None:
        self._waiting.remove(items)


class _Answer:
    """An answer being received: iterate for chunks."""

    def __init__(
        self,
        transport: StoppableTransport,
        items: "queue.SimpleQueue[_Item]",
        headers: Mapping[str, str],
    ) -> None:
        self._transport = transport
        self._items = items
        self.headers: Mapping[str, str] = headers

    def __iter__(self) -> Iterator[ChatChunk]:
        return self._transport.chunks(self._items)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._transport.forget(self._items)
