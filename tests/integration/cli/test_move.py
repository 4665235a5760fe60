"""A store carried from a file to PostgreSQL and back: whole, or not at all, wherever it is cut."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.errors import StoreError
from omni_cli.store import connection, move
from omni_cli.store.connection import SqliteStore
from omni_cli.store.move import Mover, tables
from tests.conftest import CHEAP
from tests.engine import DATABASES, on_a_file
from tests.integration.cli.conftest import Omni
from tests.integration.conftest import Simulator
from tests.postgres import MISSING, programs


@pytest.fixture
def used(omni: Omni, sim: Simulator) -> Omni:
    """A fleet that was used a little."""
    for words in (
        ("providers", "add", "openai", "--base-url", f"{sim.url}/openai/v1", "--no-auth"),
        ("models", "activate", CHEAP),
        ("budgets", "set", "all", "5", "--per", "month"),
        ("roles", "assign", "coder", CHEAP),
        ("keys", "create", "app"),
        ("chat", "why is the sky blue?", "-m", CHEAP),
        ("chat", "and at night?", "-c", "-m", CHEAP, "--no-stream"),
    ):
        assert omni(*words).code == 0, words
    return omni


@on_a_file
def test_a_file_moves_to_postgres_and_back(
    used: Omni, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if programs() is None:
        pytest.skip(MISSING)
    # Of a database that nothing was ever in, as createdb makes one.
    url = DATABASES.blank()
    asked = (("usage",), ("budgets", "list"), ("roles", "list"), ("logs",), ("keys", "list"))
    before = [used(*words, "--json").data for words in asked]
    would = used("db", "move", url, "--plan", "--json").data
    assert (would["rows"]["requests"], would["dry_run"]) == (2, True)
    moved = used("db", "move", url, "--json")
    assert moved.code == 0, moved.err
    assert moved.data["rows"]["attempts"] == 2
    assert moved.data["money_usd"] == would["money_usd"] != "0"
    refused = used("usage")
    assert refused.code != 0
    assert "was moved to postgresql://omni@127.0.0.1" in refused.err
    assert used("db", "move", url).code == 0  # again: nothing is left to do
    monkeypatch.setenv("OMNI_DATABASE_URL", url)
    assert [used(*words, "--json").data for words in asked] == before
    assert used("db", "check").code == 0
    # Numbers count on, and the ledger goes on.
    assert used("rules", "add", 'taskType == "coding"', CHEAP).code == 0
    assert used("chat", "once more", "-m", CHEAP).code == 0
    with App({"OMNI_HOME": str(home), "OMNI_DATABASE_URL": url}) as other:
        assert other.models.all()
        busy = used("db", "move", "back.db")
        assert (busy.code, "is in use" in busy.err) == (1, True), busy.err
    back = used("db", "move", "back.db", "--json")
    assert back.code == 0, back.err
    assert back.data["rows"]["requests"] == 3
    assert "was moved" in used("usage").err
    monkeypatch.delenv("OMNI_DATABASE_URL")
    shutil.move(home / "omni.db", tmp_path / "old.db")
    shutil.move(tmp_path / "back.db", home / "omni.db")
    assert used("usage", "--json").data["total"]["calls"] == 3
    assert used("db", "check").code == 0


@on_a_file
def test_a_move_is_given_up_and_a_store_in_use_is_not_moved(
    used: Omni, home: Path, tmp_path: Path
) -> None:
    with closing(SqliteStore(home / "omni.db")):
        busy = used("db", "move", "there.db")
    assert "another omni has it open" in busy.err
    (tmp_path / "there.db").unlink(missing_ok=True)
    assert used("db", "move", "there.db").code == 0
    assert used("db", "move", "elsewhere.db").code != 0
    assert not (tmp_path / "elsewhere.db").exists()
    assert used("db", "move", "--cancel").code == 0
    assert used("usage", "--json").data["total"]["calls"] == 2
    full = used("db", "move", "there.db")
    assert "is not empty" in full.err
    assert used("db", "move").code == 2
    assert used("db", "move", "--cancel").code != 0


@contextmanager
def _dying_after(steps: int) -> Iterator[None]:
    """This process dies at a statement: nothing that it has not committed is kept."""
    left = steps
    execute = connection._Connection.execute

    def counted(self: Any, *args: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return execute(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection._Connection, "execute", counted)
        yield


@on_a_file
def test_a_move_goes_on_wherever_it_was_cut(
    used: Omni, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move, "CHUNK", 700)  # some tables take several
    kept = home / "omni.db"

    def mover(name: str) -> Mover:
        (tmp_path / name).mkdir(exist_ok=True)
        paths = [tmp_path / name / end for end in ("from.db", "to.db")]
        if not paths[0].exists():
            shutil.copy2(kept, paths[0])
        stores = [lambda path=path: SqliteStore(path, moving=True) for path in paths]
        return Mover(stores[0], stores[1], paths[1].exists, str(paths[1]))

    whole = mover("whole").run(lambda _table, _rows: None)
    rows = _rows(tmp_path / "whole" / "to.db")
    steps, died = 0, True
    while died:
        steps += 1 if steps < 9 else 140
        died = False
        try:
            with _dying_after(steps):
                mover(f"cut{steps}").run(lambda _table, _rows: None)
        except (KeyboardInterrupt, StoreError):
            died = True
        if died and mover(f"cut{steps}").begun():  # neither is a store that may be used
            with pytest.raises(StoreError) as told:
                SqliteStore(tmp_path / f"cut{steps}" / "from.db")
            if "was moved" not in told.value.message:
                with pytest.raises(StoreError, match="is being filled"):
                    SqliteStore(tmp_path / f"cut{steps}" / "to.db")
        assert mover(f"cut{steps}").run(lambda _table, _rows: None).rows == whole.rows
        assert _rows(tmp_path / f"cut{steps}" / "to.db") == rows
        shutil.rmtree(tmp_path / f"cut{steps}")
    assert steps > 200


def _rows(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    with closing(SqliteStore(path)) as store:
        return {
            table.name: [
                row
                for row in store.plain(table.page(None).replace("?", "1000000"))
                if row[0] != "moved"
            ]
            for table in tables()
        }
