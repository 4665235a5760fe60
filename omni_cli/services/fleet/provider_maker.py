"""A new provider out of the little that has to be said of one that omni knows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.hosts import base_url_in, default_slots, is_here
from omni_cli.domain.models import AuthMethod, Provider
from omni_cli.domain.record import replace
from omni_cli.domain.words import meant


class Known(Protocol):
    """A well-known provider (providers/presets.py)."""

    @property
    def slug(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def protocol(self) -> str: ...
    @property
    def base_url(self) -> str: ...
    @property
    def local(self) -> bool: ...
    @property
    def auth_method(self) -> AuthMethod: ...
    @property
    def key_envs(self) -> Sequence[str]: ...


class ProviderMaker(Struct, eq=False):
    """Args:
    presets: well-known providers by slug.
    proposed: a known provider's base URL, and the variable that says so, if any.
    place: where a provider's key is; None: nowhere.
    variables: keys may be in the environment's.
    """

    presets: Mapping[str, Known]
    proposed: Callable[[str], tuple[str, str | None]]
    place: Callable[[Provider], str | None]
    variables: bool

    def new(
        self,
        slug: str,
        *,
        protocol: str | None = None,
        base_url: str | None = None,
        name: str | None = None,
        auth_method: AuthMethod | None = None,
        keyed: bool = False,
    ) -> Provider:
        """
        Args:
            keyed: a key comes with it, so it is in no variable.

        Raises UsageError: omni does not know it, and too little was said.
        """
        preset = self.presets.get(slug)
        if preset is None and (protocol is None or base_url is None):
            near = meant(slug, self.presets, most=1)
            raise UsageError(
                f"{slug!r} is no provider that omni knows",
                hint=(f"{near} Else: " if near else "")
                + f"omni providers add {slug} --protocol openai --base-url https://HOST/v1, "
                f"or one of {', '.join(self.presets)}",
            )
        url = base_url_in(base_url or self.proposed(slug)[0])
        provider = Provider(
            slug=slug,
            name=name or (preset.name if preset else slug),
            protocol=protocol or (preset.protocol if preset else ""),
            base_url=url,
            max_concurrency=default_slots(slug, url),
        )
        place = self.place(provider) or ""
        if auth_method is None:
            # Without a word about keys: local servers need none, unless there is one.
            here = (preset is not None and preset.local) or is_here(url)
            auth_method = "none" if here and not (place or keyed) else "api_key"
        variable = None
        if preset is not None and auth_method == "api_key" and not keyed and self.variables:
            variable = place.removeprefix("env:") if place.startswith("env:") else None
            variable = variable or next(iter(preset.key_envs), None)
        return replace(provider, auth_method=auth_method, key_env=variable)
