"""Keys: found, kept, masked."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from omni_cli.domain.models import Provider

if TYPE_CHECKING:
    pass

from omni_cli.bootstrap.stores import Stores


class KeyAccess(Stores):
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
        """The provider's key. Raises MissingKey when it needs one and none is found."""
        if provider.auth_method == "none":
            return None
        from omni_cli.keys import resolve

        found = resolve(provider.slug, provider.key_env, self.env, self.paths.data)
        if found is None:
            from omni_cli.domain.errors import MissingKey

            variable = provider.key_env or "the provider's variable"
            raise MissingKey(
                f"no key for {provider.slug}",
                hint=f"set {variable}, or: omni providers key {provider.slug} --stdin",
            )
        return found.secret.reveal()

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
