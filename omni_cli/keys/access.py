"""Providers' keys as one process of omni uses them: found, kept, forgotten, masked."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from omni_cli.domain.clouds import cloud_of
from omni_cli.domain.errors import ConfigError, MissingKey, OmniError, UsageError
from omni_cli.domain.models import Provider
from omni_cli.domain.secrets import mask
from omni_cli.domain.vendor_env import no_key_hint
from omni_cli.keys.addresses import Addresses
from omni_cli.keys.clouds import CloudKeys
from omni_cli.keys.sources import (
    FILES,
    delete_key,
    list_keys,
    quoted,
    resolve,
    store_key,
    usual_variable,
)
from omni_cli.ports import Access
from omni_cli.services.engine.fresh_breakers import access_digest


class Providers(Protocol):
    """The part of the fleet's providers that keys ask."""

    def get(self, slug: str) -> Provider | None: ...


class KeyAccess:
    """Args:
    providers: the fleet's.
    addresses: where they are.
    env: the environment; its keys come first.
    home: the folder of stored keys.
    note: told what a user would not expect.
    forgive: told of a provider that has another key now: what failed before counts no more.
    """

    def __init__(
        self,
        providers: Providers,
        addresses: Addresses,
        env: Mapping[str, str],
        home: Path,
        note: Callable[[str], None],
        forgive: Callable[[str], None],
    ) -> None:
        self._providers = providers
        self._addresses = addresses
        self._env = env
        self._home = home
        self._note = note
        self._forgive = forgive
        self._clouds = CloudKeys(env)
        self._digests: dict[str, tuple[object, str]] = {}

    @cached_property
    def kept(self) -> Mapping[str, str]:
        """Whose keys omni keeps, and where: keyring or file. Opens neither."""
        return list_keys(self._home)

    def variable(self, slug: str, key_env: str | None = None) -> str | None:
        """The variable that is set and holds the provider's key."""
        return usual_variable(slug, key_env, self._env)

    def has(self, provider: Provider) -> bool:
        """Whether a call can be made, without unlocking anything."""
        return provider.auth_method == "none" or self.place(provider) is not None

    def place(self, provider: Provider) -> str | None:
        """Where the key is, ``env:NAME``, ``keyring`` or ``file``; None: nowhere. Opens nothing."""
        if (place := self._clouds.place(provider)) is not None:
            return place
        name = self.variable(provider.slug, provider.key_env)
        return f"env:{name}" if name else self.kept.get(provider.slug)

    def get(self, provider: Provider) -> str | Access | None:
        """The provider's key, or what authorizes its calls instead. Raises MissingKey when it needs
        one and none is found, ConfigError where it is from the environment, which says that it
        belongs to another address."""
        if provider.auth_method == "none":
            return None
        if cloud_of(provider) is None:
            return self._key(provider)

        return self._clouds.access(provider, lambda: self._key(provider))

    def _key(self, provider: Provider) -> str:
        found = resolve(provider.slug, provider.key_env, self._env, self._home)
        if found is None:
            hint = no_key_hint(provider.slug, provider.key_env)
            raise MissingKey(f"no key for {provider.slug}", hint=hint)
        if found.where == "env" and (other := self._addresses.other(provider)) is not None:
            variable, url = other
            raise ConfigError(
                f"{variable} says that {provider.slug} is at {url}, but the fleet has it at "
                f"{provider.base_url}: {found.name} was not sent there",
                hint=f"omni providers edit {provider.slug} --base-url {url}; or unset {variable}; "
                f"or keep it: omni providers edit {provider.slug} --base-url {provider.base_url}",
            )
        return found.secret.reveal()

    def masked(self, provider: Provider) -> str | None:
        """The key as it may be shown; None where there is none. Raises ConfigError."""
        if self._clouds.place(provider) is not None:
            return None  # a pair, a file or a machine, which the place names
        found = resolve(provider.slug, provider.key_env, self._env, self._home)
        return None if found is None else mask(found.secret)

    def keep(self, slug: str, key: str) -> str:
        """Store a provider's key; returns where: ``keyring`` or ``file``.

        Notes what a user would not expect: quotes left out, a keyring that failed, a variable
        that comes first.
        """
        where = store_key(slug, key, env=self._env, home=self._home, tell=self._note)
        if quoted(key):
            self._note("the quotes around the key were left out")
        provider = self._providers.get(slug)
        name = self.variable(slug, None if provider is None else provider.key_env)
        if name is not None:
            self._note(f"{name} is set and comes before a stored key: unset {name} to use this one")
        self.__dict__.pop("kept", None)
        self._forgive(slug)
        return where

    def forget(self, slug: str) -> tuple[str, ...]:
        """Delete a stored key; returns where it was. The environment is the user's own."""
        gone = delete_key(slug, env=self._env, home=self._home)
        self.__dict__.pop("kept", None)
        return gone

    def digest(self, slug: str) -> str:
        """A digest of how the provider is reached now; "" where that is not known.

        Opens what keeps the key, but again only after a change: a keyring takes its time.
        """
        provider = self._providers.get(slug)
        if provider is None:
            return ""
        now = (provider, self.stamps())
        known = self._digests.get(slug)
        if known is None or known[0] != now:
            try:
                found = self.get(provider)
                secret = found if found is None or isinstance(found, str) else found.secrets[:1]
                known = now, access_digest(provider, "".join(secret or ""))
            except OmniError:
                known = now, ""
            self._digests[slug] = known
        return known[1]

    def stamps(self) -> tuple[int, ...]:
        """When the files that keys rest on were written last, ns; they change with every key."""
        found = []
        for path in (*(self._home / name for name in FILES), *self._clouds.files()):
            try:
                found.append(path.stat().st_mtime_ns)
            except OSError:
                found.append(0)
        return tuple(found)


class OrgKeyAccess(KeyAccess):
    """Keys as one organisation has them: those of its own providers. Of what is shared, only that
    there is a key; of another's, not even that.

    Args:
        org: its name.
    """

    def __init__(self, org: str, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._tail = f"@{org}"

    @cached_property
    def kept(self) -> Mapping[str, str]:
        every = list_keys(self._home).items()
        return {slug: where for slug, where in every if "@" not in slug or self._own(slug)}

    def place(self, provider: Provider) -> str | None:
        found = super().place(provider)
        return found if found is None or self._own(provider.slug) else "shared"

    def masked(self, provider: Provider) -> str | None:
        return super().masked(provider) if self._own(provider.slug) else None

    def keep(self, slug: str, key: str) -> str:
        return super().keep(self._kept(slug), key)

    def forget(self, slug: str) -> tuple[str, ...]:
        return super().forget(self._kept(slug))

    def _own(self, slug: str) -> bool:
        return slug.endswith(self._tail)

    def _kept(self, slug: str) -> str:
        """Raises UsageError: it is no provider of the organisation's own."""
        provider = self._providers.get(slug)
        if provider is None or not self._own(provider.slug):
            raise UsageError(
                f"{slug} is no provider of the organisation's own",
                hint=f"omni providers add {slug} makes it one; its key is then its own",
            )
        return provider.slug
