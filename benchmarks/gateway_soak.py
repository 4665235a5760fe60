"""The gateway at its highest rate for a while, with idle streams open and a worker killed.

    python -m benchmarks.gateway_soak --seconds 60 --streams 1000 --workers 2

Half-way, one worker is killed by SIGKILL. A second client key has a budget that cannot last. Says
what was answered, refused and lost, what the upstream and the ledger counted, what the budget
spent, and how memory grew. Exits with 1 when something does not add up.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gateway_load import answered, payload
from benchmarks.gateway_targets import MODEL, Target, load, omni, upstream_at
from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.records import ClientKey
from omni_cli.store.gateway_keys import GatewayKeyStore

CONNECTIONS, POOR_CONNECTIONS = 64, 4
#: What the second key may spend, nano-dollars: some ten thousand of the benchmark's requests.
POOR_NUSD = 12_000_000_000
#: How often a gateway looks for what dead processes left open, and some more, seconds.
RECOVERY_S = 35


async def _hold(port: int, data: bytes, streams: int, work: Callable[[], None]) -> int:
    """Do ``work`` with so many streams open that say nothing; returns how many still were."""
    made = [await asyncio.open_connection("127.0.0.1", port) for _ in range(streams)]
    for _, writer in made:
        writer.write(data)
    for reader, _ in made:
        await reader.readuntil(b"\r\n\r\n")
    ends = [asyncio.create_task(reader.read()) for reader, _ in made]
    await asyncio.to_thread(work)
    alive = sum(not end.done() for end in ends)
    for _, writer in made:
        writer.close()
    await asyncio.gather(*ends, return_exceptions=True)
    return alive


def _keys(home: Path) -> tuple[str, str]:
    """Two client keys, the second with a budget."""
    with App({"OMNI_HOME": str(home), "USER": "bench"}) as app:
        keys = GatewayKeyStore(app.store)
        for name in ("rich", "poor"):
            keys.add(ClientKey(name=name, shown="...", created_at=app.now_ms()), f"omni-{name}")
        app.budgets.put(Budget(0, "key", "poor", "day", POOR_NUSD))
    return "omni-rich", "omni-poor"


def _memory(target: Target, workers: int) -> list[float]:
    """Of each worker, MB."""
    page = os.sysconf("SC_PAGE_SIZE") / 1e6
    pids = target.pids()[-workers:]
    return [int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids]


def soak(target: Target, keys: tuple[str, str], given: argparse.Namespace) -> dict[str, Any]:
    """The load; returns what its clients saw."""
    seconds = given.seconds
    rich, poor = keys
    idle = payload(target.port, MODEL, stream=True, size=100, key=rich).replace(
        b"Is all well?", b"stay idle   "
    )
    plain, bounded = (
        payload(target.port, MODEL, stream=False, size=1000, key=key) for key in (rich, poor)
    )
    seen: dict[str, Any] = {"memory": []}

    def work() -> None:
        threads = [
            threading.Thread(
                target=lambda name=name, data=data, c=c: seen.update(
                    {name: load(target.port, data, c, seconds)}
                )
            )
            for name, data, c in (("rich", plain, CONNECTIONS), ("poor", bounded, POOR_CONNECTIONS))
        ]
        for thread in threads:
            thread.start()
        for quarter in range(4):
            time.sleep(seconds / 4)
            seen["memory"].append(_memory(target, given.workers))
            if quarter == 1 and given.workers > 1 and not given.no_kill:
                seen["killed"] = target.pids()[1]
                os.kill(seen["killed"], signal.SIGKILL)
        for thread in threads:
            thread.join()

    seen["alive"] = asyncio.run(_hold(target.port, idle, given.streams, work))
    return seen


def verdict(home: Path, upstream: int, seen: dict[str, Any], streams: int) -> list[str]:
    """Print what was counted; returns what does not add up."""
    wrong: list[str] = []
    with App({"OMNI_HOME": str(home), "USER": "bench"}) as app:
        db = app.store.db
        rows = dict(db.execute("SELECT state, count(*) FROM requests GROUP BY state").fetchall())
        tries = dict(db.execute("SELECT state, count(*) FROM attempts GROUP BY state").fetchall())
        drifts = app.budgets.drifts()
        held = db.execute("SELECT coalesce(sum(held_nusd), 0) FROM attempts").fetchone()[0]
        poor = next(budget for budget in app.budgets.all() if budget.value == "poor")
        spent = app.budgets.status(poor, app.now_ms()).spent_nusd
    count = answered(upstream)
    called = sum(n for state, n in tries.items() if state != "unsent")
    for name in ("rich", "poor"):
        found = seen[name]
        print(
            f"{name}: {found['requests']:,} answered ({found['per_s']:,.0f}/s, p50 "
            f"{found['p50_ms']:.1f} ms, p99 {found['p99_ms']:.1f} ms), other statuses "
            f"{found['errors'] or 'none'}, connections lost {found['lost']}"
        )
    print(f"idle streams open to the end: {seen['alive']:,} of {streams:,}")
    print(f"the upstream answered {count:,}; the ledger's requests: {rows}; attempts: {tries}")
    print(f"the second key spent {spent:,} of {POOR_NUSD:,}; held: {held:,}")
    for quarter in seen["memory"]:
        print("RSS MB of the workers: " + ", ".join(f"{mb:.0f}" for mb in quarter))
    if seen["rich"]["errors"]:
        wrong.append("requests were refused or failed")
    if set(seen["poor"]["errors"]) - {"402"}:
        wrong.append("the second key met other errors than its budget's")
    if "killed" not in seen and (seen["rich"]["lost"] or seen["alive"] != streams):
        wrong.append("connections were lost with no worker killed")
    if "killed" not in seen and called != count:
        wrong.append("the ledger and the upstream disagree")
    # What a killed worker had committed may not have left it; what had left it has a row.
    if called < count or called - count > CONNECTIONS + POOR_CONNECTIONS + streams:
        wrong.append("answered calls have no row, or too many rows no answered call")
    if rows.get("pending") or tries.get("sent"):
        wrong.append("rows were left open")
    if spent > POOR_NUSD:
        wrong.append("a budget was exceeded")
    if drifts or (held and "killed" not in seen):
        wrong.append("money is reserved for nothing")
    return wrong


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    made.add_argument("--seconds", type=float, default=60.0)
    made.add_argument("--streams", type=int, default=1000)
    made.add_argument("--workers", type=int, default=2)
    made.add_argument("--no-kill", action="store_true", help="let all workers live")
    given = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="omni-soak-") as folder:
        scratch = Path(folder)
        with upstream_at(scratch) as upstream:
            with omni(scratch, upstream, workers=given.workers) as target:
                keys = _keys(scratch / "omni")
                time.sleep(1.0)  # keys are looked at four times a second
                seen = soak(target, keys, given)
                time.sleep(RECOVERY_S if "killed" in seen else 3.0)
            wrong = verdict(scratch / "omni", upstream, seen, given.streams)
    for line in wrong:
        print(f"WRONG: {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
