"""Newer models and prices, from a file or the network: all of it or nothing."""

from pathlib import Path
from typing import Any

from omni_cli.catalog.load import apply_remote
from omni_cli.domain.errors import ProviderError, UsageError
from omni_cli.ports import Fetcher, HttpCall, ProviderAdapter
from omni_cli.repositories import Models
from omni_cli.services.fleet.catalogue import refresh

#: What genai-prices' own ``UpdatePrices`` reads (its DEFAULT_UPDATE_URL, version 0.2.3).
URL = (
    "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/"
    "prices/new_data/v2/data.json"
)
#: The whole file, some 1 MB, seconds without a byte.
TIMEOUT_S = 30.0


def contents(file: Path) -> bytes:
    """Raises UsageError: the file cannot be read."""
    try:
        return file.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {file}: {exc.strerror}") from exc


def download(transport: Fetcher, words: ProviderAdapter, url: str | None) -> bytes:
    """Args:
        words: words the server's refusal; any adapter does.
        url: another place than the usual one.

    Raises:
        ProviderError: the network or the server failed.
    """
    call = HttpCall("GET", url or URL, {"accept": "application/json"}, None, "json")
    try:
        return transport.fetch(words, call, timeout_s=TIMEOUT_S).encode()
    except ProviderError as exc:
        exc.hint = f"nothing was changed; download {call.url}, then omni models update --file"
        raise


def update(models: Models, data: bytes, *, today: str, now_ms: int) -> dict[str, Any]:
    """Bring the data into the store, within the caller's transaction; returns what changed.

    Raises:
        ConfigError: the data is not usable.
    """
    catalogue = apply_remote(data, checked=today)
    report = refresh(models, catalogue, now_ms=now_ms)
    return {
        "checked": today,
        "source": catalogue.source,
        "models": report.models,
        "added": list(report.added),
        "repriced": list(report.repriced),
    }
