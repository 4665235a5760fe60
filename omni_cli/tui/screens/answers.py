"""A comparison's answers side by side, prompt by prompt."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Footer, Static

from omni_cli.domain.pricing import format_usd
from omni_cli.domain.scoring import verdict
from omni_cli.services.judge.compare_report import Answer, Report
from omni_cli.tui import text

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
        yield Footer(compact=True)

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
