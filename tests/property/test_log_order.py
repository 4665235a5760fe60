"""Totals of imported logs are the same whatever the order of partial and repeated runs.

Logs of three agents with all that makes one call appear more than once (streamed states, resumed
and forked sessions, sub-agents' replays, cumulative counts, opencode's forks) are revealed a few
lines at a time, in any order of their files, and imported in between: whole, or only what is new.
"""

import json
import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from omni_cli.bootstrap import App
from omni_cli.importers import load
from omni_cli.importers.logs import Found

NOW = 1_795_000_000.0
Lines = list[dict[str, Any]]


def stamp(second: int, ms: int = 0) -> str:
    return (
        f"2026-05-01T{10 + second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{ms:03d}Z"
    )


def claude(rng: random.Random) -> dict[str, Lines]:
    """Two sessions, one forked from the other, and a sub-agent that replays its parent."""

    def answer(n: int, session: str, **more: Any) -> Lines:
        request = more.pop("request", f"req_{n}")
        states = sorted(rng.randint(1, 500) for _ in range(rng.randint(1, 3)))
        told = []
        for out in states:
            usage = {
                "input_tokens": 10 * n,
                "output_tokens": out,
                "cache_read_input_tokens": 100 * n,
                "cache_creation_input_tokens": 0,
            }
            message = {"id": f"msg_{n}", "model": "claude-sonnet-4-5", "usage": usage}
            told.append(
                {
                    "type": "assistant",
                    "timestamp": stamp(n),
                    "sessionId": session,
                    "requestId": request,
                    "cwd": "/w/shop",
                    "message": message,
                    **more,
                }
            )
        return told

    history = [line for n in range(1, 5) for line in answer(n, "s1")]
    forked = [{**line, "sessionId": "s2"} for line in history[: rng.randint(1, len(history))]]
    # A replay has the counts of what it replays.
    replayed = [
        {**line, "isSidechain": True, "requestId": "req_other"}
        for line in {line["message"]["id"]: line for line in history}.values()
    ]
    return {
        "p/s1.jsonl": history,
        "p/s2.jsonl": forked + answer(8, "s2"),
        "p/s1/subagents/agent-1.jsonl": replayed[:2] + answer(9, "s1", isSidechain=True),
    }


def codex(rng: random.Random) -> dict[str, Lines]:
    """A session, and forks that stamp their copies anew and keep their times."""

    def counts(n: int) -> dict[str, int]:
        return {"input_tokens": 100 * n, "cached_input_tokens": 40 * n, "output_tokens": 7 * n}

    def event(at: str, total: int, last: int = 1) -> dict[str, Any]:
        info = {"total_token_usage": counts(total), "last_token_usage": counts(last)}
        payload = {"type": "token_count", "info": info}
        return {"timestamp": at, "type": "event_msg", "payload": payload}

    def head(ident: str, at: str, **more: Any) -> Lines:
        meta = {"id": ident, "timestamp": at, "cwd": "/w/shop", "model_provider": "openai", **more}
        model = {"model": "gpt-5.1-codex"}
        return [
            {"timestamp": at, "type": "session_meta", "payload": meta},
            {"timestamp": at, "type": "turn_context", "payload": model},
        ]

    turns = rng.randint(2, 4)
    own = [event(stamp(20 * n), n) for n in range(1, turns + 1)]
    burst = [event(stamp(500, 10 + 3 * n), n) for n in range(1, turns + 1)]
    later = [event(stamp(560 + n), turns + n) for n in range(1, 3)]
    kept = [event(stamp(600 + n), turns + n) for n in range(1, 3)]
    return {
        "rollout-1-a.jsonl": head("a", stamp(0)) + own,
        "rollout-2-b.jsonl": head("b", stamp(500), forked_from_id="a") + burst + later,
        "rollout-3-c.jsonl": head("c", stamp(590), forked_from_id="a") + own + kept,
    }


def opencode(rng: random.Random) -> list[tuple[str, str, dict[str, Any]]]:
    """Rows: a session, and two forks with copies under new ids."""
    rows = []
    for n in range(1, 4):
        tokens = {"input": 100 * n, "output": rng.randint(1, 99), "reasoning": 0}
        times = {"created": 1_777_000_000_000 + n, "completed": 1_777_000_000_900 + n}
        made = {"role": "assistant", "modelID": "gpt-4o", "providerID": "openai", "cost": 0}
        data = {**made, "time": times, "tokens": {**tokens, "cache": {"read": 5, "write": 0}}}
        rows += [(f"msg_{fork}{n}", f"ses_{fork}", data) for fork in "abc"]
    return rows


