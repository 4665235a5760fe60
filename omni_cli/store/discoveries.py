"""What providers listed at the last look, and the history of what changed."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from omni_cli.domain.discovery import Facts, Finding
from omni_cli.domain.record import asdict
from omni_cli.records import Discovered, Lock
from omni_cli.store.port import Table


class DiscoveryStore(Table):
    def listing(self, provider: str) -> tuple[int, dict[str, Facts]] | None:
        """When the provider was last asked, ms UTC, and what it listed, by wire name."""
        row = self._store.db.execute(
            "SELECT at, models FROM listings WHERE provider = ?", (provider,)
        ).fetchone()
        if row is None:
            return None
        return int(row["at"]), {k: _facts(v) for k, v in json.loads(row["models"]).items()}

    def last_look(self) -> int | None:
        """When any provider was last asked, ms UTC."""
        return self._value(int, "SELECT max(at) FROM listings")

    def keep(
        self,
        provider: str,
        listed: Mapping[str, Facts],
        found: Sequence[Finding],
        *,
        at_ms: int,
    ) -> list[Finding]:
        """Replace the listing and record what is news; returns those that are.

        A finding is news unless the newest record of its model and kind says the same.
        """
        fresh = []
        with self._store.transaction(Lock.FLEET) as db:
            db.execute(
                "INSERT INTO listings VALUES (?, ?, ?) ON CONFLICT (provider)"
                " DO UPDATE SET at = excluded.at, models = excluded.models",
                (provider, at_ms, json.dumps({k: _plain(v) for k, v in sorted(listed.items())})),
            )
            for finding in found:
                model = f"{provider}/{finding.wire_name}"
                details = json.dumps(_details(finding), sort_keys=True)
                last = db.execute(
                    "SELECT kind, details FROM discoveries WHERE model = ? AND kind = ?"
                    " ORDER BY id DESC LIMIT 1",
                    (model, finding.kind),
                ).fetchone()
                if last is not None and last["details"] == details and not _again(finding):
                    continue
                db.execute(
                    "INSERT INTO discoveries (at, provider, kind, model, details)"
                    " VALUES (?, ?, ?, ?, ?)",
                    (at_ms, provider, finding.kind, model, details),
                )
                fresh.append(finding)
        return fresh

    def mark_applied(self, models: Sequence[str], *, at_ms: int) -> None:
        with self._store.transaction(Lock.FLEET) as db:
            db.executemany(
                "UPDATE discoveries SET applied_at = ? WHERE model = ? AND applied_at IS NULL"
                " AND kind IN ('new', 'updated')",
                [(at_ms, model) for model in models],
            )

    def history(self, *, limit: int = 100) -> list[Discovered]:
        """Newest first."""
        return [
            Discovered(
                row["at"],
                row["provider"],
                row["kind"],
                row["model"],
                json.loads(row["details"]),
                row["applied_at"],
            )
            for row in self._store.db.execute(
                "SELECT * FROM discoveries ORDER BY id DESC LIMIT ?", (limit,)
            )
        ]


def _again(finding: Finding) -> bool:
    """Gone is found once only, by what the last look had: each time is a new one."""
    return finding.kind == "gone"


def _details(finding: Finding) -> dict[str, Any]:
    return {
        "changes": [asdict(change) for change in finding.changes],
        "day": finding.day,
        "active": finding.active,
    }


def _plain(facts: Facts) -> dict[str, Any]:
    """Without what is empty: a listing of hundreds stays small."""
    values = {
        "name": facts.name,
        "context_window": facts.context_window,
        "max_output": facts.max_output,
        "badges": sorted(facts.badges),
        "input_types": list(facts.input_types),
        "output_types": list(facts.output_types),
        "prices": dict(facts.prices),
    }
    return {name: value for name, value in values.items() if value}


def _facts(values: Mapping[str, Any]) -> Facts:
    return Facts(
        name=values.get("name"),
        context_window=values.get("context_window"),
        max_output=values.get("max_output"),
        badges=frozenset(values.get("badges", ())),
        input_types=tuple(values.get("input_types", ())),
        output_types=tuple(values.get("output_types", ())),
        prices=values.get("prices", {}),
    )
