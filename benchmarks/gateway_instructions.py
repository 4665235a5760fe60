"""Instructions that the gateway spends on a request, counted by valgrind's callgrind.

    python -m benchmarks.gateway_instructions                  this checkout
    python -m benchmarks.gateway_instructions /path/to/other   that one, too, and the ratio

CPU times of a shared machine differ by a tenth from run to run, and by half from day to day; these
counts differ by less than a hundredth. They are of the process's own work: routing, budget lease,
ledger, parsing. Sockets are simulated within the process, so the kernel's part is not in them. Each
checkout runs in its own virtual environment (``make`` made it).
"""

import argparse
import asyncio
import gc
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
CONNECTIONS, WARM = 16, 300
#: Under valgrind everything takes so much longer; what waits in the gateway waits longer with it,
#: so that as many requests share a transaction.
_SLOWER = 60


class _Far:
    """Stands where a connection's transport would be."""

    def is_closing(self) -> bool:
        return False

    def nothing(self) -> None:
        """There is no socket."""

    abort = close = pause_reading = resume_reading = nothing


class _Upstream(_Far):
    """Answers at once, in these pieces: each finds what came of the last one written."""

    def __init__(
        self, connection: Any, loop: asyncio.AbstractEventLoop, pieces: list[bytes]
    ) -> None:
        self._connection = connection
        self._loop = loop
        self._pieces = pieces

    def write(self, _: bytes) -> None:
        self._next(iter(self._pieces))

    def _next(self, pieces: Iterator[bytes]) -> None:
        piece = next(pieces, None)
        if piece is not None:
            self._loop.call_soon(self._connection.data_received, piece)
            # The gateway's own callbacks come first.
            self._loop.call_later(0, self._next, pieces)


class _Caller(_Far):
    """Sends the next request as soon as it has an answer."""

    def __init__(self, connection: Any, run: "_Run") -> None:
        self.connection = connection
        self._run = run

    def write(self, data: bytes) -> None:
        if not self._run.streams or data.endswith(b"0\r\n\r\n"):
            self._run.answered(self)


class _Run:
    def __init__(
        self, loop: asyncio.AbstractEventLoop, request: bytes, wanted: int, *, streams: bool
    ) -> None:
        self.loop = loop
        self.streams = streams
        self.request = request
        self.over: asyncio.Future[None] = loop.create_future()
        self._left = wanted

    def send(self, caller: _Caller) -> None:
        self.loop.call_soon(caller.connection.data_received, self.request)

    def answered(self, caller: _Caller) -> None:
        self._left -= 1
        if self._left > 0:
            self.send(caller)
        elif not self.over.done():
            self.over.set_result(None)


async def _serve(home: Path, wanted: int, *, streams: bool) -> None:
    from benchmarks.gateway_load import Upstream, payload
    from benchmarks.gateway_targets import MODEL
    from omni_cli.bootstrap import App
    from omni_cli.gateway import app as module
    from omni_cli.http import client as upstream
    from omni_cli.http.server import Connection, ServerState
    from omni_cli.services.engine import commits

    for name in ("_GATHER_S", "SETTLE_S"):
        setattr(commits, name, getattr(commits, name) * _SLOWER)
    # What is done now and then is not what is counted.
    commits._CHECKPOINT_S = 1e6
    for name in ("_POLL_S", "_SAVE_S", "_LIMIT_S", "_RECOVER_S", "_WATCH_S", "_BATCHES_S"):
        setattr(module, name, 1e6)
    loop = asyncio.get_running_loop()

    async def connected(pool: Any, origin: Any) -> Any:
        connection = upstream._Connection(pool, origin)
        pieces = Upstream.stream if streams else [Upstream.plain]
        connection.connection_made(_Upstream(connection, loop, pieces))  # type: ignore[arg-type]  # as one
        return connection

    setattr(upstream.UpstreamPool, "_connected", connected)  # noqa: B010  # a method of another class
    gateway = module.Gateway(App({"OMNI_HOME": str(home), "USER": "bench"}))
    gateway.start()
    state = ServerState(gateway.handle, gateway.limits)
    request = payload(80, MODEL, stream=streams, size=1000)

    async def go(count: int) -> None:
        run = _Run(loop, request, count, streams=streams)
        for _ in range(CONNECTIONS):
            caller = _Caller(Connection(state), run)
            caller.connection.connection_made(caller)
            run.send(caller)
        await run.over
        await asyncio.sleep(0.02 * _SLOWER)  # the last ones are settled

    await go(CONNECTIONS if streams else WARM)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    _instrument("on")
    await go(wanted)
    _instrument("off")
    os._exit(0)


def _instrument(state: str) -> None:
    command = ["callgrind_control", "-i", state, str(os.getpid())]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def count(repo: Path, requests: int, *, streams: bool) -> float:
    """Instructions per request of a checkout. Raises RuntimeError."""
    from benchmarks.gateway_targets import make_home, omni_command

    with tempfile.TemporaryDirectory(prefix="omni-bench-") as folder:
        # Without a limit of calls at once, as a hosted provider is; before there was such a thing
        # nobody reached the number.
        slots = "none" if (repo / "omni_cli/store/slots.py").exists() else "100000"
        python, home = str(repo / ".venv" / "bin" / "python"), Path(folder) / "omni"
        make_home(home, 9, budget=True, slots=slots, run=omni_command(python, repo, home))
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        command += [f"--callgrind-out-file={folder}/out", python]
        command += [__file__, "--serve", folder, "--requests", str(requests)]
        command += ["--stream"] if streams else []
        env = {**os.environ, "PYTHONPATH": str(repo), "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        raise RuntimeError(f"{repo}: {done.stderr[-2000:]}")
    return int(found[1]) / requests


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    made.add_argument("others", nargs="*", type=Path, help="checkouts to compare with")
    made.add_argument("--requests", type=int, default=1000)
    made.add_argument("--stream", action="store_true", help="streams of 256 chunks")
    made.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    given = made.parse_args()
    if given.serve is not None:
        import uvloop

        uvloop.run(_serve(given.serve / "omni", given.requests, streams=given.stream))
    base: float | None = None
    for repo in (REPO, *given.others):
        found = count(repo.resolve(), given.requests, streams=given.stream)
        base = base or found
        print(f"{found:12,.0f} instructions a request  {found / base:.3f}  {repo}")


if __name__ == "__main__":
    main()
