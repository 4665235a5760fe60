"""Compare: up to four models on the same prompts, live, and what follows from it."""

from collections.abc import Callable
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message as TextualMessage
from textual.widget import Widget
from textual.widgets import DataTable, Static

from omni_cli.bootstrap import App
from omni_cli.domain.ids import id_text
from omni_cli.tui import comparing, text
from omni_cli.tui.actions import choose_role, offer_switch
from omni_cli.tui.comparing import (
    MOST_MODELS,
    Compared,
    Draft,
    News,
    Offer,
    Running,
    join_prompts,
    offer,
    offer_again,
    read_compared,
    split_prompts,
)
from omni_cli.tui.pane import Pane
from omni_cli.tui.screens import comparing_forms as forms
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.picker import Item, PickerScreen
from omni_cli.tui.widgets.table import Table
from omni_cli.tui.widgets.tiles import Empty, set_empty

_HELLO = Content.assemble(
    ("Which model is better at your work, and what does it cost?\n\n", "bold"),
    "Choose up to four models or roles, write the prompts, and say how answers are ",
    "scored. omni tells what it will cost before it asks anybody, keeps the budgets, ",
    "and says when no difference is shown.\n\n",
    ("  m", "bold $primary"),
    "   who   ",
    ("p", "bold $primary"),
    "   what   ",
    ("o", "bold $primary"),
    "   scoring, repetitions, limit   ",
    ("r", "bold $primary"),
    "   runs it",
)


