"""Limits of keys and organisations: in memory, and together in a real Redis."""

import asyncio
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from omni_cli.gateway import meter as meter_module
from omni_cli.gateway import shared_counts
from omni_cli.gateway.app import Options
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.meter import CountsAway, Entry, Meter, Quota
from omni_cli.gateway.shared_counts import RedisCounts, StoreCounts
from omni_cli.simulator import Simulator
from omni_cli.store.limits import LimitStore
from omni_cli.wire.server import Refused
from tests.engine import DATABASES
from tests.gateway_server import Served, serving
from tests.integration.cli_process import omni
from tests.postgres import MISSING, programs

SERVER = shutil.which("redis-server")
PATH = "/v1/chat/completions"
ASK = {"model": "openai/gpt-4o-mini", "messages": [{"role": "user", "content": "Is all well?"}]}
PASSWORD = "hush-4711"


@dataclass
class Redis:
    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        assert SERVER is not None
        command = [SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*command, "--requirepass", PASSWORD, "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
        )
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("redis-server did not start")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    if SERVER is None:
        pytest.skip("redis-server is not on this machine")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    server = Redis(tmp_path, port)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def pair(tmp_path: Path, sim: Simulator, redis: Redis) -> Iterator[tuple[Served, Served]]:
    """Two gateways with nothing in common but Redis, as on two machines."""
    with _pair(tmp_path, sim, {"OMNI_REDIS_URL": redis.url}) as both:
        yield both


@pytest.fixture(params=["redis", "postgres"])
def either(
    tmp_path: Path, sim: Simulator, request: pytest.FixtureRequest
) -> Iterator[tuple[Served, Served]]:
    """The same, or with nothing but their database."""
    if request.param == "redis":
        env = {"OMNI_REDIS_URL": request.getfixturevalue("redis").url}
    elif programs() is None:
        pytest.skip(MISSING)
    else:
        env = {"OMNI_DATABASE_URL": DATABASES.seeded(tmp_path)}
    with _pair(tmp_path, sim, env) as both:
        yield both


@contextmanager
def _pair(tmp_path: Path, sim: Simulator, env: dict[str, str]) -> Iterator[tuple[Served, Served]]:
    options = Options(org=Quota(rpm=6, concurrency=2))
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with (
        serving(tmp_path / "one", sim, options, env=env) as one,
        serving(tmp_path / "two", sim, options, env=env) as two,
    ):
        yield one, two


def _ask(served: Served, **changes: object) -> httpx.Response:
    return httpx.post(served.url + PATH, json={**ASK, **changes}, timeout=20, trust_env=False)


def test_two_gateways_keep_one_rate(either: tuple[Served, Served]) -> None:
    answers = [_ask(served) for _ in range(5) for served in either]
    assert [a.status_code for a in answers] == [200] * 6 + [429] * 4
    assert answers[-1].json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 61


def test_two_gateways_keep_requests_at_once_together(either: tuple[Served, Served]) -> None:
    one, two = either
    one.sim.fault("slow-first:1.0", "*")
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda at=at: codes.append(_ask(at).status_code))
        for at in (one, two)
    ]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert [_ask(served).status_code for served in either] == [429, 429]
    for thread in threads:
        thread.join()
    one.sim.heal()
    assert codes == [200, 200]
    assert _ask(two).status_code == 200  # the places are free again


