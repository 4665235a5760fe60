"""Rows for training and measuring the router: our seed set and the shared public data."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parents[1]
SEED = REPO / "fixtures" / "routing"
SHARED = REPO / ".." / "shared" / "data" / "routing"
MAY_SHIP = {"MIT", "Apache-2.0"}

#: Benchmarks whose questions are labelled by the kind of work they set: file -> group -> type.
#: None as a group's name stands for all the others.
BY_SOURCE: dict[str, dict[str | None, str]] = {
    "llmrouter": {
        "agentverse-logicgrid": "reasoning",
        "commongen": "writing",
        "natural_qa": "chat",
        "trivia_qa": "chat",
        "mbpp": "coding",
        "human_eval": "coding",
        "math": "math",
        None: "reasoning",
    },
    "routerbench": {"mbpp": "coding", None: "reasoning"},
    "mmlu_routellm": {
        "elementary_mathematics": "math",
        "high_school_mathematics": "math",
        "college_mathematics": "math",
        "abstract_algebra": "math",
        None: "reasoning",
    },
    "mmlupro": {"math": "math", None: "reasoning"},
    "bigmath": {None: "math"},
    "bfcl": {None: "agent_step"},
}


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a JSON-lines file, gzipped or not."""
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    for line in text.split("\n"):
        if line.strip():
            yield json.loads(line)


def seed_rows() -> list[dict[str, Any]]:
    rows = [row for path in sorted(SEED.glob("seed-*.jsonl")) for row in read(path)]
    return [{**row, "source": "seed"} for row in rows]


def tasktype_rows() -> list[dict[str, Any]]:
    return list(read(SHARED / "tasktype.jsonl.gz"))


def bench_rows(name: str) -> list[dict[str, Any]]:
    return list(read(SHARED / f"{name}.jsonl.gz"))


def index() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SHARED / "index.json").read_text(encoding="utf-8"))
    return loaded


def _asks(prompt: str, group: str) -> bool:
    """Whether the row shows its question: some copies keep long passages and lose the options."""
    return group not in {"mmlu", "gpqa"} or "\nA" in prompt


def sourced_rows(cap: int) -> list[dict[str, Any]]:
    """Benchmark questions labelled by source type, at most ``cap`` of each file's group."""
    rows = []
    for name, types in BY_SOURCE.items():
        taken: dict[str, int] = {}
        groups = {row["group"] for row in bench_rows(name)}
        limit = max(6, cap // len(groups))
        for row in sorted(bench_rows(name), key=lambda row: zlib.crc32(row["id"].encode())):
            group = row["group"]
            if taken.get(group, 0) >= limit or not _asks(row["prompt"], group):
                continue
            taken[group] = taken.get(group, 0) + 1
            label = types.get(group, types.get(None))
            rows.append({"id": row["id"], "prompt": row["prompt"], "type": label, "source": name})
    return rows
