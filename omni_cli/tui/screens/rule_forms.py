"""What edits a role's models and a rule, and what tries rules on a prompt."""

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Input, Static

from omni_cli.bootstrap import App
from omni_cli.domain.chat import ChatRequest, Message, TextPart
from omni_cli.domain.errors import OmniError
from omni_cli.domain.models import Rule
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.services.engine.rule_test import Tested, try_rules
from omni_cli.tui.data import Loader
from omni_cli.tui.widgets.form import Field, FormScreen, Values
from omni_cli.tui.widgets.picker import Groups, model_items, named_items
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.workers import tell

_MUTED = "$foreground-muted"


def _some(value: str) -> str:
    return "" if value else "is needed"


def _place(value: str) -> str:
    return "" if value.isdecimal() and int(value) > 0 else "a whole number from 1 on"


def _roles(omni: App) -> Groups:
    return [("Roles", named_items([role.name for role in omni.assignments.roles()]))]


def _models(omni: App) -> Groups:
    return [("Models at work", model_items(omni))]


def role_form(loader: Loader, role: str, model: str) -> FormScreen:
    """Give a role a model with its priority; the role is made where there is none."""
    fields = [
        Field("role", "Role", role, pick=_roles, check=_some),
        Field("model", "Model", model, pick=_models, check=_some),
        Field("priority", "Priority", "1", "1 is asked first", check=_place),
        Field("description", "Description", hint="what the job is; empty leaves it"),
    ]

    def save(omni: App, values: Values) -> None:
        omni.fleet.assign_role(
            values["role"], values["model"], int(values["priority"]), values["description"] or None
        )

    return FormScreen(loader, "A role's model", fields, save)


def condition_form(loader: Loader, rule: Rule | None) -> FormScreen:
    """Add a rule, or change one; its condition is checked when it is saved."""
    fields = [
        Field(
            "condition",
            "When",
            rule.condition if rule else "",
            "taskType == 'coding' && complexity == 'low'",
            check=_some,
        ),
        Field("model", "Prefer", rule.model if rule else "", pick=_models, check=_some),
        Field("priority", "Place", str(rule.priority if rule else 1), "1 first", check=_place),
    ]

    def save(omni: App, values: Values) -> None:
        place = int(values["priority"])
        if rule is None:
            omni.fleet.add_rule(values["condition"], values["model"], place)
            return
        omni.fleet.edit_rule(
            rule.id,
            condition=values["condition"],
            model=omni.fleet.model(values["model"]).id,
            priority=place,
        )

    return FormScreen(loader, f"Rule {rule.id}" if rule else "New rule", fields, save)


class RuleTester(Sheet):
    """A prompt in: which rules hold, which one fires, who would answer, and why."""

    DEFAULT_CSS = """
    RuleTester > VerticalScroll { height: 80%; }
    RuleTester Input { background: $panel; }
    RuleTester #found { height: auto; padding-top: 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "Close", priority=True),
    ]
    subtitle = "type a prompt · nothing is sent · Esc closes"

    def __init__(self, loader: Loader) -> None:
        super().__init__("Which rule fires?")
        self.loader = loader

    def parts(self) -> ComposeResult:
        yield Input(placeholder="a prompt", compact=True)
        yield Static(Content.styled("Rules are tried as you type.", _MUTED), id="found")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        prompt = event.value.strip()
        self.run_worker(lambda: self._try(prompt), thread=True, exclusive=True, group="try")

    def _try(self, prompt: str) -> None:
        try:
            with self.loader.session() as omni:
                shown = Content("") if not prompt else tested_text(_tested(omni, prompt))
        except OmniError as exc:
            shown = Content(f"{exc.message}\n{exc.hint}")
        tell(self.app, self._put, shown)

    def _put(self, shown: Content) -> None:
        if self.is_attached:
            self.query_one("#found", Static).update(shown)


def _tested(omni: App, prompt: str) -> Tested:
    routing = omni.config.routing
    options = RouteOptions(
        priority=routing.priority,
        latency_pref=routing.latency_pref,
        weights=routing.weights,
        allow_unknown_price=omni.config.prices.allow_unknown,
    )
    request = ChatRequest(messages=(Message("user", (TextPart(prompt),)),))
    return try_rules(omni.routing, omni.assignments.rules(), request, options)


def tested_text(found: Tested) -> Content:
    """Each rule with its mark and the facts that it asked for, then the decision."""
    decision = found.decision
    lines: list[Content] = []
    for rule, holds in found.rules:
        fires = rule.id == decision.rule
        sign, style = (
            ("● fires", "bold $success")
            if fires
            else ("○ holds", "$primary")
            if holds
            else ("– not", _MUTED)
        )
        lines.append(
            Content.assemble((f"{sign:<8}", style), f"{rule.id:>3}  {rule.condition}")
            + Content.styled(f"\n             -> {rule.model}", "bold" if fires else _MUTED)
        )
        said = ", ".join(f"{name} {value!r}" for name, value in found.said(rule.condition).items())
        if said:
            lines.append(Content.styled(f"             {said}", _MUTED))
    if not found.rules:
        lines.append(Content.styled("There is no rule that is on.", _MUTED))
    lines += [
        Content(""),
        Content.assemble((decision.model or "nobody", "bold $primary"), f": {decision.reason}"),
        Content.styled(
            f"task {decision.task.task_type}, complexity {decision.task.complexity}, "
            f"difficulty {decision.task.difficulty:.2f}",
            _MUTED,
        ),
    ]
    return Content("\n").join(lines)
