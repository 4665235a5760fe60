"""Tables of health, discovery, comparison and A/B tests: part of a migration step, so never
edited once released (store/migrations.py)."""

KNOWING = """
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
CREATE INDEX abtest_units_open ON abtest_units (test) WHERE settled_at IS NULL
"""
