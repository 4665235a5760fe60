"""Fleet in words: a tile for each model, what is summed beside and below them, the table."""

from collections.abc import Callable, Sequence
from datetime import date

from msgspec import Struct
from rich.cells import cell_len, set_cell_size
from rich.text import Text
from textual.content import Content

from omni_cli.domain.money import format_usd
from omni_cli.domain.words import counted, percent
from omni_cli.services.money.activity import Found
from omni_cli.services.money.sessions import LiveSession
from omni_cli.tui import heat, text
from omni_cli.tui.colours import hue
from omni_cli.tui.overview import SPAN_DAYS, ModelCard, Overview
from omni_cli.tui.plot import bar
from omni_cli.tui.widgets.frames import Tile
from omni_cli.tui.widgets.table import Column, Row, flexible, named

_MUTED = "$foreground-muted"
#: The table shows roles from so many columns on, the last hours from so many.
_ROLES_FROM, _HOURS_FROM = 96, 126
#: A tile has room for bars from so many cells on.
_BARS_FROM = 44
#: Order, and what it sorts by; None: as ranked. The largest first, but for names and times.
ORDERS: dict[str, Callable[[ModelCard], tuple[object, ...]] | None] = {
    "rank": None,
    "cost": lambda c: (-c.today.cost_nusd,),
    "calls": lambda c: (-c.today.calls,),
    "saved": lambda c: (-(c.saving_nusd or 0),),
    "quality": lambda c: (-(c.quality or 0),),
    "speed": lambda c: (c.latency_ms is None, c.latency_ms or 0),
    "success": lambda c: (c.success is None, -(c.success or 0)),
    "name": lambda c: (c.model.name.lower(),),
    "provider": lambda c: (c.model.provider, c.model.name.lower()),
}


class Aside(Struct, frozen=True):
    """What fills a wide screen: the last 30 days' spending, agents' live sessions, the latest
    calls."""

    spent: tuple[tuple[date, int], ...] = ()
    sessions: tuple[LiveSession, ...] = ()
    calls: tuple[Found, ...] = ()


def chosen_cards(view: Overview, words: str, order: str) -> list[ModelCard]:
    """The models that every word is found in (name, id, role, state), in an order of ORDERS."""
    wanted = words.lower().split()
    found = [card for card in view.models if all(w in _searched(card) for w in wanted)]
    key = ORDERS.get(order)
    return found if key is None else sorted(found, key=key)


def _searched(card: ModelCard) -> str:
    return " ".join((card.model.name, card.model.id, *card.roles, state_word(card))).lower()


def state_word(card: ModelCard) -> str:
    words = {"healthy": "Online", "error": "Down"}
    return words.get(card.state) or text.STATE_WORDS[card.state]


def head_text(view: Overview, shown: int, order: str, words: str) -> Content:
    online = sum(card.state in ("healthy", "warning") for card in view.models)
    said = f"  {counted(len(view.models), 'model')}, {online} online"
    if words:
        said = f"  {shown} of {counted(len(view.models), 'model')} with {words!r}"
    return Content.assemble(
        ("FLEET", "bold $primary"),
        (said, _MUTED),
        (" · ", _MUTED),
        ("o", "bold $primary"),
        (f" by {order} · ", _MUTED),
        ("/", "bold $primary"),
        (" filter", _MUTED),
    )


