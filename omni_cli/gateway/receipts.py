"""What one request did: its attempts as they end, and its row when it is over.

The rules of settlement are those of ``services/engine/settlement.py``; only the way into the ledger
differs: rows are handed to the group commit and not waited for.
"""

import math
from collections.abc import Callable

from omni_cli.domain.batch import Opening, Progressed, RequestEnding
from omni_cli.domain.chat import CompletionFolder, Usage
from omni_cli.domain.errors import BudgetExceeded, Cancelled, OmniError, UnknownPrice
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import NewAttempt, NewRequest, RequestEnd, RequestState
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.traces import RequestTrace
from omni_cli.services.engine.attempts import AttemptSummary, Progress, Target, skipped_document
from omni_cli.services.engine.commits import Commits
from omni_cli.services.engine.settlement import Reading

_MESSAGE_CHARS = 500


class PassedFolder(CompletionFolder):
    """Folds an answer whose middle passes by unread: its head is parsed, and of what passes the
    bytes and events are counted. An event's frame, what stands in it beside its text, is as long as
    that of the last one that was read."""

    def __init__(self) -> None:
        super().__init__()
        self.frame_bytes = 0
        self.passed_bytes = 0
        self.passed_events = 0
        #: Reads what passed after all, into another folder; returns which share of it was kept.
        self.reread: Callable[[CompletionFolder], float] | None = None
        self._found: tuple[int, int] | None = None

    @property
    def received_chars(self) -> int:
        """Characters received: counted where read, worked out for the rest."""
        if self._found is not None:
            return self._found[0]
        known = self.folded_chars()
        if not self.frame_bytes:
            return known
        return known + max(self.passed_bytes - self.passed_events * self.frame_bytes, 0)

    def estimated_tokens(self) -> int:
        """As of an answer that was read: its middle is read now."""
        if self.reread is None or not self.passed_bytes:
            return super().estimated_tokens()
        whole = CompletionFolder()
        share = self.reread(whole)
        self._found = (
            round(whole.received_chars / share),
            math.ceil(whole.estimated_tokens() / share),
        )
        return self._found[1]

    def most_tokens(self) -> int | None:
        """As of an answer that was read, where all of it was kept; else all that passed counts."""
        known = super().most_tokens()
        if self.reread is None or not self.passed_bytes:
            return known
        whole = CompletionFolder()
        if self.reread(whole) >= 1:
            return whole.most_tokens()
        return None if known is None else known + self.passed_bytes


