"""A colour for each name, the same on every screen and on every day: providers on tiles, in tables
and in charts, series of a chart.

Colours are theme variables, ``$hue-0`` and on, made for each theme so that they can be read on its
background. No name is told by its colour alone: the name always stands beside it.
"""

import zlib
from collections.abc import Iterable

from textual.color import Color
from textual.theme import Theme

#: Degrees on the colour circle. Red is left out: it says that something failed.
_ANGLES = (24, 168, 226, 280, 48, 330, 190, 85, 208, 305, 140)
#: The nearest of a terminal's own 16 colours; neighbours above differ here, too.
_ANSI = (
    "yellow",
    "cyan",
    "blue",
    "magenta",
    "bright_yellow",
    "bright_magenta",
    "bright_cyan",
    "bright_green",
    "bright_blue",
    "bright_black",
    "green",
)
#: Providers that many have side by side, so that they never share one; the others by their name.
_KNOWN = {
    "anthropic": 0,
    "openai": 1,
    "google": 2,
    "moonshot": 3,
    "mistral": 4,
    "ollama": 5,
    "openrouter": 6,
    "groq": 7,
    "deepseek": 8,
    "xai": 9,
    "together": 10,
}
#: Contrast with the background, as WCAG 2.2 counts it; the second where a theme asks for more.
_CONTRAST, _HIGH_CONTRAST = 4.5, 7.0


def hue(name: str) -> str:
    """The theme variable of a provider's colour, such as "$hue-3"; any other name has one, too.

    Of ``provider/model`` it is the provider's.
    """
    return f"$hue-{_index(name)}"


def series(names: Iterable[str]) -> dict[str, str]:
    """Colours for what stands in one chart: each its own (``hue``) while that is free, so that no
    two are alike before all are used. The first names choose first."""
    found: dict[str, str] = {}
    taken: set[int] = set()
    for name in names:
        at = _index(name)
        if len(taken) < len(_ANGLES):
            while at in taken:
                at = (at + 1) % len(_ANGLES)
        taken.add(at)
        found[name] = f"$hue-{at}"
    return found


def _index(name: str) -> int:
    slug = name.partition("/")[0].lower()
    known = _KNOWN.get(slug)
    return zlib.crc32(slug.encode()) % len(_ANGLES) if known is None else known


def variables(theme: Theme) -> dict[str, str]:
    """``hue-0`` and on, as a theme's variables."""
    if theme.ansi:
        return {f"hue-{at}": f"ansi_{name}" for at, name in enumerate(_ANSI)}
    ground = Color.parse(theme.background or ("#121212" if theme.dark else "#efefef"))
    wanted = _HIGH_CONTRAST if ground.hex in ("#000000", "#FFFFFF") else _CONTRAST
    return {
        f"hue-{at}": _readable(angle, ground, wanted, dark=theme.dark).hex
        for at, angle in enumerate(_ANGLES)
    }


def contrast(one: Color, other: Color) -> float:
    """1 to 21, as WCAG 2.2 defines the contrast ratio."""

    def luminance(colour: Color) -> float:
        parts = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour.normalized
        ]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _readable(angle: int, ground: Color, wanted: float, *, dark: bool) -> Color:
    """The colour of an angle that is as far from grey as can be read on ``ground``."""
    light, step = (0.62, 0.02) if dark else (0.42, -0.02)
    found = Color.from_hsl(angle / 360, 0.62, light)
    while contrast(found, ground) < wanted and 0.05 < light < 0.95:
        light += step
        found = Color.from_hsl(angle / 360, 0.62, light)
    return found
