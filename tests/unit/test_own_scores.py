"""A user's capability scores come before published results, and outcomes move them."""

from omni_cli.domain.models import ModelInfo
from omni_cli.domain.quality import Prior, QualityTable
from omni_cli.services.engine.own_scores import with_own_scores
from tests.unit.world import World

PUBLISHED = Prior(0.7, 14.0, "a benchmark 7")


def published(_task_type: str, _model_id: str) -> Prior:
    return PUBLISHED


def test_a_score_speaks_for_its_types_and_leaves_the_others() -> None:
    lookup = with_own_scores(published, {"lab/a": {"coding": 95.0}})
    coding = lookup("coding", "lab/a")
    assert coding is not None
    assert (coding.mean, coding.basis) == (0.95, "your own score: coding 95")
    assert lookup("writing", "lab/a") == PUBLISHED
    assert lookup("coding", "lab/b") == PUBLISHED


def test_several_scores_are_averaged() -> None:
    lookup = with_own_scores(
        published, {"lab/a": {"coding": 90.0, "reasoning": 60.0, "speed": 10.0}}
    )
    step = lookup("agent_step", "lab/a")
    assert step is not None
    assert step.mean == 0.75


def test_scores_of_the_catalogue_are_not_the_users(world: World) -> None:
    models = world.models
    for name, source in (("a", "user"), ("b", "https://results.example")):
        told = ModelInfo(
            f"lab/{name}",
            "lab",
            name,
            name,
            scores={"coding": 20.0, "speed": 3.0},
            score_sources={"coding": source, "speed": "https://results.example"},
        )
        models.put(told, now_ms=0, user_fields=("scores",))
    models.put(ModelInfo("lab/c", "lab", "c", "c", scores={"coding": 1.0}), now_ms=0)
    assert {name: own for name, own in models.own_scores().items() if own} == {
        "lab/a": {"coding": 20.0}
    }


def test_outcomes_move_it() -> None:
    lookup = with_own_scores(published, {"lab/a": {"coding": 90.0}})
    table = QualityTable(lookup, {("coding", "lab/a"): (0.0, 20.0)})
    assert table.cell("coding", "lab/a").mean == 0.45
