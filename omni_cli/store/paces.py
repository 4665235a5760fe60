"""How many calls a minute a model may get, over all processes: what its user set of it.

Each call that goes out to a model with such a limit leaves its time here for a minute, within the
transaction that lets it go; other models cost nothing.
"""

from omni_cli.domain.batch import Opening
from omni_cli.domain.errors import Paced
from omni_cli.store.port import Connection

_MINUTE_MS = 60_000
#: Also what a clock that was put back since has left.
_FORGET = "DELETE FROM paced_calls WHERE model = ? AND at NOT BETWEEN ? AND ?"
_COUNT = "SELECT count(*) FROM paced_calls WHERE model = ?"
_FREES = "SELECT at FROM paced_calls WHERE model = ? ORDER BY at LIMIT 1 OFFSET ?"
_NOTE = """
INSERT INTO paced_calls (model, at, request) VALUES (?, ?, ?)
ON CONFLICT (model, at, request) DO NOTHING
"""


def too_soon(db: Connection, opening: Opening) -> Paced | None:
    """Why it must not go out now; None: it may, which ``note`` writes down."""
    model, most, now = opening.model, opening.rpm, opening.started_at
    if most is None:
        return None
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


def note(db: Connection, opening: Opening) -> None:
    """It goes out."""
    if opening.rpm is not None:
        db.execute(_NOTE, (opening.model, opening.started_at, opening.request.id))
