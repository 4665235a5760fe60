"""An agent's own login on its way to its vendor: nothing of it is changed, kept or billed."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest

from omni_cli.domain.models import Provider
from omni_cli.domain.sessions import Session
from omni_cli.importers import load
from omni_cli.records import ClientKey
from omni_cli.simulator import Simulator
from tests.gateway_server import serving

LOGIN = "Bearer sk-ant-oat01-an-own-login-0123456789"
KEY = "sk-omni-launched"
BODY = b'{"model": "claude-haiku-4-5",  "max_tokens":9,"messages":[], "own_field": 1.0}'
USAGE = {"input_tokens": 1000, "output_tokens": 1, "cache_read_input_tokens": 500}
EVENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "message_start",
        {"message": {"id": "msg_own", "role": "assistant", "model": "claude-haiku-4-5",
                     "content": [], "usage": USAGE}},
    ),
    ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}),
    ("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "hello"}}),
    ("content_block_stop", {"index": 0}),
    ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}}),
    ("message_stop", {}),
)  # fmt: skip
ANSWER = "".join(
    f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n" for name, data in EVENTS
).encode()


class Vendor(BaseHTTPRequestHandler):
    asked: ClassVar[list[tuple[str, dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
        known = self.path.startswith("/v1/messages")
        self.send_response(200 if known else 418)
        self.send_header("content-type", "text/event-stream" if known else "application/json")
        self.send_header("request-id", "req_own")
        self.end_headers()
        self.wfile.write(ANSWER if known else b'{"no": "tea"}')

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def vendor() -> Iterator[str]:
    Vendor.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Vendor) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_it_goes_on_untouched_and_is_counted_at_no_cost(
    tmp_path: Path, sim: Simulator, vendor: str
) -> None:
    with serving(tmp_path, sim) as gateway:
        launched = Session("launch:own", "claude-code", "shop")
        key = ClientKey("launch:own", "sk-…", session=launched)
        gateway.app.client_keys.add(key, KEY)
        gateway.app.client_keys.add(ClientKey("plain", "sk-…"), "sk-omni-plain")
    with serving(tmp_path, sim) as gateway:
        app = gateway.app
        app.fleet.put_provider(
            Provider("anthropic", "Anthropic", "anthropic", vendor, "none", simulated=True)
        )
        url = f"{gateway.url}/subscription/anthropic/v1/messages?beta=true"
        headers = {
            "authorization": LOGIN,
            "anthropic-beta": "oauth-2025-04-20",
            "user-agent": "claude-cli/2.1.197",
            "x-claude-code-session-id": "its-own-id",
            "content-type": "application/json",
            "x-omni-key": KEY,
        }
        with httpx.Client(trust_env=False, timeout=20) as client:
            for _ in range(200):
                said = client.post(url, content=BODY, headers=headers)
                if said.status_code == 200:
                    break
            assert said.content == ANSWER
            assert said.headers["request-id"] == "req_own"
            other = client.post(url.replace("messages", "tea"), content=BODY, headers=headers)
            assert (other.status_code, other.json()) == (418, {"no": "tea"})
            for wrong in ("", "sk-omni-plain", "sk-omni-nobody"):
                refused = client.post(url, content=BODY, headers={**headers, "x-omni-key": wrong})
                assert refused.status_code in (401, 403)
            elsewhere = client.post(url.replace("anthropic", "nobody"), headers=headers)
            assert elsewhere.status_code == 404
        path, sent, body = next(asked for asked in Vendor.asked if "messages" in asked[0])
        assert (path, body) == ("/v1/messages?beta=true", BODY)
        assert sent["authorization"] == LOGIN
        assert sent["anthropic-beta"] == "oauth-2025-04-20"
        assert not [name for name in sent if name.startswith("x-omni")]
        (row,) = app.ledger.recent(limit=9)
        assert (row.model, row.source, row.cost_nusd) == ("anthropic/claude-haiku-4-5", "import", 0)
        assert (row.usage.input_tokens, row.usage.output_tokens) == (1500, 20)
        assert (row.agent, row.session, row.project) == ("claude-code", "its-own-id", "shop")
        (used,) = app.agent_sessions.used("launch:own")
        assert (used.calls, used.total_tokens) == (1, 1520)
        # 1,000 at $1, 500 from the cache at $0.10, 20 at $5, per million.
        assert used.list_nusd == 1_000_000 + 50_000 + 100_000
        # Its own log tells of the same call.
        log = tmp_path / "log.jsonl"
        line = {"type": "assistant", "timestamp": "2026-11-29T04:00:00Z", "sessionId": "its-own-id"}
        message = {"id": "msg_own", "model": "claude-haiku-4-5", "usage": USAGE}
        log.write_text(json.dumps({**line, "requestId": "req_own", "message": message}) + "\n")
        assert app.importing.plan("claude-code", load("claude-code", [log]).calls).new == []
        kept = b"".join(p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())
        assert b"an-own-login" not in kept
