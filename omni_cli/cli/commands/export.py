"""``omni export``: the ledger, usage and metrics, for other tools (C8)."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import typer

from omni_cli.cli.common import From, To, omni
from omni_cli.cli.render import note
from omni_cli.domain.errors import OmniError, UsageError
from omni_cli.services.money.export import LEDGER_COLUMNS, USAGE_COLUMNS, csv_lines, json_lines

app = typer.Typer(rich_markup_mode=None, help="Ledger, usage and metrics for other tools.")

Format = Annotated[Literal["jsonl", "csv"], typer.Option("--format", "-f", help="jsonl or csv.")]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", help="Write this file; replaced once whole.")
]


@app.command()
def ledger(
    form: Format = "jsonl", from_date: From = None, to_date: To = None, output: Output = None
) -> None:
    """Every request, oldest first; as JSON lines with its attempts."""
    with omni() as omni_app:
        omni_app.recovery.run()
        rows = omni_app.exporting.ledger(from_date, to_date, attempts=form == "jsonl")
        _write(json_lines(rows) if form == "jsonl" else csv_lines(LEDGER_COLUMNS, rows), output)


@app.command()
def usage(
    form: Format = "jsonl", from_date: From = None, to_date: To = None, output: Output = None
) -> None:
    """Sums by day, model, role, task and all else that reports know."""
    with omni() as omni_app:
        rows = omni_app.exporting.usage(from_date, to_date)
        _write(json_lines(rows) if form == "jsonl" else csv_lines(USAGE_COLUMNS, rows), output)


@app.command()
def metrics(output: Output = None) -> None:
    """Prometheus text with OpenTelemetry's GenAI names."""
    with omni() as omni_app:
        _write([omni_app.metrics.text()], output)


def _write(lines: Iterable[str], output: Path | None) -> None:
    """To stdout, or to a file that takes its name once it is whole."""
    if output is None:
        for line in lines:
            sys.stdout.write(line)
        return
    part = output.with_name(f"{output.name}.{os.getpid()}.part")
    count = 0
    try:
        # It may hold what people asked models for: for its owner only.
        handle = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            for line in lines:
                file.write(line)
                count += 1
        part.replace(output)
    except OmniError:
        raise
    except OSError as exc:
        raise UsageError(f"cannot write {output}: {exc}") from exc
    finally:
        part.unlink(missing_ok=True)
    note(f"wrote {output}")
