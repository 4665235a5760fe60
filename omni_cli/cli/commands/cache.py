"""``omni cache``: what is remembered of answers, for roles that opted in."""

import typer

from omni_cli.cli.common import JsonFlag, omni
from omni_cli.cli.render import emit_json, note, out
from omni_cli.domain.money import format_usd, usd_string

app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Remembered answers; omni roles cache ROLE --ttl 1h switches it on for a role.",
)


@app.command()
def stats(as_json: JsonFlag = False) -> None:
    """How much is remembered, how often it answered, and what that saved."""
    from omni_cli.services.engine.answer_cache import LIMIT_BYTES

    with omni() as omni_app:
        found = omni_app.answers.stats()
        roles = omni_app.answers.roles()
    if as_json:
        emit_json(
            {
                "answers": found.answers,
                "bytes": found.bytes,
                "limit_bytes": LIMIT_BYTES,
                "hits": found.hits,
                "saved_usd": usd_string(found.saved_nusd),
                "roles": roles,
            }
        )
        return
    out(f"answers  {found.answers:,} ({found.bytes:,} of {LIMIT_BYTES:,} bytes)")
    out(f"hits     {found.hits:,}, which had cost {format_usd(found.saved_nusd)} when asked")
    for role, ttl_s in roles.items():
        out(f"role     {role}, for {ttl_text(ttl_s)}")
    if not roles:
        note("no role remembers answers: omni roles cache ROLE --ttl 1h")


@app.command()
def clear() -> None:
    """Forget every answer; hits stay in the ledger."""
    with omni() as omni_app:
        count = omni_app.answers.clear()
    out(f"forgot {count:,} answers")


def ttl_text(ttl_s: int) -> str:
    """Seconds in the largest unit that fits evenly: 3600 is 1h."""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if ttl_s % size == 0:
            return f"{ttl_s // size}{unit}"
    return f"{ttl_s}s"
