"""The schema, as numbered steps that are never edited once released.

Steps only add (tables, columns, indexes), so that an older omni that is still running goes on
working on the migrated file. Times are integer milliseconds since the epoch, UTC; money is
integer nano-dollars (``_nusd``); a NULL amount is unknown, never zero.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlite_utils import Database
from omni_cli.store.first_schema import FLEET, LEDGER, STATS


def _step_1(db: "Database") -> None:
    _run_script(db, FLEET + LEDGER + STATS)


def _run_script(db: "Database", script: str) -> None:
    # executescript() would commit the migration's own transaction first.
    for statement in script.split(";"):
        if statement.strip():
            db.conn.execute(statement)


#: Latencies by everything that a report can be cut by; rollup_latency alone is small enough to
#: be read for every report by model.
_LATENCY_SCOPE = """
CREATE TABLE rollup_latency_scope (
    day INTEGER NOT NULL,
    source TEXT NOT NULL,
    org TEXT NOT NULL,
    key TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    role TEXT NOT NULL,
    agent TEXT NOT NULL,
    task TEXT NOT NULL,
    bucket INTEGER NOT NULL,
    calls INTEGER NOT NULL,
    PRIMARY KEY (day, source, org, key, provider, model, role, agent, task, bucket)
) STRICT, WITHOUT ROWID
"""
_ROLLUP_COLUMNS = """
ALTER TABLE attempts ADD COLUMN input_cost_nusd INTEGER;
ALTER TABLE rollup_day ADD COLUMN compared_calls INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rollup_day ADD COLUMN unanswered_nusd INTEGER NOT NULL DEFAULT 0
"""


def _step_2(db: "Database") -> None:
    """Rollups that can be rebuilt: each gets a table to be built in (``_next``) and one for what
    retention has removed from the ledger (``_archive``)."""
    _run_script(db, _ROLLUP_COLUMNS + ";" + _LATENCY_SCOPE)
    for table in ("rollup_day", "rollup_hour", "rollup_latency", "rollup_latency_scope"):
        (sql,) = db.conn.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
        for suffix in ("_next", "_archive"):
            db.conn.execute(sql.replace(table, table + suffix, 1))


def _step_3(db: "Database") -> None:
    from omni_cli.store.knowing_schema import KNOWING

    _run_script(db, KNOWING)


def _step_4(db: "Database") -> None:
    """What was compared with which premium model: the user may change it."""
    for suffix in ("", "_next", "_archive"):
        db.conn.execute(
            f"CREATE TABLE rollup_baseline{suffix} (day INTEGER NOT NULL, premium_model TEXT NOT"
            " NULL, compared_calls INTEGER NOT NULL, premium_nusd INTEGER NOT NULL,"
            " PRIMARY KEY (day, premium_model)) STRICT, WITHOUT ROWID"
        )


def _step_5(db: "Database") -> None:
    from omni_cli.store.advice import SCHEMA

    _run_script(db, SCHEMA)


def _step_6(db: "Database") -> None:
    from omni_cli.store.gateway_keys import SCHEMA

    _run_script(db, SCHEMA)


def _step_7(db: "Database") -> None:
    """Which form of prompt an outcome is about ("open short")."""
    db.conn.execute("ALTER TABLE outcomes ADD COLUMN form TEXT NOT NULL DEFAULT ''")


def _step_8(db: "Database") -> None:
    from omni_cli.store.answer_cache import SCHEMA

    _run_script(db, SCHEMA)


def _step_9(db: "Database") -> None:
    from omni_cli.store.deploys import SCHEMA

    _run_script(db, SCHEMA)


def _step_10(db: "Database") -> None:
    """When the gateway asks a chain's next model as well, ms."""
    db.conn.execute("ALTER TABLE chains ADD COLUMN hedge_ms INTEGER")


def _step_11(db: "Database") -> None:
    from omni_cli.store.open_calls import SCHEMA

    _run_script(db, SCHEMA)


def _step_12(db: "Database") -> None:
    from omni_cli.store.slots import SCHEMA

    _run_script(db, SCHEMA)


def _step_13(db: "Database") -> None:
    """What each attempt holds in budgets, in its own row: a budget's period can be worked out anew
    from the ledger. A budget that is not kept has no period that could fall behind."""
    for table in ("attempts", "open_calls"):
        db.conn.execute(
            f"ALTER TABLE {table} ADD COLUMN held_nusd INTEGER NOT NULL DEFAULT 0"
            " CHECK (held_nusd >= 0)"
        )
    db.conn.execute("CREATE INDEX attempts_held ON attempts (request) WHERE held_nusd <> 0")
    db.conn.execute(
        "DELETE FROM budget_periods WHERE budget IN (SELECT id FROM budgets WHERE enabled = 0)"
    )


def _step_14(db: "Database") -> None:
    """What a chain's user said of its cost, told apart from what every chain was made with:
    five times, and nothing paid after a free one."""
    _run_script(
        db,
        """
        ALTER TABLE chains ADD COLUMN any_cost INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE chains ADD COLUMN free_to_paid INTEGER;
        UPDATE chains SET any_cost = 1 WHERE max_cost_multiple IS NULL;
        UPDATE chains SET max_cost_multiple = NULL WHERE max_cost_multiple = 5.0;
        UPDATE chains SET free_to_paid = 1 WHERE allow_free_to_paid = 1
        """,
    )


def _step_15(db: "Database") -> None:
    """The last minutes' checks: a provider that comes and goes is not well."""
    db.conn.execute(
        "CREATE TABLE health_check_log (provider TEXT NOT NULL, at INTEGER NOT NULL,"
        " ok INTEGER NOT NULL, PRIMARY KEY (provider, at)) STRICT, WITHOUT ROWID"
    )


def _step_16(db: "Database") -> None:
    """Baselines count what was routed, as savings do, and no calls that only try models out."""
    from omni_cli.store.rollup_sql import refill_baselines

    refill_baselines(db.conn)


def _step_17(db: "Database") -> None:
    """Names that nothing has are looked for among all models' names, by whoever likes to."""
    db.conn.execute("CREATE INDEX models_by_wire_name ON models (wire_name)")


STEPS = (
    _step_1,
    _step_2,
    _step_3,
    _step_4,
    _step_5,
    _step_6,
    _step_7,
    _step_8,
    _step_9,
    _step_10,
    _step_11,
    _step_12,
    _step_13,
    _step_14,
    _step_15,
    _step_16,
    _step_17,
)
#: What ``PRAGMA user_version`` says of a file that this omni wrote.
SCHEMA_VERSION = len(STEPS)


def migrate(db: "Database") -> None:
    """Bring a store up to SCHEMA_VERSION; each step is one transaction with its record."""
    from sqlite_utils import Migrations

    migrations = Migrations("omni")
    for number, step in enumerate(STEPS, 1):
        migrations(name=f"{number:04d}")(step)
    migrations.apply(db)
    db.conn.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
