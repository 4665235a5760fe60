"""A provider's list of models: an unbilled call, so it serves as a health check and for
discovery."""

from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.domain.models import Provider
from omni_cli.domain.record import replace
from omni_cli.ports import (
    Access,
    Endpoint,
    Fetcher,
    HttpCall,
    ListsDetails,
    ProviderAdapter,
    RemoteModel,
    Transport,
)

Listing = Callable[[Transport], Coroutine[Any, Any, list[RemoteModel]]]


def read_models(adapter: ProviderAdapter, body: str) -> list[RemoteModel]:
    """What a server lists, but no name that a terminal would act on. Raises Malformed."""
    return [
        model
        for model in adapter.parse_models(body)
        if model.wire_name.isprintable() and (model.name or "").isprintable()
    ]


async def fetch_models(
    adapter: ProviderAdapter,
    transport: Transport,
    endpoint: Endpoint,
    call: HttpCall,
    *,
    timeout_s: float,
) -> list[RemoteModel]:
    """What a server lists.

    Where the same server tells more of its models elsewhere (prices), that is taken in; if it
    does not answer there, the list stands as it is.

    Raises:
        ProviderError: Malformed, where the list is none.
    """
    body = await transport.fetch(adapter, call, timeout_s=timeout_s)
    found = read_models(adapter, body)
    more = adapter.list_details(endpoint, body) if isinstance(adapter, ListsDetails) else None
    if more is None:
        return found
    try:
        details = read_models(adapter, await transport.fetch(adapter, more, timeout_s=timeout_s))
    except OmniError:
        return found
    told: dict[str, RemoteModel] = {}
    for item in details:  # one name may stand for several: the dearest of them bounds the cost
        known = told.get(item.wire_name)
        if known is None or _dearness(item) > _dearness(known):
            told[item.wire_name] = item
    return [
        replace(told[item.wire_name], owner=item.owner) if item.wire_name in told else item
        for item in found
    ]


def _dearness(model: RemoteModel) -> Decimal:
    return sum((Decimal(model.prices.get(kind, "0")) for kind in ("input", "output")), Decimal(0))


class Lister(Struct, eq=False):
    """Args:
    key: the provider's key; raises MissingKey.
    """

    adapters: Callable[[Any], ProviderAdapter]
    fetcher: Callable[[], Fetcher]
    key: Callable[[Provider], str | Access | None]

    def prepare(self, provider: Provider, *, timeout_s: float) -> Listing:
        """Find key and endpoint now; the result only uses the network.

        Raises:
            MissingKey.
            UsageError: the protocol has no call that lists models.
        """
        adapter = self.adapters(provider.protocol)
        endpoint = Endpoint.of(provider, self.key(provider))
        call = adapter.list_models(endpoint)
        if call is None:
            raise UsageError(
                f"{provider.protocol} has no call that lists models, and none free of charge"
            )

        async def listing(transport: Transport) -> list[RemoteModel]:
            return await fetch_models(adapter, transport, endpoint, call, timeout_s=timeout_s)

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
