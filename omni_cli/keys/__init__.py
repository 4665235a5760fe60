"""Where API keys come from: the environment, the OS keyring, or an encrypted file (A2).

``cryptography`` and ``keyring`` are imported only by the calls that touch their store.
"""

from omni_cli.keys.sources import (
    FILES,
    FoundKey,
    Where,
    delete_key,
    has_key,
    list_keys,
    quoted,
    resolve,
    store_key,
)

__all__ = [
    "FILES",
    "FoundKey",
    "Where",
    "delete_key",
    "has_key",
    "list_keys",
    "quoted",
    "resolve",
    "store_key",
]
