"""The schema as its numbers left it; ``python -m tests.schema`` records the newest, once."""

from pathlib import Path

from omni_cli.store.port import SCHEMA_VERSION
from omni_cli.store.schema import statements
from tests.paths import FIXTURES

FOLDER = FIXTURES / "schema"
NEWEST = FOLDER / f"{SCHEMA_VERSION}.sql"


def text() -> str:
    """What makes an empty store."""
    return ";\n".join(statement.strip() for statement in statements()) + ";\n"


def recorded() -> list[tuple[int, Path]]:
    return sorted((int(path.stem), path) for path in FOLDER.glob("*.sql"))


if __name__ == "__main__":
    if NEWEST.exists() and NEWEST.read_text("utf-8") != text():
        raise SystemExit("schema.py changed: give SCHEMA_VERSION of store/port.py the next number")
    NEWEST.write_text(text(), "utf-8")
