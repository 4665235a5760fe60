"""Roles and rules: who does which job at what cost, switched with its effect shown before; the
rules that prefer a model, and what they do with a prompt."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from msgspec import Struct
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.coordinate import Coordinate
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static

from omni_cli.bootstrap import App
from omni_cli.domain.models import ModelInfo, Role, Rule
from omni_cli.domain.money import dollars, format_usd
from omni_cli.domain.words import counted, percent
from omni_cli.services.fleet.role_switch import WINDOW_DAYS, Effect
from omni_cli.tui import text
from omni_cli.tui.actions import offer_switch
from omni_cli.tui.pane import Pane
from omni_cli.tui.screens.rule_forms import RuleTester, condition_form, role_form
from omni_cli.tui.widgets.form import ConfirmScreen, FormScreen
from omni_cli.tui.widgets.table import Column, Row, Table, flexible, look
from omni_cli.tui.widgets.tiles import Empty, set_empty
from omni_cli.tui.widgets.words import Words

#: So many models have a column; a cell's cells, at least and at most, and those of the role's name.
_MOST, _CELL, _CELLS, _ROLE = 60, 11, 18, 18
_MUTED = "$foreground-muted"
_EMPTY = Content.assemble(
    ("No role and no rule yet.\n\n", "bold"),
    "A role is a job with the models that do it, the first one first; ",
    "a rule prefers a model for the requests that its condition describes.\n\n",
    ("  a", "bold $primary"),
    "   gives a role a model\n",
    ("  n", "bold $primary"),
    "   adds a rule",
)


class Jobs(Struct, frozen=True):
    """``models``: a column each, those of roles first. ``effects`` by role and model; ``rates``:
    US dollars per 1M tokens, half of them output, in words, "" where unknown."""

    roles: tuple[Role, ...]
    rules: tuple[Rule, ...]
    models: tuple[ModelInfo, ...]
    effects: Mapping[str, Mapping[str, Effect]]
    rates: Mapping[str, str]
    #: Models that there would be columns of.
    all_models: int


def read_jobs(omni: App, words: str = "") -> Jobs:
    """With the models that a filter leaves, as far as there are columns. Raises OmniError."""
    roles = tuple(omni.assignments.roles())
    uses: dict[str, int] = {}
    for role in roles:
        for item in role.models:
            uses[item.model] = uses.get(item.model, 0) + 1
    known = omni.models.of_providers(provider.slug for provider in omni.providers.all())
    wanted = [m for m in known if m.id in uses or m.status == "active"]
    wanted.sort(key=lambda m: (-uses.get(m.id, 0), m.name.lower(), m.id))
    of_models = [w for w in words.split() if not any(w in role.name.lower() for role in roles)]
    wanted = [m for m in wanted if all(w in f"{m.name} {m.id}".lower() for w in of_models)]
    models = tuple(wanted[:_MOST])
    listed = [omni.browser.listed(model) for model in models]
    return Jobs(
        roles,
        tuple(omni.assignments.rules()),
        models,
        omni.role_switcher.matrix(roles, [model.id for model in models]),
        {
            row.model.id: "" if row.average_usd is None else f"{dollars(row.average_usd)}/M"
            for row in listed
        },
        len(wanted),
    )


class Matrix(DataTable[Text]):
    """Roles by models. Call ``fill`` with everything; the cursor stays on its cell."""

    DEFAULT_CSS = """
    Matrix, Matrix:focus {
        background: $background; background-tint: $background 0%;
    }
    Matrix > .datatable--header { background: $panel; color: $foreground; text-style: bold; }
    Matrix > .datatable--cursor { background: $surface; color: $foreground; text-style: none; }
    Matrix:focus > .datatable--cursor {
        background: $primary 30%; color: $foreground; text-style: bold;
    }
    Matrix:ansi:focus > .datatable--cursor {
        background: ansi_default; color: ansi_default; text-style: bold reverse;
    }
    Matrix > .datatable--fixed { background: $background; color: $foreground; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "select_cursor", "Switch"),
        *(
            Binding(key, f"cursor_{way}", way.title(), show=False)
            for key, way in zip("hjkl", ("left", "down", "up", "right"), strict=True)
        ),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="cell", header_height=2, fixed_columns=1, cell_padding=1)
        self._looks: object = None
        self._roles: list[str] = []
        self._models: list[str] = []

    def fill(
        self,
        models: Sequence[tuple[str, str]],
        rows: Sequence[tuple[str, Text, Sequence[Text]]],
        note: str = "",
        widths: tuple[int, int] = (_ROLE, _CELL),
    ) -> None:
        """
        Args:
            widths: cells of the roles' column and of each other one.
            note: below the roles' title.
            models: (id, name) of each column.
            rows: (role, its cell, a cell for each model).
        """
        looks = [(name, look(head), [look(cell) for cell in cells]) for name, head, cells in rows]
        if (list(models), looks, note, widths) == self._looks:
            return
        self._looks = list(models), looks, note, widths
        at, offset = self.cursor_coordinate, self.scroll_offset
        role, model = self.chosen, self.model
        with self.app.batch_update():
            self.clear(columns=True)
            self.add_column(Text(f"Role\n{note}".rstrip()), key="", width=widths[0])
            for key, name in models:
                short = textwrap.wrap(name, widths[1]) or [key]
                shown = "\n".join([*short[:1], text.clip(" ".join(short[1:]), widths[1])])
                self.add_column(Text(shown), key=key, width=widths[1])
            for name, head, cells in rows:
                self.add_row(head, *cells, key=name, height=2)
            self._roles = [name for name, *_ in rows]
            self._models = [key for key, _ in models]
            row = self._roles.index(role) if role in self._roles else at.row
            column = self._models.index(model) + 1 if model in self._models else at.column
            last = Coordinate(max(len(rows) - 1, 0), len(models))
            self.cursor_coordinate = Coordinate(
                min(row, last.row), max(min(column, last.column), min(1, last.column))
            )
            self.scroll_to(offset.x, offset.y, animate=False, force=True)

    @property
    def chosen(self) -> str | None:
        """The role under the cursor."""
        at = self.cursor_coordinate.row
        return self._roles[at] if at < len(self._roles) else None

    @property
    def model(self) -> str | None:
        """The id of the model under the cursor."""
        at = self.cursor_coordinate.column - 1
        return self._models[at] if 0 <= at < len(self._models) else None

    def choose(self, key: str) -> None:
        """Put the cursor on a role; nothing where it is not there."""
        if key in self._roles:
            self.move_cursor(row=self._roles.index(key))


