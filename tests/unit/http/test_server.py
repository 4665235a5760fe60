"""Callers' connections, byte by byte: what HTTP/1.1 asks of a server, and who is given up."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from omni_cli.domain.errors import OmniError
from omni_cli.http import request as http
from omni_cli.http import server as connection
from omni_cli.http.request import Gone, Limits, Request, header_lines
from omni_cli.http.server import Connection, ServerState

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Site:
    """A handler that does what the path says, and remembers whom it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.gone = asyncio.Event()

    async def handle(self, request: Request) -> None:
        self.seen.append(f"{request.method} {request.path}?{request.query.decode()}")
        try:
            await getattr(self, "at_" + request.path.strip("/").replace("-", "_"), self.at_echo)(
                request
            )
        except Gone:
            self.gone.set()
        except OmniError as exc:
            await request.refuse(exc, {"error": exc.message}, ("x-request-id", "r"))

    async def at_echo(self, request: Request) -> None:
        await request.answer(200, await request.body() or request.path.encode(), [])

    async def at_slow(self, request: Request) -> None:
        await asyncio.sleep(0.05)
        await request.answer(200, b"slow", [])

    async def at_refused(self, request: Request) -> None:
        await request.answer(401, b"no", [])

    async def at_stream(self, request: Request) -> None:
        request.begin(b"x-kind: stream\r\n")
        for piece in (b"one", b"", b"two"):
            await request.piece(piece)
        request.end(b"three")

    async def at_endless(self, request: Request) -> None:
        request.stops_when_gone = True
        request.begin(b"")
        try:
            while True:
                await request.piece(b"x" * 65536)
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.gone.set()
            raise

    async def at_beside(self, request: Request) -> None:
        """Two that write and wait: a stream, and whoever keeps it open."""
        request.begin(b"")

        async def write() -> None:
            for _ in range(64):
                await request.piece(b"x" * 262_144)
                await asyncio.sleep(0)

        await asyncio.gather(write(), write())
        self.gone.set()
        request.end()

    async def at_headers(self, request: Request) -> None:
        await request.body()
        await request.answer(200, repr(request.headers).encode(), [])

    async def at_waits(self, request: Request) -> None:
        request.stops_when_gone = True
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.gone.set()
            raise

    async def at_half(self, request: Request) -> None:
        request.begin(b"")
        await request.piece(b"half")


@asynccontextmanager
async def listening(limits: Limits | None = None) -> AsyncIterator[tuple[ServerState, Site, int]]:
    site = Site()
    state = ServerState(site.handle, limits or Limits())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(state), "127.0.0.1", 0)
    async with server:
        yield state, site, server.sockets[0].getsockname()[1]
        state.abort()
        await asyncio.sleep(0.02)


