"""The whole gateway under mutated traffic: requests of real clients, and providers' answers,
damaged and cut anywhere. Never a failure of its own, a hang, or an end that is not told.

``tests/integration/gateway/test_fuzz.py`` runs a little of it, ``benchmarks/gateway_fuzz.py`` much.
"""

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

from omni_cli.domain.models import ModelInfo, ProtocolName, Provider
from omni_cli.simulator import Simulator
from tests.clients.everyone import MODELS, everybody
from tests.gateway_server import Served, serving
from tests.paths import FIXTURES
from tests.unit.providers.wire import chats

PROTOCOLS: tuple[ProtocolName, ...] = (
    *("openai", "openai-responses", "anthropic", "gemini", "ollama"),
)
ODD: tuple[Any, ...] = (
    *(None, [], {}, "", "\x00", "\ud7ff\U0010ffff", "9" * 400, -1, 10**30, 1.5, True, [[]], [None]),
    *({"type": None}, {"type": "text"}, [{"type": "nothing"}], {"$ref": "#"}, "data:,", "http://"),
)
_BYTES = (
    b"null",
    b"[]",
    b"{}",
    b'"',
    b"\\ud800",
    b"-1",
    b"1e999",
    b"\n\n",
    b"\r",
    b"data:",
    b"\xff",
)
#: How a stream may end, in each caller's protocol: as it should, or told why not.
_ENDS = {
    "openai": (b"[DONE]", b'"error"'),
    "openai-responses": (b"response.completed", b"response.incomplete", b'"error"', b".failed"),
    "anthropic": (b"message_stop", b"event: error"),
    "gemini": (b'"finishReason"', b'"error"'),
    "ollama": (b'"done":true', b'"error"'),
}
_PATHS = {
    "openai": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}


def damaged(body: bytes, rng: random.Random) -> bytes:
    """Cut, doubled, reordered, overwritten, or with a value that nobody expects."""
    made = bytearray(body)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(made) + 1)
        kind = rng.randrange(6)
        if kind == 0:
            del made[at:]
        elif kind == 1:
            del made[at : at + rng.randint(1, 40)]
        elif kind == 2:
            made[at:at] = made[at : at + rng.randint(1, 200)]
        elif kind == 3:
            made[at : at + 1] = rng.choice(_BYTES)
        elif kind == 4:
            events = bytes(made).split(b"\n\n")
            rng.shuffle(events)
            made = bytearray(b"\n\n".join(events))
        else:
            start = made.find(b":", at) + 1
            ends = [e for e in (made.find(b",", start), made.find(b"}", start)) if e > 0]
            if start:
                made[start : min(ends, default=start)] = rng.choice(_BYTES)
    return bytes(made)


