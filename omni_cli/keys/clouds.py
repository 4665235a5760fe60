"""Credentials that are no one key: Amazon's pair, Google's file, Microsoft's application.

Sources: AWS, "Configuration and credential file settings"; Google Cloud, "How Application Default
Credentials works"; Azure Identity, "Environment variables".
"""

import configparser
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec import Struct

from omni_cli.domain.clouds import Cloud, bedrock_region, cloud_of
from omni_cli.domain.errors import ConfigError, MissingKey
from omni_cli.domain.hosts import is_loopback
from omni_cli.domain.models import Provider
from omni_cli.ports import Access

_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
_BEARER = "AWS_BEARER_TOKEN_BEDROCK"
_PAIR = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_HOSTS = (".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".googleapis.com")
#: What a profile holds that has no keys of its own.
_SIGNS_IN = {"sso_session", "sso_start_url", "role_arn", "source_profile", "credential_process"}
_APPLICATION = ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET")
_FILE, _MACHINE = "GOOGLE_APPLICATION_CREDENTIALS", "GCE_METADATA_HOST"


class CloudKeys(Struct, frozen=True):
    """Where a cloud's credentials are, and what calls are authorized with.

    Args:
        env: the environment.
    """

    env: Mapping[str, str]

    def place(self, provider: Provider) -> str | None:
        """``env:NAME``, ``profile`` (Amazon's files) or ``gcloud`` (its own file); None: they are a
        key like others', if any. Sends nothing; never raises."""
        cloud, named = cloud_of(provider), provider.key_env
        if "@" in provider.slug:  # an organisation's own: the machine's are not its
            return None
        if named is None and not _is_theirs(provider.base_url):
            return None  # somebody else's address is told nothing that nobody named for it
        if cloud == "aws" and named in (None, _BEARER, *_PAIR):
            if named in (None, _BEARER) and self._said(_BEARER):
                return f"env:{_BEARER}"
            if all(map(self._said, _PAIR)):
                return f"env:{_PAIR[0]}"
            return "profile" if self._profile().get("aws_access_key_id") else None
        if cloud == "azure" and named == _APPLICATION[2]:
            return f"env:{named}" if all(map(self._said, _APPLICATION)) else None
        if cloud == "google" and named in (None, _FILE, _MACHINE):
            for name in (_FILE, _MACHINE):
                if self._said(name) and named in (None, name):
                    return f"env:{name}"
            return "gcloud" if named is None and self._gcloud().is_file() else None
        return None

    def files(self) -> tuple[Path, ...]:
        """Those that credentials are read from: a new one counts at once."""
        config, keys = self._amazons()
        named = self._said(_FILE)
        return config, keys, Path(named) if named else self._gcloud()

    def access(self, provider: Provider, key: Callable[[], str]) -> str | Access | None:
        """What authorizes a provider's calls.

        Args:
            key: one like others', where it is stored or in a variable.

        Raises ConfigError: the files cannot be read, or are of a kind that omni cannot use.
        """
        cloud: Cloud | None = cloud_of(provider)
        place = self.place(provider)
        if cloud == "aws":
            return self._aws(provider, place, key)
        if place is None:
            return key()
        from omni_cli.wire.access import entra_access, google_access, google_metadata

        if cloud == "azure":
            authority = self._said("AZURE_AUTHORITY_HOST")
            tenant, client, secret = map(self._said, _APPLICATION)
            return entra_access(tenant, client, secret, authority)
        if place == f"env:{_MACHINE}":
            return google_metadata(self._said(_MACHINE))
        path = Path(self._said(_FILE)) if place.startswith("env:") else self._gcloud()
        try:
            return google_access(path.read_text())
        except (OSError, UnicodeDecodeError) as exc:
            message = f"{path}, Google's credentials, cannot be read: {type(exc).__name__}"
        raise ConfigError(message, hint=f"{_FILE} names a service account's JSON key")

    def _aws(
        self, provider: Provider, place: str | None, key: Callable[[], str]
    ) -> str | Access | None:
        from omni_cli.wire.access import SigV4

        profile = self._profile()
        region = (
            bedrock_region(provider.base_url)
            or next(filter(None, map(self._said, _REGIONS)), "")
            or profile.get("region", "")
            or "us-east-1"
        )
        if place == f"env:{_BEARER}":
            return self._said(_BEARER)
        if place == "profile":
            secret = profile.get("aws_secret_access_key", "")
            token = profile.get("aws_session_token", "")
            return SigV4(profile["aws_access_key_id"], secret, token, region)
        if place is not None:
            key_id, secret = map(self._said, _PAIR)
            return SigV4(key_id, secret, self._said("AWS_SESSION_TOKEN"), region)
        try:
            found = key()
        except MissingKey:
            if not _SIGNS_IN & profile.keys():
                raise
            raise ConfigError(
                f"the AWS profile {self._profile_name()!r} signs in by SSO or a role, which omni "
                "does not do itself",
                hint='eval "$(aws configure export-credentials --format env)", then try again',
            ) from None
        parts = (found or "").split(":")
        if len(parts) in (2, 3) and parts[0].startswith(("AKIA", "ASIA")):
            return SigV4(parts[0], parts[1], parts[2] if len(parts) == 3 else "", region)
        return found

    def _said(self, name: str) -> str:
        return self.env.get(name, "").strip()

    def _home(self) -> Path:
        return Path(self._said("HOME") or self._said("USERPROFILE") or "~").expanduser()

    def _gcloud(self) -> Path:
        folder = self._said("CLOUDSDK_CONFIG") or str(self._home() / ".config" / "gcloud")
        return Path(folder) / "application_default_credentials.json"

    def _amazons(self) -> tuple[Path, Path]:
        folder = self._home() / ".aws"
        config = self._said("AWS_CONFIG_FILE") or folder / "config"
        keys = self._said("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials"
        return Path(config), Path(keys)

    def _profile_name(self) -> str:
        return self._said("AWS_PROFILE") or self._said("AWS_DEFAULT_PROFILE") or "default"

    def _profile(self) -> Mapping[str, str]:
        """What Amazon's two files say of the profile in use; the credentials file comes first."""
        name = self._profile_name()
        config, keys = self._amazons()
        inside = name if name == "default" else f"profile {name}"
        return {**_section(config, inside), **_section(keys, name)}


def _is_theirs(base_url: str) -> bool:
    """Whether an address is the vendor's, or this machine's."""
    host = urllib.parse.urlsplit(base_url).hostname or ""
    return f".{host}".endswith(_HOSTS) or is_loopback(host)


def _section(path: Path, name: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, "utf-8")
        return dict(parser.items(name)) if parser.has_section(name) else {}
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}
