"""The transports against a real server on this machine (requirements A1-A3, B6)."""

import asyncio
import gzip
import io
import json
import socket
import struct
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from omni_cli.domain import errors
from omni_cli.domain.chat import ChatRequest, Completion, conversation
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import Endpoint, HttpCall
from omni_cli.providers.http import HttpTransport
from omni_cli.wire.registry import adapter

KEY = "sk-planted-0123456789abcdefWXYZ"
#: A host that only a proxy knows.
FAR = "models.example.test"
REQUEST = ChatRequest(conversation(None, [("user", "hi")]))


def _event(text: str, **choice: object) -> bytes:
    body = {
        "id": "r1",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": text}, **choice}],
    }
    return f"data: {json.dumps(body)}\n\n".encode()


ANSWER = (
    _event("Hel")
    + _event("lo")
    + _event("", finish_reason="stop")
    + b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}\n\n'
    + b"data: [DONE]\n\n"
)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    seen: list[dict[str, str]]
    connections: set[int]
    hanging: list[int]
    other_url: str

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.seen.append({k.lower(): v for k, v in self.headers.items()})
        self.connections.add(self.client_address[1])
        path = self.path.removeprefix(f"http://{FAR}")  # a proxy is asked with the whole URL
        behaviour: Callable[[], None] = getattr(self, path.split("/")[1])
        behaviour()

    def _head(self, content_type: str, **headers: str) -> None:
        self.send_response(200)
        self.send_header("content-type", content_type)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _whole(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        headers.setdefault("content_type", "application/json")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, *pieces: bytes, end: bool = True) -> None:
        for piece in pieces:
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
        if end:
            self.wfile.write(b"0\r\n\r\n")

    def _sse_head(self) -> None:
        self._head("text/event-stream", transfer_encoding="chunked", x_request_id="req-1")

    def _reset(self) -> None:
        option = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        self.wfile = io.BytesIO()
        self.rfile.close()
        self.connection.close()
        self.close_connection = True

    def sse(self) -> None:
        self._sse_head()
        self._stream(*(ANSWER[i : i + 7] for i in range(0, len(ANSWER), 7)))

    def gzipped(self) -> None:
        self._head("text/event-stream", transfer_encoding="chunked", content_encoding="gzip")
        self._stream(gzip.compress(ANSWER))

    def plain_instead(self) -> None:
        choice = {"index": 0, "message": {"content": "whole"}, "finish_reason": "stop"}
        self._whole(200, json.dumps({"choices": [choice]}).encode())

    def ndjson(self) -> None:
        self._head("application/x-ndjson", transfer_encoding="chunked")
        self._stream(
            b'{"message":{"content":"a"},"done":false}\n{"mess',
            b'age":{"content":"b"},"done":true,"prompt_eval_count":1,"eval_count":2}\n',
        )

    def hang_before_head(self) -> None:
        time.sleep(1.5)

    def hang_after_head(self) -> None:
        self._sse_head()
        self.hanging.append(1)
        self._stream(_event("Hel"), end=False)
        time.sleep(1.5)
        self.hanging.clear()

    def hang_when_done(self) -> None:
        self._sse_head()
        self._stream(ANSWER, end=False)
        time.sleep(1.5)

    def only_comments(self) -> None:
        self._sse_head()
        for _ in range(12):
            self._stream(b": still here\n\n", end=False)
            time.sleep(0.1)

    def reset_before_head(self) -> None:
        self._reset()

    def reset_after_head(self) -> None:
        self._sse_head()
        self._stream(_event("Hello"), end=False)
        self._reset()

    def close_early(self) -> None:
        self._sse_head()
        self._stream(_event("Hello"), end=False)
        self.close_connection = True

    def cut(self) -> None:
        self._sse_head()
        self._stream(_event("Hello"))

    def garbage(self) -> None:
        self._sse_head()
        self._stream(b"data: {oops\n\n")

    def not_http(self) -> None:
        self.wfile.write(b"220 mail.example.test ready\r\n\r\n")
        self.close_connection = True

    def huge_line(self) -> None:
        self._sse_head()
        self._stream(b"data: " + b"x" * 40_000, b"y" * 40_000)

    def limited(self) -> None:
        body = b'{"error":{"message":"Slow down","type":"requests","code":"rate_limit_exceeded"}}'
        self._whole(429, body, retry_after="7", x_request_id="req-9")

    def unauthorized(self) -> None:
        words = f"Incorrect API key provided: {KEY[:12]}********WXYZ. And {KEY} whole."
        self._whole(401, json.dumps({"error": {"message": words}}).encode())

    def echo_in_stream(self) -> None:
        self._sse_head()
        self._stream(
            _event("x"), f'data: {{"error":{{"message":"no {KEY}","code":500}}}}\n\n'.encode()
        )

    def page(self) -> None:
        self._whole(502, b"<html><h1>Bad gateway</h1></html>", content_type="text/html")

    def moved(self) -> None:
        self._whole(307, b"", location=f"{self.other_url}/stolen?key={KEY}")

    def models(self) -> None:
        self._whole(200, b'{"data":[{"id":"m1"}]}')

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


