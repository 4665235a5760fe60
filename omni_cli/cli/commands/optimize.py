"""``omni optimize``: the last days under other routing settings, and what that would have cost."""

import json
from collections.abc import Sequence
from typing import Annotated

import typer

from omni_cli import config as settings
from omni_cli.bootstrap import App
from omni_cli.cli.common import Apply, JsonFlag, omni
from omni_cli.cli.render import emit_json, milliseconds, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import NotFound
from omni_cli.domain.money import format_usd
from omni_cli.domain.optimize import Outcome, Setting
from omni_cli.domain.words import counted
from omni_cli.services.judge.optimize import Optimum, optimum_document, setting_values

app = typer.Typer(rich_markup_mode=None)
_WIDTH, _HEIGHT = 60, 12
_UNDO_KEY = "optimize_undo"


@app.command()
def optimize(
    days: Annotated[int, typer.Option(min=1, max=366, help="How far back.")] = 30,
    lose: Annotated[
        float, typer.Option(min=0, max=100, help="Points of expected quality it may cost.")
    ] = 1.0,
    apply: Apply = False,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last --apply back.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Replay past requests through other settings; nothing is sent."""
    with omni() as omni_app:
        if undo:
            _undo(omni_app, as_json=as_json)
            return
        routing = omni_app.config.routing
        today = Setting(routing.priority, routing.weights, routing.latency_pref)
        found = omni_app.optimizer.run(today, days=days, may_lose=lose / 100)
        applied = apply and found.suggested is not None
        if applied and found.suggested is not None:
            _apply(omni_app, today, found.suggested.setting)
    if as_json:
        emit_json(optimum_document(found, applied=applied))
        return
    _show(found)
    if applied:
        out("set; undo: omni optimize --undo")
    elif found.suggested is not None:
        note("omni optimize --apply sets it")


def _apply(omni_app: App, today: Setting, fresh: Setting) -> None:
    before, after = setting_values(today), setting_values(fresh)
    _set(omni_app, "routing.optimize", before, after)
    omni_app.store.set_meta(_UNDO_KEY, json.dumps(before))


def _undo(omni_app: App, *, as_json: bool) -> None:
    text = omni_app.store.get_meta(_UNDO_KEY)
    if not text:
        raise NotFound("nothing that omni optimize set is left to undo")
    routing = omni_app.config.routing
    now = Setting(routing.priority, routing.weights, routing.latency_pref)
    before = json.loads(text)
    _set(omni_app, "routing.optimize.undo", setting_values(now), before)
    omni_app.store.set_meta(_UNDO_KEY, "")
    if as_json:
        emit_json({"settings": before})
    else:
        for key, value in before.items():
            out(f"{key} = {value}")


def _set(omni_app: App, action: str, before: dict[str, str], after: dict[str, str]) -> None:
    """Into the user's settings and the audit log together."""
    with omni_app.store.transaction():
        omni_app.audit.record(
            at_ms=omni_app.now_ms(),
            who=omni_app.who,
            action=action,
            target="settings",
            before=before,
            after=after,
        )
        for key, value in after.items():
            settings.set_value(omni_app.paths, key, value)


def _name(setting: Setting) -> str:
    fast = ", fast" if setting.latency_pref == "fast" else ""
    if setting.priority != "balanced":
        return setting.priority + fast
    w = setting.weights
    return f"balanced, cost {w.cost:g}, latency {w.latency:g}, task {w.task_match:g}{fast}"


def _show(found: Optimum) -> None:
    sampled = "" if found.read == found.requests else f", {found.read:,} of them sampled"
    out(
        f"{counted(found.requests, 'request')} of {counted(found.days, 'day')}"
        f"{sampled}; the router was free in "
        f"{found.replayed:,}, which are replayed"
    )
    out()
    for line in _chart(found):
        out(line)
    out()
    rows = [(_mark(found, outcome), outcome) for outcome in found.frontier]
    if found.today not in found.frontier:
        rows.append(("today", found.today))
    table(
        (
            Column.key(""),
            Column.words("setting", 9, 16),
            Column.money("cost"),
            Column.figure("30 days", 3),
            Column.figure("quality", 6),
            Column.figure("latency", 2),
        ),
        [
            (
                mark,
                _name(outcome.setting),
                format_usd(outcome.cost_nusd),
                format_usd(found.monthly_nusd(outcome)),
                f"{outcome.quality:.1%}",
                milliseconds(outcome.latency_ms),
            )
            for mark, outcome in rows
        ],
    )
    out()
    best = found.suggested
    if best is None:
        out("today's setting: none is cheaper without losing more quality (--lose says how much)")
    else:
        saved = found.today.cost_nusd - best.cost_nusd
        share = saved / found.today.cost_nusd if found.today.cost_nusd else 0.0
        points = 100 * (best.quality - found.today.quality)
        out(
            paint(f"suggested: {_name(best.setting)}", "bold")
            + f": {share:.0%} less cost, {points:+.1f} points of expected quality"
        )
    note(
        "quality is what the router expects, not measured on these requests; costs are each "
        "request's own tokens at today's prices, and another model may write more or less"
    )


def _mark(found: Optimum, outcome: Outcome) -> str:
    if outcome is found.suggested:
        return "suggested"
    return "today" if outcome == found.today else ""


def _chart(found: Optimum) -> list[str]:
    """Cost to the right, quality up: T today, S suggested, o the frontier, · the rest."""
    every = [*found.outcomes, found.today]
    costs = [outcome.cost_nusd for outcome in every]
    qualities = [outcome.quality for outcome in every]
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]

    def put(outcomes: Sequence[Outcome], mark: str) -> None:
        for outcome in outcomes:
            x = _place(outcome.cost_nusd, min(costs), max(costs), _WIDTH)
            y = _place(outcome.quality, min(qualities), max(qualities), _HEIGHT)
            grid[_HEIGHT - 1 - y][x] = mark

    put(found.outcomes, "·")
    put(found.frontier, "o")
    put([found.today], "T")
    if found.suggested is not None:
        put([found.suggested], "S")
    labels = {0: f"{max(qualities):.1%}", _HEIGHT - 1: f"{min(qualities):.1%}"}
    lines = [f"{labels.get(n, ''):>6} │{''.join(row).rstrip()}" for n, row in enumerate(grid)]
    low, high = format_usd(min(costs)), format_usd(max(costs))
    return [
        "expected quality by cost: T today, S suggested, o best for its cost",
        *lines,
        f"{'':>6} └{'─' * _WIDTH}",
        f"{'':>8}{low}{high:>{_WIDTH - len(low)}}",
    ]


def _place(value: float, low: float, high: float, cells: int) -> int:
    return round((value - low) / (high - low) * (cells - 1)) if high > low else 0