def model_tile(card: ModelCard, width: int, now_ms: int, costs: Sequence[int]) -> Tile:
    """State with its age, and role; money, calls and the last day; how good it is, or what is
    wrong with it.

    Args:
        costs: of today of all models, nano-dollars.
    """
    sign, style = text.SIGNS[card.state]
    well = text.is_old(card.state, card.seen_at, now_ms)
    age = text.age(card.state, card.seen_at, now_ms)
    first = heat.chip(f"{sign} {state_word(card)}", _MUTED if well else style)
    if width < _BARS_FROM:
        age = age.removesuffix(" ago")
    first += Content.styled(f" {age}" if age else "", _MUTED)
    role = card.roles[0] if card.roles else "no role"
    more = f" +{len(card.roles) - 1}" if len(card.roles) > 1 else ""
    room = width - first.cell_length - 2 - len(more)
    role = text.clip(role, max(room, 0))
    gap = " " * max(width - first.cell_length - cell_len(role + more), 1)
    first += Content.assemble(gap, (role, "$primary" if card.roles else _MUTED), (more, _MUTED))
    calls = counted(card.today.calls, "call")
    if card.today.calls >= 100_000:
        calls = f"{text.count(card.today.calls)} calls"
    number, _, word = calls.partition(" ")
    spent = text.amount(card.today)
    amount = spent.strip()
    second = Content.assemble(
        spent[: spent.index(amount)],
        (amount, f"bold {heat.cost(card.today.cost_nusd, costs)}"),
        spent[spent.index(amount) + len(amount) :],
        f"{number:>5} ",
        (f"{word:<5} ", _MUTED),
    )
    line = text.day_line(card.hours, card.bad_hours, width - second.cell_length)
    second += Content(" " * max(width - second.cell_length - line.cell_length, 0)) + line
    medal = text.MEDALS.get(card.medal or 0)
    saved = max(card.saving_nusd or 0, 0)
    return Tile(
        title=Content.assemble(
            (f"{medal[0]} ", medal[2]) if medal else "", (card.model.name, "bold $foreground")
        ),
        whose=Content.styled(card.model.provider, f"bold {hue(card.model.provider)}"),
        lines=(first, second, _third(card, width, style)),
        note=Content(" ").join(
            [
                *([Content.styled("simulated", "italic $warning")] if card.simulated else []),
                *([Content.styled(f"saved {format_usd(saved)}", "$success")] if saved else []),
            ]
        ),
        edge=hue(card.model.provider),
    )


def _third(card: ModelCard, width: int, style: str) -> Content:
    if card.why and card.state in ("error", "warning"):
        return Content.styled(text.clip(card.why, width), style)
    sign, colour = text.rated(card.success)
    good = Content.styled(f"{sign} {percent(card.success, 1)}", colour)
    took = text.seconds(card.latency_ms)
    speed = " " * (6 - len(took)), (took, heat.latency(card.latency_ms))
    share = percent(card.quality), heat.quality(card.quality)
    quality = Content.assemble(("Quality ", _MUTED), " " * (4 - len(share[0])), share)
    if width >= _BARS_FROM and card.quality is not None:
        drawn = bar(card.quality, 1.0, 8, hue(card.model.provider))
        quality = Content.assemble(("Quality ", _MUTED), drawn, " ", share, " ")
    return Content.assemble(quality, (" Speed", _MUTED), *speed, " ") + good


def today_text(view: Overview, width: int) -> Content:
    """The side panel: totals, against yesterday and the budget, and who cost it."""
    now = view.today
    step, way = text.change(now.cost_nusd, view.yesterday_nusd)
    shown = Content.assemble(
        ("TODAY\n", "bold $primary"),
        (f"{text.cost(now)}\n", "bold"),
        f"{counted(now.calls, 'call')}, {text.count(now.tokens)} tokens\n",
    )
    if step:
        style = "$warning" if way == "up" else "$success"
        shown += Content.assemble((step, style), f" on {format_usd(view.yesterday_nusd)} by now\n")
    if view.saving_nusd is not None:
        word = "saved" if view.saving_nusd >= 0 else "paid more"
        style = "$success" if view.saving_nusd >= 0 else "$warning"
        shown += Content.assemble(
            (f"{word} {format_usd(abs(view.saving_nusd))}", style), " against premium\n"
        )
    shown += _budget_text(view, width)
    spent = [card for card in view.models if card.today.cost_nusd]
    if spent:
        shown += Content.styled("\nBY MODEL\n", "bold $primary")
        total = sum(card.today.cost_nusd for card in spent)
        for card in sorted(spent, key=lambda c: -c.today.cost_nusd)[:8]:
            cost = card.today.cost_nusd
            shown += Content.assemble(
                f"{set_cell_size(text.clip(card.model.name, width - 18), width - 18)} ",
                bar(cost, total, 8, hue(card.model.provider)),
                f" {format_usd(cost):>8}\n",
            )
    shown += _advice_text(view, width)
    return shown + Content.styled(
        f"\nQuality is the router's estimate;\nspeed and success of {SPAN_DAYS} days.\n"
        "★ best chance of a good answer.",
        _MUTED,
    )


