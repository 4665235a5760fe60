"""Client keys of the gateway. Only a digest of each is kept: a copy of the store opens nothing.

A key is 256 random bits, so a plain SHA-256 is enough; a slow hash is for what people choose.
"""

import json
from collections.abc import Sequence
from typing import Any

from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.record import asdict
from omni_cli.domain.sessions import Session
from omni_cli.domain.words import meant
from omni_cli.records import ClientKey, Lock, digest_of
from omni_cli.store.port import Row, Table, read

_ADD = """
INSERT INTO gateway_keys (name, digest, shown, org, manages, scope, models, rpm, tpm, concurrency,
                          created_at, expires_at, session)
VALUES (:name, :digest, :shown, :org, :manages, :scope, :models, :rpm, :tpm, :concurrency,
        :created_at, :expires_at, :session)
"""


class GatewayKeyStore(Table):
    def add(self, key: ClientKey, token: str) -> None:
        """Raises UsageError when its name was ever used: the ledger keeps what it did."""
        values: dict[str, Any] = {
            "name": key.name,
            "digest": digest_of(token),
            "shown": key.shown,
            "org": key.org,
            # What builds before scopes go by: to them a key manages all or nothing.
            "manages": int(key.scope == "admin"),
            "scope": key.scope,
            "models": json.dumps(key.models),
            "rpm": key.rpm,
            "tpm": key.tpm,
            "concurrency": key.concurrency,
            "created_at": key.created_at,
            "expires_at": key.expires_at,
            "session": "" if key.session is None else json.dumps(asdict(key.session)),
        }
        with self._store.transaction(Lock.KEYS) as db:
            if db.execute("SELECT 1 FROM gateway_keys WHERE name = ?", (key.name,)).fetchone():
                raise UsageError(
                    f"there is or was a key named {key.name!r}", hint="choose another name"
                )
            db.execute(_ADD, values)

    def all(self) -> list[ClientKey]:
        """Oldest first, also those that are revoked."""
        rows = self._store.db.execute("SELECT * FROM gateway_keys ORDER BY id")
        return [_key(row) for row in rows]

    def by_digest(self) -> dict[bytes, ClientKey]:
        rows: Sequence[Row] = self._store.db.execute("SELECT * FROM gateway_keys").fetchall()
        return {bytes(row["digest"]): _key(row) for row in rows}

    def revoke(self, name: str, *, now_ms: int) -> ClientKey:
        """Raises NotFound. A key that is revoked already stays as it is."""
        with self._store.transaction(Lock.KEYS) as db:
            db.execute(
                "UPDATE gateway_keys SET revoked_at = coalesce(revoked_at, ?) WHERE name = ?",
                (now_ms, name),
            )
            row = db.execute("SELECT * FROM gateway_keys WHERE name = ?", (name,)).fetchone()
            names = db.execute("SELECT name FROM gateway_keys").fetchall() if row is None else ()
        if row is None:
            raise NotFound(
                f"no key is named {name!r}",
                hint=meant(name, [one["name"] for one in names])
                or "omni keys list --clients shows them",
            )
        return _key(row)

    def remove(self, name: str) -> None:
        """Forget a key that a launcher made for one session; any other stays."""
        with self._store.transaction(Lock.KEYS) as db:
            db.execute("DELETE FROM gateway_keys WHERE name = ? AND session <> ''", (name,))

    def used(self, name: str, *, now_ms: int) -> None:
        """Note that it was used."""
        with self._store.transaction(Lock.KEYS) as db:
            db.execute("UPDATE gateway_keys SET used_at = ? WHERE name = ?", (now_ms, name))


def _key(row: Row) -> ClientKey:
    return read(
        ClientKey,
        row,
        scope=row["scope"] or ("admin" if row["manages"] else ""),
        models=tuple(json.loads(row["models"])),
        session=Session(**json.loads(row["session"])) if row["session"] else None,
    )
