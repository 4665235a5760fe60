"""Past decisions under other routing settings: what would have been chosen, at what cost.

Nothing is asked again. Which model a setting chooses follows from what was known when the request
came (quality, expected cost, expected latency); what the choice costs follows from the tokens that
the request really used. Quality is what the router expected, measured or not.
"""

from collections.abc import Iterable, Sequence

from msgspec import Struct

from omni_cli.domain.models import ModelInfo
from omni_cli.domain.prices import Rates
from omni_cli.domain.record import replace
from omni_cli.domain.routing import NO_EVIDENCE, Contender, Query, decide
from omni_cli.domain.statistics import Band, band, redrawn
from omni_cli.domain.tasks import Complexity, LatencyPref, Priority, TaskEstimate, Weights

#: Weights that are tried, in tenths: all that sum to one in steps of a fifth.
_STEP = 2
_TENTHS = 10


class Option(Struct, frozen=True):
    """A model that could have answered. ``cost_nusd``: the request's tokens at its price;
    ``expected_nusd``: what was expected when it came, None: unknown then. ``evidence``: its
    quality rested on more than the model's size."""

    model: str
    quality: float | None
    spread: float
    expected_nusd: int | None
    latency_ms: float | None
    cost_nusd: int
    evidence: bool = True
    latency_basis: str = "measured"


class Past(Struct, frozen=True):
    """A request that the router was free to decide. ``options``: at least one."""

    task_type: str
    complexity: Complexity
    options: tuple[Option, ...]


class Setting(Struct, frozen=True):
    """Weights count for priority "balanced" alone: the others do not score."""

    priority: Priority
    weights: Weights
    latency_pref: LatencyPref = "normal"


class Bands(Struct, frozen=True):
    """How sure an outcome is, as far as other requests of the same kind would give another: of the
    cost of as many requests (nano-dollars), the mean quality, and both less today's."""

    cost: Band
    quality: Band
    cost_less: Band
    quality_less: Band


class Outcome(Struct, frozen=True):
    """A setting over all requests: their cost together, mean expected quality 0..1, and mean
    expected latency over those whose model's was measured (None: none was). ``chosen``: for each
    request its model, cost and expected quality."""

    setting: Setting
    cost_nusd: int
    quality: float
    latency_ms: float | None
    chosen: tuple[tuple[str, int, float], ...] = ()
    bands: Bands | None = None


def settings() -> list[Setting]:
    """The settings that are tried; each priority brings its own bar of adequacy."""
    found = [Setting("cheap", Weights())]
    for cost in range(0, _TENTHS + 1, _STEP):
        for latency in range(0, _TENTHS - cost + 1, _STEP):
            task = _TENTHS - cost - latency
            weights = Weights(cost / _TENTHS, latency / _TENTHS, task / _TENTHS)
            found.append(Setting("balanced", weights))
    return [*found, Setting("best", Weights())]


def replay(setting: Setting, past: Sequence[Past]) -> Outcome:
    """What the router would have chosen for each; needs one request at least."""
    latency, timed = 0.0, 0
    each = []
    for request in past:
        chosen = _choice(setting, request)
        quality = NO_EVIDENCE if chosen.quality is None else chosen.quality
        each.append((chosen.model, chosen.cost_nusd, quality))
        if chosen.latency_ms is not None:
            latency += chosen.latency_ms
            timed += 1
    return Outcome(
        setting,
        sum(cost for _, cost, _ in each),
        sum(quality for _, _, quality in each) / len(past),
        latency / timed if timed else None,
        tuple(each),
    )


def banded(today: Outcome, outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Today's and the others with their bands; all of the same requests."""
    every = [today, *outcomes]
    columns: list[list[float]] = []
    for outcome in every:
        columns.append([float(cost) for _, cost, _ in outcome.chosen])
        columns.append([quality for _, _, quality in outcome.chosen])
    means, n = redrawn(columns), len(today.chosen)
    found = []
    for k, outcome in enumerate(every):
        costs = [n * row[2 * k] for row in means]
        qualities = [row[2 * k + 1] for row in means]
        less = [n * (row[2 * k] - row[0]) for row in means]
        lost = [row[2 * k + 1] - row[1] for row in means]
        bands = Bands(band(costs), band(qualities), band(less), band(lost))
        found.append(replace(outcome, bands=bands))
    return found


def _choice(setting: Setting, request: Past) -> Option:
    contenders = [_contender(option) for option in request.options]
    estimate = TaskEstimate(
        request.task_type, {request.task_type: 1.0}, request.complexity, difficulty=0.5
    )
    query = Query(
        estimate,
        input_tokens=0,
        priority=setting.priority,
        latency_pref=setting.latency_pref,
        weights=setting.weights,
    )
    chosen = decide(query, contenders).model
    return next(option for option in request.options if option.model == chosen)


def _contender(option: Option) -> Contender:
    provider, _, wire_name = option.model.partition("/")
    rates = None
    if option.expected_nusd is not None:
        # The whole expected cost as a fee: the router then weighs exactly what it did.
        rates = Rates(0, 0, 0, floor_pusd=option.expected_nusd * 1_000)
    return Contender(
        ModelInfo(option.model, provider, wire_name, option.model),
        "unknown" if rates is None else "priced",
        rates,
        quality=option.quality,
        output_tokens=0,
        latency_ms=option.latency_ms,
        latency_basis=option.latency_basis,
        spread=option.spread,
        evidence=option.evidence,
    )


def frontier(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those that no other beats in cost and quality both, cheapest first, one of each kind."""
    found: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda o: (o.cost_nusd, -o.quality)):
        if not found or outcome.quality > found[-1].quality:
            found.append(outcome)
    return found


def suggestion(today: Outcome, others: Iterable[Outcome], *, may_lose: float) -> Outcome | None:
    """The cheapest that is expected to lose ``may_lose`` (0..1) of quality at most and costs less
    than today's; of equally cheap ones the best. None: today's is that."""
    fitting = [
        outcome
        for outcome in others
        if outcome.cost_nusd < today.cost_nusd and outcome.quality >= today.quality - may_lose
    ]
    return min(fitting, key=lambda o: (o.cost_nusd, -o.quality), default=None)
