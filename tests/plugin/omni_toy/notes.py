"""Usage that somebody noted by hand: ``2026-03-01T10:00:00Z openai/gpt-4o-mini 120 30`` a line."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from omni_cli.domain.chat import Usage
from omni_cli.domain.imports import ImportedCall, ImportProblem


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    usual = home / "notes.toy"
    return [usual] if usual.is_file() else []


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.toy")) if path.is_dir() else [path]


def read_file(path: Path, skips: Counter[str]) -> Iterator[ImportedCall | ImportProblem]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            skips["empty lines"] += 1
            continue
        try:
            at, model, read, wrote = line.split()
            yield ImportedCall(
                source="toy-notes",
                external_id=line,
                at_ms=int(datetime.fromisoformat(at).timestamp() * 1000),
                provider=model.partition("/")[0],
                model=model.partition("/")[2],
                usage=Usage(input_tokens=int(read), output_tokens=int(wrote)),
                file=path.name,
                line=number,
            )
        except ValueError as exc:
            yield ImportProblem(str(path), number, str(exc))
