"""What is written in one turn of the loop goes out together, in order, and whole."""

import asyncio
from typing import Any, cast

from omni_cli.http.outbox import Outbox


class _Transport:
    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, data: bytes) -> None:
        self.writes.append(data)


def _made() -> tuple[Outbox, Any, Any]:
    transports = [_Transport(), _Transport()]
    first, second = (cast("asyncio.Transport", transport) for transport in transports)
    return Outbox(asyncio.get_running_loop()), first, second


async def test_pieces_of_one_turn_are_one_write_after_what_was_ready() -> None:
    outbox, a, b = _made()
    seen: list[int] = []
    asyncio.get_running_loop().call_soon(lambda: seen.append(len(a.writes)))
    outbox.put(a, b"1")
    outbox.put(b, b"x")
    outbox.put(a, b"2")
    assert a in outbox
    assert not a.writes
    await asyncio.sleep(0)
    assert seen == [0]  # a callback that was ready ran before
    assert (a.writes, b.writes) == ([b"12"], [b"x"])
    assert a not in outbox


async def test_what_waits_goes_out_before_its_connection_is_closed() -> None:
    outbox, a, b = _made()
    outbox.put(a, b"last")
    outbox.put(b, b"x")
    outbox.send(a)
    assert (a.writes, b.writes) == ([b"last"], [])
    await asyncio.sleep(0)
    assert (a.writes, b.writes) == ([b"last"], [b"x"])


async def test_a_lost_connection_is_written_no_more() -> None:
    outbox, a, b = _made()
    outbox.put(a, b"never")
    outbox.put(b, b"never")
    outbox.drop(a)
    b.closing = True
    await asyncio.sleep(0)
    assert (a.writes, b.writes) == ([], [])
    outbox.send(a)
    assert not a.writes


async def test_each_turn_has_a_write_of_its_own() -> None:
    outbox, a, _ = _made()
    for piece in (b"1", b"2", b"3"):
        outbox.put(a, piece)
        await asyncio.sleep(0)
    assert a.writes == [b"1", b"2", b"3"]
