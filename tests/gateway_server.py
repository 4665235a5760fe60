"""A gateway in a thread, before a simulator: what the gateway's tests talk to."""

import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from omni_cli.bootstrap import App
from omni_cli.config import set_value
from omni_cli.domain.record import replace
from omni_cli.gateway.app import Options
from omni_cli.gateway.serve import bind, server
from omni_cli.simulator import Simulator
from omni_cli.simulator import fleet as scene
from tests.conftest import point
from tests.engine import store_env
from tests.spec_fleet import SPECS

ACTIVE = (
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "anthropic/claude-sonnet-4-20250514",
    "anthropic/claude-3-haiku-20240307",
    "google/gemini-2.0-flash",
    "deepseek/deepseek-chat",
    "ollama/llama3.1:70b",
)
PREMIUM = "anthropic/claude-opus-4-20250514"


@dataclass
class Served:
    """``app`` reads the gateway's store over a connection of its own."""

    url: str
    home: Path
    app: App
    sim: Simulator

    def settle(self, count: int, *, timeout_s: float = 5.0) -> None:
        """Wait until ``count`` requests are in the ledger, none of them pending."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            rows = list(self.app.ledger.recent(limit=1_000_000))
            if len(rows) == count and all(row.state != "pending" for row in rows):
                return
            time.sleep(0.005)
        states = [row.state for row in self.app.ledger.recent(limit=100)]
        raise AssertionError(f"expected {count} settled requests, found {states}")


@cache
def seeded() -> bytes:
    """A store with the catalogue in it: making one takes longer than a test."""
    with tempfile.TemporaryDirectory() as folder:
        with App({"OMNI_HOME": folder, "USER": "test"}) as app:
            app.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (Path(folder) / "omni.db").read_bytes()


@cache
def standing() -> bytes:
    """The same with the fleet of ``build_fleet``, whose providers are nowhere yet."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "omni.db").write_bytes(seeded())
        with App({"OMNI_HOME": folder, "USER": "test"}) as app:
            build_fleet(app, "http://127.0.0.1:9")
            app.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (Path(folder) / "omni.db").read_bytes()


def build_fleet(app: App, simulator_url: str) -> None:
    """The simulator's providers, seven active models, two chains, a role."""
    with app.fleet.change("test", "test fleet", None, "simulated"):
        for provider in scene.providers(simulator_url):
            app.fleet.put_provider(replace(provider, auth_method="none", key_env=None))
        for model in ACTIVE:
            app.fleet.set_status(model, "active")
        app.fleet.assign_role("heartbeat", "anthropic/claude-3-haiku-20240307", 1, "status")
        for chain in SPECS.chains:
            app.fleet.put_chain(chain)
    set_value(app.paths, "general.premium_model", PREMIUM)
    set_value(app.paths, "general.org_private_addresses", "true")  # the simulator's is one


@contextmanager
def serving(
    home: Path,
    sim: Simulator,
    options: Options | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> Iterator[Served]:
    """A gateway on a free port until the block ends. ``env``: more for its environment."""
    env = {"OMNI_HOME": str(home), "USER": "test", **store_env(home), **(env or {})}
    new = not (home / "omni.db").exists()
    if new:
        (home / "omni.db").write_bytes(standing())
    with App(env) as app:
        if new and "OMNI_DATABASE_URL" not in env:
            point(app, sim.url)
            set_value(app.paths, "general.premium_model", PREMIUM)
            set_value(app.paths, "general.org_private_addresses", "true")
        else:
            build_fleet(app, sim.url)
        sock = bind("127.0.0.1", 0)
        running = server(App(env), options or Options(), drain_s=5)
        done = threading.Event()

        def serve() -> None:
            try:
                asyncio.run(running.serve([sock]))
            finally:
                done.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        end = time.monotonic() + 10
        while not running.started and not done.is_set() and time.monotonic() < end:
            time.sleep(0.005)
        if not running.started:
            raise AssertionError("the gateway did not start")
        try:
            yield Served(f"http://127.0.0.1:{sock.getsockname()[1]}", home, app, sim)
        finally:
            running.end()
            thread.join(15)
            sock.close()
        if thread.is_alive():
            raise AssertionError("the gateway did not stop")
