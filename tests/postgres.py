"""A PostgreSQL server of the tests' own: Debian's package, a folder and a port of its own."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

#: What a test that needs it says where it is missing.
MISSING = "PostgreSQL's server is not installed (apt install postgresql)"


def programs() -> Path | None:
    """The folder of the newest server on this machine."""
    there = shutil.which("initdb")
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    folders = sorted(debian, key=lambda folder: float(folder.parent.name), reverse=True)
    return next(iter([Path(there).parent] if there else folders), None)


class Server:
    """A running server. ``url(name)`` names one of its databases.

    Args:
        safe: flush to disk as a real one does; tests that kill nothing need not.
    settings: more of ``postgresql.conf``.
    """

    def __init__(self, *, safe: bool = False, settings: str = "") -> None:
        found = programs()
        if found is None:
            raise FileNotFoundError(MISSING)
        self._bin = found
        self._safe = safe
        # It refuses to run as root; whoever installed the package has a user for it.
        self._user = "postgres" if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="omni-pg-"))
        self.data = self.folder / "data"
        if self._user is not None:
            shutil.chown(self.folder, self._user)
        self._run(
            [
                str(self._bin / "initdb"), "-D", str(self.data), "-U", "omni", "-A", "trust",
                "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions",
            ]
        )  # fmt: skip
        with (self.data / "postgresql.conf").open("a") as file:
            file.write(settings)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": str(self.folder),
            "max_connections": 200,
            "shared_buffers": "64MB",
        }
        if not self._safe:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        words = [f"-c{name}={value}" for name, value in options.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self.data), *words],
                user=self._user, cwd=self.folder, stdout=log, stderr=log, env={"LC_ALL": "C.UTF-8"},
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.05)

    def _answers(self) -> bool:
        import psycopg

        try:
            with psycopg.connect(self.url("postgres"), connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def url(self, name: str) -> str:
        return f"postgresql://omni@127.0.0.1:{self.port}/{name}"

    def command(self, sql: str, name: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(name), autocommit=True) as link:
            link.execute(sql.encode())

    def use_tls(self, certificate: Path, key: Path) -> None:
        for source, name in ((certificate, "server.crt"), (key, "server.key")):
            target = self.data / name
            target.write_bytes(source.read_bytes())
            target.chmod(0o600)
            if self._user is not None:
                shutil.chown(target, self._user)
        self.command("ALTER SYSTEM SET ssl = on")
        self.command("SELECT pg_reload_conf()")

    def kill(self) -> None:
        """As a machine that loses its power ends it, but for what the system has buffered."""
        assert self._process is not None
        children = subprocess.run(
            ["pgrep", "-P", str(self._process.pid)], capture_output=True, text=True, check=False
        ).stdout.split()
        for pid in (str(self._process.pid), *children):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        self._process.wait(30)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
            process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, words: list[str]) -> None:
        done = subprocess.run(
            words, user=self._user, cwd=self.folder, capture_output=True, text=True, check=False,
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(done.stderr)


class Proxy:
    """A network to the server that can be cut: what is sent then is swallowed, or refused.

    Args:
        port: of the server.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        #: "open", "dropping" or "refusing".
        self.state = "open"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        #: Ends of streams of which something was swallowed.
        self._torn: set[socket.socket] = set()
        self._over = False
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse(self) -> None:
        """End all connections, and every new one."""
        self.state = "refusing"
        for pair in self._pairs:
            _shut(*pair)

    def heal(self) -> None:
        """What was torn ends, as the systems at both ends see to it once they reach each other."""
        self.state = "open"
        _shut(*self._torn)
        self._torn.clear()

    def _accept(self) -> None:
        while not self._over:
            try:
                near, _ = self._listening.accept()
            except OSError:
                return
            try:
                if self.state == "refusing":
                    raise ConnectionRefusedError
                far = socket.create_connection(("127.0.0.1", self._server))
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            for ends in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=ends, daemon=True).start()

    def _pass(self, taken: socket.socket, given: socket.socket) -> None:
        dropped = False
        with contextlib.suppress(OSError):
            while data := taken.recv(65_536):
                # A stream that lost a part of it is lost.
                if self.state == "dropping" and not dropped:
                    dropped = True
                    self._torn |= {taken, given}
                if not dropped:
                    given.sendall(data)
        _shut(taken, given)

    def close(self) -> None:
        self._over = True
        self.refuse()
        self._listening.close()
        for pair in self._pairs:
            for end in pair:
                end.close()


def _shut(*ends: socket.socket) -> None:
    for end in ends:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def running(*, safe: bool = False, settings: str = "") -> Iterator[Server]:
    server = Server(safe=safe, settings=settings)
    try:
        yield server
    finally:
        server.stop()
