"""Dialogs of Compare: who, what, how it is scored, and the start of an A/B test."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static, TextArea
from textual.widgets.option_list import Option

from omni_cli.bootstrap import App
from omni_cli.domain.commands import check_here
from omni_cli.domain.errors import UsageError
from omni_cli.domain.money import format_usd
from omni_cli.domain.scoring import KINDS, verdict
from omni_cli.domain.words import share_of
from omni_cli.services.judge.abtest import Settings
from omni_cli.services.judge.compare_report import Answer, Report
from omni_cli.tui import text
from omni_cli.tui.comparing import MOST_MODELS, NONE, SEPARATOR, Draft
from omni_cli.tui.data import Loader
from omni_cli.tui.widgets.form import Field, FormScreen, Values
from omni_cli.tui.widgets.keys import Keys

#: A command is left out: what runs programs is written in a suite's file, not typed in passing.
_SCORERS = (NONE, *(kind for kind in KINDS if kind != "command"))


class ModelsScreen(ModalScreen[tuple[str, ...] | None]):
    """Choose up to four; dismissed with their names in the order of choosing, or None.

    Args:
        items: (name, words to show) pairs.
    """

    DEFAULT_CSS = """
    ModelsScreen { align: center middle; background: $background 60%; }
    ModelsScreen > Vertical {
        width: 84; max-width: 98%; height: 90%;
        background: $surface; border: round $primary; padding: 0 1;
    }
    ModelsScreen Input { background: $panel; }
    ModelsScreen OptionList, ModelsScreen OptionList:focus {
        height: 1fr; border: none; padding: 0; background: $surface;
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel"),
        Binding("ctrl+s", "done", "Done", priority=True),
        Binding("down", "move(1)", "Down", show=False, priority=True),
        Binding("up", "move(-1)", "Up", show=False, priority=True),
    ]

    def __init__(self, items: Sequence[tuple[str, str]], chosen: Sequence[str]) -> None:
        super().__init__()
        self._items = items
        known = {name for name, _ in items}
        self._chosen = [name for name in chosen if name in known]

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = f"Compare up to {MOST_MODELS}"
            box.border_subtitle = "type to search · Enter marks · Ctrl+S done · Esc leaves"
            yield Input(placeholder="search", compact=True)
            yield OptionList(markup=False)

    def on_mount(self) -> None:
        self._fill("")
        self.query_one(Input).focus()

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._fill(event.value)

    def _fill(self, typed: str) -> None:
        words = typed.lower().split()
        found = self.query_one(OptionList)
        at = found.highlighted
        options = [
            Option(self._line(name, shown), id=name)
            for name, shown in self._items
            if all(word in shown.lower() for word in words)
        ]
        found.set_options(options)
        found.highlighted = min(at or 0, len(options) - 1) if options else None

    def _line(self, name: str, shown: str) -> Content:
        # Signs, not colours alone, tell what is marked.
        if name in self._chosen:
            return Content.assemble((" ● ", "$success"), (shown, "bold"))
        return Content.assemble((" ○ ", "$foreground-muted"), shown)

    def action_move(self, by: int) -> None:
        found = self.query_one(OptionList)
        if by > 0:
            found.action_cursor_down()
        else:
            found.action_cursor_up()

    @on(Input.Submitted)
    def _marked(self) -> None:
        option = self.query_one(OptionList).highlighted_option
        if option is not None and option.id is not None:
            self._toggle(option.id)

    @on(OptionList.OptionSelected)
    def _clicked(self, event: OptionList.OptionSelected) -> None:
        if event.option.id is not None:
            self._toggle(event.option.id)

    def _toggle(self, name: str) -> None:
        if name in self._chosen:
            self._chosen.remove(name)
        elif len(self._chosen) < MOST_MODELS:
            self._chosen.append(name)
        else:
            self.notify(f"{MOST_MODELS} at most; omni compare takes more", severity="warning")
        self._fill(self.query_one(Input).value)

    def action_done(self) -> None:
        self.dismiss(tuple(self._chosen))

    def action_leave(self) -> None:
        self.dismiss(None)


