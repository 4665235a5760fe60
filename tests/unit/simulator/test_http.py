import pytest

from omni_cli.simulator.http import BadHttp, read_body, read_head


def test_a_head_is_read() -> None:
    head = read_head(b"POST /a?b=1 HTTP/1.1\r\nHost: x\r\nX-Two:  spaced : value ")
    assert (head.method, head.target, head.keep_alive) == ("POST", "/a?b=1", True)
    assert head.headers == {"host": "x", "x-two": "spaced : value"}


@pytest.mark.parametrize(
    ("raw", "keep"),
    [
        (b"GET / HTTP/1.1\r\nConnection: close", False),
        (b"GET / HTTP/1.0\r\nHost: x", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive", True),
    ],
)
def test_keep_alive_follows_version_and_header(raw: bytes, keep: bool) -> None:
    assert read_head(raw).keep_alive is keep


@pytest.mark.parametrize("raw", [b"", b"GET /", b"GET / HTTP/1.1\r\nno colon", b"\xff\xfe"])
def test_a_malformed_head_is_refused(raw: bytes) -> None:
    with pytest.raises(BadHttp):
        read_head(raw)


def test_a_body_by_length_waits_until_it_is_whole() -> None:
    head = read_head(b"POST / HTTP/1.1\r\nContent-Length: 4")
    assert read_body(head, bytearray(b"abc")) is None
    assert read_body(head, bytearray(b"abcdNEXT")) == (b"abcd", 4)


def test_a_chunked_body_is_joined() -> None:
    head = read_head(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked")
    raw = b"3\r\nabc\r\n5;ext=1\r\ndefgh\r\n0\r\n\r\n"
    assert read_body(head, bytearray(raw + b"GET")) == (b"abcdefgh", len(raw))
    assert all(read_body(head, bytearray(raw[:cut])) is None for cut in range(len(raw)))


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"Content-Length: x", b""),
        (b"Content-Length: -1", b""),
        (b"Content-Length: 99999999999", b""),
        (b"Transfer-Encoding: chunked", b"zz\r\n"),
    ],
)
def test_bad_framing_is_refused(header: bytes, body: bytes) -> None:
    with pytest.raises(BadHttp):
        read_body(read_head(b"POST / HTTP/1.1\r\n" + header), bytearray(body))
