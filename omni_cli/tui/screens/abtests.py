"""A/B tests under way: how champion and challenger do, promote, stop."""

from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from omni_cli.bootstrap import App
from omni_cli.domain.money import format_usd
from omni_cli.services.judge.abtest import ArmReport, Report
from omni_cli.tui import text
from omni_cli.tui.data import Loader
from omni_cli.tui.widgets.form import ConfirmScreen
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.widgets.tiles import CardList
from omni_cli.tui.workers import WorkerScreen

_NOTHING = Content.assemble(
    ("No A/B test is running.\n\n", "bold"),
    "A test sends a share of a role's new conversations to a challenger, until one of\n",
    "both is shown to be better. In Compare, ",
    ("b", "bold $primary"),
    " begins one with the model under the cursor.",
)


class AbTestsScreen(Sheet, WorkerScreen):
    DEFAULT_CSS = """
    AbTestsScreen > VerticalScroll { width: 100; }
    AbTestsScreen CardList { height: auto; background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("p", "promote", "Promote"),
        Binding("s", "stop", "Stop"),
    ]
    FOOTER = True
    subtitle = ""

    def __init__(self, loader: Loader) -> None:
        super().__init__("A/B tests")
        self.loader = loader
        self._reports: list[Report] = []

    def parts(self) -> ComposeResult:
        yield Static(_NOTHING, id="nothing")
        yield CardList()

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).can_focus = False
        self.query_one("#nothing").display = False
        self._read()

    def _read(self) -> None:
        self.act(lambda omni: [omni.abtests.report(t) for t in omni.abtests.tests()], self._show)

    def _do(self, what: Callable[[App], str]) -> None:
        def done(said: str) -> None:
            self.notify(said)
            self._read()

        self.act(what, done)

    def _show(self, reports: list[Report]) -> None:
        if not self.is_attached:
            return
        self._reports = reports
        cards = self.query_one(CardList)
        cards.display = bool(reports)
        self.query_one("#nothing").display = not reports
        cards.fill([(report.test.role, card(report)) for report in reports])
        if reports:
            cards.focus()

    @property
    def _chosen(self) -> Report | None:
        key = self.query_one(CardList).chosen
        return next((r for r in self._reports if r.test.role == key), None)

    def action_promote(self) -> None:
        chosen = self._chosen
        if chosen is None:
            return
        role, model = chosen.test.role, chosen.test.challenger

        def answered(yes: bool | None) -> None:
            if yes:
                self._do(lambda omni: _promote(omni, role, force=not chosen.may_promote))

        proof = chosen.verdict if chosen.may_promote else f"It is not shown: {chosen.verdict}."
        self.app.push_screen(
            ConfirmScreen(f"Make {model} the first of {role}?", proof, yes="Promote"), answered
        )

    def action_stop(self) -> None:
        chosen = self._chosen
        if chosen is not None:
            role = chosen.test.role
            self._do(lambda omni: f"role {role}: all to {omni.abtests.stop(role).champion} again")


def _promote(omni: App, role: str, *, force: bool) -> str:
    report = omni.abtests.promote(role, force=force)
    return f"role {role}: {report.test.challenger} is first now"


def card(report: Report) -> Content:
    """One test: both arms, the evidence in words, and what the challenger has cost."""
    test, found = report.test, report.evidence
    return Content.assemble(
        (f"role {test.role}", "bold"),
        (f"  {test.share:.0%} to the challenger\n", "$foreground-muted"),
        _arm("champion", report.champion, found.champion),
        _arm("challenger", report.challenger, found.challenger),
        ("★ " if report.may_promote else "○ ", "bold $accent"),
        f"{report.verdict}; the challenger has cost {format_usd(report.spent_nusd)}\n",
    )


def _arm(name: str, arm: ArmReport, rate: tuple[float, float, float] | None) -> str:
    good = "-" if rate is None else f"{rate[0]:.0%} good [{rate[1]:.0%} to {rate[2]:.0%}]"
    each = "-" if arm.per_unit_nusd is None else format_usd(round(arm.per_unit_nusd))
    return (
        f"  {name:<10} {arm.model}: {arm.units} conversations, {good}, {each} each, "
        f"{text.seconds(arm.latency_ms)}\n"
    )
