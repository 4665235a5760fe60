"""Everything about one model: read in one go, and rendered in sections."""

from collections.abc import Sequence
from datetime import date

from msgspec import Struct
from textual.content import Content

from omni_cli.bootstrap import App
from omni_cli.domain.analytics import day_key
from omni_cli.domain.models import BADGES, CAPABILITIES, ModelInfo, retirement_words
from omni_cli.domain.money import dollars, format_usd
from omni_cli.domain.periods import local_date
from omni_cli.domain.prices import KINDS, UNITS, Price, rate_text
from omni_cli.domain.pricing import blended
from omni_cli.domain.words import counted, percent, tokens
from omni_cli.records import Failure, Tally
from omni_cli.services.fleet.browse import Listed
from omni_cli.services.fleet.fleet import uses_of
from omni_cli.services.money.prices import utc_day
from omni_cli.services.money.savings import saved_of
from omni_cli.tui import heat, plot, text
from omni_cli.tui.overview import SPAN_DAYS, ModelCard, Overview, totals
from omni_cli.tui.plot import Plot, Series
from omni_cli.tui.widgets.chart import Shown

_MUTED = "$foreground-muted"
_BAR = 24
_KIND_NAMES = {"cached": "cached input", "cache_write": "cache write"}


class ModelView(Struct, frozen=True):
    """``card`` is None for a model that is not in the fleet. ``rating``: (mean 0..1, how many)
    of the user's. ``uses``: roles, rules and chains, as texts. ``saving_nusd``: of today's requests
    that it answered; None where it is unknown. ``latency``: (date,
    p50, p95) in ms of the last days, None on days without answers."""

    listed: Listed
    card: ModelCard | None
    tasks: tuple[Tally, ...]
    failures: tuple[Failure, ...]
    rating: tuple[float, int] | None
    uses: tuple[str, ...]
    roles: tuple[tuple[str, int, str], ...]
    saving_nusd: int | None
    latency: tuple[tuple[date, float | None, float | None], ...]
    now_ms: int
    zone: str

    @property
    def model(self) -> ModelInfo:
        return self.listed.model


def read_model(omni: App, name: str, overview: Overview) -> ModelView:
    """Raises NotFound."""
    model = omni.fleet.model(name)
    glance = omni.glance
    today = day_key(local_date(overview.now_ms, overview.zone))
    return ModelView(
        listed=omni.browser.listed(model),
        card=next((card for card in overview.models if card.model.id == model.id), None),
        tasks=tuple(glance.tasks(today, model.provider, model.id)),
        failures=tuple(glance.errors(model=model.id, limit=4)),
        rating=glance.rating(model.id),
        uses=tuple(uses_of(omni.assignments, model.id)),
        roles=tuple(
            (role.name, item.priority, role.description)
            for role in omni.assignments.roles()
            for item in role.models
            if item.model == model.id
        ),
        saving_nusd=saved_of(
            (source, sums)
            for (source,), sums in omni.reports.totals(
                today, today, ("source",), {"model": model.id}
            ).items()
        ).saving_nusd,
        latency=omni.usage.latency(model.id),
        now_ms=overview.now_ms,
        zone=overview.zone,
    )


def latency_chart(view: ModelView) -> Shown | None:
    """How long answers took, a day at a time; None without any."""
    if not any(p50 is not None for _, p50, _ in view.latency):
        return None
    lines = (
        Series("p95", "$warning", tuple(p95 for *_, p95 in view.latency)),
        Series("p50", "$primary", tuple(p50 for _, p50, _ in view.latency)),
    )
    labels = tuple(day.strftime("%m-%d") for day, *_ in view.latency)
    names = tuple(f"{day:%a %Y-%m-%d}" for day, *_ in view.latency)
    made = Plot(labels, lines, plot.seconds, "curves")
    return Shown(made, "RESPONSE TIME", names, text.seconds)


def title_text(view: ModelView) -> Content:
    model, card = view.model, view.card
    state = model.status if card is None else card.state
    sign, style = text.SIGNS[state]
    word = text.STATE_WORDS[state].lower() if card is not None else state
    shown = Content.assemble(
        (model.name, "bold"),
        ("  " + text.MEDALS[card.medal][0], text.MEDALS[card.medal][2])
        if card is not None and card.medal
        else "",
        ("  simulated provider", "italic $warning") if card is not None and card.simulated else "",
        "\n",
        heat.chip(f"{sign} {word}", style),
        (" │ ", _MUTED),
        model.id,
    )
    if model.aliases:
        shown += Content.assemble((" │ ", _MUTED), "aka ", ", ".join(model.aliases[:3]))
    if card is not None and card.why:
        shown += Content.styled(f"\n{card.why}", style)
    if model.retired_on:
        shown += Content.styled(
            f"\nits provider {retirement_words(model.retired_on, utc_day(view.now_ms))}", "$warning"
        )
    return shown


def capabilities_text(view: ModelView) -> Content:
    model = view.model
    lines = []
    for name in (*CAPABILITIES, *(n for n in model.scores if n not in CAPABILITIES)):
        score = model.scores.get(name)
        if score is None:
            lines.append(Content.assemble(f"{name.capitalize():<12}", ("not known", _MUTED)))
            continue
        lines.append(_bar_line(name.capitalize(), score / 100, f"{score:.0f}/100"))
    if view.listed.quality is not None:
        lines.append(
            _bar_line("Quality", view.listed.quality, f"{view.listed.quality:.0%} estimated")
        )
    lines.append(Content(f"{'Context':<12}{tokens(model.context_window)} tokens"))
    most = "not known" if model.max_output is None else f"{tokens(model.max_output)} tokens"
    lines.append(
        Content.assemble(f"{'Max output':<12}", (most, "" if model.max_output else _MUTED))
    )
    if model.badges:
        named = [heat.chip(name) for name in BADGES if name in model.badges]
        lines += [
            Content(f"{'' if at else 'Badges':<12}") + Content(" ").join(named[at : at + 3])
            for at in range(0, len(named), 3)
        ]
    if model.settings:
        said = ", ".join(f"{name} {value:,}" for name, value in model.settings.items())
        lines.append(Content(f"{'Settings':<12}{said}"))
    if model.strengths:
        lines.append(Content(f"{'Strengths':<12}{', '.join(model.strengths)}"))
    factor = model.complexity_factor
    if factor is not None:
        size = f"{model.parameters_b:g} B parameters, factor {factor:.2f}"
        lines.append(Content(f"{'Complexity':<12}{size}"))
    return Content("\n").join(lines)


