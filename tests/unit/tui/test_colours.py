"""Colours of names: always the same, told apart, and readable in every theme."""

import pytest
from textual.color import Color

from omni_cli.tui import colours, heat
from omni_cli.tui.theme import load_themes, shipped_folder

_THEMES = load_themes([shipped_folder()])[0]


def test_a_name_keeps_its_colour_and_a_model_has_its_providers() -> None:
    assert colours.hue("anthropic/claude-haiku-4-5") == colours.hue("anthropic")
    assert colours.hue("Some host of mine") == "$hue-2"  # crc32, not the seeded hash()
    vendors = ("anthropic", "openai", "google", "moonshot", "mistral", "ollama", "deepseek")
    assert len({colours.hue(vendor) for vendor in vendors}) == len(vendors)


def test_a_chart_tells_series_apart_and_models_keep_their_providers_hue() -> None:
    names = [f"openai/{n}" for n in range(8)] + ["anthropic/c", "openrouter/x/y"]
    names += [f"host{n}" for n in range(16)]
    found = colours.series(names)
    assert list(found) == names
    assert len(set(found.values())) == len(names)
    assert found["openai/0"] == colours.Look(colours.hue("openai"))
    for name in names[:10]:
        assert found[name].style.startswith(colours.hue(name))
    # What is no model has a hue to itself while there is one.
    alone = colours.series(f"host{n}" for n in range(11))
    assert len({look.style.split("-")[1] for look in alone.values()}) == 11


@pytest.mark.parametrize("name", sorted(_THEMES))
def test_every_theme_has_them_all_and_they_can_be_read(name: str) -> None:
    theme = _THEMES[name].theme
    made = colours.variables(theme)
    assert {f"hue-{n}" for n in range(11)} <= set(made)
    used = {style.lstrip("$") for style in _styles()}
    assert used <= {*made, "foreground", "foreground-muted", "success"}
    hues = [value for key, value in made.items() if key.startswith("hue-")]
    if theme.ansi:
        assert len(set(hues[::4])) == 11
        return
    assert len(set(hues)) == len(hues) == 44
    ground = Color.parse(theme.background or "")
    least = 7 if name == "high-contrast" else 4.5
    bases = [made[f"hue-{n}"] for n in range(11)]
    assert min(colours.contrast(Color.parse(c), ground) for c in bases) >= least
    # Shades only fill shapes, with a name beside them.
    assert min(colours.contrast(Color.parse(c), ground) for c in hues) >= 2.2
    for kind in (key.removeprefix("ink-") for key in made if key.startswith("ink-")):
        ink, tint = (Color.parse(made[f"{part}-{kind}"]) for part in ("ink", "tint"))
        assert colours.contrast(ink, tint) >= 4.5, kind


def _styles() -> set[str]:
    """Every variable that figures and chips are drawn in."""
    styles = [*heat.STEPS, *heat.GRADES, *(str(heat.chip("x", c).spans[0].style) for c in _CHIPS)]
    return {word for style in styles for word in style.split() if word != "on"}


_CHIPS = ("$primary", "$success", "$warning", "$error", "$foreground-muted")
