"""``omni calc``: what a text or N requests would cost on each model."""

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.common import complete_catalogue, grouped, omni
from omni_cli.cli.render import note, number, out, paint
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.errors import UnknownPrice, UsageError, file_errors
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.money import format_usd
from omni_cli.domain.prices import Price
from omni_cli.domain.tokens import estimate_tokens
from omni_cli.services.money.calculator import (
    ENCODING,
    MEDIAN_ERROR_PERCENT,
    MOST_ERROR_PERCENT,
    Counted,
    Line,
    Workload,
    calculate,
    calculation_document,
    custom_price,
    exact_counter,
)
from omni_cli.services.money.prices import PriceBook, utc_day

app = typer.Typer(rich_markup_mode=None)

_SHOWN = 25


@app.command()
@grouped
def calc(
    text: Annotated[list[str] | None, typer.Argument(help="The text; - reads stdin.")] = None,
    file: Annotated[
        list[Path] | None, typer.Option("-f", "--file", help="Count this file; repeatable.")
    ] = None,
    input_tokens: Annotated[
        int | None, typer.Option("--in", min=0, help="Input tokens of a request.")
    ] = None,
    output_tokens: Annotated[
        int, typer.Option("--out", min=0, help="Output tokens of a request.")
    ] = 0,
    cached_tokens: Annotated[
        int, typer.Option("--cached", min=0, help="Input tokens that a cache would serve.")
    ] = 0,
    requests: Annotated[int, typer.Option("--requests", min=1, help="How many requests.")] = 1,
    per_month: Annotated[
        int | None, typer.Option("--per-month", min=0, help="Requests a month, to project.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "-m", "--model", autocompletion=complete_catalogue, help="Only these; repeatable."
        ),
    ] = None,
    provider: Annotated[
        list[str] | None, typer.Option("--provider", help="Only models of these; repeatable.")
    ] = None,
    custom: Annotated[
        list[str] | None,
        typer.Option("--custom", help="Your own price: in=1.2,out=4.8[,cached=0.1]; repeatable."),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="The whole catalogue's chat models, not your fleet's.")
    ] = False,
    limit: Annotated[
        int, typer.Option("-n", "--limit", min=0, help="Lines to show; 0 shows all.")
    ] = _SHOWN,
    *,
    view: View,
) -> None:
    """What a text or N requests would cost on each of your models. Sends nothing.

    Without a fleet, or with --all: on every chat model of the catalogue that is in service.
    """
    prices = [custom_price(words) for words in custom or ()]
    counted = _count(text or [], file or [], input_tokens)
    workload = Workload(
        counted.tokens,
        output_tokens,
        cached_tokens,
        requests,
        per_month,
        counted=counted.method != "given",
    )
    with omni() as omni_app:
        models = _models(omni_app, model or [], provider or [], every=every)
        rest = not every and not model and not provider and _of_fleet(omni_app, models)
    own = [
        (ModelInfo(name, "custom", name, name), price)
        for price, name in zip(prices, _names(len(prices)), strict=True)
    ]
    lines = calculate(workload, [*own, *models])
    shown = lines[:limit] if limit and not model else lines
    missing = [line for line in lines if line.model.startswith("custom") and line not in shown]
    document = functools.partial(calculation_document, workload, counted, lines)
    _show(view, workload, counted, [*shown, *missing], document)
    if not view.data and len(lines) > len(shown) + len(missing):
        note(f"and {len(lines) - len(shown) - len(missing):,} dearer ones; --limit 0 shows all")
    if rest and not view.data:
        note("your fleet's models; --all has the catalogue's")


def _count(text: list[str], files: list[Path], given: int | None) -> Counted:
    piped = not text and not files and given is None and not sys.stdin.isatty()
    if given is not None:
        if text or files:
            raise UsageError("give a text or --in, not both")
        return Counted(given, "given")
    parts = [sys.stdin.read()] if piped or text == ["-"] else [" ".join(text)] if text else []
    for path in files:
        with file_errors("read", path):
            parts.append(path.read_text("utf-8", "replace"))
    whole = "\n".join(parts)
    if not whole:
        raise UsageError(
            "nothing to count",
            hint='omni calc "a text", omni calc -f FILE, or --in 1000 --out 500',
        )
    exact = exact_counter(os.environ, os.environ.__setitem__)
    if exact is not None:
        return Counted(exact(whole), ENCODING)
    return Counted(estimate_tokens(whole), "estimate")


