"""What several screens do: each takes a session, in a worker thread, and raises OmniError.

And how a model is made the first of a role: choose the role, confirm, prove, undo.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message, TextPart
from omni_cli.domain.commands import check_here
from omni_cli.domain.errors import UsageError
from omni_cli.domain.hosts import default_slots, is_here
from omni_cli.domain.ids import id_text
from omni_cli.domain.models import Provider
from omni_cli.domain.money import format_usd
from omni_cli.domain.record import replace
from omni_cli.domain.words import counted, percent, times
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from omni_cli.services.fleet.connection_test import TestResult
from omni_cli.tui import text
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.picker import Item, PickerScreen

if TYPE_CHECKING:
    from omni_cli.records import Revision
    from omni_cli.services.fleet.role_switch import Effect, Preview
    from omni_cli.tui.app import OmniApp

#: A real call's question, and the most tokens it may answer.
_PING, _PING_TOKENS = "Answer with the one word: ready", 16

#: A form's word for "as this provider usually speaks".
AUTOMATIC = "automatic"


def offer_status(app: "OmniApp", act: "Act", model_id: str, status: str | None = None) -> None:
    """Set a model to work, or off: without a ``status`` whichever it is not. One that its provider
    no longer serves, or soon will not, only after a question."""

    def look(omni: App) -> tuple[str, str, str]:
        model = omni.fleet.model(model_id)
        fresh = status or ("disabled" if model.status == "active" else "active")
        return model.name, fresh, omni.fleet.leaving(model_id) if fresh == "active" else ""

    def put(fresh: str) -> None:
        act(lambda omni: f"{omni.fleet.set_status(model_id, fresh).name} is {fresh}", app.notify)

    def looked(found: tuple[str, str, str]) -> None:
        name, fresh, said = found
        if not said:
            put(fresh)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                put(fresh)

        question = f"Take {name} all the same?"
        app.push_screen(
            ConfirmScreen(question, f"{said[:1].upper()}{said[1:]}.", yes="Take"), answered
        )

    act(look, looked)


def switch_provider(omni: App, slug: str) -> str:
    """Enable or disable a provider; returns what was done."""
    provider = omni.fleet.provider(slug)
    omni.fleet.put_provider(replace(provider, enabled=not provider.enabled))
    return f"{slug} is {'disabled' if provider.enabled else 'enabled'}"


def check_connection(omni: App, slug: str) -> TestResult:
    """The free connection test; its failure is in the result. Raises Busy, NotFound."""
    return omni.tester.test(omni.fleet.provider(slug))


def check_soon(omni: App, slug: str) -> TestResult:
    """The free connection test; where another was made a moment ago, as soon as it may be.

    Raises NotFound.
    """
    provider = omni.fleet.provider(slug)
    (result,) = omni.tester.test_all([provider])
    if result.wait_s:
        time.sleep(result.wait_s)
        (result,) = omni.tester.test_all([provider])
    return result


def check_all(omni: App) -> list[TestResult]:
    """All enabled providers at once; those tested a moment ago are skipped and say so."""
    enabled = [provider for provider in omni.providers.all() if provider.enabled]
    return omni.tester.test_all(enabled) if enabled else []


def call_model(omni: App, model_id: str) -> str:
    """One real call with a tiny answer, in the ledger as a test; returns time and cost.

    Raises: as ChatService.chunks.
    """
    request = ChatRequest(
        messages=(Message("user", (TextPart(_PING),)),), max_output_tokens=_PING_TOKENS
    )
    job = ChatJob(request=request, selector=Selector("model", model_id), source="test", keep=False)
    run = omni.chat.start(omni.chat.plan(job))
    for _ in omni.chat.chunks(run):
        pass
    row = run.row
    took = "" if row is None or row.latency_ms is None else f" in {row.latency_ms} ms"
    cost = format_usd(None if row is None else row.total_nusd)
    return f"answered {run.completion.text.strip()[:40]!r}{took}, cost {cost}"


def rate_request(omni: App, request: int, stars: int) -> str:
    """Say how good an answer was, 1 to 5; returns what was done. Raises UsageError, NotFound."""
    omni.ratings.rate(id_text(request), "rating", float(stars))
    return f"rated {stars} of 5"


def put_provider(omni: App, values: Mapping[str, str]) -> str:
    """Add or change a provider from a form's texts; returns its slug.

    Empty protocol and base URL are a known provider's own. A key is stored, never kept in the
    fleet; an empty one leaves what there is. Raises UsageError, ConfigError.
    """
    slug = values["slug"]
    preset, old = omni.presets.get(slug), omni.providers.get(slug)
    base_url = values["base_url"] or (omni.addresses.proposed(slug)[0] if preset else "")
    protocol = values["protocol"]
    if protocol == AUTOMATIC:
        protocol = preset.protocol if preset else "openai"
    if not base_url:
        raise UsageError(f"{slug!r} is no provider that omni knows", hint="give its base URL")
    variable = values["key_env"] or (preset.key_envs[0] if preset and preset.key_envs else "")
    usual = preset.key_envs[0] if preset and preset.key_envs else ""
    if variable not in (old.key_env if old else None, usual):
        check_here(omni.env, "a key from a variable")
    key = values["key"]
    local = (preset is not None and preset.local) or is_here(base_url)
    base = old or Provider(slug, slug, "openai", base_url)
    fresh = replace(
        base,
        name=values["name"] or (old.name if old else preset.name if preset else slug),
        protocol=protocol,
        base_url=base_url,
        key_env=variable or None,
        max_concurrency=_slots(values["max_concurrency"], slug, base_url),
        auth_method=base.auth_method if old else "api_key",
    )
    if key:
        fresh = replace(fresh, auth_method="api_key")
    elif old is None and local and not omni.keys.has(fresh):
        fresh = replace(fresh, auth_method="none", key_env=None)
    omni.fleet.put_provider(fresh)
    if values["base_url"]:
        omni.addresses.decline(slug)
    if key:
        omni.keys.keep(slug, key)
    return slug


def _slots(text: str, slug: str, base_url: str) -> int | None:
    """What the form says of calls at once: a number, "none", or nothing for the default."""
    if text == "none":
        return None
    return int(text) if text else default_slots(slug, base_url)


def remove_provider(omni: App, slug: str) -> str:
    """Take it out of the fleet with its stored key; returns what was done.

    Raises UsageError while roles, rules or chains use its models.
    """
    omni.fleet.remove_provider(slug)
    gone = omni.keys.forget(slug)
    return f"removed {slug}" + (" and its stored key" if gone else "")


def switch_maintenance(omni: App, slug: str) -> str:
    """Keep requests away from a provider, or let them go there again; returns what was done."""
    provider = omni.fleet.provider(slug)
    on = provider.status != "maintenance"
    omni.fleet.put_provider(replace(provider, status="maintenance" if on else "disconnected"))
    return f"{slug} is in maintenance" if on else f"{slug} is back; x tests it"


#: (name, id of the first model) pairs.
Roles = Sequence[tuple[str, str]]
#: Does work in a thread, then tells its result: ``WorkerMixin.act``.
Act = Callable[[Callable[[App], Any], Callable[[Any], None]], None]


def read_roles(omni: App) -> tuple[tuple[str, str], ...]:
    """Roles that have a model."""
    return tuple((r.name, r.models[0].model) for r in omni.assignments.roles() if r.models)


def choose_role(app: "OmniApp", roles: Roles, model: str, then: Callable[[str], None]) -> None:
    """Let a role be chosen for ``model``; ``then`` gets its name."""
    if not roles:
        app.notify("there is no role yet; omni roles assign NAME MODEL makes one")
        return

    def chosen(role: str | None) -> None:
        if role is not None:
            then(role)

    items = [
        Item(name, Content(f"{name:<24} now {first}"), f"{name} {first}".lower())
        for name, first in roles
    ]
    app.push_screen(PickerScreen(f"Which role for {model}?", [("Roles", items)]), chosen)


def offer_switch(app: "OmniApp", act: Act, role: str, model: str) -> None:
    """Show the effect and ask, then switch: one real call proves it."""

    def preview(omni: App) -> Content:
        found = omni.role_switcher.preview(role, model)
        names: dict[str | None, str] = {
            effect.model: omni.fleet.model(effect.model).name
            for effect in (found.before, found.after)
            if effect.model is not None
        }
        return preview_text(found, names)

    def switch(omni: App) -> str:
        from omni_cli.services.fleet.role_switch import verified_lines

        made = omni.role_switcher.switch(role, model)
        proved = "; ".join([*verified_lines(made), *made.notes])
        return f"role {role}: {model} is first now, {proved}; u takes it back"

    def answered(yes: bool | None) -> None:
        if yes:
            app.notify("asking it…", timeout=1)
            act(switch, app.notify)

    def ask(effect: Content) -> None:
        title = f"Switch {text.clip(role, 44)}?"
        app.push_screen(ConfirmScreen(title, effect, yes="Switch"), answered)

    act(preview, ask)


#: Cells of a column of a switch's effect.
_EFFECT = 21


def preview_text(found: "Preview", names: Mapping[str | None, str]) -> Content:
    """What a role's switch changes: now and then, a line for each figure.

    Args:
        names: of both models, by id.
    """
    now, then = found.before, found.after

    def line(title: str, old: str, new: str, more: str = "", style: str = "") -> Content:
        return Content.assemble(
            (f"{title:<9}", "$foreground-muted"),
            f"{text.clip(old, _EFFECT - 1):<{_EFFECT}}",
            (text.clip(new, _EFFECT - 1), "bold"),
            (f"  {more}" if more else "", style or "$foreground-muted"),
        )

    def money(value: int | None) -> str:
        return "unknown" if value is None else format_usd(value)

    def slug(effect: "Effect") -> str:
        return "" if effect.model is None else effect.model.partition("/")[0]

    ratio = found.ratio
    cheaper = ratio is not None and ratio <= 1
    share = "" if ratio is None else f"x{times(ratio)}"
    lines = [
        line("", "now", "then"),
        line("model", names.get(now.model, "none"), names[then.model]),
        line("of", slug(now), slug(then)),
        line(
            "a call",
            money(now.cost_per_call_nusd),
            money(then.cost_per_call_nusd),
            share,
            "$success" if cheaper else "$warning",
        ),
    ]
    if found.calls_a_day:
        old, new = found.a_day_nusd(now), found.a_day_nusd(then)
        often = f"{times(found.calls_a_day)} call{'' if found.calls_a_day == 1 else 's'}"
        lines.append(line("a day", money(old), money(new), often))
    lines += [
        line("answer", text.seconds(now.latency_ms), text.seconds(then.latency_ms)),
        line("quality", percent(now.quality), percent(then.quality)),
        line(
            "basis", *(counted(e.calls, "call") if e.measured else "expected" for e in (now, then))
        ),
    ]
    lines += [Content.styled(f"▲ it {lack}", "$warning") for lack in found.lacks]
    said = "A real call like the role's proves it; when that fails, all stays as it is."
    return Content("\n").join([*lines, Content.styled(f"\n{said}", "$foreground-muted")])


#: Lines of a change that a question shows.
_SHOWN = 12


def offer_undo(app: "OmniApp", act: Act) -> None:
    """Take the last change back that was made here, whatever others changed since; where there is
    none the fleet's last one, after a question that says whose it is."""

    def look(omni: App) -> tuple["Revision", Content | None]:
        mine = app.loader.mine
        if mine:
            # What cannot be taken back is told once, and not in the way of the one before it.
            return taken(omni, mine.pop()), None
        found = omni.history.last()
        if found is None:
            return omni.history.undo(), None  # says why there is nothing
        by = f"{found.who}, {text.ago(found.at_ms, omni.now_ms())}: {found.reason}"
        lines = [line for change in omni.history.changes(found.number) for line in change.lines()]
        more = [f"and {len(lines) - _SHOWN} lines more"] if len(lines) > _SHOWN else []
        said = "\n".join([*lines[:_SHOWN], *more])
        return found, Content.assemble((by, "bold"), (f"\n{said}", "$foreground-muted"))

    def taken(omni: App, number: int) -> "Revision":
        found = omni.history.revision(number)
        _, applied, advice = found.reason.partition("recommend.apply recommendation ")
        if applied and advice.isdecimal():
            omni.advice.undo(int(advice))  # that one is open again with it
        else:
            omni.history.take_back(number)
        omni.revised.clear()  # taking back is no change to take back
        return found

    def done(found: "Revision") -> None:
        said = "u again goes one change further; H lists all"
        app.notify(f"took back {found.reason}\n{said}", title="Undone", markup=False)

    def looked(result: tuple["Revision", Content | None]) -> None:
        found, question = result
        if question is None:
            done(found)
            return

        def answered(yes: bool | None) -> None:
            if yes:
                act(lambda omni: taken(omni, found.number), done)

        title = "Take back a change that was not made here?"
        app.push_screen(ConfirmScreen(title, question, yes="Take back"), answered)

    act(look, looked)
