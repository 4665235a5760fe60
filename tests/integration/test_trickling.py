"""Providers that send something now and then, and never an answer: a call's timeout holds, in the
command line and in the gateway alike, and the next model of a chain is asked."""

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from omni_cli.domain.chat import ChatRequest, conversation
from omni_cli.domain.errors import ProviderError, TimedOut
from omni_cli.domain.models import Chain, ChainLink, ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.ports import Endpoint
from omni_cli.providers.http import HttpFetcher, HttpTransport
from omni_cli.simulator import Simulator
from omni_cli.wire.registry import adapter
from tests.gateway_server import serving

_SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
_JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n"
_EVENT = b'data: {"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"Hel"}}]}\n\n'
#: What comes first, and what comes again and again.
WAYS = {
    "head": (b"HTTP/1.1 200 OK\r\n", b"x-more: y\r\n"),
    "interim": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "comments": (_SSE, b": OPENROUTER PROCESSING\n\n"),
    "pings": (_SSE, b'event: ping\ndata: {"type": "ping"}\n\n'),
    "bytes": (_SSE + b'data: {"id":"', b"1"),
    "plain": (_JSON + b'{"id":"', b"1"),
    "spaces": (_JSON, b" \n"),
    "refusal": (b"HTTP/1.1 503 No\r\ncontent-type: text/plain\r\n\r\n", b"no"),
    "later": (_SSE + _EVENT, b": OPENROUTER PROCESSING\n\n"),
}
_REQUEST = ChatRequest(conversation(None, [("user", "hi")]))


@pytest.fixture(scope="module")
def trickling() -> Iterator[str]:
    """A server whose path says how it answers."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    done = threading.Event()

    def serve(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += sock.recv(65536)
            first, again = WAYS[asked.split(b" ")[1].split(b"/")[1].decode()]
            sock.sendall(first)
            while not done.wait(0.1):
                sock.sendall(again)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listening.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    done.set()
    listening.close()


def test_a_command_gives_up_in_time(trickling: str) -> None:
    async def asked(way: str) -> str:
        wire = adapter("openai")
        call = wire.build(_REQUEST, "m", Endpoint(f"{trickling}/{way}", None))
        async with HttpTransport() as transport:
            try:
                async with await transport.open(wire, call, timeout_s=0.5) as answer:
                    return "".join([chunk.text async for chunk in answer])
            except TimedOut as exc:
                return exc.message
            except ProviderError as exc:
                if way == "refusal":  # its status says enough
                    return "sent nothing for 0.5 s"
                return repr(exc)

    async def ask() -> list[str]:
        return await asyncio.gather(*map(asked, WAYS))

    told = dict(zip(WAYS, asyncio.run(ask()), strict=True))
    wrong = {way: words for way, words in told.items() if "sent nothing for 0.5 s" not in words}
    assert not wrong


def test_a_list_of_models_is_given_up_in_time(trickling: str) -> None:
    wire = adapter("openai")
    call = wire.list_models(Endpoint(f"{trickling}/plain", None))
    with pytest.raises(TimedOut):
        HttpFetcher().fetch(wire, call, timeout_s=0.5)


def test_a_gateway_gives_up_in_time_and_asks_the_next(trickling: str, tmp_path: Path) -> None:
    with Simulator() as sim, serving(tmp_path, sim) as gateway:
        app = gateway.app
        for way in WAYS:
            url = f"{trickling}/{way}"
            app.fleet.put_provider(Provider(way, way, "openai", url, "none"))
            app.fleet.put_model(ModelInfo(f"{way}/m", way, "m", "m"), set_fields=())
            app.fleet.set_status(f"{way}/m", "active")
            price = Price("priced", input=Rate(Decimal(1)), output=Rate(Decimal(1)))
            app.models.set_price(f"{way}/m", price, origin="user", now_ms=0)
            links = (ChainLink(f"{way}/m", 0, 1_000), ChainLink("openai/gpt-4o-mini", 0, 30_000))
            app.fleet.put_chain(Chain(f"{way} first", links, 100.0))
        time.sleep(0.6)

        def ask(way: str) -> tuple[int, str, str]:
            body = {
                "model": f"chain:{way} first",
                "messages": [{"role": "user", "content": "hi"}],
                "stream": way not in ("plain", "spaces"),
            }
            with httpx.Client(base_url=gateway.url, trust_env=False, timeout=60) as http:
                answer = http.post("/v1/chat/completions", json=body)
            return answer.status_code, answer.headers.get("x-omni-model", ""), answer.text

        with ThreadPoolExecutor(len(WAYS)) as pool:
            told = dict(zip(WAYS, pool.map(ask, WAYS, timeout=60), strict=True))
        begun = told.pop("later")
        assert begun[0] == 200
        assert "was silent for 1 s" in begun[2]
        wrong = {way: got for way, got in told.items() if got[:2] != (200, "openai/gpt-4o-mini")}
        assert not wrong
        gateway.settle(len(WAYS))
        for row in app.ledger.recent(limit=20):
            first = app.ledger.attempts(row.id)[0]
            assert first.error_code in ("timeout", "overloaded"), first
