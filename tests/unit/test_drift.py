"""Models that change under the same name: noticed soon, seldom without cause, and acted upon."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.drift import RUN, Change, Drift, Seen, Watched, take
from omni_cli.domain.ids import make_id
from omni_cli.domain.ledger import NewRequest, RequestEnd

pytestmark = pytest.mark.usefixtures("engine")

#: What a call looks like: (rng, whether the model has changed).
Draw = Callable[[random.Random, bool], Seen]


def _call(failing: float = 0.03, refusing: float = 0.02, shrink: float = 0.0) -> Draw:
    def draw(rng: random.Random, changed: bool) -> Seen:  # drawn in a loop
        failed = rng.random() < (failing if changed else 0.03)
        refused = rng.random() < (refusing if changed else 0.02)
        tokens = int(rng.lognormvariate(5 - shrink * changed, 0.6))
        return Seen("m", "coding", 0, failed, refused, None if failed else tokens)

    return draw


def _score(rate: float) -> Draw:
    return lambda rng, changed: Seen(
        "m", "coding", 0, score=float(rng.random() < (rate if changed else 0.85))
    )


def _first(draw: Draw, seed: int, calls: int, change_at: int) -> tuple[int, Drift] | None:
    rng, known = random.Random(seed), dict[str, Watched]()
    for number in range(calls):
        found = take(known, draw(rng, number >= change_at))
        if found is not None:
            return number, found
    return None


@pytest.mark.parametrize(
    ("draw", "change", "within"),
    [
        (_call(failing=0.3), "fails", 50),
        (_call(refusing=0.3), "refuses", 50),
        (_call(shrink=0.9), "answers shorter", 50),
        (_call(shrink=-0.9), "answers longer", 50),
        (_score(0.4), "scores low", 50),
    ],
)
def test_a_change_is_noticed_within_so_many_calls(draw: Draw, change: Change, within: int) -> None:
    """In the median of 31 models that turn bad after 250 calls."""
    found = [_first(draw, seed, 600, 250) for seed in range(31)]
    assert sum(one is None for one in found) == 0
    delays = sorted(one[0] - 250 for one in found if one is not None)
    assert 0 <= delays[15] <= within
    told = [one[1] for one in found if one is not None and one[0] >= 250]
    assert sum(drift.change == change for drift in told) >= 0.8 * len(told)
    assert all(drift.now > drift.usual and drift.e >= RUN for drift in told)


def test_false_alarms_are_as_rare_as_stated() -> None:
    """Unchanged models, 4 kinds of change each: at most one alarm of a kind in RUN calls."""
    models, calls = 30, 1_000
    alarms = sum(_first(_call(), seed, calls, calls) is not None for seed in range(models))
    assert alarms <= models * calls * 4 / RUN / 8


def _ask(app: App, number: int, *, tokens: int, at_ms: int) -> None:
    request = NewRequest(
        make_id(at_ms, number), at_ms, "chat", app.ledger.owner, "", "", "coder", "", "coding",
        "low", 0.2, None, None,
    )  # fmt: skip
    assert app.ledger.open(request, None)
    app.ledger.end_request(
        request.id,
        RequestEnd(
            state="ok", settled_at=at_ms, model="openai/gpt-5.5", provider="openai",
            premium_model=None, premium_cost_nusd=None, latency_ms=5, ttft_ms=None,
            finish_reason="stop", error_code=None, error_message=None,
        ),
    )  # fmt: skip
    app.store.db.execute("UPDATE requests SET output_tokens = ? WHERE id = ?", (tokens, request.id))


def test_what_was_learned_before_weighs_less_and_it_is_told_once(tmp_path: Path) -> None:
    rng = random.Random(5)
    with App({"OMNI_HOME": str(tmp_path)}, durable=False) as app:
        now = app.now_ms() - 1_000_000
        app.learning.add_outcome(
            request=None, at_ms=now, model="openai/gpt-5.5", task="coding", kind="test", value=1.0
        )
        for number in range(130):
            _ask(app, number, tokens=int(rng.gauss(500, 50)), at_ms=now + 1000 * number)
        assert app.drift.alerts() == []
        for number in range(130, 170):
            _ask(app, number, tokens=int(rng.gauss(120, 20)), at_ms=now + 1000 * number)
        (alert,) = app.drift.alerts()
        assert "shorter" in alert.text
        assert app.drift.alerts() == []
        assert app.learning.quality()["coding", "openai/gpt-5.5"] == (0.25, 0.0)
        (news,) = app.drift.news()
        assert abs(news.since_ms - (now + 130_000)) <= 5_000
