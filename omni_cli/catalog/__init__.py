"""The bundled catalogue of models and prices: how it is made, read and refreshed."""

from pathlib import Path


def stamp() -> str:
    """Changes with the bundled catalogue, without reading it: its size and time of change."""
    status = (Path(__file__).parent / "catalog.json").stat()
    return f"{status.st_size}-{status.st_mtime_ns}"
