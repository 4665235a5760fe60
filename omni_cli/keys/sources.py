"""Find, keep and forget API keys."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from msgspec import Struct

from omni_cli.domain.errors import ConfigError, UsageError
from omni_cli.domain.secrets import CLIENT_PREFIX, Secret
from omni_cli.domain.vendor_env import KEY_ENVS
from omni_cli.keys.files import INDEX, MASTER, VAULT

Where = Literal["env", "keyring", "file"]

#: What omni writes into its home about keys: one of them is new after every change.
FILES = (VAULT, MASTER, INDEX)

#: What editors and web pages put around a copied key.
_QUOTES = ('""', "''", "``", "“”", "‘’")
#: Invisible, and no white space to ``str.strip``: a byte order mark, a zero width space.
_INVISIBLE = "\ufeff\u200b"


class FoundKey(Struct, frozen=True):
    """``name``: the environment variable, or the provider's slug in the keyring or the file."""

    secret: Secret
    where: Where
    name: str


def bare(value: str) -> str:
    """A key without what came along when it was copied: white space, line ends, quotes."""
    while True:
        shorter = value.strip().strip(_INVISIBLE)
        if len(shorter) >= 2 and shorter[0] + shorter[-1] in _QUOTES:
            shorter = shorter[1:-1]
        if shorter == value:
            return value
        value = shorter


def quoted(value: str) -> bool:
    """Did quotes or invisible characters come along? White space at the ends is nothing to tell."""
    return bare(value) != value.strip()


def resolve(
    provider_slug: str, key_env: str | None, env: Mapping[str, str], home: Path
) -> FoundKey | None:
    """The provider's key: from the environment, else the OS keyring, else the encrypted file.

    Args:
        key_env: the variable that the user named. Only without it, or where it is one of the
            vendor's usual ones, do these count: a key must not go where it was not meant to.
        home: the folder that omni's key files are in.

    Raises:
        ConfigError: a key is there but cannot be had: the keyring is locked, the file was
            changed or others may read it, the variable holds what no header can carry.
    """
    if name := usual_variable(provider_slug, key_env, env):
        return FoundKey(_usable(env[name], f"the key in {name}"), "env", name)
    from omni_cli.keys.ring import KeyringUnavailable, Ring
    from omni_cli.keys.vault import Vault

    unavailable: KeyringUnavailable | None = None
    try:
        if secret := Ring(home).get(provider_slug):
            secret = _usable(secret.reveal(), f"the key of {provider_slug} in the OS keyring")
            return FoundKey(secret, "keyring", provider_slug)
    except KeyringUnavailable as exc:
        unavailable = exc
    if secret := Vault.at(home, env).get(provider_slug):
        secret = _usable(secret.reveal(), f"the key of {provider_slug} in the encrypted file")
        return FoundKey(secret, "file", provider_slug)
    if unavailable is not None:
        raise ConfigError(
            f"the key of {provider_slug} is in the keyring, but {unavailable.message}",
            hint=unavailable.hint,
        ) from unavailable
    return None


def has_key(provider_slug: str, key_env: str | None, env: Mapping[str, str], home: Path) -> bool:
    """Is there a key to ``resolve``? Opens neither keyring nor file, so it is cheap.

    Raises:
        ConfigError: a key file is damaged or others may read it.
    """
    return usual_variable(provider_slug, key_env, env) is not None or provider_slug in list_keys(
        home
    )


def store_key(
    provider_slug: str,
    secret: str | Secret,
    *,
    env: Mapping[str, str],
    home: Path,
    where: Literal["auto", "keyring", "file"] = "auto",
    tell: Callable[[str], None] = lambda _: None,
) -> Where:
    """Keep a key, in the place of an earlier one; the answer says where.

    ``auto`` takes the OS keyring where there is one that works, else the encrypted file.

    Args:
        tell: told of a keyring that is there and failed.

    Raises:
        UsageError: an empty key or slug, or a slug that is none.
        ConfigError: characters that no header can carry; the place asked for is not available.
    """
    value = secret.reveal() if isinstance(secret, Secret) else secret
    if not provider_slug or not bare(value):
        raise UsageError("the key is empty" if provider_slug else "the provider has no name")
    if not _printable(provider_slug):
        raise UsageError(f"{provider_slug!r} is no provider's name")
    key = _usable(value, "the key")
    from omni_cli.keys.ring import KeyringUnavailable, Ring
    from omni_cli.keys.vault import Vault

    ring, vault = Ring(home), Vault.at(home, env)
    if where != "file":
        try:
            ring.put(provider_slug, key)
        except KeyringUnavailable as exc:
            if where == "keyring":
                raise
            if exc.there:
                tell(exc.message)
        else:
            vault.remove(provider_slug)
            return "keyring"
    vault.put(provider_slug, key)
    if provider_slug in ring.slugs():
        ring.remove(provider_slug)  # found first, it would hide the new one
    return "file"


def delete_key(
    provider_slug: str, *, env: Mapping[str, str], home: Path
) -> tuple[Literal["keyring", "file"], ...]:
    """Forget a stored key; the answer says where it was. Raises ConfigError."""
    from omni_cli.keys.ring import Ring
    from omni_cli.keys.vault import Vault

    gone: list[Literal["keyring", "file"]] = []
    if Vault.at(home, env).remove(provider_slug):
        gone.append("file")
    if Ring(home).remove(provider_slug):
        gone.append("keyring")
    return tuple(gone)


def list_keys(home: Path) -> dict[str, Literal["keyring", "file"]]:
    """Providers whose keys omni keeps, and where; never a key. Raises ConfigError."""
    if not any((home / name).exists() for name in (VAULT, INDEX)):
        return {}
    from omni_cli.keys.ring import Ring
    from omni_cli.keys.vault import Vault

    listed: dict[str, Literal["keyring", "file"]] = dict.fromkeys(Vault(home).slugs(), "file")
    listed.update(dict.fromkeys(Ring(home).slugs(), "keyring"))
    return dict(sorted(listed.items()))


def usual_variable(slug: str, key_env: str | None, env: Mapping[str, str]) -> str | None:
    """The environment variable that holds a provider's key now, or None. Opens nothing.

    What clients of omni's own gateway are given in a vendor's variable is no key of the vendor's.
    """
    usual = KEY_ENVS.get(slug, ())
    if key_env and key_env not in usual:
        return key_env if bare(env.get(key_env, "")) else None
    held = ((name, bare(env.get(name, ""))) for name in (key_env or "", *usual))
    return next((n for n, key in held if key and not key.startswith(CLIENT_PREFIX)), None)


def _usable(value: str, what: str) -> Secret:
    """Without what came along. A line break inside would forge a header. Raises ConfigError."""
    key = bare(value)
    if not _printable(key):
        raise ConfigError(
            f"{what} holds a space, a line break or a character outside ASCII",
            hint="copy it again, the key alone: what follows it on the line is not part of it",
        )
    return Secret(key)


def _printable(text: str) -> bool:
    return all("!" <= char <= "~" for char in text)
