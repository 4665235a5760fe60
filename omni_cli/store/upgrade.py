"""How files that an earlier build made become what ``schema.py`` says: numbered steps.

Each is one transaction with its record, and never edited once released. Steps only add where they
can (tables, columns, indexes), so that an omni that is still running goes on working on the file.
Those after 19 run in PostgreSQL, too: they call nothing but ``execute``.
"""

import re
from typing import TYPE_CHECKING, Any

from omni_cli.domain.errors import StoreError

if TYPE_CHECKING:
    import sqlite3

    from sqlite_utils import Database

#: The oldest schema that can be brought on. Those before it were never released.
OLDEST = 17


def _step_18(db: "Database") -> None:
    """What only calls that were begun by builds before 13 had, and columns that nothing read."""
    db["leases"].drop(ignore=True)
    for statement in (
        "DROP INDEX IF EXISTS requests_external",
        "ALTER TABLE requests DROP COLUMN external_id",
        "ALTER TABLE open_calls DROP COLUMN leases",
        "ALTER TABLE chains DROP COLUMN allow_free_to_paid",
    ):
        db.execute(statement)


def _step_19(db: "Database") -> None:
    """Who made a response that its caller asks for again."""
    db.execute(
        "CREATE INDEX IF NOT EXISTS attempts_by_response ON attempts (provider_request_id)\n"
        "    WHERE provider_request_id >= 'resp' AND provider_request_id < 'resq'"
    )


def _step_20(db: "Database") -> None:
    """What a key may do with the fleet; those of builds before manage all of it, or nothing."""
    db.execute("ALTER TABLE gateway_keys ADD COLUMN scope TEXT NOT NULL DEFAULT ''")


_TABLES_21 = """
CREATE INDEX requests_by_session ON requests (session, created_at) WHERE session <> '';
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL DEFAULT '',
    project TEXT NOT NULL DEFAULT '',
    remote TEXT NOT NULL DEFAULT '',
    branch TEXT NOT NULL DEFAULT '',
    parent TEXT NOT NULL DEFAULT '',
    title TEXT NOT NULL DEFAULT '',
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_time ON sessions (last_at);
CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent <> '';
CREATE INDEX imports_by_content ON imports (content) WHERE content IS NOT NULL;
CREATE TABLE log_files (
    source TEXT NOT NULL,
    path TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    changed_ns INTEGER NOT NULL,
    "offset" INTEGER NOT NULL DEFAULT 0,
    line INTEGER NOT NULL DEFAULT 0,
    tail TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT '',
    read_at INTEGER NOT NULL,
    PRIMARY KEY (source, path)
) STRICT, WITHOUT ROWID
"""
_SUMS_21 = (
    "calls", "ok", "attempts", "failed_attempts", "unknown_attempts", "estimated_attempts",
    "input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens",
    "cost_nusd", "input_cost_nusd", "estimated_nusd", "failed_nusd", "premium_nusd",
    "compared_nusd", "compared_calls", "unanswered_nusd", "latency_ms", "latency_calls",
)  # fmt: skip
_SCOPES_21 = """(scope IN ('all', 'provider', 'model', 'role', 'agent', 'org', 'key', 'session',
            'project'))"""


