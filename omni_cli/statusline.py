"""The short way of ``omni statusline``, which an agent asks for each time that its prompt changes.

A process of its own, so that loading counts, and nothing else does: a bare interpreter takes half
of what is allowed. So it imports SQLite and a few modules of ours that import nothing, opens the
store to read, and leaves all that takes more to the whole command (``cli/commands/periods.py``).
That notes beside the store what settings and zone come to, under the state of all that they come
from (``Noted``); with another state, another day, another schema or any doubt the whole command
answers. Both draw one ``Status``, from the same statements.

Neither waits for logs: a process of its own reads on, and meanwhile the line says how old they are.
"""

from __future__ import annotations

import os
import sys
import time

from omni_cli.places import data_folder, settings_state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from omni_cli.store.statusline import Figures

#: Logs are read again after so long, and no process is started for that more often than each
#: ``_APART_S``, whatever becomes of it.
_AGAIN_S, _APART_S = 5, 2
#: The zone whose days the sums are of (store/port.py).
_ZONE_KEY = "zone"
#: Of the environment, what makes another store, fleet or day of it.
_ELSEWHERE = ("OMNI_ORG", "OMNI_REMOTE", "OMNI_DATABASE_URL")


class Noted:
    """What the whole command says of the settings in force, kept in the store's ``meta``.

    Args:
        state: of all that they come from; another one, and it holds no longer.
        schema: of the store, by its number; the same of it.
        day: today by the zone (yyyymmdd), which is ``[day_start, day_end)``, ms UTC.
        follow: whether logs are read on.
    """

    def __init__(
        self,
        state: str,
        schema: int,
        zone: str,
        day: int,
        day_start: int,
        day_end: int,
        follow: int,
    ) -> None:
        self.state = state
        self.schema = schema
        self.zone = zone
        self.day = day
        self.day_start = day_start
        self.day_end = day_end
        self.follow = follow

    def text(self) -> str:
        return "\n".join(map(str, vars(self).values()))

    @classmethod
    def read(cls, text: str) -> Noted:
        state, schema, zone, *numbers = text.split("\n")
        return cls(state, int(schema), zone, *map(int, numbers))


def transcripts(given: Mapping[str, Any]) -> list[str]:
    """The log of the session, and those of its sub-agents; none where it has none."""
    told = given.get("transcript_path")
    path = os.path.expanduser(told) if isinstance(told, str) else ""  # noqa: PTH111  # as above
    if not os.path.isfile(path):  # noqa: PTH113  # as above
        return []
    found = [path]
    within = os.path.join(os.path.splitext(path)[0], "subagents")  # noqa: PTH118, PTH122  # as above
    for folder, _, names in os.walk(within):
        found += [f"{folder}/{name}" for name in sorted(names) if name.endswith(".jsonl")]
    return found


def unread(paths: list[str], figures: Figures, now: int) -> tuple[bool, int | None]:
    """Whether logs hold what was not read, where their source was ever imported; and where they do,
    how long ago they were read, ms; None: never."""
    known = figures.logs("claude-code", paths) if paths else None
    if known is None:
        return False, None
    behind, ages = False, []
    for path in paths:
        size, changed_ns, read_at = known.get(path, (0, 0, 0))
        try:
            state = os.stat(path)  # noqa: PTH116  # as above
        except OSError:
            continue
        if (state.st_size, state.st_mtime_ns) != (size, changed_ns):
            behind = True
            if read_at:
                ages.append(max(now - read_at, 0))
    return behind, max(ages, default=None)


def read_on(transcript: str, age_ms: int | None, data: str) -> None:
    """Have a process of its own read what is new of a session's logs."""
    if os.name != "posix" or (age_ms is not None and age_ms < 1000 * _AGAIN_S):
        return
    mark = f"{data}/run/statusline"
    try:
        if time.time() - os.stat(mark).st_mtime < _APART_S:  # noqa: PTH116  # as above
            return
    except OSError:
        pass
    try:
        os.makedirs(f"{data}/run", 0o700, exist_ok=True)  # noqa: PTH103  # as above
        os.close(os.open(mark, os.O_CREAT | os.O_WRONLY, 0o600))
        os.utime(mark)
        nowhere = [(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in (0, 1, 2)]
        command = [sys.executable, "-m", "omni_cli", "statusline", "--read", transcript]
        try:
            os.posix_spawn(sys.executable, command, os.environ, file_actions=nowhere, setsid=True)
        except NotImplementedError:
            os.posix_spawn(sys.executable, command, os.environ, file_actions=nowhere, setpgroup=0)
    except OSError:
        pass  # the line says how old they are


class _Decoding:
    """How json.loads has its scanner read, whose own module takes as long to load as SQLite."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float, parse_int, parse_constant = float, int, float

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


def _parse(text: str) -> Any:
    from _json import make_scanner

    blank = " \t\n\r"
    text = text.strip(blank)
    make: Any = make_scanner
    value, end = make(_Decoding())(text, 0)
    if end != len(text):
        raise ValueError(text[end:])
    return value


def short() -> bool:
    """Answer, where that can be done so; whether it was. What stdin said is there again if not."""
    env = os.environ
    if any(env.get(name) for name in _ELSEWHERE) or sys.stdin is None or sys.stdin.isatty():
        return False
    raw = sys.stdin.buffer.read()
    try:
        line = _answer(env, raw)
        if line is not None:
            sys.stdout.buffer.write(line.encode(sys.stdout.encoding, "replace") + b"\n")
            sys.stdout.flush()
            return True
    except Exception:  # noqa: BLE001, S110  # whatever it is: the whole command says it, or answers
        pass
    from io import BytesIO, TextIOWrapper

    sys.stdin = TextIOWrapper(BytesIO(raw), encoding="utf-8", errors="replace")
    return False


def _answer(env: Mapping[str, str], raw: bytes) -> str | None:
    from omni_cli.store.statusline import Figures, open_to_read

    data = data_folder(env)
    key, state = settings_state(env, os.getcwd())  # noqa: PTH109  # as above
    opened = open_to_read(f"{data}/omni.db", (key, _ZONE_KEY))
    if opened is None or key not in opened[2]:
        return None
    db, schema, meta = opened
    noted, now = Noted.read(meta[key]), int(time.time() * 1000)
    if (noted.state, noted.schema, noted.zone) != (state, schema, meta[_ZONE_KEY]):
        return None
    if not noted.day_start <= now < noted.day_end:
        return None
    given = _parse(raw.decode())
    if not isinstance(given, dict):
        return None
    from omni_cli.services.money.statusline import Status, status_line

    figures = Figures(db, noted.day)
    logs = transcripts(given) if noted.follow else []
    status = Status(given, figures, now, *unread(logs, figures, now))
    line = status_line(status)
    if status.logs_behind:
        read_on(logs[0], status.logs_age_ms, data)
    return line
