"""What a request may take in all: silence, slow tokens and slow stand-ins come to an end (E3)."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from omni_cli.gateway import app, deadlines
from omni_cli.gateway.app import Options
from omni_cli.http.request import Limits
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving
from tests.integration.gateway.test_failures import _ask

PATH = "/v1/chat/completions"


@pytest.fixture
def hasty(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    with serving(tmp_path, sim, Options(limits=Limits(request_s=0.6))) as served:
        yield served


@pytest.fixture
def client(hasty: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=hasty.url, timeout=20, trust_env=False) as made:
        yield made


@pytest.mark.parametrize("fault", ["hang", "slow-first:5"])
@pytest.mark.parametrize("stream", [False, True])
def test_silence_ends_as_an_error(
    hasty: Served, client: httpx.Client, fault: str, stream: bool
) -> None:
    hasty.sim.fault(fault, "*")
    answer = client.post(PATH, json=_ask(stream=stream))
    assert answer.status_code == 504
    assert "within the 0.6 s" in answer.json()["error"]["message"]
    hasty.settle(1)
    (row,) = hasty.app.ledger.recent(limit=2)
    assert (row.state, row.error_code) == ("failed", "timeout")
    assert all(a.state != "sent" for a in hasty.app.ledger.attempts(row.id))


def test_stand_ins_share_one_limit(hasty: Served, client: httpx.Client) -> None:
    hasty.sim.fault("slow-first:0.35", "*")
    hasty.sim.fault("503", "anthropic/*")
    answer = client.post(PATH, json=_ask("chain:Production Chain"))
    assert answer.status_code == 504
    hasty.settle(1)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, _ask(stream=True)),
        ("/v1/messages", _ask("anthropic/claude-3-haiku-20240307", stream=True)),
    ],
)
def test_a_slow_stream_ends_by_its_protocols_error(
    hasty: Served, client: httpx.Client, path: str, body: dict[str, object]
) -> None:
    hasty.sim.fault("slow-tokens:9", "*")
    answer = client.post(path, json=body)
    assert answer.status_code == 200
    assert "within the 0.6 s" in answer.text
    hasty.settle(1)
    (row,) = hasty.app.ledger.recent(limit=2)
    assert row.state == "failed"
    assert row.usage.output_tokens > 0
    assert row.usage.estimated
    assert (row.total_nusd or 0) > 0


def test_a_caller_may_want_less_not_more(hasty: Served, client: httpx.Client) -> None:
    hasty.sim.fault("slow-first:0.3", "*")
    for wish, status in (("0.1", 504), ("60", 200), ("soon", 400), ("-1", 400)):
        answer = client.post(PATH, json=_ask(), headers={"x-omni-timeout": wish})
        assert answer.status_code == status, (wish, answer.text)
    assert client.post(PATH, json=_ask(), headers={"x-omni-timeout": "0.5"}).status_code == 200


def test_a_limit_that_is_looked_at_once_a_second_holds_too(
    tmp_path: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As limits of ten seconds and more are, in less time.
    monkeypatch.setattr(deadlines, "_LONG_S", 0.0)
    monkeypatch.setattr(app, "_LIMIT_S", 0.05)
    limits = Limits(request_s=0.3)
    with serving(tmp_path, sim, Options(limits=limits)) as served:
        served.sim.fault("hang", "*")
        with httpx.Client(base_url=served.url, timeout=20, trust_env=False) as made:
            answer = made.post(PATH, json=_ask())
        assert answer.status_code == 504
        assert "within the 0.3 s" in answer.json()["error"]["message"]
        served.settle(1)
        (row,) = served.app.ledger.recent(limit=2)
        assert (row.state, row.error_code) == ("failed", "timeout")
