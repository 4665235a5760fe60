"""Cold start: what commands must not import, each in a process of its own (style.md)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHEAP, Fleet

HEAVY = ["textual", "plotext", "pydantic", "genai_prices"]
ALSO = ["httpx", "rich", "sqlite_utils"]
_RUN = """
import sys
sys.argv = ["omni", *sys.argv[1:]]
from omni_cli.cli.app import main
try:
    main()
except SystemExit as left:
    code = left.code or 0
sys.stderr.write("LOADED " + " ".join(sorted({name.partition(".")[0] for name in sys.modules})))
sys.exit(code)
"""


def loaded(env: dict[str, str], *args: str) -> tuple[set[str], str]:
    """Top-level packages that ``omni args`` has imported at its end, and its output."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *args],
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("LOADED ")[2].split()), done.stdout


@pytest.mark.parametrize("args", [("--help",), ("models", "list"), ("route", "x")])
def test_the_quick_commands_import_nothing_heavy(
    fleet_template: Path, args: tuple[str, ...]
) -> None:
    packages, out = loaded({"OMNI_HOME": str(fleet_template)}, *args)
    assert out
    assert "omni_cli" in packages
    assert packages.isdisjoint(HEAVY + ALSO)


def test_chat_imports_httpx_and_nothing_that_only_draws(fleet: Fleet) -> None:
    packages, out = loaded(fleet.env, "chat", "-m", CHEAP, "hello")
    assert "[simulated gpt-4o-mini]" in out
    assert "httpx" in packages
    assert packages.isdisjoint([*HEAVY, "rich", "sqlite_utils"])
