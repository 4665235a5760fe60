"""``omni dash --web`` in a real browser, headless: it draws, and keys arrive (E2)."""

import asyncio
import base64
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from tests.integration.test_tui_start import home, served

__all__ = ["home", "served"]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
#: It looks for nothing outside this machine, and runs as root.
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--remote-debugging-port=0", "--window-size=1100,700",
)  # fmt: skip

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed (apt-get install chromium)"
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[int]:
    """The port of a browser's developer tools."""
    profile = tmp_path / "profile"
    assert CHROMIUM is not None
    words = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                yield int((profile / "DevToolsActivePort").read_text().split()[0])
                break
            except (FileNotFoundError, IndexError):
                assert process.poll() is None, "the browser did not start"
                pause_for(process)
        else:
            raise AssertionError("the browser did not start in time")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def pause_for(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.1)


class Page:
    """One page, over the developer tools' protocol. ``seen``: what its web sockets received;
    ``asked``: every address that it asked for."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.seen = b""
        self.asked: list[str] = []

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while True:
            message = await self._next()
            if message.get("id") == number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def until(self, text: bytes) -> None:
        """Wait until the terminal was sent ``text``."""
        while text not in self.seen:
            await self._next()

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = await self._socket.receive_json()
        if message.get("method") == "Network.webSocketFrameReceived":
            frame = message["params"]["response"]
            text = frame["payloadData"]
            self.seen += text.encode() if frame["opcode"] == 1 else base64.b64decode(text)
        elif message.get("method") == "Network.requestWillBeSent":
            self.asked.append(message["params"]["request"]["url"])
        elif message.get("method") == "Network.webSocketCreated":
            self.asked.append(message["params"]["url"])
        return message


@asynccontextmanager
async def opened(tools: int, url: str, *, phone: bool = False) -> AsyncIterator[Page]:
    async with aiohttp.ClientSession() as session:
        made = await session.get(f"http://127.0.0.1:{tools}/json/list")
        target = next(t for t in await made.json() if t["type"] == "page")
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            # Headless, nobody brings the window to the front.
            await page.call("Emulation.setFocusEmulationEnabled", enabled=True)
            if phone:
                await page.call(
                    "Emulation.setDeviceMetricsOverride",
                    width=390, height=844, deviceScaleFactor=1, mobile=True,
                )  # fmt: skip
            await page.call("Network.enable")
            await page.call("Page.enable")
            await page.call("Page.navigate", url=url)
            yield page


async def test_it_draws_and_follows_the_keys(browser: int, served: int) -> None:
    async with asyncio.timeout(60), opened(browser, f"http://127.0.0.1:{served}/") as page:
        await page.until(b"Kimi K2.5")
        await page.until(b"Tiles/table")  # tui.md 20: its keys came with the first key only
        drawn = await page.call(
            "Runtime.evaluate",
            expression="document.querySelectorAll('.xterm canvas, .xterm-rows > div').length",
        )
        assert drawn["result"]["value"] > 0
        page.seen = b""
        key = {"key": "2", "code": "Digit2", "text": "2", "windowsVirtualKeyCode": 50}
        await page.call("Input.dispatchKeyEvent", type="keyDown", **key)
        await page.call("Input.dispatchKeyEvent", type="keyUp", **key)
        await page.until(b"Anthropic (simulator)")
        picture = await page.call("Page.captureScreenshot")
        keep(picture["data"], "web-1100x700.png")


def keep(picture: str, name: str) -> None:
    """Where TUI_PICTURES names a folder, a person can look at it there."""
    data = base64.b64decode(picture)
    assert data.startswith(b"\x89PNG")
    if folder := os.environ.get("TUI_PICTURES"):
        (Path(folder) / name).write_bytes(data)


async def test_on_a_phone_it_fits_and_nothing_leaves_this_machine(
    browser: int, served: int
) -> None:
    """tui.md 20: the page asked a font service for its font, and had neither title nor icon."""
    url = f"http://127.0.0.1:{served}/"
    async with asyncio.timeout(60), opened(browser, url, phone=True) as page:
        await page.until(b"Kimi K2.5")
        await asyncio.sleep(0.5)
        found = await page.call(
            "Runtime.evaluate",
            returnByValue=True,
            expression="""({
                title: document.title,
                icon: document.querySelector("link[rel=icon]").href,
                fonts: [...document.fonts].map((font) => font.status),
                wide: document.documentElement.scrollWidth,
                drawn: document.querySelector(".xterm-screen").clientWidth,
            })""",
        )
        value = found["result"]["value"]
        picture = await page.call("Page.captureScreenshot")
        keep(picture["data"], "web-phone.png")
    assert value["title"] == "omni"
    assert value["fonts"] == ["loaded", "loaded"]
    assert value["wide"] <= 390
    assert 300 <= value["drawn"] <= 390
    size = next(parse_qs(urlsplit(u).query) for u in page.asked if u.startswith("ws:"))
    assert int(size["width"][0]) >= 55
    hosts = {urlsplit(u).netloc for u in page.asked if not u.startswith(("data:", "about:"))}
    assert hosts == {f"127.0.0.1:{served}"}
    async with aiohttp.ClientSession() as session, session.get(value["icon"]) as icon:
        assert icon.status == 200


async def test_it_says_that_it_ended_and_starts_again(browser: int, served: int) -> None:
    async with asyncio.timeout(60), opened(browser, f"http://127.0.0.1:{served}/") as page:
        await page.until(b"Kimi K2.5")
        key = {"key": "q", "code": "KeyQ", "text": "q", "windowsVirtualKeyCode": 81}
        await page.call("Input.dispatchKeyEvent", type="keyDown", **key)
        shown = ""
        while "has ended" not in shown:
            said = await page.call(
                "Runtime.evaluate", expression="document.getElementById('said').innerText"
            )
            shown = said["result"]["value"]
            await asyncio.sleep(0.1)
        page.seen = b""
        await page.call("Runtime.evaluate", expression="document.getElementById('again').click()")
        await page.until(b"Kimi K2.5")
