"""The breakers, less what another key or address than today's has run into.

A breaker that opens remembers a digest of the access (key, base URL, headers) that failed. Whoever
corrects one of them, wherever it is kept, has mended it: the state counts for nothing any more,
for every reader and in every process, without anybody being told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from omni_cli.domain.breaker import Breaker
from omni_cli.domain.ids import fingerprint
from omni_cli.domain.models import Provider
from omni_cli.domain.record import replace

if TYPE_CHECKING:
    from omni_cli.repositories import BreakerChange, Breakers

#: How a stored state begins to look like one that remembers its access; spares parsing the others.
_MARK, _OPEN = '"access"', '"state": "open"'


class FreshBreakers:
    """Args:
    access: a provider slug's digest (``access_digest``) as of now; "" where it is not known.
    """

    def __init__(self, breakers: Breakers, access: Callable[[str], str]) -> None:
        self._breakers = breakers
        self._access = access

    def all(self) -> Mapping[str, str]:
        return {target: self._seen(target, text) for target, text in self._breakers.all().items()}

    def get(self, target: str) -> str | None:
        stored = self._breakers.get(target)
        return None if stored is None else self._seen(target, stored)

    def update(self, target: str, change: BreakerChange, *, now_ms: int) -> None:
        # Asked here and not below: the change may be carried out later, by another thread.
        known = self._breakers.get(target)
        access = self._now(target) if known is not None and _MARK in known else ""

        def changed(stored: str | None) -> str:
            nonlocal access
            seen = None if stored is None else _seen_from(stored, access)
            new = change(seen)
            if _OPEN not in new or new == seen:
                return new
            access = access or self._now(target)
            return replace(Breaker.from_json(new), access=access).to_json()

        self._breakers.update(target, changed, now_ms=now_ms)

    def _seen(self, target: str, stored: str) -> str:
        return _seen_from(stored, self._now(target)) if _MARK in stored else stored

    def _now(self, target: str) -> str:
        return self._access(target.partition("/")[0])


def _seen_from(stored: str, access: str) -> str:
    breaker = Breaker.from_json(stored)
    seen = breaker.seen_from(access)
    return stored if seen is breaker else seen.to_json()


def access_digest(provider: Provider, key: str | None) -> str:
    """64 bits that tell one access from another, and nothing about the key."""
    parts = (provider.slug, provider.base_url, *map(repr, sorted(provider.headers.items())))
    text = "\0".join((*parts, key or ""))
    return fingerprint(text.encode("utf-8", "surrogatepass"))
