"""The newest of each real client, run against omni; what they send, and what changed in it.

    python -m tests.clients.nightly [--only NAME,...] [--folder FOLDER] [--installed]
    python -m tests.clients.nightly --record --only NAME      (make record CLIENT=NAME)

Installs each client's packages into a scratch folder, asks one gateway's models of all five
protocols with them (tests/clients/walks), runs agents on a small task, and compares what they sent
with what is recorded in fixtures/clients/recorded. Ends with 1 where something failed or changed.
``--installed``: install nothing anew. docs/clients-nightly.md tells more.
"""

import argparse
import difflib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omni_cli.gateway.app import Gateway
from omni_cli.http.request import Request
from tests.clients.agents import AGENTS, Client, checked
from tests.clients.everyone import MODELS, everybody
from tests.clients.record import HEADERS, trimmed
from tests.gateway_server import Served
from tests.paths import REPO

RECORDED = REPO / "fixtures" / "clients" / "recorded"
_WALKS = Path(__file__).with_name("walks")
_GOOGLE = "google-genai"


def _py(*packages: str) -> Client:
    return Client("python", packages)


def _js(*packages: str) -> Client:
    return Client("node", packages)


_AI = ("ai@6", "@ai-sdk/openai-compatible@2", "@ai-sdk/openai@3", "@ai-sdk/anthropic@3")
CLIENTS: dict[str, Client] = {
    "openai": _py("openai"),
    "openai-responses": _py("openai"),
    "anthropic": _py("anthropic"),
    "google-genai": _py(_GOOGLE),
    "ollama": _py("ollama"),
    "mistralai": _py("mistralai"),
    "langchain-openai": _py("langchain-openai"),
    "langchain-anthropic": _py("langchain-anthropic"),
    "langchain-google": _py("langchain-google-genai"),
    "langchain-ollama": _py("langchain-ollama"),
    "pydantic-ai-chat": _py("pydantic-ai-slim[openai]"),
    "pydantic-ai-responses": _py("pydantic-ai-slim[openai]"),
    "pydantic-ai-anthropic": _py("pydantic-ai-slim[anthropic]"),
    "pydantic-ai-google": _py("pydantic-ai-slim[google]"),
    "litellm-openai": _py("litellm"),
    "litellm-anthropic": _py("litellm"),
    "litellm-gemini": _py("litellm"),
    "litellm-ollama_chat": _py("litellm"),
    "instructor-openai": _py("instructor"),
    "instructor-anthropic": _py("instructor", "anthropic"),
    "instructor-google": _py("instructor", _GOOGLE, "jsonref"),
    "openai-agents-chat": _py("openai-agents"),
    "openai-agents-responses": _py("openai-agents"),
    "openai-node": _js("openai"),
    "anthropic-node": _js("@anthropic-ai/sdk"),
    "google-genai-node": _js("@google/genai"),
    "ollama-js": _js("ollama"),
    "vercel-chat": _js(*_AI),
    "vercel-responses": _js(*_AI),
    "vercel-anthropic": _js(*_AI),
    "vercel-google": _js(*_AI, "@ai-sdk/google@3"),
    **AGENTS,
}


# --- what they send -------------------------------------------------------------------------------

#: Ids that are another in each run, dates, and versions, in what is recorded.
_CHANGES = re.compile(
    r"\b(?:call|toolu|msg|resp|fc|rs|chatcmpl|omni_call)_[\w-]{6,}|[0-9a-f]{8}-[0-9a-f-]{27}"
    r"|/(?:tmp|home|root|work|Users)/[\w./-]*"
)


def scrubbed(value: Any) -> Any:
    """The value without ids, paths and long texts: what of it stays the same from run to run."""
    text = json.dumps(trimmed(value), sort_keys=True)
    return json.loads(_CHANGES.sub("[changes]", text))


def form_of(request: dict[str, Any]) -> str:
    """One request's form as text, for comparison: two runs of one client have the same."""
    return json.dumps({"path": request["path"], "body": request["body"]}, indent=1, sort_keys=True)


@contextmanager
def recording(found: list[dict[str, Any]], bodies: list[bytes]) -> Iterator[None]:
    """Keep what is asked of the gateways that begin within the block; ``bodies``: as it came."""
    handle = Gateway.handle

    async def recorded(self: Gateway, request: Request) -> None:
        body = await request.body()
        if body:
            bodies.append(body)
            try:
                asked = json.loads(body)
            except ValueError:  # compressed, or a form
                asked = None
            headers = {n: request.headers[n] for n in HEADERS if n in request.headers}
            if isinstance(asked, dict):
                asked = scrubbed(asked)
                query = request.query.decode("latin-1")
                path = request.path + (f"?{query}" if query else "")
                found.append({"path": path, "headers": headers, "body": asked})
        await handle(self, request)

    Gateway.handle = recorded  # type: ignore[method-assign]  # for these runs only
    try:
        yield
    finally:
        Gateway.handle = handle  # type: ignore[method-assign]  # as it was