class Server:
    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.connections: set[int] = set()
        self.hanging: list[int] = []
        shared = {"seen": self.seen, "connections": self.connections, "hanging": self.hanging}
        handler = type("Handler", (_Handler,), shared)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]  # resets
        self.handler: type[_Handler] = handler
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        thread.start()

    def call(self, behaviour: str, protocol: ProtocolName = "openai") -> HttpCall:
        endpoint = Endpoint(f"{self.url}/{behaviour}", KEY)
        return adapter(protocol).build(REQUEST, "m", endpoint)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


class Client:
    """The transport, stepped."""

    def __init__(self, **options: int) -> None:
        self._loop = asyncio.new_event_loop()
        self._transport = HttpTransport(**options)

    def chat(
        self, call: HttpCall, protocol: ProtocolName = "openai", timeout_s: float = 5.0
    ) -> tuple[Completion, dict[str, str], int]:
        async def run() -> tuple[Completion, dict[str, str], int]:
            wire = adapter(protocol)
            async with await self._transport.open(wire, call, timeout_s=timeout_s) as answer:
                chunks = [chunk async for chunk in answer]
            return Completion.from_chunks(chunks), dict(answer.headers), len(chunks)

        return self._loop.run_until_complete(run())

    def fetch(self, call: HttpCall, timeout_s: float = 5.0) -> str:
        fetching = self._transport.fetch(adapter("openai"), call, timeout_s=timeout_s)
        return self._loop.run_until_complete(fetching)

    def close(self) -> None:
        self._loop.run_until_complete(self._transport.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()


@pytest.fixture(params=["own", "httpx"])
def client(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """Over our own client and over httpx: whatever happens is told in the same words."""
    if request.param == "httpx":

        async def nowhere(*_: object, **__: object) -> None:
            """Nothing goes directly."""

        monkeypatch.setattr(HttpTransport, "_directly", nowhere)
    made = Client()
    yield made
    made.close()


@pytest.mark.parametrize("behaviour", ["sse", "gzipped"])
def test_streams_an_answer(server: Server, client: Client, behaviour: str) -> None:
    answer, headers, count = client.chat(server.call(behaviour))
    assert answer.text == "Hello"
    assert answer.finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 5
    assert count == 4
    if behaviour == "sse":
        assert headers == {"x-request-id": "req-1"}
    assert server.seen[0]["authorization"] == f"Bearer {KEY}"


def test_reads_newline_delimited_json(server: Server, client: Client) -> None:
    call = server.call("ndjson", "ollama")
    answer, _, _ = client.chat(call, "ollama")
    assert answer.text == "ab"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3


def test_takes_a_plain_answer_to_a_stream_request(server: Server, client: Client) -> None:
    assert client.chat(server.call("plain_instead"))[0].text == "whole"


def test_connection_is_kept_for_the_next_call(server: Server, client: Client) -> None:
    for _ in range(3):
        client.chat(server.call("sse"))
    assert len(server.connections) == 1


@pytest.mark.parametrize("behaviour", ["hang_before_head", "hang_after_head", "only_comments"])
def test_silence_times_out(server: Server, client: Client, behaviour: str) -> None:
    # The server ends each by itself later, which would be told as another error.
    with pytest.raises(errors.TimedOut, match=r"sent nothing for 0\.3 s"):
        client.chat(server.call(behaviour), timeout_s=0.3)


def test_a_whole_answer_survives_a_server_that_never_hangs_up(
    server: Server, client: Client
) -> None:
    answer, _, _ = client.chat(server.call("hang_when_done"), timeout_s=0.3)
    assert answer.text == "Hello"
    assert answer.usage is not None


def test_reset_before_the_head(server: Server, client: Client) -> None:
    with pytest.raises(errors.ConnectionFailed):
        client.chat(server.call("reset_before_head"))


@pytest.mark.parametrize("behaviour", ["reset_after_head", "close_early"])
def test_reset_in_mid_stream_says_how_much_came(
    server: Server, client: Client, behaviour: str
) -> None:
    with pytest.raises(errors.ConnectionFailed, match="cut off after 5 characters"):
        client.chat(server.call(behaviour))


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [("cut", "cut off after 5 characters"), ("garbage", "not JSON"), ("not_http", "HTTP")],
)
def test_what_is_no_answer_is_malformed(
    server: Server, client: Client, behaviour: str, words: str
) -> None:
    with pytest.raises(errors.Malformed, match=words):
        client.chat(server.call(behaviour))


def test_an_event_may_not_grow_without_end(server: Server) -> None:
    client = Client(max_event_bytes=50_000)
    try:
        with pytest.raises(errors.Malformed, match="more than"):
            client.chat(server.call("huge_line"))
    finally:
        client.close()


def test_rate_limit_carries_the_wait(server: Server, client: Client) -> None:
    with pytest.raises(errors.RateLimited, match=r"^Slow down$") as caught:
        client.chat(server.call("limited"))
    assert caught.value.retry_after_s == 7
    assert caught.value.provider_code == "rate_limit_exceeded"
    assert caught.value.status == 429


def test_an_html_page_is_not_quoted(server: Server, client: Client) -> None:
    with pytest.raises(errors.Overloaded, match="HTML page") as caught:
        client.chat(server.call("page"))
    assert "<" not in caught.value.message


def test_redirect_is_not_followed_with_the_key(server: Server, client: Client) -> None:
    other = Server()
    server.handler.other_url = other.url.replace("127.0.0.1", "localhost")
    try:
        with pytest.raises(errors.ProviderError, match="redirects to localhost") as caught:
            client.chat(server.call("moved"))
        assert other.seen == []
        assert KEY not in str(caught.value)
    finally:
        other.close()


def test_fetch_returns_the_body(server: Server, client: Client) -> None:
    call = adapter("openai").list_models(Endpoint(server.url, KEY))
    assert call is not None
    models = adapter("openai").parse_models(client.fetch(call))
    assert [model.wire_name for model in models] == ["m1"]


def test_nobody_listens(client: Client) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    call = adapter("openai").build(REQUEST, "m", Endpoint(url, KEY))
    with pytest.raises(errors.ConnectionFailed) as caught:
        client.chat(call)
    assert caught.value.message == f"Nothing listens at {url.removeprefix('http://')}"
    assert "running" in caught.value.hint


def test_tls_to_a_plain_server(server: Server, client: Client) -> None:
    url = server.url.replace("http:", "https:")
    call = adapter("openai").build(REQUEST, "m", Endpoint(url, KEY))
    with pytest.raises(errors.ConnectionFailed, match="TLS") as caught:
        client.chat(call)
    assert "http://" in caught.value.hint


@pytest.mark.parametrize("url", ["api.example.test/v1", "ftp://example.test", "http://"])
def test_what_is_no_address_is_refused(client: Client, url: str) -> None:
    call = adapter("openai").build(REQUEST, "m", Endpoint(url, KEY))
    with pytest.raises(errors.BadRequest, match="no HTTP address"):
        client.chat(call)


def test_a_call_takes_the_proxy_on_its_way(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    call = adapter("openai").build(REQUEST, "m", Endpoint(f"http://{FAR}/sse", KEY))
    assert client.chat(call)[0].text == "Hello"
    assert server.seen[-1]["host"] == FAR


def test_loopback_goes_around_a_proxy(
    server: Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert client.chat(server.call("sse"))[0].text == "Hello"


@pytest.mark.parametrize(
    ("behaviour", "key"),
    [
        ("unauthorized", KEY),
        ("echo_in_stream", KEY),
        ("limited", KEY),
        ("reset_before_head", KEY),
        ("reset_after_head", KEY),
        ("garbage", KEY),
        ("moved", KEY),
        ("sse", KEY + "\n"),  # a header that cannot be sent: the library's words quote it
        ("sse", KEY + "é"),
    ],
)
def test_the_key_is_in_no_words_and_no_chain(
    server: Server, client: Client, behaviour: str, key: str
) -> None:
    server.handler.other_url = "http://localhost:9"
    call = adapter("openai").build(REQUEST, "m", Endpoint(f"{server.url}/{behaviour}", key))
    with pytest.raises(errors.ProviderError) as caught:
        client.chat(call, timeout_s=1.0)
    error: BaseException = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    told = traceback.TracebackException(
        type(error), error, error.__traceback__, capture_locals=True
    )
    # The test's own frame holds the key; the transport's frames must not show it.
    frames = [frame for frame in told.stack if "omni_cli" in frame.filename]
    assert frames
    words = [repr(frame.locals) for frame in frames]
    words += [str(error), repr(error), repr(call), repr(vars(error)), repr(error.args)]
    for text in words:
        assert KEY not in text
        assert KEY[:12] not in text


async def test_async_iteration_can_stop_early(server: Server) -> None:
    async with HttpTransport() as transport:
        answer = await transport.open(adapter("openai"), server.call("sse"), timeout_s=5)
        async with answer:
            chunks: AsyncIterator[object] = aiter(answer)
            await anext(chunks)


async def test_leaving_the_context_closes_the_call(server: Server) -> None:
    async with HttpTransport() as transport:
        call = server.call("hang_after_head")
        async with await transport.open(adapter("openai"), call, timeout_s=5) as answer:
            first = await anext(aiter(answer))
        assert first.text == "Hel"
        assert server.hanging  # it was not waited for
