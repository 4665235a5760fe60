"""How values read on a screen: signs, bars, money, times. No sign stands without a word."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from rich.cells import cell_len, set_cell_size
from textual.content import Content

from omni_cli.domain.evidence import BAD_RATE, WARNING_RATE
from omni_cli.domain.money import format_sum, format_usd
from omni_cli.tui.overview import Totals

#: Sign and colour variable of a state; the state's word always stands beside it.
SIGNS: dict[str, tuple[str, str]] = {
    "healthy": ("●", "$success"),
    "active": ("●", "$success"),
    "ok": ("●", "$success"),
    "warning": ("▲", "$warning"),
    "degraded": ("▲", "$warning"),
    "pending": ("◌", "$primary"),
    "error": ("✗", "$error"),
    "critical": ("✗", "$error"),
    "failed": ("✗", "$error"),
    "lost": ("✗", "$error"),
    "refused": ("✗", "$warning"),
    "cancelled": ("○", "$warning"),
    "maintenance": ("◐", "$primary"),
    "standby": ("○", "$foreground-muted"),
    "unknown": ("○", "$foreground-muted"),
    "disabled": ("–", "$foreground-muted"),
    "off": ("–", "$foreground-muted"),
}
#: The word beside the sign of a provider's or a model's health.
STATE_WORDS: dict[str, str] = {
    "healthy": "Healthy",
    "warning": "Warning",
    "error": "Error",
    "maintenance": "Maintenance",
    "unknown": "Unknown",
    "standby": "Standby",
    "disabled": "Disabled",
    "off": "Disabled",
}
TRENDS: dict[str, tuple[str, str]] = {
    "improving": ("↗", "$success"),
    "stable": ("→", "$foreground-muted"),
    "declining": ("↘", "$warning"),
}
#: First, second, third: sign, words, colour.
MEDALS: dict[int, tuple[str, str, str]] = {
    1: ("★1", "first", "bold $accent"),
    2: ("★2", "second", "bold $foreground"),
    3: ("★3", "third", "bold $secondary"),
}
_BLOCKS = "▁▂▃▄▅▆▇█"


def seconds(ms: float | None) -> str:
    """A response time: "8.5s", "234ms"; "-" for None."""
    if ms is None:
        return "-"
    return f"{ms / 1000:.1f}s" if ms >= 1000 else f"{ms:.0f}ms"


def count(value: int) -> str:
    """Short: 1,018; 2.4M; 530K."""
    for size, unit in ((1_000_000_000, "G"), (1_000_000, "M")):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return f"{value / 1000:.0f}K" if value >= 100_000 else f"{value:,}"


def cost(sums: Totals) -> str:
    """What it cost; "unknown" or "$1.20 + unknown" where some price is unknown."""
    return format_sum(sums.cost_nusd, sums.unknown_attempts)


def amount(sums: Totals) -> str:
    """The cost in ten cells, the points of all below each other; "+?" where some is unknown."""
    if sums.unknown_attempts and not sums.cost_nusd:
        return f"{'unknown':>8}  "
    whole, _, cents = format_usd(sums.cost_nusd).partition(".")
    more = "+?" if sums.unknown_attempts else ""
    return f"{whole:>5}.{cents + more:<4}"


def day_line(hours: Sequence[int], bad: Sequence[int], width: int) -> Content:
    """24 hours in 24, 12, 8 or 6 cells: calls, in red where some failed, "!" where half or more
    did."""
    each = next((each for each in (1, 2, 3) if width * each >= len(hours)), 4)
    calls = [sum(hours[at : at + each]) for at in range(0, len(hours), each)]
    failed = [sum(bad[at : at + each]) for at in range(0, len(bad), each)] or [0] * len(calls)
    return Content.assemble(
        *(
            ("!" if wrong * 2 >= many and wrong else cell, "$error" if wrong else "$primary")
            for cell, many, wrong in zip(spark(calls), calls, failed, strict=True)
        )
    )


def rated(success: float | None) -> tuple[str, str]:
    """Sign and colour of a success rate."""
    if success is None:
        return "○", "$foreground-muted"
    return SIGNS["ok" if success >= WARNING_RATE else "warning" if success >= BAD_RATE else "error"]


def clip(words: str, width: int) -> str:
    """In at most ``width`` cells, the last one an ellipsis where something was cut."""
    if cell_len(words) <= width:
        return words
    return set_cell_size(words, max(width - 1, 0)).rstrip() + "…"


def bar(share: float, width: int) -> tuple[str, str]:
    """The filled and the empty part of a bar of ``width`` cells for a share of 0..1."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    return "█" * filled, "░" * (width - filled)


def spark(values: Sequence[float]) -> str:
    """A sparkline, one cell a value; nothing is a dot, so that little differs from none."""
    top = max(values, default=0)
    return "".join(
        "·" if not value else _BLOCKS[min(int(value / top * len(_BLOCKS)), len(_BLOCKS) - 1)]
        for value in values
    )


def change(now: float, before: float) -> tuple[str, str]:
    """(arrow and percentage, "up" / "down" / ""): against the value before; ("", "") if that is
    zero."""
    if not before:
        return "", ""
    share = now / before - 1
    if abs(share) < 0.005:
        return "= 0%", ""
    return (f"▲ {share:.0%}", "up") if share > 0 else (f"▼ {-share:.0%}", "down")


def clock(at_ms: int, zone: str, *, today_ms: int | None = None) -> str:
    """The user's time of day; with the date where ``today_ms`` is another day."""
    local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    if today_ms is None:
        return local.strftime("%Y-%m-%d %H:%M:%S")
    today = datetime.fromtimestamp(today_ms / 1000, UTC).astimezone(ZoneInfo(zone))
    same = local.date() == today.date()
    return local.strftime("%H:%M:%S" if same else "%m-%d %H:%M")


#: A state that nothing has confirmed for so long is drawn in grey, ms.
OLD_MS = 60_000


def age(state: str, seen_at: int | None, now_ms: int) -> str:
    """How old the evidence of a state is: "12 s ago"; "" for states that a person set."""
    return "" if seen_at is None or state in _SET else ago(seen_at, now_ms)


def is_old(state: str, seen_at: int | None, now_ms: int) -> bool:
    """Whether a good state is too old to be drawn as one."""
    return state == "healthy" and (seen_at is None or now_ms - seen_at > OLD_MS)


#: States that nobody has to see for them to be so.
_SET = ("off", "standby", "disabled", "maintenance")


def ago(at_ms: int, now_ms: int) -> str:
    """ "12 s ago", "3 min ago", "5 h ago", "2 d ago"."""
    passed = max(now_ms - at_ms, 0) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if passed >= size:
            return f"{passed // size} {unit} ago"
    return f"{passed} s ago"
