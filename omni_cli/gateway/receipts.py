"""A caller's request: its way through the ledger, and the way back to whoever asked.

The rules of settlement are those of ``services/engine/settlement.py``; rows are handed to the group
commit and not waited for. What is written after the caller has gone is dropped: its request is
cancelled by then.
"""

import asyncio
import random
from functools import lru_cache

from msgspec import Struct, field

from omni_cli.domain.batch import Progressed, RequestEnding
from omni_cli.domain.chat import Completion, Usage
from omni_cli.domain.errors import Cancelled, OmniError, StreamInterrupted
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import NewRequest, RequestState
from omni_cli.domain.money import usd_string
from omni_cli.domain.shadow import Shadow
from omni_cli.gateway.asks import Ask, Thoughts
from omni_cli.gateway.deadlines import Deadlines
from omni_cli.gateway.fleet import Fleet
from omni_cli.gateway.passing import PassedFolder
from omni_cli.gateway.plans import Plan, Way
from omni_cli.gateway.traces import RequestTrace, Traces
from omni_cli.http.client import UpstreamPool
from omni_cli.http.request import Request
from omni_cli.services.engine.attempts import Progress, Target, carried_out
from omni_cli.services.engine.call import Call, request_end
from omni_cli.services.engine.commits import Commits
from omni_cli.services.engine.decisions import named_decision
from omni_cli.services.engine.settlement import Reading
from omni_cli.services.engine.turns import ended

#: Models that ``x-omni-skipped`` names at most.
_MOST_SKIPPED = 8


class Tools(Struct, frozen=True):
    """What every request of a process works with."""

    fleet: Fleet
    pool: UpstreamPool
    commits: Commits
    rng: random.Random
    deadlines: Deadlines
    traces: Traces | None = None
    thoughts: Thoughts = field(default_factory=Thoughts)
    #: Streams under way, whose progress is written down from time to time.
    streams: "set[Receipt]" = field(default_factory=set)
    #: Requests whose callers have gone, and that wait for a plain answer all the same.
    staying: "set[Receipt]" = field(default_factory=set)

    def save_streams(self) -> None:
        """Write down how far each stream has come: what a killed process is charged for."""
        rows = []
        for receipt in self.streams:
            reading, first_at = receipt.reading, receipt.progress.first_token_at
            if reading is None or first_at is None:
                continue
            chars = reading.folder.received_chars
            if chars != receipt.saved_chars:
                receipt.saved_chars = chars
                rows.append(Progressed(receipt.new.id, reading.opening.n, first_at, chars))
        if rows:
            self.commits.progress(rows)


