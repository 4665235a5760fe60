"""Every table, once. ``upgrade.py`` brings files that an earlier build made to this.

Times are integer milliseconds since the epoch, UTC; money is integer nano-dollars (``_nusd``); a
NULL amount is unknown, never zero. Columns of the ledger are those of its rows in
``domain/ledger.py``, and ``store/rows.py`` derives every INSERT from these: the tests compare
all three.
"""

import re

from msgspec import Struct

from omni_cli.domain.analytics import TOTALS_FIELDS
from omni_cli.domain.chat import TOKEN_FIELDS
from omni_cli.domain.patterns import Pattern

_TOKENS = ",\n    ".join(f"{name} INTEGER NOT NULL DEFAULT 0" for name in TOKEN_FIELDS)
_TABLE = Pattern(r"\s*CREATE TABLE (\w+) \((.*)\)[^()]*", re.DOTALL)
_COMMENT = Pattern(r"--[^\n]*")
#: Of what stands between a table's parentheses, between commas that stand in none.
_PARTS = Pattern(r"(?:[^,()]|\((?:[^()]|\([^()]*\))*\))+")
_CONSTRAINTS = ("PRIMARY", "UNIQUE", "CHECK", "FOREIGN")
#: What is known of a request before its first call.
_BEGUN = """id INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    source TEXT NOT NULL,
    owner TEXT,
    org TEXT NOT NULL DEFAULT '',
    key TEXT NOT NULL DEFAULT '',
    role TEXT NOT NULL DEFAULT '',
    agent TEXT NOT NULL DEFAULT '',
    task TEXT NOT NULL DEFAULT '',
    complexity TEXT NOT NULL DEFAULT '',
    difficulty REAL,
    conversation INTEGER,
    chain TEXT,
    session TEXT NOT NULL DEFAULT '',
    project TEXT NOT NULL DEFAULT ''"""

