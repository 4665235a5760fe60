"""Make a ledger of N realistic requests, and measure what its size costs (F2).

    python -m benchmarks.ledger --rows 1000 --rows 1000000 --home FOLDER

makes one store per size below FOLDER (kept, and used again), then measures on each: the whole
process of ``omni usage --by model --period month`` (runs interleaved, so that foreign load hits
all sizes alike), writing a request the way a chat does, and bytes per request.

Requests spread over 90 days with a working week's shape, 12 models at 6 providers, 9 agents that
each have their tasks and roles, 3 orgs, and failed attempts. Rows go in through executemany;
rollups come from the store's own rebuild, so that the benchmark also times that.

    python -m benchmarks.ledger --postgres --rows 1000 --rows 10000000 --home FOLDER --no-decisions

does so on a PostgreSQL server of its own, in a folder below FOLDER, whose data is gone
afterwards: the first 100,000 requests are copied in, the server makes the others of these.
"""

import argparse
import contextlib
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omni_cli.bootstrap import App
from omni_cli.domain.chat import Usage
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import AttemptEnd, NewAttempt, NewRequest, RequestEnd
from tests.beginning import begin

DAYS = 90
DAY_MS = 86_400_000
BATCH = 20_000
#: (provider, model, US dollars per 1M input and output tokens, median latency in ms, weight)
MODELS = (
    ("anthropic", "anthropic/claude-sonnet-4-20250514", 3.0, 15.0, 8500, 15),
    ("deepseek", "deepseek/deepseek-chat", 0.27, 1.1, 6200, 23),
    ("openai", "openai/gpt-4-turbo", 10.0, 30.0, 7800, 4),
    ("anthropic", "anthropic/claude-opus-4-20250514", 15.0, 75.0, 12000, 1),
    ("moonshot", "moonshot/kimi-k2", 0.6, 2.5, 5000, 9),
    ("google", "google/gemini-2.0-flash", 0.1, 0.4, 900, 2),
    ("anthropic", "anthropic/claude-3-haiku-20240307", 0.25, 1.25, 700, 35),
    ("google", "google/gemini-2.5-pro", 1.25, 10.0, 9000, 3),
    ("openai", "openai/gpt-4o-mini", 0.15, 0.6, 1200, 4),
    ("groq", "groq/llama-3.3-70b-versatile", 0.59, 0.79, 600, 2),
    ("openai", "openai/gpt-4o", 2.5, 10.0, 3000, 2),
    ("groq", "groq/llama-3.1-8b-instant", 0.05, 0.08, 300, 1),
)
#: (agent, role, tasks, source, org, indexes of its models)
AGENTS = (
    ("builder", "primary_coder", ("coding", "debugging"), "gateway", "nova", (0, 1)),
    ("reviewer", "reviewer", ("coding", "analysis"), "gateway", "nova", (0, 3)),
    ("pulse", "heartbeat", ("extraction",), "gateway", "nova", (6,)),
    ("scout", "research", ("research", "summarization"), "gateway", "labs", (2, 7)),
    ("scribe", "writer", ("writing", "translation"), "gateway", "labs", (10, 4)),
    ("eyes", "photo_analysis", ("image",), "gateway", "labs", (5,)),
    ("helper", "support", ("chat", "summarization"), "gateway", "shop", (8, 9, 11)),
    ("", "", ("chat", "coding", "reasoning", "math"), "chat", "", (0, 1, 10, 4)),
    ("judge", "", ("analysis",), "judge", "", (10,)),
)
AGENT_WEIGHTS = (18, 5, 40, 6, 6, 4, 14, 6, 1)
PREMIUM = MODELS[0]
_REQUEST = (
    "id", "created_at", "settled_at", "state", "source", "org", "key", "role", "agent", "task",
    "complexity", "difficulty", "model", "provider", "attempts", "input_tokens", "cached_tokens",
    "output_tokens", "reasoning_tokens", "price_state", "cost_nusd", "estimated", "premium_model",
    "premium_cost_nusd", "latency_ms", "ttft_ms", "finish_reason",
)  # fmt: skip
_ATTEMPT = (
    "request", "n", "model", "provider", "state", "started_at", "first_at", "ended_at",
    "input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens", "input_estimate",
    "received_chars", "cost_nusd", "input_cost_nusd", "estimated", "http_status",
    "provider_request_id", "error_code",
)  # fmt: skip


