"""What people and tests say of an answer, kept where routing learns from it."""

from msgspec import Struct

from omni_cli.domain.aftermath import WEIGHT, Hint
from omni_cli.domain.errors import UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.quality import OutcomeKind, outcome_counts
from omni_cli.ports import Clock
from omni_cli.repositories import Learning, Ledger
from omni_cli.services.engine.routing import prompt_form


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
