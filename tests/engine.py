"""Which engine tests keep their stores in. A test that asks for ``engine`` runs on each; with
OMNI_TEST_ENGINE=postgres all do that make a store here or by ``App``."""

import atexit
import os
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.store.connection import SqliteStore
from omni_cli.store.port import Store
from tests import postgres

ENGINES = ("sqlite", "postgres")


class _Databases:
    """Databases of one server, one for each folder that a test has a store in. A test's databases
    are emptied and taken again: to make one takes ten times as long."""

    def __init__(self) -> None:
        self.engine = os.environ.get("OMNI_TEST_ENGINE", "sqlite")
        self._server: postgres.Server | None = None
        self._free: list[str] = []
        self._passing: list[str] = []
        self._seeded = False
        #: Of homes whose omnis are made without an environment that says where their store is.
        self.homes: dict[str, str] = {}
        self._taken: dict[str, str] = {}
        self._made = 0

    def seeded(self, folder: Path) -> str:
        """Of a database with the catalogue in it, for an omni whose home is ``folder``."""
        if str(folder) in self.homes:
            return self.homes[str(folder)]
        server = self._running()
        if not self._seeded:
            server.command("CREATE DATABASE seeded TEMPLATE template STRATEGY file_copy")
            env = {"OMNI_HOME": os.environ["OMNI_HOME"], "OMNI_DATABASE_URL": server.url("seeded")}
            with App(env) as app:
                assert app.models.all()
            self._seeded = True
        self._made += 1
        name = f"home{self._made}"
        server.command(f"CREATE DATABASE {name} TEMPLATE seeded STRATEGY file_copy")
        self._passing.append(name)
        self.homes[str(folder)] = server.url(name)
        return server.url(name)

    def of_home(self, folder: Path) -> str:
        """Of the database of an omni that a test makes of its home alone."""
        bare = App._seed is not _SEED  # the test wants no catalogue
        return self.url(folder) if bare else self.seeded(folder)

    def url(self, folder: Path) -> str:
        """Of the database of this folder."""
        key = str(folder)
        if key not in self._taken:
            self._taken[key] = self._free.pop() if self._free else self._make()
        return self._taken[key]

    def _running(self) -> postgres.Server:
        if self._server is None:
            if postgres.programs() is None:
                pytest.skip(postgres.MISSING)
            self._server = postgres.Server()
            atexit.register(self._server.stop)
            self._server.command("CREATE DATABASE template")
            _open(self._server.url("template"), Path(os.environ["OMNI_HOME"])).close()
        return self._server

    def blank(self) -> str:
        """Of a database without tables, for this test."""
        server = self._running()
        self._made += 1
        name = f"blank{self._made}"
        server.command(f"CREATE DATABASE {name}")
        self._passing.append(name)
        return server.url(name)

    def _make(self) -> str:
        server = self._running()
        self._made += 1
        name = f"test{self._made}"
        server.command(f"CREATE DATABASE {name} TEMPLATE template STRATEGY file_copy")
        return server.url(name)

    def done(self) -> None:
        """The test is over."""
        for url in self._taken.values():
            self._empty(url)
            self._free.append(url)
        self._taken.clear()
        for name in self._passing:
            self._running().command(f"DROP DATABASE {name} WITH (FORCE)")
        self._passing.clear()
        self.homes.clear()

    def _empty(self, url: str) -> None:
        import psycopg

        with psycopg.connect(url, autocommit=True) as link:
            tables = link.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            ).fetchall()
            keep = "DELETE FROM meta WHERE key <> 'schema'"
            link.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            clear = [f"DELETE FROM {name}" for (name,) in tables if name != "meta"]
            starts = "SELECT setval(c.oid, 1, false) FROM pg_class c WHERE c.relkind = 'S'"
            # In any order, whatever refers to what.
            freely = "SET LOCAL session_replication_role = replica"
            link.execute("; ".join(["BEGIN", freely, *clear, keep, starts, "COMMIT"]).encode())


DATABASES = _Databases()
_SEED = App._seed


#: Of a test of what only a store in a file has.
on_a_file = pytest.mark.one_engine("a file's own: its pragmas, its copies, its life sign")


def _open(url: str, folder: Path, *, durable: bool = False) -> Store:
    from omni_cli.store.postgres import PostgresStore

    return PostgresStore(url, folder, durable=durable)


def open_store(path: Path, *, durable: bool = False) -> Store:
    """The store of a test: ``path`` is its file, or what its database is known by."""
    if DATABASES.engine == "sqlite":
        return SqliteStore(path, durable=durable)
    return _open(DATABASES.url(path), path.parent, durable=durable)


def store_env(home: Path) -> dict[str, str]:
    """What the environment of an omni says of its store, which has the catalogue in it; nothing
    where that is a file of its home."""
    if DATABASES.engine == "sqlite":
        return {}
    return {"OMNI_DATABASE_URL": DATABASES.seeded(home)}
