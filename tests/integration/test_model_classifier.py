"""``routing.classifier = "model:..."``: a cheap model says what kind of job a prompt is (B1)."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.config import set_value
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.errors import ConfigError
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.simulator import Simulator
from tests.gateway_server import build_fleet, seeded, serving

CLASSIFIER = "openai/gpt-4o-mini"
#: The simulator does as it is told: so it "classifies".
TOLD = "Reply with exactly: translation"


@pytest.fixture
def sim() -> Iterator[Simulator]:
    with Simulator(seed=2) as made:
        yield made


@pytest.fixture
def app(tmp_path: Path, sim: Simulator) -> Iterator[App]:
    (tmp_path / "omni.db").write_bytes(seeded())
    with App({"OMNI_HOME": str(tmp_path), "USER": "t"}) as made:
        build_fleet(made, sim.url)
        set_value(made.paths, "routing.classifier", f"model:{CLASSIFIER}")
        made.refresh()
        yield made


def _task(app: App, text: str) -> str:
    request = ChatRequest((Message.text_of("user", text),))
    run = app.chat.start(app.chat.plan(ChatJob(request, app.names.select("auto"), keep=False)))
    for _ in app.chat.chunks(run):
        pass
    return run.new.task


def _asked(app: App) -> int:
    return sum(row.source == "classify" for row in app.ledger.recent(limit=50))


def test_its_word_holds_is_paid_for_and_asked_once(app: App) -> None:
    assert _task(app, TOLD) == "translation"
    assert _task(app, TOLD) == "translation"
    assert _asked(app) == 1
    (row,) = [row for row in app.ledger.recent(limit=50) if row.source == "classify"]
    assert row.model == CLASSIFIER
    assert row.total_nusd
    assert row.savings_nusd is None


def test_the_local_answer_holds_where_it_fails(app: App, sim: Simulator) -> None:
    sim.fault("503", CLASSIFIER, first=1)
    assert _task(app, "Translate 'good morning' into French.") == "translation"
    # It rests for a minute then: nobody waits for it again.
    assert _task(app, "Translate 'good night' into French.") == "translation"
    assert _asked(app) == 1
    set_value(app.paths, "routing.classifier", "model:nobody/knows-it")
    app.refresh()
    assert _task(app, "Translate 'good morning' into French.") == "translation"
    assert _asked(app) <= 1


def test_what_the_setting_may_be(app: App) -> None:
    for wrong in ("model:", "gpt-4o-mini", "remote"):
        with pytest.raises(ConfigError):
            set_value(app.paths, "routing.classifier", wrong)
    set_value(app.paths, "routing.classifier", "local")


def test_at_the_gateway(tmp_path: Path) -> None:
    with App({"OMNI_HOME": str(tmp_path)}) as early:  # a gateway that runs would see it later
        set_value(early.paths, "routing.classifier", f"model:{CLASSIFIER}")
    with Simulator(seed=2) as sim, serving(tmp_path, sim) as gateway:
        body = {"model": "auto", "messages": [{"role": "user", "content": TOLD}]}
        answer = httpx.post(f"{gateway.url}/v1/chat/completions", json=body)
        assert answer.status_code == 200
        gateway.settle(2)
        rows = {row.source: row for row in gateway.app.ledger.recent(limit=5)}
        assert rows["gateway"].task == "translation"
        assert rows["classify"].model == CLASSIFIER
