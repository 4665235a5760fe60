"""Where the user was: tab, filters, view, theme. Kept in ``tui.json`` in the data folder."""

import json
from pathlib import Path
from typing import Any

FILE = "tui.json"


class UiState:
    """A dictionary per pane and one for the app, written whole on every save.

    A file that is missing, damaged or from another version is no error: it only holds comforts.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._all: dict[str, dict[str, Any]] = {}
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return
        if isinstance(found, dict):
            self._all = {str(k): v for k, v in found.items() if isinstance(v, dict)}

    def of(self, name: str) -> dict[str, Any]:
        """The remembered values of a pane ("fleet") or of the app ("app")."""
        return dict(self._all.get(name, {}))

    def keep(self, name: str, values: dict[str, Any]) -> None:
        self._all[name] = values

    def save(self) -> None:
        """Raises OSError."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = self._path.with_suffix(".new")
        fresh.write_text(json.dumps(self._all, indent=1, sort_keys=True), "utf-8")
        fresh.replace(self._path)
