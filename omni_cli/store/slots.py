"""Who waits for a slot of a provider, over all processes: first come, first served.

A call that finds no slot free takes a ticket in the store, within the transaction that looked.
Free slots belong to the first tickets; a newcomer takes one only where more are free than wait.
Whoever frees a slot rings the process whose turn it is, so nobody has to look again and again.
Where no slot is wanting the table is empty, and nothing is paid but a look at it.

Below, how many calls a minute a model may get: each call that goes out to a model with such a limit
leaves its time in the store for a minute, within the transaction that lets it go. The time is the
store's: of machines whose clocks differ each would forget what the others wrote.
"""

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from omni_cli.domain.errors import Paced
from omni_cli.store.port import Connection, Store

if TYPE_CHECKING:
    from omni_cli.domain.batch import Opening
    from omni_cli.domain.health import SlotUse


#: How a provider without a limit is stored: the column takes no NULL.
NO_LIMIT = 2**31 - 1
#: A ticket that was not shown for so long is passed over, ms: its process died, or stands still.
_STALE_MS = 4_000
#: When it is thrown away, ms.
_GONE_MS = 120_000
#: Bells that one freed slot may ring.
MOST_BELLS = 64

_OPEN_AT = """
SELECT (SELECT count(*) FROM attempts WHERE provider = :slug AND state IN ('planned', 'sent'))
    + (SELECT count(*) FROM open_calls WHERE provider = :slug)
"""
_LOOK = f"{_OPEN_AT}, EXISTS (SELECT 1 FROM slot_tickets WHERE provider = :slug)"  # noqa: S608  # ours
_FIRST = """
SELECT id, owner, port FROM slot_tickets
WHERE provider = ? AND seen_at BETWEEN ? AND ? ORDER BY id LIMIT ?
"""
_TAKE = """
INSERT INTO slot_tickets (provider, owner, request, since, seen_at, port)
VALUES (?, ?, ?, ?, ?, ?) RETURNING id
"""
_SHOW = "UPDATE slot_tickets SET seen_at = ? WHERE owner = ?"
_SWEEP = "DELETE FROM slot_tickets WHERE seen_at NOT BETWEEN ? AND ?"
_WAITING = """
SELECT provider, count(*) FROM slot_tickets WHERE seen_at BETWEEN ? AND ? GROUP BY provider
"""
_WAITS = """
SELECT provider, count(*), sum(waited_ms), max(waited_ms) FROM attempts
INDEXED BY attempts_waited WHERE waited_ms > 0 AND started_at >= ? GROUP BY provider
"""
_LINES = """
SELECT slug, max_concurrency FROM providers
WHERE slug IN (SELECT DISTINCT provider FROM slot_tickets)
"""


def slots_in_use(db: Connection, provider: str) -> int:
    """How many attempts at this provider are under way, in all processes."""
    return int(db.execute(_OPEN_AT, {"slug": provider}).fetchone()[0])


def now_ms() -> int:
    """Tickets are compared by the machine's clock, whatever clock the ledger was given."""
    return int(time.time() * 1000)


class Turns:
    """A provider's slots as one transaction sees them, and whose they are.

    Args:
        slots: most calls that may be under way.
    """

    __slots__ = ("_line", "_taken")

    def __init__(self, db: Connection, provider: str, slots: int) -> None:
        self._taken: int
        self._taken, waited_for = db.execute(_LOOK, {"slug": provider}).fetchone()
        #: Tickets in their order, as many as could go at most.
        self._line: list[int] = []
        if waited_for:
            self._line = [ident for ident, _, _ in _first(db, provider, slots)]

    def take(self, ticket: int | None, slots: int) -> bool:
        """Whether a call may go now, of so many at most; a newcomer has no ticket."""
        free = slots - self._taken
        if ticket is None:
            goes = len(self._line) < free
        else:
            goes = free > 0 and ticket in self._line[:free]
            if goes:
                self._line.remove(ticket)
        self._taken += goes
        return goes

    def queue(self, ticket: int) -> None:
        """Somebody went to the end of the line."""
        self._line.append(ticket)

    def give_back(self) -> None:
        """A call that was to go does not."""
        self._taken -= 1


