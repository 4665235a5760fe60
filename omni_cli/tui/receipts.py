"""A request's receipt as lines for a screen: what ``omni why`` prints, from the same rows."""

from dataclasses import dataclass
from typing import Any

from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.errors import OmniError
from omni_cli.domain.ids import id_text
from omni_cli.domain.ledger import AttemptRow, RequestRow
from omni_cli.domain.pricing import PriceLine, format_usd, price_lines, usd_to_nusd
from omni_cli.services.decisions import is_unlooked, recorded_decision
from omni_cli.tui import text

_MUTED = "$foreground-muted"


@dataclass(frozen=True, slots=True)
class Receipt:
    """``lines``: by attempt number what it was charged; absent where its price is unknown.
    ``outcomes``: (kind, value 0..1, note)."""

    row: RequestRow
    attempts: tuple[AttemptRow, ...]
    decision: dict[str, Any] | None
    lines: dict[int, tuple[PriceLine, ...]]
    outcomes: tuple[tuple[str, float, str], ...]
    zone: str
    simulated: bool


def read_receipt(omni: App, request: int) -> Receipt:
    """Raises NotFound."""
    row = omni.ledger.find(id_text(request))
    attempts = omni.ledger.attempts(row.id)
    lines: dict[int, tuple[PriceLine, ...]] = {}
    for attempt in attempts:
        price = None if attempt.price is None else omni.models.price_by_id(attempt.price)
        if price is None or not attempt.cost_nusd:
            continue
        try:
            lines[attempt.n] = price_lines(attempt.usage, price)
        except OmniError:
            continue
    return Receipt(
        row=row,
        attempts=tuple(attempts),
        decision=recorded_decision(row, attempts, omni.ledger.decision(row.id)),
        lines=lines,
        outcomes=tuple(omni.learning.outcomes_of(row.id)),
        zone=omni.rollups.zone,
        simulated=row.source == "demo" or _is_simulated(omni, row.provider),
    )


def _is_simulated(omni: App, slug: str) -> bool:
    provider = omni.providers.get(slug)
    return provider is not None and provider.simulated


def receipt_text(receipt: Receipt) -> Content:
    """The whole receipt, in sections."""
    parts = [_head(receipt), _decision(receipt), _attempts(receipt), _money(receipt)]
    return Content("\n\n").join([part for part in parts if part is not None])


def _head(receipt: Receipt) -> Content:
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
        "time": text.clock(row.created_at, receipt.zone),
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


def _decision(receipt: Receipt) -> Content | None:
    if receipt.decision is None:
        return None
    return decision_text(receipt.decision)


def decision_text(decision: dict[str, Any], *, most: int = 12) -> Content:
    """Who was chosen and why, then the candidates with quality, expected cost and score.

    Args:
        decision: as ``services.routing.decision_document`` gives it.
    """
    shown = Content.styled("DECISION", "bold $primary")
    if is_unlooked(decision):
        return shown + Content(f"\n{decision['model']}, {decision['reason']}")
    shown += Content(f"\n{decision['reason']}")
    for candidate in decision["candidates"][:most]:
        quality, score = candidate["quality"], candidate["score"]
        numbers = (
            f"quality {text.percent(quality)}, expected {_usd(candidate['expected_cost_usd'])}"
            + ("" if score is None else f", score {score:.3f}")
        )
        on = candidate["eligible"]
        chosen = candidate["model"] == decision["model"]
        shown += Content.assemble(
            "\n",
            ("▸ " if chosen else "  ", "bold $success"),
            (candidate["model"], "bold" if chosen else "" if on else _MUTED),
            (f"\n    {numbers}", _MUTED),
        )
        # A reason that is only the score says the line above once more.
        if candidate["reason"] and not chosen and not candidate["reason"].startswith("score "):
            shown += Content.styled(f"\n    {candidate['reason']}", _MUTED)
    more = len(decision["candidates"]) - most
    return shown + Content.styled(f"\n  and {more} more", _MUTED) if more > 0 else shown


def _attempts(receipt: Receipt) -> Content:
    shown = Content.styled("ATTEMPTS", "bold $primary")
    if not receipt.attempts:
        return shown + Content.styled("\nnothing was sent", _MUTED)
    for attempt in receipt.attempts:
        sign, style = text.SIGNS.get(attempt.state, ("○", _MUTED))
        shown += Content.assemble(
            f"\n#{attempt.n} ",
            (f"{sign} {attempt.error_code or attempt.state}", style),
            f"  {attempt.model}  {text.seconds(attempt.latency_ms)}  ",
            (_cost(attempt.cost_nusd, estimated=attempt.usage.estimated), "bold"),
        )
        if attempt.waited_ms:
            shown += Content.styled(
                f"\n   waited {text.seconds(attempt.waited_ms)} for a slot", _MUTED
            )
        if attempt.error_message:
            shown += Content.styled(f"\n   {attempt.error_message}", _MUTED)
        for line in receipt.lines.get(attempt.n, ()):
            shown += Content.styled(
                f"\n   {line.kind:<14} {line.tokens:>9,} × ${line.rate_usd.normalize():f}/1M"
                f" = ${line.cost_usd.normalize():f}",
                _MUTED,
            )
    return shown


def _money(receipt: Receipt) -> Content:
    row = receipt.row
    unknown = row.price_state == "unknown"
    shown = Content.assemble(
        ("MONEY", "bold $primary"),
        (f"\n{'cost':<9}", _MUTED),
        (_cost(None if unknown else row.total_nusd, estimated=row.estimated), "bold"),
    )
    if row.premium_model:
        shown += Content.assemble(
            (f"\n{'premium':<9}", _MUTED),
            f"{format_usd(row.premium_cost_nusd)} at {row.premium_model}",
        )
    saved = row.savings_nusd
    if saved is not None and not unknown:
        word = "saved" if saved >= 0 else "paid more"
        shown += Content.assemble(
            (f"\n{word:<9}", _MUTED),
            (format_usd(abs(saved)), "bold $success" if saved >= 0 else "bold $warning"),
        )
    for kind, value, note in receipt.outcomes:
        said = f"{value:.0%}" + (f", {note}" if note else "")
        shown += Content.assemble((f"\n{kind:<9}", _MUTED), said)
    return shown


def _cost(nusd: int | None, *, estimated: bool) -> str:
    return format_usd(nusd) + (" (estimated)" if estimated and nusd else "")


def _usd(amount: str | None) -> str:
    return format_usd(None if amount is None else usd_to_nusd(amount))
