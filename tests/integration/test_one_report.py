"""One answer to each question about money, whoever is asked: command line, TUI, gateway, exports.

On one store with everything that could be counted differently: an answered call, one that failed,
one of unknown price, a comparison with a judge, and a probe.
"""

import csv
import io
import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from omni_cli.bootstrap import App
from omni_cli.domain.money import usd_string
from omni_cli.simulator import Simulator
from omni_cli.tui.overview import read_overview
from omni_cli.tui.screens.costs import read_costs
from tests.gateway_server import Served, serving
from tests.integration.cli.conftest import Omni, home, omni, seeded

__all__ = ["home", "omni", "seeded"]

GPT, GEMINI, HAIKU = (
    "openai/gpt-4o",
    "google/gemini-2.0-flash",
    "anthropic/claude-3-haiku-20240307",
)
MYSTERY = "openai/gpt-mystery"
#: Sources whose calls are overhead.
OVERHEAD = {"compare", "judge", "probe", "test"}


class Faces:
    def __init__(self, omni: Omni, served: Served) -> None:
        self.omni = omni
        self.served = served
        self.sim = served.sim

    def run(self, *args: str) -> Any:
        ran = self.omni(*args)
        assert ran.code == 0, ran
        return ran

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.served.url}{path}", timeout=20, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def app(self) -> App:
        return App({"OMNI_HOME": str(self.served.home), "USER": "tester"})

    def chat(self, model: str, *more: str, code: int = 0) -> None:
        assert self.omni("chat", "-m", model, *more, "Name a colour.").code == code

    def compare(self, *more: str) -> None:
        self.run("compare", "-m", GPT, "-m", GEMINI, "-n", "2", *more, "Name a colour.")

    def agreed(self) -> tuple[str | None, str | None]:
        """(this month's cost, this month's saving) once every face has said the same."""
        usage = self._same_documents()
        savings = self.run("savings", "--json", "--days").data
        assert usage["saving_usd"] == savings["saving_usd"]
        self._ask_tui(savings)
        self._ask_metrics(savings)
        self._ask_exports(usage, savings)
        return usage["total"]["cost_usd"], savings["saving_usd"]

    def _holds(self, path: str, document: dict[str, Any]) -> None:
        """The management API says what the command says, and the spec's own fields beside it."""
        told = self.get(path)
        assert {name: told[name] for name in document} == document

    def _same_documents(self) -> Any:
        usage = self.run("usage", "--json", "--period", "month").data
        assert self.get("/v1/usage?period=month") == usage
        self._holds("/api/models/analytics/usage?period=month", usage)
        by_day = self.run("usage", "--json", "--by", "day", "--period", "30d").data
        self._holds("/api/models/analytics/trends", {"days": by_day["days"]})
        costs = self.run("costs", "--json").data
        self._holds("/api/models/analytics/costs", costs)
        assert costs["month"]["cost_usd"] == usage["total"]["cost_usd"]
        assert costs["today"]["cost_usd"] == costs["trend"][-1]["cost_usd"]
        one = self.run("usage", "--json", "--by", "day", "--period", "month", "-m", GPT).data
        self._holds(f"/api/models/{GPT}/usage?period=month", {"model": GPT, **one})
        savings = self.run("savings", "--json").data
        told = self.get("/api/models/savings")
        assert {name: told[name] for name in savings} == savings
        assert told["savings_usd"] == savings["saving_usd"]
        total = savings["total"]
        assert told["compared_calls"] == (0 if total is None else total["calls"])
        assert sum(b["calls"] for b in savings["baselines"]) == told["compared_calls"]
        return usage

    def _ask_tui(self, savings: Any) -> None:
        with self.app() as app:
            view, costs = read_overview(app), read_costs(app)
        month = costs.saved.saving_nusd
        assert savings["saving_usd"] == (None if month is None else usd_string(month))
        # Everything happened today.
        assert view.saving_nusd == month
        assert view.today.unknown_attempts == savings["unknown_attempts"]

    def _ask_metrics(self, savings: Any) -> None:
        text = httpx.get(f"{self.served.url}/metrics", trust_env=False).text
        assert self.run("export", "metrics").out.split("# HELP omni_provider_health")[0] in text
        sums: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                sums[sample.name] = sums.get(sample.name, 0) + sample.value
        if savings["saving_usd"] is None:
            assert "omni_saving_usd" not in sums
            return
        saving = float(savings["saving_usd"])
        assert sums["omni_saving_usd"] == pytest.approx(saving)
        parts = sums["omni_premium_cost_usd_total"] - sums["omni_compared_cost_usd_total"]
        assert parts - sums["omni_overhead_cost_usd_total"] == pytest.approx(saving)

    def _ask_exports(self, usage: Any, savings: Any) -> None:
        rows = list(csv.DictReader(io.StringIO(self.run("export", "usage", "--format", "csv").out)))
        routed = [row for row in rows if row["source"] not in {*OVERHEAD, "import"}]
        saved = sum(
            (Decimal(r["premium_usd"] or 0) - Decimal(r["compared_usd"] or 0) for r in routed),
            Decimal(0),
        )
        assert all(not row["premium_usd"] for row in rows if row["source"] in OVERHEAD)
        known = [Decimal(row["cost_usd"]) for row in rows if row["cost_usd"]]
        if rows and not known:
            assert usage["total"]["cost_usd"] is None
        else:
            assert Decimal(usage["total"]["cost_usd"]) == sum(known, Decimal(0))
        lines = self.run("export", "ledger").out.splitlines()
        each = [row for row in map(json.loads, lines) if row["source"] != "import"]
        assert all(row["savings_usd"] is None for row in each if row["source"] in OVERHEAD)
        told = sum((Decimal(row["savings_usd"] or 0) for row in each), Decimal(0))
        if savings["total"] is not None:
            overhead = Decimal(savings["total"]["overhead_usd"])
            assert told == saved
            assert Decimal(savings["saving_usd"]) == saved - overhead
        for row in each:
            why = self.run("why", row["id"], "--json").data
            assert (why["cost_usd"], why["savings_usd"]) == (row["cost_usd"], row["savings_usd"])


