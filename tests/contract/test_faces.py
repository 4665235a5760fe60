"""One document of each thing: command line, gateway and TUI give the same answer.

Money reports, receipts and health have tests of their own (``tests/integration/test_one_*.py``);
here are the fleet's nouns, budgets, recommendations, and what a row of a report says.
"""

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.ids import id_text
from omni_cli.domain.money import format_usd
from omni_cli.domain.search import parse
from omni_cli.domain.words import percent
from omni_cli.services.money.budget_document import status_document
from omni_cli.services.money.usage import UsageQuery
from omni_cli.simulator import Simulator
from omni_cli.tui import usage_view
from omni_cli.tui.data import Loader
from omni_cli.tui.overview import read_overview
from omni_cli.tui.screens import budgets
from omni_cli.tui.screens.recommendations import RecommendationsPane
from tests.gateway_server import ACTIVE, Served, serving
from tests.integration.cli.conftest import Omni, home, omni, seeded
from tests.integration.conftest import sim

pytestmark = pytest.mark.usefixtures("engine")

__all__ = ["home", "omni", "seeded", "sim"]

GPT, GEMINI, MYSTERY = "openai/gpt-4o", "google/gemini-2.0-flash", "openai/gpt-mystery"


class Faces:
    def __init__(self, omni: Omni, served: Served) -> None:
        self.omni = omni
        self.served = served

    def run(self, *args: str, code: int = 0, stdin: str = "") -> Any:
        ran = self.omni(*args, stdin=stdin)
        assert ran.code == code, ran
        return ran

    def json(self, *args: str) -> Any:
        return self.run(*args, "--json").data

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.served.url}{path}", timeout=20, trust_env=False)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def app(self) -> App:
        return App({"OMNI_HOME": str(self.served.home), "USER": "tester"})


@pytest.fixture
def faces(omni: Omni, home: Path, sim: Simulator) -> Iterator[Faces]:
    """A used fleet: calls that went well, one that another model answered, one of no price."""
    with serving(home, sim) as served:
        found = Faces(omni, served)
        found.run("config", "set", "chat.max_retries", "0")
        found.run("models", "add", MYSTERY)
        found.run("models", "alias", GPT, "house")
        found.run("models", "price", GEMINI, "--price-in", "0.10", "--price-out", "0.40")
        found.run("rules", "add", "taskType == 'coding'", GPT)
        found.run("chat", "-m", GPT, "Name a colour.")
        found.run("chat", "-m", MYSTERY, "Name a colour.")
        served.sim.fault("503", GPT)
        found.run("chat", "-m", GPT, "--fallback", "--any-cost", "Name a colour.")
        served.sim.heal()
        yield found


def _within(own: dict[str, Any], told: dict[str, Any]) -> None:
    """The gateway tells all that the command does, the same, and the specs' names beside it."""
    for name, value in own.items():
        if isinstance(value, dict) and name not in ("price", "scores"):
            _within(value, told[name])
        else:
            assert told[name] == value, name


def test_models(faces: Faces) -> None:
    listed = faces.json("models", "list")
    assert {row["id"] for row in listed} == {*ACTIVE, MYSTERY}
    by_id = {row["id"]: row for row in listed}
    _within(by_id, {row["id"]: row for row in faces.get("/api/models")["models"]})
    every = faces.get("/api/models?status=all&provider=openai")["models"]
    own = faces.json("models", "list", "--all", "--provider", "openai")
    _within({row["id"]: row for row in own}, {row["id"]: row for row in every})
    assert faces.get("/api/providers/openai/models")["models"] == every
    for name in (GPT, "house", GEMINI, MYSTERY):
        for path in ("/api/models", "/api/ai/models"):
            _within(faces.json("models", "show", name), faces.get(f"{path}/{name}"))
    wire = {row["id"]: row for row in faces.get("/v1/models")["data"] if row["owned_by"] != "omni"}
    with faces.app() as app:
        cards = {card.model.id: card for card in read_overview(app).models}
        shown = {name: app.browser.listed(cards[name].model) for name in by_id}
    for name, row in by_id.items():
        assert wire[name]["cost_input"] == row["price"]["input"]
        assert wire[name]["aliases"] == row["aliases"]
        assert wire[name]["context_window"] == row["context_window"]
        assert cards[name].quality == shown[name].quality
        assert row["quality"] == (cards[name].quality and round(cards[name].quality, 4))
        state = "unknown" if cards[name].price is None else cards[name].price.price.state
        assert row["price"]["state"] == state
    assert by_id[MYSTERY]["price"]["state"] == "unknown"
    assert by_id[GPT]["calls"] > by_id[GEMINI]["calls"] - 2


