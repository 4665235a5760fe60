"""How the TUI is opened: on a terminal, without one, and in a browser."""

import asyncio
import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.snapshot.scene import env_of, make_home

_REPO = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("start") / "omni"
    make_home(folder, past=False)
    return folder


def environment(home: Path) -> dict[str, str]:
    return {**env_of(home), "PATH": os.environ["PATH"], "PYTHONPATH": str(_REPO), "TERM": "xterm"}


def run(home: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "omni_cli", *words],
        env=environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("words", [(), ("dash",)], ids=["alone", "dash"])
def test_on_a_terminal_it_opens(home: Path, words: tuple[str, ...]) -> None:
    pid, handle = pty.fork()
    if pid == 0:
        os.execve(sys.executable, [sys.executable, "-m", "omni_cli", *words], environment(home))
    seen = b""
    deadline = time.monotonic() + 20
    while b"Kimi K2.5" not in seen:
        assert time.monotonic() < deadline, seen[-2000:]
        if select.select([handle], [], [], 0.1)[0]:
            seen += os.read(handle, 65_536)
    os.write(handle, b"q")
    while True:  # a terminal that nobody reads keeps the process from ending
        try:
            if not os.read(handle, 65_536):
                break
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(handle)


def test_without_a_terminal_omni_prints_its_help(home: Path) -> None:
    done = run(home)
    assert done.returncode == 0
    assert "Usage:" in done.stdout
    assert "dash" in done.stdout


def test_without_a_terminal_dash_says_what_to_do(home: Path) -> None:
    done = run(home, "dash")
    assert done.returncode == 2
    assert "omni dash --web" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "near"), [("--theme", "pink", "high-contrast"), ("--tab", "x", "fleet")]
)
def test_a_wrong_name_is_refused_with_the_right_ones(
    home: Path, option: str, value: str, near: str
) -> None:
    pid, handle = pty.fork()
    if pid == 0:
        words = [sys.executable, "-m", "omni_cli", "dash", option, value]
        os.execve(sys.executable, words, environment(home))
    seen = b""
    while True:
        try:
            seen += os.read(handle, 65_536)
        except OSError:
            break
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 2
    assert near in seen.decode()
    os.close(handle)


@pytest.fixture
def served(home: Path) -> Iterator[int]:
    """The port of an ``omni dash --web``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    words = [sys.executable, "-m", "omni_cli", "dash", "--web", "--port", str(port)]
    with subprocess.Popen(
        words, env=environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield port
        process.terminate()


async def test_in_a_browser_it_draws_the_same(served: int) -> None:
    """The tab bar and the fleet's first model arrive; the timeout is the test."""
    import aiohttp

    seen = b""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{served}/") as page:
            assert page.status == 200
            assert "<title>omni</title>" in await page.text()
        async with session.ws_connect(f"http://127.0.0.1:{served}/ws?width=100&height=30") as ws:
            async with asyncio.timeout(20):
                while b"Kimi K2.5" not in seen or b"Fleet" not in seen:
                    message = await ws.receive()
                    assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT)
                    if message.type is aiohttp.WSMsgType.BINARY:
                        seen += message.data


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Host": "evil.example"}], ids=["page", "name"]
)
async def test_other_sites_are_kept_out(served: int, headers: dict[str, str]) -> None:
    """Else any page that is open could press keys in it."""
    import aiohttp

    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(f"http://127.0.0.1:{served}/ws?width=80", headers=headers)
        assert refused.value.status == 403