def _insert(table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})"


def _nusd(model: tuple[Any, ...], tokens_in: int, tokens_out: int) -> tuple[int, int]:
    """Cost of input and output: dollars per million are thousands of nano-dollars a token."""
    return round(model[2] * 1000) * tokens_in, round(model[3] * 1000) * tokens_out


def generate(rows: int, now_ms: int, seed: int = 0) -> Iterator[tuple[tuple[Any, ...], ...]]:
    """(request, attempts...) rows in the order of time, the newest just before ``now_ms``."""
    rng = random.Random(seed)
    first = now_ms - DAYS * DAY_MS
    for i in range(rows):
        at = first + int(DAYS * DAY_MS * (i + rng.random()) / rows)
        # The ids' random part keeps several requests of one millisecond apart.
        request = make_id(at, (i * 7919 + rng.randrange(64)) & 0xFFFFF)
        agent, role, tasks, source, org, models = rng.choices(AGENTS, AGENT_WEIGHTS)[0]
        model = MODELS[models[min(int(rng.expovariate(1.2)), len(models) - 1)]]
        tokens_in = int(rng.lognormvariate(6.6, 1.1)) + 1
        tokens_out = int(rng.lognormvariate(5.6, 0.9)) + 1
        cached = tokens_in // 2 if rng.random() < 0.3 else 0
        cost_in, cost_out = _nusd(model, tokens_in, tokens_out)
        latency = int(model[4] * rng.lognormvariate(0, 0.5))
        ok = rng.random() > 0.008
        unknown = rng.random() < 0.001
        estimated = rng.random() < 0.002
        attempts = []
        started = at
        if rng.random() < 0.02:
            attempts.append(_failed(request, model, started))
            started += 800
        cost = None if unknown else cost_in + cost_out
        attempts.append(
            (
                request,
                len(attempts) + 1,
                model[1],
                model[0],
                "ok" if ok else "failed",
                started,
                started + latency // 4,
                started + latency,
                tokens_in,
                cached,
                tokens_out if ok else 0,
                0,
                tokens_in,
                tokens_out * 4,
                cost,
                None if unknown else cost_in,
                int(estimated),
                200 if ok else 500,
                f"req_{request:x}",
                None if ok else "unavailable",
            )
        )
        premium = sum(_nusd(PREMIUM, tokens_in, tokens_out)) if ok and source != "judge" else None
        yield (
            (
                request, at, started + latency, "ok" if ok else "failed", source, org,
                f"key-{org}" if org else "", role, agent, rng.choice(tasks),
                ("low", "medium", "high")[i % 3], (i % 100) / 100, model[1], model[0],
                len(attempts), tokens_in, cached, tokens_out if ok else 0, 0,
                "unknown" if unknown else "priced", cost, int(estimated), PREMIUM[1], premium,
                latency, latency // 4, "stop" if ok else None,
            ),
            *attempts,
        )  # fmt: skip


def _failed(request: int, model: tuple[Any, ...], at: int) -> tuple[Any, ...]:
    return (
        request, 1, model[1], model[0], "failed", at, None, at + 700, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        429, None, "rate_limited",
    )  # fmt: skip


def _decision(rng: random.Random) -> bytes:
    """About as large as a real one of the demo's fleet: 1.3 KB."""
    candidates = [
        {
            "model": model[1],
            "eligible": rng.random() < 0.8,
            "quality": rng.random(),
            "score": rng.random(),
            "expected_cost_usd": f"{rng.random():.9f}",
            "success": rng.random(),
            "latency_ms": rng.random() * 10_000,
            "reason": f"scored {rng.random()}",
        }
        for model in rng.sample(MODELS, 10)
    ]
    return zlib.compress(json.dumps({"reason": "best score", "candidates": candidates}).encode(), 1)


