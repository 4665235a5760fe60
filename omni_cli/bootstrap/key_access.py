"""Keys: found, kept, masked."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from omni_cli.domain.models import Provider

if TYPE_CHECKING:
    from omni_cli.repositories import Breakers

from omni_cli.bootstrap.addresses import Addresses


class KeyAccess(Addresses):
    """Keys: found, kept, masked."""

    @cached_property
    def _stored_keys(self) -> Mapping[str, str]:
        from omni_cli.keys import list_keys

        return list_keys(self.paths.data)

    def kept_keys(self) -> Mapping[str, str]:
        """Whose keys omni keeps, and where: keyring or file. Opens neither."""
        return self._stored_keys

    def has_key(self, provider: Provider) -> bool:
        """Whether a call can be made, without unlocking anything."""
        from omni_cli.keys.sources import usual_variable

        return (
            provider.auth_method == "none"
            or usual_variable(provider.slug, provider.key_env, self.env) is not None
            or provider.slug in self._stored_keys
        )

    def key(self, provider: Provider) -> str | None:
        """The provider's key. Raises MissingKey when it needs one and none is found, ConfigError
        where it is from the environment, which says that it belongs to another address."""
        if provider.auth_method == "none":
            return None
        from omni_cli.keys import resolve

        found = resolve(provider.slug, provider.key_env, self.env, self.paths.data)
        if found is None:
            from omni_cli.domain.errors import MissingKey
            from omni_cli.domain.vendor_env import no_key_hint

            hint = no_key_hint(provider.slug, provider.key_env)
            raise MissingKey(f"no key for {provider.slug}", hint=hint)
        if found.where == "env" and (other := self.other_address(provider)) is not None:
            from omni_cli.domain.errors import ConfigError

            variable, url = other
            raise ConfigError(
                f"{variable} says that {provider.slug} is at {url}, but the fleet has it at "
                f"{provider.base_url}: {found.name} was not sent there",
                hint=f"omni providers edit {provider.slug} --base-url {url}; or unset {variable}; "
                f"or keep it: omni providers edit {provider.slug} --base-url {provider.base_url}",
            )
        return found.secret.reveal()

    @cached_property
    def breakers(self) -> "Breakers":
        from omni_cli.services.engine.fresh_breakers import FreshBreakers
        from omni_cli.store.breakers import BreakerStore

        return FreshBreakers(BreakerStore(self.store), self.access)

    def access(self, slug: str) -> str:
        """A digest of how the provider is reached now; "" where that is not known.

        Opens what keeps the key, but again only after a change: a keyring takes its time.
        """
        from omni_cli.domain.errors import OmniError
        from omni_cli.services.engine.fresh_breakers import access_digest

        provider = self.providers.get(slug)
        if provider is None:
            return ""
        now = (provider, self.key_stamps())
        known = self._accesses.get(slug)
        if known is None or known[0] != now:
            try:
                known = now, access_digest(provider, self.key(provider))
            except OmniError:
                known = now, ""
            self._accesses[slug] = known
        return known[1]

    @cached_property
    def _accesses(self) -> dict[str, tuple[object, str]]:
        return {}

    def key_stamps(self) -> tuple[int, ...]:
        """When the files that keys rest on were written last, ns; they change with every key."""
        from omni_cli.keys import FILES

        found = []
        for path in (self.paths.data / name for name in FILES):
            try:
                found.append(path.stat().st_mtime_ns)
            except FileNotFoundError:
                found.append(0)
        return tuple(found)

    def key_place(self, provider: Provider) -> str | None:
        """Where the key is, ``env:NAME``, ``keyring`` or ``file``; None: nowhere. Opens nothing."""
        from omni_cli.keys.sources import usual_variable

        name = usual_variable(provider.slug, provider.key_env, self.env)
        return f"env:{name}" if name else self._stored_keys.get(provider.slug)

    def key_masked(self, provider: Provider) -> str | None:
        """The key as it may be shown; None where there is none. Raises ConfigError."""
        from omni_cli.domain.secrets import mask
        from omni_cli.keys import resolve

        found = resolve(provider.slug, provider.key_env, self.env, self.paths.data)
        return None if found is None else mask(found.secret)
