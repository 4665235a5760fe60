"""Signatures, tokens and frames, held against the vendors' own examples."""

import asyncio
import json
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from omni_cli.domain.errors import AuthError, ConfigError, Malformed, Overloaded
from omni_cli.ports import Endpoint, HttpCall
from omni_cli.simulator.clouds import KEY_ID, SECRET, TokenDesk, unsigned
from omni_cli.wire.access import SigV4, authorized, entra_access, google_access, secrets_of
from omni_cli.wire.bedrock.framing import EventStreamSplitter, message
from omni_cli.wire.framing import splitter
from omni_cli.wire.reader import cleaned

NOW = 1_800_000_000.0
_REST = b"application/json{'foo':'bar'}\x8d\x9c\x08\xb1"


@pytest.mark.parametrize(
    ("service", "url", "headers", "wanted"),
    [
        (  # IAM user guide, "Create a signed AWS API request": the example of ListUsers
            "iam",
            "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08",
            {
                "content-type": "application/x-www-form-urlencoded; charset=utf-8",
                "host": "iam.amazonaws.com",
                "x-amz-date": "20150830T123600Z",
            },
            "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
        (  # AWS's test suite of Signature Version 4, "get-vanilla"
            "service",
            "https://example.amazonaws.com/",
            {"host": "example.amazonaws.com", "x-amz-date": "20150830T123600Z"},
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
    ],
)
def test_signatures_are_amazons(
    service: str, url: str, headers: dict[str, str], wanted: str
) -> None:
    signer = SigV4(KEY_ID, SECRET, "", "us-east-1", service)
    assert signer.signature("GET", url, headers, b"").endswith(f"Signature={wanted}")


def test_a_call_is_signed_with_its_body_its_path_and_its_session() -> None:
    signer = SigV4(KEY_ID, SECRET, "session-token", "eu-west-1")
    url = "http://127.0.0.1:8080/model/us.anthropic.claude-x-v1%3A0/converse"
    call = HttpCall("POST", url, {}, b"{}", "json", access=signer)
    found = dict(signer.authorize(call, b"{}", NOW))
    assert found["x-amz-security-token"] == "session-token"
    seen = {"host": "127.0.0.1:8080", **found}
    path = "/model/us.anthropic.claude-x-v1:0/converse"
    # A token is Amazon's own affair; the simulator has none to compare it with.
    assert unsigned("POST", path, "", seen, b"{}", NOW) == ""
    assert "does not match" in unsigned("POST", path, "", seen, b"{} ", NOW)
    assert "does not match" in unsigned("POST", path + "x", "", seen, b"{}", NOW)
    assert "expired" in unsigned("POST", path, "", seen, b"{}", NOW + 600)
    assert "not yet current" in unsigned("POST", path, "", seen, b"{}", NOW - 600)
    for shown in (repr(signer), repr(call), repr(Endpoint(url, access=signer))):
        assert SECRET not in shown
        assert "session-token" not in shown
    told = cleaned(AuthError(f"canonical: {found['x-amz-security-token']} and {SECRET}"), call)
    assert SECRET not in told.message
    assert "session-token" not in told.message
    assert secrets_of(call) == signer.secrets


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def account(key: rsa.RSAPrivateKey, url: str) -> str:
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    said = {"type": "service_account", "client_email": "me@p.iam", "private_key": pem}
    return json.dumps({**said, "private_key_id": "k1", "token_uri": url})


def public_of(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def test_a_service_accounts_token_is_asked_for_once_until_before_its_end(
    key: rsa.RSAPrivateKey,
) -> None:
    desk = TokenDesk()
    desk.public = public_of(key)
    access = google_access(account(key, "https://tokens.test/token"))
    call = HttpCall("POST", "https://x.test/v1", {}, b"{}", "json", access=access)
    asks = access.authorize(call, b"{}", NOW)
    assert isinstance(asks, HttpCall)
    assert asks.url == "https://tokens.test/token"
    status, answer = desk.give("POST", asks.body or b"", NOW)
    assert (status, answer["expires_in"]) == (200, 3600)
    access.take(status, json.dumps(answer), NOW)
    expected = {"authorization": f"Bearer {answer['access_token']}"}
    assert access.authorize(call, b"{}", NOW + 3_200) == expected
    assert isinstance(access.authorize(call, b"{}", NOW + 3_301), HttpCall)
    assert answer["access_token"] in access.secrets
    assert answer["access_token"] not in repr(access)
    # Another's key, and a clock that is off, are refused, and it is said why.
    desk.public = public_of(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    late = access.authorize(call, b"{}", NOW + 9_000)
    assert isinstance(late, HttpCall)
    for now, word, hint in ((NOW + 9_000, "Signature", "account"), (NOW + 19_000, "iat", "clock")):
        status, answer = desk.give("POST", late.body or b"", now)
        with pytest.raises(AuthError, match=word) as caught:
            access.take(status, json.dumps(answer), now)
        assert hint in caught.value.hint
    with pytest.raises(Overloaded):
        access.take(503, "<html>", NOW)


async def test_calls_that_begin_together_ask_for_one_token(key: rsa.RSAPrivateKey) -> None:
    desk = TokenDesk()
    access = google_access(account(key, "https://tokens.test/at-once"))
    call = HttpCall("POST", "https://x.test/v1", {}, b"{}", "json", access=access)

    async def fetch(asks: HttpCall) -> tuple[int, str]:
        await asyncio.sleep(0)
        status, answer = desk.give("POST", asks.body or b"", NOW)
        return status, json.dumps(answer)

    found = await asyncio.gather(*(authorized(call, b"{}", fetch, lambda: NOW) for _ in range(9)))
    assert len(desk.given) == 1
    assert all(headers == found[0] for headers in found)


def test_other_credentials_of_google_and_microsoft() -> None:
    user = {"type": "authorized_user", "client_id": "c", "client_secret": "s3cret-of-client"}
    access = google_access(json.dumps({**user, "refresh_token": "refresh-me"}))
    call = HttpCall("POST", "https://x.test/v1", {}, b"", "json", access=access)
    asks = access.authorize(call, b"", NOW)
    assert isinstance(asks, HttpCall)
    form = parse_qs((asks.body or b"").decode())
    assert form["grant_type"] == ["refresh_token"]
    assert form["refresh_token"] == ["refresh-me"]
    entra = entra_access("tenant-1", "client-1", "hidden-secret").authorize(call, b"", NOW)
    assert isinstance(entra, HttpCall)
    assert entra.url == "https://login.microsoftonline.com/tenant-1/oauth2/v2.0/token"
    asked = parse_qs((entra.body or b"").decode())
    assert asked["scope"] == ["https://cognitiveservices.azure.com/.default"]
    for text, word in (('{"type": "external_account"}', "external_account"), ("[", "'none'")):
        with pytest.raises(ConfigError, match=word):
            google_access(text)
    broken = '{"type": "service_account", "private_key": "-----BEGIN SECRET-----"}'
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        google_access(broken)
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "payload"),
    [  # botocore's tests of event streams: an empty message, a payload, a header of text
        (b"\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff", ""),
        (
            b"\x00\x00\x00\x1d\x00\x00\x00\x00\xfdR\x8cZ{'foo':'bar'}\xc3e96",
            "{'foo':'bar'}",
        ),
        (
            b"\x00\x00\x00=\x00\x00\x00 \x07\xfd\x83\x96\x0ccontent-type\x07\x00\x10" + _REST,
            "{'foo':'bar'}",
        ),
    ],
)
def test_frames_are_amazons(data: bytes, payload: str) -> None:
    (event,) = EventStreamSplitter(1 << 20).feed(data)
    assert event.data == payload


def test_frames_come_in_any_pieces_and_damage_is_seen() -> None:
    data = message("a", b'{"x":1}') + message("b", b"{}", exception=True)
    parts = splitter("aws")
    found = [e for at in range(len(data)) for e in parts.feed(data[at : at + 1])]
    assert [(e.name, e.data) for e in found] == [("a", '{"x":1}'), ("exception:b", "{}")]
    for at in (1, 9, 30, len(data) - 1):
        damaged = bytearray(data)
        damaged[at] ^= 1
        with pytest.raises(Malformed):
            list(splitter("aws").feed(bytes(damaged)))
    with pytest.raises(Malformed, match="more than"):
        list(splitter("aws", 1 << 20).feed(message("a", b"x" * (1 << 20))))
