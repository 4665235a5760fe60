"""Where providers' APIs are: as the environment says, as stored, and what is omni itself."""

import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from omni_cli.bootstrap.stores import Stores
from omni_cli.domain.hosts import is_base_url, is_loopback
from omni_cli.domain.vendor_env import base_url_of, url_variables

if TYPE_CHECKING:
    from omni_cli.domain.models import Provider

#: Where ``omni serve`` listens unless it is told otherwise.
SERVE_PORT = 4000
#: Ports of this machine that ``omni serve`` has listened on, and addresses that were turned down.
_PORTS, _DECLINED = "serve_ports", "address_declined:"
_MOST_PORTS = 16


class Addresses(Stores):
    """Where providers' APIs are."""

    def given_address(self, slug: str) -> tuple[str, str] | None:
        """The vendor's variable that is set, and the base URL it names; opens no connection.

        None where it leads to a gateway of this machine's own: to go there is to go in circles.

        Raises:
            ConfigError: it names no base URL.
        """
        from omni_cli.domain.errors import ConfigError
        from omni_cli.keys.sources import bare
        from omni_cli.providers.presets import PRESETS

        preset = PRESETS.get(slug)
        name = next((n for n in url_variables(slug) if bare(self.env.get(n, ""))), None)
        if preset is None or name is None:
            return None
        url = base_url_of(slug, bare(self.env[name]), preset.base_url)
        if not is_base_url(url):
            raise ConfigError(
                f"{name} names no base URL",
                hint="write it as https://host/path, without a key, a query or a user name",
            )
        return None if self.was_served(url) else (name, url)

    def address_from(self, provider: "Provider") -> str:
        """Where a provider's base URL is from: ``env:NAME``, ``usual`` or ``settings``."""
        from omni_cli.domain.errors import ConfigError
        from omni_cli.providers.presets import PRESETS

        preset = PRESETS.get(provider.slug)
        try:
            given = self.given_address(provider.slug)
        except ConfigError:
            given = None
        if given is not None and given[1] == provider.base_url:
            return f"env:{given[0]}"
        usual = preset is not None and preset.base_url == provider.base_url
        return "usual" if usual else "settings"

    def other_address(self, provider: "Provider") -> tuple[str, str] | None:
        """The variable and the address it names, where the fleet's is another that nobody chose.

        Raises ConfigError.
        """
        if self.address_from(provider) != "usual":
            return None
        given = self.given_address(provider.slug)
        if given is None or self.store.get_meta(_DECLINED + provider.slug) == given[1]:
            return None
        return given

    def usual_address(self, slug: str) -> tuple[str, str | None]:
        """A known provider's base URL, and the variable that says so, None where none does or the
        user has turned it down. Raises ConfigError."""
        from omni_cli.domain.models import Provider
        from omni_cli.providers.presets import PRESETS

        preset = PRESETS[slug]
        given = self.other_address(Provider(slug, preset.name, preset.protocol, preset.base_url))
        return (preset.base_url, None) if given is None else (given[1], given[0])

    def decline_address(self, slug: str) -> None:
        """The user has said where the provider is, whatever the variable says."""
        given = self.given_address(slug)
        if given is not None:
            self.store.set_meta(_DECLINED + slug, given[1])

    def was_served(self, url: str) -> bool:
        """Whether ``omni serve`` has listened there, as far as this store knows."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            return False
        return is_loopback(parts.hostname or "") and port in self._served_ports()

    def note_served(self, port: int) -> None:
        """``omni serve`` listens on this port."""
        ports = [port, *(known for known in self._served_ports() if known != port)]
        self.store.set_meta(_PORTS, json.dumps(ports[:_MOST_PORTS]))

    def _served_ports(self) -> list[int]:
        return list(json.loads(self.store.get_meta(_PORTS) or "[]"))
