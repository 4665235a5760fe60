"""A colour for each name, the same on every screen and on every day: providers on tiles, in tables
and in charts, series of a chart; and the tints of chips and of figures that stand out.

Colours are theme variables, made for each theme so that they can be read on its background:
``$hue-0`` and on with three shades of each (``$hue-0-1``...), ``$ink-error`` on ``$tint-error`` and
its like. No name is told by its colour alone: the name always stands beside it.
"""

import zlib
from collections.abc import Iterable
from typing import NamedTuple

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
#: Of models of one provider in a chart: shades of its hue, and marks, which come round later.
_SHADES, MARKS = 4, "■◆●▲▼★"
#: How much of a colour is in its tint; "warm" is half of a warning.
_TINTS = {
    "primary": 0.24,
    "success": 0.24,
    "warm": 0.14,
    "warning": 0.26,
    "hot": 0.42,
    "error": 0.36,
    "muted": 0.1,
}
#: Contrast with the background, as WCAG 2.2 counts it; the second where a theme asks for more.
_CONTRAST, _HIGH_CONTRAST = 4.5, 7.0


def hue(name: str) -> str:
    """The theme variable of a provider's colour, such as "$hue-3"; any other name has one, too.

    Of ``provider/model`` it is the provider's.
    """
    return f"$hue-{_index(name)}"


class Look(NamedTuple):
    """How a series is drawn: ``style`` a theme variable, ``mark`` the sign beside its name, which
    a chart also sets into columns of the second series of a hue and those after it."""

    style: str
    mark: str = MARKS[0]


def series(names: Iterable[str]) -> dict[str, Look]:
    """Looks for what stands in one chart, no two alike before all are used. Models have their
    provider's hue, each a shade and a mark of its own in the order given; of any other name each
    has a hue of its own (``hue``) while one is free. The first names choose first."""
    found: dict[str, Look] = {}
    times: dict[int, int] = {}
    for name in names:
        at = _index(name)
        if "/" not in name and len(times) < len(_ANGLES):
            while at in times:
                at = (at + 1) % len(_ANGLES)
        nth = times.get(at, 0)
        times[at] = nth + 1
        shade = nth % _SHADES
        style = f"$hue-{at}-{shade}" if shade else f"$hue-{at}"
        found[name] = Look(style, MARKS[nth % len(MARKS)])
    return found


def _index(name: str) -> int:
    slug = name.partition("/")[0].lower()
    known = _KNOWN.get(slug)
    return zlib.crc32(slug.encode()) % len(_ANGLES) if known is None else known


def variables(theme: Theme) -> dict[str, str]:
    """``hue-0`` and on, tints and inks, as a theme's variables."""
    if theme.ansi:
        return _ansi_variables()
    ground = Color.parse(theme.background or ("#121212" if theme.dark else "#efefef"))
    ink = Color.parse(theme.foreground or ("#e0e0e0" if theme.dark else "#1f1f1f"))
    wanted = _HIGH_CONTRAST if ground.hex in ("#000000", "#FFFFFF") else _CONTRAST
    made = {}
    for at, angle in enumerate(_ANGLES):
        base = _readable(angle, ground, wanted, dark=theme.dark)
        faint = next(
            (
                c
                for part in (0.45, 0.35, 0.25)
                if contrast(c := base.blend(ground, part), ground) > 3
            ),
            base.blend(ground, 0.15),
        )
        shades = base, base.blend(ink, 0.5), faint, base.blend(ink, 0.75)
        for nth, shade in enumerate(shades):
            made[f"hue-{at}-{nth}" if nth else f"hue-{at}"] = shade.hex
    for name, part in _TINTS.items():
        plain = {"warm": theme.warning, "hot": theme.warning, "muted": ink.hex}
        colour = Color.parse(plain.get(name) or getattr(theme, name, None) or theme.primary)
        tint = ground.blend(colour, part)
        while contrast(ink, tint) < wanted and part > 0.1:
            part -= 0.02
            tint = ground.blend(colour, part)
        said = ground.blend(ink, 0.7) if name == "muted" else colour.blend(ink, 0.35)
        made[f"tint-{name}"] = tint.hex
        made[f"ink-{name}"] = (ink if name == "warm" or contrast(said, tint) < wanted else said).hex
    return made


def _ansi_variables() -> dict[str, str]:
    """Of a terminal's own colours there are two shades, and no tint that text could be read on."""
    made = {}
    for at, name in enumerate(_ANSI):
        other = name.removeprefix("bright_") if name.startswith("bright_") else f"bright_{name}"
        for nth in range(_SHADES):
            made[f"hue-{at}-{nth}" if nth else f"hue-{at}"] = f"ansi_{other if nth % 2 else name}"
    inks = {"primary": "cyan", "success": "green", "warning": "yellow", "error": "red"}
    inks["hot"] = "bright_yellow"
    for name in _TINTS:
        made[f"tint-{name}"] = "ansi_default"
        made[f"ink-{name}"] = f"ansi_{inks.get(name, 'default')}"
    return made


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
