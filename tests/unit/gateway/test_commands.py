"""Commands from afar: who may only look keeps nobody out who changes something."""

import asyncio
import json
import subprocess
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from omni_cli.bootstrap import App
from omni_cli.gateway.auth import Principal
from omni_cli.gateway.commands import Commands
from omni_cli.http.request import Request

pytestmark = pytest.mark.usefixtures("engine")


class Asked:
    """A request, as far as a command reads it."""

    def __init__(self, *args: str) -> None:
        self._args = args
        self.told: Any = None

    async def body(self) -> bytes:
        return json.dumps({"args": self._args}).encode()

    async def json(self, told: Any) -> None:
        self.told = told


async def test_looking_leaves_room_for_changing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends, running = threading.Event(), []

    def run(words: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        running.append(words[4:6])
        if words[4:6] == ["models", "list"]:
            ends.wait(10)  # as one over a ledger of years
        return subprocess.CompletedProcess(words, 0, b"", b"")

    monkeypatch.setattr(subprocess, "run", run)
    with App({"OMNI_HOME": str(tmp_path)}) as app:
        commands = Commands(app)

        async def ask(scope: str, *args: str) -> None:
            asked = cast("Request", Asked(*args))
            await commands.handle(asked, Principal(key=scope, scope=scope), {})

        looks = [asyncio.create_task(ask("read", "models", "list")) for _ in range(3)]
        await asyncio.sleep(0.1)
        await asyncio.wait_for(ask("admin", "models", "disable"), 5)
        assert running == [["models", "list"], ["models", "disable"]]
        ends.set()
        await asyncio.gather(*looks)
    assert len(running) == 4
