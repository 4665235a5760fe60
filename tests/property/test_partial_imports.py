"""C7 as a property: however logs come to be there, and however often they are read meanwhile, the
ledger holds in the end what one reading of all of them gives."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.importers import Marks, importers, load
from omni_cli.importers.logs import Found, Reading
from tests.unit.importers.support import IMPORTS

#: Samples as the tool's own folders have them.
PLACES = [
    (tool, sample.relative_to(IMPORTS).as_posix())
    for tool in importers
    for sample in sorted((IMPORTS / tool).glob("*"))
    if sample.is_dir() or sample.name != "expected.json"
]
STEPS = 4


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stores without a catalogue: tokens are compared, and what the tools say of cost."""
    monkeypatch.setattr(App, "_seed", lambda _self, store: store.set_meta("zone", "UTC"))


def told(app: App) -> Counter[tuple[object, ...]]:
    """All but when: an answer that was read while it was streamed keeps its first line's time."""
    return Counter(
        (row.model, row.usage, row.total_nusd, row.session, row.agent)
        for row in app.ledger.recent(limit=100_000)
    )


def bring_in(app: App, tool: str, folder: Path, *, whole: bool) -> None:
    """As ``omni import TOOL`` does of its usual place, or, ``whole``, of a path that is named."""
    if whole:
        app.importing.apply(app.importing.plan(tool, load(tool, [folder]).calls))
        return
    known = app.log_files.states(tool)
    marks = Marks(known, lambda paths: app.log_files.of(tool, paths))
    batch = load(tool, [folder], marks=marks)
    plan = app.importing.plan(tool, batch.calls)
    app.logs.keep(Reading(Found(importers[tool], (folder,), None), batch, plan, marks))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("tool", "sample"), PLACES, ids=lambda value: str(value))
def test_partial_and_repeated_runs_come_to_what_one_does(
    tmp_path: Path, bare: None, tool: str, sample: str, seed: int
) -> None:
    source, rng = IMPORTS / sample, random.Random(seed)
    root = source if source.is_dir() else source.parent
    files = [p for p in sorted(source.rglob("*")) if p.is_file()] if source.is_dir() else [source]
    with App({"OMNI_HOME": str(tmp_path / "one")}, cwd=tmp_path) as app:
        bring_in(app, tool, source, whole=True)
        once = told(app)
    here = tmp_path / "logs"
    with App({"OMNI_HOME": str(tmp_path / "many")}, cwd=tmp_path) as app:
        for _ in range(STEPS):
            for file in rng.sample(files, rng.randint(0, len(files))):
                copy = here / file.relative_to(root)
                copy.parent.mkdir(parents=True, exist_ok=True)
                if file.suffix == ".jsonl":  # it grows, and its last line may be cut
                    held = copy.stat().st_size if copy.exists() else 0
                    raw = file.read_bytes()
                    copy.write_bytes(raw[: rng.randint(held, len(raw))])
                else:
                    shutil.copyfile(file, copy)
            if here.exists():
                bring_in(app, tool, here, whole=rng.random() < 0.3)
        for file in files:
            (here / file.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, here / file.relative_to(root))
        for whole in (False, True, False):
            bring_in(app, tool, here, whole=whole)
        assert told(app) == once
