"""Recommendations: what to change, on what evidence; apply, dismiss, undo, and what it saved."""

from typing import Any, ClassVar

from msgspec import Struct
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import DataTable, Static

from omni_cli.bootstrap import App
from omni_cli.domain.pricing import format_usd
from omni_cli.domain.words import counted
from omni_cli.records import StoredAdvice
from omni_cli.services.judge.advice import Verified
from omni_cli.services.judge.advice_document import confidence_text
from omni_cli.tui.pane import Pane
from omni_cli.tui.widgets.table import Column, Row, Table, flexible

_MARKS = {"high": "▲ high", "medium": "● medium", "low": "○ low"}


class Loaded(Struct, frozen=True):
    advice: tuple[StoredAdvice, ...]
    verified: dict[int, Verified | None]


class RecommendationsPane(Pane[Loaded]):
    DEFAULT_CSS = """
    RecommendationsPane #total { height: 1; padding: 0 1; color: $foreground-muted; }
    RecommendationsPane #detail { height: 12; border-top: solid $panel; padding: 0 1; }
    RecommendationsPane #empty { padding: 1 2; display: none; }
    RecommendationsPane.-empty #empty { display: block; }
    RecommendationsPane.-empty Table { display: none; }
    RecommendationsPane.-empty #detail { display: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("a", "apply", "Apply"),
        Binding("d", "dismiss", "Dismiss"),
        Binding("u", "undo", "Undo"),
        Binding("v", "all", "Decided too"),
    ]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._every = False
        self._found = Loaded((), {})
        self._last: int | None = None

    def compose(self) -> ComposeResult:
        yield Static(id="total")
        yield Static(id="empty")
        yield Table()
        with VerticalScroll(id="detail"):
            yield Static(id="words")

    def entry(self) -> Widget | None:
        return self.query_one(Table)

    def remember(self) -> dict[str, Any]:
        return {"every": self._every}

    def recall(self, kept: dict[str, Any]) -> None:
        self._every = bool(kept.get("every", False))

    def wanted(self) -> bool:
        return self._every

    def load(self, omni: App, wanted: bool) -> Loaded:
        found = tuple(
            a for a in omni.advice.refresh() if wanted or a.status in ("pending", "applied")
        )
        return Loaded(found, {a.id: omni.advice.verify(a) for a in found})

    def show(self, value: Loaded) -> None:
        self._found = value
        self.set_class(not value.advice, "-empty")
        pending = [a.finding for a in value.advice if a.status == "pending"]
        monthly = sum(f.saving_monthly_nusd or 0 for f in pending)
        said = [f"{len(pending)} open"]
        if monthly:
            said.append(f"would save {format_usd(monthly)} a month")
        self.query_one("#total", Static).update(" · ".join(said))
        if not value.advice:
            self.query_one("#empty", Static).update(_nothing())
            return
        columns = flexible(
            [
                Column("priority", "Priority", width=9),
                Column("title", "What", width=0),
                Column("month", "Saves/month", "right", 11),
                Column("sure", "Sure", "right", 5),
                Column("status", "Status", width=9),
            ],
            "title",
            self.size.width,
        )
        self.query_one(Table).fill(columns, [_row(advice) for advice in value.advice])
        self._describe()

    def on_resize(self) -> None:
        self.refresh_data()

    @on(DataTable.RowHighlighted)
    def _describe(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            verified = self._found.verified.get(chosen.id)
            self.query_one("#words", Static).update(_words(chosen, verified))

    def _chosen(self) -> StoredAdvice | None:
        key = self.query_one(Table).row_key
        return next((a for a in self._found.advice if str(a.id) == key), None)

    def action_apply(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.act(lambda omni: omni.advice.apply(chosen.id), self._said)

    def action_dismiss(self) -> None:
        chosen = self._chosen()
        if chosen is not None:
            self.act(lambda omni: omni.advice.dismiss(chosen.id), self._said)

    def action_undo(self) -> None:
        """The chosen one where it was decided, else the last one decided here."""
        chosen = self._chosen()
        decided = chosen is not None and chosen.status in ("applied", "dismissed")
        number = chosen.id if chosen is not None and decided else self._last
        if number is not None:
            self.act(lambda omni: omni.advice.undo(number), self._said)

    def action_all(self) -> None:
        self._every = not self._every
        self.refresh_data()

    def _said(self, advice: StoredAdvice) -> None:
        self._last = advice.id
        self.app.notify(f"{advice.finding.title}: {advice.status}")


def _row(advice: StoredAdvice) -> Row:
    finding = advice.finding
    monthly = finding.saving_monthly_nusd
    return Row(
        str(advice.id),
        [
            _MARKS[finding.priority],
            Text(finding.title, overflow="ellipsis", no_wrap=True),
            "-" if monthly is None else format_usd(monthly),
            confidence_text(finding),
            advice.status,
        ],
    )


def _words(advice: StoredAdvice, verified: Verified | None) -> Content:
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
    if advice.status == "applied":
        lines.append(_verified(verified))
    elif finding.action.kind == "none":
        lines.append(f"\nyours to decide: {finding.action.command}")
    else:
        lines += [
            "\n",
            ("a", "bold $primary"),
            " applies it as a revision, ",
            ("u", "bold $primary"),
            " takes it back",
        ]
    return Content.assemble(*lines)


def _verified(verified: Verified | None) -> str:
    if verified is None:
        return "\napplied; what it saves shows after a whole day of calls"
    word = "saved" if verified.saved_nusd >= 0 else "cost more by"
    return (
        f"\napplied; {word} {format_usd(abs(verified.saved_nusd))} over "
        f"{counted(verified.calls, 'call')} "
        f"({format_usd(verified.before_per_call_nusd)} → "
        f"{format_usd(verified.after_per_call_nusd)} each)"
    )


def _nothing() -> Content:
    return Content.assemble(
        ("Nothing to recommend.\n\n", "bold"),
        "The ledger shows no better choice, or too little so far: from some 20 calls a role on,\n"
        "cheaper models that are likely as good, failing and retiring ones are named here.",
    )
