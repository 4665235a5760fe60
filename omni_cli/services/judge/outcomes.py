"""What people and tests say of answers, kept where routing learns from it; and watching for models
that change under the same name: told once, and old evidence weighs less."""

import msgspec
from msgspec import Struct

from omni_cli.domain.aftermath import WEIGHT, Hint
from omni_cli.domain.drift import Drift, Seen, Watched, take
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.periods import DAY_MS
from omni_cli.domain.quality import OutcomeKind, outcome_counts
from omni_cli.ports import Clock
from omni_cli.records import Lock
from omni_cli.repositories import Learning, Ledger, Store
from omni_cli.services.engine.routing import prompt_form
from omni_cli.services.judge.alerts import Alert


class Rated(Struct, frozen=True):
    """``value``: this outcome, 0..1. ``wins``, ``losses``: of the model at the task so far."""

    row: RequestRow
    value: float
    wins: float
    losses: float


class Ratings(Struct, kw_only=True, eq=False):
    ledger: Ledger
    learning: Learning
    clock: Clock

    def rate(self, request: str, kind: OutcomeKind, value: float, note: str = "") -> Rated:
        """
        Args:
            request: its id, the first part of it, or last.
            value: 1 to 5 of a rating, else 0 or 1.

        Raises:
            NotFound: no such request.
            UsageError: it has no answer, or a rating is none of 1 to 5.
        """
        wins, losses = outcome_counts(kind, value)
        row = self.ledger.find(request)
        return self._keep(row, kind, wins / (wins + losses), wins + losses, note)

    def hint(self, request: int, found: Hint) -> bool:
        """What a next turn tells of an answer, at its weight; False where somebody has said of it
        what it was, or it has no answer."""
        row = self.ledger.get(request)
        if row is None or not row.model or row.state != "ok":
            return False
        if any(kind == found.kind for kind, _, _ in self.learning.outcomes_of(request)):
            return False
        self._keep(row, found.kind, found.value, WEIGHT, found.why)
        return True

    def _keep(
        self, row: RequestRow, kind: OutcomeKind, share: float, weight: float, note: str
    ) -> Rated:
        if not row.model or row.state in ("pending", "refused"):
            raise UsageError(f"request {id_text(row.id)} has no answer to rate")
        self.learning.add_outcome(
            request=row.id,
            at_ms=int(self.clock() * 1000),
            model=row.model,
            task=row.task,
            form=prompt_form(self.ledger.decision(row.id)),
            kind=kind,
            value=share,
            weight=weight,
            note=note,
        )
        won, lost = self.learning.quality().get((row.task, row.model), (0.0, 0.0))
        return Rated(row, share, won, lost)


_STATE, _FOUND = "drift", "drifts"
#: Calls read at one look, and how far back the first one goes.
_MOST, _BACK_MS = 20_000, 28 * DAY_MS
#: What outcomes of before a change still weigh.
DISCOUNT = 0.25
#: Changes that are kept, and for how long they are news.
_KEPT, NEWS_MS = 50, 14 * DAY_MS


_Numbered = tuple[int, Seen]


class _State(Struct):
    """Up to which request and outcome was looked, and what is known by ``model|task``."""

    request: int = 0
    outcome: int = 0
    known: dict[str, Watched] = msgspec.field(default_factory=dict)


class DriftService(Struct, kw_only=True, eq=False):
    learning: Learning
    memory: Store
    clock: Clock

    def look(self) -> list[Drift]:
        """Look at what came since the last look; what it shows, noted and acted upon."""
        if not any(self._new(self._state(), most=1)):
            return []
        found: list[Drift] = []
        with self.memory.transaction(Lock.LEARNING):
            state = self._state()
            calls, scores = self._new(state, most=_MOST)
            for number, seen in calls:
                state.request = number
                if (drift := take(state.known, seen)) is not None:
                    found.append(drift)
            for number, seen in scores:
                state.outcome = number
                if (drift := take(state.known, seen)) is not None:
                    found.append(drift)
            for drift in found:
                self.learning.discount(drift.model, drift.task, drift.since_ms, DISCOUNT)
            if found:
                kept = [*self.found(), *found][-_KEPT:]
                self.memory.set_meta(_FOUND, msgspec.json.encode(kept).decode())
            self.memory.set_meta(_STATE, msgspec.json.encode(state).decode())
        return found

    def _state(self) -> _State:
        return msgspec.json.decode(self.memory.get_meta(_STATE) or "{}", type=_State)

    def _new(self, state: _State, *, most: int) -> tuple[list[_Numbered], list[_Numbered]]:
        """Calls and scores that were not looked at yet."""
        since = self._now() - _BACK_MS
        return (
            self.learning.calls_since(state.request, since, most=most),
            self.learning.scores_since(state.outcome, since, most=most),
        )

    def found(self) -> list[Drift]:
        """Changes that were noticed, oldest first."""
        return msgspec.json.decode(self.memory.get_meta(_FOUND) or "[]", type=list[Drift])

    def news(self) -> list[Drift]:
        """Those of the last two weeks."""
        return [drift for drift in self.found() if drift.at_ms >= self._now() - NEWS_MS]

    def alerts(self) -> list[Alert]:
        """Look, and tell what is shown."""
        return [
            Alert(
                f"drift:{drift.model}:{drift.change}:{drift.at_ms}",
                "warning",
                f"{drift.model} changed",
                drift.told,
            )
            for drift in self.look()
        ]

    def _now(self) -> int:
        return int(self.clock() * 1000)
