"""How many calls a minute a model may get, over all processes: what its user set of it.

Each call that goes out to a model with such a limit leaves its time here for a minute, within the
transaction that lets it go; other models cost nothing. The time is the store's: of machines whose
clocks differ each would forget what the others wrote.
"""

from omni_cli.domain.batch import Opening
from omni_cli.domain.errors import Paced
from omni_cli.store.port import Store

_MINUTE_MS = 60_000
#: Also what a clock that was put back since has left.
_FORGET = "DELETE FROM paced_calls WHERE model = ? AND at NOT BETWEEN ? AND ?"
_COUNT = "SELECT count(*) FROM paced_calls WHERE model = ?"
_FREES = "SELECT at FROM paced_calls WHERE model = ? ORDER BY at LIMIT 1 OFFSET ?"
_NOTE = """
INSERT INTO paced_calls (model, at, request) VALUES (?, ?, ?)
ON CONFLICT (model, at, request) DO NOTHING
"""


def too_soon(store: Store, opening: Opening) -> Paced | None:
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


def note(store: Store, opening: Opening) -> None:
    """It goes out."""
    if opening.rpm is not None:
        store.db.execute(_NOTE, (opening.model, store.now_ms(), opening.request.id))
