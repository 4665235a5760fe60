"""Make the pictures in docs/images/ from the snapshots' scene: ``python -m docs.screenshots``."""

import asyncio
import tempfile
from pathlib import Path

from omni_cli.tui.app import OmniApp
from tests.snapshot.scene import TODAY_CAST, add_sessions, add_takeovers, env_of, make_home
from tests.snapshot.steps import press

FOLDER = Path(__file__).parent / "images"
#: Picture, tab, keys, size, theme.
PICTURES = (
    ("fleet", "fleet", (), (120, 34), "dark"),
    ("model", "fleet", ("j", "enter"), (120, 34), "dark"),
    ("providers", "providers", ("j", "j"), (120, 34), "nord"),
    ("activity", "activity", ("j", "j"), (120, 34), "catppuccin"),
    ("narrow", "fleet", (), (80, 24), "light"),
    ("catalogue", "catalogue", ("j", "j"), (120, 34), "dark"),
    ("failover", "failover", (), (120, 24), "gruvbox"),
    ("usage", "usage", ("j",), (120, 34), "dark"),
    ("costs", "costs", (), (120, 34), "dark"),
    ("budgets", "budgets", (), (120, 24), "light"),
    ("compare", "compare", (), (120, 34), "dark"),
    ("recommendations", "recommendations", (), (120, 34), "nord"),
)


async def picture(
    home: Path, name: str, tab: str, keys: tuple[str, ...], size: tuple[int, int], theme: str
) -> None:
    app = OmniApp(env_of(home), clock=TODAY_CAST.clock, theme=theme, tab=tab)
    async with app.run_test(size=size) as pilot:
        await press(*keys)(pilot)
        (FOLDER / f"{name}.svg").write_text(app.export_screenshot(title="omni"), "utf-8")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch) / "omni"
        make_home(home, cast=TODAY_CAST)
        add_sessions(home, TODAY_CAST)
        add_takeovers(home, TODAY_CAST)
        for name, tab, keys, size, theme in PICTURES:
            asyncio.run(picture(home, name, tab, keys, size, theme))


if __name__ == "__main__":
    main()
