"""Cold start: what commands must not import, each in a process of its own (style.md)."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHEAP, Fleet

HEAVY = ["textual", "plotext", "pydantic", "genai_prices"]
ALSO = ["httpx", "rich", "sqlite_utils", "cryptography", "keyring", "yaml", "jsonschema"]
#: Of the standard library: what takes milliseconds, and what brings it along.
SLOW = [
    *("asyncio", "ssl", "_hashlib", "email", "logging", "http.client", "concurrent.futures"),
    *("importlib.metadata", "importlib.resources", "tempfile", "zipfile", "random", "secrets"),
    *("statistics", "dataclasses", "fractions", "hashlib", "subprocess", "ipaddress", "tokenize"),
    *("base64", "configparser", "mimetypes", "bz2", "lzma", "typing_extensions"),
    *("msgspec.inspect", "platform", "difflib"),
]
#: Of omni itself, what neither a list of models nor a decision asks.
OURS = [
    "omni_cli.repositories",  # has names of signatures only
    *("omni_cli.store.rollups", "omni_cli.domain.batch", "omni_cli.domain.ledger"),
    *("omni_cli.services.fleet.fleet", "omni_cli.services.money.budget_document"),
    *("omni_cli.wire.registry", "omni_cli.services.engine.chat", "omni_cli.providers.http"),
]
_RUN = """
import gc, sys
sys.argv = ["omni", *sys.argv[1:]]
before = sum(each["collections"] for each in gc.get_stats())
from omni_cli.__main__ import main
try:
    main()
    code = 0
except SystemExit as left:
    code = left.code or 0
there = [name for name, module in sys.modules.items() if type(module).__name__ != "Later"]
if sum(each["collections"] for each in gc.get_stats()) > before + 1:
    there.append("looked-for-garbage")  # once may be on the way to what sets the threshold