def _bar_line(name: str, share: float, words: str) -> Content:
    full, empty = text.bar(share, _BAR)
    return Content.assemble(f"{name:<12}", (full, "$primary"), (empty, "$panel"), f" {words}")


def costs_text(view: ModelView) -> Content:
    row = view.listed.price
    price = Price("unknown") if row is None else row.price
    if price.state != "priced":
        words = "free of charge" if price.state == "free" else "unknown: e sets a price"
        return Content(words)
    lines = []
    for kind in KINDS:
        found = rate_text(price, kind)
        if found != "-":
            name = _KIND_NAMES.get(kind, kind.replace("_", " "))
            lines.append(Content.assemble(f"{name:<15}", (f"{found:>9}", "bold"), " / 1M tokens"))
    average = blended(price)
    if average is not None:
        lines.append(Content(f"{'average':<15}{dollars(average):>9} half in, half out"))
    for field, _ in UNITS.values():
        if amount := getattr(price, field):
            word = field.removeprefix("per_").removesuffix("_usd").replace("_", " ")
            lines.append(Content(f"{word:<18}{dollars(amount):>6}"))
    if price.per_request_usd:
        lines.append(Content(f"{'each request':<15}{dollars(price.per_request_usd):>9}"))
    if price.minimum_usd:
        lines.append(Content(f"{'at least':<15}{dollars(price.minimum_usd):>9}"))
    if row is not None:
        since = f", read {price.source_date}" if price.source_date else ""
        lines.append(Content.styled(f"from: {row.origin}{since}", _MUTED))
    return Content("\n").join(lines)


def usage_text(view: ModelView) -> Content:
    """Today's sums, then by task with shares of the cost (of the calls where all was free)."""
    sums = totals(view.tasks)
    if not sums.calls and not sums.tokens:
        return Content.styled("Not used today.", _MUTED)
    shown = Content.assemble(
        f"{'Calls':<10}{sums.calls:,}\n",
        f"{'Tokens':<10}{sums.tokens:,}\n",
        f"{'Cost':<10}",
        (text.cost(sums), "bold"),
    )
    saving = view.saving_nusd
    if saving:
        word, style = ("Saved", "$success") if saving > 0 else ("Paid more", "$warning")
        shown += Content.assemble(
            f"\n{word:<10}", (format_usd(abs(saving)), style), " against premium"
        )
    for row in view.tasks:
        whole, part = (sums.cost_nusd, row.cost_nusd) if sums.cost_nusd else (sums.calls, row.calls)
        share = part / whole if whole else 0.0
        full, empty = text.bar(share, 8)
        shown += Content.assemble(
            f"\n{(row.task or 'no task'):<14}",
            (full, "$primary"),
            (empty, "$panel"),
            f" {share:>4.0%} {counted(row.calls, 'call'):>11} {text.cost(totals([row])):>9}",
        )
    return shown


def roles_text(view: ModelView) -> Content:
    if not view.uses:
        return Content.assemble(
            ("No role, rule or chain uses it.\n", _MUTED),
            ("omni roles assign ROLE ", _MUTED),
            (view.model.id, _MUTED),
        )
    lines = [
        Content.assemble((name, "$primary"), f"  priority {priority}", (f"  {words}", _MUTED))
        for name, priority, words in view.roles
    ]
    lines += [Content(use) for use in view.uses if not use.startswith("role ")]
    return Content("\n").join(lines)


def performance_text(view: ModelView) -> Content:
    card = view.card
    rated = "not rated yet"
    if view.rating is not None:
        mean, many = view.rating
        rated = f"{1 + 4 * mean:.1f}/5 by {many} rating{'s' * (many > 1)}"
    latency = None if card is None else card.latency_ms
    success = None if card is None else card.success
    shown = Content.assemble(
        f"{'Response':<10}{text.seconds(latency)}\n",
        f"{'Success':<10}{percent(success, 1)}",
        (f"  of {SPAN_DAYS} days\n", _MUTED),
        f"{'Quality':<10}{percent(view.listed.quality)}",
        ("  the router's estimate\n", _MUTED),
        f"{'Rating':<10}{rated}",
    )
    if card is not None and any(card.hours):
        shown += Content.assemble(
            f"\n{'24 hours':<10}",
            (text.spark(card.hours), "$primary"),
            (f" most {counted(max(card.hours), 'call')} an hour", _MUTED),
        )
    return shown


def errors_text(view: ModelView) -> Content:
    return failures_text(view.failures, view.zone, view.now_ms)


def failures_text(failures: Sequence[Failure], zone: str, now_ms: int) -> Content:
    if not failures:
        return Content.styled("None among the latest requests.", _MUTED)
    return Content("\n").join(
        Content.assemble(
            (f"{text.clock(item.at_ms, zone, today_ms=now_ms)} ", _MUTED),
            ("✗ " + item.code, "$error"),
            f" {item.message}",
        )
        for item in failures
    )