def _first(db: Connection, provider: str, count: int) -> list[tuple[int, str, int]]:
    """(ticket, owner, port) of those whose turn it is when so many slots are free."""
    now = now_ms()
    values = (provider, now - _STALE_MS, now + _STALE_MS, count)
    return [(row[0], row[1], row[2]) for row in db.execute(_FIRST, values)]


def take_ticket(db: Connection, provider: str, owner: str, request: int, port: int) -> int:
    now = now_ms()
    return int(db.execute(_TAKE, (provider, owner, request, now, now, port)).fetchall()[0][0])


def give_up(db: Connection, tickets: Iterable[int]) -> None:
    db.executemany("DELETE FROM slot_tickets WHERE id = ?", [(ident,) for ident in tickets])


def show(db: Connection, owner: str) -> None:
    """Say that this process still waits, and throw away what others left behind."""
    now = now_ms()
    db.execute(_SHOW, (now, owner))
    db.execute(_SWEEP, (now - _GONE_MS, now + _GONE_MS))


def tickets_of(db: Connection, owner: str) -> set[int]:
    return {row[0] for row in db.execute("SELECT id FROM slot_tickets WHERE owner = ?", (owner,))}


def whose_turn(db: Connection, owner: str) -> list[int]:
    """Ports of other processes that have a free slot waiting for them."""
    ports: set[int] = set()
    for provider, slots in db.execute(_LINES).fetchall():
        free = slots - slots_in_use(db, provider)
        if free > 0:
            first = _first(db, provider, free)
            ports |= {port for _, other, port in first if other != owner and port}
    return sorted(ports)[:MOST_BELLS]


def slot_use(db: Connection, since_ms: int) -> "dict[str, SlotUse]":
    """By provider; what waited is counted from attempts that started at ``since_ms`` or later."""
    from omni_cli.domain.health import SlotUse

    now = now_ms()
    waiting = dict(db.execute(_WAITING, (now - _STALE_MS, now + _STALE_MS)).fetchall())
    waits = {row[0]: row[1:] for row in db.execute(_WAITS, (since_ms,)).fetchall()}
    found = {}
    for slug, slots in db.execute("SELECT slug, max_concurrency FROM providers").fetchall():
        limit = None if slots == NO_LIMIT else slots
        count, total, longest = waits.get(slug, (0, 0, 0))
        in_use = slots_in_use(db, slug)
        found[slug] = SlotUse(limit, in_use, waiting.get(slug, 0), count, total, longest)
    return found


def ring_others(ports: Iterable[int]) -> None:
    """Wake the processes that listen there; loads nothing where nobody waits."""
    if ports:
        from omni_cli.store.bells import ring

        ring(ports)


_MINUTE_MS = 60_000
#: Also what a clock that was put back since has left.
_FORGET = "DELETE FROM paced_calls WHERE model = ? AND at NOT BETWEEN ? AND ?"
_COUNT = "SELECT count(*) FROM paced_calls WHERE model = ?"
_FREES = "SELECT at FROM paced_calls WHERE model = ? ORDER BY at LIMIT 1 OFFSET ?"
_NOTE = """
INSERT INTO paced_calls (model, at, request) VALUES (?, ?, ?)
ON CONFLICT (model, at, request) DO NOTHING
"""


def too_soon(store: Store, opening: "Opening") -> Paced | None:
    """Why it must not go out now; None: it may, which ``note`` writes down."""
    model, most = opening.model, opening.rpm
    if most is None:
        return None
    db, now = store.db, store.now_ms()
    db.execute(_FORGET, (model, now - _MINUTE_MS + 1, now + _MINUTE_MS))
    (count,) = db.execute(_COUNT, (model,)).fetchone()
    if count < most:
        return None
    (at,) = db.execute(_FREES, (model, count - most)).fetchone()
    return Paced(
        f"{model} is sent {most:,} calls a minute at most",
        hint=f"omni models edit {model} --setting rate_limit_rpm=N",
        retry_after_s=(at + _MINUTE_MS - now) / 1000,
    )


def note_sent(store: Store, opening: "Opening") -> None:
    """It goes out."""
    if opening.rpm is not None:
        store.db.execute(_NOTE, (opening.model, store.now_ms(), opening.request.id))
