"""The catalogue in the store: the bundled one, then newer models and prices from a file or the
network, all of it or nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omni_cli.catalog import CHECKED_KEY, KEY, is_in, stamp
from omni_cli.catalog.load import apply_remote, load_catalog
from omni_cli.domain.errors import ProviderError, file_errors
from omni_cli.ports import Fetcher, HttpCall, ProviderAdapter
from omni_cli.repositories import Models, Store
from omni_cli.services.fleet.catalogue import refresh, seed
from omni_cli.services.money.prices import utc_day
from omni_cli.wire.registry import adapter

#: What genai-prices' own ``UpdatePrices`` reads (its DEFAULT_UPDATE_URL, version 0.2.3).
URL = (
    "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/"
    "prices/new_data/v2/data.json"
)
#: The whole file, some 1 MB, seconds without a byte.
TIMEOUT_S = 30.0


def bring(store: Store, models: Models, *, now_ms: int, notes: Mapping[str, str]) -> None:
    """The bundled catalogue into a store that has none, or another; one process of many does it.

    Args:
        notes: what a new store notes meanwhile, where it has no such note yet.
    """
    with store.transaction():
        if is_in(store):
            return
        catalogue = load_catalog()
        seed(models, catalogue, now_ms=now_ms)
        told = {CHECKED_KEY: catalogue.checked, KEY: stamp()}
        told |= {key: text for key, text in notes.items() if store.get_meta(key) is None}
        for key, text in told.items():
            store.set_meta(key, text)


def checked(store: Store) -> str:
    """The ISO date on which the store's prices were read at their source."""
    return store.get_meta(CHECKED_KEY) or load_catalog().checked


def update(
    store: Store,
    models: Models,
    fetcher: Fetcher,
    *,
    file: Path | None,
    url: str | None,
    now_ms: int,
) -> dict[str, Any]:
    """Bring newer models and prices into the store, from a file or the network; returns what
    changed.

    Raises:
        UsageError: the file cannot be read.
        ProviderError: the network or the server failed.
        ConfigError: the data is not usable.
    """
    # Any adapter words the server's refusal.
    data = _contents(file) if file else _download(fetcher, adapter("openai"), url)
    today = utc_day(now_ms)
    with store.transaction():
        catalogue = apply_remote(data, checked=today)
        report = refresh(models, catalogue, now_ms=now_ms)
        store.set_meta(CHECKED_KEY, today)
    return {
        "checked": today,
        "source": catalogue.source,
        "models": report.models,
        "added": list(report.added),
        "repriced": list(report.repriced),
    }


def _contents(file: Path) -> bytes:
    with file_errors("read", file):
        return file.read_bytes()


def _download(transport: Fetcher, words: ProviderAdapter, url: str | None) -> bytes:
    call = HttpCall("GET", url or URL, {"accept": "application/json"}, None, "json")
    try:
        return transport.fetch(words, call, timeout_s=TIMEOUT_S).encode()
    except ProviderError as exc:
        exc.hint = f"nothing was changed; download {call.url}, then omni models update --file"
        raise
