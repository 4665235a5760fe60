"""``omni --remote URL``: the command runs at a gateway, on its fleet, with a key of scope."""

import json
import os
import sys
from typing import Any

from omni_cli.bootstrap import App
from omni_cli.cli.render import colour_on, note
from omni_cli.cli.tables import room
from omni_cli.domain.commands import LOCAL, READS_STDIN, REMOTE, SCREENS, named
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
    from omni_cli.cli.screen import show

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
