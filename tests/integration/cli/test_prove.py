"""``omni recommend --prove``: a recommendation tried on the user's own stored questions (D3)."""

from decimal import Decimal
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect

SONNET, JUDGE = "anthropic/claude-sonnet-4-20250514", "openai/gpt-4o"


def _asked(sim: Simulator) -> int:
    return sum(n for path, n in sim.stats()["by_path"].items() if not path.endswith("/models"))


@pytest.fixture
def advised(omni: Omni, home: Path, sim: Simulator) -> int:
    """A recommendation to leave a dear model, with 24 of its answered questions stored."""
    connect(home, sim, roles=True)
    assert omni("config", "set", "general.premium_model", SONNET).code == 0
    for number in range(24):
        asked = f"Write twenty words about topic {number % 20}."
        assert omni("chat", "-m", "role:primary_coder", "--task", "chat", asked).code == 0
    found = omni("recommend", "--json").data
    (advice,) = [a for a in found if a["type"] in ("cheaper_model", "repetitive_traffic")]
    assert advice["current"]["model"] == SONNET
    assert advice["proof"] is None
    return int(advice["id"])


def test_only_the_candidate_is_asked_and_the_verdict_is_kept(
    omni: Omni, home: Path, sim: Simulator, advised: int
) -> None:
    before = _asked(sim)
    ran = omni("recommend", "--prove", str(advised), "--sample", "8", "--judge", JUDGE, "--json")
    assert ran.code == 0, ran.err
    data = ran.data
    # Eight questions to the candidate, and two readings of each by the judge.
    assert _asked(sim) - before == 8 + 16
    assert "your own questions" in data["verdict"]
    assert float(data["spent_usd"]) > 0
    with App({"OMNI_HOME": str(home)}) as app:
        rows = app.ledger.recent(limit=100)
        spent = sum(r.total_nusd or 0 for r in rows if r.source in ("compare", "judge"))
    assert Decimal(data["spent_usd"]) * 10**9 == spent
    again = omni("recommend", "show", str(advised), "--json").data
    assert again["proof"] == data["verdict"]
    assert data["verdict"] in omni("recommend", "show", str(advised)).out


def test_a_stopped_proof_goes_on_without_paying_twice(
    omni: Omni, home: Path, sim: Simulator, advised: int
) -> None:
    before = _asked(sim)
    poor = omni("recommend", "--prove", str(advised), "--max-cost", "0.0000001", "--judge", JUDGE)
    assert poor.code == 4
    assert "nothing was sent" in poor.err
    assert _asked(sim) == before
    sim.fault("503", "*")
    assert omni("recommend", "--prove", str(advised), "--judge", JUDGE).code in (0, 5)
    assert omni("recommend", "show", str(advised), "--json").data["proof"] is None
    sim.heal()
    with App({"OMNI_HOME": str(home)}) as app, app.store.transaction() as db:
        db.execute("DELETE FROM breakers")  # as after their time has passed
    assert omni("recommend", "--prove", str(advised), "--judge", JUDGE).code == 0
    with App({"OMNI_HOME": str(home)}) as app:
        proofs = [r for r in app.comparisons.recent() if r.plan["name"].startswith("proof")]
        answers = app.comparisons.results(proofs[0].id)
    assert len(proofs) == 1
    assert len(answers) == 40
    assert {a.state for a in answers} == {"ok"}


def test_without_a_judge_likeness_is_told_as_what_it_is(
    omni: Omni, sim: Simulator, advised: int
) -> None:
    """The premium model is the one in question, so it does not judge itself."""
    data = omni("recommend", "--prove", str(advised), "--sample", "6", "--json").data
    assert "likeness of words is not quality" in data["verdict"]


def test_nothing_stored_nothing_proved(
    omni: Omni, home: Path, sim: Simulator, advised: int
) -> None:
    with App({"OMNI_HOME": str(home)}) as app, app.store.transaction() as db:
        db.execute("DELETE FROM turns")
    ran = omni("recommend", "--prove", str(advised))
    assert ran.code == 2
    assert "0 questions of role primary_coder" in ran.err
    assert "chat.keep_conversations" in ran.err
    assert omni("recommend", "--prove", "999").code != 0


def test_nobody_judges_its_own_answers(omni: Omni, advised: int) -> None:
    ran = omni("recommend", "--prove", str(advised), "--judge", SONNET)
    assert ran.code == 2
    assert "would judge its own answers" in ran.err
