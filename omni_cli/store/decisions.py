"""Past decisions with what their requests used, for replays."""

from collections.abc import Iterator

from omni_cli.domain.batch import unpack_decision
from omni_cli.domain.chat import Usage
from omni_cli.store.connection import Store
from omni_cli.store.rows import TOKEN_COLUMNS

# One attempt: the tokens of several are not one answer's.
_WHICH = (
    "r.created_at >= :since AND r.state = 'ok' AND r.attempts = 1"
    " AND r.source IN ('chat', 'gateway', 'demo')"
)
_IDS = (
    f"SELECT r.id FROM requests r JOIN decisions d ON d.request = r.id WHERE {_WHICH}"  # noqa: S608
    " ORDER BY r.id"
)
_ROW = (
    f"SELECT r.model, {', '.join(f'r.{name}' for name in TOKEN_COLUMNS)}, d.decision"  # noqa: S608
    " FROM requests r JOIN decisions d ON d.request = r.id WHERE r.id = ?"
)


class DecisionStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def ids(self, since_ms: int) -> list[int]:
        """Answered requests with a decision, oldest first."""
        return [row[0] for row in self._store.db.execute(_IDS, {"since": since_ms})]

    def each(self, ids: list[int]) -> Iterator[tuple[str, Usage, str]]:
        """(who answered, tokens, the decision as JSON text) of each."""
        for request in ids:
            row = self._store.db.execute(_ROW, (request,)).fetchone()
            if row is not None:
                usage = Usage(**{name: row[name] for name in TOKEN_COLUMNS})
                yield row["model"], usage, unpack_decision(row["decision"])