class Receipt(Call[Way]):
    """
    Args:
        new: its row; the id may be replaced until the row is committed.
        name: that id as it is shown.
        request: nothing goes out before an answer's first token, or its error, is known.
        request_id: the caller's protocol's own id of this request.
    """

    most_wait_s = 5.0  # a longer wait is told to the caller, whose SDK keeps to it
    told_as_it_is = True
    __slots__ = (
        "_decision",
        "_expired",
        "_leaving",
        "_task",
        "ask",
        "cached",
        "ended",
        "fleet",
        "left",
        "name",
        "new",
        "opened",
        "plan",
        "rejected",
        "request",
        "request_id",
        "saved_chars",
        "shadow",
        "tools",
        "trace",
    )

    def __init__(
        self,
        tools: Tools,
        ask: Ask,
        plan: Plan,
        new: NewRequest,
        request: Request,
        request_id: str,
        name: str,
        most_nusd: int | None = None,
    ) -> None:
        fleet = tools.fleet
        # By name: to look up ``super()`` takes as long as half of what it calls.
        Call.__init__(
            self,
            fleet.app.health,
            fleet.app.clock,
            tools.rng,
            asyncio.sleep,
            plan.targets,
            plan.consent,
            Progress(plan.passed, most_nusd=most_nusd),
        )
        self.tools = tools
        self.fleet = fleet
        self.ask = ask
        self.plan = plan
        self.new = new
        self.request = request
        self.request_id = request_id
        self._decision: bytes | None = plan.decision
        #: The request's id as it is shown.
        self.name = name
        #: The request's row is in the ledger.
        self.opened = self.ended = False
        #: Where traces are configured.
        self.trace: RequestTrace | None = None
        #: The last whole answer that failed its check, whose it is, and its bytes where they go on
        #: as they came: it was paid for, and is given where nobody has a better one.
        self.rejected: tuple[Target, Completion, bytes | None] | None = None
        #: Its caller has gone.
        self.left = False
        #: "hit" or "miss" where the role remembers answers.
        self.cached = ""
        #: Whose challenger is to be compared with the answer (gateway/shadowing.py).
        self.shadow: Shadow | None = None
        #: Of its stream, when that was written down last.
        self.saved_chars = -1
        #: What carries it out.
        self._task: asyncio.Task[None] | None = None
        self._expired = False
        self._leaving: asyncio.TimerHandle | None = None

    @property
    def started(self) -> bool:
        """The answer's head went out."""
        return self.request.begun

    # --- the ledger ---------------------------------------------------------------------------

    async def commit(self, way: Way, target: Target) -> Reading:
        progress, estimate = self.progress, self.ask.estimate()
        opening = self.opening(
            self.new,
            target,
            way.sent,
            estimate,
            opened=self.opened,
            decision=self._decision,
            named=self.plan.named,
        )
        error: BaseException | None = None
        try:
            await self.tools.commits.open(opening)
        except BaseException as exc:  # noqa: BLE001  # raised below, once what stands is known
            error = exc
        if opening.request is not self.new:  # another process had its id
            self.new, self.name = opening.request, id_text(opening.request.id)
        self.opened, self._decision = opening.opened, None
        if error is not None and not opening.committed:
            raise error
        progress.tries = opening.n
        if opening.ceiling_nusd is not None:
            progress.sent(opening.n, opening.held_nusd)
        self.asked = target
        self.reading = Reading(
            self.tools.commits,
            self.health,
            self.clock,
            opening,
            target,
            progress,
            PassedFolder() if self.ask.stream else None,
            False,
            self.ask.sent_tokens,
        )
        if error is not None:  # its caller left in the same moment
            self.reading.stop(Cancelled("the caller went away"))
            raise error
        return self.reading

    def end(self, state: RequestState, error: OmniError | None = None) -> None:
        """Write the request's end, once."""
        if self.ended or not self.opened:
            return
        self.ended = True
        if self.left and state == "ok":
            state, error = "cancelled", Cancelled("the caller went away")
        progress, commits = self.progress, self.tools.commits
        # The premium model of chats could not have answered anything else.
        compared = state == "ok" and self.ask.operation == "chat"
        end = request_end(
            progress,
            self.asked,
            state,
            error,
            created_ms=self.new.created_at,
            now_ms=self.now_ms(),
            premium=self.fleet.premium(progress.usage) if compared else (None, None),
        )
        commits.end(RequestEnding(self.new.id, end))
        if more := carried_out(progress):
            asked = self.asked
            named = None
            if progress.unsaid and asked is not None:  # none was recorded of a named model
                named = named_decision(asked.model.id)
            commits.note_carried_out(self.new.id, more, named)

    def fail(self, error: OmniError) -> None:
        """The request ends with an error."""
        self.end(ended(error, self.progress), error)

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

    def give_up(self) -> None:
        """Nobody waits for the answer any longer."""
        if self._task is not None:
            self._task.cancel()

    # --- the way back -------------------------------------------------------------------------

    def whole(self, body: bytes, content_type: str = "") -> None:
        """A whole answer, of JSON where nothing else is said. The request must be settled: its cost
        is in the head."""
        cost = self.total_nusd
        told = "" if cost is None else f"x-omni-cost-usd: {usd_string(cost)}\r\n"
        kind = _header(content_type or "application/json")
        head = f"{self._head()}{told}content-type: {kind}\r\n"
        self.request.respond(200, head.encode("latin-1"), body)

    def stream_head(self, content_type: str) -> bytes:
        kind = _header(content_type or self.ask.caller.stream_type)
        head = f"{self._head()}content-type: {kind}\r\ncache-control: no-cache\r\n"
        return head.encode("latin-1")

    def comment(self) -> bytes:
        """The receipt behind a stream's last bytes, where the protocol passes over comments."""
        if not self.ask.caller.comments:
            return b""
        cost = self.total_nusd
        told = "unknown" if cost is None else usd_string(cost)
        line = f": omni request={self.name} cost_usd={told}"
        return f"{line} attempts={self.progress.tries}\n\n".encode()

    def break_off(self, error: StreamInterrupted) -> None:
        """End a stream by its protocol's own error event."""
        self.request.end(self.ask.caller.error_event(error, self.request_id))

    def _head(self) -> str:
        asked = self.asked
        model = "" if asked is None else f"x-omni-model: {_header(asked.model.id)}\r\n"
        if self.cached:
            model += f"x-omni-cache: {self.cached}\r\n"
        if self.accept is not None:
            verdict = f"failed: {self.flaw}" if self.flaw else "passed"
            model += f"x-omni-check: {_header(verdict)}\r\n"
        if self.hedged:
            model += "x-omni-hedged: 1\r\n"
        if skipped := _skipped(self):
            model += f"x-omni-skipped: {skipped}\r\n"
        unsaid = self.progress.unsaid
        if unsaid and asked is not None and (told := unsaid.get(asked.model.id)):
            left = ", ".join(what for what in told if ": " not in what)
            changed = "; ".join(what for what in told if ": " in what)
            model += f"x-omni-left-out: {_header(left)}\r\n" if left else ""
            model += f"x-omni-changed: {_header(changed)}\r\n" if changed else ""
        return (
            f"{self.ask.caller.request_id}: {self.request_id}\r\n"
            f"x-omni-request-id: {self.name}\r\n"
            f"x-omni-attempts: {self.progress.tries}\r\n{model}"
        )


def receipt_headers(receipt: Receipt | None) -> list[tuple[bytes, bytes]]:
    """What an error's answer tells of its request's receipt; nothing where there is none."""
    if receipt is None or not receipt.opened:
        return []
    told = {"x-omni-request-id": receipt.name, "x-omni-attempts": str(receipt.progress.tries)}
    if receipt.asked is not None:
        told["x-omni-model"] = _header(receipt.asked.model.id)
    if skipped := _skipped(receipt):
        told["x-omni-skipped"] = skipped
    cost = receipt.total_nusd
    if cost is not None:
        told["x-omni-cost-usd"] = usd_string(cost)
    if receipt.progress.tries > 1:  # what the SDK would do again was done
        told["x-should-retry"] = "false"
    return [(name.encode(), value.encode("latin-1")) for name, value in told.items()]


def _skipped(receipt: Receipt) -> str:
    """Who was passed over and why, as a header's value; "" where nobody was."""
    skipped = receipt.progress.skipped
    if not skipped:
        return ""
    found = dict.fromkeys(f"{a.model}={a.error}" for a in skipped)
    return _header(", ".join(list(found)[:_MOST_SKIPPED]))


@lru_cache(maxsize=4096)
def _header(text: str) -> str:
    """A header's value: printable, without line breaks, of bytes that HTTP can carry."""
    printable = "".join(c if c.isprintable() else "?" for c in text)
    return printable.encode("latin-1", "replace").decode("latin-1")
