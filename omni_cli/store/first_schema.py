"""The schema of the first release: the fleet, the ledger, and what is learnt from it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


_TOKENS = """
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_1h_tokens INTEGER NOT NULL DEFAULT 0,
    input_image_tokens INTEGER NOT NULL DEFAULT 0,
    input_audio_tokens INTEGER NOT NULL DEFAULT 0,
    cached_audio_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    output_image_tokens INTEGER NOT NULL DEFAULT 0,
    output_audio_tokens INTEGER NOT NULL DEFAULT 0
"""


FLEET = """
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

CREATE TABLE chains (
    name TEXT PRIMARY KEY,
    max_cost_multiple REAL,
    allow_free_to_paid INTEGER NOT NULL DEFAULT 0
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
"""


# The state that most rows end in stands first in their checks: a list is made anew for each row
# that it is asked for, at 20,000 instructions.
LEDGER = f"""
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    created_at INTEGER NOT NULL,
    settled_at INTEGER,
    state TEXT NOT NULL
        CHECK (state = 'ok' OR state IN ('pending', 'failed', 'cancelled', 'lost', 'refused')),
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
    model TEXT NOT NULL DEFAULT '',
    provider TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0,
    {_TOKENS},
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
    error_message TEXT,
    external_id TEXT
) STRICT;
CREATE INDEX requests_by_time ON requests (created_at);
CREATE INDEX requests_pending ON requests (owner) WHERE state = 'pending';
CREATE UNIQUE INDEX requests_external ON requests (external_id) WHERE external_id IS NOT NULL;
CREATE INDEX requests_by_conversation ON requests (conversation) WHERE conversation IS NOT NULL;

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
    {_TOKENS},
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
    PRIMARY KEY (request, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX attempts_open ON attempts (provider) WHERE state IN ('planned', 'sent');
CREATE INDEX attempts_estimated ON attempts (request) WHERE estimated = 1;
CREATE INDEX attempts_unknown ON attempts (request)
    WHERE cost_nusd IS NULL AND state NOT IN ('planned', 'sent');

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
    PRIMARY KEY (source, external_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX imports_by_request ON imports (request);
CREATE INDEX imports_by_message ON imports (message_id) WHERE message_id IS NOT NULL;
CREATE INDEX imports_by_provider_request ON imports (provider_request_id)
    WHERE provider_request_id IS NOT NULL;

CREATE TABLE outcomes (
    id INTEGER PRIMARY KEY,
    request INTEGER REFERENCES requests (id) ON DELETE SET NULL,
    at INTEGER NOT NULL,
    model TEXT NOT NULL,
    task TEXT NOT NULL,
    kind TEXT NOT NULL,
    value REAL NOT NULL,
    weight REAL NOT NULL DEFAULT 1.0,
    note TEXT NOT NULL DEFAULT ''
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
"""


STATS = """
CREATE TABLE rollup_day (
    day INTEGER NOT NULL,
    source TEXT NOT NULL,
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    role TEXT NOT NULL,
    agent TEXT NOT NULL,
    task TEXT NOT NULL,
    calls INTEGER NOT NULL DEFAULT 0,
    ok INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    failed_attempts INTEGER NOT NULL DEFAULT 0,
    unknown_attempts INTEGER NOT NULL DEFAULT 0,
    estimated_attempts INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    cached_tokens INTEGER NOT NULL DEFAULT 0,
    cache_write_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    reasoning_tokens INTEGER NOT NULL DEFAULT 0,
    cost_nusd INTEGER NOT NULL DEFAULT 0,
    input_cost_nusd INTEGER NOT NULL DEFAULT 0,
    estimated_nusd INTEGER NOT NULL DEFAULT 0,
    failed_nusd INTEGER NOT NULL DEFAULT 0,
    premium_nusd INTEGER NOT NULL DEFAULT 0,
    compared_nusd INTEGER NOT NULL DEFAULT 0,
    latency_ms INTEGER NOT NULL DEFAULT 0,
    latency_calls INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (day, source, org, key, provider, model, role, agent, task)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_latency (
    day INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (day, provider, model, bucket)
) STRICT, WITHOUT ROWID;

CREATE TABLE rollup_hour (
    hour INTEGER NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    calls INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    failed_attempts INTEGER NOT NULL DEFAULT 0,
    input_tokens INTEGER NOT NULL DEFAULT 0,
    output_tokens INTEGER NOT NULL DEFAULT 0,
    cost_nusd INTEGER NOT NULL DEFAULT 0,
    latency_ms INTEGER NOT NULL DEFAULT 0,
    latency_calls INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (hour, provider, model)
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
        CHECK (scope IN ('all', 'provider', 'model', 'role', 'agent', 'org', 'key')),
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
CREATE TABLE leases (
    request INTEGER NOT NULL REFERENCES requests (id) ON DELETE CASCADE,
    n INTEGER NOT NULL,
    budget INTEGER NOT NULL,
    start_at INTEGER NOT NULL,
    amount_nusd INTEGER NOT NULL CHECK (amount_nusd >= 0),
    PRIMARY KEY (request, n, budget),
    FOREIGN KEY (budget, start_at) REFERENCES budget_periods (budget, start_at) ON DELETE CASCADE
) STRICT, WITHOUT ROWID;
"""
