"""One fleet, asked by the command line's service and by a gateway over a socket."""

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.models import Chain, ChainLink
from omni_cli.domain.money import usd_string
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving

FIRST, SECOND = "anthropic/claude-3-haiku-20240307", "openai/gpt-4o-mini"
#: Two models, one retry each, and a second of patience.
PAIR = "chain:Pair"
#: The same with ten seconds, the second asked beside the first after a tenth of one.
HEDGED = "chain:Hedged"
PROMPT = "Is all well? Tell me at length."


@dataclass(frozen=True)
class Wish:
    """``keep``: pieces of the answer after which its reader leaves; None: it stays."""

    model: str = PAIR
    stream: bool = True
    max_tokens: int | None = 60
    max_cost_nusd: int | None = None
    keep: int | None = None
    agent: str = ""
    escalate: bool = False


@dataclass
class Outcome:
    """``error``: the code that its reader was told, "" where it was answered. A gateway tells by a
    header that the answer which it gives failed its check."""

    text: str
    error: str
    #: None where its plan was refused: nothing is written then.
    found: RequestRow | None
    attempts: list[AttemptRow] = field(default_factory=list)

    @property
    def row(self) -> RequestRow:
        assert self.found is not None
        return self.found

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(a.model, a.state) for a in self.attempts]


class Way(Protocol):
    """A way of a request."""

    served: Served

    def ask(self, wish: Wish) -> Outcome: ...


def _found(served: Served, before: set[int], text: str, error: str, *, sent: bool) -> Outcome:
    if not sent:
        return Outcome(text, error, None)
    end = time.monotonic() + 10
    while True:
        rows = [r for r in served.app.ledger.recent(limit=50) if r.id not in before]
        if len(rows) == 1 and rows[0].state != "pending":
            break
        if time.monotonic() > end:
            raise AssertionError(f"{[r.state for r in rows]} after {error or text!r}")
        time.sleep(0.005)
    return Outcome(text, error, rows[0], served.app.ledger.attempts(rows[0].id))


class CommandLine:
    def __init__(self, served: Served) -> None:
        self.served = served

    def ask(self, wish: Wish) -> Outcome:
        app = self.served.app
        before = {row.id for row in app.ledger.recent(limit=50)}
        job = ChatJob(
            ChatRequest(
                (Message.text_of("user", PROMPT),),
                max_output_tokens=wish.max_tokens,
                stream=wish.stream,
            ),
            app.names.select(wish.model),
            options=RouteOptions(max_cost_nusd=wish.max_cost_nusd, agent=wish.agent or None),
            keep=False,
            checks=() if wish.escalate else None,
        )
        pieces: list[str] = []
        error, sent = "", False
        try:
            run = app.chat.start(app.chat.plan(job))
            sent = True
            with closing(app.chat.chunks(run)) as chunks:
                for chunk in chunks:
                    pieces += [chunk.text] if chunk.text else []
                    if wish.keep is not None and len(pieces) >= wish.keep:
                        break
        except OmniError as exc:
            error = exc.code
        return _found(self.served, before, "".join(pieces), error, sent=sent)


class Gateway:
    def __init__(self, served: Served) -> None:
        self.served = served

    def ask(self, wish: Wish) -> Outcome:
        app = self.served.app
        before = {row.id for row in app.ledger.recent(limit=50)}
        body: dict[str, Any] = {
            "model": wish.model,
            "messages": [{"role": "user", "content": PROMPT}],
            "stream": wish.stream,
        }
        if wish.max_tokens is not None:
            body["max_tokens"] = wish.max_tokens
        headers = {"x-omni-agent": wish.agent} if wish.agent else {}
        if wish.escalate:
            headers["x-omni-escalate"] = "1"
        if wish.max_cost_nusd is not None:
            headers["x-omni-max-cost"] = usd_string(wish.max_cost_nusd)
        pieces: list[str] = []
        error = ""
        with (
            httpx.Client(base_url=self.served.url, timeout=20, trust_env=False) as client,
            client.stream("POST", "/v1/chat/completions", json=body, headers=headers) as answer,
        ):
            for line in answer.iter_lines():
                part = line.removeprefix("data: ").strip()
                if not part.startswith("{"):
                    continue
                document = json.loads(part)
                if "error" in document:
                    error = document["error"]["code"]
                for choice in document.get("choices", ()):
                    said = choice.get("delta", choice.get("message", {})).get("content")
                    pieces += [said] if said else []
                if wish.keep is not None and len(pieces) >= wish.keep:
                    break
        if answer.headers.get("x-omni-check", "").startswith("failed"):
            error = "assertion_failed"
        sent = "x-omni-request-id" in answer.headers
        return _found(self.served, before, "".join(pieces), error, sent=sent)


@pytest.fixture
def served(tmp_path: Path, sim: Simulator) -> Iterator[Served]:
    with serving(tmp_path, sim) as found:
        links = (ChainLink(FIRST, 1, 1_000), ChainLink(SECOND, 1, 1_000))
        found.app.fleet.put_chain(Chain("Pair", links))
        slow = (ChainLink(FIRST, 0, 10_000), ChainLink(SECOND, 0, 10_000))
        found.app.fleet.put_chain(Chain("Hedged", slow, hedge_ms=100))
        time.sleep(0.3)  # the gateway looks for changes four times a second
        yield found


@pytest.fixture(params=[CommandLine, Gateway], ids=["cli", "gateway"])
def way(request: pytest.FixtureRequest, served: Served) -> Way:
    found: Way = request.param(served)
    return found
