"""Where providers' APIs are: as the environment says, as stored, and what is omni itself."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Mapping
from typing import TYPE_CHECKING

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.hosts import is_base_url, is_loopback
from omni_cli.domain.models import Provider
from omni_cli.domain.vendor_env import base_url_of, url_variables
from omni_cli.keys.sources import bare

if TYPE_CHECKING:
    from omni_cli.repositories import Store

#: Where ``omni serve`` listens unless it is told otherwise.
SERVE_PORT = 4000
#: Ports of this machine that ``omni serve`` has listened on, and addresses that were turned down.
_PORTS, _DECLINED = "serve_ports", "address_declined:"
_MOST_PORTS = 16


class Addresses:
    """Where providers' APIs are.

    Args:
        usual: base URL by slug of the well-known providers.
        env: the environment.
        memory: the store's.
    """

    def __init__(self, usual: Mapping[str, str], env: Mapping[str, str], memory: Store) -> None:
        self._usual = usual
        self._env = env
        self._memory = memory

    def given(self, slug: str) -> tuple[str, str] | None:
        """The vendor's variable that is set, and the base URL it names; opens no connection.

        None where it leads to a gateway of this machine's own: to go there is to go in circles.

        Raises:
            ConfigError: it names no base URL.
        """
        usual = self._usual.get(slug)
        name = next((n for n in url_variables(slug) if bare(self._env.get(n, ""))), None)
        if usual is None or name is None:
            return None
        url = base_url_of(slug, bare(self._env[name]), usual)
        if not is_base_url(url):
            raise ConfigError(
                f"{name} names no base URL",
                hint="write it as https://host/path, without a key, a query or a user name",
            )
        return None if self._was_served(url) else (name, url)

    def source(self, provider: Provider) -> str:
        """Where a provider's base URL is from: ``env:NAME``, ``usual`` or ``settings``."""
        try:
            given = self.given(provider.slug)
        except ConfigError:
            given = None
        if given is not None and given[1] == provider.base_url:
            return f"env:{given[0]}"
        return "usual" if self._usual.get(provider.slug) == provider.base_url else "settings"

    def other(self, provider: Provider) -> tuple[str, str] | None:
        """The variable and the address it names, where the fleet's is another that nobody chose.

        Raises ConfigError.
        """
        if self.source(provider) != "usual":
            return None
        given = self.given(provider.slug)
        if given is None or self._memory.get_meta(_DECLINED + provider.slug) == given[1]:
            return None
        return given

    def proposed(self, slug: str) -> tuple[str, str | None]:
        """A known provider's base URL, and the variable that says so, None where none does or the
        user has turned it down. Raises ConfigError."""
        given = self.other(Provider(slug, slug, "openai", self._usual[slug]))
        return (self._usual[slug], None) if given is None else (given[1], given[0])

    def decline(self, slug: str) -> None:
        """The user has said where the provider is, whatever the variable says."""
        given = self.given(slug)
        if given is not None:
            self._memory.set_meta(_DECLINED + slug, given[1])

    def note_served(self, port: int) -> None:
        """``omni serve`` listens on this port."""
        ports = [port, *(known for known in self._served_ports() if known != port)]
        self._memory.set_meta(_PORTS, json.dumps(ports[:_MOST_PORTS]))

    def _was_served(self, url: str) -> bool:
        """Whether ``omni serve`` has listened there, as far as this store knows."""
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        return is_loopback(parts.hostname or "") and port in self._served_ports()

    def _served_ports(self) -> list[int]:
        return list(json.loads(self._memory.get_meta(_PORTS) or "[]"))
