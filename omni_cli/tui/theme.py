"""Themes: TOML files, shipped in ``themes/`` and the user's own in the config folder.

A file holds ``title``, ``source`` (whose colours they are), ``dark``, and ``[colors]`` with
``primary`` and any of the other names in ``_COLOURS``, as ``#rrggbb``; ``[variables]`` may set
Textual's own. ``ansi = true`` takes the terminal's 16 colours (``ansi_blue``...) instead.
"""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct
from textual.color import Color, ColorParseError
from textual.theme import Theme

_COLOURS = (
    "primary",
    "secondary",
    "accent",
    "success",
    "warning",
    "error",
    "foreground",
    "background",
    "surface",
    "panel",
    "boost",
)
DEFAULT = "dark"


class ThemeFile(Struct, frozen=True):
    name: str
    title: str
    source: str
    theme: Theme


class BadTheme(ValueError):
    """A theme file that cannot be used; the message says why."""


def shipped_folder() -> Path:
    """``themes/`` inside the wheel, or beside the package in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "themes"
    return inside if inside.is_dir() else package.parent / "themes"


def load_themes(folders: Iterable[Path]) -> tuple[dict[str, ThemeFile], list[str]]:
    """Themes by name (the file's stem); later folders win.

    Returns:
        the themes, and one line for each file that could not be used.
    """
    found: dict[str, ThemeFile] = {}
    trouble: list[str] = []
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            try:
                found[path.stem] = read_theme(path)
            except (BadTheme, OSError) as exc:
                trouble.append(f"{path.name}: {exc}")
    return found, trouble


def read_theme(path: Path) -> ThemeFile:
    """Raises BadTheme, OSError."""
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise BadTheme(f"does not parse: {exc}") from exc
    colours = document.get("colors")
    if not isinstance(colours, dict) or "primary" not in colours:
        raise BadTheme("needs [colors] with at least primary")
    for name, value in colours.items():
        if name not in _COLOURS:
            raise BadTheme(f"unknown colour {name!r}: one of {', '.join(_COLOURS)}")
        _check_colour(name, value)
    variables = document.get("variables", {})
    if not isinstance(variables, dict):
        raise BadTheme("[variables] is a table of texts")
    theme = Theme(
        name=path.stem,
        **colours,
        dark=bool(document.get("dark", True)),
        variables={str(k): str(v) for k, v in variables.items()},
        ansi=bool(document.get("ansi", False)),
    )
    title, source = (str(document.get(key, "")) for key in ("title", "source"))
    return ThemeFile(path.stem, title or path.stem, source, theme)


def _check_colour(name: str, value: Any) -> None:
    try:
        Color.parse(value)
    except (ColorParseError, TypeError, AttributeError) as exc:
        raise BadTheme(f"{name} = {value!r} is no colour: write #rrggbb") from exc
