"""What may be set of calls to one model (management spec, performanceSettings): each does what it
says, at the gateway and on the command line."""

import time
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.errors import Paced, UsageError
from omni_cli.domain.models import Chain, ChainLink
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.fleet.model_changes import ModelChange, edit_model, settings_in
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

MODEL, OTHER = "openai/gpt-4o", "openai/gpt-4o-mini"
WORDS = {
    "timeout": 20_000, "maxRetries": 1, "retryDelay": 300, "rateLimitRpm": 2, "batchSize": 1
}  # fmt: skip


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Simulator(seed=5) as sim, serving(tmp_path, sim) as found:
        yield found


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=20, trust_env=False) as client:
        yield client


def configure(http: httpx.Client, model: str = MODEL, **words: int | None) -> dict[str, Any]:
    answer = http.put(f"/api/ai/models/{model}", json={"configuration": words})
    assert answer.status_code == 200, answer.text
    return dict(answer.json()["configuration"])


def ask(http: httpx.Client, model: str = MODEL) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": "Say hello."}]}
    return http.post("/v1/chat/completions", json=body)


def attempts(served: Served, count: int) -> list[Any]:
    """Of all requests, in the order of their start."""
    served.settle(count)
    rows = [row for found in served.app.ledger.recent(limit=99)
            for row in served.app.ledger.attempts(found.id)]  # fmt: skip
    return sorted(rows, key=lambda row: row.started_at)


def set_all(http: httpx.Client, model: str = MODEL, **words: int | None) -> None:
    configure(http, model, **words)
    time.sleep(0.6)  # the gateway looks for changes four times a second


def chat(app: App, job: ChatJob) -> None:
    for _ in app.chat.chunks(app.chat.start(app.chat.plan(job))):
        pass


def test_all_five_go_in_and_come_out_and_are_taken_back(served: Served, http: httpx.Client) -> None:
    usual = http.get(f"/api/ai/models/{MODEL}").json()["configuration"]
    assert usual == {"timeout": 60_000, "maxRetries": 2, "retryDelay": None, "rateLimitRpm": None,
                     "batchSize": None}  # fmt: skip
    assert configure(http, **WORDS) == WORDS
    assert configure(http, retryDelay=None)["retryDelay"] is None
    assert configure(http, maxRetries=None)["maxRetries"] == 2
    # The fleet's file says the same, and takes it.
    served.app.refresh()
    tables = tomllib.loads(served.app.fleet.document())
    left = {"timeout_ms": 20_000, "rate_limit_rpm": 2, "batch_size": 1}
    assert tables["models"][MODEL]["settings"] == left
    for wrong in ({"timeout": 5}, {"batchSize": 0}, {"rateLimitRpm": "9"}, {"retry": 1}):
        refused = http.put(f"/api/ai/models/{MODEL}", json={"configuration": wrong})
        assert refused.status_code == 400, refused.text
        assert next(iter(wrong)) in refused.text


def test_a_limit_a_minute_is_of_the_gateway_and_the_command_line(
    served: Served, http: httpx.Client
) -> None:
    set_all(http, rateLimitRpm=2)
    assert ask(http).status_code == 200
    # A command of this machine: another process would write the same row.
    app = served.app
    app.refresh()
    job = ChatJob(ChatRequest((Message.text_of("user", "Hello"),)), app.names.select(MODEL))
    chat(app, job)
    refused = ask(http)
    assert refused.status_code == 429, refused.text
    assert "2 calls a minute" in refused.text
    assert 0 < int(refused.headers["retry-after"]) <= 60
    with pytest.raises(Paced) as caught:
        chat(app, job)
    assert "rate_limit_rpm" in caught.value.hint
    served.settle(4)
    over = served.app.ledger.recent(limit=2)  # the gateway's and the command's
    assert [(row.state, row.total_nusd) for row in over] == [("refused", 0)] * 2
    assert len(attempts(served, 4)) == 2  # what was refused went nowhere and cost nothing
    assert ask(http, OTHER).status_code == 200  # no other model's


def test_what_is_paced_is_left_to_the_next_model(served: Served, http: httpx.Client) -> None:
    with served.app.fleet.change("test", "chain", None, None):
        served.app.fleet.put_chain(Chain("pair", (ChainLink(MODEL), ChainLink(OTHER))))
    set_all(http, rateLimitRpm=1)
    told = [ask(http, "chain:pair").headers["x-omni-model"] for _ in range(3)]
    assert told == [MODEL, OTHER, OTHER]


def test_the_wait_before_each_retry_is_the_one_that_was_set(
    served: Served, http: httpx.Client
) -> None:
    set_all(http, retryDelay=400, maxRetries=2)
    served.sim.fault("500", MODEL, first=2)
    assert ask(http).status_code == 200
    starts = [row.started_at for row in attempts(served, 1)]
    assert len(starts) == 3
    assert all(late - early >= 400 for early, late in pairwise(starts))


def test_no_more_tries_than_were_set(served: Served, http: httpx.Client) -> None:
    set_all(http, maxRetries=0)
    served.sim.fault("500", MODEL)
    assert ask(http).status_code >= 500
    assert len(attempts(served, 1)) == 1


def test_a_comparison_asks_so_many_at_once(served: Served, http: httpx.Client) -> None:
    set_all(http, batchSize=1)
    body = {"models": [MODEL], "prompts": [f"Question {n}" for n in range(4)]}
    name = http.post("/api/ai/models/compare", json=body).json()["comparison"]
    for _ in range(300):
        if http.get(f"/api/ai/models/compare/{name}").json()["state"] == "complete":
            break
        time.sleep(0.02)
    made = attempts(served, 4)
    assert len(made) == 4
    assert all(first.ended_at <= second.started_at for first, second in pairwise(made))


def test_the_same_in_words(served: Served) -> None:
    """As the command line and the form take them, with each fault named."""
    assert settings_in(["rate-limit-rpm=60", " retry_delay_ms = none"]) == {
        "rate_limit_rpm": 60, "retry_delay_ms": None
    }  # fmt: skip
    for wrong in ("rate_limit_rpm", "rate_limit_rpm=fast", "timeout_ms=-1", "timeout_ms=1.5"):
        with pytest.raises(UsageError, match="NAME=NUMBER"):
            settings_in([wrong])
    for item, words in (("timeout_ms=5", "from 1,000"), ("timout_ms=5000", "no setting")):
        with pytest.raises(UsageError, match=words):
            edit_model(served.app.fleet, MODEL, ModelChange(settings=settings_in([item])))
