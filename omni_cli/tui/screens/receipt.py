"""A request's receipt as a dialog."""

from itertools import accumulate
from typing import Any, ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.content import Content
from textual.widgets import Static

from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.domain.latency import cost_norm, latency_norm, weighed_ms
from omni_cli.domain.money import format_usd, shown_usd, usd_to_nusd
from omni_cli.domain.routing import NO_EVIDENCE
from omni_cli.domain.tasks import DEFAULT_WEIGHTS
from omni_cli.domain.words import percent
from omni_cli.services.engine.decisions import is_unlooked
from omni_cli.services.money.receipt import Receipt
from omni_cli.tui import text
from omni_cli.tui.actions import rate_request
from omni_cli.tui.data import Loader
from omni_cli.tui.widgets.sheet import Sheet
from omni_cli.tui.workers import tell

_MUTED = "$foreground-muted"
#: Cells of a line where nothing else is said.
_ROOM = 94
#: Scores are the same that differ by less: they were rounded.
_SAME = 0.002


#: Cells that an attempt takes in one line.
_LINE = 56


def receipt_text(receipt: Receipt, zone: str, width: int = _ROOM) -> Content:
    """The whole receipt, in sections, in lines of ``width`` cells where they are a table's."""
    parts = [
        _head(receipt, zone),
        _decision(receipt, width),
        _attempts(receipt, zone, width),
        _money(receipt),
    ]
    return Content("\n\n").join([part for part in parts if part is not None])


def _head(receipt: Receipt, zone: str) -> Content:
    row = receipt.row
    sign, style = text.SIGNS.get(row.state, ("○", _MUTED))
    shown = Content.assemble((id_text(row.id), "bold"), "  ", (f"{sign} {row.state}", style))
    if receipt.simulated:
        shown += Content.styled("  simulated", "italic $warning")
    if row.error_message:
        shown += Content.styled(f"\n{row.error_code}: {row.error_message}", "$error")
    usage = row.usage
    extra = ", ".join(
        f"{number:,} {word}"
        for number, word in (
            (usage.cached_tokens, "cached"),
            (usage.cache_write_tokens, "cache write"),
            (usage.reasoning_tokens, "reasoning"),
        )
        if number
    )
    facts = {
        "time": text.clock(row.created_at, zone),
        "model": row.model or "-",
        "role": row.role,
        "agent": row.agent,
        "chain": row.chain or "",
        "task": ", ".join(
            filter(None, (row.task, row.complexity and f"complexity {row.complexity}"))
        ),
        "tokens": f"{usage.input_tokens:,} in, {usage.output_tokens:,} out"
        + (f" ({extra})" if extra else ""),
        "answer": f"{text.seconds(row.latency_ms)}, first token {text.seconds(row.ttft_ms)}",
    }
    for name, value in facts.items():
        if value:
            shown += Content.assemble((f"\n{name:<9}", _MUTED), value)
    return shown


def _decision(receipt: Receipt, width: int) -> Content | None:
    if receipt.decision is None:
        return None
    answered = receipt.row.model if receipt.row.state == "ok" else ""
    return decision_text(receipt.decision, width, answered=answered)


#: Cells of the figures beside a candidate's name, and of its bar.
_FIGURES, _BAR = 27, 12
#: Cells of a line from which on a candidate's name and figures share it.
_BESIDE = 64