def _advice_text(view: Overview, width: int) -> Content:
    """The best recommendations, or nothing where there is none."""
    if not view.advice:
        return Content("")
    shown = Content.styled("\nRECOMMENDATIONS", "bold $primary")
    for finding in view.advice[:4]:
        sign, style = ("▲", "$warning") if finding.priority == "high" else ("●", "$primary")
        shown += Content.assemble("\n", (f"{sign} ", style), text.clip(finding.title, width - 2))
        saved = finding.saving_monthly_nusd
        said = f": saves {format_usd(saved)} a month" if saved else ""
        rank = finding.priority if saved else f"{finding.priority} impact"
        shown += Content.assemble((f"\n  {rank}", _MUTED), (said, "$success"))
    return shown + Content.assemble("\n", ("-", "bold $primary"), (" opens them\n", _MUTED))


def calls_text(aside: Aside, view: Overview, width: int) -> Content:
    """The latest requests, newest first: when, how it went, who was asked by whom, its cost."""
    if not aside.calls:
        return Content.styled("no request yet", _MUTED)
    names = {card.model.id: card.model.name for card in view.models}
    lines = []
    for found in aside.calls:
        call = found.row
        sign, style = text.SIGNS.get(call.state, ("·", _MUTED))
        by = call.agent or call.role or call.task
        cost = format_usd(found.cost_nusd)
        room = width - 14 - len(cost)
        name = names.get(call.model, call.model) + (f" · {by}" if by else "")
        lines.append(
            Content.assemble(
                (f"{text.ago(call.created_at, view.now_ms):>10} ", _MUTED),
                (f"{sign} ", style),
                set_cell_size(text.clip(name, room), max(room, 0)),
                (f" {cost}", "bold"),
            )
        )
    return Content("\n").join(lines)


def alerts_text(view: Overview, width: int) -> Content:
    """What needs a person, how much of each budget is used, and urgent advice."""
    lines = []
    for card in view.providers:
        if card.state in ("error", "warning"):
            sign, style = text.SIGNS[card.state]
            said = text.clip(f"{card.provider.name}: {card.why}", width - 2)
            lines.append(Content.assemble((f"{sign} ", style), said))
    for line in view.budgets:
        sign, style = text.SIGNS[line.level]
        share = line.status.used_percent or 0
        said = text.clip(f"{line.whose} a {line.status.budget.period}: {line.words}", width - 18)
        full, empty = text.bar(share / 100, 8)
        lines.append(
            Content.assemble(
                (f"{sign} ", style),
                set_cell_size(said, width - 17),
                (full, style),
                (empty, "$panel"),
                f" {f'{share:.0f}%':>5}",
            )
        )
    lines += [
        Content.assemble(("▲ ", "$warning"), text.clip(finding.title, width - 2))
        for finding in view.advice
        if finding.urgent
    ]
    return Content("\n").join(lines) if lines else Content.styled("● all is well", "$success")


def _budget_text(view: Overview, width: int) -> Content:
    """A bar of the worst budget, whose it is and how it stands; or how to set one."""
    if not view.budgets:
        return Content.assemble(("no budget yet: ", _MUTED), ("7", "bold $primary"), "\n")
    line = view.budgets[0]
    status = line.status
    used = status.used_percent or 0.0
    sign, style = text.SIGNS[line.level]
    full, empty = text.bar(used / 100, width - 5)
    return Content.assemble(
        (full, style),
        (empty, "$panel"),
        f" {used:.0f}%\n",
        (f"{text.clip(line.whose, width)}\n", _MUTED),
        (f"{format_usd(status.spent_nusd)} of {format_usd(line.limit_nusd)}", _MUTED),
        (f" a {status.budget.period}\n", _MUTED),
        (f"{sign} {line.words}\n", style),
    )


def _of(whose: str) -> str:
    return "" if whose == "everything" else f"for {text.clip(whose, 16)} "


