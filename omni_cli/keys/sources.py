"""Find, keep and forget API keys."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from omni_cli.domain.errors import ConfigError, UsageError
from omni_cli.domain.secrets import Secret
from omni_cli.keys.ring import KeyringUnavailable, Ring
from omni_cli.keys.vault import Vault

Where = Literal["env", "keyring", "file"]

#: The variables that vendors' own documentation and SDKs use, by omni's provider slug.
USUAL_ENV: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "clarifai": ("CLARIFAI_PAT", "CLARIFAI_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "google-vision": ("GOOGLE_VISION_API_KEY", "GOOGLE_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY", "KIMI_API_KEY"),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
    "together": ("TOGETHER_API_KEY",),
    "xai": ("XAI_API_KEY",),
}


@dataclass(frozen=True, slots=True)
class FoundKey:
    """``name``: the environment variable, or the provider's slug in the keyring or the file."""

    secret: Secret
    where: Where
    name: str


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
        return FoundKey(Secret(_usable(env[name], f"the key in {name}")), "env", name)
    unavailable: KeyringUnavailable | None = None
    try:
        if secret := Ring(home).get(provider_slug):
            return FoundKey(secret, "keyring", provider_slug)
    except KeyringUnavailable as exc:
        unavailable = exc
    if secret := Vault.at(home, env).get(provider_slug):
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
) -> Where:
    """Keep a key, in the place of an earlier one; the answer says where.

    ``auto`` takes the OS keyring where there is one that works, else the encrypted file.

    Raises:
        UsageError: an empty key or slug, or characters that no header can carry.
        ConfigError: the place asked for is not available.
    """
    value = secret.reveal() if isinstance(secret, Secret) else secret
    if not provider_slug or not value.strip():
        raise UsageError("the key is empty" if provider_slug else "the provider has no name")
    try:
        provider_slug = _usable(provider_slug, "the provider's name")
        key = Secret(_usable(value, "the key"))
    except ConfigError as exc:
        raise UsageError(exc.message, hint=exc.hint) from exc
    ring, vault = Ring(home), Vault.at(home, env)
    if where != "file":
        try:
            ring.put(provider_slug, key)
        except KeyringUnavailable:
            if where == "keyring":
                raise
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
    gone: list[Literal["keyring", "file"]] = []
    if Vault.at(home, env).remove(provider_slug):
        gone.append("file")
    if Ring(home).remove(provider_slug):
        gone.append("keyring")
    return tuple(gone)


def list_keys(home: Path) -> dict[str, Literal["keyring", "file"]]:
    """Providers whose keys omni keeps, and where; never a key. Raises ConfigError."""
    listed: dict[str, Literal["keyring", "file"]] = dict.fromkeys(Vault(home).slugs(), "file")
    listed.update(dict.fromkeys(Ring(home).slugs(), "keyring"))
    return dict(sorted(listed.items()))


def usual_variable(slug: str, key_env: str | None, env: Mapping[str, str]) -> str | None:
    """The environment variable that holds a provider's key now, or None. Opens nothing."""
    usual = USUAL_ENV.get(slug, ())
    names = (key_env,) if key_env and key_env not in usual else (key_env or "", *usual)
    return next((name for name in names if env.get(name, "").strip()), None)


def _usable(value: str, what: str) -> str:
    """Without the white space around it. A line break inside would forge a header."""
    value = value.strip()
    if not all("!" <= char <= "~" for char in value):
        raise ConfigError(
            f"{what} holds a space, a line break or a character outside ASCII",
            hint="copy it again, without quotes or line breaks",
        )
    return value
