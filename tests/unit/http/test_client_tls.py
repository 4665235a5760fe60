"""Upstream over TLS: who is trusted, and what is said of the others (E3)."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from omni_cli.domain.errors import ConnectionFailed, Untrusted
from omni_cli.http.client import UpstreamPool, encode_head, locate
from omni_cli.ports import HttpCall
from omni_cli.providers.http import HttpTransport
from omni_cli.wire.registry import adapter

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Authority:
    """A certificate authority of a test's own, and its file."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate
    folder: Path

    @property
    def file(self) -> Path:
        path = self.folder / "authority.pem"
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def server(self, host: str, *, until: datetime = NOW + DAY) -> ssl.SSLContext:
        """A server's context with a certificate for ``host``."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = (
            _builder(host, self.certificate.subject, key.public_key(), until)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(self.key, hashes.SHA256())
        )
        pem = self.folder / "server.pem"
        pem.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + made.public_bytes(serialization.Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


def _builder(
    name: str, issuer: x509.Name, key: ec.EllipticCurvePublicKey, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 10 * DAY)
        .not_valid_after(until)
    )


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
    made = (
        _builder("test authority", name, key.public_key(), NOW + DAY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(key, made, tmp_path)


@asynccontextmanager
async def serving(context: ssl.SSLContext) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(port: int) -> bytes:
    origin, path, host = locate(f"https://localhost:{port}/v1")
    pool = UpstreamPool()
    try:
        head = encode_head("POST", path, host, {})
        answer = await pool.send(origin, head, b"", timeout_s=5)
        return await answer.whole(100)
    finally:
        pool.close()
        await asyncio.sleep(0.01)


async def test_an_authority_of_ones_own(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with serving(authority.server("localhost")) as port:
        assert await ask(port) == b"hi"


@pytest.mark.parametrize(
    ("host", "age", "known", "why"),
    [
        ("localhost", DAY, False, "issuer"),
        ("other.example", DAY, True, "mismatch"),
        ("localhost", -DAY, True, "expired"),
    ],
    ids=["unknown authority", "wrong host", "expired"],
)
async def test_who_is_not_trusted(
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    age: timedelta,
    known: bool,
    why: str,
) -> None:
    if known:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    async with serving(authority.server(host, until=NOW + age)) as port:
        with pytest.raises(ConnectionFailed) as refused:
            await ask(port)
        told = set()
        call = HttpCall("POST", f"https://localhost:{port}/v1", {}, b"{}", "json")
        async with HttpTransport() as transport:  # over our own client, and over httpx
            for way in (transport.open, transport.fetch):
                with pytest.raises(Untrusted) as said:
                    await way(adapter("openai"), call, timeout_s=5)
                told.add((said.value.message, said.value.hint))
                assert why in said.value.message
    assert why in refused.value.message
    assert "SSL_CERT_FILE" in refused.value.hint
    assert len(told) == 1


@pytest.mark.parametrize("content", [None, "no certificate"])
async def test_certificates_that_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "ca.pem").write_text(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(ConnectionFailed, match="cannot be read") as refused:
        await ask(9)
    assert "SSL_CERT_FILE" in refused.value.hint
