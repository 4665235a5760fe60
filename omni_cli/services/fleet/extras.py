"""How to add an optional library to the very environment that this omni runs in.

Never ``pip install NAME[extra]`` with omni's own name: where omni came from a folder or a file,
that would fetch whatever an index has under the name.
"""

import shlex
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

#: What each extra of pyproject.toml brings along; a test holds the two together.
EXTRAS: Mapping[str, Sequence[str]] = {
    "otel": ("opentelemetry-sdk>=1.30,<2", "opentelemetry-exporter-otlp-proto-http>=1.30,<2"),
    "redis": ("redis>=6,<9",),
}


def install_line(extra: str) -> str:
    """The command that installs an extra's libraries here, to be typed as it stands."""
    prefix = Path(sys.prefix)
    wanted = shlex.join(EXTRAS[extra])
    if (prefix / "pipx_metadata.json").exists():
        return f"pipx inject {shlex.quote(prefix.name)} {wanted}"
    python = shlex.quote(sys.executable or "python3")
    if find_spec("pip") is not None:
        return f"{python} -m pip install {wanted}"
    return f"uv pip install --python {python} {wanted}"