sys.stderr.write("LOADED " + " ".join(sorted(there)))
sys.exit(code)
"""


#: What the standard library's SQLite takes along.
_OF_SQLITE = {
    *("sqlite3", "_sqlite3", "datetime", "_datetime", "math", "collections", "_collections"),
    *("functools", "_functools", "itertools", "keyword", "operator", "_operator", "reprlib"),
    "types",
}
#: Without any command of omni's.
_BARE = 'import sys; sys.stderr.write("LOADED " + " ".join(sorted(sys.modules)))'


def loaded(
    env: dict[str, str], *args: str, stdin: str = "", run: str = _RUN
) -> tuple[set[str], str]:
    """Modules that ``omni args`` has imported at its end, and its output."""
    done = subprocess.run(
        [sys.executable, "-c", run, *args],
        env={**os.environ, **env},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.rpartition("LOADED ")[2].split()), done.stdout


def test_what_stands_for_a_module_becomes_it_once_it_is_asked() -> None:
    code = (
        "import omni_cli.cli, os, subprocess, ipaddress\n"
        "first = type(subprocess).__name__, type(ipaddress).__name__\n"
        "assert first == ('Later', 'Later'), first\n"
        "assert subprocess.run(['true']).returncode == 0\n"
        "from ipaddress import ip_address\n"
        "assert ip_address('::1').is_loopback\n"
        "assert type(subprocess) is type(ipaddress) is type(omni_cli)\n"
        "assert not hasattr(subprocess, 'nothing')\n"
        "from difflib import get_close_matches\n"
        "import difflib, platform, urllib.parse, uuid\n"
        "later = {type(each).__name__ for each in (difflib, platform, urllib.parse)}\n"
        "assert later == {'Later'}, later\n"
        "assert get_close_matches('chot', ['chat', 'x']) == ['chat']\n"
        "assert get_close_matches is not difflib.get_close_matches\n"
        "assert platform.system() == os.uname().sysname and platform.machine()\n"
        "assert urllib.parse.urlsplit('http://a/b').netloc == 'a'\n"
        "assert {type(each) for each in (difflib, platform, urllib.parse)} == {type(os)}\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "args", [("--help",), ("models", "list"), ("route", "x"), ("statusline", "--json")]
)
def test_the_quick_commands_import_nothing_heavy(
    fleet_template: Path, args: tuple[str, ...]
) -> None:
    told = json.dumps({"session_id": "s", "transcript_path": __file__})  # read by statusline alone
    modules, out = loaded({"OMNI_HOME": str(fleet_template)}, *args, stdin=told)
    assert out
    assert "omni_cli" in modules
    assert modules.isdisjoint(HEAVY + ALSO)
    assert not modules.intersection(SLOW)
    assert "looked-for-garbage" not in modules
    if args[0] != "statusline":
        assert modules.isdisjoint([*OURS, "json.decoder"])


def test_the_short_way_of_the_status_line_imports_sqlite_and_little_else(
    fleet_template: Path, tmp_path: Path
) -> None:
    told = json.dumps({"session_id": "s", "model": {"id": "claude-sonnet-4-5"}})
    env = {"OMNI_HOME": str(tmp_path)}
    shutil.copytree(fleet_template, tmp_path, dirs_exist_ok=True)
    loaded(env, "statusline", stdin=told)  # the whole command, which notes what the settings say
    bare, _ = loaded(env, stdin=told, run=_BARE)
    modules, out = loaded(env, "statusline", stdin=told)
    assert out.startswith("claude-sonnet-4-5 | unknown session, $0.00 today")
    ours = {name for name in modules if name.startswith("omni_cli")}
    assert ours == {
        "omni_cli",
        "omni_cli.__main__",
        "omni_cli.domain",
        "omni_cli.domain.blocks",
        "omni_cli.domain.money",
        "omni_cli.places",
        "omni_cli.services",
        "omni_cli.services.money",
        "omni_cli.services.money.statusline",
        "omni_cli.statusline",
        "omni_cli.store",
        "omni_cli.store.statusline",
    }
    others = {name.partition(".")[0] for name in modules - bare - ours}
    assert others <= {"__future__", "_json", "atexit", "gc", *_OF_SQLITE}


def test_help_imports_the_table_of_commands_and_little_else(fleet_template: Path) -> None:
    modules, _ = loaded({"OMNI_HOME": str(fleet_template)}, "--help")
    ours = {name for name in modules if name.startswith("omni_cli")}
    assert ours <= {
        "omni_cli",
        "omni_cli.__main__",
        "omni_cli.cli",
        "omni_cli.cli.app",
        "omni_cli.cli.lazy",
        "omni_cli.domain",
        "omni_cli.domain.errors",
    }
    assert "msgspec" not in modules


def test_chat_imports_our_own_client_and_nothing_that_only_draws(fleet: Fleet) -> None:
    modules, out = loaded(fleet.env, "chat", "-m", CHEAP, "hello")
    assert "[simulated gpt-4o-mini]" in out
    assert "omni_cli.http.client" in modules
    assert modules.isdisjoint([*HEAVY, *ALSO, "httpcore", "anyio", "h11", "email", OURS[0]])
    # What TLS takes, and OpenSSL: the model is one of this machine, over plain HTTP.
    assert modules.isdisjoint(["ssl", "_ssl", "_hashlib", "tempfile", "asyncio.sslproto"])


def test_sockets_are_told_from_those_of_tls_before_and_after_it_is_loaded() -> None:
    code = (
        "import omni_cli.cli.lazy as lazy, socket\n"
        "lazy._import_msgspec()\n"
        "import asyncio, ssl\n"
        "from ssl import SSLSocket as early\n"
        "assert type(ssl).__name__ == 'Later'\n"
        "with socket.socket() as plain:\n"
        "    assert not isinstance(plain, early) and type(ssl).__name__ == 'Later'\n"
        "    context = ssl.create_default_context()\n"
        "    with context.wrap_socket(plain, server_hostname='a') as secure:\n"
        "        assert isinstance(secure, early) and isinstance(secure, ssl.SSLSocket)\n"
        "        assert ssl.SSLSocket is not early and not isinstance(plain, early)\n"
        "import asyncio.sslproto\n"
        "assert asyncio.sslproto.SSLProtocol.__name__ == 'SSLProtocol'\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