def _of_fleet(omni_app: App, models: list[tuple[ModelInfo, Price]]) -> bool:
    """Whether they are those at work, and not the catalogue's in their place."""
    slugs = {provider.slug for provider in omni_app.providers.all()}
    return bool(models) and all(
        model.provider in slugs and model.status == "active" for model, _ in models
    )


def _models(
    omni_app: App, names: list[str], slugs: list[str], *, every: bool
) -> list[tuple[ModelInfo, Price]]:
    """Named models as they are; else the fleet's; of a provider, with ``every``, or without a fleet
    all chat models in service; each with its price of today."""
    now = omni_app.now_ms()
    own: list[ModelInfo] = []
    if names:
        found = [omni_app.fleet.model(name) for name in names]
    else:
        today = utc_day(now)
        connected = {provider.slug for provider in omni_app.providers.all()}
        every = every or bool(slugs)
        own = [] if every else list(omni_app.models.of_providers(connected, ["active"]))
        found = own or [
            model
            for model in omni_app.models.all()
            if model.chats and (model.retired_on is None or model.retired_on > today)
        ]
    if slugs:
        found = [model for model in found if model.provider in slugs]
    book = PriceBook(omni_app.models, now_ms=now)
    if names:
        book.load(model.id for model in found)
    else:
        book.load_all()
    named = names or own
    priced = []
    for model in found:
        row = book.current(model.id)
        if row is not None and row.price.state == "priced":
            priced.append((model, row.price))
        elif names or (named and row is not None and row.price.state == "free"):
            _refuse(model, "unknown" if row is None else row.price.state)
    return priced


def _refuse(model: ModelInfo, state: str) -> None:
    if state == "free":
        note(f"{model.id} is free")
        return
    raise UnknownPrice(
        f"the price of {model.id} is unknown",
        hint=f"omni models price {model.id} --price-in USD --price-out USD sets it, "
        "or --custom in=USD,out=USD",
    )


def _names(count: int) -> list[str]:
    return ["custom"] if count == 1 else [f"custom {i + 1}" for i in range(count)]


def _show(
    view: View,
    workload: Workload,
    counted: Counted,
    lines: list[Line],
    document: Callable[[], dict[str, Any]],
) -> None:
    if not view.data:
        _explain(workload, counted)
    columns = [Column.key("model"), Column.money("a request")]
    if workload.cached_tokens:
        columns.append(Column.figure("without cache", 2))
    if workload.requests > 1:
        columns.append(Column.figure(f"{number(workload.requests)} requests", 6))
    if workload.per_month is not None:
        columns.append(Column.figure("a month", 7))
    columns.append(Column.words("", 4))
    rows = []
    for line in lines:
        row = [line.model, format_usd(line.request_nusd)]
        if workload.cached_tokens:
            row.append(format_usd(line.uncached_nusd))
        if workload.requests > 1:
            row.append(format_usd(line.total_nusd))
        if workload.per_month is not None:
            row.append(format_usd(line.month_nusd))
        rows.append((*row, _remark(workload, line)))
    listing(
        view,
        columns,
        rows,
        lambda: document()["models"],
        whole=document,
        styles=[None if line.fits else "dim" for line in lines],
    )


def _explain(workload: Workload, counted: Counted) -> None:
    cached = f" ({workload.cached_tokens:,} cached)" if workload.cached_tokens else ""
    out(f"{counted.tokens:,} tokens in{cached}, {workload.output_tokens:,} out")
    if counted.method == "estimate":
        note(
            paint(
                f"input tokens are estimated: on recorded answers half of the estimates were "
                f"within {MEDIAN_ERROR_PERCENT}% and all within {MOST_ERROR_PERCENT}%",
                "dim",
                sys.stderr,
            )
        )
    elif counted.method == ENCODING:
        note(
            paint(
                f"counted with {ENCODING}: exact for OpenAI's models since GPT-4o; other "
                "vendors' tokenizers give other counts",
                "dim",
                sys.stderr,
            )
        )
    if not workload.output_tokens:
        note(paint("input only: --out N adds an answer of N tokens", "dim", sys.stderr))


def _remark(workload: Workload, line: Line) -> str:
    if not line.fits:
        return "does not fit its context window"
    if workload.cached_tokens and not line.own_cached_rate:
        return "no rate for cached input"
    return ""
