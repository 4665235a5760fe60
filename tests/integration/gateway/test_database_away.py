"""A gateway whose database goes away: what was paid is kept, and written once when it is back."""

import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from omni_cli import config as settings
from omni_cli.bootstrap import App
from omni_cli.domain.budgets import Budget
from omni_cli.simulator import Simulator
from tests.engine import DATABASES
from tests.gateway_server import serving
from tests.postgres import MISSING, Proxy, programs

BODY = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
#: May cost more than any slice of the budget holds.
HUGE = {**BODY, "n": 60, "max_tokens": 16_000}
#: Takes long enough for the database to go away meanwhile.
SLOW = {
    "model": "openai/gpt-4o",
    "messages": [{"role": "user", "content": "[[sim:slow-first:2]] hi"}],
}


@pytest.mark.skipif(programs() is None, reason=MISSING)
@pytest.mark.parametrize("when_away", ["slices", "refuse"])
def test_what_was_asked_meanwhile_is_written_once_when_it_is_back(
    tmp_path: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch, when_away: str
) -> None:
    monkeypatch.setattr(DATABASES, "engine", "postgres")
    monkeypatch.setattr("omni_cli.store.leases.STRICT_S", 1.0)
    direct = DATABASES.seeded(tmp_path)
    proxy = Proxy(urlsplit(direct).port or 0)
    url = direct.replace(f":{urlsplit(direct).port}/", f":{proxy.port}/")
    env = {"OMNI_HOME": str(tmp_path), "OMNI_DATABASE_URL": direct}
    settings.set_value(settings.paths(env), "store.when_away", when_away)
    with App(env) as app:
        app.budgets.put(Budget(0, "all", "", "day", 50 * 10**9))
    with (
        serving(tmp_path, sim, env={"OMNI_DATABASE_URL": url}) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http,
        App(env) as app,
    ):

        def ask(body: object = BODY) -> httpx.Response:
            return http.post("/v1/chat/completions", json=body)

        assert ask().status_code == 200
        _until(lambda: app.ledger.open_attempts("openai") == 0)
        answers: list[httpx.Response] = []
        asking = threading.Thread(target=lambda: answers.append(ask(SLOW)))
        asking.start()
        _until(lambda: app.ledger.open_attempts("openai") == 1)
        proxy.refuse()
        asking.join(60)
        assert answers[0].status_code == 200  # begun before, and paid for
        answered = 2
        if when_away == "slices":
            assert [ask().status_code for _ in range(5)] == [200] * 5
            # No slice holds so much: only the database could say.
            refused = ask(HUGE)
            answered += 5
        else:
            while (refused := ask()).status_code == 200:
                answered += 1
        assert refused.status_code == 503
        assert "does not answer" in refused.text
        assert "omni@127.0.0.1" in refused.text  # which database it is
        proxy.state = "open"
        _until(lambda: ask().status_code == 200)
        answered += 1
        _until(lambda: [row.state for row in app.ledger.recent(limit=99)] == ["ok"] * answered)
        assert app.rebuild.check().sound
        assert not app.maintenance.check().budgets
        _until(lambda: not app.reports.anything_open())
    with App(env) as app:  # and nothing is in hand of who has ended
        assert app.store.plain("SELECT * FROM budget_slices") == []
        assert app.budgets.status(app.budgets.all()[0], app.now_ms()).reserved_nusd == 0
    assert not list(tmp_path.glob("postgres-*/spool/*"))
    proxy.close()


def _until(holds: "object", seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]  # a function
        assert time.monotonic() < deadline
        time.sleep(0.05)
