"""Keys that the gateway takes: made, taken back, shown. A key itself is told once, and not kept."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from omni_cli.domain.budgets import Budget
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.periods import duration_ms
from omni_cli.domain.record import replace
from omni_cli.domain.secrets import CLIENT_PREFIX
from omni_cli.records import SCOPES, ClientKey

if TYPE_CHECKING:
    from omni_cli.domain.periods import PeriodKind
    from omni_cli.domain.sessions import Session
    from omni_cli.ports import Clock
    from omni_cli.repositories import Audit, Budgets, ClientKeys, Store

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class ClientKeyService(Struct, kw_only=True, eq=False):
    """Args:
    org: whose a new key is, where nobody says.
    zone: that of a new budget's periods.
    """

    keys: ClientKeys
    budgets: Budgets
    audit: Audit
    unit: Store
    clock: Clock
    who: str
    org: str
    zone: str

    def create(
        self, wanted: ClientKey, *, limit_nusd: int | None, period: PeriodKind, expires: str | None
    ) -> tuple[ClientKey, str]:
        """A key of these limits with, for ``limit_nusd``, a budget; returns it and the key itself.

        Args:
            wanted: ``name`` "" has one made up.
            expires: in how long, such as 12h, 30d or 8w; None: never.

        Raises:
            UsageError: a name, a scope or a span that there cannot be, or a name that is taken.
        """
        name = wanted.name or f"key-{secrets.token_hex(3)}"
        for what, text in (("a key's name", name), ("an organisation's name", wanted.org)):
            if text and not _NAME.fullmatch(text):
                raise UsageError(f"{what} holds letters, digits, '.', '_' and '-', not {text!r}")
        if wanted.scope not in ("", *SCOPES):
            raise UsageError(f"--scope is one of {', '.join(SCOPES)}, not {wanted.scope!r}")
        now, (token, shown) = int(self.clock() * 1000), new_token()
        key = replace(
            wanted,
            name=name,
            shown=shown,
            org=wanted.org or self.org,
            created_at=now,
            expires_at=None if expires is None else now + duration_ms(expires),
        )
        with self.unit.transaction():
            self.keys.add(key, token)
            if limit_nusd is not None:
                self.budgets.put(Budget(0, "key", name, period, limit_nusd, zone=self.zone))
            after = key_document(key, now)
            self.audit.record(
                at_ms=now, who=self.who, action="key.create", target=name, after=after
            )
        return key, token

    def revoke(self, name: str) -> list[Budget]:
        """Take a key back; returns its budgets, which stay. Raises NotFound."""
        now = int(self.clock() * 1000)
        with self.unit.transaction():
            key = self.keys.revoke(name, now_ms=now)
            self.audit.record(at_ms=now, who=self.who, action="key.revoke", target=key.name)
        return [one for one in self.budgets.all() if (one.scope, one.value) == ("key", name)]


def new_token() -> tuple[str, str]:
    """A key that nobody has, and what of it is shown ever after."""
    token = CLIENT_PREFIX + secrets.token_urlsafe(32)
    return token, f"{token[:9]}...{token[-4:]}"


def session_key(name: str, session: Session, now_ms: int) -> tuple[ClientKey, str]:
    """A launcher's key for one session, and the key itself."""
    token, shown = new_token()
    return ClientKey(name, shown, created_at=now_ms, session=session), token


def key_document(key: ClientKey, now_ms: int) -> dict[str, Any]:
    """A key as JSON values; never the key itself."""
    return {
        **document(key),
        "org": key.org or None,
        "scope": key.scope or None,
        "manages": bool(key.scope),
        "state": key.state(now_ms),
    }
