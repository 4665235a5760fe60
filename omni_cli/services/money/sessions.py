"""Agents' sessions: those that are live, one as a tree of turns and sub-agents, and stopping one.

A session is the root where it has no parent. A launcher's session (``omni launch``) is the parent
of those that its agent names itself, and of their sub-agents'.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from msgspec import Struct

from omni_cli.domain.budgets import LAUNCHED, Budget
from omni_cli.domain.document import document
from omni_cli.domain.errors import NotFound, UsageError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import RequestRow
from omni_cli.domain.periods import HOUR_MS
from omni_cli.domain.prices import Price
from omni_cli.domain.sessions import Session, SessionRow, SessionUse
from omni_cli.ports import Clock
from omni_cli.repositories import Audit, Budgets, ClientKeys, Sessions
from omni_cli.services.money.prices import cost_or_none

#: running: a call is under way; active: the last one was just now; idle: a while ago; capped: its
#: cap is used up; stopped: somebody stopped it.
SessionState = Literal["running", "active", "idle", "capped", "stopped"]
#: How long after its last call a session is live, and active, ms.
LIVE_MS, _ACTIVE_MS = HOUR_MS // 4, HOUR_MS // 20
#: An hour's rate is told from so much time on, ms: a first call says nothing of an hour.
_LEAST_MS = HOUR_MS // 60
_DEEPEST = 16
#: What the name of an agent ends in whose calls are a sub-agent's.
_SUBAGENT = ":subagent"


class LiveSession(Struct, frozen=True):
    """A root with all that is below it.

    ``model``: that answered last. ``cost_nusd``: of calls whose price is known, None where there is
    none; ``unknown``: calls without. ``hour_nusd``: what an hour costs, by the last hour at most.
    ``cap_nusd``: the cap of which least is left (``cap_left_nusd``), None without any.
    ``stoppable``: its calls go through omni's gateway.
    """

    id: str
    agent: str
    project: str
    title: str
    branch: str
    model: str
    state: SessionState
    first_at: int
    last_at: int
    calls: int
    total_tokens: int
    cost_nusd: int | None
    unknown: int
    hour_nusd: int | None
    cap_nusd: int | None
    cap_left_nusd: int | None
    sub_sessions: int
    stoppable: bool


class Turn(Struct, frozen=True):
    """One call. ``cost_nusd`` None: its price is unknown, or it is under way."""

    id: str
    created_at: int
    model: str
    state: str
    source: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_nusd: int | None
    latency_ms: int | None
    error_code: str | None


class ModelUse(Struct, frozen=True):
    """What a session used of a model. ``list_nusd``: what it would cost by the call now, None where
    no price is known."""

    model: str
    calls: int
    total_tokens: int
    list_nusd: int | None


class SessionNode(Struct, frozen=True):
    """A session, or its sub-agents' calls that came under its own name: ``calls`` to ``unknown``
    sum its own ``turns`` (the oldest first) and all ``parts`` below it."""

    session: Session
    first_at: int
    last_at: int
    stopped_at: int | None
    calls: int
    total_tokens: int
    cost_nusd: int | None
    unknown: int
    turns: tuple[Turn, ...]
    parts: tuple["SessionNode", ...]

    def walk(self, depth: int = 0) -> "Iterator[tuple[int, SessionNode | Turn]]":
        """(how deep, what): itself, then its turns and its sub-agents by their time."""
        yield depth, self
        below: list[SessionNode | Turn] = [*self.turns, *self.parts]
        for item in sorted(below, key=began_at):
            if isinstance(item, SessionNode):
                yield from item.walk(depth + 1)
            else:
                yield depth + 1, item

    @property
    def told(self) -> str:
        """Whose it is, in words."""
        named = self.session
        return ", ".join(filter(None, (named.agent, named.project, named.title))) or named.id


def began_at(item: "SessionNode | Turn") -> int:
    """When it began, ms UTC."""
    return item.first_at if isinstance(item, SessionNode) else item.created_at


class SessionService(Struct, kw_only=True, eq=False):
    """Args:
    who: named in the audit log.
    price: a model's of the day.
    """

    sessions: Sessions
    client_keys: ClientKeys
    budgets: Budgets
    audit: Audit
    clock: Clock
    who: str
    price: Callable[[str], Price | None]
    recover: Callable[[], object] = lambda: None

    def live(self) -> list[LiveSession]:
        """Those with a call in the last quarter of an hour, and those that were launched and have
        not ended; the latest first."""
        now = self._now()
        roots: dict[str, SessionRow] = {}
        for row in self._launched(now):
            roots[row.session.id] = self.sessions.of([row.session.id]).get(row.session.id, row)
        for row in self.sessions.since(now - LIVE_MS):
            root = self._root(row, roots)
            roots.setdefault(root.session.id, root)
        caps: dict[str, list[Budget]] = {}
        for budget in self.budgets.all():
            if budget.enabled and budget.scope in ("session", "key"):
                caps.setdefault(budget.value, []).append(budget)
        found = [self._live(row, caps, now) for row in roots.values()]
        return sorted(found, key=lambda one: (-one.last_at, one.id))

    def tree(self, text: str) -> SessionNode:
        """Raises NotFound, UsageError: no session, or several, begin so."""
        self.recover()
        return self._node(self._find(text), 0)

    def used(self, ident: str, *, since_ms: int = 0) -> list[ModelUse]:
        """By model, of a session and all below it, at list prices: also what a subscription paid
        for. The dearest first."""
        found: dict[str, list[RequestRow]] = {}
        for one in (ident, *(row.session.id for row in self._below(ident))):
            for call in self.sessions.calls(one):
                if call.created_at >= since_ms and call.state not in ("pending", "refused"):
                    found.setdefault(call.model, []).append(call)
        uses = []
        for model, calls in found.items():
            price = self.price(model)
            costs = [cost_or_none(call.usage, price) for call in calls]
            known = None if None in costs else sum(cost or 0 for cost in costs)
            tokens = sum(call.usage.total_tokens for call in calls)
            uses.append(ModelUse(model, len(calls), tokens, known))
        return sorted(uses, key=lambda use: (-(use.list_nusd or 0), use.model))

    def stop(self, text: str, *, again: bool = False) -> Session:
        """Refuse further calls of a session and of its sub-agents; ``again``: no longer.

        Raises NotFound, UsageError: no session, or several, begin so; or its calls do not come by
        omni.
        """
        row, now = self._find(text), self._now()
        if not again and not self._stoppable(row.session.id):
            raise UsageError(
                f"omni cannot stop {row.session.id}: its calls do not go through omni's gateway",
                hint="agents that omni launch starts can be stopped, and capped",
            )
        action = "session.resume" if again else "session.stop"
        self.sessions.stop(row.session, None if again else now, now_ms=now)
        self.audit.record(at_ms=now, who=self.who, action=action, target=row.session.id)
        return row.session

    def _now(self) -> int:
        return int(self.clock() * 1000)

    def _find(self, text: str) -> SessionRow:
        known = self.sessions.of([text]).get(text)
        if known is not None:
            return known
        found = self.sessions.named(text) if text else []
        ids = {row.session.id for row in found}
        for row in self._launched(self._now()):
            if text and row.session.id.startswith(text) and row.session.id not in ids:
                found.append(row)
        if len(found) > 1:
            raise UsageError(
                f"several sessions begin with {text!r}", hint="give more of it: omni session --json"
            )
        if not found:
            raise NotFound(f"there is no session {text!r}", hint="omni session lists them")
        return found[0]

    def _launched(self, now: int) -> list[SessionRow]:
        """Sessions that a launcher has made a key for, and that have not ended."""
        return [
            SessionRow(key.session, key.created_at, key.created_at)
            for key in self.client_keys.all()
            if key.session is not None
            and key.name.startswith(LAUNCHED)
            and key.state(now) == "active"
        ]

    def _root(self, row: SessionRow, known: Mapping[str, SessionRow]) -> SessionRow:
        for _ in range(_DEEPEST):
            parent = row.session.parent
            above = self.sessions.of([parent]).get(parent, known.get(parent)) if parent else None
            if above is None:
                break
            row = above
        return row

    def _below(self, ident: str, depth: int = 0) -> list[SessionRow]:
        """All sessions of its sub-agents, at any depth."""
        found: list[SessionRow] = []
        if depth < _DEEPEST:
            for row in self.sessions.within(ident):
                found += [row, *self._below(row.session.id, depth + 1)]
        return found

    def _stoppable(self, ident: str) -> bool:
        launched = any(row.session.id == ident for row in self._launched(self._now()))
        ids = [ident, *(row.session.id for row in self._below(ident))]
        return launched or any(self.sessions.use(one).through_us for one in ids)

    def _live(self, row: SessionRow, caps: Mapping[str, list[Budget]], now: int) -> LiveSession:
        below = self._below(row.session.id)
        rows = [row, *below]
        use = SessionUse()
        for one in rows:
            use += self.sessions.use(one.session.id, now - HOUR_MS)
        first, last = min(r.first_at for r in rows), max(r.last_at for r in rows)
        left = [
            (status.left_nusd, status.stop_at_nusd)
            for one in rows
            for budget in caps.get(one.session.id, ())
            for status in [self.budgets.status(budget, now)]
        ]
        cap_left, cap = min(left) if left else (None, None)
        lasted = min(max(now - first, _LEAST_MS), HOUR_MS)
        latest = max(rows, key=lambda one: one.last_at)
        session = row.session
        return LiveSession(
            id=session.id,
            agent=session.agent.removesuffix(_SUBAGENT),
            project=session.project,
            title=session.title or next((r.session.title for r in below if r.session.title), ""),
            branch=session.branch,
            model=self.sessions.last_model(latest.session.id),
            state=_state(row, use, cap_left, now - last),
            first_at=first,
            last_at=last,
            calls=use.calls,
            total_tokens=use.total_tokens,
            cost_nusd=use.known_nusd,
            unknown=use.unknown,
            hour_nusd=None if use.known_nusd is None else use.lately_nusd * HOUR_MS // lasted,
            cap_nusd=cap,
            cap_left_nusd=cap_left,
            sub_sessions=len(below),
            stoppable=use.through_us > 0 or self._stoppable(session.id),
        )

    def _node(self, row: SessionRow, depth: int) -> SessionNode:
        own: list[Turn] = []
        others: dict[str, list[Turn]] = {}
        calls = self.sessions.calls(row.session.id)
        # A sub-agent's calls may come under its parent's name.
        whole = all(call.agent.endswith(_SUBAGENT) for call in calls)
        for call in calls:
            below = call.agent.endswith(_SUBAGENT) and not whole
            (others.setdefault(call.agent, []) if below else own).append(_turn(call))
        parts = [
            _summed(Session(row.session.id, agent, row.session.project), turns, (), None)
            for agent, turns in others.items()
        ]
        if depth < _DEEPEST:
            below_it = self.sessions.within(row.session.id)
            parts += [self._node(one, depth + 1) for one in below_it]
        parts.sort(key=lambda part: part.first_at)
        return _summed(row.session, own, tuple(parts), row)


def _state(row: SessionRow, use: SessionUse, cap_left: int | None, ago_ms: int) -> SessionState:
    if row.stopped_at is not None:
        return "stopped"
    if cap_left is not None and cap_left <= 0:
        return "capped"
    if use.under_way:
        return "running"
    return "active" if ago_ms < _ACTIVE_MS else "idle"


def _turn(call: RequestRow) -> Turn:
    usage = call.usage
    return Turn(
        id_text(call.id),
        call.created_at,
        call.model,
        call.state,
        call.source,
        usage.input_tokens,
        usage.cached_tokens,
        usage.output_tokens,
        call.total_nusd,
        call.latency_ms,
        call.error_code,
    )


def _summed(
    session: Session, turns: list[Turn], parts: tuple[SessionNode, ...], row: SessionRow | None
) -> SessionNode:
    made = [turn for turn in turns if turn.state != "refused"]
    costs = [turn.cost_nusd for turn in made if turn.cost_nusd is not None]
    calls = len(made) + sum(part.calls for part in parts)
    unknown = sum(turn.cost_nusd is None and turn.state != "pending" for turn in made)
    unknown += sum(part.unknown for part in parts)
    known = sum(costs) + sum(part.cost_nusd or 0 for part in parts)
    times = [turn.created_at for turn in turns] + [part.first_at for part in parts]
    ends = [turn.created_at for turn in turns] + [part.last_at for part in parts]
    return SessionNode(
        session=session,
        first_at=min(times, default=0 if row is None else row.first_at),
        last_at=max(ends, default=0 if row is None else row.last_at),
        stopped_at=None if row is None else row.stopped_at,
        calls=calls,
        total_tokens=sum(turn.input_tokens + turn.output_tokens for turn in turns)
        + sum(part.total_tokens for part in parts),
        cost_nusd=None if calls and unknown == calls else known,
        unknown=unknown,
        turns=tuple(turns),
        parts=parts,
    )


def live_document(sessions: list[LiveSession]) -> dict[str, Any]:
    return {"sessions": [document(session) for session in sessions]}


def tree_document(node: SessionNode) -> dict[str, Any]:
    return {
        **document(node.session),
        **document(node, "first_at", "last_at", "stopped_at", "calls", "total_tokens"),
        **document(node, "cost_nusd", "unknown", "turns"),
        "parts": [tree_document(part) for part in node.parts],
    }
