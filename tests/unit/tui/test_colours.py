"""Colours of names: always the same, told apart, and readable in every theme."""

import pytest
from textual.color import Color

from omni_cli.tui import colours
from omni_cli.tui.theme import load_themes, shipped_folder

_THEMES = load_themes([shipped_folder()])[0]


def test_a_name_keeps_its_colour_and_a_model_has_its_providers() -> None:
    assert colours.hue("anthropic/claude-haiku-4-5") == colours.hue("anthropic")
    assert colours.hue("Some host of mine") == "$hue-2"  # crc32, not the seeded hash()
    vendors = ("anthropic", "openai", "google", "moonshot", "mistral", "ollama", "deepseek")
    assert len({colours.hue(vendor) for vendor in vendors}) == len(vendors)


def test_a_chart_uses_no_colour_twice_before_all_are_used() -> None:
    names = ["openai/a", "openai/b", "anthropic/c", *(f"host{n}" for n in range(20))]
    found = colours.series(names)
    assert list(found) == names
    assert found["openai/a"] == colours.hue("openai")
    assert len(set(list(found.values())[:11])) == 11


@pytest.mark.parametrize("name", sorted(_THEMES))
def test_every_theme_has_them_all_and_they_can_be_read(name: str) -> None:
    theme = _THEMES[name].theme
    made = colours.variables(theme)
    assert {f"$hue-{n}" for n in range(11)} == {f"${key}" for key in made}
    assert len(set(made.values())) == len(made)
    if not theme.ansi:
        ground = Color.parse(theme.background or "")
        least = 7 if name == "high-contrast" else 4.5
        assert min(colours.contrast(Color.parse(c), ground) for c in made.values()) >= least
