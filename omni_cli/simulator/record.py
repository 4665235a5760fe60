"""What the server did: counters, and which requests it answered. Safe across threads."""

import threading
import time
from collections import Counter, deque
from typing import Any

from msgspec import Struct

from omni_cli.domain.record import asdict

#: The newest so many answers are kept; counters keep counting.
MAX_ENTRIES = 50_000


class Entry(Struct):
    """One model call whose answer began with a 2xx status. Times: seconds since the epoch.

    ``request_id`` and ``attempt`` are the client's ``x-request-id`` and ``x-omni-attempt``
    headers, ``user`` its ``user`` or ``metadata``; ``id`` is the answer's own id.
    """

    id: str
    provider: str
    model: str
    path: str
    prompt_hash: str
    stream: bool
    request_id: str | None
    attempt: str | None
    user: str | None
    received_at: float
    started_at: float | None = None
    completed_at: float | None = None
    chunks: int = 0
    fault: str | None = None
    input_tokens: int = 0
    output_tokens: int = 0


class Recorder:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._requests: Counter[str] = Counter()
            self._models: Counter[str] = Counter()
            self._faults: Counter[str] = Counter()
            self._prompts: Counter[str] = Counter()
            self._statuses: Counter[str] = Counter()
            self._input: Counter[str] = Counter()
            self._output: Counter[str] = Counter()
            self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
            self._started = self._answered = self._now = self._peak = 0

    def arrived(self, path: str) -> None:
        with self._lock:
            self._requests[path] += 1
            self._now += 1
            self._peak = max(self._peak, self._now)

    def left(self) -> None:
        with self._lock:
            self._now = max(self._now - 1, 0)

    def asked(self, model: str, prompt: str) -> None:
        with self._lock:
            self._models[model] += 1
            if len(self._prompts) < MAX_ENTRIES or prompt in self._prompts:
                self._prompts[prompt] += 1

    def faulted(self, kind: str) -> None:
        with self._lock:
            self._faults[kind] += 1

    def status(self, code: int) -> None:
        with self._lock:
            self._statuses[str(code)] += 1

    def started(self, entry: Entry) -> None:
        """Call when the answer's first byte was written."""
        with self._lock:
            entry.started_at = time.time()
            self._started += 1
            self._entries.append(entry)

    def completed(self, entry: Entry) -> None:
        """Call when the answer's last byte was written."""
        with self._lock:
            entry.completed_at = time.time()
            self._answered += 1
            model = f"{entry.provider}/{entry.model}"
            self._input[model] += entry.input_tokens
            self._output[model] += entry.output_tokens

    def stats(self) -> dict[str, Any]:
        with self._lock:
            return {
                "requests": sum(self._requests.values()),
                "by_path": dict(self._requests),
                "by_model": dict(self._models),
                "by_status": dict(self._statuses),
                "started": self._started,
                "answered": self._answered,
                "faulted": dict(self._faults),
                "input_tokens": dict(self._input),
                "output_tokens": dict(self._output),
                "prompts": dict(self._prompts),
                "in_flight": self._now,
                "peak_in_flight": self._peak,
            }

    def answered(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(entry) for entry in self._entries]
