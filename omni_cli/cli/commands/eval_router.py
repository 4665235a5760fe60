"""``omni eval-router``: check omni's routing claim on labelled outcomes, or on one's own."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import UsageError
from omni_cli.domain.routing_eval import LadderReport
from omni_cli.services.judge.eval_router import (
    NUSD,
    SHARES,
    Labelled,
    RouterReport,
    evaluate,
    own_document,
    own_outcomes,
    read_row,
    replay,
    report_document,
)
from omni_cli.services.judge.optimize import setting_name

app = typer.Typer(rich_markup_mode=None)


@app.command()
def eval_router(
    data: Annotated[
        list[Path] | None,
        typer.Option(help="JSON Lines of prompts with scores by model; a folder with index.json."),
    ] = None,
    ledger: Annotated[bool, typer.Option("--ledger", help="Replay your own outcomes.")] = False,
    pair: Annotated[str | None, typer.Option(help="WEAK,STRONG for APGR.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """How good routing is, on any labelled file or on your own outcomes."""
    if bool(data) == ledger:
        raise UsageError(
            "give --data FILE or --ledger",
            hint='a line: {"prompt": "...", "scores": {"gpt-4o": 1}, "costs": {"gpt-4o": 0.002}}',
        )
    if ledger:
        with omni() as omni_app:
            _ledger(omni_app, as_json=as_json)
        return
    reports = []
    for path in data or ():
        for name, rows, info in _sets(path):
            chosen = _pair(pair) or ((info["weak"], info["strong"]) if info.get("weak") else None)
            note(f"{name}: {len(rows):,} rows")
            prices = info.get("price_per_mtok")
            reports.append(evaluate(name, rows, pair=chosen, prices=prices))
    if as_json:
        emit_json([report_document(report) for report in reports])
        return
    for report in reports:
        _show(report)


def _pair(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    weak, comma, strong = text.partition(",")
    if not comma:
        raise UsageError("--pair takes WEAK,STRONG")
    return weak.strip(), strong.strip()


def _sets(path: Path) -> Iterator[tuple[str, list[Labelled], dict[str, Any]]]:
    """Every set below a path: a file is one; a folder's index.json names several."""
    if not path.is_dir():
        yield path.name, _rows(path, ()), {}
        return
    try:
        index = json.loads((path / "index.json").read_text("utf-8"))
        benches = index["benches"]
    except (OSError, ValueError, KeyError) as exc:
        raise UsageError(f"{path} has no usable index.json: {exc}") from exc
    for name, info in benches.items():
        file = path / f"{name}.jsonl.gz"
        if file.exists() and len(info.get("models", ())) > 1:
            yield name, _rows(file, info["models"]), info
    labelled = path / "tasktype.jsonl.gz"
    if labelled.exists():
        yield "tasktype", _rows(labelled, ()), {}


def _rows(path: Path, models: tuple[str, ...] | list[str]) -> list[Labelled]:
    rows = []
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8") as handle
        ):
            for number, line in enumerate(handle, 1):
                if line.strip():
                    try:
                        row = json.loads(line)
                    except ValueError as exc:
                        raise UsageError(f"{path}, line {number}: no JSON: {exc}") from exc
                    rows.append(read_row(row, models, f"{path.name}, line {number}"))
    except (OSError, EOFError) as exc:  # a gzip that ends too early is an EOFError
        raise UsageError(f"cannot read {path}: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path} is not UTF-8 text") from exc
    return rows


def _show(report: RouterReport) -> None:
    out(paint(f"{report.name}  ({report.rows:,} prompts)", "bold"))
    if report.types is not None:
        out(
            f"  task type   accuracy {report.types.accuracy:.3f}, "
            f"macro F1 {report.types.macro_f1:.3f}"
        )
    if report.apgr is not None:
        out(
            f"  APGR        {report.apgr:.3f} by type and form, {report.apgr_by_type:.3f} by type, "
            f"{report.apgr_length:.3f} by length  ({report.weak} → {report.strong})"
        )
    for label, ladder in (("type and form", report.ladder), ("type", report.by_type)):
        if ladder is not None:
            saved = ", ".join(
                f"{share:.0%}: {_percent(ladder.saving_at(share))}"
                f" [{' to '.join(map(_percent, ladder.savings[share]))}]"
                for share in SHARES
            )
            out(
                f"  AIQ         {ladder.aiq:.4f} by {label} (fixed models {ladder.single_aiq:.4f});"
                f" saved at a share of {ladder.best_model}'s quality: {saved}"
            )
    if report.ladder is not None:
        out()
        out(_chart(report.ladder))
        out()
        _show_settings(report)
    if report.apgr is not None:
        out("  the table was filled from the other four fifths of these rows (in domain)")
    out()


def _chart(ladder: LadderReport) -> str:
    from omni_cli.cli.charts import frontier_chart

    least = min((point.cost for point in ladder.frontier if point.cost > 0), default=1.0)
    points = [
        ("o", max(p.cost, least), p.quality, p.qualities.low, p.qualities.high)
        for p in ladder.frontier
    ]
    points.append(("B", ladder.best_cost or least, *(ladder.best_quality,) * 3))
    return frontier_chart(
        points, title="measured quality, %, by cost of a call: o frontier, B best model"
    )


def _show_settings(report: RouterReport) -> None:
    """What ``omni optimize`` would show of these rows, and what their labels say of it."""
    table(
        (
            Column.words("setting", 9, 16),
            Column.figure("cost a call", 3),
            Column.figure("expected quality", 5),
            Column.figure("measured quality", 6),
        ),
        [
            (
                setting_name(one.outcome.setting),
                f"{one.outcome.cost_nusd / NUSD / len(one.outcome.chosen):.3g}",
                f"{one.outcome.quality:.1%}",
                f"{one.quality:.1%} [{100 * one.band.low:.1f} to {100 * one.band.high:.1f}]",
            )
            for one in report.settings
        ],
    )


def _ledger(omni_app: App, *, as_json: bool) -> None:
    rows = replay(own_outcomes(omni_app.learning, omni_app.ledger))
    if as_json:
        emit_json([own_document(row) for row in rows])
        return
    if not rows:
        note("no outcomes yet: omni rate last 5, or omni chat --check CMD, give some")
        return
    table(
        (
            Column.key("model"),
            Column.figure("outcomes", 4),
            Column.figure("expected", 6),
            Column.figure("seen", 6),
            Column.figure("Brier", 3),
        ),
        [
            (r.model, str(r.outcomes), f"{r.expected:.0%}", f"{r.seen:.0%}", f"{r.brier:.3f}")
            for r in rows
        ],
    )


def _percent(value: float | None) -> str:
    return "never" if value is None else f"{value:.0%}"