def _step_21(db: Any) -> None:
    """Sessions, and how far logs are read."""
    for table in ("requests", "open_calls"):
        for column in ("session", "project"):
            db.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT NOT NULL DEFAULT ''")
    db.execute("ALTER TABLE imports ADD COLUMN content TEXT")
    db.execute("ALTER TABLE gateway_keys ADD COLUMN session TEXT NOT NULL DEFAULT ''")
    for text in _TABLES_21.split(";"):
        db.execute(text)
    keys = ("session", "project", "source", "agent", "provider", "model")
    columns = ["day INTEGER NOT NULL", *(f"{name} TEXT NOT NULL" for name in keys)]
    columns += [f"{name} INTEGER NOT NULL DEFAULT 0" for name in _SUMS_21]
    for suffix in ("", "_next", "_archive"):
        db.execute(
            f"CREATE TABLE rollup_session{suffix} ({', '.join(columns)},"
            f" PRIMARY KEY (day, {', '.join(keys)})) STRICT, WITHOUT ROWID"
        )
    if not hasattr(db, "conn"):  # PostgreSQL
        db.execute("ALTER TABLE budgets DROP CONSTRAINT budgets_scope_check")
        db.execute(f"ALTER TABLE budgets ADD CONSTRAINT budgets_scope_check CHECK {_SCOPES_21}")
        return
    # In SQLite a check cannot be altered, and the table not made anew while others refer to it.
    # The words of its definition can be (SQLite, "ALTER TABLE", section 7).
    (old,) = db.execute("SELECT sql FROM sqlite_master WHERE name = 'budgets'").fetchone()
    new = re.sub(r"\(scope IN \([^)]*\)\)", _SCOPES_21, old)
    (version,) = db.execute("PRAGMA schema_version").fetchone()
    db.execute("PRAGMA writable_schema = ON")
    db.execute("UPDATE sqlite_master SET sql = ? WHERE name = 'budgets'", (new,))
    db.execute(f"PRAGMA schema_version = {version + 1}")
    db.execute("PRAGMA writable_schema = OFF")


_STEP_22 = """
CREATE TABLE IF NOT EXISTS files (
    provider TEXT NOT NULL,
    id TEXT NOT NULL,
    org TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL DEFAULT '',
    purpose TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    document TEXT NOT NULL,
    batch INTEGER,
    asked BLOB,
    PRIMARY KEY (provider, id)
) STRICT;
CREATE INDEX IF NOT EXISTS files_by_id ON files (id);
CREATE TABLE IF NOT EXISTS batches (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    org TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL DEFAULT '',
    agent TEXT NOT NULL DEFAULT '',
    endpoint TEXT NOT NULL,
    input_file TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('opening', 'open', 'ended', 'settled', 'unread')),
    remote TEXT,
    status TEXT NOT NULL DEFAULT '',
    document TEXT NOT NULL DEFAULT '',
    lines INTEGER NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    unknown INTEGER NOT NULL DEFAULT 0,
    cost_nusd INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER,
    ended_at INTEGER,
    settled_at INTEGER,
    checked_at INTEGER NOT NULL DEFAULT 0,
    trouble TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS batches_by_remote ON batches (remote) WHERE remote IS NOT NULL;
CREATE INDEX IF NOT EXISTS batches_under_way ON batches (state) WHERE state <> 'settled';
CREATE TABLE IF NOT EXISTS batch_parts (
    batch INTEGER NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    role TEXT NOT NULL DEFAULT '',
    org TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL DEFAULT '',
    agent TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    price TEXT,
    marked INTEGER NOT NULL DEFAULT 0,
    lines INTEGER NOT NULL,
    held_nusd INTEGER NOT NULL CHECK (held_nusd >= 0),
    PRIMARY KEY (batch, model, role)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS batch_parts_held ON batch_parts (created_at) WHERE held_nusd <> 0;
CREATE TABLE IF NOT EXISTS batch_lines (
    batch INTEGER NOT NULL REFERENCES batches (id) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    custom_id TEXT NOT NULL,
    model TEXT NOT NULL,
    role TEXT NOT NULL DEFAULT '',
    input_tokens INTEGER NOT NULL,
    held_nusd INTEGER NOT NULL,
    request INTEGER,
    PRIMARY KEY (batch, n)
) STRICT, WITHOUT ROWID;
"""


def _step_22(db: "Database") -> None:
    """Batches, and the files that providers keep."""
    for statement in _STEP_22.split(";"):
        if statement.strip():
            db.execute(statement)


