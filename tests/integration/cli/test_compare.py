"""``omni compare`` against the simulator: figures, money, resuming, faults (D2)."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
import xml.etree.ElementTree as ET
from decimal import Decimal
from pathlib import Path

import jsonschema
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.errors import BudgetExceeded
from omni_cli.domain.money import format_sum, usd_to_nusd
from omni_cli.domain.record import replace
from omni_cli.simulator import Simulator
from omni_cli.tui.comparing import Compared, title_text
from tests.integration.cli.conftest import Omni
from tests.integration.cli.fleet import connect
from tests.paths import REPO

GPT, DEEPSEEK, HAIKU = (
    "openai/gpt-4o",
    "deepseek/deepseek-chat",
    "anthropic/claude-3-haiku-20240307",
)
TWO = ("-m", GPT, "-m", DEEPSEEK)
SUMS = [("What is 12 * 12?", 144), ("What is 7 + 5?", 12), ("What is 9 - 3?", 6)]


@pytest.fixture
def fleet(home: Path, sim: Simulator) -> Path:
    connect(home, sim, roles=True)
    return home


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [{"prompt": p, "expect": e, "scorer": "numeric"} for p, e in SUMS]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def _calls(sim: Simulator) -> int:
    return sum(n for path, n in sim.stats()["by_path"].items() if not path.endswith("/models"))


def _ledger(home: Path) -> list[tuple[str, str, int]]:
    with App({"OMNI_HOME": str(home)}) as app:
        return [
            (row.source, row.state, row.total_nusd or 0) for row in app.ledger.recent(limit=1000)
        ]


def test_results_are_the_specs(omni: Omni, fleet: Path, suite: Path, sim: Simulator) -> None:
    data = omni("compare", "--suite", str(suite), *TWO, "-n", "2", "--json").data
    assert data["state"] == "complete"
    assert set(data["summary"]) == {"winner", "bestForCost", "bestForSpeed", "bestForAccuracy"}
    assert data["summary"]["bestForCost"] == DEEPSEEK
    detail = data["detailedResults"][GPT]
    assert detail["performance"]["accuracyScore"] == 1.0
    assert detail["performance"]["successRate"] == 1.0
    assert detail["performance"]["consistencyScore"] == 1.0
    assert detail["quality"] == {"accurateResults": 6, "partialResults": 0, "failedResults": 0}
    assert detail["cost"]["costPerRequest"] == pytest.approx(detail["cost"]["totalCost"] / 6)
    cheap = next(r for r in data["recommendations"] if r["modelId"] == DEEPSEEK)
    assert 0 < cheap["confidence"] < 1
    assert _calls(sim) == 12
    rows = _ledger(fleet)
    assert {row[0] for row in rows} == {"compare"}
    spent = sum(row[2] for row in rows)
    assert float(data["spent_usd"]) == pytest.approx(spent / 1e9)
    total = sum(d["cost"]["totalCost"] for d in data["detailedResults"].values())
    assert total == pytest.approx(spent / 1e9)


def test_roles_and_words_on_stdin(omni: Omni, fleet: Path) -> None:
    ran = omni("compare", "-m", "heartbeat", "-m", GPT, "--json", stdin="What is 2 + 2?")
    assert ran.data["models"] == ["role:heartbeat", GPT]
    assert {a["model"] for a in ran.data["answers"]} == {HAIKU, GPT}
    assert ran.data["detailedResults"][GPT]["performance"]["accuracyScore"] is None
    assert ran.data["summary"]["bestForAccuracy"] is None


def test_one_prompt_shows_no_difference(omni: Omni, fleet: Path) -> None:
    out = omni("compare", "Hello", *TWO).out
    assert "winner: no difference shown" in out
    assert "add prompts, or --iterations" in out


def test_failures_of_one_model_are_not_crowned(omni: Omni, fleet: Path) -> None:
    told = omni("compare", "a", "b", "-m", GPT, "--expect", "nope").out
    assert "winner: one model, nothing to compare it with" in told
    for praise in ("confidence", "fastest", "cheapest", "most accurate"):
        assert praise not in told
    data = omni("compare", "--show", "last", "--json").data
    assert set(data["summary"].values()) == {None}
    both = omni("compare", "a", "b", "c", *TWO, "--expect", "nope", "--json").data
    assert (both["summary"]["winner"], both["recommendations"]) == (None, [])
    assert both["statistics"]["noWinner"] == "no accurate answer"


def test_an_unknown_price_decides_nothing(omni: Omni, fleet: Path, suite: Path) -> None:
    with App({"OMNI_HOME": str(fleet), "USER": "t"}) as app:
        gpt = app.fleet.model(GPT)
        mystery = replace(gpt, id="openai/mystery", name="Mystery", aliases=())
        app.fleet.put_model(replace(mystery, is_system=False), set_fields=("name",))
    data = omni("compare", "--suite", str(suite), "-m", GPT, "-m", "openai/mystery", "--json").data
    assert data["summary"]["bestForCost"] is None
    winner = data["summary"]["winner"]
    assert winner in (None, data["summary"]["bestForSpeed"])
    for item in data["recommendations"]:
        assert item["confidence"] <= 1 - 1 / 5
    # What was spent names the part that nobody knows, in figures and in words.
    unknown = [row for row in data["answers"] if row["cost_usd"] is None]
    assert {row["model"] for row in unknown} == {"openai/mystery"}
    assert data["unknown_calls"] == len(unknown) > 0
    spent = format_sum(usd_to_nusd(Decimal(data["spent_usd"])), len(unknown))
    assert f"{spent} spent" in omni("compare", "--show", "last", "--report", "md").out
    with App({"OMNI_HOME": str(fleet), "USER": "t"}) as app:
        comparison, plan = app.compare.load("last")
        report = app.compare_reports.report(comparison, plan)
        shown = title_text(report, Compared(report, (), (), (), frozenset(), (), "UTC"), 120)
    assert spent.endswith("+ unknown")
    assert f"{spent} spent" in shown.plain


def test_unscored_answers_come_before_the_verdict(omni: Omni, fleet: Path) -> None:
    told = omni("compare", "What is 12 * 12?", *TWO).out
    assert 0 < told.index("[simulated gpt-4o] 144") < told.index("winner:")
    scored = omni("compare", "What is 12 * 12?", *TWO, "--expect", "144").out
    assert "[simulated" not in scored


def test_reports(omni: Omni, fleet: Path, suite: Path, tmp_path: Path) -> None:
    omni("compare", "--suite", str(suite), *TWO)
    markdown = omni("compare", "--show", "last", "--report", "md").out
    assert markdown.startswith("# Comparison sums")
    assert "> [simulated gpt-4o] 144" in markdown
    page = tmp_path / "report.html"
    omni("compare", "--show", "last", "-o", str(page))
    assert "<h3>What is 12 * 12?</h3>" in page.read_text()
    assert "<script" not in page.read_text()
    wrong = omni(
        "compare", "--show", "last", "--report", "junit", "--assert", f"{GPT}: accuracy > 2"
    )
    assert wrong.code == 7
    root = ET.fromstring(wrong.out)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("7", "1", "0")
    for part in (root, *root):  # dashboards add up what the suites say
        took = sum(float(case.get("time", "nan")) for case in part.iter("testcase"))
        assert float(part.get("time", "nan")) == pytest.approx(took, abs=0.01)
    stamp = r"20[2-9]\d-\d\d-\d\dT\d\d:\d\d:\d\d"
    assert all(re.fullmatch(stamp, part.get("timestamp", "")) for part in root)
    assert root.find(".//failure[@type='assertion']") is not None
    answers = omni("compare", "--show", "last", "--answers").out
    assert "[simulated deepseek-chat] 12" in answers


def test_assertions_decide_the_exit_code(omni: Omni, fleet: Path, suite: Path) -> None:
    good = "accuracy >= 0.9 && costPerRequest < 0.01"
    assert omni("compare", "--suite", str(suite), *TWO, "--assert", good).code == 0
    bad = omni("compare", "--show", "last", "--assert", "costPerRequest < 0.0000001")
    assert bad.code == 7
    assert GPT in bad.err
    one = omni("compare", "--show", "last", "--assert", f"{DEEPSEEK}: accuracy == 1", "--json")
    assert one.code == 0
    assert [a["holds"] for a in one.data["assertions"]] == [True]
    wrong = omni("compare", "x", *TWO, "--assert", "accuracy >")
    assert wrong.code == 2


def test_what_it_shows_routing_learns(omni: Omni, fleet: Path, suite: Path) -> None:
    omni("compare", "--suite", str(suite), *TWO)
    with App({"OMNI_HOME": str(fleet)}) as app:
        counts = app.learning.quality()
        request = next(app.ledger.recent(limit=1))
        outcomes = app.learning.outcomes_of(request.id)
    assert (
        sum(wins for (task, model), (wins, _) in counts.items() if model == GPT and "/" not in task)
        == 3
    )
    assert [(kind, value) for kind, value, _ in outcomes] == [("compare", 1.0)]
    assert "compare" in omni("why", "last").out
    omni("compare", "--resume", "last")
    with App({"OMNI_HOME": str(fleet)}) as app:
        assert app.learning.quality() == counts


# --- money --------------------------------------------------------------------------------------


def test_estimate_comes_first_and_refuses(
    omni: Omni, fleet: Path, suite: Path, sim: Simulator
) -> None:
    dry = omni("compare", "--suite", str(suite), *TWO, "--dry-run", "--json").data
    assert (dry["calls"], dry["prompts"]) == (6, 3)
    assert float(dry["expected_cost_usd"]) > 0
    ran = omni("compare", "--suite", str(suite), *TWO, "--max-cost", "0.000001")
    assert ran.code == 4
    assert "nothing was sent" in ran.err
    assert _calls(sim) == 0


def test_the_limit_is_never_passed_and_resume_goes_on(
    omni: Omni, fleet: Path, suite: Path, sim: Simulator
) -> None:
    """Estimates expect long answers; here the limit is below them, so that it is met midway."""
    args = ("--suite", str(suite), *TWO, "-n", "5", "--max-tokens", "100", "--retries", "0")
    omni("compare", *args, "--max-cost", "1")
    whole = sum(row[2] for row in _ledger(fleet))
    limit = whole // 2 + 1_500_000
    with App({"OMNI_HOME": str(fleet), "USER": "t"}) as app:
        _, plan = app.compare.load("last")
        comparison = app.compare.create(plan)
        with pytest.raises(BudgetExceeded):
            app.compare.run(
                comparison,
                plan,
                max_cost_nusd=limit,
                progress=lambda _: None,
                stop=lambda: False,
                interrupted=lambda: None,
            )
        spent = app.comparisons.spent_nusd(comparison)
    assert 0 < spent <= limit
    assert sum(row[2] for row in _ledger(fleet)) == whole + spent
    assert 30 < _calls(sim) < 60
    done = omni("compare", "--resume", "last", "--json").data
    assert done["missing"] == 0
    assert _calls(sim) == 60


def test_a_budget_stops_it_midway(omni: Omni, fleet: Path, sim: Simulator) -> None:
    """More is expected of the budget than it has by the third prompt: what came is kept."""
    from omni_cli.domain.budgets import Budget

    with App({"OMNI_HOME": str(fleet), "USER": "t"}) as app:
        app.budgets.put(Budget(0, "model", GPT, "day", 3_600_000))
    prompts = [f"Question number {n}?" for n in range(8)]
    ran = omni("compare", *prompts, *TWO, "--max-tokens", "800", "--concurrency", "1")
    assert ran.code == 4
    assert "--resume" in ran.err
    rows = [row for row in _ledger(fleet) if row[1] == "ok"]
    assert 0 < len(rows) < 16
    with App({"OMNI_HOME": str(fleet), "USER": "t"}) as app:
        app.budgets.delete(app.budgets.all()[0].id)
    done = omni("compare", "--resume", "last", "--json").data
    assert (done["state"], done["missing"]) == ("complete", 0)
    assert len([row for row in _ledger(fleet) if row[1] == "ok"]) == 16


# --- resuming -----------------------------------------------------------------------------------


def _spawn(fleet: Path, *args: str) -> "subprocess.Popen[str]":
    env = {**os.environ, "OMNI_HOME": str(fleet)}
    return subprocess.Popen(
        [sys.executable, "-m", "omni_cli", "compare", *args],
        env=env,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def _wait_for(sim: Simulator, calls: int) -> None:
    deadline = time.monotonic() + 20
    while len(sim.answered()) < calls:
        assert time.monotonic() < deadline
        time.sleep(0.01)


PROMPTS = tuple(f"Question {n}: what is {n} + 1?" for n in range(10))


def test_ctrl_c_keeps_what_was_paid_for(omni: Omni, fleet: Path, sim: Simulator) -> None:
    sim.fault("slow-first:0.15")
    process = _spawn(fleet, *PROMPTS, *TWO, "--concurrency", "1")
    _wait_for(sim, 4)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "--resume" in err
    first = {(row[0], row[1]) for row in _ledger(fleet)}
    assert first == {("compare", "ok")}
    kept = len(_ledger(fleet))
    assert 4 <= kept < 20
    assert kept == len(sim.answered())
    sim.heal()
    done = omni("compare", "--resume", "last", "--json").data
    assert (done["state"], done["missing"]) == ("complete", 0)
    assert len(sim.answered()) == 20
    assert len(_ledger(fleet)) == 20


def test_a_killed_run_pays_nothing_twice(omni: Omni, fleet: Path, sim: Simulator) -> None:
    """kill -9: every answer that was settled is there; only what was under way is asked again."""
    sim.fault("slow-first:0.15")
    process = _spawn(fleet, *PROMPTS, *TWO, "--concurrency", "1")
    _wait_for(sim, 6)
    process.kill()
    process.communicate()
    sim.heal()
    with App({"OMNI_HOME": str(fleet)}) as app:
        stored = app.comparisons.results(app.comparisons.find("last").id)
        settled = [row for row in app.ledger.recent(limit=100) if row.state == "ok"]
    assert {row.request for row in stored} == {row.id for row in settled}
    asked = len(sim.answered())
    done = omni("compare", "--resume", "last", "--json").data
    assert done["missing"] == 0
    assert len(sim.answered()) - asked == 20 - len(stored)
    assert len(stored) >= 4  # at most the two under way were lost


def test_failed_answers_are_asked_again_and_their_money_kept(
    omni: Omni, fleet: Path, sim: Simulator
) -> None:
    sim.fault("truncate", GPT)
    first = omni("compare", "Tell me a long story", *TWO, "--retries", "0", "--json").data
    assert first["missing"] == 1
    assert first["detailedResults"][GPT]["quality"]["failedResults"] == 1
    sim.heal()
    done = omni("compare", "--resume", "last", "--json").data
    assert done["missing"] == 0
    assert float(done["spent_usd"]) == pytest.approx(sum(r[2] for r in _ledger(fleet)) / 1e9)


# --- the fault matrix ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    ["hang", "500", "429:0", "slow-tokens:40", "truncate", "wrong-json", "malformed", "401",
     "reset-mid"],
)  # fmt: skip
def test_faults_of_one_provider_touch_no_other(
    omni: Omni, fleet: Path, sim: Simulator, fault: str
) -> None:
    sim.fault(fault, "openai/*")
    prompts = [f"What is {n} + {n}?" for n in range(5)]
    began = time.monotonic()
    ran = omni(
        "compare", *prompts, *TWO, "--scorer", "regex", "--expect", r"\d",
        "--timeout", "1", "--retries", "0", "--json",
    )  # fmt: skip
    assert ran.code == 0
    assert time.monotonic() - began < 8
    data = ran.data
    well = data["detailedResults"][DEEPSEEK]
    assert well["performance"]["successRate"] == 1.0
    assert well["performance"]["avgResponseTime"] < 1000
    ill = data["detailedResults"][GPT]["performance"]["successRate"]
    if fault.startswith(("slow-tokens", "wrong-json")):
        assert ill == 1.0  # odd events between an answer's own do not spoil it
    else:
        assert ill == 0.0
        assert data["summary"]["winner"] == DEEPSEEK
    answered = [row for row in _ledger(fleet) if row[1] == "ok"]
    assert len(answered) == len([a for a in data["answers"] if a["state"] == "ok"])


def test_a_dead_model_is_given_up(omni: Omni, fleet: Path, sim: Simulator) -> None:
    sim.fault("500", "openai/*")
    prompts = [f"Question {n}?" for n in range(12)]
    data = omni("compare", *prompts, *TWO, "--retries", "0", "--concurrency", "1", "--json").data
    assert len([a for a in data["answers"] if a["contender"] == GPT]) == 3
    assert data["missing"] == 12


def test_dns_failure_and_clock_skew(omni: Omni, fleet: Path, sim: Simulator) -> None:
    with App({"OMNI_HOME": str(fleet), "USER": "t"}) as app:
        provider = app.providers.get("openai")
        assert provider is not None
        app.fleet.put_provider(replace(provider, base_url="http://no-such-host.invalid/v1"))
    data = omni("compare", "hi", *TWO, "--retries", "0", "--json").data
    failed = next(a for a in data["answers"] if a["contender"] == GPT)
    assert "no-such-host.invalid" in failed["error_message"]
    with App({"OMNI_HOME": str(fleet), "USER": "t"}, clock=lambda: time.time() - 86_400) as app:
        comparison, plan = app.compare.load("last")
        app.compare.run(
            comparison,
            plan,
            max_cost_nusd=None,
            progress=lambda _: None,
            stop=lambda: False,
            interrupted=lambda: None,
        )
        report = app.compare_reports.report(comparison, plan)
    assert report.results.figures[DEEPSEEK].success is not None


# --- the judge ----------------------------------------------------------------------------------


def test_the_judge_is_paid_counted_and_compared_with_the_user(
    omni: Omni, fleet: Path, sim: Simulator
) -> None:
    args = ("Say something nice", "Tell a joke", "Greet me", *TWO)
    data = omni("compare", *args, "--judge", HAIKU, "--json").data
    assert data["judge"]["model"] == HAIKU
    assert data["judge"]["calls"] == 6
    rows = _ledger(fleet)
    judged = [row for row in rows if row[0] == "judge"]
    assert len(judged) == 6
    assert float(data["judge"]["cost_usd"]) == pytest.approx(sum(r[2] for r in judged) / 1e9)
    assert float(data["spent_usd"]) == pytest.approx(sum(r[2] for r in rows) / 1e9)
    # What the models cost is without the judge.
    total = sum(d["cost"]["totalCost"] for d in data["detailedResults"].values())
    assert total == pytest.approx(sum(r[2] for r in rows if r[0] == "compare") / 1e9)
    for answer in data["answers"]:
        omni("rate", answer["id"], "5")
    again = omni("compare", "--show", "last", "--json").data["judge"]
    if again["unreadable"] < again["calls"]:
        assert again["ratedByUser"] > 0
        assert 0 <= again["agreementWithUser"] <= 1
    before = _calls(sim)
    omni("compare", "--resume", "last")
    assert _calls(sim) == before


def test_images(omni: Omni, fleet: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 64)
    ran = omni(
        "compare", "--suite", str(folder), "-m", GPT, "-m", "google/gemini-2.0-flash", "--json"
    )
    assert ran.code == 0
    assert ran.data["answers"][0]["prompt"] == "a.png"
    assert {a["state"] for a in ran.data["answers"]} == {"ok"}


def test_usage_errors(omni: Omni, fleet: Path, tmp_path: Path) -> None:
    assert omni("compare", "x").code == 2
    assert omni("compare", "x", "-m", "auto").code == 2
    assert omni("compare", "x", *TWO, "--report", "pdf").code == 2
    assert omni("compare", "x", *TWO, "--scorer", "judge").code == 2
    assert omni("compare", "--show", "zzzz").code == 1
    config = tmp_path / "promptfooconfig.yaml"
    config.write_text("prompts: ['hi']\ntests: [{assert: [{type: javascript, value: '1'}]}]\n")
    strict = omni("compare", "--suite", str(config), *TWO)
    assert strict.code == 2
    assert "javascript" in strict.err
    assert omni("compare", "--suite", str(config), *TWO, "--lenient").code == 0


def test_a_suite_is_checked_without_asking_anybody(omni: Omni, tmp_path: Path) -> None:
    page = (REPO / "docs" / "compare.md").read_text("utf-8")
    example = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert example is not None
    file = tmp_path / "sums.toml"
    file.write_text(example[1])
    assert omni("suite", "check", str(file)).out == f"{file} fits: 3 cases\n"
    file.write_text(example[1] + "expcet = 3\n")
    ran = omni("suite", "check", str(file))
    assert ran.code == 2
    assert f"{file}: cases[3].expcet is no field: did you mean expect?" in ran.err
    schema = json.loads(omni("suite", "schema").out)
    jsonschema.validate(tomllib.loads(example[1]), schema)
