"""``omni optimize``: the last days under other routing settings, and what that would have cost."""

import json
from typing import Annotated

import typer

from omni_cli import config as settings
from omni_cli.bootstrap import App
from omni_cli.cli.common import Apply, JsonFlag, omni
from omni_cli.cli.render import emit_json, milliseconds, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.errors import NotFound
from omni_cli.domain.money import format_usd
from omni_cli.domain.optimize import Bands, Outcome, Setting
from omni_cli.domain.words import counted
from omni_cli.services.judge.optimize import Optimum, optimum_document, setting_name, setting_values

app = typer.Typer(rich_markup_mode=None)
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


def _show(found: Optimum) -> None:
    sampled = "" if found.read == found.requests else f", {found.read:,} of them sampled"
    out(
        f"{counted(found.requests, 'request')} of {counted(found.days, 'day')}"
        f"{sampled}; the router was free in "
        f"{found.replayed:,}, which are replayed"
    )
    out()
    out(_chart(found))
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
            Column.figure("quality, 95 % band", 6),
            Column.figure("latency", 2),
        ),
        [
            (
                mark,
                setting_name(outcome.setting),
                format_usd(outcome.cost_nusd),
                format_usd(found.monthly_nusd(outcome)),
                f"{outcome.quality:.1%}{_band(outcome.bands)}",
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
        bands = best.bands
        sure = (
            ""
            if bands is None
            else f" ({100 * bands.quality_less.low:+.1f} to {100 * bands.quality_less.high:+.1f})"
        )
        out(
            paint(f"suggested: {setting_name(best.setting)}", "bold")
            + f": {share:.0%} less cost, {points:+.1f} points of expected quality{sure}"
        )
    note(
        "quality is what the router expects, not measured on these requests; costs are each "
        "request's own tokens at today's prices, and another model may write more or less; bands: "
        "other requests of the same kind"
    )


def _band(bands: Bands | None) -> str:
    if bands is None:
        return ""
    return f" [{100 * bands.quality.low:.1f} to {100 * bands.quality.high:.1f}]"


def _mark(found: Optimum, outcome: Outcome) -> str:
    if outcome is found.suggested:
        return "suggested"
    return "today" if outcome == found.today else ""


def _chart(found: Optimum) -> str:
    """Cost to the right, quality up, with the bands of the frontier."""
    from omni_cli.cli.charts import frontier_chart

    every = [("·", o) for o in found.outcomes] + [("o", o) for o in found.frontier]
    every.append(("T", found.today))
    if found.suggested is not None:
        every.append(("S", found.suggested))
    points = []
    for mark, outcome in every:
        bands = None if mark == "·" else outcome.bands
        low, high = (
            (outcome.quality,) * 2 if bands is None else (bands.quality.low, bands.quality.high)
        )
        points.append((mark, max(outcome.cost_nusd, 1) / 1e9, outcome.quality, low, high))
    return frontier_chart(
        points, title="expected quality, %, by cost: T today, S suggested, o best for its cost"
    )
