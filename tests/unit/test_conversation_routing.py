"""A conversation stays with its model unless leaving pays for the cold cache; and uncertainty
counts against a model that little is known of."""

from omni_cli.domain.models import ModelInfo
from omni_cli.domain.prices import Rates
from omni_cli.domain.record import replace
from omni_cli.domain.routing import Contender, Query, decide
from omni_cli.domain.tasks import TaskEstimate

CHAT = TaskEstimate("chat", {"chat": 1.0}, "medium", 0.4)
#: 3, 0.3 and 15 US dollars per 1M tokens.
SONNET = Rates(3_000_000, 300_000, 15_000_000)
RIVAL = Rates(2_500_000, 250_000, 15_000_000)
CHEAP = Rates(100_000, 10_000, 400_000)


def contender(name: str, rates: Rates, quality: float = 0.9, spread: float = 0.0) -> Contender:
    model = ModelInfo(f"lab/{name}", "lab", name, name)
    return Contender(
        model, "priced", rates, quality=quality, latency_ms=500.0, spread=spread, output_tokens=300
    )


def query(**changes: object) -> Query:
    base = Query(task=CHAT, input_tokens=20_000, priority="cheap")
    return replace(base, **changes)


def test_a_cached_prefix_keeps_a_conversation_where_it_is() -> None:
    fleet = [contender("sonnet", SONNET), contender("rival", RIVAL)]
    assert decide(query(), fleet).model == "lab/rival"
    warm = query(conversation_model="lab/sonnet", cached_tokens=19_500)
    decision = decide(warm, fleet)
    assert decision.model == "lab/sonnet"


def test_a_small_gain_does_not_move_a_conversation() -> None:
    fleet = [contender("sonnet", SONNET), contender("rival", RIVAL)]
    short = query(conversation_model="lab/sonnet", input_tokens=500)
    decision = decide(short, fleet)
    assert decision.model == "lab/sonnet"
    assert "the conversation stays" in decision.reason


def test_a_large_gain_moves_it() -> None:
    fleet = [contender("sonnet", SONNET), contender("cheap", CHEAP)]
    decision = decide(query(conversation_model="lab/sonnet", cached_tokens=19_500), fleet)
    assert decision.model == "lab/cheap"


def test_a_model_that_became_inadequate_or_blocked_is_left() -> None:
    weak = contender("sonnet", SONNET, quality=0.5)
    fleet = [weak, contender("rival", RIVAL)]
    assert decide(query(conversation_model="lab/sonnet"), fleet).model == "lab/rival"
    blocked = replace(contender("sonnet", SONNET), blocked="disabled")
    fleet = [blocked, contender("rival", RIVAL)]
    assert decide(query(conversation_model="lab/sonnet"), fleet).model == "lab/rival"


def test_a_fast_answer_is_not_held_up_by_the_conversation() -> None:
    slow = replace(contender("sonnet", SONNET), latency_ms=9_000.0)
    fleet = [slow, contender("rival", RIVAL)]
    asked = query(conversation_model="lab/sonnet", latency_pref="fast")
    assert decide(asked, fleet).model == "lab/rival"


def test_of_two_equal_means_the_unsure_one_does_not_clear_the_bar() -> None:
    known = contender("known", SONNET, quality=0.85, spread=0.03)
    unsure = contender("unsure", CHEAP, quality=0.76, spread=0.2)
    best = contender("best", SONNET, quality=0.86, spread=0.02)
    assert decide(query(priority="balanced"), [known, unsure, best]).model != "lab/unsure"
    sure = replace(unsure, spread=0.01)
    assert decide(query(priority="balanced"), [known, sure, best]).model == "lab/unsure"
