"""Where a store is: a file of this machine, or a PostgreSQL database. What either engine needs is
imported when it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omni_cli.records import StoreFacts
    from omni_cli.store.limits import LimitStore
    from omni_cli.store.port import Store


class Place(Struct, frozen=True):
    """
    Args:
        where: the path of a file, or the address of a database.
        data: the folder of this machine where what a database cannot keep is.
    """

    where: str
    data: Path
    env: Mapping[str, str]

    @property
    def is_database(self) -> bool:
        return self.where.startswith(("postgresql://", "postgres://"))

    @property
    def path(self) -> Path:
        return Path(self.where).expanduser().absolute()

    @property
    def name(self) -> str:
        """As a person is told: the file, or the database without a password."""
        if not self.is_database:
            return str(self.path)
        from omni_cli.store.postgres import named

        return named(self.where, self.env)

    def open(self, *, durable: bool = True, moving: bool = False) -> Store:
        """Args:
        durable: flush every commit to disk (see store/connection.py).
        moving: also a store that is being moved.
        """
        if self.is_database:
            from omni_cli.store.postgres import PostgresStore

            return PostgresStore(
                self.where, self.data, env=self.env, durable=durable, moving=moving
            )
        from omni_cli.store.connection import SqliteStore

        return SqliteStore(self.path, durable=durable, moving=moving)

    def facts(self) -> StoreFacts:
        """A look from outside: the store may be missing, or broken."""
        if self.is_database:
            from omni_cli.store import postgres

            return postgres.examine(self.where, self.env)
        from omni_cli.store.maintenance import examine

        return examine(self.path)

    def exists(self) -> bool:
        return self.facts().exists if self.is_database else self.path.exists()

    def limits(self) -> LimitStore | None:
        """Where gateways keep limits together; None where the store is a file of one machine."""
        if not self.is_database:
            return None
        from omni_cli.store.limits import LimitStore

        return LimitStore(self.where, self.env)

    def unwritable(self) -> str:
        """What to do where nothing can be kept; "" where it can."""
        from omni_cli.store.connection import UNWRITABLE_HINT, can_write

        return "" if can_write(self.data / "omni.db") else UNWRITABLE_HINT
