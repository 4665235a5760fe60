"""C3 from the command line: limits that hold, alerts told once, hints that work as written."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.integration.cli.conftest import Omni
from tests.integration.cli.money import Run, checked

SONNET = "anthropic/claude-sonnet-4-5"


@pytest.fixture
def run(omni: Omni, home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    return checked(omni)


@pytest.fixture
def store(home: Path, run: Run) -> Iterator[App]:
    with App({"OMNI_HOME": str(home), "TZ": "UTC"}) as app:
        yield app


@pytest.fixture
def fleet(run: Run, sim: Simulator) -> Run:
    """One simulated provider with one active model of a real price."""
    run("providers", "add", "anthropic", "--base-url", f"{sim.url}/anthropic", "--no-auth")
    run("models", "activate", SONNET)
    return run


def test_a_budget_is_set_changed_and_listed(run: Run) -> None:
    made = run("budgets", "set", "all", "$5", "--per", "day", "--alert", "80", "--json").data
    assert (made["limit_usd"], made["alerts_percent"], made["zone"]) == (
        "5",
        [80.0],
        "Asia/Kathmandu",
    )
    changed = run("budgets", "set", "all", "6", "--per", "day", "--stop", "90%", "--json").data
    assert changed == {**made, "limit_usd": "6", "stop_percent": 90.0}
    run("budgets", "set", "agent:bot", "1", "--per", "week", "--week-start", "sun", "--rollover")
    both = run("budgets", "list", "--json").data
    assert [(b["scope"], b["value"], b["week_start"]) for b in both] == [
        ("all", None, "monday"),
        ("agent", "bot", "sunday"),
    ]
    assert "rolls over" in run("budgets", "list").out


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (("everything", "5"), 2, "nothing that a budget can be for"),
        (("all:x", "5"), 2, "nothing that a budget can be for"),
        (("agent:", "5"), 2, "nothing that a budget can be for"),
        (("all", "five"), 2, "US dollars"),
        (("all", "-5"), 2, "No such option"),
        (("all", "5", "--per", "year"), 2, "per day, week, month"),
        (("all", "5", "--alert", "0"), 2, "--alert"),
        (("all", "5", "--alert", "x"), 2, "--alert"),
        (("all", "5", "--zone", "Mars/Base"), 2, "Mars/Base"),
        (("all", "5", "--week-start", "noday"), 2, "--week-start"),
        (("model:gpt-17", "5"), 1, "gpt-17"),
        (("provider:nobody", "5"), 1, "nobody"),
        (("role:nobody", "5"), 1, "nobody"),
    ],
)
def test_what_cannot_be_kept_is_refused(
    run: Run, args: tuple[str, ...], code: int, words: str
) -> None:
    ran = run("budgets", "set", *args, code=code)
    assert words in ran.err
    assert run("budgets", "list", "--json").data == []


def test_the_refusal_names_a_raise_that_is_enough(fleet: Run, store: App) -> None:
    fleet("budgets", "set", f"model:{SONNET}", "0.001", "--per", "day")
    refused = fleet("chat", "-m", SONNET, "--max-tokens", "2000", "hello", code=4)
    assert f"day budget of model {SONNET} has $0.001 left of $0.001" in refused.err
    assert "it resets on 20" in refused.err
    assert "+0545" in refused.err
    hint = re.search(r"omni (budgets raise \d+ --by \S+ --for 1d)", refused.err)
    assert hint is not None, refused.err
    fleet(*hint[1].split())
    fleet("chat", "-m", SONNET, "--max-tokens", "2000", "hello")
    state = fleet("budgets", "status", "--json").data[0]
    assert state["reserved_usd"] == "0"
    spent = store.store.db.execute("SELECT sum(cost_nusd) FROM attempts").fetchone()[0]
    assert state["spent_usd"] == f"{spent / 10**9:.9f}".rstrip("0")


def test_the_raise_is_enough_to_the_cent_with_a_lower_stop(fleet: Run) -> None:
    fleet("budgets", "set", "all", "0.01", "--stop", "37.5")
    refused = fleet("chat", "-m", SONNET, "--max-tokens", "3000", "hello", code=4)
    hint = re.search(r"--by (\S+)", refused.err)
    assert hint is not None
    cents = round(float(hint[1]) * 100)
    fleet("budgets", "raise", "1", "--by", f"{(cents - 2) / 100:.2f}", "--for", "1h")
    assert "answer is limited" in fleet("chat", "-m", SONNET, "--max-tokens", "3000", "hello").err
    fleet("budgets", "raise", "1", "--by", hint[1], "--for", "1h")
    whole = fleet("chat", "-m", SONNET, "--max-tokens", "3000", "hello")
    assert "answer is limited" not in whole.err


def test_alerts_are_told_once(fleet: Run) -> None:
    fleet("chat", "-m", SONNET, "hello there")
    fleet("budgets", "set", "all", "100", "--alert", "0.0001", "--alert", "90")
    told = fleet("chat", "-m", SONNET, "hello again")
    assert "alert at 0.0001%: the month budget of everything is 0% used" in told.err
    assert "alert" not in fleet("chat", "-m", SONNET, "and again").err
    # A raise leaves the counted money alone: what was told stays told.
    fleet("budgets", "raise", "1", "--by", "1", "--for", "1d")
    assert "alert" not in fleet("chat", "-m", SONNET, "and again").err
    fleet("budgets", "set", "all", "100", "--alert", "0.00005", "--alert", "0.0002")
    assert "alert at 0.0002%" in fleet("chat", "-m", SONNET, "more").err


def test_quiet_keeps_alerts_for_later(fleet: Run) -> None:
    fleet("budgets", "set", "all", "100", "--alert", "0.00001")
    assert fleet("chat", "-q", "-m", SONNET, "hello").err == ""
    assert "alert at" in fleet("chat", "-m", SONNET, "hello").err


def test_status_for_people_and_for_ci(fleet: Run) -> None:
    fleet("chat", "-m", SONNET, "hello")
    fleet("budgets", "set", "provider:anthropic", "0.05", "--per", "week")
    shown = fleet("budgets", "status").out
    assert re.search(r"#1 week budget of provider anthropic  [█▒░┊]+┃ \d+\.\d%", shown)
    assert " reserved" in shown
    assert "resets 20" in shown
    fleet("budgets", "status", "--fail-over", "80%")
    ran = fleet("budgets", "status", "--fail-over", "0", code=7)
    assert "used above 0%: week budget of provider anthropic" in ran.err
    assert fleet("budgets", "status", "--fail-over", "0", "--json", code=7).data[0]["state"] == "ok"


def test_what_was_spent_before_counts(fleet: Run) -> None:
    fleet("chat", "-m", SONNET, "hello")
    cost = fleet("logs", "--json").data[0]["cost_usd"]
    fleet("budgets", "set", "all", "1", "--per", "month")
    assert fleet("budgets", "status", "--json").data[0]["spent_usd"] == cost
    fleet("budgets", "disable", "1")
    fleet("chat", "-m", SONNET, "hello")
    assert fleet("budgets", "status", "--json").data == []
    fleet("budgets", "enable", "1")
    both = sum(float(row["cost_usd"]) for row in fleet("logs", "--json").data)
    assert float(fleet("budgets", "status", "--json").data[0]["spent_usd"]) == pytest.approx(both)


def test_imported_money_counts_and_its_estimated_part_shows(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "u.csv"
    # A sum of ten calls at a tiered price: an estimate.
    from datetime import UTC, datetime

    now = datetime.now(UTC).isoformat()
    path.write_text(
        "time,model,provider,input_tokens,output_tokens,requests\n"
        f"{now},gemini-2.5-pro,google,500000,0,10\n{now},gpt-4o,openai,100000,0,1\n"
    )
    run("budgets", "set", "all", "10", "--per", "month")
    run("import", "csv", str(path), "--yes")
    state = run("budgets", "status", "--json").data[0]
    assert (state["spent_usd"], state["estimated_usd"]) == ("0.875", "0.625")
    assert "$0.63 of it estimated" in run("budgets", "status").out


def test_changes_are_audited_and_roll_back(run: Run) -> None:
    run("budgets", "set", "all", "5", "--per", "day", "--rollover")
    before = run("budgets", "list", "--json").data
    number = run("history", "--json").data[0]["number"]
    run("budgets", "raise", "1", "--by", "2", "--until", "2999-01-01")
    assert run("budgets", "list", "--json").data[0]["raise_until"] == "2998-12-31T18:15:00.000Z"
    run("budgets", "remove", "1")
    assert run("budgets", "list", "--json").data == []
    actions = [entry["action"] for entry in run("audit", "--json").data]
    assert actions[:3] == ["budget.remove", "budget.raise", "budget.set"]
    run("rollback", str(number))
    after = run("budgets", "list", "--json").data
    assert [{**b, "id": 0} for b in after] == [{**b, "id": 0} for b in before]


def test_raise_and_others_refuse_nonsense(run: Run) -> None:
    run("budgets", "set", "all", "5")
    assert "no budget 7" in run("budgets", "remove", "7", code=1).err
    assert "say how long" in run("budgets", "raise", "1", "--by", "1", code=2).err
    assert "more than 0" in run("budgets", "raise", "1", "--by", "0", "--for", "1d", code=2).err
    late = run("budgets", "raise", "1", "--by", "1", "--until", "2001-01-01", code=2)
    assert "over already" in late.err
    assert "no date" in run("budgets", "raise", "1", "--by", "1", "--until", "soon", code=2).err


def test_a_new_budget_carries_nothing_over_from_before_it_was(run: Run) -> None:
    """The day before it existed was not saved up: the first day has the limit and no more."""
    run("budgets", "set", "all", "2", "--per", "day", "--rollover")
    (status,) = run("budgets", "status", "--json").data
    assert status["carried_usd"] == "0"
