"""The terminal interface of a gateway's fleet on this terminal: ``omni --remote URL``.

The gateway runs it (``gateway/terminals.py``); this shows what it draws and sends what is typed.
"""

import json
import os
import selectors
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from omni_cli.domain.errors import AuthError, ConfigError, ConnectionFailed, UsageError
from omni_cli.http.environment import trusted
from omni_cli.system import raw_keys

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

_PIECE = 16 * 1024
#: What the loop below is woken by.
_ENDED, _RESIZED = b".", b"s"
_OPEN_S = 15.0
#: What a screen that was cut off has not taken back: the other screen, mouse, pasting, the cursor,
#: and the keyboard's finer protocol.
_BACK = (
    "\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1004l\x1b[?1006l\x1b[?1015l\x1b[?1016l\x1b[?2004l"
    "\x1b[<u\x1b[?25h\x1b[0m\x1b[?1049l"
)


def show(url: str, headers: Mapping[str, str], wanted: Mapping[str, str]) -> int:
    """Until the screens are left; returns their exit code.

    Args:
        headers: with the key.
        wanted: the tab and the theme to open.

    Raises:
        UsageError: this is no terminal.
        AuthError, ConfigError, ConnectionFailed: the gateway does not let this in.
    """
    if sys.platform == "win32":
        raise UsageError("the screens of a gateway's fleet need a terminal of Unix's")
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise UsageError(
            "omni dash needs a terminal", hint="omni --remote URL usage, costs and health print"
        )
    columns, lines = shutil.get_terminal_size()
    query = {
        "columns": columns,
        "lines": lines,
        "term": os.environ.get("TERM", ""),
        "colors": os.environ.get("COLORTERM", ""),
        **wanted,
    }
    address = "ws" + url.removeprefix("http") + "/api/terminal?" + urlencode(query)
    with _connected(address, headers) as socket:
        return _Screen(socket).run()


@contextmanager
def _connected(address: str, headers: Mapping[str, str]) -> "Iterator[ClientConnection]":
    from websockets.exceptions import InvalidHandshake, InvalidStatus
    from websockets.sync.client import connect

    tls = trusted() if address.startswith("wss:") else None
    try:
        socket = connect(
            address,
            additional_headers=headers,
            ssl=tls,
            open_timeout=_OPEN_S,
            compression=None,
            max_size=None,
        )
    except InvalidStatus as exc:
        raise _refusal(exc.response.status_code, bytes(exc.response.body or b"")) from None
    except (InvalidHandshake, OSError, TimeoutError) as exc:
        raise ConnectionFailed(
            f"the gateway does not answer: {exc}",
            hint="is a gateway up there (omni serve)? --remote '' takes this machine's fleet",
        ) from None
    with socket:
        yield socket


def _refusal(status: int, body: bytes) -> Exception:
    """In the gateway's own words, where it is one."""
    try:
        message = str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        message = ""
    if status in (401, 403):
        return AuthError(message or "the gateway takes another key", status=status)
    if status == 404 or not message:
        return ConfigError(
            f"what answers there has no screens to show (HTTP {status})",
            hint="an omni of this version or newer has; omni --remote URL models list may work",
        )
    return ConfigError(message)


class _Screen:
    """What is drawn comes in a thread; what is typed, and the terminal's size, go out in this."""

    def __init__(self, socket: "ClientConnection") -> None:
        self._socket = socket
        self._code: int | None = None
        self._ends, self._over = os.pipe()

    def run(self) -> int:
        stdin = sys.stdin.fileno()
        # The socket is this thread's own: within a handler it may be in use.
        resized = signal.signal(signal.SIGWINCH, lambda *_: os.write(self._over, _RESIZED))
        drawing = threading.Thread(target=self._draw, daemon=True)
        try:
            with raw_keys(stdin):
                drawing.start()
                self._type(stdin)
        finally:
            signal.signal(signal.SIGWINCH, resized)
            if self._code is None:
                sys.stdout.write(_BACK)
                sys.stdout.flush()
        if self._code is None:
            raise ConnectionFailed(
                "the gateway has ended the connection",
                hint="it is being restarted, or the key was revoked; what was done there is kept",
            )
        return self._code

    def _draw(self) -> None:
        from websockets.exceptions import ConnectionClosed

        out = sys.stdout.buffer
        try:
            for message in self._socket:
                if isinstance(message, str):
                    self._code = int(json.loads(message)["code"])
                    break
                out.write(message)
                out.flush()
        except (ConnectionClosed, OSError, ValueError):
            pass  # told by there being no code
        finally:
            os.write(self._over, _ENDED)

    def _type(self, stdin: int) -> None:
        from websockets.exceptions import ConnectionClosed

        with selectors.DefaultSelector() as ready:
            ready.register(stdin, selectors.EVENT_READ)
            ready.register(self._ends, selectors.EVENT_READ)
            while True:
                events = {key.fd for key, _ in ready.select()}
                try:
                    if self._ends in events:
                        if _ENDED in os.read(self._ends, _PIECE):
                            return
                        columns, lines = shutil.get_terminal_size()
                        self._socket.send(json.dumps({"columns": columns, "lines": lines}))
                    if stdin in events:
                        typed = os.read(stdin, _PIECE)
                        if not typed:
                            return
                        self._socket.send(typed)
                except (ConnectionClosed, OSError):
                    return
