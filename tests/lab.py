"""An OpenAI-compatible server on loopback that asks for a key, and remembers who asked it."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Lab:
    """``keys``: what it takes. ``asked``: (path, key) of each request, in order."""

    url: str
    keys: set[str]
    models: tuple[str, ...] = ("gpt-4o-mini",)
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"{self.url}/v1"


@contextmanager
def laboratory(*keys: str) -> Iterator[Lab]:
    """A lab that takes these keys, and none other, until the block ends."""
    lab = Lab("", set(keys))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({"object": "list", "data": [{"id": name} for name in lab.models]})

        def do_POST(self) -> None:
            size = int(self.headers.get("content-length") or 0)
            body = json.loads(self.rfile.read(size) or b"{}")
            if body.get("stream"):
                self._answer(None)
                return
            message = {"role": "assistant", "content": "from the lab"}
            usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            self._answer({"id": "1", "model": "m", "choices": [choice], "usage": usage})

        def _answer(self, document: Any) -> None:
            key = self.headers.get("authorization", "").removeprefix("Bearer ")
            key = key or self.headers.get("x-api-key", "")
            lab.asked.append((self.path, key))
            if key not in lab.keys:
                error = {"message": "Incorrect API key provided", "code": "invalid_api_key"}
                self._send(401, "application/json", json.dumps({"error": error}).encode())
            elif document is None:
                delta = {"index": 0, "delta": {"content": "from the lab"}, "finish_reason": "stop"}
                usage = {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
                parts = (
                    {"id": "1", "choices": [delta]},
                    {"id": "1", "choices": [], "usage": usage},
                )
                text = "".join(f"data: {json.dumps(part)}\n\n" for part in parts)
                self._send(200, "text/event-stream", (text + "data: [DONE]\n\n").encode())
            else:
                self._send(200, "application/json", json.dumps(document).encode())

        def _send(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Not on stderr."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    lab.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield lab
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