class ComparePane(Pane[Compared]):
    DEFAULT_CSS = """
    ComparePane #setup { height: auto; padding: 0 0 1 0; }
    ComparePane #running { height: auto; display: none; padding: 0 0 1 0; }
    ComparePane.-running #running { display: block; }
    ComparePane #title { height: 1; background: $panel; }
    ComparePane Table { height: auto; max-height: 50%; }
    ComparePane #verdict-scroll { height: 1fr; padding: 1 1 0 1; }
    ComparePane #pictures { margin-top: 1; }
    ComparePane.-empty #found { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("m", "models", "Models"),
        Binding("p", "prompts", "Prompts"),
        Binding("o", "options", "Scoring"),
        Binding("r", "run", "Run"),
        Binding("v", "answers", "Answers"),
        Binding("w", "switch", "Role", tooltip="Switch a role to the chosen model"),
        Binding("b", "test", "A/B", tooltip="A/B test of the chosen model in a role"),
        Binding("e", "earlier", "Earlier comparisons", show=False),
        Binding("f", "suite", "A suite's file", show=False),
        Binding("c", "go_on", "Ask what is missing", show=False),
        Binding("t", "tests", "A/B tests under way", show=False),
        Binding("x", "clear", "Begin anew", show=False),
        Binding("escape", "stop", "Stop", show=False),
    ]

    class Progress(TextualMessage):
        """News of the run; only the newest of several counts."""

        def __init__(self, news: News) -> None:
            super().__init__()
            self.news = news

        def can_replace(self, message: TextualMessage) -> bool:
            return isinstance(message, ComparePane.Progress)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.draft = Draft()
        self._value: Compared | None = None
        self._chosen: int | None = None
        self._live: Running | None = None
        self._news = News()

    def compose(self) -> ComposeResult:
        yield Static(id="setup")
        yield Static(id="running")
        yield Empty(_HELLO)
        with Vertical(id="found"):
            yield Static(id="title")
            yield Table()
            with VerticalScroll(id="verdict-scroll", can_focus=False):
                yield Static(id="verdict")
                yield Static(id="pictures")

    def entry(self) -> Widget | None:
        return self.query_one(Empty) if self.has_class("-empty") else self.query_one(Table)

    def remember(self) -> dict[str, Any]:
        return {"draft": self.draft.document(), "chosen": self._chosen}

    def recall(self, kept: dict[str, Any]) -> None:
        draft, chosen = kept.get("draft"), kept.get("chosen")
        self.draft = Draft.of(draft if isinstance(draft, dict) else {})
        self._chosen = chosen if isinstance(chosen, int) else None

    def wanted(self) -> int | None:
        return self._chosen

    def load(self, omni: App, wanted: int | None) -> Compared:
        return read_compared(omni, wanted)

    def on_unmount(self) -> None:
        if self._live is not None:
            self._live.stop()

    # --- what is shown -----------------------------------------------------------------------

    def show(self, value: Compared) -> None:
        self._value = value
        self._draw()

    def resized(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = max(self.size.width, 40)
        self.query_one("#setup", Static).update(comparing.setup_text(self.draft, width))
        running = self._live
        self.set_class(running is not None, "-running")
        if running is not None:
            shown = comparing.running_text(self._news, width, stopping=running.stopping)
            self.query_one("#running", Static).update(shown)
        value = self._value
        if value is None:
            return
        report = value.report
        set_empty(self, report is None)
        if report is not None:
            self.query_one("#title", Static).update(comparing.title_text(report, value, width))
            columns = comparing.columns(report, width)
            self.query_one(Table).fill(columns, comparing.figures(report, columns))
            verdict = comparing.verdict_text(report, value, width - 4)
            self.query_one("#verdict", Static).update(verdict)
            room = max(self.size.height - 12 - len(report.plan.contenders), 0)
            drawn = comparing.pictures(report, (width - 4, room))
            self.query_one("#pictures", Static).update(drawn)

    @property
    def model(self) -> str | None:
        """The contender under the cursor, if it is a model."""
        key = self.query_one(Table).chosen
        return None if key is None or key.startswith("role:") else key

    # --- what is asked -----------------------------------------------------------------------

    def compare(self, *models: str) -> None:
        """From another tab: these models are to be compared."""
        self._edit(models=tuple(dict.fromkeys(models))[:MOST_MODELS])

    def _edit(self, **changes: Any) -> None:
        self.draft = Draft.of({**self.draft.document(), **changes})
        self._draw()

    def action_models(self) -> None:
        value = self._value
        if value is None:
            return

        def chosen(names: tuple[str, ...] | None) -> None:
            if names is not None:
                self._edit(models=names)

        items = [(id_, f"{name}  {id_}") for id_, name, _ in value.models]
        items += [(f"role:{name}", f"role {name}, now {first}") for name, first in value.roles]
        self.app.push_screen(forms.ModelsScreen(items, self.draft.models), chosen)

    def action_prompts(self) -> None:
        def written(words: str | None) -> None:
            if words is not None:
                self._edit(prompts=split_prompts(words))

        self.app.push_screen(forms.PromptsScreen(join_prompts(self.draft.prompts)), written)

    def action_suite(self) -> None:
        form = forms.suite_form(self.loader, self.draft, lambda path: self._later(suite=path))
        self.app.push_screen(form)

    def action_options(self) -> None:
        models = () if self._value is None else tuple(id_ for id_, *_ in self._value.models)
        form = forms.options_form(
            self.loader, self.draft, models, lambda values: self._later(**values)
        )
        self.app.push_screen(form)

    def _later(self, **changes: Any) -> None:
        """From a form's thread."""
        self.app.call_from_thread(lambda: self._edit(**changes))

    def action_clear(self) -> None:
        self.draft = Draft()
        self._draw()

    # --- running -----------------------------------------------------------------------------

    def action_run(self) -> None:
        if self._live is not None:
            return
        if not self.draft.models:
            self.action_models()
        elif not self.draft.ready:
            self.action_prompts()
        else:
            draft = self.draft
            self.act(lambda omni: offer(omni, draft), self._ask_first)

    def action_go_on(self) -> None:
        """Ask only what is missing; nothing that is there is paid for twice."""
        report = None if self._value is None else self._value.report
        if report is not None and self._live is None:
            comparison, draft = report.id, self.draft
            self.act(lambda omni: offer_again(omni, comparison, draft.limit_nusd), self._ask_first)

    def _ask_first(self, made: Offer) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                self._start(made)

        detail = comparing.offer_lines(made)
        self.app.push_screen(ConfirmScreen("Run this comparison?", detail, yes="Run"), answered)

    def _start(self, made: Offer) -> None:
        self._news = News()
        self._live = Running(made, self._heard)
        self._draw()
        self.run_worker(self._run, thread=True, group="compare")

    def _run(self) -> None:
        running = self._live
        assert running is not None
        with self.loader.new_session() as omni:
            running.run(omni)

    def _heard(self, news: News) -> None:
        """In the worker's thread; posting is safe from any."""
        if self.is_attached:
            self.post_message(self.Progress(news))

    @on(Progress)
    def _progress(self, event: Progress) -> None:
        news = self._news = event.news
        if news.comparison:
            self._chosen = news.comparison
        if news.done:
            self._live = None
            if news.error is not None:
                self.omni.complain(news.error)
            self.loader.touch()
            self.refresh_data()
        self._draw()

    def action_stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._draw()

    # --- what follows from it ----------------------------------------------------------------

    @on(DataTable.RowSelected)
    def action_answers(self) -> None:
        report = None if self._value is None else self._value.report
        if report is not None:
            from omni_cli.tui.screens.comparing_forms import AnswersScreen

            self.app.push_screen(AnswersScreen(report))

    def action_earlier(self) -> None:
        value = self._value
        if value is None or not value.rows:
            return

        def chosen(key: str | None) -> None:
            if key is not None:
                self._chosen = int(key)
                self.refresh_data()

        items = [
            Item(
                str(row.id),
                Content(
                    f"{text.clock(row.created_at, value.zone)[:16]}  {row.state:<9}"
                    f" {', '.join(row.plan['contenders'])}"
                ),
                f"{id_text(row.id)} {row.plan['name']} {row.plan['contenders']}".lower(),
            )
            for row in value.rows
        ]
        self.app.push_screen(PickerScreen("Earlier comparisons", [("Comparisons", items)]), chosen)

    def _role_for(self, then: Callable[[str, str], None]) -> None:
        """Let a role be chosen, then go on with it and the model under the cursor."""
        model, value = self.model, self._value
        if model is not None and value is not None:
            choose_role(self.omni, value.roles, model, lambda role: then(role, model))

    def action_switch(self) -> None:
        """Make the model under the cursor a role's first."""
        self._role_for(lambda role, model: offer_switch(self.omni, self.act, role, model))

    def action_test(self) -> None:
        """Send a share of a role's new conversations to the model under the cursor."""

        def begin(role: str, model: str) -> None:
            form = forms.abtest_form(self.loader, role, model)
            self.app.push_screen(form, lambda _: self.omni.store_changed())

        self._role_for(begin)

    def action_tests(self) -> None:
        from omni_cli.tui.screens.abtests import AbTestsScreen

        self.app.push_screen(AbTestsScreen(self.loader), lambda _: self.omni.store_changed())
