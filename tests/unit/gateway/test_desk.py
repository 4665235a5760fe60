"""The desk's jobs, and its end (gateway/desk.py)."""

import asyncio
import threading
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.errors import StoreError
from omni_cli.gateway.desk import Desk

pytestmark = pytest.mark.usefixtures("engine")


async def test_it_ends_after_the_job_under_way_though_nobody_waits_for_that(tmp_path: Path) -> None:
    """A connection that is closed while a thread uses it takes the whole process with it."""
    with App({"OMNI_HOME": str(tmp_path)}) as app:
        desk, begun, go_on = Desk(app), threading.Event(), threading.Event()
        done: list[int] = []

        def job(omni: App) -> None:
            begun.set()
            go_on.wait(5)
            done.append(len(omni.budgets.all()))

        asked = asyncio.ensure_future(desk.do(job))
        await asyncio.to_thread(begun.wait, 5)
        asked.cancel()
        await asyncio.sleep(0)
        threading.Timer(0.05, go_on.set).start()
        desk.close()
        assert done == [0]
        with pytest.raises(StoreError):
            await desk.do(job)
