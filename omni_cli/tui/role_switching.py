"""Make a model the first of a role, from any screen: choose the role, confirm, prove, undo."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.picker import Item, PickerScreen

if TYPE_CHECKING:
    from omni_cli.tui.app import OmniApp

#: (name, id of the first model) pairs.
Roles = Sequence[tuple[str, str]]
#: Does work in a thread, then tells its result: ``Pane.act`` or ``Works.work``.
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
    """Ask, then switch: one real call proves it, and ``App.switched`` remembers it for undo."""

    def switch(omni: App) -> str:
        from omni_cli.services.fleet.role_switch import verified_lines

        made = omni.role_switcher.switch(role, model)
        proved = "; ".join([*verified_lines(made), *made.notes])
        return f"role {role}: {model} is first now, {proved}; u takes it back"

    def done(said: str) -> None:
        app.switched = role
        app.notify(said)

    def answered(yes: bool | None) -> None:
        if yes:
            app.notify("asking it…", timeout=1)
            act(switch, done)

    detail = "A real call like the role's proves it; when that fails, all stays as it is."
    question = f"Make {model} the first of {role}?"
    app.push_screen(ConfirmScreen(question, detail, yes="Switch"), answered)


def undo_switch(app: "OmniApp", act: Act) -> None:
    """Take the last switch of this session back."""
    role, app.switched = app.switched, None
    if role is None:
        app.notify("no role was switched here; omni history lists all changes")
        return
    act(lambda omni: f"role {omni.role_switcher.undo(role).name} is as it was", app.notify)
