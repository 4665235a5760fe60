"""Run omni's commands in this process, on a store of the test's own."""

import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from omni_cli.bootstrap import App
from omni_cli.cli.app import main
from tests.engine import store_env

#: No ports of this machine are looked at in tests unless one asks for it.
_NOWHERE = "127.0.0.1:9"


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What a command printed with --json."""
        return json.loads(self.out)


Omni = Callable[..., Ran]


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the catalogue in it, made once: filling one takes most of a command's time."""
    home = tmp_path_factory.mktemp("seeded")
    with App({"OMNI_HOME": str(home)}) as app:
        assert app.models.all()
    return home / "omni.db"


@pytest.fixture
def home(tmp_path: Path, seeded: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """OMNI_HOME with a seeded store; no key in the environment, no OS keyring."""
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    shutil.copy2(seeded, folder / "omni.db")
    for name in os.environ:
        if name.endswith(("_API_KEY", "_PAT", "_BASE_URL", "_API_BASE")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OMNI_HOME", str(folder))
    for name, value in store_env(folder).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("USER", "tester")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("OLLAMA_HOST", _NOWHERE)
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def omni(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Omni:
    """``omni("models", "list")``; ``stdin`` is what is piped in."""

    def run(*args: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["omni", *args])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        shown = capsys.readouterr()
        code = left.value.code
        return Ran(code if isinstance(code, int) else 0, shown.out, shown.err)

    return run
