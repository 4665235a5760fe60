"""``omni --remote URL``: the command runs at a gateway, on its fleet, with a key of scope."""

import json
import os
import sys
from typing import Any

from omni_cli.bootstrap import App
from omni_cli.cli.render import colour_on, note
from omni_cli.cli.tables import room
from omni_cli.domain.commands import READS_STDIN, REMOTE, named
from omni_cli.domain.errors import AuthError, ConfigError, MissingKey, ProviderError, UsageError
from omni_cli.domain.hosts import is_base_url, is_here
from omni_cli.ports import HttpCall

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
    url = url.rstrip("/")
    if not is_base_url(url):
        raise UsageError(f"{url!r} is no gateway's address", hint="such as https://omni.example")
    body: dict[str, Any] = {
        "args": args,
        "org": org,
        "columns": room(),
        "color": colour_on(sys.stdout),
    }
    if name in READS_STDIN and not sys.stdin.isatty():
        body["stdin"] = sys.stdin.read()
    with App() as app:
        from omni_cli.keys import resolve
        from omni_cli.wire.registry import adapter

        found = resolve(KEY, KEY_ENV, app.env, app.paths.data)
        if found is None and not is_here(url):
            raise MissingKey(
                f"no key for the gateway at {url}",
                hint=f"export {KEY_ENV}=..., or keep it: omni keys set {KEY} < FILE; the gateway's "
                "owner makes one: omni keys create --scope admin",
            )
        headers = {"content-type": "application/json"}
        if found is not None:
            headers["authorization"] = f"Bearer {found.secret.reveal()}"
            if url.startswith("http:") and not is_here(url):
                note(f"the key goes to {url} unencrypted: https is for that")
        call = HttpCall("POST", f"{url}/api/commands", headers, json.dumps(body).encode(), "json")
        try:
            told = app.transport.fetch(adapter("openai"), call, timeout_s=_LIMIT_S)
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
    groups = sorted({known.partition(" ")[0] for known in REMOTE})
    return UsageError(
        f"omni {name} works on this machine's own fleet only, not on the one at {url}",
        hint=f"at a gateway work {', '.join(groups)}; --remote '' takes this machine's fleet",
    )


def wanted(url: str | None, args: list[str]) -> str:
    """The gateway that a command is for, "" for none. Help and completion are this machine's."""
    if url is None:
        url = os.environ.get("OMNI_REMOTE", "")
    local = {"--help", "-h"}.intersection(args) or args[:1] in (["completion"], ["__complete"])
    return "" if local else url
