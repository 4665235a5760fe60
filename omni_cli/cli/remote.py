"""``omni --remote URL``: the command runs at a gateway, on its fleet, with a key of scope."""

import json
import os
import selectors
import shutil
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from omni_cli.bootstrap import App
from omni_cli.cli.render import colour_on, note
from omni_cli.cli.tables import room
from omni_cli.domain.commands import LOCAL, READS_STDIN, REMOTE, SCREENS, named
from omni_cli.domain.errors import (
    AuthError,
    ConfigError,
    ConnectionFailed,
    MissingKey,
    ProviderError,
    UsageError,
)
from omni_cli.domain.hosts import is_base_url, is_here
from omni_cli.http.environment import trusted
from omni_cli.ports import HttpCall
from omni_cli.system import raw_keys

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection


#: Longer than a gateway lets a command run, seconds.
_LIMIT_S = 130.0
#: What a key of a gateway is kept as, and the variable that has it.
KEY, KEY_ENV = "remote", "OMNI_REMOTE_KEY"


def run(url: str, args: list[str], org: str) -> int:
    """Carry out a command of REMOTE at the gateway; returns its exit code.

    Raises:
        UsageError: the URL is none.
        ConfigError, MissingKey, ProviderError: the key, or the way to the gateway.
    """
    name = named(args)
    url = _address(url)
    body: dict[str, Any] = {
        "args": args,
        "org": org,
        "columns": room(),
        "color": colour_on(sys.stdout),
    }
    if name in READS_STDIN and not sys.stdin.isatty():
        body["stdin"] = sys.stdin.read()
    with App() as app:
        from omni_cli.providers.http import HttpFetcher
        from omni_cli.wire.registry import adapter

        headers = {"content-type": "application/json", **_key(app, url)}
        call = HttpCall("POST", f"{url}/api/commands", headers, json.dumps(body).encode(), "json")
        try:
            # Nobody's provider is asked: this machine's fleet, which may be none, tells nothing.
            told = HttpFetcher().fetch(adapter("openai"), call, timeout_s=_LIMIT_S)
        except ProviderError as exc:
            exc.hint = _after(exc, url)
            raise
    try:
        answer = json.loads(told)
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not {"code", "stdout", "stderr"} <= answer.keys():
        raise ConfigError(f"what answers at {url} is no gateway of omni's")
    sys.stdout.write(answer["stdout"])
    sys.stderr.write(answer["stderr"])
    return int(answer["code"])


def screens(url: str, args: list[str]) -> int:
    """Show the terminal interface of the gateway's fleet; returns its exit code.

    Args:
        args: of ``omni dash``.

    Raises as ``run``; UsageError, too: this is no terminal, or an option is of its own machine.
    """

    wanted: dict[str, str] = {}
    rest = list(args)
    while rest:
        option, _, value = rest.pop(0).partition("=")
        if option not in ("--tab", "--theme"):
            raise UsageError(
                f"omni dash {option} does not work from afar", hint="--tab and --theme do"
            )
        wanted[option[2:]] = value or (rest.pop(0) if rest else "")
    url = _address(url)
    with App() as app:
        headers = _key(app, url)
    try:
        return show(url, headers, wanted)
    except ProviderError as exc:
        exc.hint = exc.hint or _after(exc, url)
        raise


def _address(url: str) -> str:
    url = url.rstrip("/")
    if not is_base_url(url):
        raise UsageError(f"{url!r} is no gateway's address", hint="such as https://omni.example")
    return url


def _key(app: App, url: str) -> dict[str, str]:
    """The header with the gateway's key; none where there is no key and none need be.

    Raises MissingKey.
    """
    from omni_cli.keys import resolve

    found = resolve(KEY, KEY_ENV, app.env, app.paths.data)
    if found is None and not is_here(url):
        raise MissingKey(
            f"no key for the gateway at {url}",
            hint=f"export {KEY_ENV}=..., or keep it: omni keys set {KEY} < FILE; the gateway's "
            "owner makes one: omni keys create --scope admin",
        )
    if found is None:
        return {}
    if url.startswith("http:") and not is_here(url):
        note(f"the key goes to {url} unencrypted: https is for that")
    return {"authorization": f"Bearer {found.secret.reveal()}"}


def _after(exc: ProviderError, url: str) -> str:
    """What to do once the gateway has refused, or has not answered."""
    if isinstance(exc, AuthError):
        return (
            f"so says the gateway at {url}; its key comes from {KEY_ENV}, or is kept: "
            f"omni keys set {KEY} < FILE"
        )
    if exc.status is None:
        return f"is a gateway up at {url} (omni serve)? --remote '' takes this machine's fleet"
    return f"so says the gateway at {url}"


def refused(url: str, name: str) -> UsageError:
    """Of a command that works on this machine's own fleet only."""
    groups = sorted({known.partition(" ")[0] for known in REMOTE} | SCREENS)
    why = LOCAL.get(name, "")
    return UsageError(
        f"omni {name} works on this machine's own fleet only, not on the one at {url}"
        + (f": {why}" if why else ""),
        hint=f"at a gateway work {', '.join(groups)}; --remote '' takes this machine's fleet",
    )


def wanted(url: str | None, args: list[str]) -> str:
    """The gateway that a command is for, "" for none. Help and completion are this machine's."""
    if url is None:
        url = os.environ.get("OMNI_REMOTE", "")
    local = {"--help", "-h"}.intersection(args) or args[:1] in (["completion"], ["__complete"])
    return "" if local else url


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
