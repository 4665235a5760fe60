"""omni: fleet management for AI models, in the terminal."""

from typing import Any

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("omni-cli")
    raise AttributeError(name)
