"""``/__sim/...``: what tests ask of the server itself."""

import json
from typing import TYPE_CHECKING, Any

from omni_cli.http.request import Request
from omni_cli.simulator.faults import KINDS, Rule

if TYPE_CHECKING:
    from omni_cli.simulator.app import App


def answer(app: "App", request: Request, content: bytes) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an administrative request."""
    name = request.path.rstrip("/").removeprefix("/__sim/")
    match request.method, name:
        case "GET", "stats":
            return 200, app.recorder.stats()
        case "GET", "answered":
            return 200, {"answered": app.recorder.answered()}
        case "GET", "faults":
            kinds = {kind: about.text for kind, about in KINDS.items()}
            return 200, {"rules": app.faults.listing(), "kinds": kinds}
        case "POST", "faults":
            try:
                sent = json.loads(content)
                rules = [Rule.of(value) for value in (sent if isinstance(sent, list) else [sent])]
            except ValueError as exc:
                return 400, {"error": {"message": str(exc)}}
            app.faults.add(*rules)
            return 200, {"rules": app.faults.listing()}
        case "DELETE", "faults":
            app.faults.clear()
            return 200, {"rules": []}
        case "POST", "batches":
            app.shelf.hold = str(json.loads(content).get("hold", ""))
            return 200, {"hold": app.shelf.hold}
        case "POST", "reset":
            app.reset()
            return 200, {"reset": True}
        case _:
            return 404, {"error": {"message": f"no such path: {request.method} {request.path}"}}
