"""How fast the TUI is: first paint, keys, idle CPU, bytes a cursor step, memory; on a real terminal
(a pty) of 120x40.

    python -m benchmarks.tui --home DIR --rows 10000 --rows 1000000

Stores are made by benchmarks/ledger.py below DIR when they are not there yet. The first paint is
when the tab bar is on the terminal, the data when a model's name is; both counted from the start
of the process, next to a bare ``import textual.app``. Beside each wall time stands the processor
time, of all threads, which a busy machine stretches less.
"""

import argparse
import fcntl
import json
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import ledger
from omni_cli.bootstrap import App
from omni_cli.services.fleet.demo import build
from omni_cli.simulator import fleet
from omni_cli.tui.registry import TABS

_SIZE = (40, 120)
_KEYS = "jjjkkk" + "t" + "jjkk" + "t" + "2" + "jjjkkk" + "8" + "jjjjkkkk" + "1"
#: Cursor steps; at the end of what is in sight a list scrolls with each.
_STEPS, _SCROLLED = "jjjkkk", "j" * 40
_LONG = ("catalogue", "costs", "activity")
#: Tabs are made ahead within so many seconds, when no key comes; keys before that are hasty.
_READY_S = 8.0


@dataclass
class Terminal:
    """An omni on a pty."""

    home: Path
    seen: bytearray = field(default_factory=bytearray)

    def __enter__(self) -> "Terminal":
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            env = {**os.environ, "OMNI_HOME": str(self.home), "TERM": "xterm-256color"}
            env["COLORTERM"] = "truecolor"
            os.execve(
                sys.executable, [sys.executable, "-m", "omni_cli", "dash", "--tab", "fleet"], env
            )
        fcntl.ioctl(self.handle, termios.TIOCSWINSZ, struct.pack("HHHH", *_SIZE, 0, 0))
        return self

    def __exit__(self, *_: object) -> None:
        os.kill(self.pid, signal.SIGTERM)
        os.close(self.handle)
        os.waitpid(self.pid, 0)

    def read(self, seconds: float) -> bytes:
        """What arrives next, empty when nothing does in time."""
        ready, _, _ = select.select([self.handle], [], [], seconds)
        chunk = os.read(self.handle, 65_536) if ready else b""
        self.seen += chunk
        return chunk

    def until(self, words: bytes, since: float, limit_s: float = 20.0) -> float:
        """Seconds from ``since`` until ``words`` are on the terminal."""
        while words not in self.seen:
            self.read(0.05)
            if time.perf_counter() - since > limit_s:
                raise TimeoutError(f"{words!r} did not appear")
        return time.perf_counter() - since

    def quiet(self, seconds: float) -> None:
        """Wait until nothing has arrived for so long."""
        while self.read(seconds):
            pass

    def press(self, key: str) -> tuple[float, float] | None:
        """Seconds until the terminal shows anything new, and of the processor until it rests; None
        where the key before was so late that its answer was taken for this one's."""
        before, started = self.cpu_s(), time.perf_counter()
        os.write(self.handle, key.encode())
        if not self.read(2.0):
            return None
        took = time.perf_counter() - started
        self.quiet(0.15)
        return took, self.cpu_s() - before

    def step_bytes(self, keys: str) -> int:
        """The most that one of these keys sends to the terminal."""
        sent = []
        for key in keys:
            before = len(self.seen)
            os.write(self.handle, key.encode())
            self.quiet(0.4)
            sent.append(len(self.seen) - before)
        return max(sent)

    def idle_percent(self, seconds: float) -> float:
        """Of one processor."""
        before, since = self.cpu_s(), time.perf_counter()
        while time.perf_counter() - since < seconds:
            self.read(0.5)
        return 100 * (self.cpu_s() - before) / (time.perf_counter() - since)

    def memory_mb(self) -> float:
        """What of the process is in memory."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        kilobytes = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        return int(kilobytes.split()[1]) / 1024

    def cpu_s(self) -> float:
        """Processor seconds of the process's threads so far."""
        spent = 0
        for thread in Path(f"/proc/{self.pid}/task").iterdir():
            with suppress(OSError):  # it has ended meanwhile
                spent += int((thread / "schedstat").read_text().split()[0])
        return spent / 1e9


