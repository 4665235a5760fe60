"""What chains say of cost, brought over from stores that could not tell it from the default."""

from sqlite_utils import Database

from omni_cli.store.migrations import STEPS

#: The step that tells them apart.
_STEP = 14


def test_what_was_said_is_kept_and_what_every_chain_had_is_not() -> None:
    db = Database(memory=True)
    for step in STEPS[: _STEP - 1]:
        step(db)
    db.conn.executemany(
        "INSERT INTO chains (name, max_cost_multiple, allow_free_to_paid) VALUES (?, ?, ?)",
        [("as made", 5.0, 0), ("any", None, 1), ("strict", 2.0, 0)],
    )
    STEPS[_STEP - 1](db)
    rows = db.conn.execute(
        "SELECT name, max_cost_multiple, any_cost, free_to_paid FROM chains ORDER BY name"
    ).fetchall()
    assert rows == [("any", None, 1, 1), ("as made", None, 0, None), ("strict", 2.0, 0, None)]