def decision_text(
    decision: dict[str, Any], width: int = _ROOM, *, answered: str = "", most: int = 12
) -> Content:
    """Who was chosen and why, then the candidates as a table: quality, expected cost, and the
    score as a bar of what cost, speed and quality add to it.

    Args:
        decision: as ``services.routing.decision_document`` gives it.
        answered: the model that did, where that is known.
    """
    shown = Content.styled("DECISION", "bold $primary")
    if is_unlooked(decision):
        said = ", ".join(filter(None, (decision["model"], decision["reason"])))
        return shown + Content(f"\n{said}")
    shown += Content(f"\n{decision['reason'] or 'no reason was recorded'}")
    candidates = decision["candidates"][:most]
    # Where names have no room beside the figures they stand above them.
    beside = width >= _BESIDE
    bars = any(_parts(candidate) for candidate in candidates)
    bars = bars and width >= _FIGURES + _BAR + (24 if beside else 5)
    name_room = max(width - 3 - _FIGURES - (_BAR + 1 if bars else 0), 12) if beside else 1
    if candidates:
        head = f"\n{'':3}{'':<{name_room}} quality  expected  score "
        shown += Content.styled(head, _MUTED)
        if bars:
            for (word, _), (sign, style) in zip(_SHARES, _SIGNS, strict=True):
                shown += Content.assemble((sign, style), (word[0], _MUTED), " ")
    for candidate in candidates:
        on, chosen = candidate["eligible"], candidate["model"] == decision["model"]
        mark = ("▸" if chosen else " ") + ("✓" if candidate["model"] == answered else " ")
        score = candidate["score"]
        name = text.clip(candidate["model"], name_room if beside else width - 3)
        shown += Content.assemble(
            ("\n" + mark + " ", "bold $success"),
            (f"{name:<{name_room}}", "bold" if chosen else "" if on else _MUTED),
            "" if beside else "\n    ",
            (f" {percent(candidate['quality']):>7}", "" if on else _MUTED),
            (f" {shown_usd(candidate['expected_cost_usd']):>9}", "" if on else _MUTED),
            (f" {'-' if score is None else format(score, '.3f'):>6} ", "" if on else _MUTED),
        )
        if bars and on:
            shown += _score_bar(_parts(candidate))
        # A reason that is only the score says the line above once more.
        if candidate["reason"] and not chosen and not candidate["reason"].startswith("score "):
            shown += Content.styled(f"\n    {candidate['reason']}", _MUTED)
    more = len(decision["candidates"]) - most
    shown += Content.styled(f"\n  and {more} more", _MUTED) if more > 0 else Content("")
    others = [c["model"] for c in candidates]
    if answered and answered not in others:
        shown += Content.assemble(("\n ✓ ", "bold $success"), (answered, "bold"), " answered")
    elif candidates:
        note = "\n▸ decided" + ("  ✓ answered" if answered else "")
        if bars:
            note += "  score: c cost, s speed, q quality"
        shown += Content.styled(note, _MUTED)
    return shown


#: What a score is made of, and how its part of the bar looks.
_SHARES = (("cost", 0), ("speed", 1), ("quality", 2))
_SIGNS = (("█", "$success"), ("▓", "$primary"), ("▒", "$accent"))


def _parts(candidate: dict[str, Any]) -> tuple[float, float, float] | None:
    """What cost, speed and quality add to a score by the usual weights; None where the score was
    made by others: they are not in the record."""
    score, cost = candidate["score"], candidate["expected_cost_usd"]
    if score is None or not candidate["eligible"]:
        return None
    nusd = None if cost is None else usd_to_nusd(cost)
    quality = NO_EVIDENCE if candidate["quality"] is None else candidate["quality"]
    waited = weighed_ms(candidate["expected_latency_ms"], candidate["latency_basis"] or "")
    parts = (
        DEFAULT_WEIGHTS.cost * (1.0 - cost_norm(nusd)),
        DEFAULT_WEIGHTS.latency * (1.0 - latency_norm(waited)),
        DEFAULT_WEIGHTS.task_match * quality,
    )
    return parts if abs(sum(parts) - score) < _SAME else None


def _score_bar(parts: tuple[float, float, float] | None) -> Content:
    if parts is None:
        return Content("")
    ends = [round(min(end, 1.0) * _BAR) for end in accumulate(parts)]
    pieces = []
    for (sign, style), start, end in zip(_SIGNS, [0, *ends], ends, strict=False):
        pieces.append((sign * max(end - start, 0), style))
    return Content.assemble(*pieces)