class PromptsScreen(ModalScreen[str | None]):
    """An editor for the prompts; dismissed with its text, or None."""

    DEFAULT_CSS = """
    PromptsScreen { align: center middle; background: $background 60%; }
    PromptsScreen > Vertical {
        width: 96; max-width: 98%; height: 80%;
        background: $surface; border: round $primary; padding: 0 1;
    }
    PromptsScreen TextArea { height: 1fr; border: none; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Cancel", priority=True),
        Binding("ctrl+s", "done", "Done", priority=True),
    ]

    def __init__(self, prompts: str) -> None:
        super().__init__()
        self._prompts = prompts

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = f"Prompts, with a line {SEPARATOR} between them"
            box.border_subtitle = "Ctrl+S done · Esc leaves"
            yield TextArea(self._prompts)

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.focus()
        area.move_cursor(area.document.end)

    def action_done(self) -> None:
        self.dismiss(self.query_one(TextArea).text)

    def action_leave(self) -> None:
        self.dismiss(None)


def suite_form(loader: Loader, draft: Draft, take: Callable[[str], None]) -> FormScreen:
    """Name a suite's file or folder; it is read before it is taken."""

    def save(_: App, values: Values) -> None:
        from pathlib import Path

        from omni_cli.services.judge.suite import load

        path = values["suite"]
        if path:
            check_here(loader.env, "a suite from a file")
            load(Path(path).expanduser())
        take(path)

    field = Field("suite", "File or folder", draft.suite, "TOML, YAML, JSON, JSONL, promptfoo")
    return FormScreen(loader, "Prompts of a suite", [field], save, save="Take")


def options_form(
    loader: Loader,
    draft: Draft,
    models: Sequence[str],
    take: Callable[[dict[str, str]], None],
) -> FormScreen:
    """How answers are scored, how often each is asked, and what it may cost."""
    judges = (NONE, *models)
    fields = [
        Field("scorer", "Scored by", draft.scorer, choices=_SCORERS),
        Field("expect", "Expected", draft.expect, "what a good answer says"),
        Field("schema", "JSON Schema", draft.schema, "its file, for json-schema"),
        Field("judge", "Judge", draft.judge if draft.judge in judges else NONE, choices=judges),
        Field("iterations", "Answers each", draft.iterations, "1", check=_count),
        Field("max_tokens", "Longest answer", draft.max_tokens, "tokens", check=_count),
        Field("max_cost", "At most, USD", draft.max_cost, "no limit but the budgets"),
    ]

    def save(_: App, values: Values) -> None:
        if values["schema"]:
            check_here(loader.env, "a schema from a file")
        Draft(max_cost=values["max_cost"]).limit_nusd  # noqa: B018  # raises where it is no amount
        take(dict(values))

    return FormScreen(loader, "Scoring", fields, save, note=_note)


def _count(text: str) -> str:
    fine = text.isdecimal() and 1 <= int(text) <= 1_000_000
    return "" if fine else "a whole number of 1 or more"


def _note(values: Values) -> str:
    scorer = values["scorer"]
    if scorer == "judge" and values["judge"] == NONE:
        return "a judge is a model: choose one below"
    if scorer == "json-schema" and not values["schema"]:
        return "json-schema needs the schema's file"
    if scorer not in (NONE, "judge", "json-schema") and not values["expect"]:
        return f"{scorer} compares with what is expected"
    if values["judge"] != NONE:
        return "the judge sees each pair of answers in both orders; its calls are paid for"
    return ""


def abtest_form(loader: Loader, role: str, model: str) -> FormScreen:
    """Begin an A/B test of a role."""
    fields = [
        Field("share", "Share", "10%", "of new conversations", check=_share),
        Field("goal", "Goal", "better", choices=("better", "cheaper")),
        Field("auto", "Promote by itself", "no", choices=("no", "yes")),
    ]

    def start(omni: App, values: Values) -> None:
        settings = Settings(
            goal="cheaper" if values["goal"] == "cheaper" else "better",
            auto=values["auto"] == "yes",
        )
        omni.abtests.start(role, model, share_of(values["share"], "it"), settings)

    return FormScreen(
        loader,
        f"Test {model} in role {role}",
        fields,
        start,
        note=lambda _: "It stops itself when the challenger is shown to be worse.",
        save="Begin",
    )


