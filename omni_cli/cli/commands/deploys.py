"""``omni deploy``: the deploy under way, on a share of traffic or watched."""

from typing import Annotated, Any

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, moment, note, out, paint
from omni_cli.cli.tables import Column, table
from omni_cli.domain.periods import iso
from omni_cli.services.judge.deploys import Standing

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Deploys on a share of traffic, or watched; omni apply FILE --share 10% begins one.",
)


@app.command()
def status(
    everything: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """The deploy under way, and what its traffic shows."""
    with omni(quiet=as_json) as omni_app:
        ended = [] if as_json else omni_app.deploys.check()
        for alert in ended:
            note(f"{alert.title}: {alert.text}")
        found = [
            omni_app.deploys.standing(deploy)
            for deploy in omni_app.deploy_store.recent()
            if everything or deploy.ended_at is None
        ]
        zone = omni_app.zone
    if as_json:
        emit_json([_document(one) for one in found])
        return
    if not found:
        note("no deploy is under way; omni apply FILE --share 10% begins one")
    for one in found:
        _show(one, zone)


@app.command()
def promote(as_json: JsonFlag = False) -> None:
    """Let it stand: a canary is applied to all traffic."""
    with omni(quiet=as_json) as omni_app:
        _said(omni_app.deploys.promote(), as_json=as_json)


@app.command()
def abort(as_json: JsonFlag = False) -> None:
    """Take it back."""
    with omni(quiet=as_json) as omni_app:
        _said(omni_app.deploys.abort(), as_json=as_json)


def _said(words: str, *, as_json: bool) -> None:
    if as_json:
        emit_json({"done": words})
    else:
        out(words)


def _document(one: Standing) -> dict[str, Any]:
    deploy = one.deploy
    return {
        "id": deploy.id,
        "state": deploy.state,
        "share": deploy.share,
        "started_at": iso(deploy.started_at),
        "until": iso(deploy.until_at),
        "ended_at": iso(deploy.ended_at),
        "base_revision": deploy.base_revision,
        "revision": deploy.revision,
        "roles": sorted(deploy.tests),
        "reason": deploy.reason,
        "calls": one.calls,
        "conditions": [
            {
                "condition": found.condition.text,
                "calls": found.calls,
                "value": found.value,
                "evidence": round(found.e, 3),
                "shown": found.shown,
            }
            for found in one.evidence
        ],
    }


def _show(one: Standing, zone: str) -> None:
    deploy = one.deploy
    what = "whole" if deploy.share is None else f"{deploy.share:.0%} of roles {_roles(deploy)}"
    out(
        f"deploy {paint(str(deploy.id), 'bold')}  {deploy.state}, {what}, "
        f"since {moment(deploy.started_at, zone)}"
    )
    if deploy.until_at is not None and deploy.ended_at is None:
        out(f"stands from {moment(deploy.until_at, zone)} on")
    if deploy.reason:
        out(deploy.reason)
    out(f"calls since: {one.calls:,}")
    if one.evidence:
        need = len(one.evidence) * 100
        table(
            (
                Column.key("taken back if"),
                Column.figure("now", 6),
                Column.figure("calls", 3),
                Column.figure(f"evidence (shown from {need})", 5),
            ),
            [
                (
                    found.condition.text,
                    "-" if found.value is None else f"{found.value:.4g}",
                    str(found.calls),
                    f"{found.e:.3g}",
                )
                for found in one.evidence
            ],
        )


def _roles(deploy: Any) -> str:
    return ", ".join(sorted(deploy.tests))
