"""``omni db backup`` and ``restore`` of a store in PostgreSQL, with the real server and tools."""

import os
import shlex
import shutil
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.store import dumps
from tests.engine import DATABASES
from tests.integration.cli.conftest import Omni
from tests.postgres import MISSING, programs
from tests.unit.test_partitions import JUNE, add_calls

SECRET = "s3cret-of-the-database"
#: Of a tool that tells its version and then fails.
_FULL = """case $1 in
--version) echo "pg_dump (PostgreSQL) 99.1" ;;
*) echo the disk is full >&2; exit 1 ;;
esac"""


@pytest.fixture(autouse=True)
def on_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    if programs() is None:
        pytest.skip(MISSING)
    monkeypatch.setattr(DATABASES, "engine", "postgres")


def stand_in(folder: Path, script: str, *tools: str) -> str:
    """A folder to be first on PATH, with programs of these names."""
    folder.mkdir()
    for tool in tools:
        (folder / tool).write_text(f"#!/bin/sh\n{script}\n")
        (folder / tool).chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def real_tool(name: str) -> str:
    there = [str(path) for path in dumps._FOLDERS.glob(f"*/bin/{name}")]
    return max(there) if there else str(shutil.which(name))


def test_a_backup_comes_back_in_another_database(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_url = os.environ["OMNI_DATABASE_URL"]
    assert omni("budgets", "set", "all", "5", "--per", "month").code == 0
    with App(dict(os.environ)) as app:
        add_calls(app.store, [JUNE, JUNE + 5])
    # Who looks on at what this machine runs sees no password.
    tool = real_tool("pg_dump")
    seen = tmp_path / "seen"
    path = stand_in(
        tmp_path / "bin", f'echo "$@" >> {seen}; exec {shlex.quote(tool)} "$@"', "pg_dump"
    )
    monkeypatch.setattr(dumps, "_FOLDERS", tmp_path / "none")
    monkeypatch.setenv("PATH", path)
    monkeypatch.setenv("OMNI_DATABASE_URL", home_url.replace("omni@", f"omni:{SECRET}@"))
    made = omni("db", "backup", "copy.dump", "--json")
    assert made.code == 0, made.err
    assert made.data["requests"] == 2
    assert SECRET not in seen.read_text() + made.out + made.err
    assert "--snapshot" in seen.read_text()
    copy = tmp_path / "copy.dump"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert sorted(p.name for p in tmp_path.glob("copy*")) == ["copy.dump"]
    again = omni("db", "backup", "copy.dump")
    assert again.code != 0
    assert "--overwrite" in again.err
    assert omni("db", "backup", "copy.dump", "--overwrite").code == 0
    monkeypatch.undo()
    monkeypatch.setattr(DATABASES, "engine", "postgres")
    monkeypatch.chdir(tmp_path)
    for name, value in (("OMNI_HOME", str(tmp_path / "home")), ("USER", "tester"),
                        ("NO_COLOR", "1"), ("OMNI_DATABASE_URL", DATABASES.blank())):  # fmt: skip
        monkeypatch.setenv(name, value)
    back = omni("db", "restore", "copy.dump", "--json")
    assert back.code == 0, back.err
    assert back.data["requests"] == 2
    assert omni("db", "check").code == 0
    assert [b["limit_usd"] for b in omni("budgets", "list", "--json").data] == ["5"]
    assert omni("audit", "--json").data[0]["action"] == "restore"
    # What is there is not overwritten.
    refused = omni("db", "restore", "copy.dump")
    assert refused.code != 0
    assert "not empty" in refused.err
    assert "createdb" in refused.err


def test_what_is_no_backup_is_not_brought_back(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert omni("db", "backup", "whole.dump").code == 0
    whole = (tmp_path / "whole.dump").read_bytes()
    (tmp_path / "half.dump").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "other.dump").write_text("no dump")
    blank = DATABASES.blank()
    monkeypatch.setenv("OMNI_DATABASE_URL", blank)
    for name in ("half.dump", "other.dump", "missing.dump"):
        ran = omni("db", "restore", name)
        assert ran.code != 0, name
        assert ran.err.startswith("error: "), ran.err
    # Nothing was half brought back; and a name is none of the tool's options.
    (tmp_path / "whole.dump").rename(tmp_path / "-c.dump")
    ran = omni("db", "restore", "--", "-c.dump")
    assert ran.code == 0, ran.err


def test_a_tool_that_cannot_says_what_to_type(
    omni: Omni, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dumps, "_FOLDERS", tmp_path / "none")
    usual = os.environ["PATH"]
    for number, (script, words) in enumerate((
        ('echo "pg_dump (PostgreSQL) 9.6.24"', "is of version 9"),
        ("exit 1", "is not installed"),
        (_FULL, "the disk is full"),
    )):  # fmt: skip
        monkeypatch.setenv("PATH", usual)
        monkeypatch.setenv("PATH", stand_in(tmp_path / f"bin{number}", script, "pg_dump"))
        ran = omni("db", "backup", "copy.dump")
        assert ran.code != 0
        assert words in ran.err
        assert ("apt install postgresql-client-" in ran.err) == (script != _FULL)
        assert not list(tmp_path.glob("copy*"))
