"""Model servers on this machine: where they usually listen, and whether something does."""

import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from omni_cli.providers.presets import PRESETS

#: Longest wait for a local port, seconds; a closed one refuses at once.
PROBE_S = 0.3
#: Longest wait for its model list: it may have to read its disk.
LISTING_S = 2.0
_OLLAMA_PORT = 11434
_OLLAMA = ("OLLAMA_HOST", "OLLAMA_API_BASE", "OLLAMA_BASE_URL")
#: An address to listen on, not to call.
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, not bound to


def local_presets(env: Mapping[str, str]) -> dict[str, str]:
    """Base URL by slug of the servers to look for; ``OLLAMA_HOST`` says where Ollama is, as do
    the names that tools use for it."""
    found = {slug: preset.base_url for slug, preset in PRESETS.items() if preset.local}
    hosts = (env.get(name, "").strip() for name in _OLLAMA)
    if host := next(filter(None, hosts), ""):
        found["ollama"] = _ollama_url(host)
    return found


def listening(urls: Mapping[str, str], *, limit_s: float = PROBE_S) -> list[str]:
    """The slugs of those where something accepts a connection; all are asked at once."""
    with ThreadPoolExecutor(max_workers=max(1, len(urls))) as pool:
        answers = pool.map(lambda url: _accepts(url, limit_s), urls.values())
        return [slug for slug, answer in zip(urls, answers, strict=True) if answer]


def _accepts(url: str, limit_s: float) -> bool:
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((parts.hostname or "", port), timeout=limit_s):
            return True
    except (OSError, ValueError):
        return False


def _ollama_url(host: str) -> str:
    """As Ollama's own clients read it: scheme and port may be left out."""
    parts = urlsplit(host if "://" in host else f"http://{host}")
    name = parts.hostname or ""
    name = "127.0.0.1" if name in _EVERYWHERE else name
    try:
        port = parts.port
    except ValueError:
        port = None
    if port is None:
        port = {"https": 443}.get(parts.scheme, 80 if "://" in host else _OLLAMA_PORT)
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}:{port}{parts.path.rstrip('/')}"
