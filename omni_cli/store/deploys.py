"""Deploys that are watched: canaries on a share of traffic, and whole ones with a condition."""

import json

from omni_cli.domain.errors import UsageError
from omni_cli.domain.guard import MOST_CALLS, Call
from omni_cli.domain.ids import make_id
from omni_cli.records import Deploy, DeployState, Lock
from omni_cli.store.port import Table, read

_SINCE = """
SELECT state, cost_nusd + adjusted_nusd AS cost, price_state, latency_ms FROM requests
WHERE id >= :first AND state IN ('ok', 'failed', 'lost') AND source IN ('chat', 'gateway')
ORDER BY id LIMIT :most
"""
_OF_ARM = """
SELECT r.state, r.cost_nusd + r.adjusted_nusd AS cost, r.price_state, r.latency_ms
FROM requests r JOIN abtests t ON t.id = :test
JOIN abtest_units u ON u.test = t.id AND u.arm = 1 AND u.unit = coalesce(r.conversation, r.id)
WHERE r.id >= :first AND r.role = t.role AND r.state IN ('ok', 'failed', 'lost')
ORDER BY r.id LIMIT :most
"""


class DeployStore(Table):
    def open(self) -> Deploy | None:
        """The one that is under way."""
        row = self._store.db.execute("SELECT * FROM deploys WHERE ended_at IS NULL").fetchone()
        return None if row is None else read(Deploy, row, "document", "tests")

    def recent(self, *, limit: int = 20) -> list[Deploy]:
        """Newest first."""
        rows = self._store.db.execute("SELECT * FROM deploys ORDER BY id DESC LIMIT ?", (limit,))
        return [read(Deploy, row, "document", "tests") for row in rows]

    def start(self, deploy: Deploy) -> int:
        """Returns its id; the one given is not used. Raises UsageError while another is open."""
        with self._store.transaction(Lock.DEPLOYS) as db:
            made = db.execute(
                "INSERT INTO deploys (started_at, until_at, state, share, condition,"
                " base_revision, revision, document, tests)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING id",
                (
                    deploy.started_at,
                    deploy.until_at,
                    deploy.state,
                    deploy.share,
                    deploy.condition,
                    deploy.base_revision,
                    deploy.revision,
                    json.dumps(deploy.document),
                    json.dumps(deploy.tests),
                ),
            ).fetchall()
        if not made:
            raise UsageError(
                "another deploy is under way",
                hint="omni deploy status shows it; promote or abort it first",
            )
        return int(made[0][0])

    def end(self, deploy: int, state: DeployState, reason: str, *, at_ms: int) -> bool:
        """Returns False when another process had ended it."""
        with self._store.transaction(Lock.DEPLOYS) as db:
            return bool(
                db.execute(
                    "UPDATE deploys SET state = ?, reason = ?, ended_at = ?"
                    " WHERE id = ? AND ended_at IS NULL",
                    (state, reason, at_ms, deploy),
                ).rowcount
            )

    def calls(self, deploy: Deploy) -> list[Call]:
        """Requests since it began, in their order: of its challengers, or all of them."""
        values = {"first": make_id(deploy.started_at, 0), "most": MOST_CALLS}
        if deploy.share is None:
            rows = self._store.db.execute(_SINCE, values).fetchall()
        else:
            rows = []
            for test in deploy.tests.values():
                rows += self._store.db.execute(_OF_ARM, {**values, "test": test}).fetchall()
        return [
            Call(
                row["state"] == "ok",
                None if row["price_state"] == "unknown" else row["cost"],
                row["latency_ms"],
            )
            for row in rows
        ]
