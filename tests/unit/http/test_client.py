"""The HTTP client against servers that behave, and servers that do not."""

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from omni_cli.domain.errors import ConnectionFailed, Malformed, ProviderError, TimedOut
from omni_cli.gateway.passing import UsageFilter, tells
from omni_cli.http.answer import HIGH_WATER, Answer
from omni_cli.http.client import Origin, UpstreamPool, encode_head, locate

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def _server(*answers: bytes, close: bool = False) -> AsyncIterator[tuple[Origin, list[int]]]:
    """Answers requests with these bytes in turn; counts connections."""
    made: list[int] = []
    waiting = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(1)
        try:
            while waiting:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(waiting.pop(0))
                await writer.drain()
                if close:
                    return
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield Origin(False, "127.0.0.1", port), made
    finally:
        server.close()


HEAD = encode_head("POST", "/v1/x", "here", {"accept": "*/*"})


async def _ask(pool: UpstreamPool, origin: Origin, timeout_s: float = 2.0) -> Answer:
    return await pool.send(origin, HEAD, b"{}", timeout_s=timeout_s)


async def test_connections_are_kept_and_used_again() -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Request-Id: a\r\n\r\nok"
    async with _server(*[answer] * 3) as (origin, made):
        pool = UpstreamPool()
        for _ in range(3):
            got = await _ask(pool, origin)
            assert (got.status, got.headers["x-request-id"]) == (200, "a")
            assert await got.whole(100) == b"ok"
        assert len(made) == 1
        pool.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\ncontent-length: 5\n\nhello",
    ],
)
async def test_every_way_to_end_a_body(raw: bytes) -> None:
    async with _server(raw, close=True) as (origin, _):
        pool = UpstreamPool()
        answer = await _ask(pool, origin)
        assert answer.status == 200
        assert await answer.whole(100) == b"hello"
        pool.close()


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", ConnectionFailed),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhello", ConnectionFailed),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n", ConnectionFailed),
        (b"SSH-2.0-OpenSSH_9.0\r\n", Malformed),
        (b"HTTP/1.1 101 Go\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", Malformed),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + b"x" * 999, Malformed),
    ],
)
async def test_what_breaks_off_is_told(raw: bytes, error: type[ProviderError]) -> None:
    async with _server(raw, close=True) as (origin, _):
        pool = UpstreamPool()
        with pytest.raises(error):
            await (await _ask(pool, origin)).whole(500)
        pool.close()


