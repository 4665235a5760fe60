"""A stream that reports an error after some content costs what had come, on both faces, whether
the error is in the same read as the content or comes later."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from omni_cli.domain.chat import ChatRequest, conversation
from omni_cli.domain.errors import StreamInterrupted
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from omni_cli.simulator import Simulator
from tests.gateway_server import serving

_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
_TEXT = (
    b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Half an answer"}}]}\n\n'
)
_ERROR = b'data: {"error":{"message":"overloaded","code":503}}\n\n'
#: What is sent at once, one piece after the other.
READS = {
    "same": (_SSE + _TEXT + _ERROR,),
    "more": (_SSE + _TEXT, _TEXT + _ERROR),
    "later": (_SSE, _TEXT, _ERROR),
}


@pytest.fixture
def failing() -> Iterator[str]:
    """A server whose path says how its answer is cut into pieces."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=8)

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock = listening.accept()[0]
                with sock:
                    asked = b""
                    while b'"messages"' not in asked:
                        asked += sock.recv(65536)
                    for piece in READS[asked.split(b" ")[1].split(b"/")[1].decode()]:
                        sock.sendall(piece)
                        time.sleep(0.05)

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    listening.close()


def test_an_error_after_content_costs_what_came(failing: str, tmp_path: Path) -> None:
    with Simulator() as sim, serving(tmp_path, sim) as gateway:
        app = gateway.app
        for way in READS:
            app.fleet.put_provider(Provider(way, way, "openai", f"{failing}/{way}", "none"))
            info = ModelInfo(f"{way}/m", way, "m", "m", max_output=1_000)
            app.fleet.put_model(info, set_fields=())
            app.fleet.set_status(f"{way}/m", "active")
            price = Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(10)))
            app.models.set_price(f"{way}/m", price, origin="user", now_ms=0)
        time.sleep(0.6)
        found: dict[str, dict[str, object]] = {}
        for way in READS:
            body = {
                "model": f"{way}/m",
                "messages": [{"role": "user", "content": "hi"}],
                "stream": True,
            }
            httpx.post(f"{gateway.url}/v1/chat/completions", json=body, timeout=20, trust_env=False)
            job = ChatJob(
                ChatRequest(conversation(None, [("user", "hi")])), Selector("model", f"{way}/m")
            )
            with pytest.raises(StreamInterrupted):
                list(app.chat.chunks(app.chat.start(app.chat.plan(job))))
        gateway.settle(2 * len(READS))
        for row in app.ledger.recent(limit=20):
            # Where nothing was handed on yet a gateway tries again, and each try costs.
            for attempt in app.ledger.attempts(row.id):
                assert attempt.cost_nusd
                assert attempt.held_nusd
                pieces = 2 if row.model == "more/m" else 1
                assert attempt.received_chars == pieces * len("Half an answer")
                known = (attempt.usage, attempt.cost_nusd, attempt.state, attempt.error_code)
                assert found.setdefault(row.model, {}).setdefault(row.source, known) == known
        for model, faces in found.items():
            assert faces["gateway"] == faces["chat"], model
        assert found["same/m"] == found["later/m"]
