"""Usage as lines of text that many machines keep side by side: one folder each, added up whole.

A line is one rollup row: its day, what it is cut by, and integer sums. No prompt, no answer and
no key is in a rollup, so none can be in a line.
"""

import json
from collections.abc import Iterable, Iterator, Mapping

from omni_cli.domain.analytics import TOTALS_FIELDS, Totals
from omni_cli.domain.errors import ConfigError
from omni_cli.domain.record import asdict
from omni_cli.domain.secrets import scrub
from omni_cli.records import UsageLine

KEYS = ("source", "org", "key", "provider", "model", "role", "agent", "task")


def months(lines: Iterable[UsageLine]) -> dict[str, str]:
    """The text of each month's file by ``yyyy-mm``."""
    found: dict[str, list[str]] = {}
    for line in lines:
        year, month, day = line.day // 10_000, line.day // 100 % 100, line.day % 100
        # Labels are the user's own words; what looks like a key among them stays at home.
        keys = {name: scrub(line.keys[name]) for name in KEYS if line.keys[name]}
        sums = {name: value for name, value in asdict(line.totals).items() if value}
        row = {"day": f"{year:04d}-{month:02d}-{day:02d}", **keys, **sums}
        found.setdefault(f"{year:04d}-{month:02d}", []).append(
            json.dumps(row, ensure_ascii=False) + "\n"
        )
    return {month: "".join(rows) for month, rows in found.items()}


def read(name: str, text: str) -> Iterator[tuple[Mapping[str, str], Totals]]:
    """The rows of a month's file: what they are cut by ("day" too), and their sums.

    Raises ConfigError, which names the line, where a file is damaged.
    """
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            sums = {key: row[key] for key in TOTALS_FIELDS if key in row}
            keys = {key: row.get(key, "") for key in ("day", *KEYS)}
        except (ValueError, TypeError, AttributeError) as exc:
            raise _damaged(name, number) from exc
        if not keys["day"] or not all(isinstance(value, str) for value in keys.values()):
            raise _damaged(name, number)
        if not all(type(value) is int for value in sums.values()):
            raise _damaged(name, number)
        yield keys, Totals(**sums)


def _damaged(name: str, number: int) -> ConfigError:
    return ConfigError(
        f"{name}, line {number}, is no usage of omni's",
        hint="omni sync on the machine that wrote it writes it anew",
    )
