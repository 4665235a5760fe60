"""Challengers in the shadow of a role, and the pairs of answers that were scored: no texts."""

from collections.abc import Sequence

from omni_cli.domain.shadow import Claim, Pair, Shadow
from omni_cli.records import Lock
from omni_cli.store.abtests import TrialStore
from omni_cli.store.port import read, yes

_PAIR = tuple(name for name in Pair.__struct_fields__)
#: What a user said of a request that a judge scored, too.
_RATED = """
SELECT p.champion, avg(o.value) AS value FROM shadow_pairs AS p
JOIN outcomes AS o ON o.request = p.request AND o.kind IN ('rating', 'thumb')
WHERE p.shadow = ? AND p.how = 'judge' GROUP BY p.request, p.champion
"""
_KEY = "shadow = ? AND request = ?"
_PAIRED = f"SELECT 1 FROM shadow_pairs WHERE {_KEY}"  # noqa: S608  # names of ours only
_CLAIM = f"SELECT owner, shadowed, answer FROM shadow_claims WHERE {_KEY}"  # noqa: S608  # names of ours only
_KEEP = f"""
UPDATE shadow_claims SET shadowed = ?, answer = ? WHERE {_KEY} AND EXISTS (
    SELECT 1 FROM requests AS r JOIN turns AS t
        ON t.conversation = r.conversation AND t.request = r.id
    WHERE r.id = shadow_claims.request)
"""  # noqa: S608  # names of ours only


class ShadowStore(TrialStore[Shadow]):
    table = "shadows"
    kind = Shadow

    def claim(self, shadow: int, request: int) -> Claim | None:
        """Take a request to pair it; None where it is paired, or a process that lives is at it."""
        key = (shadow, request)
        with self._store.transaction(Lock.TESTS) as db:
            if db.execute(_PAIRED, key).fetchone() is not None:
                return None
            row = db.execute(_CLAIM, key).fetchone()
            if row is not None and row["owner"] and self._store.is_alive(row["owner"]):
                return None
            db.execute(
                "INSERT INTO shadow_claims (shadow, request, owner) VALUES (?, ?, ?)"
                " ON CONFLICT (shadow, request) DO UPDATE SET owner = excluded.owner",
                (*key, self._store.owner),
            )
        return Claim() if row is None else Claim(row["shadowed"], row["answer"])

    def keep(self, shadow: int, request: int, *, shadowed: int, answer: str) -> None:
        """Keep a challenger's answer, as long as the request's own texts are kept; else nothing."""
        with self._store.transaction(Lock.TESTS) as db:
            db.execute(_KEEP, (shadowed, answer, shadow, request))

    def release(self, shadow: int, request: int) -> None:
        """End a claim; an answer that was kept stays."""
        with self._store.transaction(Lock.TESTS) as db:
            key = (shadow, request)
            db.execute(f"DELETE FROM shadow_claims WHERE {_KEY} AND answer IS NULL", key)  # noqa: S608  # names of ours only
            db.execute(f"UPDATE shadow_claims SET owner = '' WHERE {_KEY}", key)  # noqa: S608  # names of ours only

    def answers(self, shadow: int) -> dict[int, str]:
        """The challenger's answers that are kept, by the request that they are of."""
        rows = self._store.db.execute(
            "SELECT request, answer FROM shadow_claims WHERE shadow = ? AND answer IS NOT NULL",
            (shadow,),
        )
        return {row["request"]: row["answer"] for row in rows}

    def say(self, shadow: int, request: int, *, champion: float, challenger: float) -> None:
        """Keep what the user says of a pair, 0..1 each."""
        with self._store.transaction(Lock.TESTS) as db:
            db.execute(
                f"UPDATE shadow_pairs SET user_champion = ?, user_challenger = ? WHERE {_KEY}",  # noqa: S608  # names of ours only
                (champion, challenger, shadow, request),
            )

    def put(self, shadow: int, pair: Pair) -> None:
        """A request is paired once: what came later of it changes nothing."""
        values = [shadow, *(getattr(pair, name) for name in _PAIR)]
        values = [int(value) if isinstance(value, bool) else value for value in values]
        marks = ", ".join("?" * len(values))
        with self._store.transaction(Lock.TESTS) as db:
            db.execute(
                f"INSERT INTO shadow_pairs (shadow, {', '.join(_PAIR)}) VALUES ({marks})"  # noqa: S608  # names of ours only
                " ON CONFLICT (shadow, request) DO NOTHING",
                values,
            )

    def pairs(self, shadow: int) -> list[Pair]:
        """In the order in which they came."""
        rows = self._store.db.execute(
            "SELECT * FROM shadow_pairs WHERE shadow = ? ORDER BY at_ms, request", (shadow,)
        )
        return [read(Pair, row, agreed=yes(row["agreed"])) for row in rows]

    def unpaired(self, shadow: int, requests: Sequence[int]) -> list[int]:
        """Those of ``requests`` that have no pair yet, in their order."""
        rows = self._store.db.execute(
            "SELECT request FROM shadow_pairs WHERE shadow = ?", (shadow,)
        )
        there = {row[0] for row in rows}
        return [request for request in requests if request not in there]

    def rated(self, shadow: int) -> list[tuple[float, float]]:
        """(judge's score, the user's own, both 0..1) of champions' answers that both rated."""
        rows = self._store.db.execute(_RATED, (shadow,))
        return [(row["champion"], row["value"]) for row in rows]