def test_providers(faces: Faces) -> None:
    faces.run("providers", "edit", "google", "--key-env", "GEMINI_API_KEY")
    faces.run("providers", "key", "google", "--stdin", stdin="sk-a-key-of-somebody\n")
    faces.run("providers", "disable", "moonshot")
    faces.run("providers", "test", "anthropic")
    listed = faces.json("providers", "list")
    told = faces.get("/api/providers")["providers"]
    assert [row["slug"] for row in told] == [row["slug"] for row in listed]
    _within({row["slug"]: row for row in listed}, {row["slug"]: row for row in told})
    by_slug = {row["slug"]: row for row in listed}
    assert by_slug["google"]["key"] in ("file", "keyring")
    assert by_slug["ollama"]["key"] is None
    with faces.app() as app:
        cards = {card.provider.slug: card for card in read_overview(app).providers}
    assert set(cards) == set(by_slug)
    for slug, row in by_slug.items():
        _within(row, faces.get(f"/api/providers/{slug}"))
        shown = faces.json("providers", "show", slug)
        mine = {"models", "key_masked"}  # which show alone has
        assert {k: v for k, v in shown.items() if k not in mine} == {
            k: v for k, v in row.items() if k not in mine
        }
        card = cards[slug]
        assert (card.active, card.total) == (row["models_active"], row["models_total"])
        assert (card.state, card.test and card.test[1]) == (
            row["health"] or "off",
            row["latency_ms"],
        )
    one = httpx.post(f"{faces.served.url}/api/providers/openai/test", trust_env=False).json()
    two = faces.json("providers", "test", "deepseek")
    assert set(one) == {*two, "success", "latencyMs"}
    assert (one["ok"], one["error"], two["ok"], two["error"]) == (True, None, True, None)
    tests = {row["slug"]: row for row in faces.json("providers", "list")}
    assert tests["openai"]["latency_ms"] == one["latency_ms"]


def test_roles_rules_and_chains(faces: Faces) -> None:
    for what in ("roles", "rules", "chains"):
        listed = faces.json(what, "list")
        assert listed
        assert faces.get(f"/api/{what}")[what] == listed


@pytest.mark.parametrize("limit", ["0", "0.000001", "0.0005", "100"])
def test_budgets(faces: Faces, limit: str) -> None:
    faces.run("budgets", "set", "all", limit, "--alert", "10", "--rollover")
    faces.run("budgets", "set", f"model:{GPT}", "3", "--per", "day")
    faces.run("budgets", "set", "provider:google", "2", "--per", "week")
    faces.run("budgets", "disable", "3")
    told = faces.get("/api/budgets")["budgets"]
    assert [row for row in told if row["enabled"]] == faces.json("budgets", "status")
    plain = faces.json("budgets", "list")
    assert [{name: row[name] for name in plain[0]} for row in told] == plain
    assert [row["state"] for row in told if not row["enabled"]] == ["off"]
    with faces.app() as app:
        view = budgets.read_budgets(app)
        overview = app.costs.overview()
        assert [status_document(burn.status) for burn in view.burns] == told
        standings = {line.status.budget.id: line for line in app.costs.standings()}
    for burn in view.burns:
        status = burn.status
        words = budgets.card(burn, view, 100).plain
        line = standings.get(status.budget.id)
        assert ("disabled" if line is None else line.words) in words
        assert (status.state == "off") == (line is None)
        assert (status.state == "stopped") == (line is not None and line.level == "error")
        assert f"{format_usd(status.spent_nusd)} of {format_usd(status.whole_nusd)}" in words
    costs = {line["id"]: line for line in faces.json("costs")["budgets"]}
    assert {line.status.budget.id for line in overview.budgets} == set(costs)
    for row in told:
        if row["id"] in costs:
            assert costs[row["id"]]["spent_usd"] == row["spent_usd"]


