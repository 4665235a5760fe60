"""Whatever the OpenAPI document allows, and what it does not, breaks nothing (E3)."""

import os
import subprocess
import sys
from pathlib import Path

from omni_cli.simulator import Simulator
from tests.gateway_server import serving
from tests.integration.gateway.test_access import _key

#: A stream without end would be waited for; it has a test of its own. What the specs have a second
#: time is one handler with the first.
_LEFT_OUT = r"/provider-status/stream|^/api/ai/|^/api/models/\{id\}/config$"
#: Bodies of forty fields: a case for each edge of each would be thousands of changes of the fleet.
_LARGE = r"^/api/(models|models/\{id\}|providers|providers/\{slug\})$"
#: What is asked, and how thoroughly.
_RUNS = (
    (
        *("--exclude-path-regex", f"{_LEFT_OUT}|{_LARGE}"),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", "3"),
    ),
    ("--include-path-regex", _LARGE, "--phases", "examples,fuzzing", "--max-examples", "8"),
)


def test_no_generated_request_gets_a_server_error(tmp_path: Path, sim: Simulator) -> None:
    """schemathesis, with a fixed seed: right and wrong requests to every operation."""
    with serving(tmp_path, sim) as served:
        key = _key(served, "fuzz", scope="admin")
        for run in _RUNS:
            words = [
                "run",
                f"{served.url}/openapi.json",
                *("--header", f"authorization: {key['authorization']}"),
                *("--checks", "not_a_server_error"),
                *(*run, "--mode", "all"),
                *("--seed", "7", "--generation-deterministic"),
                *("--request-timeout", "20", "--workers", "2"),
            ]
            done = subprocess.run(
                [sys.executable, "-m", "schemathesis.cli", *words],
                env={**os.environ, "NO_COLOR": "1", "HOME": str(tmp_path)},
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        # It went on serving.
        served.settle(len(list(served.app.ledger.recent(limit=1_000_000))))
