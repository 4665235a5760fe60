"""Every revision comes back exactly: the exported TOML is the same to the byte (A9)."""

import random
import tomllib
from decimal import Decimal
from pathlib import Path

import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.models import Chain, ChainLink, Provider
from omni_cli.services.fleet.fleet import FleetService

_MODELS = (
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "anthropic/claude-sonnet-4-20250514",
    "anthropic/claude-3-haiku-20240307",
)
_CONDITIONS = (
    "taskType == 'coding'",
    "complexity == 'high' || hasImages",
    "inputTokens > 4000",
)


@pytest.fixture
def omni(tmp_path: Path) -> App:
    app = App({"OMNI_HOME": str(tmp_path), "USER": "tester"}, clock=lambda: 1_790_000_000.0)
    for slug in ("openai", "anthropic"):
        protocol = "openai" if slug == "openai" else "anthropic"
        app.fleet.put_provider(Provider(slug, slug, protocol, f"https://{slug}.example"))
    return app


def _mutate(app: App, rng: random.Random) -> None:
    """One random change, as a user would make it; an invalid one is refused and changes nothing."""
    fleet: FleetService = app.fleet
    model = rng.choice(_MODELS)
    kind = rng.randrange(11)
    if kind == 0:
        fleet.set_status(model, rng.choice(("active", "standby", "disabled")))
    elif kind == 1:
        fleet.set_price(
            model, {"input": Decimal(rng.randrange(1, 900)) / 100, "output": Decimal(9)}
        )
    elif kind == 2:
        fleet.reset_price(model)
    elif kind == 3:
        fleet.assign_role(rng.choice(("coder", "writer")), model, rng.randrange(1, 4), "a job")
    elif kind == 4:
        fleet.remove_role(rng.choice(("coder", "writer")))
    elif kind == 5:
        fleet.add_rule(rng.choice(_CONDITIONS), model, rng.randrange(1, 4))
    elif kind == 6:
        rules = app.assignments.rules()
        if rules:
            fleet.remove_rule(rng.choice(rules).id)
    elif kind == 7:
        links = tuple(
            ChainLink(name, rng.randrange(0, 11), rng.randrange(1_000, 120_001))
            for name in rng.sample(_MODELS, rng.randrange(1, 4))
        )
        multiple = rng.choice((None, 1.0, 2.5))
        name, hedge = rng.choice(("Production Chain", "fast")), rng.choice((None, 50, 800))
        fleet.put_chain(Chain(name, links, multiple, hedge_ms=hedge))
    elif kind == 8:
        fleet.remove_chain(rng.choice(("Production Chain", "fast")))
    elif kind == 9:
        wire = rng.choice(("lab-a", "lab-b"))
        from omni_cli.domain.models import ModelInfo

        fleet.put_model(
            ModelInfo(
                f"openai/{wire}",
                "openai",
                wire,
                wire.upper(),
                aliases=(f"my-{wire}",),
                context_window=rng.choice((None, 32_000)),
                badges=frozenset(rng.sample(("vision", "json-mode"), rng.randrange(0, 3))),
                scores={"coding": float(rng.randrange(0, 101))},
                strengths=tuple(rng.sample(("fast", "cheap", "kind"), 2)),
            ),
            set_fields=("name",),
        )
    else:
        fleet.remove_model(rng.choice((*_MODELS, "openai/lab-a", "openai/lab-b")))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_of_fifty_revisions_comes_back_to_the_byte(omni: App, seed: int) -> None:
    rng = random.Random(seed)
    made = 0
    while made < 50:
        before = omni.fleet.document()
        try:
            _mutate(omni, rng)
        except OmniError:
            assert omni.fleet.document() == before
        made += omni.fleet.document() != before
    revisions = omni.audit.revisions(limit=200)
    assert len(revisions) >= 50
    for revision in rng.sample(revisions, 25):
        document = tomllib.loads(revision.fleet)
        omni.applier.apply(document, action="fleet.rollback", target=str(revision.number))
        assert omni.fleet.document() == revision.fleet
        assert omni.applier.plan(document) == []
    assert omni.audit.first_broken() is None


def test_a_document_that_does_not_fit_changes_nothing(omni: App) -> None:
    omni.fleet.set_status("openai/gpt-4o", "active")
    before = omni.fleet.document()
    good = tomllib.loads(before)
    for bad in (
        {**good, "extra": {}},
        {**good, "roles": {"coder": {"models": [{"model": "openai/none", "priority": 1}]}}},
        {**good, "chains": {"x": {"links": []}}},
        {
            **good,
            "rules": [
                {
                    "condition": "taskType ==",
                    "model": "openai/gpt-4o",
                    "priority": 1,
                    "enabled": True,
                }
            ],
        },
        {**good, "models": {"nowhere/x": {"name": "X"}}},
        {**good, "chains": {"x": {"links": [{"model": "openai/gpt-4o", "max_retries": 99}]}}},
    ):
        with pytest.raises(OmniError):
            omni.applier.apply(bad, action="fleet.apply", target="test")
        assert omni.fleet.document() == before
