"""Cold starts beside a bare interpreter and, where it is installed, ``llm --help`` (F1).

    python -m benchmarks.startup [--runs 25]

Whole processes, taking turns, so that a busy moment of the machine falls on all alike; the
median of the runs, of the clock and of the processor's time, and both as multiples of a bare
interpreter in the same run. The store exists and holds the demo's fleet. A chat is timed until its
request has come to a server of this process, and ended there; its processor's time is known on
Linux. Settings are as they come. What the status line is told comes on its standard input.
"""

import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from omni_cli.bootstrap import App
from omni_cli.domain.record import replace
from omni_cli.services.fleet.demo import DEMO
from omni_cli.simulator import fleet as scene

#: The most that a command may take, in bare interpreters.
LIMITS = {
    "omni --help": 5,
    "omni models list": 7,
    "omni route": 8,
    "omni chat": 12,
    "omni statusline": 2.4,  # 50 ms where an interpreter takes 21
}
#: As Claude Code says it.
TOLD = b'{"session_id": "s", "model": {"id": "claude-sonnet-4-5", "display_name": "Sonnet 4.5"}}'


class Server:
    """Tells when a process's request came and what it had used of a processor then, and ends it:
    it would try again."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.process: int | None = None
        self.came: float | None = None
        self.used_ms = 0.0
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head and (piece := connection.recv(65536)):
                    head += piece
                if self.process is not None and self.came is None:
                    self.came = time.perf_counter()
                    time.sleep(0.005)  # it waits now; while it runs the system counts by ticks
                    tasks = Path(f"/proc/{self.process}/task").glob("*/schedstat")
                    self.used_ms = sum(int(task.read_text().split()[0]) for task in tasks) / 1e6
                    os.kill(self.process, signal.SIGKILL)


def prepare(folder: Path, port: int) -> dict[str, str]:
    """A home with the demo's models active; returns the environment to find it.

    Modules are compiled, as an installation compiles them, whatever the environment says.
    """
    with App({"OMNI_HOME": str(folder)}) as app:
        for provider in scene.providers(f"http://127.0.0.1:{port}"):
            app.providers.put(replace(provider, auth_method="none", key_env=None))
        for model in DEMO.active:
            app.fleet.set_status(model, "active")
    env = {**os.environ, "OMNI_HOME": str(folder), "PYTHONPYCACHEPREFIX": str(folder / "pyc")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def once_ms(command: Sequence[str], env: Mapping[str, str], server: Server) -> tuple[float, float]:
    """By the clock, and of the processor; to its request where it sends one."""
    server.process = server.came = None
    told, tells = os.pipe()
    os.write(tells, TOLD)
    os.close(tells)
    began = time.perf_counter()
    process = subprocess.Popen(
        command,
        env=dict(env),
        stdin=told if command[-1] == "statusline" else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server.process = process.pid
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    took = time.perf_counter() - began
    os.close(told)
    if server.came is not None:
        clock = 1000 * (server.came - began)
        return clock, server.used_ms or clock
    return 1000 * took, 1000 * (used.ru_utime + used.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=25)
    runs = parser.parse_args().runs
    omni = str(Path(sys.executable).with_name("omni"))
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "omni --help": [omni, "--help"],
        "omni models list": [omni, "models", "list"],
        "omni route": [omni, "route", "Fix this bug: KeyError in f()"],
        "omni chat": [omni, "chat", "-m", DEMO.active[0], "hello"],
        "omni statusline": [omni, "statusline"],
    }
    llm = shutil.which("llm")
    if llm is not None:
        commands["llm --help"] = [llm, "--help"]
    with tempfile.TemporaryDirectory() as folder:
        server = Server()
        env = prepare(Path(folder), server.port)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for turn in range(runs + 1):
            for name, command in commands.items():
                took = once_ms(command, env, server)
                if turn:  # the first one compiles, and fills the disk's cache
                    times[name].append(took)
    medians = {
        name: [statistics.median(column) for column in zip(*taken, strict=True)]
        for name, taken in times.items()
    }
    bare = medians["python -c pass"]
    print(
        f"{'command':<20} {'clock':>9} {'to bare':>8} {'processor':>12} {'to bare':>8} {'limit':>6}"
    )
    for name, (clock, processor) in medians.items():
        ratios = clock / bare[0], processor / bare[1]
        print(
            f"{name:<20} {clock:>6.0f} ms {ratios[0]:>7.1f}x {processor:>9.0f} ms"
            f" {ratios[1]:>7.1f}x {LIMITS.get(name, ''):>6}"
        )
    over = [name for name, most in LIMITS.items() if medians[name][1] > most * bare[1]]
    print(f"limits, by the processor's time: {'over: ' + ', '.join(over) if over else 'kept'}")
    if llm is None:
        print("llm is not installed, so there is nothing to compare with")


if __name__ == "__main__":
    main()
