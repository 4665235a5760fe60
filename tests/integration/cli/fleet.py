"""A simulated fleet in a test's store, for commands that ask providers."""

from pathlib import Path

from omni_cli.bootstrap import App
from omni_cli.domain.record import replace
from omni_cli.services.fleet.demo import build
from omni_cli.simulator import Simulator
from omni_cli.simulator import fleet as scene
from tests.spec_fleet import SPECS

#: Active models, one of each of four providers and two of the first.
MODELS = (
    "anthropic/claude-sonnet-4-20250514",
    "anthropic/claude-3-haiku-20240307",
    "openai/gpt-4o",
    "deepseek/deepseek-chat",
    "google/gemini-2.0-flash",
)
SLUGS = ("anthropic", "openai", "deepseek", "google")


def connect(home: Path, sim: Simulator, *, roles: bool = False) -> None:
    """The simulator's providers with MODELS active; with ``roles`` the demo's whole fleet."""
    with App({"OMNI_HOME": str(home), "USER": "tester"}) as app:
        if roles:
            build(
                app.fleet,
                simulated=scene.providers(sim.url),
                what=replace(SPECS, active=MODELS),
            )
            return
        with app.fleet.change("test.build", "test fleet", None, "simulated"):
            for provider in scene.providers(sim.url):
                if provider.slug in SLUGS:
                    app.fleet.put_provider(replace(provider, auth_method="none", key_env=None))
            for model in MODELS:
                app.fleet.set_status(model, "active")
