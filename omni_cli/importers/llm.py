"""llm's ``logs.db``: table ``responses`` (to 0.31), then ``turns``; either may be missing.

``input_tokens`` of most plugins includes the cache; Anthropic's plugin passes that API's own
split on, in which it does not. NULL counts are unknown.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.imports import ImportedCall, ImportProblem
from omni_cli.importers import sqlite
from omni_cli.importers.values import Skips, Unreadable, at_ms, count, make_usage, obj, text

SOURCE = "llm"
_TABLES = {"responses": "conversation_id", "turns": "thread_id"}
_COLUMNS = (
    "id",
    "model",
    "resolved_model",
    "input_tokens",
    "output_tokens",
    "token_details",
    "duration_ms",
    "datetime_utc",
)
#: Of the answer only its id and its own name of the model; the rest can be large.
_ANSWER = """,
CASE WHEN json_valid(response_json) THEN json_extract(response_json, '$.id') END AS answer_id,
CASE WHEN json_valid(response_json) THEN json_extract(response_json, '$.model') END AS answered_by
"""


def find_default(home: Path, env: Mapping[str, str]) -> list[Path]:
    """``$LLM_USER_PATH``, else the application folder that llm's ``click`` chooses."""
    if env.get("LLM_USER_PATH"):
        roots = [Path(env["LLM_USER_PATH"]).expanduser()]
    else:
        config = Path(env["XDG_CONFIG_HOME"]) if env.get("XDG_CONFIG_HOME") else home / ".config"
        bases = [config, home / "Library" / "Application Support"]
        if env.get("APPDATA"):
            bases.append(Path(env["APPDATA"]))
        roots = [base / "io.datasette.llm" for base in bases]
    return [root / "logs.db" for root in roots if (root / "logs.db").is_file()]


def files(path: Path) -> list[Path]:
    return [path / "logs.db"] if path.is_dir() else [path]


def read_file(path: Path, skips: Skips) -> Iterator[ImportedCall | ImportProblem]:
    last: int | None = None
    try:
        with sqlite.read_only(path) as connection:
            tables = {t: sqlite.columns(connection, t) for t in _TABLES}
            if not any({"id", "model"} <= found for found in tables.values()):
                yield ImportProblem(str(path), None, "no table of responses: not llm's database")
                return
            for table, found in tables.items():
                if not {"id", "model"} <= found:
                    continue
                for row in connection.execute(_query(table, found)):
                    last = row["row"]
                    try:
                        yield _call(sqlite.as_mapping(row), path.name)
                    except Unreadable as exc:
                        yield ImportProblem(str(path), last, f"{table}: {exc}")
                skips[f"columns of {table} not used"] += len(found - {*_COLUMNS, "response_json"})
    except Unreadable as exc:
        yield ImportProblem(str(path), None, str(exc))
    except sqlite3.Error as exc:
        yield ImportProblem(str(path), last, f"the database is damaged from here on: {exc}")


def _query(table: str, found: frozenset[str]) -> str:
    """A SELECT of what this era's table has; every name in it is one of this module's own."""
    wanted = [name if name in found else f"NULL AS {name}" for name in _COLUMNS]
    session = _TABLES[table]
    wanted.append(f"{session} AS session" if session in found else "NULL AS session")
    answer = _ANSWER if "response_json" in found else ", NULL AS answer_id, NULL AS answered_by"
    return f"SELECT rowid AS row, {', '.join(wanted)}{answer} FROM {table} ORDER BY rowid"  # noqa: S608  # names of ours only


def _call(row: Mapping[str, Any], file: str) -> ImportedCall:
    own = text(row["id"])
    if own is None:
        raise Unreadable("no id")
    details = _details(row["token_details"])
    usage, unstated = _usage(
        count(row["input_tokens"], "input_tokens"),
        count(row["output_tokens"], "output_tokens"),
        details,
    )
    model, served = text(row["model"]), text(row["resolved_model"]) or text(row["answered_by"])
    return ImportedCall(
        source=SOURCE,
        external_id=own,
        at_ms=at_ms(row["datetime_utc"], "datetime_utc"),
        provider=None,
        model=model,
        served_model=served if served != model else None,
        usage=usage,
        unstated=unstated,
        message_id=text(row["answer_id"]),
        latency_ms=count(row["duration_ms"], "duration_ms"),
        session_id=text(row["session"]),
        agent=SOURCE,
        file=file,
        line=row["row"],
    )


def _details(raw: object) -> Mapping[str, Any]:
    """The provider's own usage object, as far as llm kept it; damage loses only the details."""
    if not isinstance(raw, str):
        return {}
    try:
        return obj(json.loads(raw))
    except (ValueError, RecursionError):
        return {}


def _usage(
    given_input: int | None, output: int | None, details: Mapping[str, Any]
) -> tuple[Any, frozenset[str]]:
    """Zeros are pruned from the details, so a kind they leave out is 0 once tokens are known."""
    prompt = obj(details.get("prompt_tokens_details") or details.get("input_tokens_details"))
    answer = obj(details.get("completion_tokens_details") or details.get("output_tokens_details"))
    excluded_reads = count(details.get("cache_read_input_tokens"), "cache_read_input_tokens")
    writes = count(details.get("cache_creation_input_tokens"), "cache_creation_input_tokens") or 0
    reads = count(prompt.get("cached_tokens"), "cached_tokens") or count(
        details.get("cachedContentTokenCount"), "cachedContentTokenCount"
    )
    whole_in = given_input
    if given_input is not None and (excluded_reads or writes):
        whole_in = given_input + (excluded_reads or 0) + writes
        reads = excluded_reads
    reasoning = count(answer.get("reasoning_tokens"), "reasoning_tokens") or count(
        details.get("thoughtsTokenCount"), "thoughtsTokenCount"
    )
    long = count(
        obj(details.get("cache_creation")).get("ephemeral_1h_input_tokens"),
        "ephemeral_1h_input_tokens",
    )
    return make_usage(
        whole_in,
        output,
        cached=reads or 0,
        cache_write=writes,
        cache_write_1h=long,
        reasoning=reasoning or 0,
    )
