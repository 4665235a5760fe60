"""What other installed packages add to omni, by entry points of their metadata (docs/plugins.md).

Looked for only where a name is not omni's own, or where all names are listed: reading the metadata
of an environment takes some 20 ms. A package that cannot be loaded fails whoever asks for what it
adds, with its name, and nobody else.

And how an optional library of omni's own is added: never by ``pip install NAME[extra]`` with omni's
name. Where omni came from a folder or a file, that would fetch whatever an index has under it.
"""

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from omni_cli.domain.errors import ConfigError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


Group = Literal["omni.protocols", "omni.importers", "omni.scorers"]
GROUPS: tuple[Group, ...] = ("omni.protocols", "omni.importers", "omni.scorers")


class Plugin(Struct, frozen=True):
    """``target``: what ``name`` stands for, ``module`` or ``module:attribute``; ``package``: who
    adds it, with its version."""

    group: Group
    name: str
    target: str
    package: str

    def load(self) -> Any:
        """The module or what it holds. Raises ConfigError: it cannot be imported."""
        module, _, attribute = self.target.partition(":")
        try:
            found = import_module(module)
            return getattr(found, attribute) if attribute else found
        except Exception as exc:  # whatever a stranger's module raises
            raise self.refused(f"{type(exc).__name__}: {exc}") from exc

    def refused(self, why: str) -> ConfigError:
        """The error of whoever needs it."""
        return ConfigError(
            f"{self.package} adds {self.name!r} to {self.group}, and it cannot be used: {why}",
            hint="another version of that package may fit; omni works without it",
        )


@cache
def plugins(group: Group) -> dict[str, Plugin]:
    """All of a group by name; of two packages that add one name, the first found."""
    from importlib.metadata import entry_points

    found: dict[str, Plugin] = {}
    for entry in entry_points(group=group):
        found.setdefault(entry.name, Plugin(group, entry.name, entry.value, _package(entry)))
    return found


def _package(entry: "EntryPoint") -> str:
    return "a package" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"


#: What each extra of pyproject.toml brings along; a test holds the two together.
EXTRAS: Mapping[str, Sequence[str]] = {
    "brotli": ("brotli>=1.2,<2",),
    "otel": ("opentelemetry-sdk>=1.30,<2", "opentelemetry-exporter-otlp-proto-http>=1.30,<2"),
    "postgres": ("psycopg[binary]>=3.3,<4",),
    "redis": ("redis>=6,<9",),
    "web": ("textual-serve>=1.1.3,<2",),
}


def install_line(extra: str) -> str:
    """The command that installs an extra's libraries here, to be typed as it stands."""
    import shlex

    prefix = Path(sys.prefix)
    wanted = shlex.join(EXTRAS[extra])
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx inject {shlex.quote(prefix.name)} {wanted}"
    python = shlex.quote(sys.executable or "python3")
    if find_spec("pip") is not None:
        return f"{python} -m pip install {wanted}"
    return f"uv pip install --python {python} {wanted}"
