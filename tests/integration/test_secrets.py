"""A planted key is in nothing that omni writes, prints or says (A2)."""

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.conftest import GOOD, Fleet
from tests.integration.cli_process import Done, omni

#: One in the environment that looks like a key, one kept by omni, one that looks like nothing.
FROM_ENV = "sk-proj-PLANTED0envVariable9f8e7d6c5b4a3210ZYXW"
FROM_STDIN = "sk-ant-PLANTED1keyFile0123456789abcdefghijVUTS"
ODD = "PLANTED2/without+a=prefix:that,anybody!knows0987"
KEYS = (FROM_ENV, FROM_STDIN, ODD)


class _Echo(BaseHTTPRequestHandler):
    """Refuses every call, and says all that it was sent."""

    def _refuse(self) -> None:
        sent = {name.lower(): value for name, value in self.headers.items()}
        message = f"Incorrect API key provided: {sent}. Path {self.path}"
        body = json.dumps({"error": {"message": message, "code": sent.get("authorization")}})
        self.send_response(401)
        self.send_header("content-type", "application/json")
        self.send_header("x-request-id", sent.get("authorization", "none"))
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = _refuse  # noqa: N815  # names that the base class looks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def echo() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def traces(key: str) -> list[bytes]:
    """How a key may show: whole, its secret middle, encoded."""
    raw = key.encode()
    return [
        raw,
        raw[8:-8],
        quote(key, safe="").encode(),
        base64.b64encode(raw)[:-4],
        json.dumps(key).encode()[1:-1],
    ]


def found_in(data: bytes) -> list[str]:
    return [key for key in KEYS if any(trace in data for trace in traces(key))]


@pytest.fixture
def planted(fleet: Fleet, echo: str) -> Fleet:
    """The small fleet; three more providers hold planted keys, two of them echo what they get."""
    fleet.env.update(
        {
            "PLANTED_API_KEY": FROM_ENV,
            "ODD_SECRET": ODD,
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
        }
    )
    sim = fleet.sim.base_url("anthropic")
    for args, stdin in (
        (("echo", "--protocol", "openai", "--base-url", echo, "--key-env", "PLANTED_API_KEY"), ""),
        (("odd", "--protocol", "openai", "--base-url", echo, "--key-env", "ODD_SECRET"), ""),
        (("kept", "--protocol", "anthropic", "--base-url", sim, "--key-stdin"), FROM_STDIN),
    ):
        done = omni(fleet.env, "providers", "add", *args, stdin=stdin)
        assert done.code == 0, done.everything
    for model in ("echo/parrot", "odd/parrot", f"kept/{GOOD.partition('/')[2]}"):
        done = omni(fleet.env, "models", "add", model, "--price-in", "1", "--price-out", "2")
        assert done.code == 0, done.everything
    return fleet


def test_no_output_and_no_file_holds_a_key(planted: Fleet) -> None:
    done: list[Done] = []

    def run(*args: str, code: int | None = 0, stdin: str = "") -> Done:
        result = omni(planted.env, *args, stdin=stdin)
        assert code is None or result.code == code, result.everything
        done.append(result)
        return result

    # The keys are really used, and their providers really say them back.
    assert run("chat", "-m", "echo/parrot", "hi", "--json", code=3).json["error"]["code"] == "auth"
    refused = run("chat", "-m", "odd/parrot", "hi", code=3)
    assert "[key]" in refused.err
    kept = f"kept/{GOOD.partition('/')[2]}"
    assert run("chat", "-m", kept, "hi", "--json").json["model_used"] == kept
    run("providers", "test", "echo", code=None)
    run("providers", "test", "odd", "--json", code=None)
    run("providers", "show", "echo")
    run("providers", "show", "odd", "--json")
    assert FROM_STDIN[-4:] in run("providers", "show", "kept").out  # masked
    for args in (
        ("providers", "list", "--json"),
        ("models", "list", "--json"),
        ("logs", "--json"),
        ("why", "--json"),
        ("route", "hi", "--json"),
        ("config", "list", "--json"),
        ("history", "list", "--json"),
        ("audit", "--json"),
        ("doctor", "--json"),
        ("providers", "add", "--help"),
    ):
        run(*args, code=None)
    # A key in the wrong place is refused, and not repeated.
    run("providers", "add", "worse", "--protocol", "openai", "--base-url", "http://h/v1",
        "--key-env", FROM_ENV, code=2)  # fmt: skip
    run("providers", "edit", "echo", "--header", f"x-api-key={FROM_ENV}", code=None)
    run("chat", "-m", FROM_ENV, "hi", code=None)
    run("config", "set", "general.zone", FROM_STDIN, code=None)
    for result in done:
        assert found_in(result.everything.encode()) == [], result.everything

    # Revisions, audit log and ledger are in the store; its -wal holds what is not moved yet.
    files = [path for path in planted.home.rglob("*") if path.is_file()]
    assert {"omni.db", "omni.db-wal"} <= {path.name for path in files}
    for path in files:
        assert found_in(path.read_bytes()) == [], path


CRASH = """
import sys
sys.argv = ["omni", *sys.argv[1:]]
from omni_cli.providers import http
def broken(method, path, host, headers, **_):
    raise RuntimeError(f"cannot send {headers}")
http.encode_head = broken
from omni_cli.cli.app import main
main()
"""


def test_a_crash_report_holds_none(planted: Fleet) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRASH, "chat", "-m", "odd/parrot", "hi"],
        env=planted.env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1
    assert b"RuntimeError" in done.stderr
    assert b"cannot send" in done.stderr
    assert found_in(done.stdout + done.stderr) == []
    assert found_in(b"".join(p.read_bytes() for p in planted.home.rglob("*") if p.is_file())) == []


def test_the_search_would_find_one(tmp_path: Path) -> None:
    """The traces are what files and outputs would hold."""
    for key in KEYS:
        assert found_in(f"x {key} y".encode()) == [key]
        assert found_in(base64.b64encode(key.encode())) == [key]
        assert found_in(json.dumps({"k": quote(key, safe="")}).encode()) == [key]
    assert found_in(f"{FROM_ENV[:6]}...{FROM_ENV[-4:]}".encode()) == []
