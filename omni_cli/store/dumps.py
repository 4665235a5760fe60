"""Backups of a store in PostgreSQL: its own tools copy it and bring it back, as a whole or not.

Nothing secret stands on a command line: the address goes without its password, which the tool gets
in its environment, as libpq's own place for it is (``~/.pgpass`` works as ever).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from omni_cli.domain.errors import StoreError
from omni_cli.records import BackupFacts
from omni_cli.store.maintenance import fresh
from omni_cli.store.port import SCHEMA_VERSION
from omni_cli.store.postgres import connect, named
from omni_cli.store.upgrade import check

#: Where Debian keeps the tools of each version; what finds one by itself is not always newer.
_FOLDERS = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\(PostgreSQL\)\s+(\d+)")
_FACTS = """
SELECT (SELECT value FROM meta WHERE key = 'schema'), (SELECT count(*) FROM requests),
    (SELECT max(created_at) FROM requests)
"""
_TABLES = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'S') AND n.nspname = current_schema()
"""
#: Words of an error at most.
_MOST_CHARS = 400


class Dumps:
    """
    Args:
        url: of the database.
        env: what the tools run in.
    """

    def __init__(self, url: str, env: Mapping[str, str]) -> None:
        self._url = url
        self._where = named(url, env)
        self._env = dict(env)

    def backup(self, path: Path, target: Path, *, overwrite: bool) -> BackupFacts:  # noqa: ARG002  # of stores that are files
        """Dump the database as it is at one moment, while it is used; ``target`` appears whole.

        Raises:
            StoreError: ``target`` exists, the database or the tool is not there, or the tool is
                older than the server.
        """
        if target.exists() and not overwrite:
            raise StoreError(f"{target} exists already", hint="another name, or --overwrite")
        with self._connect() as link:
            tool = self._tool("pg_dump", link.info.server_version // 10_000)
            # What is counted is what is dumped. It stands idle while the tool works.
            link.execute("SET idle_in_transaction_session_timeout = 0")
            link.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            ((there,),) = link.execute("SELECT to_regclass('meta') IS NOT NULL")
            if not there:
                raise StoreError(f"there is no store in {self._where}")
            ((snapshot,),) = link.execute("SELECT pg_export_snapshot()")
            ((schema, requests, newest),) = link.execute(_FACTS)
            with fresh(target) as part, part.open("wb") as file:
                # Of tables that are not logged a crash keeps nothing, either.
                self._run(
                    tool, "--format=custom", "--no-unlogged-table-data", "--no-owner",
                    f"--snapshot={snapshot}", into=file,
                )  # fmt: skip
        return BackupFacts(str(target), int(schema), target.stat().st_size, requests, newest)

    def restore(
        self,
        path: Path,  # noqa: ARG002  # of stores that are files
        source: Path,
        aside: Path,  # noqa: ARG002  # nothing is put aside: the database must be empty
        *,
        force: bool,  # noqa: ARG002  # there is nobody to force
    ) -> tuple[BackupFacts, None]:
        """Bring a dump back into an empty database, in one transaction.

        Raises:
            StoreError: the dump is none of a store, damaged, or of a newer omni; the database is
                not empty; the tool is missing or too old.
        """
        if not source.is_file():
            raise StoreError(f"there is no file {source}")
        with self._connect() as link:
            tool = self._tool("pg_restore", link.info.server_version // 10_000)
            schema = self._schema_in(tool, source)
            ((tables,),) = link.execute(_TABLES)
            if tables:
                raise StoreError(
                    f"{self._where} is not empty: a dump is brought back into a database of its "
                    "own, and nothing is overwritten",
                    hint="end every omni; createdb omni2; OMNI_DATABASE_URL="
                    f"postgresql://.../omni2 omni db restore {source}",
                )
        self._run(tool, "--single-transaction", "--no-owner", "--no-privileges", _word(source))
        with self._connect() as link:
            ((_, requests, newest),) = link.execute(_FACTS)
        return BackupFacts(str(source), schema, source.stat().st_size, requests, newest), None

    def _schema_in(self, tool: Path, source: Path) -> int:
        """Of the store that a dump holds, read whole. Raises StoreError."""
        told = self._run(tool, "--data-only", "--table=meta", "--file=-", _word(source), link=False)
        found = re.search(r"^schema\t(\d+)$", told, re.MULTILINE)
        if found is None:
            raise StoreError(f"{source} is no store of omni")
        schema = int(found[1])
        check(schema)
        if schema > SCHEMA_VERSION:
            raise StoreError(
                f"{source} was written by a newer omni (schema {schema}, this one knows "
                f"{SCHEMA_VERSION})",
                hint="upgrade omni, then restore",
            )
        return schema

    def _connect(self) -> Any:
        try:
            return connect(self._url)
        except psycopg.Error as exc:
            why = str(exc).strip().partition("\n")[0]
            raise StoreError(f"{self._where} does not answer: {why}") from None

    def _tool(self, name: str, server: int) -> Path:
        """The oldest that knows the server. Raises StoreError: there is none."""
        found: dict[int, Path] = {}
        usual = shutil.which(name, path=self._env.get("PATH"))
        folders = sorted(_FOLDERS.glob(f"*/bin/{name}"))
        for tool in [*folders, *([Path(usual)] if usual else [])]:
            if version := self._version(tool):
                found[version] = tool
        able = [version for version in found if version >= server]
        if able:
            return found[min(able)]
        has = f"{name} here is of version {max(found)}" if found else f"{name} is not installed"
        raise StoreError(
            f"{has}, and the server of {self._where} is PostgreSQL {server}",
            hint=f"apt install postgresql-client-{server} (any of {server} or newer will do)",
        )

    def _version(self, tool: Path) -> int:
        """Its major version; 0 where it does not run."""
        try:
            told = subprocess.run(  # noqa: S603  # PostgreSQL's own tool
                [tool, "--version"], capture_output=True, text=True, check=False, timeout=30
            ).stdout
        except OSError:
            return 0
        found = _VERSION.search(told)
        return 0 if found is None else int(found[1])

    def _run(self, tool: Path, *words: str, into: Any = None, link: bool = True) -> str:
        """What it wrote, where not ``into`` a file. Raises StoreError: it failed."""
        env, address = dict(self._env), conninfo.conninfo_to_dict(self._url)
        for word, name in (("password", "PGPASSWORD"), ("sslpassword", "")):
            secret = address.pop(word, None)
            if secret is not None and not name:
                raise StoreError(
                    f"{word} is in the address of {self._where}, and {tool.name} takes it on its "
                    "command line only, where others could read it",
                    hint="use a key without one, or the server's own backups",
                )
            if secret is not None:
                env[name] = str(secret)
        command = [str(tool), "--no-password", *words] if link else [str(tool), *words]
        if link:
            command.append(f"--dbname={conninfo.make_conninfo('', **address)}")
        done = subprocess.run(  # noqa: S603  # PostgreSQL's own tool, without a shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if into is None else into,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
            check=False,
        )
        if done.returncode:
            why = done.stderr.decode("utf-8", "replace").strip()[:_MOST_CHARS]
            raise StoreError(f"{tool.name} failed: {why}")
        return (done.stdout or b"").decode("utf-8", "replace")


def _word(path: Path) -> str:
    """A file on a command line, whatever it is called: -c.dump is no option."""
    return str(path.absolute())
