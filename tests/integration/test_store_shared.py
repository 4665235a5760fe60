"""One store, several processes, several connections in one of them."""

import os
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from tests.integration.cli_process import omni


@pytest.mark.parametrize("connections", [1, 2, 3])
def test_what_is_written_after_another_process_left_is_kept(
    tmp_path: Path, connections: int
) -> None:
    """A gateway opens the store more than once; each opening must leave the others' locks alone,
    or a shell's ``omni`` takes itself for the last one and removes the write-ahead log."""
    env = {**os.environ, "OMNI_HOME": str(tmp_path)}
    apps = [App(env, durable=False) for _ in range(connections)]
    try:
        for app in apps:
            app.store.set_meta("seen", "nothing")
        assert omni(env, "usage", "--json").code == 0
        apps[0].store.set_meta("seen", "all")
        assert omni(env, "db", "check", "--json").code == 0
        with App(env) as other:
            assert other.store.get_meta("seen") == "all"
        for app in apps:
            assert app.store.get_meta("seen") == "all"
    finally:
        for app in apps:
            app.close()
    with App(env) as later:
        assert later.store.get_meta("seen") == "all"


def test_a_new_store_is_private(tmp_path: Path) -> None:
    with App({"OMNI_HOME": str(tmp_path)}) as app:
        app.store.set_meta("a", "b")
        files = [path for path in tmp_path.iterdir() if path.name.startswith("omni.db")]
        assert len(files) == 3
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
