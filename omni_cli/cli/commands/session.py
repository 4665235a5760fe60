"""``omni session``: agents' sessions as a report, the live ones, one as a tree; stopping one."""

from typing import Annotated

import typer

from omni_cli.bootstrap import App
from omni_cli.cli.commands.periods import Wanted, read_first, report, tell_sources
from omni_cli.cli.common import grouped, omni
from omni_cli.cli.render import emit_json, moment, note
from omni_cli.cli.tables import Column, View, listing
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd
from omni_cli.domain.words import counted
from omni_cli.services.money.sessions import (
    LiveSession,
    SessionNode,
    Turn,
    began_at,
    live_document,
    tree_document,
)

app = typer.Typer(rich_markup_mode=None)


@app.command()
@grouped
def session(
    wanted: Wanted,
    view: View,
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[ID | live | stop ID | resume ID]",
            help="ID: its turns and sub-agents. live: those under way. stop: refuse its calls.",
        ),
    ] = None,
) -> None:
    """Agents' sessions: tokens and cost of each, one as a tree, and the live ones."""
    match words or []:
        case []:
            report("session", wanted, view)
        case ["live"]:
            with omni() as omni_app:
                read_first(omni_app)
                _show_live(omni_app, view)
        case ["stop" | "resume" as verb, ident]:
            with omni() as omni_app:
                _stop(omni_app, ident, view, again=verb == "resume")
        case ["stop" | "resume" as verb]:
            raise UsageError(f"{verb} takes a session: omni session {verb} ID")
        case [ident]:
            with omni() as omni_app:
                read_first(omni_app)
                _show_tree(omni_app, ident, view)
        case _:
            raise UsageError("one session at a time: omni session ID, or omni session stop ID")


def _stop(omni_app: App, ident: str, view: View, *, again: bool) -> None:
    found = omni_app.agent_sessions.stop(ident, again=again)
    if view.as_json:
        emit_json({"id": found.id, "stopped": not again})
    elif again:
        note(f"{found.id} goes on: its calls are carried out again")
    else:
        note(f"{found.id} is stopped: the gateway refuses its calls within a second")
        note(f"omni session resume {found.id} lets it go on")


def _show_live(omni_app: App, view: View) -> None:
    found = omni_app.agent_sessions.live()
    listing(
        view,
        (
            Column.key("session"),
            Column.words("agent", 6, 6),
            Column.words("project", 5, 6),
            Column.words("model", 4, 8),
            Column.words("state", 7, 6),
            Column.figure("calls", 3),
            Column.money("cost"),
            Column.figure("an hour", 6),
            Column.figure("cap", 5),
            Column.figure("last", 2),
        ),
        [_live_cells(one, omni_app.zone) for one in found],
        lambda: [document(one) for one in found],
        whole=lambda: live_document(found),
        empty=["no session is live"],
    )
    if not view.data:
        tell_sources(omni_app, anything=bool(found))


def _live_cells(one: LiveSession, zone: str) -> tuple[str, ...]:
    return (
        one.id,
        one.agent,
        one.project,
        one.model.rpartition("/")[2],
        one.state,
        f"{one.calls:,}",
        format_usd(one.cost_nusd),
        format_usd(one.hour_nusd),
        "" if one.cap_nusd is None else format_usd(one.cap_nusd),
        moment(one.last_at, zone)[11:16],
    )


def _show_tree(omni_app: App, ident: str, view: View) -> None:
    tree = omni_app.agent_sessions.tree(ident)
    zone = omni_app.zone
    rows = list(tree.walk())
    listing(
        view,
        (
            Column.key("when"),
            Column.words("what", 8, 10),
            Column.figure("input", 4),
            Column.figure("cached", 3),
            Column.figure("output", 4),
            Column.figure("tokens", 2),
            Column.money("cost"),
            Column.figure("request", 5),
        ),
        [_tree_cells(depth, item, zone) for depth, item in rows],
        lambda: [
            {"depth": depth, "session": item.session.id, "kind": "session", **_sums(item)}
            if isinstance(item, SessionNode)
            else {"depth": depth, "kind": "turn", **document(item)}
            for depth, item in rows
        ],
        fields=("depth", "kind", "session", "id", *Turn.__struct_fields__[1:], "calls", "cost_usd"),
        whole=lambda: tree_document(tree),
    )


def _sums(node: SessionNode) -> dict[str, object]:
    return document(node, "first_at", "calls", "total_tokens", "cost_nusd", "unknown")


def _tree_cells(depth: int, item: SessionNode | Turn, zone: str) -> tuple[str, ...]:
    indent, at = "  " * depth, moment(began_at(item), zone)
    if isinstance(item, Turn):
        what = item.model.rpartition("/")[2] + ("" if item.state == "ok" else f" ({item.state})")
        return (
            indent + at[11:],
            what,
            f"{item.input_tokens:,}",
            f"{item.cached_tokens:,}",
            f"{item.output_tokens:,}",
            f"{item.input_tokens + item.output_tokens:,}",
            format_usd(item.cost_nusd),
            item.id,
        )
    return (
        indent + at[11:] if depth else at[:16],
        f"{item.told}: {counted(item.calls, 'call')}",
        "",
        "",
        "",
        f"{item.total_tokens:,}",
        format_usd(item.cost_nusd) + (f" + {item.unknown:,} unknown" if item.unknown else ""),
        "",
    )