class Receipt:
    """One request's way through the ledger.

    Args:
        new: its row; the id may be replaced until the row is committed.
        decision: packed, for the ledger.
        name: that id as it is shown.
        named: its caller named the model.
        passed: who was passed over by the decision.
    """

    def __init__(
        self,
        commits: Commits,
        fleet: Fleet,
        new: NewRequest,
        decision: bytes,
        name: str,
        named: bool = False,  # as in http.Request
        passed: tuple[AttemptSummary, ...] = (),
    ) -> None:
        self._commits = commits
        self._fleet = fleet
        self._decision: bytes | None = decision
        self._by_name = named
        self.new = new
        self.progress = Progress(passed)
        self.opened = False
        self.ended = False
        self.reading: Reading | None = None
        #: Where traces are configured.
        self.trace: RequestTrace | None = None
        #: Tokens of what was sent, by the estimator.
        self.sent: Callable[[], int] | None = None
        #: Its caller has gone.
        self.left = False
        #: "hit" or "miss" where the role remembers answers.
        self.cached = ""
        #: What the model that is asked could not be told of.
        self.told: tuple[str, ...] = ()
        #: A second model was asked beside the first.
        self.hedged = False
        #: Who was asked last.
        self.asked: Target | None = None
        self._named = new.id
        self._name = name

    @property
    def name(self) -> str:
        """The request's id as it is shown."""
        if self._named != self.new.id:
            self._named, self._name = self.new.id, id_text(self.new.id)
        return self._name

    async def open(self, opening: Opening, target: Target) -> Reading:
        """Commit the attempt's row and leases, and begin to read.

        Raises BudgetExceeded, UnknownPrice, Busy, StoreError: it must not be sent.
        """
        opening.opened, opening.decision = self.opened, self._decision
        opening.named = self._by_name
        try:
            await self._commits.open(opening)
        except BaseException:
            self._take(opening)
            if opening.committed:  # its caller left in the same moment
                self._read(opening, target).stop(Cancelled("the caller went away"))
            raise
        self._take(opening)
        return self._read(opening, target)

    def _take(self, opening: Opening) -> None:
        self.new, self.opened, self._decision = opening.request, opening.opened, None

    def _read(self, opening: Opening, target: Target) -> Reading:
        self.progress.tries = opening.n
        if opening.ceiling_nusd is not None:
            self.progress.sent(opening.n, opening.held_nusd)
        self.asked = target
        self.reading = Reading(
            self._commits,
            self._fleet.health,
            self._fleet.app.clock,
            NewAttempt(
                self.new.id,
                opening.n,
                opening.model,
                opening.provider,
                opening.started_at,
                opening.input_estimate,
                opening.price_id,
                opening.held_nusd,
                opening.most_out if opening.output_bound is None else opening.output_bound,
            ),
            target,
            self.progress,
            PassedFolder(),
            False,
            self.sent,
        )
        return self.reading

    def end(
        self, state: RequestState, error: OmniError | None = None, *, compared: bool = True
    ) -> None:
        """Write the request's end, once.

        Args:
            compared: the premium model could have answered it, too.
        """
        if self.ended or not self.opened:
            return
        self.ended = True
        if self.left and state == "ok":
            state, error = "cancelled", Cancelled("the caller went away")
        now = self._fleet.app.now_ms()
        progress = self.progress
        last = progress.target or self.asked
        model, provider = ("", "") if last is None else (last.model.id, last.provider.slug)
        premium, premium_cost = (
            self._fleet.premium(progress.usage) if state == "ok" and compared else (None, None)
        )
        first = progress.first_token_at
        self._commits.end(
            RequestEnding(
                self.new.id,
                RequestEnd(
                    state,
                    now,
                    model,
                    provider,
                    premium,
                    premium_cost,
                    now - self.new.created_at,
                    None if first is None else first - self.new.created_at,
                    progress.finish_reason,
                    None if error is None else error.code,
                    None if error is None else error.message[:_MESSAGE_CHARS],
                ),
            )
        )

        if skipped := progress.skipped:
            self._commits.note_skipped(self.new.id, skipped_document(skipped))

    def fail(self, error: OmniError) -> None:
        """The request ends with an error."""
        refused = isinstance(error, BudgetExceeded | UnknownPrice) and not self.progress.tries
        self.end("refused" if refused else "failed", error)

    def cancel(self, why: Cancelled) -> None:
        """The caller went away, or the gateway stopped."""
        self.end("cancelled", why)

    @property
    def total_nusd(self) -> int | None:
        """What all attempts cost together; None where one of them is unknown."""
        total = 0
        for attempt in self.progress.attempts:
            if attempt.outcome != "skipped":
                if attempt.cost_nusd is None:
                    return None
                total += attempt.cost_nusd
        return total

    @property
    def usage(self) -> Usage:
        return self.progress.usage


class Streams:
    """Streams under way, whose progress is written down from time to time."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._live: dict[int, Receipt] = {}
        self._saved: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._live)

    def add(self, receipt: Receipt) -> None:
        self._live[receipt.new.id] = receipt

    def remove(self, receipt: Receipt) -> None:
        self._live.pop(receipt.new.id, None)
        self._saved.pop(receipt.new.id, None)

    def save(self) -> None:
        """Write down how far each stream has come: what a killed process is charged for."""
        rows = []
        for request, receipt in self._live.items():
            reading = receipt.reading
            first_at = receipt.progress.first_token_at
            if reading is None or first_at is None:
                continue
            chars = reading.folder.received_chars
            if chars != self._saved.get(request):
                self._saved[request] = chars
                rows.append(Progressed(request, reading.n, first_at, chars))
        if rows:
            self._commits.progress(rows)