def foot_text(view: Overview, width: int) -> Content:
    """The same in two lines, for narrow terminals."""
    now = view.today
    shown = Content.assemble(
        ("Today ", _MUTED),
        (text.cost(now), "bold"),
        f" · {counted(now.calls, 'call')}",
    )
    dearest = max(view.models, key=lambda card: card.today.cost_nusd, default=None)
    if dearest is not None and dearest.today.cost_nusd:
        name = text.clip(dearest.model.name, 20)
        shown += f" · most {name} {format_usd(dearest.today.cost_nusd)}"
    step, way = text.change(now.cost_nusd, view.yesterday_nusd)
    if step:
        shown += Content.assemble(
            (" · ", _MUTED), (step, "$warning" if way == "up" else "$success")
        )
        if width >= 90:
            shown += Content(" on yesterday")
    if view.saving_nusd is not None and view.saving_nusd > 0:
        gain = f"saved {format_usd(view.saving_nusd)}"
        if shown.cell_length + 3 + len(gain) <= width:
            shown += Content.assemble((" · ", _MUTED), (gain, "$success"))
    if view.budgets:
        line = view.budgets[0]
        used = line.status.used_percent or 0.0
        sign, style = text.SIGNS[line.level]
        full, empty = text.bar(used / 100, 8)
        shown += Content.assemble(
            ("\nBudget ", _MUTED),
            (full, style),
            (empty, "$panel"),
            f" {used:.0f}% of {format_usd(line.limit_nusd)} a {line.status.budget.period} ",
            (_of(line.whose), _MUTED),
            (f"{sign} {text.clip(line.words, 32)}", style),
        )
    if view.advice:
        best = view.advice[0]
        saved = best.saving_monthly_nusd
        more = f": saves {format_usd(saved)} a month" if saved else ""
        shown += Content.assemble(
            ("\n▲ ", "$warning"),
            text.clip(best.title, width - 2 - len(more)),
            (more, "$success"),
        )
    return shown


def columns(width: int) -> tuple[Column, ...]:
    """The model's name takes what the others leave; provider, roles and hours come where there is
    room."""
    roomy = width >= _ROLES_FROM
    columns = [
        Column("medal", "", width=2),
        Column("model", "Model", width=0),
        *((Column("provider", "Provider", width=10),) if roomy else ()),
        Column("state", "State", width=11),
        *((Column("role", "Role", width=16),) if roomy else ()),
        Column("calls", "Calls", "right", 6),
        Column("cost", "Cost", width=10),
        Column("quality", "Quality" if roomy else "Qual", "right", 7 if roomy else 4),
        Column("speed", "Speed", "right", 6),
        Column("success", "Success", "right", 7),
    ]
    if width >= _HOURS_FROM:
        columns += [Column("hours", "24 h", width=24), Column("tokens", "Tokens", "right", 7)]
    return flexible(columns, "model", width)


def row(card: ModelCard, width: int, colour: Callable[[str], str], costs: Sequence[int]) -> Row:
    sign, style = text.SIGNS[card.state]
    state = Text(f"{sign} {state_word(card).lower()}")
    state.stylize(colour(style), 0, 1)
    medal = text.MEDALS.get(card.medal or 0)
    ranked = Text() if medal is None else Text(medal[0], style=colour(medal[2]))
    name = named(card.model.name, colour("$warning") if card.simulated else "")
    success = Text(percent(card.success, 1), style=colour(heat.success(card.success)))
    cells: list[str | Text] = [
        ranked,
        name,
        state,
        f"{card.today.calls:,}",
        Text(text.amount(card.today), colour(heat.cost(card.today.cost_nusd, costs))),
        Text(percent(card.quality), colour(heat.quality(card.quality))),
        Text(text.seconds(card.latency_ms), colour(heat.latency(card.latency_ms))),
        success,
    ]
    if width >= _ROLES_FROM:
        cells.insert(3, Text(", ".join(card.roles), overflow="ellipsis", no_wrap=True))
        slug = card.model.provider
        cells.insert(2, Text(slug, style=colour(hue(slug)), overflow="ellipsis", no_wrap=True))
    if width >= _HOURS_FROM:
        hours = Text()
        for cell, bad in zip(text.spark(card.hours), card.bad_hours, strict=True):
            hours.append(cell, style=colour("$error" if bad else "$primary"))
        cells += [hours, text.count(card.today.tokens)]
    return Row(card.model.id, cells)