def mutated(value: Any, rng: random.Random) -> Any:
    """A request's body with one thing in it replaced, left out, doubled or of another type."""
    if isinstance(value, dict) and value and rng.random() < 0.8:
        name = rng.choice(list(value))
        if rng.random() < 0.2:
            return {key: item for key, item in value.items() if key != name}
        return {**value, name: mutated(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        at = rng.randrange(len(value))
        kept = [*value[:at], mutated(value[at], rng), *value[at + 1 :]]
        return kept * 2 if rng.random() < 0.1 else kept
    return rng.choice(ODD)


# --- requests -------------------------------------------------------------------------------------


def recorded() -> list[tuple[str, dict[str, str], dict[str, Any]]]:
    """(path, headers, body) of what real clients and agents sent."""
    found = []
    for file in sorted((FIXTURES / "clients").rglob("*.json")):
        read = json.loads(file.read_text())
        requests = read if isinstance(read, list) else [read]
        found += [(one["path"], one["headers"], one["body"]) for one in requests]
    return found


def ask_oddly(served: Served, rounds: int, seed: int) -> list[str]:
    """What went wrong of ``rounds`` mutated requests to models of every protocol."""
    rng = random.Random(seed)
    requests, faults = recorded(), []
    with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client:
        for n in range(rounds):
            path, headers, body = rng.choice(requests)
            model = rng.choice(list(MODELS.values()))
            odd = mutated({**body, "model": model}, rng)
            sent = json.dumps(odd).encode()
            if rng.random() < 0.2:
                sent = damaged(sent, rng)
            try:
                answer = client.post(path.replace("MODEL", model), content=sent, headers=headers)
            except httpx.HTTPError as exc:
                faults.append(f"{n} {path} {model}: {exc!r}: {sent[:300]!r}")
                continue
            if answer.status_code == 500 or b"unexpected" in answer.content[:300]:
                faults.append(f"{n} {path} {model}: {answer.status_code} {answer.text[:300]}")
    return faults


# --- answers --------------------------------------------------------------------------------------


class Upstream:
    """``body`` is what the next request is answered with, in ``pieces``."""

    url = ""
    kind = "application/json"
    pieces: tuple[bytes, ...] = ()
    length: int | None = None


@contextmanager
def upstream() -> Iterator[Upstream]:
    """A provider on loopback that answers with whatever it was given."""
    state = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length") or 0))
            self.send_response(200)
            self.send_header("content-type", state.kind)
            if state.length is not None:
                self.send_header("content-length", str(state.length))
            self.send_header("connection", "close")
            self.close_connection = True
            self.end_headers()
            for piece in state.pieces:
                self.wfile.write(piece)
                self.wfile.flush()

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


def _cut(body: bytes, rng: random.Random) -> tuple[bytes, ...]:
    """The body in pieces that end anywhere."""
    ends = sorted(rng.randrange(len(body) + 1) for _ in range(rng.randint(0, 4)))
    return tuple(body[a:b] for a, b in zip((0, *ends), (*ends, len(body)), strict=True) if a < b)


def _wish(caller: str, model: str, *, stream: bool) -> tuple[str, dict[str, Any]]:
    """A caller's path and request."""
    if caller == "gemini":
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/v1beta/models/{model}:{method}", {"contents": [{"parts": [{"text": "hi"}]}]}
    body: dict[str, Any] = {"model": model, "stream": stream, "max_tokens": 100}
    if caller == "openai-responses":
        return _PATHS[caller], {"model": model, "stream": stream, "input": "hi"}
    if caller == "ollama":
        del body["max_tokens"]
    return _PATHS[caller], {**body, "messages": [{"role": "user", "content": "hi"}]}


def answer_oddly(home: Path, rounds: int, seed: int) -> list[str]:
    """What went wrong of ``rounds`` damaged answers, told to callers of every protocol."""
    rng = random.Random(seed)
    found = {p: [x for x in chats(p) if len(x.body) < 60_000] for p in PROTOCOLS}
    faults = []
    with upstream() as provider, Simulator(seed=seed) as sim, serving(home, sim) as served:
        _providers(served, provider.url, rounds)
        with httpx.Client(base_url=served.url, timeout=30, trust_env=False) as client:
            for n in range(rounds):
                protocol = PROTOCOLS[n % len(PROTOCOLS)]
                exchange, caller = rng.choice(found[protocol]), rng.choice(PROTOCOLS)
                body = damaged(exchange.body, rng)
                usual = "application/x-ndjson" if protocol == "ollama" else "text/event-stream"
                provider.kind = usual if exchange.stream else "application/json"
                provider.pieces = _cut(body, rng)
                provider.length = len(body) + 9 if rng.random() < 0.1 else None
                path, wish = _wish(caller, f"odd{n}/m", stream=exchange.stream)
                about = f"{n} {exchange.id} -> {caller}"
                try:
                    answer = client.post(path, json=wish)
                except httpx.RemoteProtocolError as exc:
                    # Bytes that went on as they came cannot be mended: the connection tells.
                    if caller != protocol:
                        faults.append(f"{about}: {exc!r}")
                    continue
                except httpx.HTTPError as exc:
                    faults.append(f"{about}: {exc!r}")
                    continue
                said = answer.content
                if answer.status_code == 500 or b"unexpected" in said[:300]:
                    faults.append(f"{about}: {answer.status_code} {answer.text[:300]}")
                streams = exchange.stream and answer.status_code == 200 and caller != protocol
                if streams and not any(end in said for end in _ENDS[caller]):
                    faults.append(f"{about}: a silent end: {said[-200:]!r}")
        served.settle(rounds, timeout_s=30)
    return faults


def _providers(served: Served, url: str, count: int) -> None:
    """A provider for each round: what failed in one says nothing of the next."""
    app = served.app
    with app.fleet.change("test", "odd", None, "odd"):
        for n in range(count):
            slug, protocol = f"odd{n}", PROTOCOLS[n % len(PROTOCOLS)]
            app.fleet.put_provider(Provider(slug, slug, protocol, url, "none"))
            model = ModelInfo(f"{slug}/m", slug, "m", "m")
            app.fleet.put_model(model, set_fields=())
            app.fleet.set_price(model.id, {"input": Decimal(1), "output": Decimal(1)}, sure=True)


def run(home: Path, rounds: int, seed: int) -> list[str]:
    """Both, ``rounds`` times each."""
    with everybody(home / "requests") as served:
        faults = ask_oddly(served, rounds, seed)
    return faults + answer_oddly(home / "answers", rounds, seed)
