"""A provider's list of models as a call that any thread can make: unbilled, so it serves as a
health check and for discovery."""

from collections.abc import Callable
from typing import Any

from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.models import Provider
from omni_cli.ports import Endpoint, ProviderAdapter, RemoteModel, Transport

Listing = Callable[[], list[RemoteModel]]


def read_models(adapter: ProviderAdapter, body: str) -> list[RemoteModel]:
    """What a server lists, but no name that a terminal would act on. Raises Malformed."""
    return [
        model
        for model in adapter.parse_models(body)
        if model.wire_name.isprintable() and (model.name or "").isprintable()
    ]


class Lister:
    """Args:
    key: the provider's key; raises MissingKey.
    """

    def __init__(
        self,
        adapters: Callable[[Any], ProviderAdapter],
        transport: Callable[[], Transport],
        key: Callable[[Provider], str | None],
    ) -> None:
        self._adapters = adapters
        self._transport = transport
        self._key = key

    def prepare(self, provider: Provider, *, timeout_s: float) -> Listing:
        """Find key and endpoint now, in the caller's thread; the result only uses the network.

        Raises:
            MissingKey.
            UsageError: the protocol has no call that lists models.
        """
        adapter = self._adapters(provider.protocol)
        endpoint = Endpoint(provider.base_url, self._key(provider), provider.headers)
        call = adapter.list_models(endpoint)
        if call is None:
            raise UsageError(
                f"{provider.protocol} has no call that lists models, and none free of charge"
            )
        transport = self._transport()

        def listing() -> list[RemoteModel]:
            return read_models(adapter, transport.fetch(adapter, call, timeout_s=timeout_s))

        return listing

    def prepare_all(
        self, providers: list[Provider], *, timeout_s: float
    ) -> tuple[dict[str, Listing], dict[str, OmniError]]:
        """By slug: what can be asked, and why the others cannot."""
        ready: dict[str, Listing] = {}
        refused: dict[str, OmniError] = {}
        for provider in providers:
            try:
                ready[provider.slug] = self.prepare(provider, timeout_s=timeout_s)
            except OmniError as exc:
                refused[provider.slug] = exc
        return ready, refused
