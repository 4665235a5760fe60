"""Reads an invoice or usage export, whoever made it; ``services/money/reconciling.py`` compares."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from omni_cli.domain.errors import UsageError
from omni_cli.domain.imports import ImportProblem, InvoiceLine
from omni_cli.domain.record import replace
from omni_cli.importers import importers
from omni_cli.importers.files import header_of, lines
from omni_cli.importers.reports import lines_of

#: How much of a JSON file shows what it is.
_HEAD_BYTES = 4096
_CSV_SIGNS: tuple[tuple[str, str], ...] = (
    ("amount_value", "openai"),
    ("num_model_requests", "openai"),
    ("usage_date_utc", "anthropic"),
    ("generation_id", "openrouter"),
    ("custom_llm_provider", "litellm"),
)
_JSON_SIGNS: tuple[tuple[str, str], ...] = (
    ('"organization.usage', "openai"),
    ('"organization.costs', "openai"),
    ('"starting_at"', "anthropic"),
    ('"byok_usage_inference"', "openrouter"),
    ('"request_id"', "litellm"),
)


def recognise(path: Path) -> str | None:
    """Name of the importer whose export this is, by its columns or keys; None when none is.

    A CSV file that no tool's columns match is ``csv``.
    """
    if path.suffix.lower() == ".csv":
        columns, _ = header_of(path)
        return next((name for sign, name in _CSV_SIGNS if sign in columns), "csv")
    head = ""
    for item in lines(path):
        if isinstance(item, ImportProblem) or len(head) >= _HEAD_BYTES:
            break
        head += item[1][:_HEAD_BYTES].decode("utf-8", "replace")
    return next((name for sign, name in _JSON_SIGNS if sign in head), None)


def read_invoice(
    path: Path,
    source: str | None = None,
    *,
    skips: Counter[str] | None = None,
    mapping: Mapping[str, str] | None = None,
) -> Iterator[InvoiceLine | ImportProblem]:
    """Lines of an invoice or usage export.

    Args:
        path: one file, or with ``source`` a folder of its exports.
        source: importer's name; None recognises the file.
        skips: filled with what was passed over, by reason.
        mapping: field -> column, for ``csv``.

    Raises:
        UsageError: not recognised, no such source, or a mapping that does not fit.
    """
    name = source or recognise(path)
    if name is None:
        raise UsageError(
            f"{path.name} is no report that omni knows",
            hint="name its format with --source openai|anthropic|openrouter|litellm|csv",
        )
    importer = importers.get(name)
    if importer is None:
        raise UsageError(f"no such source: {name}", hint=f"one of: {', '.join(importers)}")
    if importer.reports:
        yield from importer.read_invoice(path, skips=skips)
        return
    for item in importer.read(path, skips=skips, mapping=mapping):
        if isinstance(item, ImportProblem):
            yield item
        else:
            yield from lines_of(item)


def resolved(line: InvoiceLine, resolve: Callable[[str | None, str], str | None]) -> InvoiceLine:
    """The line with its model in the catalogue's words, where ``resolve`` knows it."""
    if line.model is None:
        return line
    model = resolve(line.provider, line.model)
    return line if model is None else replace(line, model=model)