def add_rows(path: Path, rows: list[tuple[str, str, dict[str, Any]]]) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE IF NOT EXISTS message (id TEXT, session_id TEXT, data TEXT)")
        values = [(name, session, json.dumps(data)) for name, session, data in rows]
        db.executemany("INSERT INTO message VALUES (?, ?, ?)", values)
        db.commit()


def totals(app: App) -> dict[str, tuple[int, ...]]:
    """By model: calls, input, cached, output, cost."""
    found = app.reports.totals(0, 99_999_999, ("model",))
    return {
        model: (t.calls, t.input_tokens, t.cached_tokens, t.output_tokens, t.cost_nusd)
        for (model,), t in found.items()
    }


def read_whole(app: App, found: Found) -> None:
    """Without what is known of the files."""
    calls = load(found.source, found.places).calls
    app.importing.apply(app.importing.plan(found.source, calls))


@pytest.mark.parametrize("seed", range(4))
def test_order_parts_and_repeats_change_no_total(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    made = {f".claude/projects/{name}": lines for name, lines in claude(rng).items()}
    made |= {f".codex/sessions/2026/05/01/{name}": lines for name, lines in codex(rng).items()}
    rows = opencode(rng)
    runs: list[dict[str, tuple[int, ...]]] = []
    for way in ("at once", "in parts"):
        home = tmp_path / way
        database = home / ".local/share/opencode/opencode.db"
        database.parent.mkdir(parents=True)
        with App({"HOME": str(home), "OMNI_HOME": str(home / "omni")}, clock=lambda: NOW) as app:
            left = {name: list(lines) for name, lines in made.items()}
            left_rows = rng.sample(rows, len(rows))
            while left or left_rows:
                name = rng.choice([*left, ""]) if left else ""
                step = rng.randint(1, 4) if way == "in parts" else 10_000
                if name:
                    path = home / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    text = "".join(json.dumps(line) + "\n" for line in left[name][:step])
                    half = rng.randint(0, 30) if way == "in parts" and left[name][step:] else 0
                    with path.open("a") as file:
                        file.write(text)
                    if half:  # the next line is being written
                        whole = path.read_bytes()
                        coming = json.dumps(left[name][step]).encode()[:half]
                        path.write_bytes(whole + coming)
                        app.logs.follow()
                        path.write_bytes(whole)
                    left[name] = left[name][step:]
                    if not left[name]:
                        del left[name]
                elif left_rows:
                    add_rows(database, left_rows[:step])
                    left_rows = left_rows[step:]
                if way == "in parts":
                    for found in app.logs.found():
                        if rng.random() < 0.5:
                            app.logs.keep(app.logs.read(found))
                        elif rng.random() < 0.3:
                            read_whole(app, found)
            for _ in range(2):
                for found in app.logs.found():
                    app.logs.keep(app.logs.read(found))
            runs.append(totals(app))
            assert app.rebuild.check().sound
    assert runs[0] == runs[1]
    calls = {model: sums[0] for model, sums in runs[0].items()}
    turns = sum(1 for line in made[".codex/sessions/2026/05/01/rollout-1-a.jsonl"]) - 2
    assert calls == {
        "anthropic/claude-sonnet-4-5": 6,
        "openai/gpt-5.1-codex": turns + 4,
        "openai/gpt-4o": 3,
    }


def forked(rng: random.Random, *, header: bool) -> tuple[Lines, Lines, int]:
    """A session, a fork that stamped its copy anew, and how many calls the fork made.

    ``header``: the copy begins with the parent's own, so that a slow first line is one of it, too.
    """
    counts = ("input_tokens", "cached_input_tokens", "output_tokens")

    def line(ms: int, kind: str, **payload: Any) -> dict[str, Any]:
        return {"timestamp": stamp(ms // 1000, ms % 1000), "type": kind, "payload": payload}

    def meta(ms: int, ident: str, **more: Any) -> dict[str, Any]:
        return line(ms, "session_meta", id=ident, timestamp=stamp(ms // 1000), **more)

    def event(ms: int, total: int, last: int) -> dict[str, Any]:
        sums = [dict.fromkeys(counts, n * 10) for n in (total, last)]
        info = dict(zip(("total_token_usage", "last_token_usage"), sums, strict=True))
        return line(ms, "event_msg", type="token_count", info=info)

    turn = {"model": "gpt-5.1-codex"}
    spent = [rng.randint(1, 30) for _ in range(rng.randint(1, 5))]
    parent = [meta(0, "a"), line(100, "turn_context", **turn)]
    events = [(sum(spent[: n + 1]), last) for n, last in enumerate(spent)]
    parent += [event(20_000 * (n + 1), *sums) for n, sums in enumerate(events)]
    said = {"forked_from_id": "a"}
    if rng.random() < 0.5:
        said = {"source": {"subagent": {"thread_spawn": {"parent_thread_id": "a"}}}}
    at = 1_000_000
    fork = [meta(at, "b", **said), *([meta(at, "a")] if header else [])]
    fork.append(line(at + 2, "turn_context", **turn))
    at += 2 + rng.choice((3, 8, 12, *((60, 300) if header else ())))
    kept = events[: rng.randint(1, len(events))]
    for sums in kept:
        fork.append(event(at, *sums))
        at += rng.choice((1, 3, 9, 12))
    own, total = rng.randint(0, 3), kept[-1][0]
    for _ in range(own):
        at += rng.randint(2_000, 60_000)
        total += 1000
        fork.append(event(at, total, 1000))
    return parent, fork, own


def test_a_fork_counts_its_own_calls_wherever_its_file_and_its_parents_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """82 of 300 such runs counted what was copied, while a parent's file was taken for whole."""
    monkeypatch.setattr(App, "_seed", lambda _self, store: store.set_meta("zone", "UTC"))
    for seed in range(24):
        rng = random.Random(seed)
        parent, fork, own = forked(rng, header=seed % 3 > 0)
        made = {"rollout-1-b.jsonl": fork, "rollout-2-a.jsonl": parent}
        if seed % 4 == 0:
            del made["rollout-2-a.jsonl"]
        home = tmp_path / str(seed)
        folder = home / ".codex/sessions/2026"
        folder.mkdir(parents=True)
        with App({"HOME": str(home), "OMNI_HOME": str(home / "omni")}, clock=lambda: NOW) as app:
            for _ in range(rng.randint(1, 5)):
                for name in rng.sample(sorted(made), rng.randint(0, len(made))):
                    raw = "".join(json.dumps(line) + "\n" for line in made[name]).encode()
                    path = folder / name
                    there = path.stat().st_size if path.exists() else 0
                    path.write_bytes(raw[: rng.randint(there, len(raw))])
                for found in app.logs.found():
                    app.logs.keep(app.logs.read(found))
            for name, lines in made.items():
                (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
                os.utime(folder / name, (1, 1))
            for found in app.logs.found() * 2:
                app.logs.keep(app.logs.read(found))
            sums = app.reports.totals(0, 99_999_999, ("session",))
            calls = {name: found.calls for (name,), found in sums.items()}
        wanted = {"a": len(parent) - 2, "b": own}
        assert calls == {n: c for n, c in wanted.items() if c and f"{n}.jsonl" in str(made)}, seed


def test_a_first_event_of_a_file_that_is_being_written_is_looked_at_again(tmp_path: Path) -> None:
    """It may be the first of a copy: the next line, or that there is none, shows it."""
    folder = tmp_path / ".codex/sessions"
    folder.mkdir(parents=True)
    path = folder / "rollout-1-b.jsonl"
    _, fork, _ = forked(random.Random(1), header=False)
    fork[2]["timestamp"] = stamp(1000, 900)  # long after the line before
    path.write_text("".join(json.dumps(line) + "\n" for line in fork[:3]))
    with App({"HOME": str(tmp_path), "OMNI_HOME": str(tmp_path)}, clock=lambda: NOW) as app:

        def calls() -> int:
            for found in app.logs.found():
                app.logs.keep(app.logs.read(found))
            return app.reports.totals(0, 99_999_999)[()].calls if app.reports.first_day() else 0

        assert calls() == 0
        os.utime(path, (1, 1))
        assert calls() == 1
        assert calls() == 1


def test_what_is_not_changed_is_not_read_and_what_was_appended_is(tmp_path: Path) -> None:
    with TemporaryDirectory(dir=tmp_path) as name:
        home = Path(name)
        path = home / ".claude/projects/p/s1.jsonl"
        path.parent.mkdir(parents=True)
        lines = claude(random.Random(1))["p/s1.jsonl"]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines[:-1]))
        with App({"HOME": str(home), "OMNI_HOME": str(home / "omni")}, clock=lambda: NOW) as app:
            (found,) = app.logs.found()
            app.logs.keep(app.logs.read(found))
            again = app.logs.read(found)
            assert (again.marks.unchanged, again.marks.read, again.batch.rows) == (1, [], 0)
            with path.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
            grown = app.logs.read(found)
            assert (grown.marks.unchanged, grown.batch.rows) == (0, 1)
            app.logs.keep(grown)
            # Another file under the same name is read from its beginning.
            path.write_text("".join(json.dumps(line) + "\n" for line in [*lines[::-1], *lines]))
            other = app.logs.read(found)
            assert other.batch.rows == 2 * len(lines)
            assert not other.plan.new
