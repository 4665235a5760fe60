"""The command line from afar: one command of omni's on this gateway's fleet (``omni --remote``).

A process of its own runs it, over the same store as the command on this machine: what is checked,
written and audited is the same, with the caller's key as who. Which commands there are, and what
scope each needs, is one table (``domain/commands.py``): nothing in it names a file or starts a
program of this machine.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING

from omni_cli.bootstrap import App
from omni_cli.domain.commands import AFAR, DENIED, ORGANISATION, READS_STDIN, REMOTE, named
from omni_cli.domain.errors import UsageError
from omni_cli.gateway.auth import Principal
from omni_cli.http.request import Request
from omni_cli.services.fleet.organisation import check_org
from omni_cli.wire.server import Refused, object_of

if TYPE_CHECKING:
    from omni_cli.gateway.bodies import Command

#: Commands that run at once, and how long one may, seconds.
_AT_ONCE = 2
_LIMIT_S = 120.0
#: What an operating system hands to a process whole, bytes: Linux takes 128 KiB of one argument.
_MOST_BYTES = 100_000
#: Of the environment: what would send it elsewhere, or colour what goes into a document.
DROPPED = ("OMNI_REMOTE", "OMNI_REMOTE_KEY", "OMNI_ORG", "FORCE_COLOR")


class Commands:
    def __init__(self, app: App) -> None:
        self._app = app
        self._room = asyncio.Semaphore(_AT_ONCE)
        #: Who may only look does not keep those out who change something.
        self._looking = asyncio.Semaphore(_AT_ONCE - 1)

    async def handle(self, request: Request, who: Principal, _: dict[str, str]) -> None:
        """Its exit code, and what it wrote."""
        run = await asyncio.to_thread(self._read, await request.body(), who)
        async with self._looking if who.scope == "read" else nullcontext(), self._room:
            told = await asyncio.to_thread(run)
        await request.json(told)

    def _read(self, raw: bytes, who: Principal) -> Callable[[], dict[str, object]]:
        """What runs it. Raises UsageError, Refused."""
        from omni_cli.gateway.bodies import Command, read

        body = read(Command, object_of(raw))
        name = checked(body.args, who)
        return partial(self._run, body, name, _org_of(who, body.org, name), who)

    def _run(self, body: "Command", name: str, org: str, who: Principal) -> dict[str, object]:
        env = {key: value for key, value in self._app.env.items() if key not in DROPPED}
        env |= {"OMNI_ORG": org, "NO_COLOR": "1", "COLUMNS": str(body.columns or 80)}
        if body.columns:
            env[AFAR] = "1"
        if body.color:
            env["FORCE_COLOR"] = env.pop("NO_COLOR")
        if who.key:
            env["OMNI_USER"] = f"key {who.key}"
        try:
            done = subprocess.run(  # noqa: S603  # a command of the table, without a shell
                # -P: no module is taken from the folder it runs in
                [sys.executable, "-P", "-m", "omni_cli", *body.args],
                input=(body.stdin if name in READS_STDIN else "").encode(),
                capture_output=True,
                env=env,
                cwd=self._app.paths.data,  # no project of somebody's has a say
                timeout=_LIMIT_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            why = f"omni {name} took longer than {_LIMIT_S:.0f} s"
            raise Refused(504, "timeout", why) from None
        return {
            "code": done.returncode,
            "stdout": done.stdout.decode("utf-8", "replace"),
            "stderr": done.stderr.decode("utf-8", "replace"),
        }


def checked(args: list[str], who: Principal) -> str:
    """The command's name. Raises UsageError, Refused: it is none of those, or not this key's."""
    name = named(args)
    if not name:
        raise UsageError(f"omni {' '.join(args[:2])} does not work on a fleet from afar")
    if not who.may(scope := REMOTE[name]):
        has = f"its scope is {who.scope}" if who.scope else "it has none"
        raise Refused(
            403,
            "forbidden",
            f"omni {name} needs a key of scope {scope}: {has}",
            hint=f"omni keys create --scope {scope} makes one",
        )
    denied = {
        option
        for option in DENIED.get(name, ())
        for arg in args
        # A short one may stand among others, with its value behind it: -qoFILE.
        if arg.partition("=")[0] == option
        or (len(option) == 2 and arg[:1] == "-" and arg[:2] != "--" and option[1] in arg)
    }
    if denied:
        raise UsageError(f"omni {name} {min(denied)} does not work from afar")
    if any("\0" in arg for arg in args):
        raise UsageError("an argument holds a zero byte")
    if sum(len(arg.encode()) for arg in args) > _MOST_BYTES:
        raise UsageError(f"the arguments are more than {_MOST_BYTES:,} bytes")
    return name


def _org_of(who: Principal, wished: str, name: str) -> str:
    """Whose fleet it works on. Raises UsageError, Refused."""
    if who.org and wished not in ("", who.org):
        raise Refused(403, "forbidden", f"this key is of {who.org}, not of {wished}")
    org = who.org or wished
    if org and name not in ORGANISATION:
        raise Refused(
            403,
            "forbidden",
            f"omni {name} is of the whole fleet: it does not work for {check_org(org)} alone",
            hint="a key of no organisation has a part in it",
        )
    return check_org(org) if org else ""
