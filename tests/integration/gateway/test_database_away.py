"""A gateway whose database goes away: what was paid is kept, and written once when it is back."""

import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.simulator import Simulator
from tests.engine import DATABASES
from tests.gateway_server import serving
from tests.postgres import MISSING, Proxy, programs

BODY = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
#: Takes long enough for the database to go away meanwhile.
SLOW = {
    "model": "openai/gpt-4o",
    "messages": [{"role": "user", "content": "[[sim:slow-first:2]] hi"}],
}


@pytest.mark.skipif(programs() is None, reason=MISSING)
def test_an_answer_that_was_paid_is_written_once_when_it_is_back(
    tmp_path: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DATABASES, "engine", "postgres")
    direct = DATABASES.seeded(tmp_path)
    proxy = Proxy(urlsplit(direct).port or 0)
    url = direct.replace(f":{urlsplit(direct).port}/", f":{proxy.port}/")
    with (
        serving(tmp_path, sim, env={"OMNI_DATABASE_URL": url}) as gateway,
        httpx.Client(base_url=gateway.url, timeout=60, trust_env=False) as http,
        App({"OMNI_HOME": str(tmp_path), "OMNI_DATABASE_URL": direct}) as app,
    ):
        assert http.post("/v1/chat/completions", json=BODY).status_code == 200
        _until(lambda: app.ledger.open_attempts("openai") == 0)
        answers: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: answers.append(http.post("/v1/chat/completions", json=SLOW))
        )
        asking.start()
        _until(lambda: app.ledger.open_attempts("openai") == 1)
        proxy.refuse()
        asking.join(60)
        assert answers[0].status_code == 200  # begun before, and paid for
        refused = http.post("/v1/chat/completions", json=BODY)
        assert refused.status_code == 503
        assert "does not answer" in refused.text
        assert "omni@127.0.0.1" in refused.text  # which database it is
        _until(lambda: list(tmp_path.glob("postgres-*/spool/*.jsonl")) != [])
        proxy.state = "open"
        _until(lambda: http.post("/v1/chat/completions", json=BODY).status_code == 200)
        _until(lambda: not list(tmp_path.glob("postgres-*/spool/*.jsonl")))
        _until(lambda: [row.state for row in app.ledger.recent(limit=9)] == ["ok"] * 3)
        assert app.rebuild.check().sound
        assert not app.reports.anything_open()
    proxy.close()


def _until(holds: "object", seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():  # type: ignore[operator]  # a function
        assert time.monotonic() < deadline
        time.sleep(0.05)
