"""Two machines and one bare repository: fleet and usage meet, exactly, and nothing secret (A10)."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.analytics import Totals, sum_totals
from omni_cli.domain.chat import Message
from omni_cli.domain.errors import Busy, ConfigError, NotFound, UsageError
from omni_cli.domain.record import replace
from omni_cli.services.fleet.sync import usage_document
from omni_cli.services.money.report_documents import totals_document
from omni_cli.services.money.usage import UsageQuery
from tests.conftest import CHEAP, FREE, GOOD
from tests.integration.cli_process import omni
from tests.integration.test_recommend import spend

PLANTED = ("sk-ant-PLANTED0123456789abcdefghijklmnop", "the secret prompt of two machines")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    folder = tmp_path / "remote.git"
    subprocess.run(["git", "init", "-q", "--bare", str(folder)], check=True)
    return folder


@pytest.fixture
def two(fleet_template: Path, tmp_path: Path, remote: Path) -> Iterator[tuple[App, App]]:
    """Two homes with the small fleet, both set up to sync."""
    apps = []
    for name in ("desk", "laptop"):
        home = tmp_path / name
        shutil.copytree(fleet_template, home)
        app = App({"OMNI_HOME": str(home), "USER": name, "OMNI_MACHINE": name})
        app.sync.init(str(remote))
        apps.append(app)
    yield apps[0], apps[1]
    for app in apps:
        app.close()


def files(remote: Path, tmp_path: Path) -> dict[str, str]:
    seen = tmp_path / "seen"
    shutil.rmtree(seen, ignore_errors=True)
    subprocess.run(["git", "clone", "-q", "-b", "main", str(remote), str(seen)], check=True)
    return {
        path.relative_to(seen).as_posix(): path.read_text()
        for path in seen.rglob("*")
        if path.is_file() and ".git" not in path.parts
    }


def test_fleets_meet(two: tuple[App, App]) -> None:
    desk, laptop = two
    assert desk.sync.sync().sent
    first = laptop.sync.sync()
    assert not first.pulled
    desk.fleet.assign_role("writer", CHEAP, 1)
    laptop.fleet.assign_role("heartbeat", FREE, 1)
    assert desk.sync.sync().pushed
    done = laptop.sync.sync()
    assert [(c.kind, c.name) for c in done.pulled] == [("add", "writer")]
    assert [(c.kind, c.name) for c in done.pushed] == [("add", "heartbeat")]
    assert [(c.kind, c.name) for c in desk.sync.sync().pulled] == [("add", "heartbeat")]
    assert desk.fleet.document() == laptop.fleet.document()
    assert not desk.sync.sync().sent
    laptop.fleet.remove_role("writer")
    laptop.sync.sync()
    assert [(c.kind, c.name) for c in desk.sync.sync().pulled] == [("remove", "writer")]


@pytest.mark.parametrize(("prefer", "winner"), [("mine", CHEAP), ("theirs", FREE)])
def test_what_both_changed_is_told_and_settled(
    two: tuple[App, App], prefer: str, winner: str
) -> None:
    desk, laptop = two
    desk.sync.sync()
    laptop.sync.sync()
    desk.fleet.assign_role("reviewer", FREE, 1)
    desk.fleet.unassign_role("reviewer", GOOD)
    desk.sync.sync()
    laptop.fleet.assign_role("reviewer", CHEAP, 1)
    laptop.fleet.unassign_role("reviewer", GOOD)
    laptop.fleet.assign_role("writer", GOOD, 1)
    before = laptop.fleet.document()
    shown = omni(dict(laptop.env) | {"PATH": "/usr/bin:/bin", "PYTHONPATH": "."}, "sync")
    assert shown.code == 1
    assert "both changed role reviewer" in shown.out
    assert CHEAP in shown.out
    assert FREE in shown.out
    (conflict,) = laptop.sync.sync().conflicts
    assert (conflict.section, conflict.name) == ("roles", "reviewer")
    assert laptop.fleet.document() == before
    assert not laptop.sync.sync(prefer).conflicts  # type: ignore[arg-type]  # one of Side
    desk.sync.sync()
    for app in two:
        assert [m.model for m in app.fleet.role("reviewer").models] == [winner]
        assert [m.model for m in app.fleet.role("writer").models] == [GOOD]


def test_a_conflict_in_a_long_list_shows_what_differs(two: tuple[App, App]) -> None:
    desk, laptop = two
    desk.sync.sync()
    laptop.sync.sync()
    desk.fleet.assign_role("reviewer", FREE, 2)
    desk.sync.sync()
    laptop.fleet.assign_role("reviewer", CHEAP, 2)
    (conflict,) = laptop.sync.sync().conflicts
    before = f"models: {GOOD} (priority 1) → {GOOD} (priority 1)"
    assert conflict.mine[-1].strip() == f"{before}, {CHEAP} (priority 2)"
    assert conflict.theirs[-1].strip() == f"{before}, {FREE} (priority 2)"


def test_usage_adds_up_to_the_nano_dollar(two: tuple[App, App]) -> None:
    desk, laptop = two
    spend(desk, CHEAP, role="r", task="chat", day=0, calls=7, tokens=(101, 13), failed=2)
    spend(laptop, CHEAP, role="r", task="chat", day=0, calls=5, tokens=(103, 17))
    desk.sync.sync()
    laptop.sync.sync()
    spend(laptop, GOOD, role="r", task="coding", day=-40, calls=3, tokens=(11, 7))
    laptop.sync.sync()
    desk.sync.sync()
    laptop.sync.sync()
    own = [sum_totals(app.reports.totals(0, 99_999_999).values()) for app in two]
    for app in two:
        found = app.sync.usage()
        assert found == {desk.sync.machine: own[0], laptop.sync.machine: own[1]}
        by_model = app.sync.usage("model")
        assert sum_totals(by_model.values()) == own[0] + own[1]
        assert by_model[GOOD].calls == 3
        assert app.sync.machine_names()[laptop.sync.machine] == "laptop"
    # Not yet synced: this machine's own usage counts at once.
    spend(desk, CHEAP, role="r", task="chat", day=1, calls=1, tokens=(1, 1))
    assert desk.sync.usage()[desk.sync.machine].calls == own[0].calls + 1
    with pytest.raises(UsageError):
        desk.sync.usage("prompt")


def test_the_sums_are_what_usage_tells_and_unknown_is_null(two: tuple[App, App]) -> None:
    desk, _ = two
    spend(desk, CHEAP, role="r", task="chat", day=0, calls=2, tokens=(101, 13))
    desk.sync.sync()
    (row,) = usage_document("machine", desk.sync.usage(), desk.sync.machine_names())["rows"]
    report = desk.usage.report(UsageQuery(period="30d"))
    assert {**totals_document(report.total.totals), **row} == row
    assert row["cost_usd"] is not None
    nobody_knows = Totals(calls=1, ok=1, attempts=1, unknown_attempts=1)
    told = usage_document("machine", {"m": nobody_knows}, {})
    assert told["rows"][0]["cost_usd"] is told["total"]["cost_usd"] is None


def test_a_faster_machine_is_waited_for(
    two: tuple[App, App], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other machine pushes between this one's pull and push."""
    desk, laptop = two
    desk.sync.sync()
    laptop.sync.sync()
    desk.fleet.assign_role("writer", CHEAP, 1)
    laptop.fleet.assign_role("heartbeat", FREE, 1)
    laptop.sync.sync()
    clone = desk.sync.clone
    push = clone.push
    turns = []

    def late(message: str) -> bool | None:
        turns.append(message)
        if len(turns) == 1:
            laptop.fleet.assign_role("heartbeat", CHEAP, 2)  # what desk has just pulled
            laptop.sync.sync()
        return push(message)

    monkeypatch.setattr(clone, "push", late)
    done = desk.sync.sync()
    assert len(turns) == 2
    assert not done.conflicts
    assert [(c.kind, c.name) for c in done.pulled] == [
        ("add", "heartbeat"),
        ("change", "heartbeat"),
    ]
    laptop.sync.sync()
    assert desk.fleet.document() == laptop.fleet.document()


