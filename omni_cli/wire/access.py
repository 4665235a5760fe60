"""What authorizes a call where no fixed header does: Amazon's signature of each call, and tokens
that Google and Microsoft give for a while. Pure: whoever sends does the I/O and tells the time.

Sources: AWS, "Signature Version 4 signing process" (IAM user guide); RFC 7515, RFC 7523 and Google
Identity, "Using OAuth 2.0 for server to server applications"; Compute Engine, "Authenticate
workloads" (metadata server); Microsoft identity platform, "Client credentials flow".
"""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit
from weakref import WeakKeyDictionary

from msgspec import Struct

from omni_cli.domain.errors import AuthError, ConfigError, Overloaded, ProviderError
from omni_cli.ports import Access, HttpCall
from omni_cli.wire.scrub import scrub, secrets_in
from omni_cli.wire.values import as_count, as_object, as_text, host_of

#: A token is asked for again so many seconds before it ends.
EARLY_S = 300
_LIFE_S = 3600
_GOOGLE_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_GOOGLE_TOKENS = "https://oauth2.googleapis.com/token"
_AZURE_SCOPE = "https://cognitiveservices.azure.com/.default"
_MICROSOFT = "https://login.microsoftonline.com"
_CLOCK = "is this machine's clock right? It has to agree with theirs to a few minutes"


async def authorized(
    call: HttpCall,
    body: bytes,
    fetch: Callable[[HttpCall], Awaitable[tuple[int, str]]],
    now: Callable[[], float] = time.time,
) -> Mapping[str, str]:
    """The headers that authorize ``call``; none where it needs nothing but its own.

    Args:
        fetch: sends a call that asks for a token; returns status and body. Raises ProviderError.

    Raises ProviderError; nothing of ``call`` was sent.
    """
    access = call.access
    if access is None:
        return {}
    try:
        found = access.authorize(call, body, now())
        if isinstance(found, HttpCall):
            async with _asking(access):  # the others wait for the same token
                found = access.authorize(call, body, now())
                if isinstance(found, HttpCall):
                    access.take(*await fetch(found), now())
                    found = access.authorize(call, body, now())
    except ProviderError as exc:
        exc.reached = False
        raise
    if isinstance(found, HttpCall):
        raise AuthError(f"{host_of(found.url)} gave a token that has ended", hint=_CLOCK)
    return found


#: By event loop: a lock belongs to one.
_ASKING: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[int, asyncio.Lock]] = WeakKeyDictionary()


def _asking(access: Access) -> asyncio.Lock:
    return _ASKING.setdefault(asyncio.get_running_loop(), {}).setdefault(id(access), asyncio.Lock())


def secrets_of(call: HttpCall) -> tuple[str, ...]:
    """What no log and no error may hold of a call."""
    own = secrets_in(call.headers)
    return own if call.access is None else (*own, *call.access.secrets)