async def _ask(port: int, data: bytes, *, until: bytes = b"") -> bytes:
    """All that comes back until the connection ends, or ``until`` was seen."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    found = b""
    try:
        async with asyncio.timeout(5):
            while not (until and until in found):
                piece = await reader.read(65536)
                if not piece:
                    break
                found += piece
    except ConnectionResetError:
        pass
    finally:
        writer.close()
    return found


@pytest.mark.parametrize("reads", [True, False])
async def test_all_who_wait_for_a_slow_reader_go_on(reads: bool) -> None:
    """Once it reads, and once it is gone."""
    async with listening() as (_, site, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /beside HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        await asyncio.sleep(0.1)
        assert not site.gone.is_set()
        if reads:
            while await asyncio.wait_for(reader.read(1 << 20), 5):
                pass
        else:
            writer.transport.abort()
        await asyncio.wait_for(site.gone.wait(), 5)
        writer.close()


async def test_requests_sent_ahead_are_answered_in_order() -> None:
    async with listening() as (_, site, port):
        sent = b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n"
        sent += b"POST /a?x=1 HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\nhi"
        sent += b"GET /%62%20c#f HTTP/1.1\r\nhost: h\r\n\r\n"
        sent += b"GET http://h/d HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
        found = await _ask(port, sent)
    assert [part.rpartition(b"\r\n\r\n")[2] for part in found.split(b"HTTP/1.1 ")[1:]] == [
        b"slow",
        b"hi",
        b"/b c",
        b"/d",
    ]
    assert site.seen == ["GET /slow?", "POST /a?x=1", "GET /b c?", "GET /d?"]


async def test_many_sent_ahead_are_all_answered() -> None:
    async with listening() as (_, _site, port):
        last = b"GET /last HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
        found = await _ask(
            port,
            b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n"
            + b"GET /x HTTP/1.1\r\nhost: h\r\n\r\n" * 50
            + last,
        )
    assert found.count(b"HTTP/1.1 200") == 52
    assert found.endswith(b"/last")


async def test_a_body_in_pieces_and_chunks() -> None:
    async with listening() as (_, _site, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for piece in (
            b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-enc",
            b"oding: chunked\r\n\r\n3\r\nab",
            b"c\r\n0\r\n\r\n",
        ):
            writer.write(piece)
            await asyncio.sleep(0.01)
        assert (await reader.readuntil(b"abc")).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()


async def test_the_first_version_gets_neither_chunks_nor_a_kept_connection() -> None:
    async with listening() as (_, _site, port):
        found = await _ask(port, b"GET /stream HTTP/1.0\r\n\r\n")
        assert found.endswith(b"\r\n\r\nonetwothree")
        assert b"chunked" not in found
        assert b"connection: close" in found
        wish = b"GET /kept HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"
        found = await _ask(port, wish + b"GET /last HTTP/1.0\r\n\r\n")
        assert found.count(b" 200 OK") == 2


async def test_streams_are_chunked() -> None:
    async with listening() as (_, _site, port):
        found = await _ask(port, b"GET /stream HTTP/1.1\r\nhost: h\r\n\r\n", until=b"0\r\n\r\n")
    assert found.partition(b"\r\n\r\n")[2] == b"3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"
    assert b"x-kind: stream\r\n" in found


async def test_head_has_no_body() -> None:
    async with listening() as (_, _site, port):
        found = await _ask(port, b"HEAD /abc HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    assert b"content-length: 4\r\n" in found
    assert found.endswith(b"\r\n\r\n")


async def test_a_caller_that_waits_for_a_word_gets_it() -> None:
    async with listening() as (_, _site, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"ok")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("body", [b"", b"content-length: 4\r\n"])
async def test_offers_of_other_protocols_are_passed_over(body: bytes) -> None:
    """Java's HTTP client offers h2c with its first request."""
    async with listening() as (_, _site, port):
        head = (
            b"POST /first HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
            + body
            + b"\r\n"
        )
        sent = head + (b"body" if body else b"")
        found = await _ask(
            port, sent + b"GET /next HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n"
        )
    assert found.count(b"HTTP/1.1 200") == 2
    assert (b"body" if body else b"/first") in found
    assert found.endswith(b"/next")


