"""What this machine could use: providers whose key is there, model servers that listen here."""

import asyncio
import json
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol
from urllib.parse import urlsplit

from msgspec import Struct

from omni_cli.domain.clouds import ADDRESSES
from omni_cli.domain.errors import ConnectionFailed, OmniError
from omni_cli.domain.hosts import base_url_in, default_slots, is_loopback
from omni_cli.domain.models import Provider
from omni_cli.ports import Fetcher, HttpCall, ProviderAdapter, Transport
from omni_cli.providers.presets import PRESETS
from omni_cli.services.fleet.listing import Listing
from omni_cli.services.fleet.setup import Found

#: Longest wait for a local port, seconds; a closed one refuses at once.
PROBE_S = 0.3
#: Longest wait for its model list: it may have to read its disk.
LISTING_S = 2.0
_OLLAMA_PORT = 11434
_OLLAMA = ("OLLAMA_HOST", "OLLAMA_API_BASE", "OLLAMA_BASE_URL")
#: An address to listen on, not to call.
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


def local_presets(env: Mapping[str, str]) -> dict[str, str]:
    """Base URL by slug of the servers to look for; ``OLLAMA_HOST`` says where Ollama is, as do
    the names that tools use for it."""
    found = {slug: preset.base_url for slug, preset in PRESETS.items() if preset.local}
    hosts = (env.get(name, "").strip() for name in _OLLAMA)
    if host := next(filter(None, hosts), ""):
        found["ollama"] = _ollama_url(host)
    return found


def listening(urls: Mapping[str, str], *, limit_s: float = PROBE_S) -> list[str]:
    """The slugs of those where something accepts a connection; all are asked at once."""
    with ThreadPoolExecutor(max_workers=max(1, len(urls))) as pool:
        answers = pool.map(lambda url: _accepts(url, limit_s), urls.values())
        return [slug for slug, answer in zip(urls, answers, strict=True) if answer]


def _accepts(url: str, limit_s: float) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=limit_s):
            return True
    except (OSError, ValueError):
        return False


def _ollama_url(host: str) -> str:
    """As Ollama's own clients read it: scheme and port may be left out."""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    name = parts.hostname or ""
    name = "127.0.0.1" if name in _EVERYWHERE else name
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None:
        port = {"https": 443}.get(parts.scheme, 80 if "://" in host else _OLLAMA_PORT)
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"


class Keys(Protocol):
    """What is known of keys without opening what holds them."""

    @property
    def kept(self) -> Mapping[str, str]: ...
    def variable(self, slug: str, key_env: str | None = None) -> str | None: ...


class Addresses(Protocol):
    """Where providers are, as the environment and the user say."""

    def proposed(self, slug: str) -> tuple[str, str | None]: ...
    def decline(self, slug: str) -> None: ...


class Finder(Struct, frozen=True):
    """Args:
    there: the fleet's providers by slug; one of them is found as it is there.
    ask: how to hear what a server lists, (provider, seconds to wait). Raises OmniError.
    words: any adapter: it words a server's refusal.
    own_port: where ``omni serve`` listens unless told otherwise.
    """

    there: Mapping[str, Provider]
    keys: Keys
    addresses: Addresses
    env: Mapping[str, str]
    fetcher: Callable[[], Fetcher]
    ask: Callable[[Provider, float], Listing]
    words: ProviderAdapter
    own_port: int
    note: Callable[[str], None]

    def find(self, *, local: bool = True) -> list[Found]:
        """Providers with a key, and servers that answer on loopback; omni's own gateway is none.

        Raises ConfigError where a variable that says where a provider is names no address.
        """
        found = []
        for slug, preset in PRESETS.items():
            name = self.keys.variable(slug)
            if name is None and slug not in self.keys.kept:
                continue
            if slug not in self.there:
                self._leave_own_gateway(slug)
            url, variable = self.addresses.proposed(slug)
            slots = default_slots(slug, url)
            made = Provider(
                slug, preset.name, preset.protocol, url, key_env=name, max_concurrency=slots
            )
            how = f"env:{name}" if name else "stored key"
            kept = self.there.get(slug)
            found.append(Found(kept or made, how, address=None if kept else variable))
        found += self._kept({item.provider.slug for item in found})
        found += self._clouds()
        return found + self._servers() if local else found

    def _kept(self, seen: set[str]) -> list[Found]:
        """Well-known providers of the fleet that need no key, or have one by another variable."""
        return [
            Found(provider, "in the fleet")
            for slug, provider in self.there.items()
            if provider.enabled and slug in PRESETS and slug not in seen
            if not PRESETS[slug].local
            if provider.auth_method == "none" or self.keys.variable(slug, provider.key_env)
        ]

    def _clouds(self) -> list[Found]:
        """Clouds of which the environment leaves no doubt; their models are still to be named."""
        found = []
        for slug, cloud in ADDRESSES.items():
            if slug in self.there or not cloud.sure:
                continue
            if not all(self.env.get(name, "").strip() for name in cloud.sure):
                continue
            url = base_url_in(cloud.of(slug, {}, self.env, lambda _: ""))
            found.append(
                Found(Provider(slug, cloud.name, cloud.protocol, url), f"env:{cloud.sure[-1]}")
            )
            self.note(f"{slug}: say which models: omni models add {slug}/NAME (docs/clouds.md)")
        return found

    def _servers(self) -> list[Found]:
        urls = local_presets(self.env)
        urls.update({s: p.base_url for s, p in self.there.items() if s in urls and p.enabled})
        servers = []
        for slug in listening(urls):
            preset, url = PRESETS[slug], urls[slug]
            made = Provider(
                slug,
                preset.name,
                preset.protocol,
                url,
                auth_method="none",
                max_concurrency=default_slots(slug, url),
            )
            servers.append(self.there.get(slug, made))
        if not servers:
            return []

        async def every(transport: Transport) -> list[Found | None]:
            return await asyncio.gather(*(self._asked(server, transport) for server in servers))

        return [answer for answer in self.fetcher().run(every) if answer is not None]

    async def _asked(self, provider: Provider, transport: Transport) -> Found | None:
        try:
            if await self._is_omni(provider.base_url, transport):
                return None
            served = await self.ask(provider, LISTING_S)(transport)
        except OmniError:
            return None  # something else listens there
        return Found(provider, f"answers at {provider.base_url}", tuple(served))

    def _leave_own_gateway(self, slug: str) -> None:
        """Turn down an address that leads to omni itself: calls would go in circles."""
        url, variable = self.addresses.proposed(slug)
        if variable is None:
            return
        if self.fetcher().run(lambda transport: self._is_omni(url, transport, silent=True)):
            self.addresses.decline(slug)
            self.note(f"{variable} is the address of omni's own gateway: left aside")

    async def _is_omni(self, url: str, transport: Transport, *, silent: bool = False) -> bool:
        """Whether omni's gateway answers there; ``silent``: or would, on its usual port."""
        parts = urlsplit(url)
        call = HttpCall("GET", f"{parts.scheme}://{parts.netloc}/", {}, None, "json")
        try:
            said = json.loads(await transport.fetch(self.words, call, timeout_s=LISTING_S))
        except ConnectionFailed:
            ours = parts.port == self.own_port and is_loopback(parts.hostname or "")
            return silent and ours
        except (OmniError, ValueError):
            return False
        return isinstance(said, dict) and said.get("name") == "omni" and "openapi" in said
