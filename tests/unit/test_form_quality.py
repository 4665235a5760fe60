"""Outcomes of one form of a type's prompts move that form's quality more than the type's."""

from omni_cli.domain.quality import Prior, QualityTable
from omni_cli.services.engine.quality import FORM_STRENGTH, TableQuality
from tests.unit.world import World

MODEL = "lab/a"


def prior(task: str, model: str) -> Prior | None:
    return Prior(0.8, 20.0, "published") if (task, model) == ("coding", MODEL) else None


def test_a_form_starts_from_its_type_and_moves_with_its_outcomes() -> None:
    quality = TableQuality(QualityTable(prior), {("coding/open long", MODEL): (0.0, 10.0)})
    ((plain, _, _),) = quality({"coding": 1.0}, [MODEL])
    ((same, _, _),) = quality({"coding": 1.0}, [MODEL], "open short")
    ((moved, _, _),) = quality({"coding": 1.0}, [MODEL], "open long")
    assert plain == same == 0.8
    assert moved == 0.8 * FORM_STRENGTH / (FORM_STRENGTH + 10)


def test_the_store_keeps_both_and_takes_both_back(world: World) -> None:
    request = world.open()

    def rate(value: float) -> None:
        world.learning.add_outcome(
            request=request,
            at_ms=0,
            model=MODEL,
            task="coding",
            form="open long",
            kind="rating",
            value=value,
        )

    rate(1.0)
    rate(0.0)  # the user thought again
    quality = world.learning.quality()
    assert quality["coding", MODEL] == (0.0, 1.0)
    assert quality["coding/open long", MODEL] == (0.0, 1.0)
