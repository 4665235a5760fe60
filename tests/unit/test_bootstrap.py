"""The container: every part can be made, ``refresh`` forgets what may have changed, no more."""

from functools import cached_property
from pathlib import Path

import pytest

from omni_cli import config
from omni_cli.bootstrap import App
from omni_cli.domain.models import Provider

pytestmark = pytest.mark.usefixtures("engine")

PARTS = sorted(name for name, part in vars(App).items() if isinstance(part, cached_property))


@pytest.fixture
def app(tmp_path: Path) -> App:
    return App({"OMNI_HOME": str(tmp_path)})


def test_every_part_can_be_made(app: App) -> None:
    with app:
        for name in PARTS:
            assert getattr(app, name) is getattr(app, name), name


def test_refresh_makes_anew_whatever_rests_on_the_fleet_or_the_settings(app: App) -> None:
    with app:
        stored = app.store, app.ledger
        old = {name: getattr(app, name) for name in PARTS}
        app.fleet.put_provider(Provider("lab", "Lab", "openai", "http://127.0.0.1:9/v1"))
        config.set_value(app.paths, "general.premium_model", "openai/gpt-4o")
        app.refresh()
        assert app.config.general.premium_model == "openai/gpt-4o"
        kept = {name for name in PARTS if getattr(app, name) is old[name]}
        assert {"transport", "budgets", "every_model"} <= kept
        assert (app.store, app.ledger) == stored
        assert kept.isdisjoint(
            ["config", "names", "keys", "fleet", "routing", "chat", "tester", "costs", "usage"]
        )


def test_what_is_lent_lasts_and_is_left_open(app: App) -> None:
    class Lent:
        open = True

        def close(self) -> None:
            self.open = False

    lent = Lent()
    app.use(transport=lent)
    app.refresh()
    assert app.transport is lent
    app.close()
    assert lent.open


async def test_it_closes_within_an_event_loop(app: App) -> None:
    assert app.steps
    assert app.calls
    app.close()
