"""The real CLI as a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def everything(self) -> str:
        return self.out + self.err


def omni(env: Mapping[str, str], *args: str, stdin: str | bytes = "", timeout: float = 60) -> Done:
    """Run ``omni args`` to its end; ``stdin`` is piped in."""
    done = subprocess.run(
        [sys.executable, "-m", "omni_cli", *args],
        env=dict(env),
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True,
        timeout=timeout,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
