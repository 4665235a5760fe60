"""Recommendations: what to change, on what evidence; apply, dismiss, undo, and what it saved."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Static

from omni_cli.bootstrap import App
from omni_cli.domain.money import format_usd
from omni_cli.domain.words import counted
from omni_cli.records import StoredAdvice
from omni_cli.services.judge.advice_document import Told, confidence_text, open_saving_nusd
from omni_cli.tui import heat
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.table import Column, Row, Table, flexible
from omni_cli.tui.widgets.tiles import Empty, set_empty
from omni_cli.tui.widgets.words import Words

_MARKS = {
    "high": ("▲ high", "$ink-warning on $tint-warning"),
    "medium": ("● medium", "$ink-primary on $tint-primary"),
    "low": ("○ low", "$foreground-muted"),
}
_STATUS = {"applied": "$ink-success on $tint-success", "dismissed": "$foreground-muted"}


class RecommendationsPane(Pane[tuple[Told, ...]]):
    DEFAULT_CSS = """
    RecommendationsPane #total { height: 1; padding: 0 1; color: $foreground-muted; }
    RecommendationsPane #detail { height: 12; border-top: solid $panel; padding: 0 1; }
    RecommendationsPane.-empty Table { display: none; }
    RecommendationsPane.-empty #detail { display: none; }
    """
    ON_ONE = frozenset({"apply", "dismiss"})
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "apply", "Apply"),
        Binding("d", "dismiss", "Dismiss"),
        Binding("u", "undo", "Undo"),
        Binding("v", "all", "Decided too"),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._every = False
        self._found: tuple[Told, ...] = ()
        self._last: int | None = None

    def compose(self) -> ComposeResult:
        yield Words(id="total")
        yield Empty(_nothing())
        yield Table()
        with VerticalScroll(id="detail"):
            yield Words(id="words")

    def entry(self) -> Widget | None:
        return self.query_one(Empty if self.has_class("-empty") else Table)

    def remember(self) -> dict[str, Any]:
        return {"every": self._every}

    def recall(self, kept: dict[str, Any]) -> None:
        self._every = bool(kept.get("every", False))

    def wanted(self) -> bool:
        return self._every

    def load(self, omni: App, wanted: bool) -> tuple[Told, ...]:
        return tuple(omni.telling.every(decided=wanted))

    def show(self, value: tuple[Told, ...]) -> None:
        self._found = value
        set_empty(self, not value)
        said = [f"{sum(told.advice.status == 'pending' for told in value)} open"]
        monthly = open_saving_nusd(told.advice for told in value)
        if monthly:
            said.append(f"would save {format_usd(monthly)} a month")
        self.query_one("#total", Static).update(" · ".join(said))
        if not value:
            return
        decided = any(told.advice.status != "pending" for told in value)
        columns = flexible(
            [
                Column("priority", "Priority", width=8),
                Column("title", "What", width=0),
                Column("month", "Saves/month", "right", 11),
                Column("sure", "Sure", "right", 5),
                *([Column("status", "Status", width=9)] if decided else []),
            ],
            "title",
            self.size.width or self.app.size.width,  # shown first, it has none yet
        )
        savings = [told.advice.finding.saving_monthly_nusd for told in value]
        colour = self.omni.colour
        self.query_one(Table).fill(
            columns, [_row(t.advice, savings, colour, len(columns)) for t in value]
        )
        self._describe()

    def resized(self) -> None:
        if self._found:
            self.show(self._found)

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.query_one("#words", Static).update(_words(chosen))

    def _chosen(self) -> Told | None:
        key = self.query_one(Table).chosen
        return next((told for told in self._found if str(told.advice.id) == key), None)

    def action_apply(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.act(lambda omni: omni.advice.apply(chosen.advice.id), self._said)

    def action_dismiss(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.act(lambda omni: omni.advice.dismiss(chosen.advice.id), self._said)

    def action_undo(self) -> None:
        """The chosen one where it was decided, else the last one decided here, else what ``u``
        takes back in every tab."""
        chosen = self._chosen()
        decided = chosen is not None and chosen.advice.status in (
            "applied",
            "dismissed",
        )
        number = chosen.advice.id if chosen is not None and decided else self._last
        if number is None:
            self.omni.action_undo()
        else:
            self.act(lambda omni: omni.advice.undo(number), self._said)

    def action_all(self) -> None:
        self._every = not self._every
        self.refresh_data()

    def _said(self, advice: StoredAdvice) -> None:
        self._last = advice.id
        became = "open again" if advice.status == "pending" else advice.status
        self.app.notify(f"{advice.finding.title}: {became}")


def _row(
    advice: StoredAdvice,
    savings: Sequence[int | None],
    colour: Callable[[str], str],
    cells: int,
) -> Row:
    finding = advice.finding
    monthly = finding.saving_monthly_nusd
    mark, style = _MARKS[finding.priority]
    return Row(
        str(advice.id),
        [
            Text(f"{mark:<8}", style=colour(style)),
            Text(finding.title, overflow="ellipsis", no_wrap=True),
            Text(
                "-" if monthly is None else format_usd(monthly),
                style=colour(heat.saving(monthly, savings)),
            ),
            Text(confidence_text(finding), style=colour(heat.confidence(finding.confidence))),
            Text(advice.status, style=colour(_STATUS.get(advice.status, ""))),
        ][:cells],
    )


def _words(told: Told) -> Content:
    advice = told.advice
    finding = advice.finding
    lines: list[Content | str | tuple[str, str]] = [
        (finding.title, "bold"),
        f"\n{finding.reasoning}\n",
    ]
    if finding.daily_nusd is not None:
        lines.append(
            f"\n{format_usd(finding.daily_nusd)} a day now, "
            f"{format_usd(finding.recommended_daily_nusd)} then: saves "
            f"{format_usd(finding.saving_daily_nusd)} a day, "
            f"{format_usd(finding.saving_monthly_nusd)} a month, "
            f"{format_usd(finding.saving_yearly_nusd)} a year"
        )
    facts = [f"impact {finding.impact}"]
    if finding.confidence is not None:
        facts.append(f"confidence {confidence_text(finding)}")
    if finding.sample:
        facts.append(f"{counted(finding.sample, 'call')} in {counted(finding.days, 'day')}")
    lines.append(f"\n{', '.join([*facts, f'effort: {finding.effort}'])}\n")
    if told.proof is not None:
        lines.append(f"\n{told.proof}")
    if advice.status == "applied":
        lines.append(f"\n{told.outcome}")
    elif finding.action.kind == "none":
        lines += ["\nyours to decide: ", (finding.action.command, "bold")]
        if finding.action.command.startswith("omni budgets"):
            lines += [", or here: ", ("7", "bold $primary"), " and ", ("r", "bold $primary")]
    else:
        lines += [
            "\n",
            ("a", "bold $primary"),
            " applies it as a revision, ",
            ("u", "bold $primary"),
            " takes it back",
        ]
    return Content.assemble(*lines)


def _nothing() -> Content:
    return Content.assemble(
        ("Nothing to recommend.\n\n", "bold"),
        "The ledger shows no better choice, or too little so far: from some 20 calls a role on, "
        "cheaper models that are likely as good, failing and retiring ones are named here.",
    )
