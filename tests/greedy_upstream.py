"""A provider that gives as much as it was asked for, read as leniently as any server does.

It keeps its own bill.

It shares no code with omni's bounds. Of each field it takes the reading that costs most: numbers as
text, floats and hexadecimal, either of two limits, names in any case with or without underscores,
the first or the last of a key that is there twice, a stored past up to the whole window, as many
rounds of its own tools as it may.
"""

import json
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WINDOW, MOST_OUT = 50_000, 8_000
#: Nano-dollars a token.
IN_NUSD, OUT_NUSD = 2_500, 10_000
_LIMITS = {"maxtokens", "maxcompletiontokens", "maxoutputtokens", "maxnewtokens", "npredict"}
_LIMITS |= {"numpredict"}
#: Budgets of reasoning, which may come beside the answer.
_BESIDE = {("reasoning", "maxtokens"), ("thinkingbudget",)}
_COUNTS = {"n", "bestof", "candidatecount"}
_STORED = {"previousresponseid", "conversation", "cachedcontent", "container", "thread"}
_REMOTE = {"fileid", "fileuri", "fileurl", "filedata", "filename"}
_ITEMS = {"item_reference", "compaction", "file_search_call", "document", "input_file", "file"}
_ITEMS |= {"container_upload", "input_audio"}
_LOOPS = ("web_search", "web_fetch", "file_search", "mcp", "code_execution", "google", "urlcontext")


class Pairs(list[tuple[str, Any]]):
    """An object with all its keys, twice where they are there twice."""


def parse(body: bytes) -> Any:
    return json.loads(body, object_pairs_hook=Pairs)


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        for read in (float, lambda text: float(int(text.replace("_", ""), 0))):
            try:
                return read(value)
            except ValueError:
                continue
        return None
    return float(value) if isinstance(value, int | float) else None


def _walk(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Pairs):
        for key, item in value:
            yield (*path, _folded(key)), item
            yield from _walk(item, (*path, _folded(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _walk(item, path)


def _own(path: tuple[str, ...]) -> bool:
    """A field of the request itself, or of its configuration."""
    return len(path) == 1 or path[0] in ("generationconfig", "options") or path in _BESIDE


def usage(body: bytes) -> tuple[int, int]:
    """(input, output) tokens of the dearest reading."""
    parsed = parse(body)
    limits: list[float] = []
    choices, stored, rounds, beside = 1.0, False, 1, 0
    uses: list[float] = []
    loops = False
    for path, value in _walk(parsed):
        name = path[-1]
        number = _number(value)
        if _own(path):
            if path in _BESIDE and number is not None and math.isfinite(number):
                beside += max(math.ceil(number), 0)
            elif name in _LIMITS and value is not None:
                good = number is not None and math.isfinite(number) and number > 0
                limits.append(math.ceil(number or 0) if good else MOST_OUT)
            if name in _COUNTS and number is not None and math.isfinite(number):
                choices = max(choices, math.ceil(number))
            if name in _STORED and value:
                stored = True
            if name == "prompt" and isinstance(value, Pairs):
                stored = loops = True
            if name == "prediction" and value:
                beside += sum(len(text) for _, text in _walk(value) if isinstance(text, str))
            if name == "mcpservers" and value:
                stored = loops = True
            if name == "maxtoolcalls" and number is not None and number > 0:
                uses.append(number)
        if name in _REMOTE and value:
            stored = True
        if name == "type" and isinstance(value, str) and value in _ITEMS:
            stored = True
        if path[0] == "tools":
            kind = value if name == "type" and isinstance(value, str) else name
            if kind.lower().startswith(_LOOPS):
                stored = loops = True
            if name == "maxuses" and number is not None and number > 0:
                uses.append(number)
    if loops:
        rounds = 1 + int(min(max(uses, default=10), 10))
    tokens_in = max(WINDOW, len(body)) * rounds if stored else len(body)
    each = max(limits, default=MOST_OUT)
    return tokens_in, int((each + beside) * choices)


def _answer(path: str, tokens: tuple[int, int]) -> dict[str, Any]:
    into, out = tokens
    if path.endswith("/chat/completions"):
        message = {"role": "assistant", "content": "ok"}
        return {
            "id": "c",
            "object": "chat.completion",
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {
                "prompt_tokens": into,
                "completion_tokens": out,
                "total_tokens": into + out,
            },
        }
    if path.endswith("/responses"):
        content = [{"type": "output_text", "text": "ok", "annotations": []}]
        item = {"type": "message", "role": "assistant", "status": "completed", "content": content}
        counts = {"input_tokens": into, "output_tokens": out, "total_tokens": into + out}
        return {"id": "r", "status": "completed", "model": "m", "output": [item], "usage": counts}
    if path.endswith("/messages"):
        return {
            "id": "m",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": [{"type": "text", "text": "ok"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": into, "output_tokens": out},
        }
    if path.endswith("/api/chat"):
        message = {"role": "assistant", "content": "ok"}
        counts = {"prompt_eval_count": into, "eval_count": out}
        return {"model": "m", "message": message, "done": True, "done_reason": "stop", **counts}
    if path.endswith("/embeddings"):
        counts = {"prompt_tokens": into, "total_tokens": into}
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        return {"object": "list", "data": data, "model": "m", "usage": counts}
    content = {"role": "model", "parts": [{"text": "ok"}]}
    counts = {"promptTokenCount": into, "candidatesTokenCount": out}
    return {
        "candidates": [{"content": content, "finishReason": "STOP", "index": 0}],
        "usageMetadata": counts,
    }


class Upstream:
    """``bill_nusd``: of all that was answered. ``fate``: what becomes of a call: "" for an answer,
    "cut" for one that breaks off when it has been made, or an HTTP status."""

    def __init__(self) -> None:
        self.bill_nusd = 0
        self.bodies: list[bytes] = []
        self.fate: Callable[[], str] = lambda: ""
        self.url = ""
        self._lock = threading.Lock()

    def forget(self) -> None:
        with self._lock:
            self.bill_nusd = 0
            self.bodies.clear()

    def take(self, path: str, body: bytes) -> tuple[int, bytes, bool]:
        fate = self.fate()
        if fate.isdecimal():
            return int(fate), b'{"error": {"message": "not now"}}', False
        into, out = usage(body)
        if path.endswith("/embeddings"):
            out = 0
        with self._lock:
            self.bodies.append(body)
            self.bill_nusd += into * IN_NUSD + out * OUT_NUSD
        return 200, json.dumps(_answer(path, (into, out))).encode(), fate == "cut"


@contextmanager
def upstream() -> Iterator[Upstream]:
    there = Upstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            status, answer, cut = there.take(self.path.partition("?")[0].partition(":")[0], body)
            head = f"HTTP/1.1 {status} x\r\ncontent-type: application/json\r\n"
            head += f"content-length: {len(answer)}\r\n\r\n"
            self.wfile.write(head.encode() + (answer[: len(answer) // 2] if cut else answer))
            self.close_connection = cut

        def log_message(self, *_: object) -> None:
            """Nothing is said."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
    there.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield there
    finally:
        server.shutdown()
        server.server_close()
