"""What the gateway costs: CPU per request, requests per second, latency and memory.

    python -m benchmarks.gateway                 the gateway alone
    python -m benchmarks.gateway --install --against nginx litellm portkey
    python -m benchmarks.gateway --also ../before     another checkout beside this one
    python -m benchmarks.gateway --team 0.2       two gateways on one PostgreSQL server against one,
                                                  each with a fifth of a core

Each checkout runs in its own virtual environment: ``make .venv/.tools PYTHON=...`` in a clone shows
what another interpreter costs.

The fleet is the one that ``omni providers add`` makes, with its default of calls at once
(``--slots none``: without a limit). ``waited`` is the share of calls that waited for a slot;
``max/min`` how many times as many answers the caller with the most got as the one with the
fewest, in the worst round.

Everything runs on this machine: a load generator, the gateway, and an upstream that answers at
once. CPU is the server's own, user and system, from /proc. Rounds of the targets alternate, and
medians are shown: on a shared machine only figures of one run can be compared.
"""

import argparse
import os
import statistics
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.gateway_targets import (
    TARGETS,
    Target,
    at_most,
    install,
    measure,
    omni,
    team,
    upstream_at,
    with_children,
)


def report(targets: list[Target]) -> None:
    kinds = list(dict.fromkeys(kind for target in targets for kind in target.rounds))
    print(
        f"{'':22}{'target':>9}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'max ms':>8}{'waited':>8}"
        f"{'max/min':>8}{'CPU us':>8}{'RSS MB':>7}{'errors':>7}"
    )
    for kind in kinds:
        for target in targets:
            rounds = target.rounds.get(kind)
            if not rounds:
                continue

            def middle(name: str, rounds: list[dict[str, Any]] = rounds) -> float:
                return statistics.median(r.get(name) or 0 for r in rounds)

            share = f"{middle('waited'):.0%}" if "waited" in rounds[0] else "-"
            print(
                f"{kind:22}{target.name:>9}{middle('per_s'):8.0f}{middle('p50_ms'):8.2f}"
                f"{middle('p99_ms'):8.2f}{middle('longest_ms'):8.1f}"
                f"{share:>8}"
                f"{max(r['fairness'] or 0 for r in rounds):8.2f}"
                f"{middle('cpu_us'):8.0f}{middle('rss_mb'):7.0f}"
                f"{sum(sum(r['errors'].values()) + r['lost'] for r in rounds):7d}"
            )


def compare(targets: list[Target]) -> None:
    """How much more CPU the others took than the first, round by round."""
    first = targets[0]
    for kind, rounds in first.rounds.items():
        for other in targets[1:]:
            ratios = [
                theirs["cpu_us"] / ours["cpu_us"]
                for ours, theirs in zip(rounds, other.rounds[kind], strict=True)
            ]
            if len(ratios) > 1:
                low, middle, high = statistics.quantiles(ratios, n=4)
                print(
                    f"{kind:24}{other.name:>10} takes {middle:.2f} times {first.name}'s CPU"
                    f" (quartiles {low:.2f} and {high:.2f})"
                )


def two_against_one(
    scratch: Path, upstream: int, cores: float, rounds: int, seconds: float
) -> None:
    """How many times as many requests two gateways carry as one of them, each on so many cores."""
    with team(scratch, upstream) as targets, ExitStack() as stack:
        for target in targets:
            measure(target, connections=4, seconds=1.0, stream=False, size=1000)
        try:
            # The server, the upstream and what loads them have all that is left.
            stack.enter_context(at_most(os.cpu_count() or 1, with_children(os.getpid())))
            for target in targets:
                stack.enter_context(at_most(cores, target.pids()))
        except OSError as exc:
            print(f"not measured: no control group can be made here to share the cores ({exc})")
            return
        ratios, cpu = [], []
        for number in range(rounds):
            (alone,) = _at_once([targets[number % 2]], 32, seconds)
            both = _at_once(targets, 16, seconds)
            used = [found["cpu_us"] * found["per_s"] / 1e6 for found in (alone, *both)]
            print(
                f"one {alone['per_s']:.0f} requests/s, two {sum(f['per_s'] for f in both):.0f};"
                f" {used[0]:.2f} cores, {used[1]:.2f} and {used[2]:.2f}"
            )
            if min(used) < 0.9 * cores:
                continue  # others had the machine meanwhile
            ratios.append(sum(found["per_s"] for found in both) / alone["per_s"])
            cpu.append((alone["cpu_us"], statistics.mean(found["cpu_us"] for found in both)))
        if len(ratios) < 2:
            print("not measured: this machine is too busy to give each gateway its cores")
            return
        low, middle, high = statistics.quantiles(ratios, n=4)
        one, two = (statistics.median(values) for values in zip(*cpu, strict=True))
        print(
            f"in {len(ratios)} rounds in which each had its {cores} cores, two gateways carried"
            f" {middle:.2f} times one's requests (quartiles {low:.2f} and {high:.2f});"
            f" CPU {two:.0f} us a request, of one {one:.0f}"
        )


def _at_once(targets: list[Target], connections: int, seconds: float) -> list[dict[str, Any]]:
    def one(target: Target) -> dict[str, Any]:
        measure(target, connections=connections, seconds=seconds, stream=False, size=1000)
        return target.rounds[f"plain 1 KB c={connections}"][-1]

    with ThreadPoolExecutor() as threads:
        return list(threads.map(one, targets))


def main() -> None:
    made = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    made.add_argument("--against", nargs="*", default=[], choices=sorted(TARGETS))
    made.add_argument("--install", action="store_true", help="what --against names, first")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--seconds", type=float, default=3.0)
    made.add_argument("--connections", type=int, nargs="*", default=[1, 16, 64])
    made.add_argument("--also", type=Path, help="another checkout of omni, too")
    made.add_argument("--slots", help="calls at once: a number, or none; by default the default")
    made.add_argument("--workers", type=int, default=1)
    made.add_argument("--quick", action="store_true", help="plain requests at 16 only")
    made.add_argument("--team", type=float, metavar="CORES", help="two gateways against one")
    given = made.parse_args()
    if given.install:
        install(given.against)
    cases: list[tuple[int, bool, int]] = [(16, False, 1000)]
    if not given.quick:
        cases = [(c, False, 1000) for c in given.connections]
        cases += [(16, True, 1000), (16, False, 100_000)]
    with tempfile.TemporaryDirectory(prefix="omni-bench-") as folder, ExitStack() as stack:
        scratch = Path(folder)
        upstream = stack.enter_context(upstream_at(scratch))
        if given.team:
            two_against_one(scratch, upstream, given.team, given.rounds, given.seconds)
            return
        how = {"workers": given.workers, "slots": given.slots}
        targets = [stack.enter_context(omni(scratch, upstream, **how))]
        if given.also:
            also = omni(scratch, upstream, **how, name="also", checkout=given.also)
            targets.append(stack.enter_context(also))
        targets += [stack.enter_context(TARGETS[name](scratch, upstream)) for name in given.against]
        for target in targets:  # warm
            measure(target, connections=4, seconds=1.0, stream=False, size=1000)
            target.rounds.clear()
        for _ in range(given.rounds):
            for connections, stream, size in cases:
                for target in targets:
                    measure(
                        target,
                        connections=connections,
                        seconds=given.seconds,
                        stream=stream,
                        size=size,
                    )
        report(targets)
        compare(targets)


if __name__ == "__main__":
    main()
