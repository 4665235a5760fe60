"""What the tests of the money commands share."""

from collections.abc import Callable

from omni_cli.bootstrap import App
from tests.integration.cli.conftest import Omni, Ran

Run = Callable[..., Ran]


def checked(omni: Omni) -> Run:
    """Commands that are expected to end with ``code``."""

    def run(*args: str, code: int = 0, stdin: str = "") -> Ran:
        ran = omni(*args, stdin=stdin)
        assert ran.code == code, ran
        return ran

    return run


def ledger_sums(app: App) -> tuple[int, ...]:
    """Requests, input, cached and output tokens, unknown requests, money (nano-dollars)."""
    row = app.store.db.execute(
        "SELECT count(*), sum(input_tokens), sum(cached_tokens), sum(output_tokens),"
        " count(CASE WHEN price_state = 'unknown' THEN 1 END),"
        " coalesce(sum(cost_nusd + adjusted_nusd), 0) FROM requests"
    ).fetchone()
    return tuple(row)


def rollup_sums(app: App) -> tuple[int, ...]:
    """The same from the rollups."""
    row = app.store.db.execute(
        "SELECT sum(calls), sum(input_tokens), sum(cached_tokens), sum(output_tokens),"
        " sum(unknown_attempts), sum(cost_nusd) FROM rollup_day"
    ).fetchone()
    return tuple(row)