@pytest.fixture
def faces(omni: Omni, home: Path, sim: Simulator) -> Iterator[Faces]:
    with serving(home, sim) as served:
        omni("config", "set", "chat.max_retries", "0")
        yield Faces(omni, served)


def test_only_a_comparison_saves_nothing(faces: Faces) -> None:
    assert faces.agreed() == ("0", None)
    faces.compare()
    cost, saving = faces.agreed()
    assert cost is not None
    assert saving is None


def test_only_a_call_of_unknown_price(faces: Faces) -> None:
    faces.run("models", "add", MYSTERY)
    faces.chat(MYSTERY)
    assert faces.agreed() == (None, None)


def test_everything_at_once(faces: Faces, tmp_path: Path) -> None:
    faces.chat(GPT)
    cost, saved = faces.agreed()
    assert cost is not None
    assert saved is not None
    faces.compare("--judge", HAIKU, "--rubric", "It names a colour.")
    faces.run("health", "--probe", GEMINI)
    faces.sim.fault("503", f"{GPT}")
    faces.chat(GPT, code=5)
    faces.sim.heal()
    faces.run("models", "add", MYSTERY)
    faces.chat(MYSTERY)
    more, less = faces.agreed()
    assert more is not None
    assert less is not None
    evaluated = faces.run("savings", "--json").data["evaluation_usd"]
    assert {"compare", "judge", "probe"} <= set(evaluated)
    spent = sum(map(Decimal, evaluated.values()))
    assert Decimal(less) == Decimal(saved) - spent
    assert Decimal(more) == Decimal(cost) + spent
