"""An organisation's own provider leads out of the gateway's network, also when it is connected to:
a resolver that changes its answer (DNS rebinding) leads nowhere, on both HTTP stacks."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.errors import ConnectionFailed, ProviderError, StoreError
from omni_cli.domain.hosts import host_and_port
from omni_cli.domain.models import Provider
from omni_cli.http import outside
from omni_cli.http.client import UpstreamPool, encode_head, locate
from omni_cli.ports import HttpCall
from omni_cli.providers.http import HttpTransport
from omni_cli.wire.registry import adapter
from tests.gateway_server import seeded
from tests.unit.http.test_client_tls import Authority
from tests.unit.http.test_client_tls import authority as authority

NAME = "llm.example"
#: Of this machine, both: the first stands for one of the internet, the second for one within (the
#: tests' closed network would fail whoever connects there).
PUBLIC, WITHIN = "127.0.0.1", "127.0.0.2"


class Resolver:
    """Says something else from call to call; the last answer stays."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked = 0

    def __call__(self, host: Any, port: Any, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        if host not in (NAME, NAME.encode()):  # an address, which asyncio has looked at, too
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        self.asked += 1
        place = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (place, port))]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(outside, "is_public", lambda address: address == PUBLIC)

    def use(*answers: str) -> Resolver:
        found = Resolver(*answers)
        monkeypatch.setattr(socket, "getaddrinfo", found)
        return found

    return use


@asynccontextmanager
async def serving(
    tls: Any, answer: bytes = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """One answer a connection; the heads that came."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, PUBLIC, 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


def everywhere(_host: str, _port: int) -> bool:
    return True


async def by_own(url: str, guard: outside.Outside = everywhere) -> None:
    pool = UpstreamPool(outside=guard)
    origin, path, host = locate(url)
    try:
        head = encode_head("GET", path, host, {})
        answer = await pool.send(origin, head, b"", timeout_s=5)
        await answer.whole(100)
        if answer.status != 200:
            raise ProviderError(f"HTTP {answer.status}")
    finally:
        pool.close()
        await asyncio.sleep(0.01)


async def by_httpx(url: str, guard: outside.Outside = everywhere) -> None:
    async with HttpTransport(outside=guard) as transport:
        call = HttpCall("GET", url, {}, None, "json")
        await transport.fetch(adapter("openai"), call, timeout_s=5)


both = pytest.mark.parametrize("ask", [by_own, by_httpx])


@both
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_the_address_that_was_looked_at_is_the_one(
    resolve: Any, authority: Authority, monkeypatch: pytest.MonkeyPatch, ask: Any, scheme: str
) -> None:
    """The name is looked up once; TLS and Host keep it."""
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    tls = authority.server(NAME) if scheme == "https" else None
    async with serving(tls) as (port, heads):
        resolver = resolve(PUBLIC, WITHIN)  # what a second look would find
        await ask(f"{scheme}://{NAME}:{port}/v1/models")
        assert resolver.asked == 1
        (head,) = heads
        assert f"host: {NAME}:{port}".encode() in head.lower()
        # By now the name leads within: nothing is sent there.
        with pytest.raises(ConnectionFailed, match="own network") as caught:
            await ask(f"{scheme}://{NAME}:{port}/v1/models")
        assert not caught.value.reached
        assert WITHIN not in caught.value.message
        assert "general.org_private_addresses" in caught.value.hint
        assert len(heads) == 1
        # A host that nobody guards goes where it leads.
        resolve(PUBLIC)
        monkeypatch.setattr(outside, "is_public", lambda _: False)
        await ask(f"{scheme}://{NAME}:{port}/v1/models", outside.nowhere)
        assert len(heads) == 2


@both
async def test_one_address_within_among_several_is_enough(resolve: Any, ask: Any) -> None:
    resolve(PUBLIC)
    many = [*socket.getaddrinfo(NAME, 1), (2, 1, 6, "", (WITHIN, 1))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", lambda *_, **__: many)
        with pytest.raises(ConnectionFailed, match="own network"):
            await ask(f"http://{NAME}:1/v1")


@both
async def test_a_redirect_is_an_error_and_is_not_followed(resolve: Any, ask: Any) -> None:
    resolve(PUBLIC)
    moved = b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:1/key\r\ncontent-length: 0\r\n\r\n"
    async with serving(None, moved) as (port, heads):
        with pytest.raises(ProviderError):
            await ask(f"http://{NAME}:{port}/v1/models")
        assert len(heads) == 1


@pytest.mark.parametrize(
    ("ask", "host"),
    [
        (by_own, "xn--bcher-kva.example"),
        (by_httpx, "xn--bcher-kva.example"),
        (by_httpx, "b\u00fccher.example"),
        (by_httpx, "llm\u3002example"),
    ],
)
async def test_a_name_of_another_script_is_guarded(
    monkeypatch: pytest.MonkeyPatch, ask: Any, host: str
) -> None:
    """Though each HTTP stack spells it another way."""
    url = f"http://{host}:1/v1"
    guarded = host_and_port(url)  # as App.origins has it
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (WITHIN, 1))])
    with pytest.raises(ConnectionFailed, match="own network"):
        await ask(url + "/models", lambda *place: place == guarded)


@pytest.mark.usefixtures("engine")
def test_whose_hosts_are_guarded(tmp_path: Path) -> None:
    (tmp_path / "omni.db").write_bytes(seeded())
    with App({"OMNI_HOME": str(tmp_path)}) as app:
        for slug, url in (
            ("lab", "https://llm.example/v1"), ("own@acme", "https://own.example/v1"),
            ("two@acme", "https://llm.example/v2"), ("port@acme", "http://llm.example:6379"),
        ):  # fmt: skip
            app.every_provider.put(Provider(slug, slug, "openai", url))
        own = {place for place, alone in app.origins().items() if alone}
        assert own == {("own.example", 443), ("llm.example", 6379)}
        # Both ways that this process calls by.
        assert app.transport._outside("own.example", 443)
        assert app.calls._outside("own.example", 443)
        assert not app.calls._outside("llm.example", 443)  # everybody's: its owner placed it
        app.paths.config_file.write_text("[general]\norg_private_addresses = true\n")
        app.refresh()
        assert not any(app.origins().values())


def test_who_came_since_the_fleet_was_looked_at_is_guarded_too() -> None:
    """A gateway looks four times a second, and plans by the fleet of this moment in between."""
    fleet, asked = {("lab.example", 443): False}, []

    def look() -> dict[tuple[str, int], bool]:
        asked.append(1)
        if len(asked) > 2:
            raise StoreError("the database is away")
        return dict(fleet)

    guarded = outside.Guarded(look)
    fleet["own.example", 443] = True
    assert not guarded("lab.example", 443)
    assert len(asked) == 1  # whom it knows costs no look
    assert guarded("own.example", 443)
    assert not guarded("nobody.example", 443)
    assert len(asked) == 3