def test_recommendations(faces: Faces) -> None:
    served = faces.served.app
    name = "anthropic/claude-sonnet-4-20250514"
    served.fleet.assign_role("writer", name, 1, "writes")
    body = {"model": "role:writer", "messages": [{"role": "user", "content": "Say hello."}]}
    for _ in range(40):
        path = f"{faces.served.url}/v1/chat/completions"
        assert httpx.post(path, json=body, trust_env=False).status_code == 200
    faces.served.settle(43)
    listed = faces.json("recommend")
    assert {row["savings"]["monthly_usd"] is None for row in listed} == {False}
    assert faces.get("/api/models/recommendations")["recommendations"] == listed
    faces.run("recommend", "dismiss", str(listed[0]["id"]))
    every = faces.json("recommend", "--all")
    assert faces.get("/api/models/recommendations?all=1")["recommendations"] == every
    assert faces.json("recommend", "show", str(every[0]["id"])) == every[0]
    pane = RecommendationsPane(Loader({}, clock=time.time), id="recommendations")
    with faces.app() as app:
        assert [told.document() for told in pane.load(app, True)] == every
        rest = [told.document() for told in pane.load(app, False)]
    assert rest == faces.json("recommend") == [r for r in every if r["id"] != listed[0]["id"]]


@pytest.mark.parametrize("by", ["model", "provider", "task", "day"])
def test_rows_of_usage(faces: Faces, by: str) -> None:
    """Success is of calls by provider and model, of requests by anything else; money that nobody
    knows is "unknown" in no place "$0"."""
    told = faces.json("usage", "--by", by, "--compare")
    key = "days" if by == "day" else f"by_{by}" if f"by_{by}" in told else "rows"
    rows = list(csv.DictReader(io.StringIO(faces.run("usage", "--by", by, "--csv").out)))
    with faces.app() as app:
        view = usage_view.read_usage(app, UsageQuery(by=by, compare=True))
    lines = {line.key: line for line in usage_view.table(view, 200, lambda _: "")[1]}
    assert len(rows) == len(lines) == len(told[key])
    for row in rows:
        line, sums = lines[row[by]], {r.name: r for r in view.report.rows}[row[by]]
        share = view.report.success(sums.totals)
        assert row["success"] == ("" if share is None else str(share))
        assert str(line.cells["success"]) == percent(share, 1)
        assert line.values["success"] == share
        if row["cost_usd"]:
            assert str(line.cells["cost"]).startswith("$")
        else:
            assert str(line.cells["cost"]) == "unknown"
        assert str(line.cells["before"]) in ("-", "$0.00")
    failed = [r for r in rows if r["success"] not in ("", "1.0")]
    assert bool(failed) is (by in ("model", "provider"))  # every request was answered in the end


def test_requests_in_lists_receipts_exports_and_on_screen(faces: Faces) -> None:
    faces.run("budgets", "set", "all", "0")
    faces.run("chat", "-m", GPT, "Name a colour.", code=4)
    listed = faces.json("logs")
    states = {(row["state"], row["price_state"]) for row in listed}
    assert {("ok", "priced"), ("ok", "unknown")} < states
    refused = next(row for row in listed if row["state"] == "refused")
    assert refused["cost_usd"] == "0"
    exported = {
        row["id"]: row
        for row in [json.loads(line) for line in faces.run("export", "ledger").out.splitlines()]
    }
    with faces.app() as app:
        found = app.activity.find(parse(""), limit=50).found
        on_screen = {id_text(one.row.id): one for one in found}
    lines = faces.run("logs").out.splitlines()
    for row in listed:
        why = faces.json("why", row["id"])
        for name in ("state", "cost_usd", "savings_usd", "price_state", "latency_ms"):
            assert why[name] == row[name] == exported[row["id"]][name], name
        words = on_screen[row["id"]].cost_words
        assert words == {None: "unknown", "0": "-"}.get(row["cost_usd"], words)
        (line,) = [line for line in lines if line.startswith(row["id"][:8])]
        assert words in line