def _share(text: str) -> str:
    try:
        share_of(text, "it")
    except UsageError as exc:
        return exc.message
    return ""


#: Cells that an answer needs at least; with fewer, fewer stand side by side.
_NARROWEST = 34
_SIGNS = {"accurate": ("●", "$success"), "partial": ("▲", "$warning"), "failed": ("✗", "$error")}


class AnswersScreen(ModalScreen[None]):
    """One prompt at a time: n and p go from prompt to prompt."""

    DEFAULT_CSS = """
    AnswersScreen { background: $background 60%; align: center middle; }
    AnswersScreen > VerticalScroll {
        width: 100%; height: 1fr; background: $surface; border: round $primary; padding: 0 1;
    }
    AnswersScreen .asked { color: $primary; margin-bottom: 1; }
    AnswersScreen .which { color: $foreground-muted; }
    AnswersScreen Horizontal { height: auto; margin-bottom: 1; }
    AnswersScreen .answer { width: 1fr; height: auto; padding: 0 1; border-left: solid $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,v", "dismiss(None)", "Close"),
        Binding("n,right,l", "go(1)", "Next prompt", key_display="n"),
        Binding("p,left,h", "go(-1)", "Previous", key_display="p"),
        Binding("j,down", "scroll(1)", "Down", show=False),
        Binding("k,up", "scroll(-1)", "Up", show=False),
    ]

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report
        self._at = 0

    def compose(self) -> ComposeResult:
        yield VerticalScroll()
        yield Keys()

    async def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        await self._fill()

    async def on_resize(self) -> None:
        await self._fill()

    async def _fill(self) -> None:
        report, plan = self._report, self._report.plan
        prompts = list(plan.cases)
        prompt = prompts[self._at]
        case = plan.cases[prompt]
        box = self.query_one(VerticalScroll)
        box.border_title = f"Prompt {self._at + 1} of {len(prompts)}"
        by = {
            (a.row.iteration, a.row.contender): a for a in report.answers if a.row.prompt == prompt
        }
        across = max(min(len(plan.contenders), (self.size.width - 4) // _NARROWEST), 1)
        rows: list[Static | Horizontal] = [
            Static(case.prompt.strip() or case.name, classes="asked", markup=False)
        ]
        times = plan.settings.iterations
        for iteration in range(times):
            if times > 1:
                rows.append(Static(f"answer {iteration + 1} of {times}", classes="which"))
            for start in range(0, len(plan.contenders), across):
                cells = [
                    Static(_answer(name, by.get((iteration, name))), classes="answer")
                    for name in plan.contenders[start : start + across]
                ]
                rows.append(Horizontal(*cells))
        async with box.batch():
            await box.remove_children()
            await box.mount(*rows)
        box.scroll_home(animate=False)

    async def action_go(self, by: int) -> None:
        self._at = (self._at + by) % len(self._report.plan.cases)
        await self._fill()

    def action_scroll(self, by: int) -> None:
        self.query_one(VerticalScroll).scroll_relative(y=by * 3, animate=False)


def _answer(name: str, found: Answer | None) -> Content:
    head = Content.styled(name, "bold")
    if found is None:
        return head + Content.styled("\n(missing)", "$foreground-muted")
    row = found.row
    facts = [format_usd(row.cost_nusd), text.seconds(row.latency_ms)]
    line = Content("")
    if found.score is not None:
        word = verdict(found.score)
        sign, style = _SIGNS[word]
        line = Content.styled(f"{sign} {found.score:.2f} {word}  ", style)
    line += Content.styled(" · ".join(facts), "$foreground-muted")
    said = row.output if row.state == "ok" else f"✗ {row.error_message}"
    why = Content.styled(f"\n{found.why}", "$foreground-muted") if found.why else Content("")
    return head + Content("\n") + line + why + Content(f"\n\n{said}")
