"""Record what an application asks, for fixtures/clients: not a test.

    python -m tests.clients.record FOLDER

Serves the simulated fleet and prints the settings that applications need; each request that comes
is written to FOLDER, trimmed: texts of others (prompts, descriptions) and names of this machine are
left out, the structure stays.
"""

import json
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import Any

from omni_cli.gateway.app import Gateway
from omni_cli.http.request import Request
from omni_cli.simulator import Simulator
from tests.gateway_server import serving

#: Headers that a protocol gives a meaning, or that tell who asks.
HEADERS = ("anthropic-beta", "anthropic-version", "openai-beta", "accept", "user-agent")
_LONGEST = 45
#: The walks' own pixel, as it has to stay one.
_PICTURES = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB",
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB",
)
_LEFT_OUT = frozenset({"description", "user_id", "client_metadata", "prompt_cache_key", "$schema"})


def trimmed(value: Any) -> Any:
    """The value without long texts, descriptions and ids of a machine or a session."""
    if isinstance(value, dict):
        return {k: trimmed(v) if k not in _LEFT_OUT else _instead(v) for k, v in value.items()}
    if isinstance(value, list):
        return [trimmed(item) for item in value]
    if isinstance(value, str) and len(value) > _LONGEST and not value.startswith(_PICTURES):
        return f"[{len(value)} characters]"
    return value


def _instead(value: Any) -> Any:
    return "[trimmed]" if isinstance(value, str) else type(value)()


def main() -> None:
    folder, number = Path(sys.argv[1]), count(1)
    folder.mkdir(parents=True, exist_ok=True)
    handle = Gateway.handle

    async def recorded(self: Gateway, request: Request) -> None:
        body = await request.body()
        if body:
            path = folder / f"{next(number):02d}{request.path.replace('/', '-')}.json"
            query = request.query.decode("latin-1")
            document = {
                "path": request.path + (f"?{query}" if query else ""),
                "headers": {n: request.headers[n] for n in HEADERS if n in request.headers},
                "body": trimmed(json.loads(body)),
            }
            path.write_text(json.dumps(document, indent=1) + "\n")
        await handle(self, request)

    Gateway.handle = recorded
    with (
        tempfile.TemporaryDirectory() as home,
        Simulator(seed=7) as sim,
        serving(Path(home), sim) as served,
    ):
        sys.stderr.write(f"{served.url}: ANTHROPIC_BASE_URL; with /v1, OpenAI's base URL\n")
        while True:
            time.sleep(1)


if __name__ == "__main__":
    main()
