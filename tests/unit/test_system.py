"""What only one system has is behind one module: the rest can be imported elsewhere."""

import re
import subprocess
import sys

from tests.paths import REPO

_POSIX = re.compile(
    r"^\s*(?:import|from) (?:fcntl|resource|termios|tty|pty|pwd|grp|msvcrt|winreg)\b"
    r"|signal\.SIG(?:QUIT|HUP|USR\d|CHLD)|add_signal_handler|os\.(?:get(?:e?uid|pgrp)|fork|killpg)\b",
    re.MULTILINE,
)
#: As if on Windows: its locks, its signals, and none of what it has not.
_ELSEWHERE = """
import signal, sys, types
fake = types.ModuleType("msvcrt")
fake.LK_LOCK, fake.LK_NBLCK = 1, 2
held = set()
def locking(handle, mode, size):
    if handle in held:
        raise OSError(13, "Permission denied")
    held.add(handle)
fake.locking = locking
sys.modules.update(msvcrt=fake, fcntl=None, resource=None)
sys.platform, signal.SIGBREAK = "win32", signal.SIGUSR1
from omni_cli import system
system.lock(7)
try:
    system.lock(7, shared=True, wait=False)
except BlockingIOError:
    print("held", system.user_id(), system.most_open_files())
"""


def test_what_only_one_system_has_is_in_one_module() -> None:
    found = {
        path.name: match[0].strip()
        for path in (REPO / "omni_cli").rglob("*.py")
        if (match := _POSIX.search(path.read_text("utf-8"))) is not None
    }
    assert found.keys() == {"system.py"}, found


def test_that_module_can_be_imported_on_windows() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE], capture_output=True, text=True, cwd=REPO
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout == "held 0 None\n"
