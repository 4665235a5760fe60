"""Providers behind a proxy (E3)."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from omni_cli.domain.errors import ConfigError, ConnectionFailed
from omni_cli.gateway.address import encode_head, locate
from omni_cli.gateway.proxies import Proxies
from omni_cli.gateway.upstream import UpstreamPool
from tests.integration.cli_process import omni
from tests.unit.gateway.test_upstream_tls import Authority, authority, serving

assert authority  # the fixture

LOGIN = "Basic " + base64.b64encode(b"jo:se:cret/1").decode()


class Tunnels:
    """A proxy that leads every host to one port of this machine."""

    def __init__(self, leads_to: int, login: str = "") -> None:
        self.leads_to = leads_to
        self.login = login
        self.asked: list[str] = []
        self.port = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head.split("\r\n")[0])
        if self.login and f"proxy-authorization: {self.login}\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Who are you\r\ncontent-length: 0\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.leads_to)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            while data := await source.read(65536):
                target.write(data)
            target.close()

        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)


@asynccontextmanager
async def proxy(leads_to: int, login: str = "") -> AsyncIterator[Tunnels]:
    made = Tunnels(leads_to, login)
    server = await asyncio.start_server(made.handle, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made


async def ask(url: str, env: dict[str, str]) -> bytes:
    origin, path, host = locate(url)
    pool = UpstreamPool(proxies=Proxies(env))
    try:
        answer = await pool.send(origin, encode_head("POST", path, host, {}), b"", timeout_s=5)
        return await answer.whole(100)
    finally:
        pool.close()
        await asyncio.sleep(0.05)


def run(work: Callable[[], Awaitable[None]], loop: str) -> None:
    async def do() -> None:
        await work()

    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(do())


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_https_goes_through_a_tunnel(
    authority: Authority, monkeypatch: pytest.MonkeyPatch, loop: str
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))

    async def work() -> None:
        context: ssl.SSLContext = authority.server("api.provider.example")
        async with serving(context) as port, proxy(port, LOGIN) as tunnels:
            url = f"http://jo:se%3Acret%2F1@127.0.0.1:{tunnels.port}"
            found = await ask("https://api.provider.example/v1", {"HTTPS_PROXY": url})
            assert found == b"hi"
            assert tunnels.asked == ["CONNECT api.provider.example:443 HTTP/1.1"]

    run(work, loop)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_plain_http_too(loop: str) -> None:
    async def work() -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server, proxy(server.sockets[0].getsockname()[1]) as tunnels:
            env = {"all_proxy": f"127.0.0.1:{tunnels.port}"}
            assert await ask("http://ollama.lan:11434/api", env) == b"hi"
            assert tunnels.asked == ["CONNECT ollama.lan:11434 HTTP/1.1"]

    run(work, loop)


async def test_a_refusal_is_told_without_the_password() -> None:
    async with proxy(1, LOGIN) as tunnels:
        env = {"https_proxy": f"http://jo:wrong-4711@127.0.0.1:{tunnels.port}"}
        with pytest.raises(ConnectionFailed, match="HTTP 407") as refused:
            await ask("https://api.provider.example/v1", env)
        assert "4711" not in f"{refused.value.message}{refused.value.hint}"
        assert "4711" not in repr(Proxies(env).of("h", 443, tls=True))


async def test_a_proxy_that_is_not_there_or_says_nothing() -> None:
    async with proxy(1) as tunnels:
        port = tunnels.port
    with pytest.raises(ConnectionFailed, match="cannot connect"):
        await ask("https://api.provider.example/", {"HTTPS_PROXY": f"http://127.0.0.1:{port}"})

    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(hangs_up, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(ConnectionFailed, match=r"does not speak HTTP/1\.1"):
            await ask("https://api.provider.example/", {"HTTPS_PROXY": url})


@pytest.mark.parametrize(
    ("env", "host", "found"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, "api.example.com", True),
        ({"HTTPS_PROXY": "http://p:1", "https_proxy": ""}, "api.example.com", False),
        ({"HTTP_PROXY": "http://p:1"}, "api.example.com", False),
        ({"ALL_PROXY": "p:1"}, "api.example.com", True),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "example.com"}, "api.example.com", False),
        ({"ALL_PROXY": "p:1", "no_proxy": ".example.com, x"}, "api.example.com", False),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "*"}, "api.example.com", False),
        ({"ALL_PROXY": "p:1", "NO_PROXY": "ample.com"}, "api.example.com", True),
        ({"ALL_PROXY": "p:1"}, "127.0.0.1", False),
        ({"ALL_PROXY": "p:1"}, "localhost", False),
        ({}, "api.example.com", False),
    ],
)
def test_whom_it_is_asked_for(env: dict[str, str], host: str, found: bool) -> None:
    assert (Proxies(env).of(host, 443, tls=True) is not None) == found


@pytest.mark.parametrize("url", ["socks5://p:1080", "https://p:1", "http://", "http://p:x"])
def test_other_kinds_are_refused_before_serving(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        Proxies({"HTTPS_PROXY": url})
    if url.startswith("socks5"):
        env = {"OMNI_HOME": str(tmp_path), "PATH": "", "HTTPS_PROXY": url}
        done = omni(env, "serve", "--port", "0")
        assert done.code == 3
        assert "HTTPS_PROXY" in done.err
