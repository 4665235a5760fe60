"""Deploys on a share of traffic and watched ones, against the simulator (A9, A10)."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect

ROLE = "primary_coder"
SONNET, GPT = "anthropic/claude-sonnet-4-20250514", "openai/gpt-4o"


@pytest.fixture
def fleet(home: Path, sim: Simulator) -> Path:
    connect(home, sim, roles=True)
    return home


@pytest.fixture
def document(omni: Omni, fleet: Path, tmp_path: Path) -> Path:
    """The fleet with another first model in one role."""
    values = tomllib.loads(omni("fleet", "export").out)
    values["roles"][ROLE]["models"] = [
        {"model": GPT, "priority": 1},
        {"model": SONNET, "priority": 2},
    ]
    return _write(tmp_path / "fleet.toml", values)


def _write(path: Path, values: dict[str, Any]) -> Path:
    path.write_bytes(tomli_w.dumps(values).encode())
    return path


def _ask(omni: Omni, count: int) -> list[str]:
    """Who answered."""
    found = []
    for _ in range(count):
        ran = omni("chat", "-m", f"role:{ROLE}", "--json", "Is all well?")
        found.append(ran.data["model_used"] if ran.code == 0 else "failed")
    return found


def _first(home: Path) -> str:
    with App({"OMNI_HOME": str(home)}) as app:
        return app.fleet.role(ROLE).models[0].model


def test_the_first_deploy_of_all_goes_back_to_an_empty_fleet(omni: Omni, tmp_path: Path) -> None:
    lab = {"name": "Lab", "protocol": "openai", "base_url": "http://127.0.0.1:9/v1"}
    file = _write(tmp_path / "first.toml", {"providers": {"lab": lab}})
    watched = ("--rollback-if", "successRate < 0.95", "--yes")
    assert omni("apply", str(file), *watched).code == 0
    assert "lab" in omni("fleet", "export").out
    ran = omni("deploy", "abort")
    assert (ran.code, "empty fleet" in ran.out + ran.err) == (0, True), ran.err
    assert "lab" not in omni("fleet", "export").out


def test_a_canary_gets_its_share_and_is_promoted(omni: Omni, fleet: Path, document: Path) -> None:
    before = omni("fleet", "export").out
    assert omni("apply", str(document), "--share", "40%", "--yes").code == 0
    assert omni("fleet", "export").out == before
    answered = _ask(omni, 30)
    assert 2 <= answered.count(GPT) <= 25
    assert set(answered) == {GPT, SONNET}
    (status,) = omni("deploy", "status", "--json").data
    assert (status["state"], status["share"], status["roles"]) == ("canary", 0.4, [ROLE])
    assert status["calls"] == answered.count(GPT)
    second = omni("apply", str(document), "--share", "10%", "--yes")
    assert second.code == 2
    assert "running" in second.err or "under way" in second.err
    assert omni("deploy", "promote").code == 0
    assert _first(fleet) == GPT
    assert set(_ask(omni, 3)) == {GPT}
    assert omni("deploy", "status", "--json").data == []
    assert omni("ab", "status", "--json").data == []
    assert omni("deploy", "promote").code == 1


def test_a_canary_that_fails_goes_back_by_itself(
    omni: Omni, fleet: Path, sim: Simulator, document: Path
) -> None:
    assert (
        omni("apply", str(document), "--share", "50%", "--rollback-if", "p95 > 400", "--yes").code
        == 0
    )
    sim.fault("slow-first:0.6", "openai/*")
    told = ""
    for _ in range(40):
        told += omni("chat", "-m", f"role:{ROLE}", "Is all well?").err
        if "canary 1 ended" in told:
            break
    assert "p95 > 400 is shown" in told
    assert _first(fleet) == SONNET
    (ended,) = omni("deploy", "status", "--all", "--json").data
    assert ended["state"] == "rolled_back"
    assert omni("ab", "status", "--json").data == []


def test_a_watched_deploy_goes_back_to_the_byte(
    omni: Omni, fleet: Path, sim: Simulator, document: Path
) -> None:
    before = omni("fleet", "export").out
    condition = "successRate < 0.95 || costPerRequest > 5"
    assert omni("apply", str(document), "--rollback-if", condition, "--yes").code == 0
    assert _first(fleet) == GPT
    omni("config", "set", "chat.max_retries", "0")
    sim.fault("500", "*")
    for _ in range(12):
        omni("chat", "-m", GPT, "Is all well?")
    sim.heal()
    assert omni("watch", "--once").code == 0
    assert omni("fleet", "export").out == before
    (ended,) = omni("deploy", "status", "--all", "--json").data
    assert ended["state"] == "rolled_back"
    assert "successRate < 0.95 is shown" in ended["reason"]
    newest = omni("history", "--json").data[0]
    assert "rollback.automatic" in str(newest)
    assert omni("audit", "--verify").code == 0


def test_later_changes_are_not_thrown_away(
    omni: Omni, fleet: Path, sim: Simulator, document: Path
) -> None:
    assert omni("apply", str(document), "--rollback-if", "errorRate > 0.05", "--yes").code == 0
    assert omni("roles", "assign", "writer", GPT).code == 0
    omni("config", "set", "chat.max_retries", "0")
    sim.fault("500", "*")
    told = "".join(omni("chat", "-m", GPT, "x").err for _ in range(12))
    assert "not rolled back, because the fleet was changed since" in told
    assert _first(fleet) == GPT
    (ended,) = omni("deploy", "status", "--all", "--json").data
    assert ended["state"] == "left"


def test_a_revision_that_is_gone_is_no_empty_fleet(
    omni: Omni, fleet: Path, sim: Simulator, document: Path
) -> None:
    assert omni("apply", str(document), "--rollback-if", "errorRate > 0.05", "--yes").code == 0
    applied = omni("fleet", "export").out
    base = omni("history", "--json").data[1]["number"]
    with App({"OMNI_HOME": str(fleet)}) as app, app.store.transaction() as db:
        db.execute("DELETE FROM revisions WHERE number = ?", (base,))
    omni("config", "set", "chat.max_retries", "0")
    sim.fault("500", "*")
    told = "".join(omni("chat", "-m", GPT, "x").err for _ in range(12))
    assert f"revision {base} is not kept any more" in told
    assert omni("fleet", "export").out == applied


def test_a_deploy_that_does_no_harm_stands(omni: Omni, fleet: Path, document: Path) -> None:
    done = omni(
        "apply", str(document), "--rollback-if", "errorRate > 0.05", "--for", "30m", "--yes"
    )
    assert done.code == 0
    _ask(omni, 3)
    assert omni("deploy", "status", "--json").data[0]["state"] == "watching"
    with App({"OMNI_HOME": str(fleet)}) as app, app.store.transaction() as db:
        db.execute("UPDATE deploys SET until_at = started_at")
    assert omni("watch", "--once").code == 0
    (ended,) = omni("deploy", "status", "--all", "--json").data
    assert (ended["state"], ended["reason"]) == ("held", "its time is over")
    assert _first(fleet) == GPT


def test_a_canary_is_aborted(omni: Omni, fleet: Path, document: Path) -> None:
    assert omni("apply", str(document), "--share", "50%", "--yes").code == 0
    assert omni("deploy", "abort").code == 0
    assert set(_ask(omni, 5)) == {SONNET}


def test_what_cannot_be_tried_on_a_share_is_refused_whole(
    omni: Omni, fleet: Path, document: Path, tmp_path: Path
) -> None:
    values = tomllib.loads(document.read_text())
    values["budgets"] = {"all per day": {}}
    chains = tomllib.loads(document.read_text())
    del chains["chains"]["Fast Chain"]
    ran = omni("apply", str(_write(tmp_path / "b.toml", chains)), "--share", "10%", "--yes")
    assert ran.code == 2
    assert "cannot be tried on a share" in ran.err
    for option, value in (("--rollback-if", "p95 < 3"), ("--share", "200%")):
        assert omni("apply", str(document), option, value, "--yes").code == 2
    assert omni("apply", str(document), "--for", "1h", "--yes").code == 2
    assert omni("deploy", "status", "--json").data == []
    assert omni("ab", "status", "--json").data == []
    assert _first(fleet) == SONNET
