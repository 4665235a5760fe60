"""Group commit on the event loop: who is told what, and when."""

import asyncio
import itertools
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.batch import Batch
from omni_cli.domain.errors import StoreError
from omni_cli.services.engine import commits as commits_module
from omni_cli.services.engine.commits import Commits
from omni_cli.store.writer import Writer


async def test_a_job_is_told_of_once_it_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction that fails after its jobs ran runs them again; nobody is told before."""
    monkeypatch.setattr(commits_module, "_BROKEN_S", 0.05)
    with App({"OMNI_HOME": str(tmp_path)}, durable=False) as app:
        writer = Writer(app.store, app.ledger)
        write, runs, told = writer.write, list[str](), list[str]()

        def failing(batch: Batch) -> None:
            if len(runs) == 0 and batch.jobs:

                def fail() -> None:
                    raise StoreError("the disk is full")

                write(Batch(jobs=[*batch.jobs, fail]))  # within the transaction, after the job
            write(batch)

        monkeypatch.setattr(writer, "write", failing)
        ids = itertools.count(1)
        commits = Commits(writer, new_id=lambda: next(ids), note=told.append)

        def job() -> None:
            runs.append("run")
            app.store.set_meta("job", str(len(runs)))

        waiting = asyncio.ensure_future(commits.within(job))
        await asyncio.sleep(0.02)
        assert runs == ["run"]
        assert app.store.get_meta("job") is None  # rolled back
        assert not waiting.done()
        await waiting
        assert (runs, app.store.get_meta("job")) == (["run", "run"], "2")
        assert len(told) == 1
        await commits.close()
