"""What the importers' tests share: the samples, and their totals in the samples' own terms."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omni_cli.domain.chat import Usage
from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.importers import ImportBatch, importers, load
from tests.paths import FIXTURES

IMPORTS = FIXTURES / "imports"


def expected(tool: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((IMPORTS / tool / "expected.json").read_text("utf-8"))
    return found


def sample(tool: str, *parts: str) -> ImportBatch:
    return load(tool, [IMPORTS.joinpath(tool, *parts)])


def usages(calls: Iterable[ImportedCall]) -> list[Usage]:
    return [call.usage for call in calls if call.usage is not None]


def split_totals(calls: Iterable[ImportedCall]) -> dict[str, int]:
    """ccusage's kinds, which do not overlap, from omni's, which do."""
    found = usages(calls)
    return {
        "inputTokens": sum(u.input_tokens - u.cached_tokens - u.cache_write_tokens for u in found),
        "cacheReadTokens": sum(u.cached_tokens for u in found),
        "cacheCreationTokens": sum(u.cache_write_tokens for u in found),
        "outputTokens": sum(u.output_tokens for u in found),
        "totalTokens": sum(u.total_tokens for u in found),
    }


def days(calls: Iterable[ImportedCall]) -> dict[str, list[ImportedCall]]:
    found: dict[str, list[ImportedCall]] = {}
    for call in calls:
        day = datetime.fromtimestamp(call.at_ms / 1000, UTC).date().isoformat()
        found.setdefault(day, []).append(call)
    return found


def read(tool: str, path: Path) -> tuple[list[ImportedCall], list[ImportProblem]]:
    calls: list[ImportedCall] = []
    problems: list[ImportProblem] = []
    for item in importers[tool].read(path):
        if isinstance(item, ImportProblem):
            problems.append(item)
        else:
            calls.append(item)
    return calls, problems


def write_lines(path: Path, *records: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [r if isinstance(r, str) else json.dumps(r, separators=(",", ":")) for r in records]
    path.write_text("".join(text + "\n" for text in texts), "utf-8")
    return path