def prepare(home: Path, rows: int) -> None:
    """A simulated fleet with ``rows`` requests in its ledger, unless it is there."""
    if (home / "omni.db").exists():
        return
    home.mkdir(parents=True, exist_ok=True)
    ledger.fill(home, rows, decisions=False, now_ms=int(time.time() * 1000))
    with App({**os.environ, "OMNI_HOME": str(home)}) as omni:
        build(
            omni.fleet,
            simulated=fleet.providers("http://127.0.0.1:9"),
        )


def import_ms(runs: int) -> float:
    """Median of ``import textual.app`` as a whole process."""
    took = []
    for _ in range(runs):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import textual.app"], check=True)
        took.append(time.perf_counter() - started)
    return 1000 * statistics.median(took)


def measure(home: Path, runs: int, idle_s: float) -> dict[str, object]:
    paint, data, spent = [], [], []
    for _ in range(runs):
        started = time.perf_counter()
        with Terminal(home) as terminal:
            paint.append(terminal.until(b"Fleet", started))
            data.append(terminal.until(b"Claude", started))
            spent.append(terminal.cpu_s())
            terminal.quiet(0.3)
    with Terminal(home) as terminal:
        terminal.until(b"Claude", time.perf_counter())
        terminal.quiet(0.5)
        hasty = [took for key in _KEYS if (took := terminal.press(key)) is not None]
    with Terminal(home) as terminal:
        terminal.until(b"Claude", time.perf_counter())
        terminal.idle_percent(_READY_S)
        pressed = [took for key in _KEYS if (took := terminal.press(key)) is not None]
        walls, cpus = map(sorted, zip(*pressed, strict=True))
        terminal.quiet(1.0)
        idle = terminal.idle_percent(idle_s)
        os.write(terminal.handle, b"2")
        terminal.quiet(2.0)
        watching = terminal.idle_percent(idle_s)
        steps, scrolled = {}, {}
        for tab in TABS:
            if tab.id == "chat":
                continue  # a key is a letter there
            os.write(terminal.handle, tab.key.encode())
            terminal.quiet(1.0)
            steps[tab.id] = terminal.step_bytes(_STEPS)
            if tab.id in _LONG:
                scrolled[tab.id] = terminal.step_bytes(_SCROLLED)
        memory = terminal.memory_mb()
    return {
        "first_paint_ms": round(1000 * statistics.median(paint)),
        "data_ms": round(1000 * statistics.median(data)),
        "data_cpu_ms": round(1000 * statistics.median(spent)),
        "key_p50_ms": round(1000 * statistics.median(walls), 1),
        "key_max_ms": round(1000 * walls[-1], 1),
        "hasty_key_max_ms": round(1000 * max(hasty)[0], 1),
        "hasty_key_cpu_max_ms": round(1000 * max(cpu for _, cpu in hasty), 1),
        "key_cpu_p50_ms": round(1000 * statistics.median(cpus), 1),
        "key_cpu_max_ms": round(1000 * cpus[-1], 1),
        "idle_cpu_percent": round(idle, 2),
        "idle_cpu_percent_on_providers": round(watching, 2),
        "most_bytes_a_step": steps,
        "most_bytes_a_step_that_scrolls": scrolled,
        "memory_mb": round(memory, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--home", type=Path, required=True, help="folder for the stores")
    parser.add_argument("--rows", type=int, action="append", help="size of a store; repeatable")
    parser.add_argument("--runs", type=int, default=7, help="starts per store")
    parser.add_argument("--idle", type=float, default=60.0, help="seconds of idling to watch")
    given = parser.parse_args()
    figures: dict[str, object] = {"textual_import_ms": round(import_ms(given.runs))}
    for rows in given.rows or [10_000, 1_000_000]:
        home = given.home / f"tui-{rows}"
        prepare(home, rows)
        figures[str(rows)] = measure(home, given.runs, given.idle)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
