"""Tokens by the hour, for charts of a single day; days come from the reports."""

from msgspec import Struct

from omni_cli.store.connection import Store

_HOURS = """
SELECT hour, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
       sum(cost_nusd) AS cost_nusd
FROM rollup_hour WHERE hour BETWEEN :first AND :last GROUP BY hour ORDER BY hour
"""


class HourSum(Struct, frozen=True):
    """``hour`` counts hours since the epoch, UTC."""

    hour: int
    input_tokens: int
    output_tokens: int
    cost_nusd: int


class HourStore:
    def __init__(self, store: Store) -> None:
        self._store = store

    def sums(self, first: int, last: int) -> list[HourSum]:
        """Hours since the epoch, both included, oldest first; hours without usage are left out."""
        rows = self._store.db.execute(_HOURS, {"first": first, "last": last})
        return [HourSum(**dict(row)) for row in rows]