def _widths(width: int, models: int) -> tuple[int, int]:
    """Cells of the roles' column and of a model's: only whole ones are seen, as half a price would
    be a wrong one, also where the last ones are scrolled to."""
    room = width - _ROLE - 2
    seen = max(min(models, room // (_CELL + 2)), 1)
    cell = min(room // seen - 2, _CELLS)
    rest = room - seen * (cell + 2) if seen < models else 0
    return _ROLE + max(rest, 0), max(cell, 1)


class RolesPane(Pane[Jobs]):
    DEFAULT_CSS = """
    RolesPane.-empty #full { display: none; }
    RolesPane #filter { height: 1; display: none; background: $surface; }
    RolesPane.-filter #filter { display: block; }
    RolesPane #cell {
        height: 2; padding: 0 1; background: $panel; text-wrap: nowrap; text-overflow: ellipsis;
    }
    RolesPane #rules { height: 1fr; border-top: solid $foreground 20%; }
    RolesPane #none { height: auto; border-top: solid $foreground 20%; padding: 0 1; }
    """
    ON_ONE = frozenset({"unassign", "switch", "edit", "remove", "filter"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "assign", "Assign", tooltip="Give a role a model, or make a role"),
        Binding("x", "unassign", "Take out", tooltip="Take the model out of the role"),
        Binding("n", "new", "New rule"),
        Binding("e", "edit", "Edit rule", show=False),
        Binding("d", "switch", "On/off", tooltip="Switch a rule on or off"),
        Binding("t", "test", "Test", tooltip="Which rule fires for a prompt"),
        Binding("slash", "filter", "Filter", key_display="/", tooltip="Roles and models by name"),
        Binding("escape", "clear", "Clear the filter", show=False),
        Binding("delete", "remove", "Delete rule", show=False),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._jobs: Jobs | None = None

    def compose(self) -> ComposeResult:
        yield Empty(_EMPTY)
        with Vertical(id="full"):
            yield Input(placeholder="roles, models: coder sonnet", id="filter", compact=True)
            yield Matrix()
            yield Words(id="cell", markup=False)
            yield Table(id="rules")
            yield Static(_no_rules(), id="none")

    def entry(self) -> Widget | None:
        return self.query_one(Empty if self.has_class("-empty") else Matrix)

    def wanted(self) -> str:
        return self.query_one("#filter", Input).value.lower()

    def load(self, omni: App, wanted: str) -> Jobs:
        return read_jobs(omni, wanted)

    def show(self, value: Jobs) -> None:
        self._jobs = value
        set_empty(self, not value.roles and not value.rules)
        self.query_one("#rules").display = bool(value.rules)
        self.query_one("#none").display = not value.rules
        self._draw()

    def resized(self) -> None:
        self._draw()

    def _draw(self) -> None:
        jobs = self._jobs
        if jobs is None:
            return
        colour = self.omni.colour
        roles, models = self._found(jobs)
        rows = []
        for role in roles:
            effects = jobs.effects[role.name]
            calls = sum(effect.calls for effect in effects.values())
            head = Text(text.clip(role.name, _ROLE), style="bold")
            head.append(
                f"\n{counted(calls, 'call')}", style=colour("$foreground-muted") or "not bold"
            )
            priorities = {item.model: item.priority for item in role.models}
            first = role.models[0].model if role.models else ""
            cells = [
                self._cell(
                    effects[model.id], priorities.get(model.id), effects.get(first), jobs.rates
                )
                for model in models
            ]
            rows.append((role.name, head, cells))
        matrix = self.query_one(Matrix)
        # Its titles, a scrollbar, and two lines each; the rules follow, with the room that is left.
        lines = min(2 * len(rows) + 3, max(self.size.height * 2 // 3, 5))
        matrix.styles.height = lines
        cut = f"{len(models)} of {jobs.all_models:,} models" if jobs.all_models > _MOST else ""
        width = self.size.width or self.app.size.width  # drawn ahead, it has none yet
        scrolled = matrix.styles.scrollbar_size_vertical if 2 * len(rows) + 3 > lines else 0
        widths = _widths(width - scrolled, len(models))
        matrix.fill([(m.id, m.name) for m in models], rows, cut, widths)
        columns = [
            Column("no", "Rule", "right", 4),
            Column("place", "Place", "right", 5),
            Column("condition", "When", width=0),
            Column("model", "Prefers", width=min(max(width // 4, 20), 44)),
            Column("state", "State", width=5),
        ]
        self.query_one("#rules", Table).fill(
            flexible(columns, "condition", width), [self._rule_row(rule) for rule in jobs.rules]
        )
        self._describe()

    def _found(self, jobs: Jobs) -> tuple[list[Role], list[ModelInfo]]:
        """What the filter leaves: a word that roles have in their names is of roles, any other of
        models."""
        words = self.query_one("#filter", Input).value.lower().split()
        of_roles = [w for w in words if any(w in role.name.lower() for role in jobs.roles)]
        of_models = [w for w in words if w not in of_roles]
        return (
            [r for r in jobs.roles if all(w in r.name.lower() for w in of_roles)],
            [m for m in jobs.models if all(w in f"{m.name} {m.id}".lower() for w in of_models)],
        )

    def action_filter(self) -> None:
        self.set_class(True, "-filter")
        self.query_one("#filter", Input).focus()

    def action_clear(self) -> None:
        self.query_one("#filter", Input).value = ""
        self._leave_filter()

    @on(Input.Changed, "#filter")
    def _typed(self) -> None:
        self._draw()
        self.refresh_data()

    @on(Input.Submitted, "#filter")
    def _leave_filter(self) -> None:
        box = self.query_one("#filter", Input)
        self.set_class(bool(box.value), "-filter")
        self.query_one(Matrix).focus()

    def _cell(
        self,
        effect: Effect,
        priority: int | None,
        first: Effect | None,
        rates: Mapping[str, str],
    ) -> Text:
        """Priority and quality; below, what a call costs there, cheaper than now in green."""
        colour = self.omni.colour
        shown = Text()
        shown.append(
            f"{priority} " if priority else "  ", style=f"bold {colour('$primary')}".strip()
        )
        shown.append(f"{percent(effect.quality):>4}", style="bold" if priority == 1 else "")
        cost, now = effect.cost_per_call_nusd, None if first is None else first.cost_per_call_nusd
        if cost is None:
            return shown.append(f"\n  {rates.get(effect.model or '', '') or '-'}")
        style = ""
        if now is not None and cost != now:
            style = colour("$success" if cost < now else "$warning")
        return shown.append(f"\n  {format_usd(cost)}", style=style)

    def _rule_row(self, rule: Rule) -> Row:
        off = "" if rule.enabled else self.omni.colour("$foreground-muted") or "dim"
        return Row(
            str(rule.id),
            [
                Text(str(rule.id), style=off),
                Text(str(rule.priority), style=off),
                Text(rule.condition, style=off, overflow="ellipsis", no_wrap=True),
                Text(rule.model, style=off, overflow="ellipsis", no_wrap=True),
                "● on" if rule.enabled else "– off",
            ],
        )

    @on(DataTable.CellHighlighted)
    def _describe(self) -> None:
        matrix, jobs = self.query_one(Matrix), self._jobs
        role, model = matrix.chosen, matrix.model
        if jobs is None or role is None or model is None or role not in jobs.effects:
            self.query_one("#cell", Static).update("")
            return
        effect = jobs.effects[role][model]
        found = next(item for item in jobs.roles if item.name == role)
        place = next((item.priority for item in found.models if item.model == model), None)
        cost = effect.cost_per_call_nusd
        facts = [
            "not in it" if place is None else f"priority {place}",
            "a call unknown" if cost is None else f"a call {format_usd(cost)}",
            f"answer {text.seconds(effect.latency_ms)}",
            f"quality {percent(effect.quality)}",
            f"of {counted(effect.calls, 'call')} in {WINDOW_DAYS} days"
            if effect.measured
            else "no call of the role tells"
            if cost is None
            else "expected from the role's calls",
        ]
        first = bool(found.models) and found.models[0].model == model
        what = "is its first model now" if first else "⏎ makes it the first"
        self.query_one("#cell", Static).update(
            Content.assemble(
                (role, "bold"),
                " · ",
                (model, "bold $primary"),
                (f" · {what}\n", _MUTED),
                " · ".join(facts),
            )
        )

    def _ask(self, form: FormScreen) -> None:
        """Show a form; what it saved is seen at once."""
        self.app.push_screen(form, lambda saved: self.omni.store_changed() if saved else None)

    # --- roles -------------------------------------------------------------------------------

    @on(DataTable.CellSelected)
    def _switch_role(self) -> None:
        matrix, jobs = self.query_one(Matrix), self._jobs
        role, model = matrix.chosen, matrix.model
        if jobs is None or role is None or model is None:
            return
        found = next(item for item in jobs.roles if item.name == role)
        if found.models and found.models[0].model == model:
            self.notify("it is the first already; → chooses another one", timeout=3)
            return
        offer_switch(self.omni, self.act, role, model)

    def action_assign(self) -> None:
        matrix = self.query_one(Matrix)
        self._ask(role_form(self.loader, matrix.chosen or "", matrix.model or ""))

    def action_unassign(self) -> None:
        matrix, jobs = self.query_one(Matrix), self._jobs
        role, model = matrix.chosen, matrix.model
        if jobs is None or role is None or model is None:
            return
        if not any(item.model == model for r in jobs.roles if r.name == role for item in r.models):
            self.notify(f"{model} is not in {role}", timeout=3)
            return
        self.act(
            lambda omni: omni.fleet.unassign_role(role, model),
            lambda _: self.omni.notify(f"{model} is out of {role}; u brings it back"),
        )

    # --- rules -------------------------------------------------------------------------------

    @property
    def rule(self) -> Rule | None:
        """The rule under the cursor of their list."""
        key, jobs = self.query_one("#rules", Table).chosen, self._jobs
        rules = () if jobs is None else jobs.rules
        return next((rule for rule in rules if str(rule.id) == key), None)

    def action_new(self) -> None:
        self._ask(condition_form(self.loader, None))

    @on(DataTable.RowSelected)
    def action_edit(self) -> None:
        if self.rule is not None:
            self._ask(condition_form(self.loader, self.rule))

    def action_switch(self) -> None:
        rule = self.rule
        if rule is not None:
            self.act(
                lambda omni: omni.fleet.edit_rule(rule.id, enabled=not rule.enabled),
                lambda now: self.omni.notify(f"rule {now.id} is {'on' if now.enabled else 'off'}"),
            )

    def action_remove(self) -> None:
        rule = self.rule
        if rule is None:
            return

        def answered(yes: bool | None) -> None:
            if yes:
                self.act(
                    lambda omni: omni.fleet.remove_rule(rule.id),
                    lambda _: self.omni.notify(f"deleted rule {rule.id}; u brings it back"),
                )

        detail = f"{rule.condition}\n-> {rule.model}"
        self.app.push_screen(ConfirmScreen(f"Delete rule {rule.id}?", detail), answered)

    def action_test(self) -> None:
        self.app.push_screen(RuleTester(self.loader))


def _no_rules() -> Content:
    return Content.assemble(
        ("No rule. ", _MUTED),
        ("n", "bold $primary"),
        (" adds one: taskType == 'coding' && complexity == 'low' prefers a model. ", _MUTED),
        ("t", "bold $primary"),
        (" tries a prompt.", _MUTED),
    )