async def test_silence_and_absence() -> None:
    async with _server(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhe") as (origin, _):
        pool = UpstreamPool()
        answer = await _ask(pool, origin, 0.1)
        assert await answer.read() == b"he"
        with pytest.raises(TimedOut):
            await answer.read()
        answer.close()
        pool.close()
    with pytest.raises(ConnectionFailed):
        await _ask(UpstreamPool(), origin)


class _Sending:
    sent = False


async def test_what_never_left_is_told_apart_from_what_may_have_arrived() -> None:
    async with _server(b"", close=True) as (origin, _):
        pool, sending = UpstreamPool(), _Sending()
        with pytest.raises(ConnectionFailed) as dropped:
            await pool.send(origin, HEAD, b"{}", timeout_s=2, sending=sending)
        assert dropped.value.reached
        assert sending.sent
        pool.close()
    sending = _Sending()
    with pytest.raises(ConnectionFailed) as refused:
        await pool.send(origin, HEAD, b"{}", timeout_s=2, sending=sending)
    assert not refused.value.reached
    assert not sending.sent


async def test_a_large_answer_waits_for_its_reader() -> None:
    size = 4_000_000
    raw = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
    async with _server(raw) as (origin, _):
        pool = UpstreamPool()
        answer = await _ask(pool, origin)
        await asyncio.sleep(0.2)
        assert answer._waiting < 1_500_000
        total = 0
        while data := await answer.read():
            total += len(data)
        assert total == size
        pool.close()


@pytest.mark.parametrize("value", ["a\r\nx: 1", "a\nb", "a\x00b", "\x7f"])
def test_nobody_writes_headers_of_their_own(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        encode_head("POST", "/", "here", {"x-name": value})
    with pytest.raises(ValueError, match="control character"):
        encode_head("POST", f"/{value}", "here", {})


@pytest.mark.parametrize("url", ["ftp://x/", "file:///etc/passwd", "http://", "x"])
def test_only_http_urls_lead_somewhere(url: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        locate(url)


def test_each_header_is_said_once_and_a_bodys_end_by_the_client() -> None:
    headers = {"user-agent": "omni", "User-Agent": "me", "Host": "behind.example"}
    headers |= {"Accept-Encoding": "gzip", "Content-Length": "3", "Transfer-Encoding": "chunked"}
    lines = encode_head("POST", "/x", "here", headers).decode().split("\r\n")
    assert lines == [
        "POST /x HTTP/1.1",
        "host: behind.example",
        "accept-encoding: gzip",
        "user-agent: me",
        "",
    ]


def test_locate() -> None:
    assert locate("https://a.example/v1?x=1") == (
        Origin(True, "a.example", 443),
        "/v1?x=1",
        "a.example",
    )
    assert locate("http://[::1]:81")[1:] == ("/", "[::1]:81")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n"])
@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_the_usage_event_is_taken_out_wherever_it_is_cut(end: bytes, size: int) -> None:
    events = [
        b'data: {"choices":[{"delta":{"content":"a"}}],"usage":null}',
        b'data: {"choices":[],"prompt_filter_results":[]}',
        b'data: {"choices": [], "usage": {"prompt_tokens": 1}}',
        b"data: [DONE]",
    ]
    raw = b"".join(event + end for event in events)
    taken = UsageFilter()
    out = b"".join(taken.feed(raw[at : at + size]) for at in range(0, len(raw), size))
    out += taken.finish()
    assert out == b"".join(event + end for event in (events[0], events[1], events[3]))


def _chunked(*pieces: bytes) -> bytes:
    body = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + body + b"0\r\n\r\n"


async def test_pieces_are_handed_on_in_order_and_wait_for_a_slow_caller() -> None:
    pieces = [b"%d;" % n * 4096 for n in range(200)]
    async with _server(_chunked(*pieces)) as (origin, _):
        pool, got, waited = UpstreamPool(), bytearray(), []
        answer = await _ask(pool, origin)
        first = await answer.read()

        def take(data: bytes) -> bool:
            got.extend(data)
            return len(got) % 3 == 0

        async def ready() -> bool:
            before = len(got)
            await asyncio.sleep(0.002)
            assert len(got) == before  # nothing is handed on meanwhile
            waited.append(before)
            return True

        await answer.forward(take, ready)
        assert first + got == b"".join(pieces)
        assert waited
        assert answer.complete
        pool.close()


async def test_what_is_given_up_is_handed_on_no_further() -> None:
    async with _server(_chunked(*[b"piece;"] * 50)) as (origin, _):
        pool, got = UpstreamPool(), list[bytes]()
        answer = await _ask(pool, origin)

        def take(data: bytes) -> bool:
            got.append(data)
            return True

        async def ready() -> bool:
            return False

        await answer.forward(take, ready)
        assert len(got) == 1
        answer.close()
        pool.close()


@pytest.mark.parametrize("close", [True, False])
async def test_a_stream_that_stops_while_it_is_handed_on_is_told(close: bool) -> None:
    raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n"
    async with _server(raw, close=close) as (origin, _):
        pool, got = UpstreamPool(), list[bytes]()
        answer = await _ask(pool, origin, 0.2)

        def take(data: bytes) -> bool:
            got.append(data)
            return False

        async def ready() -> bool:
            return True

        with pytest.raises(ConnectionFailed if close else TimedOut):
            await answer.forward(take, ready)
        assert got == [b"he"]
        answer.close()
        pool.close()


async def test_one_timer_serves_waits_of_different_lengths() -> None:
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    half = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nhe"
    async with _server(whole, half) as (origin, made):
        pool = UpstreamPool()
        assert await (await _ask(pool, origin, 600.0)).whole(10) == b"ok"
        answer = await _ask(pool, origin, 0.1)  # on the same connection, whose timer is far off
        assert await answer.read() == b"he"
        since = pool.loop.time()
        with pytest.raises(TimedOut):
            await answer.read()
        assert pool.loop.time() - since >= 0.09
        assert len(made) == 1
        answer.close()
        pool.close()


async def test_a_connection_that_was_paused_at_its_answers_end_serves_the_next() -> None:
    large = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + b"x" * 300_000
    small = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with _server(large, small) as (origin, made):
        pool, got = UpstreamPool(), [0]
        answer = await _ask(pool, origin)

        def take(data: bytes) -> bool:
            got[0] += len(data)
            return got[0] == 300_000  # the last piece finds a caller that is slow

        async def ready() -> bool:
            return True

        await answer.forward(take, ready)
        assert await (await _ask(pool, origin, 1.0)).whole(10) == b"ok"
        assert len(made) == 1
        pool.close()


async def test_an_answer_that_waits_whole_for_its_reader_leaves_the_connection_usable() -> None:
    size = HIGH_WATER + 10
    large = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size + b"x" * size
    small = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
    async with _server(large, small) as (origin, _):
        pool = UpstreamPool()
        answer = await _ask(pool, origin)
        await asyncio.sleep(0.1)
        assert len(await answer.whole(size)) == size
        assert await (await _ask(pool, origin, 1.0)).whole(10) == b"ok"
        pool.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: y\r\n" % n for n in range(100_000)),
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 1_000_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 30_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 200_000,
    ],
    ids=["headers", "one header", "interim", "trailers"],
)
async def test_what_is_no_body_is_bounded(raw: bytes) -> None:
    async with _server(raw) as (origin, _):
        pool = UpstreamPool()
        with pytest.raises(Malformed, match=r"headers of .* exceed 256 KB"):
            await (await _ask(pool, origin, 10)).whole(100)
        pool.close()


async def test_a_trailer_of_a_provider_is_no_header() -> None:
    raw = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-a: b\r\n\r\n"
    async with _server(raw) as (origin, _):
        pool = UpstreamPool()
        answer = await _ask(pool, origin)
        assert await answer.whole(100) == b"ok"
        assert "x-a" not in answer.headers
        pool.close()


def _coded(coding: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n%b"
    return head % (coding, len(body), body)


_RAW = zlib.compressobj(wbits=-15)
_TEXT = b'{"a": "word"}' * 1_000


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        (b"gzip", gzip.compress(_TEXT)),
        (b"GZIP", gzip.compress(_TEXT)),
        (b"deflate", zlib.compress(_TEXT)),
        (b"deflate", _RAW.compress(_TEXT) + _RAW.flush()),
        (b"identity", _TEXT),
        (b"", _TEXT),
        (b"none", _TEXT),
        (b"utf-8", _TEXT),
        (b"identity, gzip", gzip.compress(_TEXT)),
    ],
)
async def test_a_coding_that_nobody_asked_for_is_undone(coding: bytes, body: bytes) -> None:
    async with _server(_coded(coding, body)) as (origin, _):
        pool = UpstreamPool()
        assert await (await _ask(pool, origin)).whole(100_000) == _TEXT
        pool.close()