async def test_an_answer_before_the_end_of_its_request_closes_in_good_order() -> None:
    async with listening() as (_, _site, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST /refused HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nhalf")
        head = await reader.readuntil(b"no")
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b"connection: close" in head
        writer.write(b"secret" + b"GET /smuggled HTTP/1.1\r\nhost: h\r\n\r\n")
        assert await reader.read() == b""
        writer.close()


async def test_a_body_that_is_too_large_is_told_so() -> None:
    async with listening(Limits(max_body=1000)) as (_, _site, port):
        stated = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5000\r\n\r\n" + b"x" * 5000
        unstated = (
            b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n1000\r\n"
            + b"x" * 4096
        )
        for data in (stated, unstated + b"\r\n0\r\n\r\n"):
            assert (await _ask(port, data, until=b"MB")).startswith(b"HTTP/1.1 413 ")


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_DRAIN_S", 0.05)
    async with listening(Limits(max_body=1000, body_s=0.05)) as (_, _site, port):
        for length, status in ((b"10", b"408"), (b"5000", b"413")):
            data = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: %b\r\n\r\nx" % length
            assert (await _ask(port, data, until=b"}")).startswith(b"HTTP/1.1 " + status)


async def test_a_caller_that_leaves_is_noticed() -> None:
    async with listening() as (state, site, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 10\r\n\r\nx")
        await asyncio.sleep(0.02)
        writer.close()
        await asyncio.wait_for(site.gone.wait(), 5)
        assert not state.connections


async def test_a_caller_that_does_not_read_holds_little_memory_and_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with listening() as (state, site, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /endless HTTP/1.1\r\nhost: h\r\n\r\n")
        await asyncio.sleep(0.3)
        (one,) = state.connections
        assert one._full
        assert one._transport is not None
        assert one._transport.get_write_buffer_size() < 1_000_000
        state.sweep()
        assert state.connections
        monkeypatch.setattr(connection, "STUCK_S", 0.0)
        state.sweep()
        await asyncio.wait_for(site.gone.wait(), 5)
        writer.close()
        del reader


async def test_a_head_that_does_not_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "HEAD_S", 0.05)
    async with listening() as (_, site, port):
        assert await _ask(port, b"") == b""
        assert await _ask(port, b"GET / HTTP/1.1\r\nhost: h\r\nx: ") == b""
        found = await _ask(port, b"GET /a HTTP/1.1\r\nhost: h\r\n\r\nGET /b HTT")
        assert found.endswith(b"/a")
        assert site.seen == ["GET /a?"]


async def test_a_head_without_end_is_refused() -> None:
    async with listening() as (_, site, port):
        data = b"GET / HTTP/1.1\r\nhost: h\r\n" + b"x: y\r\n" * 20_000
        assert (await _ask(port, data)).startswith(b"HTTP/1.1 431 ")
        assert (await _ask(port, b"\x16\x03\x01")).startswith(b"HTTP/1.1 400 ")
        assert (await _ask(port, b"CONNECT h:1 HTTP/1.1\r\nhost: h\r\n\r\n")).startswith(
            b"HTTP/1.1 405 "
        )
        assert site.seen == []


async def test_idle_connections_are_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening() as (state, _site, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /a HTTP/1.1\r\nhost: h\r\n\r\n")
        await reader.readuntil(b"/a")
        state.sweep()
        assert len(state.connections) == 1
        monkeypatch.setattr(connection, "IDLE_S", time.monotonic() * -1)
        state.sweep()
        assert await reader.read() == b""
        writer.close()


async def test_an_answer_left_unfinished_ends_the_connection() -> None:
    async with listening() as (_, _site, port):
        found = await _ask(port, b"GET /half HTTP/1.1\r\nhost: h\r\n\r\n")
    assert not found.endswith(b"0\r\n\r\n")


async def test_a_server_that_ends_lets_answers_end() -> None:
    async with listening() as (state, _site, port):
        busy = asyncio.create_task(_ask(port, b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n"))
        idle_reader, idle = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.02)
        assert state.busy
        state.close()
        assert await idle_reader.read() == b""
        found = await busy
        assert found.endswith(b"slow")
        assert b"connection: close" in found
        assert not state.busy
        idle.close()


async def test_what_is_not_written_yet_keeps_a_server_from_ending() -> None:
    class Transport(asyncio.Transport):
        def __init__(self) -> None:
            super().__init__()
            self.done: list[bytes | str] = []

        def is_closing(self) -> bool:
            return "close" in self.done

        def write(self, data: Any) -> None:
            self.done.append(bytes(data[:12]))

        def close(self) -> None:
            self.done.append("close")

    async def handler(request: Request) -> None:
        await request.answer(200, b"", [])

    state, transport = ServerState(handler, Limits()), Transport()
    connection = Connection(state)
    connection.connection_made(transport)
    for _ in range(2):
        connection.data_received(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        await asyncio.sleep(0)  # it is answered, and the turn's end has not come
        assert state.busy
    assert transport.done == [b"HTTP/1.1 200"]  # the first one's
    state.close()
    assert transport.done == [b"HTTP/1.1 200"]
    await asyncio.sleep(0)
    assert transport.done == [b"HTTP/1.1 200"] * 2
    assert not state.busy
    connection.connection_lost(None)


def test_a_header_is_one_line() -> None:
    assert header_lines([(b"a", b"b")]) == b"a: b\r\n"
    for value in (b"x\r\nset-cookie: y", b"x\ny", b"x\ry"):
        with pytest.raises(ValueError, match="line break"):
            header_lines([(b"a", value)])


_CHUNKED = (
    b"POST /headers HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
)


async def test_a_trailer_is_no_header() -> None:
    """RFC 9110, 6.5.1: a proxy before us that checks headers would be walked around."""
    async with listening() as (_, _, port):
        sent = _CHUNKED + b"authorization: Bearer good\r\nhost: other\r\n\r\n"
        found = await _ask(port, sent + b"GET /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
    assert b"authorization" not in found
    assert b"'host': 'h'" in found
    assert found.count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "piece", [b"x-trailer: y\r\n" * 300, b"x" * 4_096, b"3;ext=" + b"y" * 4_000]
)
async def test_what_comes_beside_a_body_is_bounded(piece: bytes) -> None:
    """Trailers, one endless trailer, extensions of chunks: nothing of it is kept."""
    async with listening() as (_, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(_CHUNKED if b";" not in piece else _CHUNKED.removesuffix(b"0\r\n"))
        for _ in range(64):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.002)
        found = await asyncio.wait_for(reader.read(), 5)
        assert found.startswith(b"HTTP/1.1 431 ")
        writer.close()


@pytest.mark.parametrize(
    "fields",
    [
        b"x: %b\r\n" % (b"y" * 100_000),
        b"x: y\r\n" * 2_000,
        b"".join(b"x%d: y\r\n" % n for n in range(10_000)),
    ],
)
async def test_a_head_is_bounded_however_it_comes(fields: bytes) -> None:
    async with listening() as (_, site, port):
        data = b"GET / HTTP/1.1\r\nhost: h\r\n" + fields + b"\r\n"
        assert (await _ask(port, data)).startswith(b"HTTP/1.1 431 ")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for at in range(0, len(data), 5_000):
            writer.write(data[at : at + 5_000])
            await asyncio.sleep(0)
        assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 431 ")
        writer.close()
        # The parser itself is given all of it at once, as by a socket that reads so much.
        connection = Connection(ServerState(site.handle, Limits()))
        connection.data_received(data)
        assert site.seen == []


@pytest.mark.parametrize(
    ("hosts", "status"),
    [
        (b"", b"400"),
        (b"host:\r\n", b"400"),
        (b"host: a\r\nhost: a\r\n", b"400"),
        (b"Host: a\r\nHOST: b\r\n", b"400"),
        (b"host: a\r\n", b"200"),
    ],
)
async def test_one_host_is_demanded(hosts: bytes, status: bytes) -> None:
    async with listening() as (_, _, port):
        data = b"GET / HTTP/1.1\r\n%bconnection: close\r\n\r\n" % hosts
        assert (await _ask(port, data)).startswith(b"HTTP/1.1 " + status)
        old = b"GET / HTTP/1.0\r\n\r\n"
        assert (await _ask(port, old)).startswith(b"HTTP/1.1 200")


async def test_a_bad_chunk_is_told_and_ends_the_connection() -> None:
    async with listening() as (_, _, port):
        head = b"POST / HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
        assert (await _ask(port, head + b"zz\r\n")).startswith(b"HTTP/1.1 400 ")
        found = await _ask(port, b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n" + head + b"zz\r\n")
        assert found.endswith(b"slow")  # what was asked before it is answered


async def test_a_caller_that_ends_its_half_gets_its_answers() -> None:
    async with listening() as (_, _, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nhost: h\r\n\r\n" * 2)
        writer.write_eof()
        found = await asyncio.wait_for(reader.read(), 5)
        assert found.count(b"HTTP/1.1 200 OK") == 2
        assert found.endswith(b"slow")
        writer.close()


async def test_a_caller_that_closed_while_it_waited_is_noticed() -> None:
    """Though it looks like one that only ended its half."""
    async with listening() as (_, site, port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /waits HTTP/1.1\r\nhost: h\r\n\r\n")
        await asyncio.sleep(0.05)
        writer.close()
        await asyncio.wait_for(site.gone.wait(), 5)


async def test_room_is_made_for_callers_by_closing_the_longest_idle(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with listening() as (state, _, port):
        state.most = 4
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        await asyncio.sleep(0.02)
        found = await _ask(port, b"GET /a HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        assert found.startswith(b"HTTP/1.1 200")
        assert await asyncio.wait_for(idle[0][0].read(), 5) == b""
        assert (state.put_out, state.turned_away) == (1, 0)
        assert "no room for more than 4 connections" in caplog.text
        for _, writer in idle:
            writer.write(b"GET /waits HTTP/1.1\r\nhost: h\r\n\r\n")
        state.most = 3
        await asyncio.sleep(0.02)
        found = await _ask(port, b"")
        assert found.startswith(b"HTTP/1.1 503 ")
        assert state.turned_away == 1
        for _, writer in idle:
            writer.close()
