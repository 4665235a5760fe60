"""What screens read and write through: sessions for worker threads, and a watch on the store.

A session is one ``bootstrap.App`` with its own connection, used by one thread at a time. It is
kept for the next worker; when the store has changed meanwhile, what it remembers of the fleet is
forgotten first.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.periods import local_day
from omni_cli.ports import Clock

#: How often the store is asked whether anything changed, seconds. The question costs some 20 µs.
POLL_S = 1.0
#: How often logs of agents are looked at, seconds.
FOLLOW_S = 5.0
#: Whatever happens, look again after so many polls: breakers reopen and health fades with time.
_POLLS_A_REFRESH = 60

#: Sessions that are kept for the next worker: each remembers the fleet for itself, some 10 MB.
_KEPT = 2

Value = TypeVar("Value")


def probe_due(omni: App, *, older_ms: int) -> bool:
    """Check the providers whose last check, by whatever process, is that old; those without a key
    are told apart without one. Returns whether there were any. Raises OmniError."""
    checks, now = omni.windows.checks(), omni.now_ms()
    due = [
        provider.slug
        for provider in omni.providers.all()
        if provider.enabled
        and omni.keys.has(provider)
        and ((last := checks.get(provider.slug)) is None or not 0 <= now - last.at_ms < older_ms)
    ]
    for _ in omni.reporter.check(due, together=True) if due else ():
        pass  # they are in the store when they come
    return bool(due)


class Loader:
    """
    Args:
        env: the environment, as of ``bootstrap.App``.
        clock: seconds since the epoch, UTC.
        cwd: where to look for a project's settings.
    """

    def __init__(self, env: Mapping[str, str], *, clock: Clock, cwd: Path | None = None) -> None:
        self._env = env
        self._clock = clock
        self._cwd = cwd
        self._lock = threading.Lock()
        self._idle: list[tuple[tuple[int, int], App]] = []
        self._generation = 0
        #: How often providers were checked and nothing else was written.
        self._checked = 0
        #: What the probing thread writes is no other news: "written" by it, then "told" of here.
        self._news: Literal["", "written", "told"] = ""
        self._closed = False
        #: Told in the thread that works of what takes long, such as counting anew.
        self.note: Callable[[str], None] = lambda _: None
        #: Numbers of the fleet's revisions that were made here and not taken back, oldest first.
        self.mine: list[int] = []
        self._memo: dict[str, tuple[tuple[int, int], int, Any]] = {}
        self._turns: dict[str, threading.Lock] = {}
        self._watch: threading.Thread | None = None
        self._stop = threading.Event()

    @property
    def env(self) -> Mapping[str, str]:
        return self._env

    def now_ms(self) -> int:
        return int(self._clock() * 1000)

    def new_session(self, note: Callable[[str], None] = lambda _: None) -> App:
        """A session of one's own, to be closed by the caller: for work that lasts.

        Args:
            note: told of retries and failovers, in the thread that works.
        """
        return App(self._env, clock=self._clock, cwd=self._cwd, note=note)

    def _note(self, line: str) -> None:
        self.note(line)

    @contextmanager
    def session(self) -> Iterator[App]:
        """Borrow a session; call from worker threads only: it reads and writes files."""
        with self._lock:
            current = self._stamp
            stamp, app = self._idle.pop() if self._idle else (current, None)
        if app is None:
            app = self.new_session(self._note)
        elif stamp != current:
            app.refresh()
        try:
            yield app
        finally:
            with self._lock:
                self.mine += app.revised
                app.revised.clear()
                keep = not self._closed and len(self._idle) < _KEPT
                if keep:
                    self._idle.append((current, app))
            if not keep:
                app.close()

    @property
    def _stamp(self) -> tuple[int, int]:
        return self._generation, self._checked

    def memo(
        self,
        name: str,
        omni: App,
        read: Callable[[App], Value],
        checked: Callable[[App, Value], Value] | None = None,
    ) -> Value:
        """``read(omni)``, or what it gave last time if nothing has changed in this minute.

        Several panes show the same overview: one of them pays for it, and others that ask
        meanwhile wait for it.

        Args:
            checked: makes a new value of the last one, where since then providers were checked
                and nothing else was written; without it that is no change.
        """
        with self._lock:
            turn = self._turns.setdefault(name, threading.Lock())
        with turn:
            stamp, checks = (self._generation, self.now_ms() // 60_000), self._checked
            found = self._memo.get(name)
            if found is None or found[0] != stamp:
                value = read(omni)
            else:
                value = found[2]  # one name, one type of value
                if checked is None or found[1] == checks:
                    return value
                value = checked(omni, value)
            self._memo[name] = (stamp, checks, value)
            return value

    def touch(self) -> None:
        """Something was written: sessions forget what they remember of the fleet."""
        with self._lock:
            self._generation += 1

    def watch(self, changed: Callable[[], None]) -> None:
        """Start a thread that calls ``changed`` whenever anyone has written to the store."""
        self._watch = threading.Thread(
            target=self._look, args=(changed,), name="store watch", daemon=True
        )
        self._watch.start()
        # Daemons both: what is half read when the process ends is read again.
        threading.Thread(target=self._follow, name="log watch", daemon=True).start()

    def probe(self, period: Callable[[], float], changed: Callable[[], None]) -> None:
        """Start a thread that asks every provider for its list of models, unbilled, whenever the
        last check of it is ``period()`` seconds old. What it finds is news in the store.

        A daemon, so that a provider that does not answer keeps nobody from leaving.
        """
        threading.Thread(
            target=self._probe, args=(period, changed), name="health probes", daemon=True
        ).start()

    def _probe(self, period: Callable[[], float], changed: Callable[[], None]) -> None:
        due = 0.0
        while not self._stop.wait(POLL_S):
            # A session of its own, until it fails: its version tells of others' writes alone.
            with suppress(OmniError), self.new_session(self._note) as omni:
                stamp, version = self._stamp, omni.store.data_version()
                while not self._stop.wait(POLL_S):
                    if self._news == "told":
                        self._news = ""
                        if omni.store.data_version() != version:
                            self.touch()  # others wrote as well
                            changed()
                    passed = time.monotonic()
                    if passed < due:
                        due = min(due, passed + period())
                        continue
                    due = passed + period()
                    if stamp != (stamp := self._stamp):
                        omni.refresh()
                    self._news, version = "", omni.store.data_version()
                    # Half a second early is no reason to wait for the next turn.
                    if probe_due(omni, older_ms=int(period() * 1000) - 500):
                        self._news = "written"

    def _follow(self) -> None:
        """Read what is new in the logs of agents that were imported before."""
        while not self._stop.wait(FOLLOW_S):
            with suppress(OmniError), self.session() as omni:
                if omni.config.imports.follow:
                    omni.logs.follow()

    def _look(self, changed: Callable[[], None]) -> None:
        # Never writes, so that every commit of any other connection counts as news.
        try:
            eye = self.new_session()
            seen, zone = eye.store.data_version(), eye.zone
        except OmniError:
            return  # the panes show why the store does not open
        day = local_day(self.now_ms(), zone)
        quiet = 0
        with eye:
            while not self._stop.wait(POLL_S):
                quiet += 1
                version, today = eye.store.data_version(), local_day(self.now_ms(), zone)
                if version == seen and today == day and quiet < _POLLS_A_REFRESH:
                    continue
                if version != seen and today == day and self._news == "written":
                    with self._lock:
                        self._checked += 1
                    self._news = "told"
                else:
                    self.touch()
                seen, day, quiet = version, today, 0
                changed()

    def close(self) -> None:
        """End the watch and close idle sessions; borrowed ones close when they come back."""
        self._stop.set()
        if self._watch is not None:
            self._watch.join(timeout=5)
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, app in idle:
            app.close()
