"""``omni simulator``, or ``python -m omni_cli.simulator``: serve until SIGTERM or SIGINT."""

import argparse
import asyncio
import sys
import threading

from omni_cli import system
from omni_cli.simulator.faults import KINDS
from omni_cli.simulator.server import Simulator


def parser() -> argparse.ArgumentParser:
    kinds = "\n".join(f"  {kind:<16} {about.text}" for kind, about in KINDS.items())
    made = argparse.ArgumentParser(
        prog="python -m omni_cli.simulator",
        description="A loopback server that speaks the providers' protocols. No model answers.",
        epilog=f"faults:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    made.add_argument("--seed", type=int, default=0, help="decides the answers (default 0)")
    made.add_argument("--tokens-per-second", type=float, help="default: at once")
    made.add_argument(
        "--latency",
        type=float,
        default=0.0,
        help="share of each model's demo latency to wait, 0 to 1 (default 0)",
    )
    made.add_argument("--key", help="the only key accepted; default: any, or none")
    made.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="[PATTERN=]FAULT[:VALUE][*FIRST][@PROBABILITY]",
        help="may be repeated; PATTERN matches provider/model, default all",
    )
    return made


async def _serve(simulator: Simulator) -> None:
    sock = simulator.bind()
    ready = threading.Event()
    loop = asyncio.get_running_loop()
    serving = loop.create_task(simulator.serve(sock, ready))
    while not (ready.is_set() or serving.done()):
        await asyncio.sleep(0)  # a signal that comes before would find nothing to stop
    system.on_signals(loop, system.STOPS, lambda _: simulator.stop())
    sys.stdout.write(f"simulator listening on {simulator.url}\n")
    sys.stdout.flush()
    await serving


def run(simulator: Simulator) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError: the port is taken."""
    asyncio.run(_serve(simulator))


def main(argv: list[str] | None = None) -> int:
    made = parser()
    given = made.parse_args(argv)
    try:
        simulator = Simulator(
            given.seed,
            given.tokens_per_second,
            given.port,
            latency=given.latency,
            faults=given.fault,
            key=given.key,
        )
    except ValueError as exc:
        made.error(str(exc))
    try:
        run(simulator)
    except OSError as exc:
        sys.stderr.write(f"cannot listen on port {given.port}: {exc.strerror or exc}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
