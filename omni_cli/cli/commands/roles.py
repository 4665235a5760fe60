"""``omni roles``: jobs, and the models that do them in order of priority; ``omni cache``: the
answers that are remembered for them."""

from typing import TYPE_CHECKING, Annotated

import typer

from omni_cli.cli.common import (
    JsonFlag,
    YesFlag,
    agree_to_leaving,
    complete_models,
    complete_roles,
    grouped,
    omni,
)
from omni_cli.cli.render import answer, emit_json, milliseconds, note, out, paint
from omni_cli.cli.tables import Column, View, listing, table
from omni_cli.domain.document import document
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd
from omni_cli.domain.periods import duration_ms
from omni_cli.domain.words import counted

if TYPE_CHECKING:
    from omni_cli.services.fleet.role_switch import Effect, Switched

from omni_cli.domain.money import usd_string

app = typer.Typer(rich_markup_mode=None, help="Who does which job.")

RoleName = Annotated[str, typer.Argument(autocompletion=complete_roles, help="The role.")]
Model = Annotated[str, typer.Argument(autocompletion=complete_models, help="Id or alias.")]


@app.command("list")
@grouped
def list_(*, view: View) -> None:
    """All roles."""
    with omni() as omni_app:
        roles = omni_app.assignments.roles()
    listing(
        view,
        (
            Column.key("role"),
            Column.words("models, first choice first", 9, 20),
            Column.words("description", 2),
        ),
        [(r.name, ", ".join(i.model for i in r.models) or "none", r.description) for r in roles],
        lambda: [document(role) for role in roles],
        empty=["no roles yet: omni roles assign primary_coder MODEL"],
    )


@app.command("show")
def show_(role: RoleName, as_json: JsonFlag = False) -> None:
    """One role."""
    with omni() as omni_app:
        found = omni_app.fleet.role(role)
    if as_json:
        emit_json(document(found))
        return
    out(f"{paint(found.name, 'bold')}  {found.description}".rstrip())
    for item in found.models:
        out(f"  {item.priority:>3}  {item.model}")


@app.command()
def assign(
    role: RoleName,
    model: Model,
    priority: Annotated[int, typer.Option(min=1, help="1 is asked first.")] = 1,
    description: Annotated[str | None, typer.Option(help="What the job is.")] = None,
    yes: YesFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Give a role a model; the role is made where there is none."""
    with omni() as omni_app:
        agree_to_leaving(omni_app, model, yes=yes)
        found = omni_app.fleet.assign_role(role, model, priority, description)
        model_id = omni_app.names.model(model)
    if as_json:
        emit_json(document(found))
        return
    out(f"{role}: {model_id} has priority {priority}")
    others = [i.model for i in found.models if i.priority == priority and i.model != model_id]
    if others:
        note(f"the same priority: {', '.join(others)}; they are asked in order of their names")


@app.command()
def switch(
    role: RoleName,
    model: Annotated[
        str | None, typer.Argument(autocompletion=complete_models, help="Id or alias.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the last switch back.")] = False,
    yes: YesFlag = False,
    verify: Annotated[
        bool, typer.Option(help="Prove it by a real call of the kind the role gets.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Another first model, proved by a call like the role's; else the old one is back (exit 5)."""
    if (model is None) != undo:
        raise UsageError(
            "name the new model, or say --undo", hint=f"omni roles switch {role} MODEL"
        )
    with omni() as omni_app:
        if model is None:
            found = omni_app.role_switcher.undo(role)
            answer(
                {"role": document(found)},
                f"{role}: back on {', '.join(i.model for i in found.models) or 'no model'}",
                as_json=as_json,
            )
            return
        agree_to_leaving(omni_app, model, yes=yes)
        done = omni_app.role_switcher.switch(role, model, verify=verify)
    if as_json:
        from omni_cli.services.fleet.role_switch import switched_document

        emit_json(switched_document(done))
        return
    _show_switch(done)


def _show_switch(done: "Switched") -> None:
    from omni_cli.services.fleet.role_switch import verified_lines

    def row(when: str, effect: "Effect") -> tuple[str, ...]:
        quality = "not measured" if effect.quality is None else f"{effect.quality:.0%}"
        basis = counted(effect.calls, "call") if effect.measured else "expected"
        cost = effect.cost_per_call_nusd
        per_call = "unknown" if cost is None else format_usd(cost)
        return (
            when,
            effect.model or "none",
            per_call,
            milliseconds(effect.latency_ms),
            quality,
            basis,
        )

    table(
        (
            Column.key(""),
            Column.key("model"),
            Column.money("cost/call"),
            Column.figure("latency", 4),
            Column.figure("quality"),
            Column.words("basis", 2),
        ),
        [row("before", done.before), row("now", done.after)],
    )
    if not done.verifications:
        note("not verified: no call was made")
    for line in verified_lines(done):
        out(f"verified: {line}")
    for line in done.notes:
        note(line)
    note(f"undo: omni roles switch {done.role.name} --undo")


@app.command()
def cache(
    role: RoleName,
    ttl: Annotated[str, typer.Option(help="How long: 30s, 10m, 1h, 7d; off forgets all.")],
    as_json: JsonFlag = False,
) -> None:
    """Answer the very same request from memory. Answers are then stored as text."""
    seconds = None if ttl == "off" else duration_ms(ttl) // 1000
    with omni() as omni_app:
        omni_app.fleet.role(role)
        before = omni_app.answers.ttl_s(role)
        with omni_app.fleet.change("role.cache", role, before, seconds):
            omni_app.answers.set_ttl(role, seconds)
    if as_json:
        emit_json({"role": role, "ttl_s": seconds})
    elif seconds is None:
        out(f"{role}: no answers are remembered")
    else:
        out(f"{role}: the same request is answered from memory for {ttl}")


@app.command()
def unassign(role: RoleName, model: Model, as_json: JsonFlag = False) -> None:
    """Take a model out of a role."""
    with omni() as omni_app:
        found = omni_app.fleet.unassign_role(role, model)
    answer(
        document(found),
        f"{role}: {', '.join(item.model for item in found.models) or 'no model left'}",
        as_json=as_json,
    )


@app.command()
def remove(role: RoleName) -> None:
    """Delete a role; its models stay."""
    with omni() as omni_app:
        omni_app.fleet.remove_role(role)
    out(f"removed role {role}")


cache_app = typer.Typer(
    rich_markup_mode=None,
    no_args_is_help=True,
    help="Remembered answers; omni roles cache ROLE --ttl 1h switches it on for a role.",
)


@cache_app.command()
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


@cache_app.command()
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