def test_nothing_secret_leaves(two: tuple[App, App], remote: Path, tmp_path: Path) -> None:
    desk, _ = two
    desk.env = {**desk.env, "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring"}
    desk.keys.keep("openai", PLANTED[0])
    spend(desk, CHEAP, role=PLANTED[0], task="chat", day=0, calls=1, tokens=(10, 10))
    request = next(desk.ledger.recent(limit=1)).id
    desk.conversations.create(request, at_ms=1, title=PLANTED[1])
    desk.conversations.append(
        request, [Message.text_of("user", PLANTED[1])], request=request, at_ms=1
    )
    desk.sync.sync()
    found = files(remote, tmp_path)
    assert {"fleet.toml", "README.md"} < set(found)
    assert len([name for name in found if name.endswith(".jsonl")]) == 1
    for text in found.values():
        assert not any(secret in text for secret in PLANTED)


def test_a_fleet_with_a_key_in_it_is_kept_at_home(two: tuple[App, App]) -> None:
    desk, _ = two
    provider = desk.fleet.provider("openai")
    desk.providers.put(replace(provider, headers={"x-note": PLANTED[0]}))
    with pytest.raises(ConfigError, match="looks like a key"):
        desk.sync.sync()


def test_what_goes_wrong_is_said(
    two: tuple[App, App], tmp_path: Path, remote: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk, laptop = two
    with pytest.raises(UsageError, match="password"):
        desk.sync.init("https://user:word@example.org/x.git")
    with pytest.raises(ConfigError, match="git clone failed"):
        desk.sync.init(str(tmp_path / "nowhere"))
    spend(desk, CHEAP, role="r", task="chat", day=0, calls=1, tokens=(1, 1))
    desk.sync.sync()
    laptop.sync.sync()
    with desk.sync.clone.locked(), pytest.raises(Busy):
        desk.sync.sync()
    (name,) = laptop.sync.clone.names("usage/*/*.jsonl")
    laptop.sync.clone.write(name, '{"day": "2026-07-01", "calls": 1.5}\n')
    with pytest.raises(ConfigError, match="line 1"):
        laptop.sync.usage()
    shutil.rmtree(remote)
    with pytest.raises(ConfigError, match="git fetch failed"):
        desk.sync.sync()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="not installed"):
        desk.sync.sync()
    with App({"OMNI_HOME": str(tmp_path / "new")}) as fresh, pytest.raises(NotFound):
        fresh.sync.sync()
