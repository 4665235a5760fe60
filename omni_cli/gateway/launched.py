"""The gateway of ``omni launch``, and the sessions that it lasts for.

A folder below the store's holds one folder for each session and one file for each gateway, named
after its port. Who is alive holds a lock on its own file, which the system gives back however a
process ends, so that what a killed one has left is found: its key, its budget, its files.
"""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from omni_cli import system
from omni_cli.bootstrap import App
from omni_cli.domain.errors import ConfigError

#: How often a gateway looks whether anybody is left, seconds, and how long one may take to start.
_LOOK_S = 0.5
_START_S = 30.0
#: What a key of a session may not read, so that the answer tells whether a gateway knows the key.
_CLOSED_PATH = "/api/providers"
_FORBIDDEN = 403


class Launches:
    """Args:
    app: whose store has the sessions' keys.
    """

    def __init__(self, app: App) -> None:
        self._app = app
        self.folder = app.paths.data / "launch"
        self._held: dict[str, int] = {}

    @contextmanager
    def alone(self) -> Iterator[None]:
        """No other process begins, joins or ends a gateway meanwhile."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = _open(self.folder / "mutex")
        try:
            system.lock(lock)
            yield
        finally:
            os.close(lock)

    def begin(self, name: str) -> Path:
        """The folder of a new session, which lasts until ``end`` or this process's end."""
        folder = self.folder / f"session-{name}"
        folder.mkdir(mode=0o700)
        lock = _open(folder / "lock")
        system.lock(lock)
        self._held[name] = lock
        return folder

    def end(self, name: str) -> None:
        """Remove what a session left: key, budget and folder."""
        with self._app.store.transaction():
            self._app.client_keys.remove(name)
            for budget in self._app.budgets.all():
                if (budget.scope, budget.value) == ("key", name):
                    self._app.budgets.delete(budget.id)
        shutil.rmtree(self.folder / f"session-{name}", ignore_errors=True)
        if name in self._held:
            os.close(self._held.pop(name))

    def sweep(self) -> list[str]:
        """Remove what sessions left whose launcher is gone. Returns their names."""
        gone = [path for path in self.folder.glob("session-*") if not _locked(path / "lock")]
        names = [path.name.removeprefix("session-") for path in gone]
        for name in names:
            self.end(name)
        return names

    def anybody(self) -> bool:
        return any(_locked(path / "lock") for path in self.folder.glob("session-*"))

    def running(self) -> int | None:
        """The port of a gateway that is there for sessions."""
        for path in self.folder.glob("gateway-*"):
            if _locked(path):
                return int(path.name.removeprefix("gateway-"))
            path.unlink(missing_ok=True)
        return None

    def start(self) -> int:
        """Start a gateway in the background; it may not be ready yet. Returns its port."""
        from omni_cli.gateway.serve import bind

        with bind("127.0.0.1", 0) as sock:
            port: int = sock.getsockname()[1]
            lock = _open(self.folder / f"gateway-{port}")
            system.lock(lock)
            self._app.addresses.note_served(port)
            try:
                with (self.folder / "gateway.log").open("wb") as log:
                    subprocess.Popen(  # noqa: S603  # ourselves
                        [sys.executable, "-m", __name__, str(sock.fileno()), str(lock)],
                        pass_fds=(sock.fileno(), lock),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=log,
                        start_new_session=True,  # Ctrl-C is the agent's
                    )
            finally:
                os.close(lock)  # the gateway has it, too
        return port

    def wait(self, port: int, token: str) -> None:
        """Until the gateway knows a session's key: before, its calls would be nobody's.

        Raises ConfigError: it does not start.
        """
        end = time.monotonic() + _START_S
        while _locked(self.folder / f"gateway-{port}") and time.monotonic() < end:
            if _asked(port, token) == _FORBIDDEN:
                return
            time.sleep(0.05)
        lines = (self.folder / "gateway.log").read_text("utf-8", "replace").split("\n")
        said = next((line for line in reversed(lines) if line.strip()), "it said nothing")
        raise ConfigError(
            f"the gateway does not start: {said}",
            hint="omni serve --port 0 shows more; omni doctor checks the installation",
        )


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _locked(path: Path) -> bool:
    """Whether another process, or another part of this one, holds it."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        system.lock(lock, shared=True, wait=False)  # beside others that look
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _asked(port: int, token: str) -> int:
    """The status of an answer, 0 without one."""
    caller = HTTPConnection("127.0.0.1", port, timeout=_START_S)
    try:
        caller.request("GET", _CLOSED_PATH, headers={"authorization": f"Bearer {token}"})
        return caller.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        caller.close()


def _serve(sock: socket.socket) -> None:
    """Serve until the last session has ended."""
    from omni_cli.gateway.app import Options
    from omni_cli.gateway.serve import server

    with App() as app:
        launches = Launches(app)
        serving = server(app, Options(require_key=True), drain_s=5)
        file = launches.folder / f"gateway-{sock.getsockname()[1]}"

        def watch() -> None:
            while True:
                time.sleep(_LOOK_S)
                if launches.anybody():
                    continue
                with launches.alone():
                    if launches.anybody():
                        continue
                    file.unlink(missing_ok=True)  # nobody joins any more
                serving.end()
                return

        threading.Thread(target=watch, daemon=True).start()
        with suppress(KeyboardInterrupt):
            serving.run([sock])
        file.unlink(missing_ok=True)
    with App() as app, Launches(app).alone():
        Launches(app).sweep()


if __name__ == "__main__":
    # The second is the lock, which only has to stay open.
    _serve(socket.socket(fileno=int(sys.argv[1])))