def test_an_outage_of_redis_is_none_of_the_gateway(
    pair: tuple[Served, Served],
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(meter_module, "_AWAY_S", 0.2)
    one = pair[0]
    assert _ask(one).status_code == 200
    redis.kill()
    # Each counts for itself until it is back: six a minute, no more.
    assert [_ask(one).status_code for _ in range(8)] == [200] * 6 + [429] * 2
    assert "each worker limits for itself" in caplog.text
    redis.start()
    time.sleep(0.3)
    codes = [_ask(served).status_code for _ in range(4) for served in pair]
    assert codes == [200] * 6 + [429] * 2
    assert "the limits are shared again" in caplog.text
    assert PASSWORD not in caplog.text


async def test_places_of_a_killed_gateway_are_given_up(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_counts, "_HELD_S", 2)
    monkeypatch.setattr(shared_counts, "_RENEW_S", 0.5)
    killed, living, other = (RedisCounts(redis.url) for _ in range(3))
    quota = Quota(concurrency=2)
    await killed.enter("org acme", quota, 0, Entry())
    kept = Entry()
    await living.enter("org acme", quota, 0, kept)
    with pytest.raises(Refused):
        await other.enter("org acme", quota, 0, Entry())
    await killed.close()  # says nothing to Redis of what is under way, as a dead one
    await asyncio.sleep(3.2)
    await other.enter("org acme", quota, 0, Entry())  # the dead one's place
    with pytest.raises(Refused):  # the living one's was renewed
        await other.enter("org acme", quota, 0, Entry())
    kept.leave()
    await asyncio.sleep(0.2)
    await other.enter("org acme", quota, 0, Entry())
    await living.close()
    await other.close()


async def test_tokens_are_counted_together(redis: Redis) -> None:
    one, two = RedisCounts(redis.url), RedisCounts(redis.url)
    entry = Entry()
    await one.enter("key k", Quota(tpm=100), 10, entry)
    entry.leave(95)
    await asyncio.sleep(0.2)
    with pytest.raises(Refused, match="100 tokens a minute") as refused:
        await two.enter("key k", Quota(tpm=100), 10, Entry())
    assert 0 < (refused.value.retry_after_s or 0) <= 60
    await one.close()
    await two.close()


async def test_a_database_keeps_tokens_and_gives_up_places_as_redis_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if programs() is None:
        pytest.skip(MISSING)
    url = DATABASES.url(tmp_path)
    monkeypatch.setattr(shared_counts, "_HELD_S", 0.8)
    monkeypatch.setattr(shared_counts, "_RENEW_S", 0.2)
    killed, living, other = (StoreCounts(LimitStore(url, {})) for _ in range(3))
    quota = Quota(concurrency=2)
    await killed.enter("org acme", quota, 0, Entry())
    kept = Entry()
    await living.enter("org acme", quota, 0, kept)
    with pytest.raises(Refused, match="2 requests under way"):
        await other.enter("org acme", quota, 0, Entry())
    await killed.close()
    await asyncio.sleep(1.2)
    await other.enter("org acme", quota, 0, Entry())  # the dead one's place
    with pytest.raises(Refused):  # the living one's was renewed
        await other.enter("org acme", quota, 0, Entry())
    entry = Entry()
    await living.enter("key k", Quota(tpm=100), 10, entry)
    assert b"x-ratelimit-remaining-tokens: 90" in entry.lines()
    entry.leave(95)
    await living.close()
    with pytest.raises(Refused, match="100 tokens a minute") as refused:
        await other.enter("key k", Quota(tpm=100), 10, Entry())
    assert 0 < (refused.value.retry_after_s or 0) <= 60
    await other.close()
    away = StoreCounts(LimitStore("postgresql://ann:hush@127.0.0.1:9/omni", {}))
    with pytest.raises(CountsAway, match=r"127\.0\.0\.1:9") as told:
        await away.enter("org ", Quota(rpm=1), 0, Entry())
    assert "hush" not in str(told.value)
    await away.close()


async def test_a_redis_that_hangs_is_away() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        counts = RedisCounts(f"redis://:{PASSWORD}@127.0.0.1:{silent.getsockname()[1]}")
        begun = time.monotonic()
        with pytest.raises(CountsAway) as away:
            await counts.enter("org ", Quota(rpm=1), 0, Entry())
        assert time.monotonic() - begun < 5
        assert PASSWORD not in str(away.value)
        await counts.close()


@pytest.mark.parametrize("url", ["localhost:6379", "http://h", "redis://", "redis://h:x1x"])
def test_a_wrong_address_is_told_before_serving(tmp_path: Path, url: str) -> None:
    env = {**os.environ, "OMNI_HOME": str(tmp_path), "OMNI_REDIS_URL": url}
    done = omni(env, "serve", "--port", "0")
    assert done.code == 3
    assert "OMNI_REDIS_URL is written redis://" in done.err
    assert "x1x" not in done.err


async def test_requests_at_once_in_memory_are_given_back() -> None:
    meter = Meter(Quota(concurrency=1))
    who = Principal(org="acme", key="k", quota=Quota(concurrency=2, rpm=50))
    for _ in range(5):
        entry = await meter.enter(who, 10)
        with pytest.raises(Refused, match="1 request under way"):
            await meter.enter(who, 10)  # and gives back its place among the key's two
        entry.leave(3)