_STEP_23 = """CREATE TABLE IF NOT EXISTS shadows (
    id INTEGER PRIMARY KEY,
    role TEXT NOT NULL,
    champion TEXT NOT NULL,
    challenger TEXT NOT NULL,
    share REAL NOT NULL CHECK (share > 0 AND share <= 1),
    settings TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    state TEXT NOT NULL CHECK (state IN ('running', 'stopped')),
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX IF NOT EXISTS shadows_running ON shadows (role) WHERE state = 'running';
CREATE TABLE IF NOT EXISTS shadow_pairs (
    shadow INTEGER NOT NULL REFERENCES shadows (id) ON DELETE CASCADE,
    request INTEGER NOT NULL,
    shadowed INTEGER NOT NULL,
    at_ms INTEGER NOT NULL,
    task TEXT NOT NULL,
    champion REAL NOT NULL,
    challenger REAL NOT NULL,
    how TEXT NOT NULL CHECK (how IN ('check', 'judge', 'user', 'failed')),
    agreed INTEGER,
    champion_nusd INTEGER,
    challenger_nusd INTEGER,
    judge_nusd INTEGER,
    PRIMARY KEY (shadow, request)
) STRICT, WITHOUT ROWID;
"""


def _step_23(db: "Database") -> None:
    """Challengers in the shadow of a role."""
    for statement in _STEP_23.split(";"):
        if statement.strip():
            db.execute(statement)


def _step_24(db: "Database") -> None:
    """When a session was stopped: its calls are refused from then on."""
    db.execute("ALTER TABLE sessions ADD COLUMN stopped_at INTEGER")


def _step_25(db: "Database") -> None:
    """What gateways have in hand of budgets."""
    db.execute(
        "CREATE TABLE IF NOT EXISTS budget_slices (owner TEXT NOT NULL,"
        " budget INTEGER NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,"
        " start_at INTEGER NOT NULL, end_at INTEGER NOT NULL, nusd INTEGER NOT NULL,"
        " PRIMARY KEY (owner, budget, start_at)) STRICT, WITHOUT ROWID"
    )


def _step_26(db: Any) -> None:
    """In PostgreSQL, the ledger by months."""
    if not hasattr(db, "conn"):
        from omni_cli.store.partitions import part

        part(db)


def _step_27(db: Any) -> None:
    """In PostgreSQL, limits that gateways keep together."""
    if not hasattr(db, "conn"):
        from omni_cli.store.partitions import LIMIT_TABLES

        db.execute(LIMIT_TABLES)


def _step_28(db: Any) -> None:
    """Limits a minute of single models."""
    db.execute(
        "CREATE TABLE IF NOT EXISTS paced_calls (model TEXT NOT NULL, at INTEGER NOT NULL,"
        " request INTEGER NOT NULL, PRIMARY KEY (model, at, request)) STRICT, WITHOUT ROWID"
    )


def _step_29(db: Any) -> None:
    """Who pairs a request of a shadow, the challenger's answer where texts are kept, and what the
    user said of a pair."""
    db.execute(
        "CREATE TABLE IF NOT EXISTS shadow_claims ("
        "shadow INTEGER NOT NULL REFERENCES shadows (id) ON DELETE CASCADE,"
        " request INTEGER NOT NULL, owner TEXT NOT NULL, shadowed INTEGER, answer TEXT,"
        " PRIMARY KEY (shadow, request)) STRICT, WITHOUT ROWID"
    )
    for column in ("user_champion", "user_challenger"):
        db.execute(f"ALTER TABLE shadow_pairs ADD COLUMN {column} REAL")


#: By the version that each leads to.
STEPS: dict[int, Any] = {
    18: _step_18,
    19: _step_19,
    20: _step_20,
    21: _step_21,
    22: _step_22,
    23: _step_23,
    24: _step_24,
    25: _step_25,
    26: _step_26,
    27: _step_27,
    28: _step_28,
    29: _step_29,
}


def check(version: int) -> None:
    """Raises StoreError: a file of this schema cannot be brought on."""
    if version < OLDEST:
        raise StoreError(
            f"the store was made by a build of omni before its first release (schema {version}; "
            f"this one reads {OLDEST} and later)",
            hint="start anew: move the file away, then omni init; or open it once with the last "
            f"build that wrote schema {OLDEST}",
        )


def upgrade(db: "sqlite3.Connection", version: int) -> None:
    """Bring a store of ``version`` to the newest. Raises StoreError: it is too old."""
    check(version)
    from sqlite_utils import Database, Migrations

    steps = Migrations("omni")
    for number, step in STEPS.items():
        if number > version:
            steps(name=f"{number:04d}")(step)
    steps.apply(Database(db))
    db.execute(f"PRAGMA user_version = {max(STEPS)}")
