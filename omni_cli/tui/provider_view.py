"""A provider on the screen: its card, and everything about it."""

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from omni_cli.records import Failure
from omni_cli.tui import text
from omni_cli.tui.model_view import failures_text
from omni_cli.tui.overview import SPAN_DAYS, Overview, ProviderCard

_MUTED = "$foreground-muted"


def card_text(card: ProviderCard, width: int) -> Content:
    """Name and state; then latency, success, cost and calls; then models and trend or error."""
    provider = card.provider
    sign, style = text.SIGNS[card.state]
    word = text.STATE_WORDS[card.state]
    name = set_cell_size(provider.name, max(width - cell_len(word) - 16, 8)).rstrip()
    simulated = " simulated" if provider.simulated and "simulat" not in name else ""
    head = Content.assemble((name, "bold"), (simulated, "italic $warning"))
    gap = width - 1 - cell_len(head.plain) - cell_len(word) - 2
    head += Content(" " * max(gap, 1)) + Content.styled(f"{sign} {word}", style)
    ping = card.test[1] if card.test else None
    numbers = Content.assemble(
        f"{text.seconds(ping if card.latency_ms is None else card.latency_ms):>6}",
        (" avg" if card.latency_ms is not None else " ping", _MUTED),
        (" │ ", _MUTED),
        f"{text.percent(card.success, 1):>6}",
        (" success", _MUTED),
        (" │ ", _MUTED),
        (f"{text.cost(card.today):>8}", "bold"),
        (" today", _MUTED),
    )
    if width >= 66:
        numbers += Content.assemble((" │ ", _MUTED), f"{card.today.calls:>5,}", (" calls", _MUTED))
    last = Content.styled(f"{card.active} of {card.total} models active", _MUTED)
    if card.trend != "unknown":
        arrow, colour = text.TRENDS[card.trend]
        last += Content.assemble((" │ ", _MUTED), (f"{arrow} {card.trend}", colour))
    if width >= 70:
        last += Content.assemble((" │ ", _MUTED), (text.spark(card.hours), "$primary"))
    if card.why and card.state not in ("off", "maintenance", "unknown"):
        last = Content.styled(text.clip(card.why, width - 2), style)
    return head + Content("\n  ") + numbers + Content("\n  ") + last


def detail_text(
    card: ProviderCard, view: Overview, failures: tuple[Failure, ...], masked: str | None
) -> Content:
    """Everything about one provider: for the side panel and for the dialog."""
    provider = card.provider
    sign, style = text.SIGNS[card.state]
    shown = Content.assemble(
        (provider.name, "bold"),
        "\n",
        (f"{sign} {text.STATE_WORDS[card.state]}", style),
        (f": {card.why}" if card.why else "", style),
        "\n",
    )
    key = "none needed" if provider.auth_method == "none" else masked or "missing: e sets one"
    facts = {
        "Address": provider.base_url,
        "Protocol": provider.protocol,
        "Key": key,
        "At once": (
            "no limit"
            if provider.max_concurrency is None
            else f"{provider.max_concurrency} requests"
        ),
        "Tested": _tested(card, view.now_ms),
        "Response": f"{text.seconds(card.latency_ms)} mean of {SPAN_DAYS} days",
        "Success": f"{text.percent(card.success, 1)} of {SPAN_DAYS} days",
        "Today": f"{text.cost(card.today)}, {card.today.calls:,} calls",
        "24 hours": text.spark(card.hours),
    }
    for name, value in facts.items():
        shown += Content.assemble((f"\n{name:<10}", _MUTED), value)
    mine = [c for c in view.models if c.model.provider == provider.slug]
    shown += Content.styled("\n\nMODELS", "bold $primary")
    for item in mine:
        mark, colour = text.SIGNS[item.state]
        shown += Content.assemble(
            "\n",
            (f"{mark} ", colour),
            set_cell_size(item.model.name, 22),
            f" {item.today.calls:>5,} calls {text.cost(item.today):>9}",
        )
    if not mine:
        shown += Content.styled("\nnone at work: omni models list --provider ", _MUTED)
        shown += Content.styled(f"{provider.slug} --all", _MUTED)
    shown += Content.styled("\n\nLAST ERRORS\n", "bold $primary")
    return shown + failures_text(failures, view.zone, view.now_ms)


def _tested(card: ProviderCard, now_ms: int) -> str:
    if card.test is None:
        return "never: x tests it"
    at_ms, latency_ms, error = card.test
    took = "" if latency_ms is None else f" in {latency_ms} ms"
    return f"{'failed' if error else 'ok'}{took}, {text.ago(at_ms, now_ms)}"