# The state that most rows end in stands first in their checks: a list is made anew for each row
# that it is asked for, at 20,000 instructions.
TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE providers (
    slug TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    protocol TEXT NOT NULL,
    base_url TEXT NOT NULL,
    auth_method TEXT NOT NULL CHECK (auth_method IN ('api_key', 'none')),
    key_env TEXT,
    enabled INTEGER NOT NULL DEFAULT 1,
    max_concurrency INTEGER NOT NULL DEFAULT 8 CHECK (max_concurrency >= 1),
    status TEXT NOT NULL DEFAULT 'disconnected'
        CHECK (status IN ('connected', 'disconnected', 'error', 'maintenance')),
    simulated INTEGER NOT NULL DEFAULT 0,
    headers TEXT NOT NULL DEFAULT '{}',
    tested_at INTEGER,
    test_latency_ms INTEGER,
    last_error TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE models (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    wire_name TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL DEFAULT 'text',
    context_window INTEGER,
    max_output INTEGER,
    parameters_b REAL,
    complexity_factor REAL GENERATED ALWAYS AS (parameters_b / 175.0) VIRTUAL,
    status TEXT NOT NULL DEFAULT 'standby' CHECK (status IN ('active', 'standby', 'disabled')),
    is_system INTEGER NOT NULL DEFAULT 0,
    is_default INTEGER NOT NULL DEFAULT 0,
    hidden INTEGER NOT NULL DEFAULT 0,
    details TEXT NOT NULL DEFAULT '{}',
    user_fields TEXT NOT NULL DEFAULT '[]',
    added_at INTEGER,
    updated_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX models_by_provider ON models (provider);
CREATE INDEX models_by_wire_name ON models (wire_name);

CREATE TABLE aliases (
    alias TEXT PRIMARY KEY,
    model TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    is_system INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_by_model ON aliases (model);

-- Immutable: an attempt points at the row it was charged by, so history never changes.
CREATE TABLE prices (
    id INTEGER PRIMARY KEY,
    model TEXT NOT NULL,
    origin TEXT NOT NULL CHECK (origin IN ('catalogue', 'provider', 'user')),
    state TEXT NOT NULL CHECK (state IN ('priced', 'free', 'unknown')),
    price TEXT NOT NULL,
    effective_from TEXT,
    recorded_at INTEGER NOT NULL,
    superseded_at INTEGER
) STRICT;
CREATE INDEX prices_current ON prices (model) WHERE superseded_at IS NULL;

CREATE TABLE roles (
    name TEXT PRIMARY KEY,
    description TEXT NOT NULL DEFAULT '',
    settings TEXT NOT NULL DEFAULT '{}'
) STRICT, WITHOUT ROWID;

CREATE TABLE role_models (
    role TEXT NOT NULL REFERENCES roles (name) ON DELETE CASCADE,
    model TEXT NOT NULL,
    priority INTEGER NOT NULL DEFAULT 1 CHECK (priority >= 1),
    PRIMARY KEY (role, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE rules (
    id INTEGER PRIMARY KEY,
    condition TEXT NOT NULL,
    model TEXT NOT NULL,
    priority INTEGER NOT NULL DEFAULT 1,
    enabled INTEGER NOT NULL DEFAULT 1
) STRICT;

-- ``any_cost``, ``free_to_paid``: what its user said of cost, NULL where nothing.
CREATE TABLE chains (
    name TEXT PRIMARY KEY,
    max_cost_multiple REAL,
    any_cost INTEGER NOT NULL DEFAULT 0,
    free_to_paid INTEGER,
    hedge_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE chain_links (
    chain TEXT NOT NULL REFERENCES chains (name) ON DELETE CASCADE ON UPDATE CASCADE,
    position INTEGER NOT NULL,
    model TEXT NOT NULL,
    max_retries INTEGER NOT NULL DEFAULT 2 CHECK (max_retries BETWEEN 0 AND 10),
    timeout_ms INTEGER NOT NULL DEFAULT 30000 CHECK (timeout_ms BETWEEN 1000 AND 120000),
    PRIMARY KEY (chain, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    before TEXT,
    after TEXT,
    previous_hash TEXT NOT NULL,
    hash TEXT NOT NULL
) STRICT;

CREATE TABLE revisions (
    number INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    fleet TEXT NOT NULL
) STRICT;

CREATE TABLE requests (
    {begun},
    settled_at INTEGER,
    state TEXT NOT NULL
        CHECK (state = 'ok' OR state IN ('pending', 'failed', 'cancelled', 'lost', 'refused')),
    model TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    {tokens},
    price_state TEXT,
    cost_nusd INTEGER,
    adjusted_nusd INTEGER NOT NULL DEFAULT 0,
    estimated INTEGER NOT NULL DEFAULT 0,
    premium_model TEXT,
    premium_cost_nusd INTEGER,
    latency_ms INTEGER,
    ttft_ms INTEGER,
    finish_reason TEXT,
    error_code TEXT,
    error_message TEXT
) STRICT;
CREATE INDEX requests_by_time ON requests (created_at);
CREATE INDEX requests_pending ON requests (owner) WHERE state = 'pending';
CREATE INDEX requests_by_conversation ON requests (conversation) WHERE conversation IS NOT NULL;

CREATE INDEX requests_by_session ON requests (session, created_at) WHERE session <> '';

-- What is known of an agent's session beside its requests' rows, which name it.
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    agent TEXT NOT NULL DEFAULT '',
    project TEXT NOT NULL DEFAULT '',
    remote TEXT NOT NULL DEFAULT '',
    branch TEXT NOT NULL DEFAULT '',
    parent TEXT NOT NULL DEFAULT '',
    title TEXT NOT NULL DEFAULT '',
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    stopped_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_time ON sessions (last_at);
CREATE INDEX sessions_by_parent ON sessions (parent) WHERE parent <> '';

CREATE TABLE attempts (
    request INTEGER NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    state TEXT NOT NULL
        CHECK (state = 'ok'
            OR state IN ('planned', 'sent', 'failed', 'cancelled', 'lost', 'unsent')),
    started_at INTEGER NOT NULL,
    first_at INTEGER,
    ended_at INTEGER,
    {tokens},
    input_estimate INTEGER NOT NULL DEFAULT 0,
    output_bound INTEGER,
    received_chars INTEGER NOT NULL DEFAULT 0,
    price INTEGER REFERENCES prices (id),
    cost_nusd INTEGER,
    reported_cost_nusd INTEGER,
    estimated INTEGER NOT NULL DEFAULT 0,
    http_status INTEGER,
    provider_request_id TEXT,
    error_code TEXT,
    error_message TEXT,
    input_cost_nusd INTEGER,
    waited_ms INTEGER NOT NULL DEFAULT 0,
    held_nusd INTEGER NOT NULL DEFAULT 0 CHECK (held_nusd >= 0),
    PRIMARY KEY (request, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_open ON attempts (provider) WHERE state IN ('planned', 'sent');
CREATE INDEX attempts_estimated ON attempts (request) WHERE estimated = 1;
CREATE INDEX attempts_unknown ON attempts (request)
    WHERE cost_nusd IS NULL AND state NOT IN ('planned', 'sent');
CREATE INDEX attempts_waited ON attempts (provider, started_at, waited_ms) WHERE waited_ms > 0;
CREATE INDEX attempts_held ON attempts (request) WHERE held_nusd <> 0;
CREATE INDEX attempts_by_response ON attempts (provider_request_id)
    WHERE provider_request_id >= 'resp' AND provider_request_id < 'resq';

CREATE TABLE decisions (
    request INTEGER PRIMARY KEY REFERENCES requests (id) ON DELETE CASCADE,
    decision BLOB NOT NULL
) STRICT;

CREATE TABLE adjustments (
    id INTEGER PRIMARY KEY,
    request INTEGER NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    price INTEGER REFERENCES prices (id),
    delta_nusd INTEGER NOT NULL
) STRICT;
CREATE INDEX adjustments_by_request ON adjustments (request);

-- What imports know of their calls, to tell copies from new ones. No foreign key: a request that
-- retention removed must not come back with the next import.
CREATE TABLE imports (
    source TEXT NOT NULL,
    external_id TEXT NOT NULL,
    request INTEGER NOT NULL,
    message_id TEXT,
    provider_request_id TEXT,
    recorded_model TEXT,
    calls INTEGER,
    content TEXT,
    PRIMARY KEY (source, external_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX imports_by_content ON imports (content) WHERE content IS NOT NULL;
CREATE INDEX imports_by_request ON imports (request);
CREATE INDEX imports_by_message ON imports (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX imports_by_provider_request ON imports (provider_request_id)
    WHERE provider_request_id IS NOT NULL;

-- How far the logs of other tools are read. ``bytes`` and ``changed_ns``: of the file as it was.
-- ``offset``, ``line``: after the last whole line. ``tail``: a digest of what stood before it.
-- ``state``: what the importer knows of the lines before.
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
) STRICT, WITHOUT ROWID;

CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY,
    request INTEGER REFERENCES requests (id) ON DELETE SET NULL,
    at INTEGER NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    kind TEXT NOT NULL,
    value REAL NOT NULL,
    weight REAL NOT NULL DEFAULT 1.0,
    note TEXT NOT NULL DEFAULT '',
    form TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX outcomes_by_request ON outcomes (request);

CREATE TABLE quality (
    task TEXT NOT NULL,
    model TEXT NOT NULL,
    wins REAL NOT NULL DEFAULT 0,
    losses REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (task, model)
) STRICT, WITHOUT ROWID;

CREATE TABLE conversations (
    id INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    title TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE turns (
    conversation INTEGER NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    request INTEGER,
    message TEXT NOT NULL,
    PRIMARY KEY (conversation, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE model_stats (
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    calls INTEGER NOT NULL DEFAULT 0,
    ok INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    latency_ewma_ms REAL,
    ttft_ewma_ms REAL,
    PRIMARY KEY (model, task)
) STRICT, WITHOUT ROWID;

CREATE TABLE breakers (
    target TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE budgets (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL
        CHECK (scope IN ('all', 'provider', 'model', 'role', 'agent', 'org', 'key', 'session',
            'project')),
    value TEXT NOT NULL DEFAULT '',
    period TEXT NOT NULL CHECK (period IN ('day', 'week', 'month')),
    limit_nusd INTEGER NOT NULL CHECK (limit_nusd >= 0),
    settings TEXT NOT NULL DEFAULT '{}',
    enabled INTEGER NOT NULL DEFAULT 1,
    UNIQUE (scope, value, period)
) STRICT;

CREATE TABLE budget_periods (
    budget INTEGER NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    start_at INTEGER NOT NULL,
    end_at INTEGER NOT NULL,
    carried_nusd INTEGER NOT NULL DEFAULT 0,
    spent_nusd INTEGER NOT NULL DEFAULT 0,
    reserved_nusd INTEGER NOT NULL DEFAULT 0 CHECK (reserved_nusd >= 0),
    alerted REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (budget, start_at)
) STRICT, WITHOUT ROWID;

-- What gateways have in hand of a period, a part of its ``reserved_nusd`` (store/leases.py).
CREATE TABLE budget_slices (
    owner TEXT NOT NULL,
    budget INTEGER NOT NULL REFERENCES budgets (id) ON DELETE CASCADE,
    start_at INTEGER NOT NULL,
    end_at INTEGER NOT NULL,
    nusd INTEGER NOT NULL,
    PRIMARY KEY (owner, budget, start_at)
) STRICT, WITHOUT ROWID;

CREATE TABLE health_hours (
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    hour INTEGER NOT NULL,
    good INTEGER NOT NULL DEFAULT 0,
    bad INTEGER NOT NULL DEFAULT 0,
    latency_ms INTEGER NOT NULL DEFAULT 0,
    gen_ms INTEGER NOT NULL DEFAULT 0,
    gen_tokens INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (provider, model, hour)
) STRICT, WITHOUT ROWID;

CREATE TABLE health_checks (
    provider TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    ok INTEGER NOT NULL,
    latency_ms INTEGER,
    models INTEGER,
    error_code TEXT,
    error_message TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE alerts (
    key TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    level TEXT NOT NULL,
    text TEXT NOT NULL,
    sent_at INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE listings (
    provider TEXT PRIMARY KEY,
    at INTEGER NOT NULL,
    models TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE discoveries (
    id INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    provider TEXT NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    details TEXT NOT NULL,
    applied_at INTEGER
) STRICT;
CREATE INDEX discoveries_by_time ON discoveries (at);

CREATE TABLE comparisons (
    id INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'complete')),
    plan TEXT NOT NULL
) STRICT;

CREATE TABLE comparison_results (
    comparison INTEGER NOT NULL REFERENCES comparisons (id) ON DELETE CASCADE,
    prompt TEXT NOT NULL,
    contender TEXT NOT NULL,
    iteration INTEGER NOT NULL,
    request INTEGER NOT NULL,
    state TEXT NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    output TEXT NOT NULL,
    finish_reason TEXT,
    latency_ms INTEGER,
    ttft_ms INTEGER,
    cost_nusd INTEGER,
    earlier_nusd INTEGER NOT NULL DEFAULT 0,
    error_code TEXT,
    error_message TEXT,
    PRIMARY KEY (comparison, prompt, contender, iteration)
) STRICT, WITHOUT ROWID;

CREATE TABLE comparison_judgements (
    comparison INTEGER NOT NULL REFERENCES comparisons (id) ON DELETE CASCADE,
    prompt TEXT NOT NULL,
    iteration INTEGER NOT NULL,
    turn INTEGER NOT NULL,
    request INTEGER NOT NULL,
    scores TEXT NOT NULL,
    cost_nusd INTEGER,
    PRIMARY KEY (comparison, prompt, iteration, turn)
) STRICT, WITHOUT ROWID;

CREATE TABLE abtests (
    id INTEGER PRIMARY KEY,
    role TEXT NOT NULL,
    champion TEXT NOT NULL,
    challenger TEXT NOT NULL,
    share REAL NOT NULL CHECK (share > 0 AND share < 1),
    settings TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    state TEXT NOT NULL CHECK (state IN ('running', 'stopped', 'promoted')),
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX abtests_running ON abtests (role) WHERE state = 'running';

CREATE TABLE abtest_units (
    test INTEGER NOT NULL REFERENCES abtests (id) ON DELETE CASCADE,
    unit INTEGER NOT NULL,
    arm INTEGER NOT NULL CHECK (arm IN (0, 1)),
    joined_at INTEGER NOT NULL,
    settled_at INTEGER,
    good INTEGER,
    cost_nusd INTEGER,
    latency_ms INTEGER,
    PRIMARY KEY (test, unit)
) STRICT, WITHOUT ROWID;
CREATE INDEX abtest_units_open ON abtest_units (test) WHERE settled_at IS NULL;

CREATE TABLE shadows (
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
CREATE UNIQUE INDEX shadows_running ON shadows (role) WHERE state = 'running';

CREATE TABLE shadow_pairs (
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
    user_champion REAL,
    user_challenger REAL,
    PRIMARY KEY (shadow, request)
) STRICT, WITHOUT ROWID;

CREATE TABLE shadow_claims (
    shadow INTEGER NOT NULL REFERENCES shadows (id) ON DELETE CASCADE,
    request INTEGER NOT NULL,
    owner TEXT NOT NULL,
    shadowed INTEGER,
    answer TEXT,
    PRIMARY KEY (shadow, request)
) STRICT, WITHOUT ROWID;

CREATE TABLE advice (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL DEFAULT 'pending'
        CHECK (status IN ('pending', 'applied', 'dismissed', 'undone')),
    finding TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    decided_at INTEGER,
    undo TEXT
) STRICT;

CREATE TABLE gateway_keys (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    digest BLOB NOT NULL UNIQUE,
    shown TEXT NOT NULL,
    org TEXT NOT NULL DEFAULT '',
    manages INTEGER NOT NULL DEFAULT 0,
    models TEXT NOT NULL DEFAULT '[]',
    rpm INTEGER CHECK (rpm >= 1),
    tpm INTEGER CHECK (tpm >= 1),
    concurrency INTEGER CHECK (concurrency >= 1),
    created_at INTEGER NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    used_at INTEGER,
    scope TEXT NOT NULL DEFAULT '',
    session TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE cache_roles (
    role TEXT PRIMARY KEY,
    ttl_s INTEGER NOT NULL CHECK (ttl_s > 0)
) STRICT, WITHOUT ROWID;

CREATE TABLE cache_answers (
    key TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    origin INTEGER NOT NULL,
    answer TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    cost_nusd INTEGER,
    created_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX cache_answers_by_use ON cache_answers (used_at);

CREATE TABLE cache_hits (
    request INTEGER PRIMARY KEY REFERENCES requests (id) ON DELETE CASCADE,
    origin INTEGER NOT NULL,
    saved_nusd INTEGER
) STRICT;

CREATE TABLE deploys (
    id INTEGER PRIMARY KEY,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    until_at INTEGER,
    state TEXT NOT NULL CHECK (state IN ('canary', 'watching', 'promoted', 'held', 'rolled_back',
        'aborted', 'left')),
    share REAL CHECK (share > 0 AND share < 1),
    condition TEXT NOT NULL,
    base_revision INTEGER NOT NULL,
    revision INTEGER,
    document TEXT NOT NULL,
    tests TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX deploys_open ON deploys (coalesce(ended_at, 0)) WHERE ended_at IS NULL;

-- Calls under way, until they end (store/writer.py). ``provider`` is NULL while a call waits for a
-- slot: nothing is sent and nothing held.
CREATE TABLE open_calls (
    {begun},
    model TEXT,
    provider TEXT,
    started_at INTEGER,
    input_estimate INTEGER,
    output_bound INTEGER,
    price INTEGER,
    first_at INTEGER,
    received_chars INTEGER NOT NULL DEFAULT 0,
    waited_ms INTEGER NOT NULL DEFAULT 0,
    held_nusd INTEGER NOT NULL DEFAULT 0 CHECK (held_nusd >= 0),
    decision BLOB
) STRICT;
CREATE INDEX open_calls_by_provider ON open_calls (provider);

-- ``since`` and ``seen_at``: ms since the epoch, ``port``: of the waiting process' bell on this
-- machine, 0 where it has none.
CREATE TABLE slot_tickets (
    id INTEGER PRIMARY KEY,
    provider TEXT NOT NULL,
    owner TEXT NOT NULL,
    request INTEGER NOT NULL,
    since INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    port INTEGER NOT NULL
) STRICT;
CREATE INDEX slot_tickets_by_provider ON slot_tickets (provider, id);

-- When calls went out in the last minute to models that have a limit of that.
CREATE TABLE paced_calls (
    model TEXT NOT NULL,
    at INTEGER NOT NULL,
    request INTEGER NOT NULL,
    PRIMARY KEY (model, at, request)
) STRICT, WITHOUT ROWID;

-- Files that providers keep for callers. ``document``: as its provider describes one, JSON.
-- ``asked``: what the requests of a batch file ask (store/batches.py), NULL for any other.
CREATE TABLE files (
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
CREATE INDEX files_by_id ON files (id);

CREATE TABLE batches (
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
CREATE INDEX batches_by_remote ON batches (remote) WHERE remote IS NOT NULL;
CREATE INDEX batches_under_way ON batches (state) WHERE state <> 'settled';

-- What a batch asks of one model, and what budgets hold for it. Whose it is stands here, too, so
-- that a budget finds it as it finds calls.
CREATE TABLE batch_parts (
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
CREATE INDEX batch_parts_held ON batch_parts (created_at) WHERE held_nusd <> 0;

-- The requests of a batch that is not settled. ``request``: its row in the ledger, once it has one.
CREATE TABLE batch_lines (
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

CREATE TABLE health_check_log (
    provider TEXT NOT NULL,
    at INTEGER NOT NULL,
    ok INTEGER NOT NULL,
    PRIMARY KEY (provider, at)
) STRICT, WITHOUT ROWID;
"""


class Rollup(Struct, frozen=True):
    """A table of sums: ``key`` and ``values`` are its columns, in the table's order."""

    table: str
    key: tuple[str, ...]
    values: tuple[str, ...]

    def upsert(self, suffix: str) -> str:
        """Add to the sums of ``table + suffix``, from named parameters."""
        table, names = f"{self.table}{suffix}", [*self.key, *self.values]
        sums = ", ".join(f"{name} = {table}.{name} + excluded.{name}" for name in self.values)
        return (
            f"INSERT INTO {table} ({', '.join(names)})"  # noqa: S608  # our names
            f" VALUES ({', '.join(f':{name}' for name in names)})"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET {sums}"
        )

    def create(self, suffix: str, *, temporary: bool = False) -> str:
        """Make ``table + suffix``."""
        columns = [f"{name} {_key_type(name)} NOT NULL" for name in self.key]
        columns += [f"{name} INTEGER NOT NULL DEFAULT 0" for name in self.values]
        body = ", ".join([*columns, f"PRIMARY KEY ({', '.join(self.key)})"])
        kind = "TEMP TABLE" if temporary else "TABLE"
        return f"CREATE {kind} {self.table}{suffix} ({body}) STRICT, WITHOUT ROWID"


DIMENSIONS = ("source", "org", "key", "provider", "model", "role", "agent", "task")
DAY = Rollup("rollup_day", ("day", *DIMENSIONS), TOTALS_FIELDS)
HOUR = Rollup(
    "rollup_hour",
    ("hour", "provider", "model"),
    (
        "calls",
        "attempts",
        "failed_attempts",
        "input_tokens",
        "output_tokens",
        "cost_nusd",
        "latency_ms",
        "latency_calls",
    ),
)
#: Only of calls that name a session or a project.
SESSION = Rollup(
    "rollup_session",
    ("day", "session", "project", "source", "agent", "provider", "model"),
    TOTALS_FIELDS,
)
LATENCY = Rollup("rollup_latency", ("day", "provider", "model", "bucket"), ("calls",))
LATENCY_SCOPE = Rollup("rollup_latency_scope", ("day", *DIMENSIONS, "bucket"), ("calls",))
BASELINE = Rollup("rollup_baseline", ("day", "premium_model"), ("compared_calls", "premium_nusd"))
ROLLUPS = (DAY, HOUR, SESSION, LATENCY, LATENCY_SCOPE, BASELINE)


def _rollups() -> list[str]:
    """Each has a table to be built anew in (``_next``), and one for what retention has removed from
    the ledger (``_archive``)."""
    suffixes = ("", "_next", "_archive")
    return [rollup.create(suffix) for rollup in ROLLUPS for suffix in suffixes]


def _key_type(name: str) -> str:
    return "INTEGER" if name in ("day", "hour", "bucket") else "TEXT"


def statements() -> list[str]:
    """What makes an empty store."""
    tables = TABLES.replace("{begun}", _BEGUN).replace("{tokens}", _TOKENS)
    return [text for text in tables.split(";") if text.strip()] + _rollups()


def schema_tables() -> dict[str, dict[str, str]]:
    """By table, in the order of ``statements``: its columns with what defines each, but for those
    that are worked out."""
    found: dict[str, dict[str, str]] = {}
    for text in statements():
        table = _TABLE.fullmatch(_COMMENT.sub("", text))
        for part in _PARTS.findall(table[2]) if table else ():
            name, _, words = part.strip().partition(" ")
            if table and name not in _CONSTRAINTS and "GENERATED" not in words:
                found.setdefault(table[1], {})[name.strip('"')] = words
    return found