@pytest.mark.parametrize(
    ("coding", "body", "words"),
    [
        (b"br", b"\x8b\x02\x80", "encoded as br, which was not asked for"),
        (b"gzip", b"no gzip at all", "is no gzip, as it says"),
        (b"deflate", b"\xff\xff\xff", "is no deflate, as it says"),
        (b"gzip", gzip.compress(bytes(100_000_000)), "unpacks to too much"),
    ],
)
async def test_a_coding_that_cannot_be_undone_is_told(
    coding: bytes, body: bytes, words: str
) -> None:
    async with _server(_coded(coding, body)) as (origin, _):
        pool = UpstreamPool()
        with pytest.raises(Malformed, match=words) as told:
            await (await _ask(pool, origin)).whole(200_000_000)
        assert told.value.message.isprintable()
        pool.close()


@pytest.mark.parametrize(
    ("data", "lines", "tells_"),
    [
        (b": OPENROUTER PROCESSING\n\n", False, False),
        (b"\n\n", False, False),
        (b"d", False, False),
        (b'event: ping\ndata: {"type": "ping"}\n\n', False, False),
        (b'data: {"choices":[]}\n\n', False, True),
        (b': keep\n\ndata: {"a":"ping"}\n\n', False, True),
        (b'event: ping\ndata: {"type": "ping"}\n\nevent: x\ndata: {}\n\n', False, True),
        (b" \n", True, False),
        (b'{"a":1}\n', True, True),
    ],
)
def test_what_a_piece_of_a_stream_tells(data: bytes, lines: bool, tells_: bool) -> None:
    assert tells(data, lines=lines) is tells_
