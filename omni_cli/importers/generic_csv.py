"""Any CSV with a header: columns by their usual names, or as the user maps them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from omni_cli.domain.errors import UsageError
from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.importers.files import header_of, rows
from omni_cli.importers.names import provider_slug, split_prefix
from omni_cli.importers.values import (
    Skips,
    Unreadable,
    at_ms,
    base_name,
    count,
    digest,
    make_usage,
    nusd,
    text,
)

SOURCE = "csv"
#: Field -> column names that mean it, compared without case, blanks and punctuation.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "timestamp", "created_at", "datetime", "date", "day", "start_time"),
    "model": ("model", "model_name", "model_id", "wire_name"),
    "provider": ("provider", "provider_name", "vendor"),
    "input_tokens": ("input_tokens", "prompt_tokens", "tokens_prompt", "tokens_in"),
    "input_uncached_tokens": ("input_uncached_tokens", "uncached_input_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens", "tokens_completion", "tokens_out"),
    "cached_tokens": ("cached_tokens", "cache_read_tokens", "cached_input_tokens"),
    "cache_write_tokens": ("cache_write_tokens", "cache_creation_tokens"),
    "cache_write_1h_tokens": ("cache_write_1h_tokens",),
    "reasoning_tokens": ("reasoning_tokens", "thoughts_tokens"),
    "cost_usd": ("cost_usd", "cost", "total_cost", "spend", "amount_usd"),
    "latency_ms": ("latency_ms", "duration_ms"),
    "id": ("id", "request_id", "external_id", "call_id"),
    "message_id": ("message_id", "response_id"),
    "session": ("session", "session_id", "conversation_id"),
    "agent": ("agent", "tool", "app"),
    "project": ("project", "project_name"),
    "requests": ("requests", "calls", "num_requests"),
}
REQUIRED = ("time", "model")


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:  # noqa: ARG001 - no default
    return []


def files(path: Path) -> list[Path]:
    return sorted(path.glob("*.csv")) if path.is_dir() else [path]


def match_columns(header: list[str], mapping: Mapping[str, str]) -> dict[str, str]:
    """Field -> column of this header; ``mapping`` (field -> column) goes first.

    Raises:
        UsageError: the mapping names an unknown field or a column that the file has not.
    """
    for field, column in mapping.items():
        if field not in FIELDS:
            raise UsageError(f"no such field: {field}", hint=f"fields: {', '.join(FIELDS)}")
        if column not in header:
            raise UsageError(f"no such column: {column}", hint=f"columns: {', '.join(header)}")
    by_name: dict[str, str] = {}
    for column in header:
        by_name.setdefault(_plain(column), column)
    taken = set(mapping.values())
    found = dict(mapping)
    for field, names in FIELDS.items():
        if field in found:
            continue
        columns = (by_name.get(_plain(name)) for name in names)
        match = next((c for c in columns if c is not None and c not in taken), None)
        if match is not None:
            found[field] = match
            taken.add(match)
    return found


def _plain(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def read_file(
    path: Path, skips: Skips, mapping: Mapping[str, str] | None = None
) -> Iterator[ImportedCall | ImportProblem]:
    """Raises UsageError when ``mapping`` does not fit the file."""
    header, _ = header_of(path)
    columns = match_columns(header, mapping or {}) if header else {}
    missing = [field for field in REQUIRED if field not in columns]
    if header and missing:
        hint = ", ".join(f"--map {field}=COLUMN" for field in missing)
        yield ImportProblem(str(path), 1, f"no column for {' and '.join(missing)}: use {hint}")
        return
    for unused in sorted(set(header) - set(columns.values())):
        skips[f"column {unused}"] += 1
    repeats: Counter[str] = Counter()
    for item in rows(path):
        if isinstance(item, ImportProblem):
            yield item
            continue
        line, row = item
        values = {field: row[column].strip() for field, column in columns.items()}
        try:
            yield _call(values, path.name, line, repeats)
        except Unreadable as exc:
            yield ImportProblem(str(path), line, str(exc))


def _call(values: Mapping[str, str], file: str, line: int, repeats: Counter[str]) -> ImportedCall:
    numbers = {name: count(values.get(name), name) for name in FIELDS if name.endswith("_tokens")}
    reads, writes = numbers["cached_tokens"], numbers["cache_write_tokens"]
    whole_in, fresh = numbers["input_tokens"], numbers["input_uncached_tokens"]
    if whole_in is None and fresh is not None:
        whole_in = fresh + (reads or 0) + (writes or 0)
    if whole_in is not None and (reads or 0) + (writes or 0) > whole_in:
        raise Unreadable(
            "more cached tokens than input: if that column leaves the cache out, "
            "map it as input_uncached_tokens"
        )
    usage, unstated = make_usage(
        whole_in,
        numbers["output_tokens"],
        cached=reads,
        cache_write=writes,
        cache_write_1h=numbers["cache_write_1h_tokens"],
        reasoning=numbers["reasoning_tokens"],
    )
    cost = nusd(values.get("cost_usd"), "cost_usd")
    if usage is None and cost is None:
        raise Unreadable("neither tokens nor a cost")
    model = text(values.get("model"))
    at = at_ms(values.get("time"), "time")
    own = text(values.get("id"))
    if own is None:
        identity = digest(*(f"{name}={values[name]}" for name in sorted(values)))
        repeats[identity] += 1
        own = f"{identity}:{repeats[identity]}"
    requests = count(values.get("requests"), "requests")
    return ImportedCall(
        source=SOURCE,
        external_id=own,
        at_ms=at,
        provider=provider_slug(text(values.get("provider"))) or split_prefix(model)[0],
        model=model,
        usage=usage,
        unstated=unstated,
        recorded_cost_nusd=cost,
        message_id=text(values.get("message_id")),
        latency_ms=count(values.get("latency_ms"), "latency_ms"),
        session_id=text(values.get("session")),
        agent=text(values.get("agent")) or SOURCE,
        project=base_name(values.get("project")),
        file=file,
        line=line,
        requests=1 if requests is None else requests,
    )
