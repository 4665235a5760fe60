"""``omni optimize`` on a ledger that the simulator filled (D4)."""

import json
import tomllib
from collections.abc import Iterator

import pytest

from omni_cli import config as settings
from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message, Usage
from omni_cli.domain.errors import NotFound
from omni_cli.domain.ids import make_id
from omni_cli.domain.optimize import Setting
from omni_cli.domain.tasks import Weights
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.services.judge.optimize import Optimizer
from tests.conftest import CHEAP, FREE, GOOD, Fleet
from tests.integration.cli_process import omni

BEST = Setting("best", Weights())


def ask(app: App, count: int, *, model: str | None = None) -> int:
    """Requests routed for quality; what they cost together, nano-dollars."""
    cost = 0
    for number in range(count):
        text = f"Write a Python function that sorts a list of {number} records by name"
        request = ChatRequest((Message.text_of("user", text),), max_output_tokens=80)
        selector = Selector("model", model) if model else Selector("auto", "")
        job = ChatJob(request, selector, RouteOptions(priority="best"), keep=False)
        run = app.chat.start(app.chat.plan(job))
        for _ in app.chat.chunks(run):
            pass
        assert run.row is not None
        cost += run.row.total_nusd or 0
    return cost


def test_a_replay_of_today_costs_what_it_cost(fleet: Fleet) -> None:
    """The chosen models' own tokens at their prices: the ledger's sum, to the nano-dollar."""
    app = fleet.app
    app.fleet.set_status(FREE, "disabled")
    cost = ask(app, 24)
    ask(app, 5, model=CHEAP)  # named: not the router's choice
    found = app.optimizer.run(BEST, days=30, may_lose=0.05)
    assert (found.requests, found.read, found.replayed) == (29, 29, 24)
    assert found.days == 1
    assert found.today.cost_nusd == cost
    assert found.monthly_nusd(found.today) == cost * 30
    cheapest = found.frontier[0]
    answered = {row.model for row in app.ledger.recent(limit=50) if row.model != CHEAP}
    assert answered == {GOOD}
    assert cheapest.cost_nusd < cost


def test_applying_it_is_audited_and_can_be_undone(fleet: Fleet) -> None:
    ask(fleet.app, 20)
    settings.set_value(fleet.app.paths, "routing.priority", "best")
    shown = omni(fleet.env, "optimize", "--lose", "100", "--json").json
    assert shown["today"]["settings"]["routing.priority"] == "best"
    assert shown["replayed"] == 20
    assert not shown["applied"]
    suggested = shown["suggested"]["settings"]
    done = omni(fleet.env, "optimize", "--lose", "100", "--apply")
    assert done.code == 0, done.everything
    assert "T" in done.out
    assert "expects, not measured" in done.err
    config = tomllib.loads((fleet.home / "config.toml").read_text())["routing"]
    assert config["priority"] == suggested["routing.priority"]
    assert f"{config['cost_weight']:g}" == suggested["routing.cost_weight"]
    (entry,) = fleet.app.audit.entries(limit=1)
    assert entry.action == "routing.optimize"
    assert "undo: omni optimize --undo" in done.out
    assert omni(fleet.env, "optimize", "--undo").code == 0
    again = tomllib.loads((fleet.home / "config.toml").read_text())["routing"]
    assert again["priority"] == "best"
    (entry,) = fleet.app.audit.entries(limit=1)
    assert entry.action == "routing.optimize.undo"
    assert fleet.app.audit.first_broken() is None
    assert omni(fleet.env, "optimize", "--undo").code == 1


def test_too_little_is_said(fleet: Fleet) -> None:
    ask(fleet.app, 3)
    with pytest.raises(NotFound, match="3 requests"):
        fleet.app.optimizer.run(BEST, days=30, may_lose=0.01)


class Cached:
    """Decisions whose answers were read from the prompt cache of GOOD, which answered."""

    def __init__(self, good: float, cheap: float) -> None:
        self.qualities = ((GOOD, good), (CHEAP, cheap))

    def ids(self, since_ms: int) -> list[int]:
        return list(range(20))

    def each(self, ids: list[int]) -> Iterator[tuple[str, Usage, str]]:
        candidates = [
            {
                "model": model,
                "eligible": True,
                "quality": quality,
                "expected_cost_usd": "0.001",
                "expected_latency_ms": None,
            }
            for model, quality in self.qualities
        ]
        decision = {"by": "score", "task_type": "chat", "complexity": "low"}
        for _ in ids:
            usage = Usage(input_tokens=1_000, cached_tokens=1_000)
            yield GOOD, usage, json.dumps({**decision, "candidates": candidates})


@pytest.mark.parametrize(
    ("good", "cheap", "nusd"),
    # GOOD reads its cache at $0.30 per 1M tokens; CHEAP would have read all anew at $0.15.
    [(0.95, 0.9, 300_000), (0.9, 0.95, 150_000)],
)
def test_another_model_has_nothing_in_its_cache(
    fleet: Fleet, good: float, cheap: float, nusd: int
) -> None:
    app = fleet.app
    optimizer = Optimizer(decisions=Cached(good, cheap), models=app.models, clock=app.clock)
    assert optimizer.run(BEST, days=30, may_lose=0.0).today.cost_nusd == 20 * nusd


class ThreeDays(Cached):
    """Twelve requests on each of three days, and none yet today."""

    def ids(self, since_ms: int) -> list[int]:
        midnight = 1_781_481_600_000  # 2026-06-15
        return [make_id(midnight - (3 - n // 12) * 86_400_000 + n, n) for n in range(36)]


def test_a_day_that_has_just_begun_makes_nothing_cheaper(fleet: Fleet) -> None:
    clock = 1_781_481_600 + 5 * 3_600  # 05:00
    optimizer = Optimizer(
        decisions=ThreeDays(0.95, 0.9), models=fleet.app.models, clock=lambda: float(clock)
    )
    found = optimizer.run(BEST, days=30, may_lose=0.0)
    assert (found.days, found.requests, found.today_requests) == (4, 36, 0)
    assert found.monthly_nusd(found.today) == found.today.cost_nusd // 36 * 12 * 30