class SigV4(Struct, frozen=True):
    """Amazon's signature, of each call with its body."""

    key_id: str
    secret: str
    token: str = ""
    region: str = "us-east-1"
    service: str = "bedrock"

    def __repr__(self) -> str:
        return f"SigV4({self.region!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        return tuple(filter(None, (self.secret, self.token, self.key_id)))

    def authorize(self, call: HttpCall, body: bytes, now_s: float) -> Mapping[str, str]:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
        added = {"x-amz-date": stamp}
        if self.token:
            added["x-amz-security-token"] = self.token
        signed = {"host": _host(call.url), **added}
        return {**added, "authorization": self.signature(call.method, call.url, signed, body)}

    def take(self, status: int, body: str, now_s: float) -> None:
        """It asks nobody."""

    def signature(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> str:
        """The header ``authorization`` of a call with these ``headers`` (lower-case names), all of
        which are signed; ``x-amz-date`` is one of them."""
        stamp, names = headers["x-amz-date"], ";".join(sorted(headers))
        parts = urlsplit(url)
        lines = [
            method,
            quote(parts.path or "/", safe="/-_.~"),  # as it is sent, encoded once more
            _query(parts.query),
            *(f"{name}:{' '.join(headers[name].split())}" for name in sorted(headers)),
            "",
            names,
            hashlib.sha256(body).hexdigest(),
        ]
        scope = f"{stamp[:8]}/{self.region}/{self.service}/aws4_request"
        digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        key = _signing_key(self.secret, stamp[:8], self.region, self.service)
        made = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return (
            f"AWS4-HMAC-SHA256 Credential={self.key_id}/{scope}, "
            f"SignedHeaders={names}, Signature={made}"
        )


@lru_cache(maxsize=8)
def _signing_key(secret: str, day: str, region: str, service: str) -> bytes:
    key = b"AWS4" + secret.encode()
    for word in (day, region, service, "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return key


def _host(url: str) -> str:
    """As both of omni's HTTP clients write it: without a usual port."""
    parts = urlsplit(url)
    usual = 443 if parts.scheme == "https" else 80
    name = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname or ""
    return name if parts.port in (None, usual) else f"{name}:{parts.port}"


def _query(text: str) -> str:
    pairs = [pair.partition("=")[::2] for pair in text.split("&") if pair]
    coded = sorted((_coded(name), _coded(value)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in coded)


def _coded(text: str) -> str:
    return quote(unquote(text), safe="-_.~")


class Tokens:
    """A token that is asked for when there is none, or its end is near. One instance serves all
    calls of a process with the same credentials.

    Args:
        ask: the call that asks for a token, for the time of now.
        whose: what refuses, in words.
        secrets: what it asks with.
    """

    def __init__(
        self, ask: Callable[[float], HttpCall], whose: str, secrets: tuple[str, ...]
    ) -> None:
        self._ask = ask
        self._whose = whose
        self._secrets = secrets
        self._token = ""
        self._until_s = 0.0

    def __repr__(self) -> str:
        return f"Tokens({self._whose!r})"

    @property
    def secrets(self) -> tuple[str, ...]:
        return (*self._secrets, self._token) if self._token else self._secrets

    def authorize(self, call: HttpCall, body: bytes, now_s: float) -> Mapping[str, str] | HttpCall:
        del call, body
        if now_s < self._until_s:
            return {"authorization": f"Bearer {self._token}"}
        return self._ask(now_s)

    def take(self, status: int, body: str, now_s: float) -> None:
        try:
            said = as_object(json.loads(body))
        except ValueError:
            said = {}
        token = as_text(said.get("access_token"))
        if 200 <= status < 300 and token:
            life_s = as_count(said.get("expires_in")) or _LIFE_S
            # A token of a short life, such as the metadata server's last minutes, is still one.
            self._token, self._until_s = token, now_s + max(life_s - EARLY_S, life_s / 2)
            return
        code = as_text(said.get("error"))
        words = as_text(said.get("error_description")) or code or f"HTTP {status} without a token"
        message = scrub(f"{self._whose} gives no token: {words}", self.secrets)
        if status >= 500 or status == 429:
            raise Overloaded(message, hint="Try again.", status=status)
        late = any(word in words.lower() for word in ("iat", "timeframe", "expired", "clock"))
        raise AuthError(
            message,
            hint=_CLOCK if late else "is the account still there, and its key or secret?",
            status=status,
            provider_code=scrub(code) or None,
        )


@lru_cache(maxsize=16)
def google_access(text: str) -> Access:
    """What Google's credentials file says: a service account's, or a user's own of gcloud.

    Args:
        text: the file's.

    Raises ConfigError: it is another kind's, or none at all.
    """
    try:
        said = as_object(json.loads(text))
    except ValueError:
        said = {}
    kind = as_text(said.get("type"))
    url = as_text(said.get("token_uri")) or _GOOGLE_TOKENS
    if kind == "service_account":
        email, pem = as_text(said.get("client_email")), as_text(said.get("private_key"))
        key = _private_key(pem)
        key_id = as_text(said.get("private_key_id"))

        def ask(now_s: float) -> HttpCall:
            claims = {
                "iss": email,
                "scope": _GOOGLE_SCOPE,
                "aud": url,
                "iat": int(now_s),
                "exp": int(now_s) + _LIFE_S,
            }
            grant = "urn:ietf:params:oauth:grant-type:jwt-bearer"
            return _form(url, {"grant_type": grant, "assertion": jwt(claims, key, key_id)})

        return Tokens(ask, f"Google, for {email},", (pem,))
    if kind == "authorized_user":
        form = {
            "grant_type": "refresh_token",
            **{name: as_text(said.get(name)) for name in _OF_USERS},
        }
        secrets = (form["client_secret"], form["refresh_token"])
        return Tokens(lambda _: _form(url, form), "Google, for gcloud's own user,", secrets)
    raise ConfigError(
        f"Google's credentials are of the type {kind or 'none'!r}, which omni cannot use",
        hint="a service account's JSON key, or what 'gcloud auth application-default login' writes",
    )


_OF_USERS = ("client_id", "client_secret", "refresh_token")


@lru_cache(maxsize=4)
def google_metadata(host: str) -> Access:
    """The tokens of the machine that this runs on."""
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    call = HttpCall("GET", f"http://{host}{path}", {"metadata-flavor": "Google"}, None, "json")
    return Tokens(lambda _: call, "Google's metadata server", ())


@lru_cache(maxsize=8)
def entra_access(tenant: str, client: str, secret: str, authority: str = "") -> Access:
    """The tokens of an application of Microsoft Entra."""
    url = f"{(authority or _MICROSOFT).rstrip('/')}/{quote(tenant)}/oauth2/v2.0/token"
    form = {
        "grant_type": "client_credentials",
        "client_id": client,
        "client_secret": secret,
        "scope": _AZURE_SCOPE,
    }
    return Tokens(lambda _: _form(url, form), "Microsoft Entra", (secret,))


def _form(url: str, fields: Mapping[str, str]) -> HttpCall:
    headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
    return HttpCall("POST", url, headers, urlencode(fields).encode(), "json")


def jwt(claims: Mapping[str, Any], key: Any, key_id: str = "") -> str:
    """A JSON Web Token, signed with RS256 by a private RSA key of ``cryptography``."""
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    head = {"alg": "RS256", "typ": "JWT", **({"kid": key_id} if key_id else {})}
    text = f"{_packed(json.dumps(head).encode())}.{_packed(json.dumps(claims).encode())}"
    return f"{text}.{_packed(key.sign(text.encode(), PKCS1v15(), SHA256()))}"


def _packed(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _private_key(pem: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, RSAPrivateKey):  # raised here: the library's words may hold the key
        raise ConfigError(
            "the service account's private key cannot be read",
            hint="download the account's JSON key again, and leave it as it is",
        )
    return key
