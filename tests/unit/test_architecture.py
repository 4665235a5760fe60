"""docs/architecture.md is true: every file and name in it exists, every room is in it. And no
checker is told to look away without a reason, and no file has one importer without one."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.paths import REPO

PAGES = ["architecture.md", "plugins.md", "providers.md", "protocols.md"]
PACKAGE = REPO / "omni_cli"
_QUOTED = re.compile(r"`([^`\n]+)`")
_FILE = re.compile(r"[\w./-]+\.(?:py|toml|json)|[\w./-]+/")


def quoted(page: str) -> list[str]:
    return _QUOTED.findall((REPO / "docs" / page).read_text("utf-8"))


def place(name: str) -> Path | None:
    """Of a file or folder as docs name it: from the repository's root, the package's, or alone."""
    found = (base / name for base in (REPO, PACKAGE) if (base / name).exists())
    return next(found, None) or (None if "/" in name else next(PACKAGE.rglob(name), None))


@cache
def names_in(path: Path) -> frozenset[str]:
    """Everything that a module defines, methods as ``Class.method``."""
    found = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef):
            inner = (n for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {node.name, *(f"{node.name}.{method.name}" for method in inner)}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_file_and_name_exists(page: str) -> None:
    missing = []
    for text in quoted(page):
        file, _, name = text.partition(":")
        if "/" not in file and not file.endswith(".py"):
            continue
        if not _FILE.fullmatch(file) or file.startswith("/") or "acme" in file:
            continue  # a path of the gateway's, or of a protocol that is only thought of
        path = place(file)
        if path is None or (name and name not in names_in(path)):
            missing.append(text)
    assert not missing


def test_every_room_is_on_the_map() -> None:
    said = " ".join(quoted("architecture.md"))
    ours = [p for p in PACKAGE.iterdir() if not p.name.startswith("__") and p.name != "py.typed"]
    rooms = [f"{p.name}/" if p.is_dir() else p.name for p in ours]
    rooms += [f"services/{p.parent.name}/" for p in PACKAGE.glob("services/*/__init__.py")]
    assert {room for room in rooms if room not in said} <= {"data/", "services/"}


#: Whatever is silenced, and nothing behind it.
_SILENT = re.compile(
    r"#\s*(?:type:\s*ignore(?:\[[\w,-]*\])?|noqa(?:: [A-Z]+\d+(?:, ?[A-Z]+\d+)*)?)\s*$"
)


def test_whatever_is_silenced_has_a_reason_beside_it() -> None:
    folders = ("omni_cli", "tools", "tests", "benchmarks", "fixtures", "docs")
    files = (path for folder in folders for path in (REPO / folder).rglob("*.py"))
    bare = [
        f"{path.relative_to(REPO)}:{number}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if _SILENT.search(line)
    ]
    assert not bare


#: Why a file that one other imports is not a part of it. The others are wired by the container,
#: serve another room, or would make a module of more than 500 lines.
APART = {
    "cli/examples.py": "loaded for a command's help alone",
    "importers/helper.py": "loaded where another process reads, too",
    "keys/clouds.py": "loaded where a provider is a cloud's",
    "keys/ring.py": "loaded where a key is in the keyring",
    "keys/vault.py": "loaded where a key is in the encrypted file",
    "store/limits.py": "loaded where gateways count in PostgreSQL",
    "tui/screens/abtests.py": "a screen",
    "wire/ollama/bounds.py": "each protocol's bounds are a file",
}
_MOST_LINES = 500


_IMPORT = re.compile(
    r"^\s*(?:from (omni_cli(?:\.\w+)*) import (\([^)]*\)|.+)|import (omni_cli.+))$", re.MULTILINE
)


def imported(path: Path) -> Iterator[str]:
    """Modules, within functions and for types too; of ``from a import b`` both."""
    for module, names, modules in _IMPORT.findall(path.read_text("utf-8")):
        if module:
            yield module
        for name in re.findall(r"[\w.]+", names or modules):
            yield f"{module}.{name}" if module else name


def test_no_file_has_one_importer_without_a_reason() -> None:
    files = {
        f"omni_cli.{'.'.join(path.relative_to(PACKAGE).with_suffix('').parts)}": path
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py"
    }
    by: dict[Path, set[Path]] = {path: set() for path in files.values()}
    for path in PACKAGE.rglob("*.py"):
        for name in imported(path):
            if name in files and files[name] != path:
                by[files[name]].add(path)

    def lines(path: Path) -> int:
        return len(path.read_text("utf-8").splitlines())

    def room(path: Path) -> str:
        return path.relative_to(PACKAGE).parts[0]

    alone = set()
    for path, users in by.items():
        if len(users) == 1 and "commands" not in path.parts:
            (one,) = users
            if room(one) == room(path) and lines(one) + lines(path) <= _MOST_LINES:
                alone.add(path.relative_to(PACKAGE).as_posix())
    assert alone == APART.keys()
