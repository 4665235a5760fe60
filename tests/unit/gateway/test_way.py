"""A streamed request goes the way that docs/architecture.md tells, function by function."""

import asyncio
import json
import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from omni_cli.bootstrap import App
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.gateway.app import Gateway
from omni_cli.http.client import Origin, UpstreamPool, _Connection
from omni_cli.http.server import Connection, ServerState
from tests.engine import on_a_file
from tests.paths import REPO

PACKAGE = f"{REPO / 'omni_cli'}/"
#: Who is on the stack when these are called hands the request on: to a socket, or to the ledger.
BORDERS = {"http/outbox.py:Outbox.put", "store/writer.py:Writer.write"}
_EVENT = b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
_LAST = (
    b'data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11}}\n\ndata: [DONE]\n\n'
)
PIECES = [
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    *(b"%x\r\n%b\r\n" % (len(body), body) for body in (_EVENT % b"Good", _EVENT % b" day", _LAST)),
    b"0\r\n\r\n",
]


class _Far(asyncio.Transport):
    """Stands where a socket would be."""

    def is_closing(self) -> bool:
        return False

    def abort(self) -> None:
        """There is none."""


class _Provider(_Far):
    """It answers piece by piece."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__()
        self._connection = connection

    def write(self, data: Any) -> None:
        loop = asyncio.get_running_loop()
        for at, piece in enumerate(PIECES):
            loop.call_later(0.001 * at, self._connection.data_received, piece)


class _Caller(_Far):
    def __init__(self) -> None:
        super().__init__()
        self.got = b""
        self.done = asyncio.Event()

    def write(self, data: Any) -> None:
        self.got += data
        if self.got.endswith(b"0\r\n\r\n"):
            self.done.set()


class Trace:
    """The functions of the package in the order in which they are first entered."""

    def __init__(self) -> None:
        self.entered: dict[str, None] = {}
        #: Who was on the stack at a border.
        self.handed_on: dict[str, None] = {}

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        name = _name(frame)
        if event != "call" or name is None:
            return
        self.entered[name] = None
        at: FrameType | None = frame if name in BORDERS else None
        while at is not None:
            if (found := _name(at)) is not None and "<locals>" not in found:
                self.handed_on[found] = None
            at = at.f_back


def _name(frame: FrameType) -> str | None:
    file = frame.f_code.co_filename
    if not file.startswith(PACKAGE):
        return None
    return f"{file.removeprefix(PACKAGE)}:{frame.f_code.co_qualname}"


def _said() -> list[str]:
    """The functions that walk 2 names, in its order."""
    page = (REPO / "docs/architecture.md").read_text("utf-8")
    walk = page.partition("## Walk 2")[2].partition("\n## ")[0].partition("Beside it")[0]
    return list(re.findall(r"`([\w/]+\.py:[\w.]+)`", walk))


@on_a_file
async def test_a_streamed_request_goes_the_way_that_is_told(
    tmp_path: Path, monkeypatch: Any
) -> None:
    async def connected(pool: UpstreamPool, origin: Origin) -> _Connection:
        connection = _Connection(pool, origin)
        connection.connection_made(_Provider(connection))
        return connection

    monkeypatch.setattr(UpstreamPool, "_connected", connected)
    monkeypatch.setattr(App, "_seed", lambda _self, store: store.set_meta("zone", "UTC"))
    app = App({"OMNI_HOME": str(tmp_path), "USER": "test"}, durable=False)
    app.providers.put(Provider("p", "P", "openai", "http://127.0.0.1:9/v1", "none"))
    app.models.put(ModelInfo("p/m", "p", "m", "m"), now_ms=app.now_ms())
    gateway = Gateway(app)
    gateway.start()
    state = ServerState(gateway.handle, gateway.limits)
    body = json.dumps(
        {"model": "p/m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    ).encode()
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b"
    )
    trace = Trace()
    for traced in (None, trace):  # the first fills what is remembered
        caller, connection = _Caller(), Connection(state)
        connection.connection_made(caller)
        sys.setprofile(traced)
        try:
            connection.data_received(request % (len(body), body))
            await asyncio.wait_for(caller.done.wait(), 2)
            await asyncio.sleep(0.1)  # until it is settled
        finally:
            sys.setprofile(None)
        assert b"Good" in caller.got
        connection.connection_lost(None)
    await gateway.stop()
    said = _said()
    assert said == sorted(said, key=list(trace.entered).index)
    assert set(trace.handed_on) <= set(said)