#: Requests that are made here; more of them the server makes.
_BASE = 100_000
#: By home: what the environment says of its store.
STORES: dict[Path, dict[str, str]] = {}


def env_of(home: Path) -> dict[str, str]:
    return {"OMNI_HOME": str(home), "TZ": "UTC", **STORES.get(home, {})}


def fill_server(home: Path, rows: int, now_ms: int) -> dict[str, float]:
    """The same in a new database; ids are made others by what stands in their random bits."""
    with App(env_of(home)) as app:
        base = min(rows, _BASE)
        began = time.perf_counter()
        app.store.prepare(now_ms - DAYS * DAY_MS)
        requests, attempts = [], []
        for request, *tries in generate(base, now_ms):
            requests.append(request)
            attempts += tries
        with app.store.transaction():
            app.store.load("requests", _REQUEST, requests)
            app.store.load("attempts", _ATTEMPT, attempts)
        for table, columns in (("requests", _REQUEST), ("attempts", _ATTEMPT)):
            others = ", ".join(columns[1:])
            app.store.db.execute(
                f"INSERT INTO {table} ({columns[0]}, {others}) SELECT {columns[0]} + 524288 + copy,"
                f" {others} FROM {table} CROSS JOIN generate_series(1, {rows // base - 1}) AS copy"
                " ON CONFLICT DO NOTHING"
            )
            app.store.db.execute(f"ANALYZE {table}")
        inserted = time.perf_counter()
        app.rebuild.rebuild(app.zone)
        rebuilt = time.perf_counter()
        app.store.loaded()
    return {"insert": inserted - began, "rebuild": rebuilt - inserted}


def fill(home: Path, rows: int, *, decisions: bool, now_ms: int) -> dict[str, float]:
    """Make a store of ``rows`` requests, unless it is there; returns seconds taken, by step."""
    with App({"OMNI_HOME": str(home), "TZ": "UTC"}, durable=False) as app:
        db = app.store.db
        (there,) = db.execute("SELECT count(*) FROM requests").fetchone()
        if there:
            return {}
        rng = random.Random(1)
        blobs = [_decision(rng) for _ in range(64)]
        began = time.perf_counter()
        requests: list[tuple[Any, ...]] = []
        attempts: list[tuple[Any, ...]] = []

        def write() -> None:
            with app.store.transaction():
                db.executemany(_insert("requests", _REQUEST), requests)
                db.executemany(_insert("attempts", _ATTEMPT), attempts)
                if decisions:
                    db.executemany(
                        "INSERT INTO decisions VALUES (?, ?)",
                        ((row[0], blobs[row[0] % 64]) for row in requests),
                    )
            requests.clear()
            attempts.clear()

        for request, *tries in generate(rows, now_ms):
            requests.append(request)
            attempts.extend(tries)
            if len(requests) == BATCH:
                write()
        write()
        inserted = time.perf_counter()
        app.rebuild.rebuild(app.zone)
        rebuilt = time.perf_counter()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        db.execute("ANALYZE")
    return {"insert": inserted - began, "rebuild": rebuilt - inserted}