def _attempts(receipt: Receipt, zone: str, width: int) -> Content:
    shown = Content.styled("ATTEMPTS", "bold $primary")
    if not receipt.attempts:
        return shown + Content.styled("\nnothing was sent", _MUTED)
    for item in receipt.attempts:
        attempt = item.attempt
        sign, style = text.SIGNS.get(attempt.state, ("○", _MUTED))
        shown += Content.assemble(
            f"\n#{attempt.n} ",
            (f"{sign} {attempt.error_code or attempt.state}", style),
            f"  {attempt.model}",
            "  " if width >= _LINE else "\n   ",
            f"{text.seconds(attempt.latency_ms)}  ",
            (_cost(attempt.cost_nusd, estimated=attempt.usage.estimated), "bold"),
        )
        if attempt.waited_ms:
            shown += Content.styled(
                f"\n   waited {text.seconds(attempt.waited_ms)} for a slot", _MUTED
            )
        if attempt.error_message:
            shown += Content.styled(f"\n   {attempt.error_message}", _MUTED)
        for line in item.lines:
            shown += Content.styled(
                f"\n   {line.kind:<{14 if width >= _LINE else 6}} {line.tokens:>9,}"
                f" × ${line.rate_usd.normalize():f}/1M"
                f" = ${line.cost_usd.normalize():f}",
                _MUTED,
            )
        if item.unseen_nusd:
            said = f"{item.unseen_why}: {format_usd(item.unseen_nusd)} more is held"
            shown += Content.styled(f"\n   {said} (omni budgets release)", "$warning")
        if item.reported_nusd is not None:
            said = f"\n   reported as {format_usd(item.reported_nusd)}"
            drift = item.drift_nusd
            if drift is not None:
                word = "less" if drift > 0 else "more"
                said += f", {format_usd(abs(drift))} {word} than omni's price"
            shown += Content.styled(said, "$warning")
    for skipped in receipt.skipped:
        shown += Content.styled(f"\nnot asked  {skipped['model']}: {skipped['why']}", _MUTED)
    for model, told in receipt.unsaid.items():
        shown += Content.styled(f"\n{model} could not be told: {'; '.join(told)}", _MUTED)
    for correction in receipt.corrections:
        shown += Content.styled(
            f"\n#{correction.n} corrected by {format_usd(correction.delta_nusd)} on "
            f"{text.clock(correction.at_ms, zone)} by {correction.who}: {correction.reason}",
            _MUTED,
        )
    return shown


def _money(receipt: Receipt) -> Content:
    row = receipt.row
    shown = Content.assemble(
        ("MONEY", "bold $primary"),
        (f"\n{'cost':<9}", _MUTED),
        (_cost(receipt.cost_nusd, estimated=row.estimated), "bold"),
    )
    if row.premium_model:
        shown += Content.assemble(
            (f"\n{'premium':<9}", _MUTED),
            f"{format_usd(row.premium_cost_nusd)} at {row.premium_model}",
        )
    saved = row.savings_nusd
    if saved is not None:
        word = "saved" if saved >= 0 else "paid more"
        shown += Content.assemble(
            (f"\n{word:<9}", _MUTED),
            (format_usd(abs(saved)), "bold $success" if saved >= 0 else "bold $warning"),
        )
    for kind, value, note in receipt.outcomes:
        said = f"{value:.0%}" + (f", {note}" if note else "")
        shown += Content.assemble((f"\n{kind:<9}", _MUTED), said)
    if receipt.cached_from is not None:
        said = f"the answer of {id_text(receipt.cached_from)}; nothing was sent"
        shown += Content.assemble((f"\n{'cache':<9}", _MUTED), said)
    return shown


def _cost(nusd: int | None, *, estimated: bool) -> str:
    return format_usd(nusd) + (" (estimated)" if estimated and nusd else "")


class ReceiptScreen(Sheet):
    """Follows its request while that is under way."""

    DEFAULT_CSS = "ReceiptScreen > VerticalScroll { width: 100; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(str(n), f"rate({n})", f"Rate {n} of 5", show=False) for n in range(1, 6)
    ]
    FOOTER = True
    subtitle = "1-5 rates the answer · Esc closes"

    def __init__(self, loader: Loader, request: int) -> None:
        super().__init__("Receipt")
        self._loader = loader
        self._request = request
        self._zone = "UTC"
        self.receipt: Receipt | None = None

    def parts(self) -> ComposeResult:
        yield Static("Reading…", id="receipt", markup=False)

    def on_mount(self) -> None:
        self.refresh_data()

    def refresh_data(self) -> None:
        self.run_worker(self._read, thread=True, exclusive=True)

    def _read(self) -> None:
        try:
            with self._loader.session() as omni:
                self._zone = omni.rollups.zone
                found: Receipt | OmniError = omni.receipts.read(id_text(self._request))
        except OmniError as exc:
            found = exc
        tell(self.app, self._take, found)

    def _take(self, found: Receipt | OmniError) -> None:
        if not self.is_attached:
            return
        place = self.query_one("#receipt", Static)
        if isinstance(found, OmniError):
            place.update(f"{found.message}\n{found.hint}")
        else:
            self.receipt = found
            place.update(receipt_text(found, self._zone))

    def action_rate(self, stars: int) -> None:
        self.run_worker(lambda: self._rate(stars), thread=True)

    def _rate(self, stars: int) -> None:
        try:
            with self._loader.session() as omni:
                said = rate_request(omni, self._request, stars)
        except OmniError as exc:
            said = exc.message
        tell(self.app, self.notify, said)
        tell(self.app, self.refresh_data)
