"""omni beside ccusage on the same logs: equal totals, and how long each takes.

    python -m benchmarks.agent_logs [--sessions 2000] [--answers 40] [--ccusage COMMAND]

Makes logs of Claude Code (three in four sessions) and Codex in a folder of its own, with what real
ones have: an answer in several lines of growing usage, resumed and forked histories, sub-agents,
cumulative counts, tool results of some KB. By turns, so that a busy machine is so for all:
``omni import --dry-run``, which keeps nothing, a first ``omni import --yes``, and ``ccusage daily``
(20.x; npm install ccusage); then ``omni daily`` and ``ccusage daily``, with appended lines between.
Processor time tells more than wall time where others use the machine, too.
"""

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

MODELS = ("claude-sonnet-4-5", "claude-haiku-4-5", "claude-opus-4-5")
_START = 1_793_000_000
_TEXT = "the quick brown fox jumps over the lazy dog. " * 40


def stamp(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + f".{int(at * 1000) % 1000:03d}Z"


def claude_session(rng: random.Random, number: int, answers: int) -> list[dict[str, Any]]:
    session, at = f"{number:08x}-0000-4000-8000-000000000001", _START + number * 700.0
    lines: list[dict[str, Any]] = []
    model = rng.choice(MODELS)
    for n in range(answers):
        at += rng.uniform(3, 60)
        base = {"sessionId": session, "cwd": f"/home/dev/p{number % 17}", "timestamp": stamp(at)}
        lines.append({"type": "user", **base, "message": {"role": "user", "content": _TEXT}})
        usage = {
            "input_tokens": rng.randint(1, 50),
            "cache_creation_input_tokens": (written := rng.randint(0, 4000)),
            "cache_read_input_tokens": rng.randint(0, 90_000),
            "cache_creation": {
                "ephemeral_5m_input_tokens": written,
                "ephemeral_1h_input_tokens": 0,
            },
        }
        final = rng.randint(20, 900)
        states = [final] * rng.randint(1, 3)
        for out in states:
            message = {
                "id": f"msg_{number}_{n}",
                "model": model,
                "role": "assistant",
                "content": [{"type": "text", "text": _TEXT[: rng.randint(100, 1500)]}],
                "usage": {**usage, "output_tokens": out, "service_tier": "standard"},
            }
            told = {"type": "assistant", **base, "requestId": f"req_{number}_{n}"}
            lines.append({**told, "uuid": f"{number}-{n}", "message": message})
    return lines


def codex_session(rng: random.Random, number: int, answers: int) -> list[dict[str, Any]]:
    at = _START + number * 700.0
    meta = {"id": f"{number:08x}-1111-7000-8000-000000000001", "cwd": f"/home/dev/p{number % 17}"}
    meta |= {"timestamp": stamp(at), "model_provider": "openai", "source": "cli"}
    lines: list[dict[str, Any]] = [
        {"timestamp": stamp(at), "type": "session_meta", "payload": meta},
        {"timestamp": stamp(at), "type": "turn_context", "payload": {"model": "gpt-5.1-codex"}},
    ]
    names = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")
    total = dict.fromkeys(names, 0)
    for _ in range(answers):
        at += rng.uniform(3, 60)
        fresh, output = rng.randint(1000, 60_000), rng.randint(20, 900)
        last = dict(zip(names, (fresh, fresh // 2, output, output // 3), strict=True))
        total = {name: total[name] + last[name] for name in names}
        counts = [
            {**c, "total_tokens": c["input_tokens"] + c["output_tokens"]} for c in (total, last)
        ]
        info = {"total_token_usage": counts[0], "last_token_usage": counts[1]}
        item = {"type": "message", "role": "assistant", "content": [{"text": _TEXT}]}
        lines.append({"timestamp": stamp(at), "type": "response_item", "payload": item})
        payload = {"type": "token_count", "info": info}
        lines.append({"timestamp": stamp(at), "type": "event_msg", "payload": payload})
    return lines


def make(home: Path, sessions: int, answers: int) -> int:
    rng, size = random.Random(7), 0
    last: list[dict[str, Any]] = []
    for number in range(sessions):
        count = rng.randint(1, 2 * answers)
        if number % 4 == 3:
            lines = codex_session(rng, number, count)
            day = time.strftime("%Y/%m/%d", time.gmtime(_START + number * 700))
            ident = lines[0]["payload"]["id"]
            path = home / f".codex/sessions/{day}/rollout-{number}-{ident}.jsonl"
        else:
            lines = claude_session(rng, number, count)
            if number % 10 == 0 and last:  # a fork: its history, under its own name
                own = lines[0]["sessionId"]
                lines = [{**line, "sessionId": own} for line in last] + lines
            last = lines[: 4 * answers]
            path = home / f".claude/projects/-home-dev-p{number % 17}/{lines[0]['sessionId']}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        path.write_text(text)
        size += len(text)
    return size


#: Wall and processor time, s.
Times = tuple[float, float]


def run(command: list[str], env: dict[str, str]) -> tuple[Times, str]:
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    ran = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # ours
    if ran.returncode:
        raise SystemExit(f"{' '.join(command)}: {ran.stderr}")
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return (wall, used), ran.stdout


def tell(name: str, found: list[Times]) -> None:
    middle, best = ([pick(part) for part in zip(*found, strict=True)] for pick in (median, min))
    print(
        f"{name}: processor {middle[1]:.2f} s (best {best[1]:.2f}),"
        f" wall {middle[0]:.2f} s (best {best[0]:.2f})"
    )


def append(home: Path, number: int) -> None:
    log = sorted((home / ".claude/projects").rglob("*.jsonl"))[number % 7]
    line = claude_session(random.Random(number), number, 1)[-1]
    with log.open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=2000)
    parser.add_argument("--answers", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ccusage", help="its command; without it omni alone is timed")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        size = make(home, given.sessions, given.answers)
        keep = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        env = {**keep, "HOME": folder, "OMNI_HOME": f"{folder}/omni", "TZ": "UTC", "NO_COLOR": "1"}
        omni = [sys.executable, "-m", "omni_cli"]
        print(f"{given.sessions} sessions, {size / 1e6:.0f} MB")
        first: dict[str, list[Times]] = {}
        for _ in range(given.rounds):
            shutil.rmtree(env["OMNI_HOME"], ignore_errors=True)
            run([*omni, "models", "list"], env)  # makes the store
            for name, option in (("import, keeping nothing", "--dry-run"), ("import", "--yes")):
                took, _ = run([*omni, "import", option], env)
                first.setdefault(f"omni {name}", []).append(took)
            if given.ccusage:
                took, _ = run([*given.ccusage.split(), "daily", "--json", "--offline"], env)
                first.setdefault("ccusage daily", []).append(took)
        for name, found in first.items():
            tell(f"first, {name}", found)
        tell("omni import, again", [run([*omni, "import", "--yes"], env)[0]])
        times: dict[str, list[Times]] = {"omni daily": [], "ccusage daily": []}
        for turn in range(given.rounds):
            append(home, given.sessions + turn)
            took, text = run([*omni, "daily", "--json"], env)
            times["omni daily"].append(took)
            ours = json.loads(text)["total"]
            if given.ccusage:
                command = [*given.ccusage.split(), "daily", "--json", "--offline"]
                took, text = run(command, env)
                times["ccusage daily"].append(took)
                theirs = json.loads(text)["totals"]
                pairs = {
                    "uncached_input_tokens": "inputTokens",
                    "output_tokens": "outputTokens",
                    "cache_write_tokens": "cacheCreationTokens",
                    "cached_tokens": "cacheReadTokens",
                    "total_tokens": "totalTokens",
                }
                for name, other in pairs.items():
                    if ours[name] != theirs[other]:
                        print(f"DIFFERENT {name}: omni {ours[name]:,}, ccusage {theirs[other]:,}")
                cost = (float(ours["cost_usd"]), theirs["totalCost"])
                if abs(cost[0] - cost[1]) > 1e-6 * max(cost):
                    print(f"DIFFERENT cost: omni {cost[0]:.4f}, ccusage {cost[1]:.4f}")
        for name, found in times.items():
            if found:
                tell(name, found)


if __name__ == "__main__":
    main()
