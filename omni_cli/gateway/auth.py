"""Who may ask: client keys, and what each may call."""

from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache

from msgspec import Struct

from omni_cli.domain.sessions import Session
from omni_cli.gateway.meter import NO_LIMIT, Quota
from omni_cli.records import SCOPES, ClientKey, digest_of
from omni_cli.repositories import ClientKeys
from omni_cli.wire.server import Refused

#: Headers that hold a key, by protocol: OpenAI and Ollama, Anthropic, Gemini, Azure's OpenAI.
_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")
_LOCAL_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
#: How often a key's last use is written down, ms.
_USED_EVERY_MS = 60_000


class Principal(Struct, frozen=True):
    """Who asks. Without a key, on this machine: nobody in particular, who sees everything.

    ``scope``: one of SCOPES, what it may do with the fleet; "": nothing.
    """

    org: str = ""
    key: str = ""
    models: tuple[str, ...] = ()
    quota: Quota = NO_LIMIT
    scope: str = ""
    session: Session | None = None

    def may(self, scope: str) -> bool:
        """Whether its scope is this one, or holds it."""
        return self.scope in SCOPES and SCOPES.index(self.scope) >= SCOPES.index(scope)

    def may_call(self, model: str) -> bool:
        """Whether the key's patterns allow this model id."""
        return not self.models or any(fnmatchcase(model, pattern) for pattern in self.models)


OWNER = Principal(scope="admin")


class KeyRing:
    """The client keys in memory; ``reload`` takes over what changed in the store.

    Args:
        always: demand a key even where none was ever made.
        origins: web pages that may ask while no key is required.
        used: notes a key's name and the time, ms, at most once a minute.
    """

    def __init__(
        self,
        keys: ClientKeys,
        *,
        clock: Callable[[], float],
        always: bool,
        origins: tuple[str, ...] = (),
        used: Callable[[str, int], None],
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._always = always
        self._origins = origins
        self._used = used
        self._by_digest: dict[bytes, ClientKey] = {}
        self._noted: dict[str, int] = {}
        self.reload()

    def reload(self) -> None:
        self._by_digest = self._keys.by_digest()
        self._closed = any(key.session is None for key in self._by_digest.values())

    @property
    def required(self) -> bool:
        """A key that is revoked or out of date does not open the gateway to everybody."""
        return self._always or self._closed

    def admit(self, headers: Mapping[str, str]) -> Principal:
        """Who sends these headers.

        Raises:
            Refused: 401 without a valid key where one is required, 403 for a web page where none
                is.
        """
        if not self.required:
            origin = headers.get("origin")
            if origin is not None and origin not in self._origins:
                # Any page that a person opens can send requests to this machine. Where a key is
                # required it cannot: browsers send none by themselves.
                shown = "".join(c for c in origin if c.isprintable())[:100]
                raise Refused(
                    403,
                    "forbidden",
                    f"web pages of {shown} may not call this gateway",
                    hint=f"omni serve --origin {shown} lets them, or send a client key",
                )
            name = _host_of(headers.get("host", ""))
            if name and name not in _LOCAL_NAMES:
                raise Refused(403, "forbidden", f"this gateway is not called {name!r}")
            launched = self._by_digest and self._by_digest.get(digest_of(_token(headers)))
            return self._principal(launched) if launched else OWNER
        token = _token(headers)
        if not token:
            raise Refused(
                401, "unauthorized", "a key is required", hint="omni keys create makes one"
            )
        # Looked up by the SHA-256 of what was sent: how long that takes tells of digests, and the
        # digest of a guess tells nothing of any key's, which are 256 random bits.
        key = self._by_digest.get(digest_of(token))
        if key is None:
            raise Refused(401, "unauthorized", "this key is not known here")
        return self._principal(key)

    def _principal(self, key: ClientKey) -> Principal:
        """Raises Refused: the key is not valid any more."""
        now = int(self._clock() * 1000)
        state = key.state(now)
        if state != "active":
            raise Refused(401, "unauthorized", f"this key is {state}")
        if now - self._noted.get(key.name, 0) > _USED_EVERY_MS:
            self._noted[key.name] = now
            self._used(key.name, now)
        quota = Quota(key.rpm, key.tpm, key.concurrency)
        return Principal(key.org, key.name, key.models, quota, key.scope, key.session)


@lru_cache(maxsize=64)
def _host_of(host: str) -> str:
    """The name in a Host header, without its port, in lower case."""
    before, colon, after = host.rpartition(":")
    return (before if colon and not after.endswith("]") else after).lower()


def _token(headers: Mapping[str, str]) -> str:
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    return next((headers[name] for name in _HEADERS if headers.get(name)), "")
