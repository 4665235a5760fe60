"""Write ``catalog.json`` from the installed genai-prices: ``python -m tools.catalogue``.

Options: ``--check`` writes nothing and fails where the file is not what the data gives.
The same data, ``overrides.toml`` and ``facts.toml`` give the same bytes. The day on which the
sources were read is ``checked`` in ``overrides.toml``.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from importlib.metadata import version
from typing import Any

from omni_cli.catalog.convert import build_catalog
from omni_cli.catalog.load import FILE, FOLDER, read_tables

#: Fields of the source that the catalogue does not read.
_UNREAD = frozenset({"extractors", "price_variants"})


def source_json() -> list[dict[str, Any]]:
    """The installed data in the form that genai-prices publishes as JSON (version 2)."""
    from genai_prices.data import providers

    return [_plain(provider) for provider in providers]


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        # "or" and "and" are keywords: the source's classes add an underscore.
        return {
            name.rstrip("_"): _plain(item)
            for name, item in fields.items()
            if item is not None and name not in _UNREAD
        }
    if type(value).__name__ == "ModelPrice":
        return {unit: _plain(price) for unit, price in vars(value).items() if price is not None}
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, Decimal):
        return value
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def render(catalog: Mapping[str, Any]) -> bytes:
    """JSON with one model a line, so that a rebuild shows what changed."""
    head = {key: value for key, value in catalog.items() if key != "models"}
    lines = ",\n".join(_line(model) for model in catalog["models"])
    return f'{_line(head)[:-1]},"models":[\n{lines}\n]}}\n'.encode()


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def current() -> bytes:
    """The bytes that ``catalog.json`` should hold."""
    overrides, facts = read_tables()
    source = f"genai-prices {version('genai-prices')}"
    return render(
        build_catalog(source_json(), overrides, facts, source=source, checked=overrides["checked"])
    )


def counts(data: bytes) -> str:
    """How many models there are, by the state of their newest price."""
    models = json.loads(data)["models"]
    states = [model["prices"][-1]["state"] for model in models]
    parts = ", ".join(f"{states.count(s)} {s}" for s in ("priced", "free", "unknown"))
    return f"{len(models)} models: {parts}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.catalogue")
    parser.add_argument("--check", action="store_true", help="write nothing, fail on a difference")
    check = parser.parse_args(argv).check
    path = FOLDER / FILE
    data = current()
    same = path.is_file() and path.read_bytes() == data
    if not check:
        path.write_bytes(data)
    outcome = "up to date" if same else "out of date" if check else "written"
    sys.stdout.write(f"{counts(data)}\n{path.name}: {outcome}\n")
    return 1 if check and not same else 0


if __name__ == "__main__":
    sys.exit(main())
