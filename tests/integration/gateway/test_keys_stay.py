"""A provider's key and a caller's key are in nothing that the gateway says or writes (E3, A2)."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from omni_cli.store.gateway_keys import GatewayKeyStore
from tests.gateway_server import Served, serving
from tests.integration.test_secrets import traces

PROVIDERS_KEY = "sk-proj-PLANTED3provider9f8e7d6c5b4a3210ZYXW"
CALLERS_KEY = "omni-PLANTED4caller0123456789abcdefghijVUTSRQ"
KINDS = ("refuse", "malformed", "in-stream", "cut", "redirect", "fine")
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/api/chat")


class _Mirror(BaseHTTPRequestHandler):
    """Says the key that it was called with in every way that a provider could."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key, kind = self.headers["authorization"], body["model"]
        error = {"error": {"message": f"wrong key {key}", "code": key, "type": key, "param": key}}
        answer = {
            "id": "a1",
            "choices": [{"message": {"content": "Fine."}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        }
        status, kind_of, data = {
            "refuse": (401, "application/json", json.dumps(error)),
            "malformed": (200, "application/json", f"<html>{key}</html>"),
            "in-stream": (200, "text/event-stream", f"data: {json.dumps(error)}\n\n"),
            "cut": (200, "text/event-stream", f"data: {key}"),
            "redirect": (302, "text/plain", key),
            "fine": (200, "application/json", json.dumps(answer)),
        }[kind]
        self.send_response(status, f"Oh {key}" if status != 200 else "OK")
        for name, value in (
            ("content-type", kind_of),
            ("x-request-id", key),
            ("location", f"http://127.0.0.1:1/{key}"),
            ("set-cookie", key),
            ("content-length", str(len(data))),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Mirror)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def served(tmp_path: Path, sim: Simulator, mirror: str) -> Iterator[Served]:
    with serving(tmp_path, sim, env={"MIRROR_KEY": PROVIDERS_KEY}) as made:
        with made.app.fleet.change("test", "mirror", None, "mirror"):
            made.app.fleet.put_provider(
                Provider("mirror", "Mirror", "openai", mirror, key_env="MIRROR_KEY")
            )
            for kind in KINDS:
                model = ModelInfo(f"mirror/{kind}", "mirror", kind, kind)
                made.app.fleet.put_model(model, set_fields=())
                made.app.fleet.set_status(model.id, "active")
        key = ClientKey(name="one", shown="omni-...", created_at=1, scope="admin")
        GatewayKeyStore(made.app.store).add(key, CALLERS_KEY)
        time.sleep(0.6)
        yield made


def _body(path: str, model: str, stream: bool) -> dict[str, object]:
    text = "Is all well?"
    if path == "/v1/responses":
        return {"model": model, "input": text, "stream": stream}
    messages = [{"role": "user", "content": text}]
    if path == "/api/chat":
        return {"model": model, "messages": messages, "stream": stream}
    return {"model": model, "messages": messages, "max_tokens": 20, "stream": stream}


def _leaks(data: bytes) -> list[str]:
    return [
        key for key in (PROVIDERS_KEY, CALLERS_KEY) if any(trace in data for trace in traces(key))
    ]


def test_no_key_is_in_answers_logs_metrics_or_the_store(
    served: Served, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG", logger="omni")
    asked = 0
    headers = {"authorization": f"Bearer {CALLERS_KEY}"}
    with httpx.Client(base_url=served.url, timeout=20, trust_env=False, headers=headers) as client:
        for path in PATHS:
            for kind in KINDS:
                for stream in (False, True):
                    answer = client.post(path, json=_body(path, f"mirror/{kind}", stream))
                    asked += 1
                    said = f"{answer.headers.raw!r}".encode() + answer.content
                    assert not _leaks(said), (path, kind, stream, answer.text)
                    if kind == "redirect":  # the provider's address is wrong, not the request
                        assert answer.status_code == 502
        wrong = {"authorization": f"Bearer {CALLERS_KEY}x"}
        for path in (*PATHS, f"/v1/models/{CALLERS_KEY}", "/nothing"):
            for method in ("GET", "POST"):
                refused = client.request(method, path, headers=wrong, json=_body(path, "x", False))
                assert not _leaks(refused.content.replace(path.encode(), b""))
        served.settle(asked)
        for path in ("/metrics", "/v1/usage", "/api/models", "/api/providers", "/api/config"):
            assert not _leaks(client.get(path).content), path
    said = capfd.readouterr()
    assert not _leaks((caplog.text + said.out + said.err).encode())
    served.app.store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for file in served.home.rglob("*"):
        if file.is_file():
            assert not _leaks(file.read_bytes()), file
