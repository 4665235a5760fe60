"""For every test: an omni home of its own, no key in the environment, no way to the network."""

import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from omni_cli import config as settings
from omni_cli.bootstrap import App
from omni_cli.domain.record import replace
from omni_cli.simulator import Simulator
from omni_cli.simulator import fleet as scene
from omni_cli.store.connection import SqliteStore
from tests.engine import DATABASES, ENGINES, store_env
from tests.postgres import MISSING, programs

#: What would let the machine's own set-up into a test.
_CLEARED = ("OMNI_", "XDG_", "NO_COLOR", "FORCE_COLOR", "TZ", "HTTP_PROXY", "HTTPS_PROXY")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
#: The small fleet: one cheap, one good, one free model, and one whose price nobody knows.
CHEAP = "openai/gpt-4o-mini"
GOOD = "anthropic/claude-sonnet-4-20250514"
FREE = "ollama/mistral:7b"
PREMIUM = "anthropic/claude-opus-4-20250514"


class NetworkClosed(RuntimeError):
    """A test tried to leave this machine."""


def _is_here(address: Any) -> bool:
    return not isinstance(address, tuple) or address[0] in _LOOPBACK


@pytest.fixture(autouse=True, scope="session")
def closed_network() -> Iterator[None]:
    """Sockets reach this machine only; anything else fails loudly, in no library's own words."""
    connect, connect_ex, lookup = (
        socket.socket.connect,
        socket.socket.connect_ex,
        socket.getaddrinfo,
    )

    def guarded(self: socket.socket, address: Any) -> None:
        if not _is_here(address):
            raise NetworkClosed(f"a test connects to {address}")
        connect(self, address)

    def guarded_ex(self: socket.socket, address: Any) -> int:
        if not _is_here(address):
            raise NetworkClosed(f"a test connects to {address}")
        return connect_ex(self, address)

    def guarded_lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in (*_LOOPBACK, None, "", b"localhost"):
            raise socket.gaierror(socket.EAI_NONAME, "the network is closed in tests")
        return lookup(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        patch.setattr(socket.socket, "connect_ex", guarded_ex)
        patch.setattr(socket, "getaddrinfo", guarded_lookup)
        yield


@pytest.fixture(autouse=True, scope="session")
def clean_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No setting, key or home of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith(_CLEARED) or name.endswith(
                ("_API_KEY", "_TOKEN", "_PAT", "_BASE_URL", "_API_BASE")
            ):
                patch.delenv(name)
        patch.setenv("HOME", str(home))
        patch.setenv("OMNI_HOME", str(home / "omni"))
        # subprocesses find this checkout wherever they are started
        patch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
        yield


@pytest.fixture(autouse=True)
def databases(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Those that a test used are another's afterwards."""
    if DATABASES.engine == "postgres":
        found = settings.database_url
        monkeypatch.setattr(
            settings,
            "database_url",
            lambda where, env: found(where, env) or DATABASES.homes.get(str(where.data), ""),
        )
    yield
    DATABASES.done()


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the test's stores are kept in: it runs on each engine."""
    monkeypatch.setattr(DATABASES, "engine", request.param)
    if request.param == "postgres":
        if programs() is None:
            pytest.skip(MISSING)
        found = settings.database_url
        monkeypatch.setattr(
            settings,
            "database_url",
            lambda where, env: found(where, env) or DATABASES.of_home(where.data),
        )
    return str(request.param)


@pytest.fixture(autouse=True)
def on_either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tests of the store and of what all faces share run on each engine, or say why not."""
    if not request.node.nodeid.startswith(("tests/unit/", "tests/contract/")):
        yield
        return
    opened, plain = list[Path](), SqliteStore.__init__

    def noticed(self: SqliteStore, path: Path, **named: Any) -> None:
        opened.append(path)
        plain(self, path, **named)

    monkeypatch.setattr(SqliteStore, "__init__", noticed)
    yield
    if not opened or request.node.get_closest_marker("one_engine") is not None:
        return
    if "engine" not in request.fixturenames:
        pytest.fail(
            "it keeps a store and runs on one engine: let it ask for `engine`, or say why it is of"
            " one alone with the mark one_engine(reason)"
        )
    if DATABASES.engine != "sqlite":
        pytest.fail(f"of the store in PostgreSQL, it opened a file: {opened[0]}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is of one engine runs there alone."""
    other: list[pytest.Item] = []
    for item in items:
        mark = item.get_closest_marker("one_engine")
        if mark is None:
            continue
        if not mark.args or not isinstance(mark.args[0], str):
            raise pytest.UsageError(f"{item.nodeid}: one_engine needs a reason")
        call = getattr(item, "callspec", None)
        if call is not None and call.params.get("engine") == "postgres":
            other.append(item)
        elif DATABASES.engine != "sqlite":
            item.add_marker(pytest.mark.skip(reason=mark.args[0]))
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in other]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for configuration, store and keys that this test alone has."""
    folder = tmp_path / "omni"
    monkeypatch.setenv("OMNI_HOME", str(folder))
    return folder


@dataclass
class Fleet:
    """A small fleet on a simulator. ``env`` is what a subprocess needs to find it."""

    app: App
    sim: Simulator
    home: Path
    env: dict[str, str]


def point(app: App, url: str) -> None:
    """Its providers are a simulator's."""
    with app.store.transaction():
        for provider in scene.providers(url):
            app.providers.put(replace(provider, auth_method="none", key_env=None))


def build(app: App, url: str) -> None:
    """The small fleet, on a simulator."""
    point(app, url)
    for model in (CHEAP, GOOD, FREE):
        app.fleet.set_status(model, "active")
    app.fleet.set_price(FREE, {}, free=True)
    app.fleet.assign_role("reviewer", GOOD, 1, "reads code")
    chain = app.fleet.link(GOOD), app.fleet.link(CHEAP)
    from omni_cli.domain.models import Chain

    app.fleet.put_chain(
        Chain("safe", tuple(replace(link, max_retries=1, timeout_ms=2_000) for link in chain))
    )


@pytest.fixture(scope="session")
def fleet_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the small fleet in it; its providers point nowhere yet."""
    folder = tmp_path_factory.mktemp("template") / "omni"
    with App({"OMNI_HOME": str(folder), "USER": "tester"}) as app:
        build(app, "http://127.0.0.1:9")
        app.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    (folder / "config.toml").write_text(f'[general]\npremium_model = "{PREMIUM}"\n')
    return folder


@pytest.fixture
def fleet(fleet_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """The small fleet, live: models CHEAP, GOOD and FREE, role ``reviewer``, chain ``safe``."""
    folder = tmp_path / "omni"
    shutil.copytree(fleet_template, folder)
    env = {"OMNI_HOME": str(folder), "USER": "tester"} | store_env(folder)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with Simulator(seed=7) as sim, App(env) as app:
        (build if "OMNI_DATABASE_URL" in env else point)(app, sim.url)
        yield Fleet(app, sim, folder, {**os.environ, **env})
