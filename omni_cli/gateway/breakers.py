"""The breakers, read from memory and written behind: a call must not wait for the store."""

from collections.abc import Callable, Mapping

from omni_cli.repositories import BreakerChange, Breakers


class LiveBreakers:
    """What this process has seen, over what the store said last.

    Args:
        stored: where all processes meet, within a job.
        seen: what it says, asked on start and on ``reload``.
        later: runs a job within the next transaction (Commits.job).
        changed: told when a breaker's state changed here.
    """

    def __init__(
        self,
        stored: Breakers,
        *,
        seen: Callable[[], Mapping[str, str]],
        later: Callable[[Callable[[], None]], None],
        changed: Callable[[], None],
    ) -> None:
        self._stored = stored
        self._seen = seen
        self._later = later
        self._changed = changed
        self._live = dict(seen())
        self._unwritten = 0

    def all(self) -> Mapping[str, str]:
        return self._live

    def get(self, target: str) -> str | None:
        return self._live.get(target)

    def update(self, target: str, change: BreakerChange, *, now_ms: int) -> None:
        """Change it here at once and in the store soon, where others may have changed it too."""
        old = self._live.get(target)
        new = change(old)
        if new == old:
            return
        self._live[target] = new
        self._changed()
        self._unwritten += 1
        pending = True

        def write() -> None:
            nonlocal pending
            self._stored.update(target, change, now_ms=now_ms)
            if pending:
                pending = False
                self._unwritten -= 1

        self._later(write)

    def reload(self) -> bool:
        """Take over what other processes wrote; returns whether anything is different."""
        if self._unwritten:
            return False
        fresh = dict(self._seen())
        if fresh == self._live:
            return False
        self._live.clear()
        self._live.update(fresh)
        return True