def write_requests(home: Path, count: int, *, durable: bool) -> list[float]:
    """Microseconds of each of ``count`` requests, written as a chat writes them: opened with its
    decision, planned, marked as sent, its attempt and itself settled, with all rollups."""
    rng = random.Random(2)
    took = []
    with App(env_of(home), durable=durable) as app:
        ledger, now = app.ledger, app.now_ms()
        decision = zlib.decompress(_decision(rng)).decode()
        for _ in range(count):
            model = rng.choice(MODELS)
            request = make_id(now, rng.randrange(1 << 20))
            cost = rng.randrange(10**7)
            usage = Usage(input_tokens=900, output_tokens=300)
            began = time.perf_counter()
            ledger.open(
                NewRequest(request, now, "chat", ledger.owner, task="coding", role="coder"),
                decision,
            )
            begin(ledger, NewAttempt(request, 1, model[1], model[0], now, 900, reserve_nusd=cost))
            with ledger.unit():
                ledger.end_attempt(
                    request,
                    1,
                    AttemptEnd("ok", now + 900, usage, now + 200, 1200, cost, cost // 3, 200),
                    priced="priced",
                )
                ledger.end_request(
                    request,
                    RequestEnd(
                        "ok", now + 900, model[1], model[0], PREMIUM[1], cost * 2, 900, 200, "stop"
                    ),
                )
            took.append((time.perf_counter() - began) * 1e6)
    return took


def report_seconds(homes: list[Path], runs: int) -> dict[Path, list[float]]:
    """Wall seconds of the report's whole process, runs interleaved."""
    took: dict[Path, list[float]] = {home: [] for home in homes}
    command = [sys.executable, "-m", "omni_cli", "usage", "--by", "model", "--period", "month"]
    for run in range(runs + 1):
        for home in homes:
            env = {**os.environ, **env_of(home)}
            began = time.perf_counter()
            subprocess.run(command, env=env, check=True, capture_output=True)
            if run:  # the first fills the page cache
                took[home].append(time.perf_counter() - began)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, action="append", help="size of a store; repeatable")
    parser.add_argument("--home", type=Path, required=True, help="folder for the stores")
    parser.add_argument("--runs", type=int, default=15, help="runs of the report per store")
    parser.add_argument("--writes", type=int, default=300, help="requests written per store")
    parser.add_argument("--no-decisions", action="store_true", help="leave out routing decisions")
    parser.add_argument("--postgres", action="store_true", help="in a server of its own")
    args = parser.parse_args()
    sizes = sorted(args.rows or [1_000, 1_000_000])
    homes = {rows: args.home / f"rows-{rows}" for rows in sizes}
    now_ms = int(time.time() * 1000)
    with contextlib.ExitStack() as stack:
        if args.postgres:
            from tests.postgres import running

            args.home.mkdir(parents=True, exist_ok=True)
            os.environ["TMPDIR"] = tempfile.tempdir = str(args.home.absolute())
            server = stack.enter_context(running())
            for rows, home in homes.items():
                server.command(f"CREATE DATABASE rows_{rows}")
                STORES[home] = {"OMNI_DATABASE_URL": server.url(f"rows_{rows}")}
        _measure(args, sizes, homes, now_ms)


def _measure(
    args: argparse.Namespace, sizes: list[int], homes: dict[int, Path], now_ms: int
) -> None:
    for rows, home in homes.items():
        if args.postgres:
            steps = fill_server(home, rows, now_ms)
        else:
            steps = fill(home, rows, decisions=not args.no_decisions, now_ms=now_ms)
        with App(env_of(home)) as app:
            stats = app.maintenance.stats()
        count, size = stats.rows, stats.size_bytes
        empty = 10_000_000 if args.postgres else 1_500_000  # the catalogue's own pages
        print(
            f"{rows:>10,} requests: {size / 1e6:,.1f} MB, "
            f"{max(size - empty, 0) / rows:,.0f} bytes each, "
            f"{count['rollup_day']:,} day rows, {count['rollup_latency_scope']:,} latency rows; "
            + ", ".join(f"{name} {rows / took:,.0f}/s" for name, took in steps.items()),
            flush=True,
        )
    took = report_seconds(list(homes.values()), args.runs)
    base = statistics.median(took[homes[sizes[0]]])
    for rows, home in homes.items():
        median = statistics.median(took[home])
        print(
            f"{rows:>10,}: omni usage {median * 1000:.0f} ms median of {args.runs} "
            f"(best {min(took[home]) * 1000:.0f}), {median / base:.2f} x",
            flush=True,
        )
    for durable in (True,) if args.postgres else (True, False):
        for rows, home in homes.items():
            micros = write_requests(home, args.writes, durable=durable)
            print(
                f"{rows:>10,}: one request written {statistics.median(micros):.0f} us median, "
                f"synchronous={'FULL' if durable else 'NORMAL'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
