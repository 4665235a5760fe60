"""Providers behind a proxy (E3)."""

import asyncio
import base64
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from omni_cli.domain.errors import ConfigError, ConnectionFailed, TimedOut
from omni_cli.domain.record import replace
from omni_cli.http.client import UpstreamPool, encode_head, locate
from omni_cli.http.environment import Proxies, trusted
from omni_cli.ports import HttpCall
from omni_cli.providers.http import HttpFetcher, _options
from omni_cli.wire.registry import adapter
from tests.integration.cli_process import omni
from tests.unit.http.test_client_tls import Authority, authority, serving

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


#: Entries as VPN clients, container tools and curl's manual write them.
@pytest.mark.parametrize(
    ("none", "host", "port", "found"),
    [
        ("localhost,fd00:12:34:56::/64", "fd00:12:34:56::7", 443, False),
        ("localhost,fd00:12:34:56::/64", "fd00:12:34:57::7", 443, True),
        ("10.0.0.0/8, 192.168.0.0/16", "10.20.30.40", 443, False),
        ("10.0.0.0/8", "11.20.30.40", 443, True),
        ("10.0.0.0/8", "10.example.com", 443, True),
        ("10.1.2.3/8", "10.9.9.9", 443, False),  # host bits: what is meant is plain
        ("[fd00::1]", "fd00::1", 443, False),
        ("[fd00::1]:8443", "fd00::1", 443, True),
        ("[fd00::1]:8443", "fd00::1", 8443, False),
        ("[fd00::]/64", "fd00::9", 443, False),
        ("fe80::/10", "fe80::1", 443, False),
        ("10.0.0.1", "10.0.0.1", 443, False),
        ("10.0.0.1:8080", "10.0.0.1", 8080, False),
        ("10.0.0.1:8080", "10.0.0.1", 443, True),
        ("api.example.com:443", "api.example.com", 443, False),
        ("api.example.com:444", "api.example.com", 443, True),
        ("https://api.example.com", "api.example.com", 443, False),
        ("http://api.example.com", "api.example.com", 443, True),
        ("*.example.com", "api.example.com", 443, False),
        ("API.Example.COM", "api.example.com.", 443, False),
        (",, ,", "api.example.com", 443, True),
        ("999.0.0.0/8,[::1,::/200,*", "api.example.com", 443, False),
        ("999.0.0.0/8,[::1,::/200,a b", "api.example.com", 443, True),
    ],
)
def test_where_none_is_wanted(none: str, host: str, port: int, found: bool) -> None:
    env = {"HTTPS_PROXY": "http://p:1", "NO_PROXY": none}
    assert (Proxies(env).of(host, port, tls=True) is not None) == found


def test_the_command_line_keeps_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx's own reading of the environment fails at the first of these."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "fd00:12:34:56::/64,[::1],10.0.0.0/8")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    call = HttpCall("GET", "http://10.1.2.3:9/v1/models", {}, None, "json")
    fetcher = HttpFetcher()
    with socket.create_server(("127.0.0.1", 0)) as server:
        near = f"http://127.0.0.1:{server.getsockname()[1]}/v1/models"
        with pytest.raises(TimedOut):
            fetcher.fetch(adapter("openai"), replace(call, url=near), timeout_s=0.2)
    far = replace(call, url="http://11.1.2.3:9/v1/models")
    with pytest.raises(ConnectionFailed) as refused:
        fetcher.fetch(adapter("openai"), far, timeout_s=5)
    assert "11.1.2.3" in refused.value.message


def test_certificates_are_read_once_for_what_the_environment_says(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    own = _options((True, None))["verify"]
    assert _options((True, None))["verify"] is own
    assert own.cert_store_stats()["x509_ca"] == 1
    monkeypatch.delenv("SSL_CERT_FILE")
    assert _options((True, None))["verify"] is not own


def test_whose_certificates(authority: Authority, tmp_path: Path) -> None:
    assert trusted({"SSL_CERT_FILE": str(authority.file)}).cert_store_stats()["x509_ca"] == 1
    assert trusted({"SSL_CERT_DIR": str(tmp_path)}).cert_store_stats()["x509_ca"] == 0
    assert trusted({}).cert_store_stats() is not None
    with pytest.raises(OSError, match="No such file"):
        trusted({"SSL_CERT_FILE": str(tmp_path / "none.pem")})


@pytest.mark.parametrize("url", ["socks5://p:1080", "https://p:1", "http://", "http://p:x"])
def test_other_kinds_are_refused_before_serving(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="HTTPS_PROXY"):
        Proxies({"HTTPS_PROXY": url})
    if url.startswith("socks5"):
        env = {"OMNI_HOME": str(tmp_path), "PATH": "", "HTTPS_PROXY": url}
        done = omni(env, "serve", "--port", "0")
        assert done.code == 3
        assert "HTTPS_PROXY" in done.err