def distinct(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of each form, the model's name apart."""
    seen: dict[str, dict[str, Any]] = {}
    for request in requests:
        body = {k: v for k, v in request["body"].items() if k != "model"}
        path = re.sub(r"/models/.*:", "/models/MODEL:", request["path"])
        path = re.sub(r"(/v1beta)/(?!models/).*:", r"\1/MODEL:", path)
        seen.setdefault(json.dumps([path, body], sort_keys=True), {**request, "path": path})
    return list(seen.values())


def changes(name: str, now: list[dict[str, Any]]) -> list[str]:
    """A diff of what is recorded of a client and what it sends now; none where nothing is."""
    path = RECORDED / f"{name}.json"
    if not path.exists():
        return []
    kept = json.loads(path.read_text())
    texts = ["\n".join(map(form_of, requests)).splitlines() for requests in (kept, now)]
    return list(difflib.unified_diff(*texts, "recorded", "now", lineterm="", n=1))


# --- who runs them --------------------------------------------------------------------------------


def install(client: Client, folder: Path) -> None:
    """The newest of a client's packages into ``folder``. Raises CalledProcessError."""
    folder.mkdir(parents=True, exist_ok=True)
    if client.kind == "python":
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--upgrade")
        subprocess.run([*pip, *client.packages], check=True)
        return
    (folder / "package.json").write_text('{"name": "clients", "private": true}\n')
    npm = ("npm", "install", "--no-audit", "--no-fund", "--silent")
    subprocess.run([*npm, *client.packages], cwd=folder, check=True)


def folder_of(client: Client, scratch: Path) -> Path:
    """Clients of the same packages share them."""
    names = re.sub(r"[^\w.-]+", "-", "-".join((client.kind, *client.packages)))
    return scratch / names.strip("-")


def run(
    name: str, client: Client, folder: Path, served: Served, models: list[str], bodies: list[bytes]
) -> list[dict[str, Any]]:
    """What a client's checks said; of one that does not run at all, that."""
    if client.kind == "agent":
        return [
            line
            for model in models
            for line in checked(name, client, folder, served, model, bodies)
        ]
    script = "python.py" if client.kind == "python" else "javascript.mjs"
    program = str(folder / "bin" / "python") if client.kind == "python" else "node"
    command = [program, str(_WALKS / script), served.url, name, *models]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=900, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if not lines:
        said = done.stderr.strip().splitlines()[-1:] or ["nothing"]
        lines = [{"client": name, "model": "", "check": "run", "ok": False, "said": said[0]}]
    return lines


def main(given: list[str]) -> int:
    """Returns 1 where a check failed or a client sends something else than recorded."""
    parser = argparse.ArgumentParser(prog="tests.clients.nightly", description=__doc__)
    parser.add_argument("--only", default="", help="names, with commas; all without it")
    parser.add_argument("--folder", type=Path, help="where packages go, and stay")
    parser.add_argument("--installed", action="store_true", help="install nothing anew")
    parser.add_argument("--record", action="store_true", help="keep what they send as fixtures")
    options = parser.parse_args(given)
    names = [name for name in options.only.split(",") if name] or list(CLIENTS)
    if unknown := [name for name in names if name not in CLIENTS]:
        parser.error(f"no client {', '.join(unknown)}; there are {', '.join(CLIENTS)}")
    if options.record and not options.only:
        parser.error("say whose requests are to be recorded: --only NAME")
    with tempfile.TemporaryDirectory() as made:
        scratch = options.folder or Path(made)
        return _walk_all(names, scratch, installed=options.installed, record=options.record)


def _walk_all(names: list[str], scratch: Path, *, installed: bool, record: bool) -> int:
    bad = 0
    sent: list[dict[str, Any]] = []
    bodies: list[bytes] = []
    # What is sent hangs on no model: one is enough for a recording.
    models = list(MODELS.values())[: 1 if record else None]
    with (
        tempfile.TemporaryDirectory() as home,
        recording(sent, bodies),
        everybody(Path(home)) as served,
    ):
        for name in names:
            client = CLIENTS[name]
            folder = folder_of(client, scratch)
            sent.clear()
            try:
                if not (installed and folder.exists()):
                    install(client, folder)
                lines = run(name, client, folder, served, models, bodies)
            except (subprocess.SubprocessError, OSError) as exc:
                lines = [{"model": "", "check": "install", "ok": False, "said": str(exc)}]
            failed = [line for line in lines if not line["ok"]]
            now = distinct(sent)
            diff = [] if record else changes(name, now)
            bad += bool(failed or diff)
            _tell(f"{name}: {len(lines) - len(failed)} of {len(lines)} checks right")
            for line in failed:
                _tell(f"  {line['model']} {line['check']}: {line['said']}")
            for line in diff:
                _tell(f"  {line}")
            if record and now:
                RECORDED.mkdir(parents=True, exist_ok=True)
                text = json.dumps(now, indent=1, sort_keys=True)
                (RECORDED / f"{name}.json").write_text(text + "\n")
                _tell(f"  kept {len(now)} requests")
    return 1 if bad else 0


def _tell(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
