"""Which model answers: filters, rules, role, then score; every step leaves its reason.

Pure and deterministic: the same query over the same fleet gives the same decision. Ties go to
the cheaper model, then to the alphabetically first id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from omni_cli.domain.consent import DEFAULT_CONSENT, Consent
from omni_cli.domain.latency import TYPICAL_LATENCY_MS, cost_norm, latency_norm, weighed_ms
from omni_cli.domain.models import ModelInfo, Role, Rule
from omni_cli.domain.money import format_usd
from omni_cli.domain.prices import PriceState, Rates
from omni_cli.domain.record import replace
from omni_cli.domain.tasks import DEFAULT_WEIGHTS, LatencyPref, Priority, TaskEstimate, Weights
from omni_cli.domain.tokens import LEAST_OUTPUT
from omni_cli.domain.words import apart

if TYPE_CHECKING:
    from omni_cli.domain.budgets import BudgetStatus
    from omni_cli.domain.rules import Node

#: An adequate model's quality is at least this share of the best eligible model's, both taken
#: with caution: how likely it must be to be that good is SURENESS.
ADEQUATE_SHARE: Mapping[Priority, float] = {"cheap": 0.80, "balanced": 0.88, "best": 0.97}
#: Added to the share for hard work, taken from it for easy work.
COMPLEXITY_SHIFT: Mapping[str, float] = {"low": -0.05, "medium": 0.0, "high": 0.05}
#: Standard deviations below the mean at which quality is judged: with them, a model is 50, 60 or
#: 70 % likely to be at least that good. A model that little is known of must seem better.
SURENESS: Mapping[Priority, float] = {"cheap": 0.0, "balanced": 0.2533, "best": 0.5244}
#: A conversation leaves its model only for one that is expected to cost less than this share.
LEAVE_SHARE = 0.8
#: Quality of a model nobody has measured: it may be good, nothing says so.
NO_EVIDENCE = 0.5
#: Models not known to have what the request wants come after those that are; models that write
#: labels in place of text, where the user listed them, after all.
_UNSURE, _LABELS = 10.0, 20.0


#: ``latency_basis`` of a model that nothing is known of.
NOT_MEASURED = "not measured"


class Contender(Struct, frozen=True):
    """A model as the router sees it.

    ``blocked`` says why it cannot be called at all (disabled, no key), or is "". ``down``: why it
    is not to be called just now though it is meant to (breaker open), or "". ``budgets``: those of
    its own or of its provider, as they stand.
    ``quality``: chance 0..1 that it answers this kind of prompt well; None: no evidence.
    ``quality_basis`` says what that rests on. ``output_tokens``: expected length of its answer.
    ``latency_ms``: expected, None where nothing is known; ``latency_basis`` says whether it was
    measured. ``spread``: standard deviation of ``quality``. ``evidence``: the quality rests on
    published results or on outcomes, not on the model's size alone.
    """

    model: ModelInfo
    price_state: PriceState = "unknown"
    rates: Rates | None = None
    blocked: str = ""
    quality: float | None = None
    quality_basis: str = ""
    output_tokens: int = 500
    latency_ms: float | None = None
    spread: float = 0.0
    latency_basis: str = NOT_MEASURED
    evidence: bool = True
    down: str = ""
    budgets: tuple[BudgetStatus, ...] = ()


class Query(Struct, frozen=True):
    """What is asked of the router. Token counts are estimates; money is nano-dollars.

    ``needs`` are badges the model should carry. ``listed``: models that the user named, or put
    into the role, the chain or a rule: only so are those asked that write labels in place of
    text. ``conversation_model`` answered the turns before;
    with it, ``cached_tokens`` of the input are likely in its prompt cache. ``facts`` are the
    variables of the rule language. ``order``: models that come before all others, one after the
    other, in place of rules and role; ``order_name`` says whose they are ("chain steady").
    ``consent``: what whoever stands in for the first choice may cost.
    """

    task: TaskEstimate
    input_tokens: int
    max_output_tokens: int | None = None
    priority: Priority = "balanced"
    latency_pref: LatencyPref = "normal"
    max_cost_nusd: int | None = None
    min_quality: float | None = None
    needs: frozenset[str] = frozenset()
    image_input: bool = False
    role: Role | None = None
    conversation_model: str | None = None
    cached_tokens: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    weights: Weights = DEFAULT_WEIGHTS
    allow_unknown_price: bool = True
    listed: frozenset[str] = frozenset()
    order: tuple[str, ...] = ()
    order_name: str = ""
    consent: Consent = DEFAULT_CONSENT

    @property
    def wanted(self) -> frozenset[str]:
        """Badges that the request asks for."""
        return self.needs | {"vision"} if self.image_input else self.needs


class Candidate(Struct, frozen=True):
    """One model's fate in a decision. ``score`` None: not scored.

    ``kept_out`` says by what it is out that may pass: "breaker", "budget" or "consent", else "".
    ``dropped`` says why a model is not eligible. Reasons of eligible ones are put into words
    only when somebody reads them (``Decision.reason_of``): words cost more than the choice.
    ``unsure``: what it is not known to have of what the request wants; such a model is asked
    after those that are known to have it.
    """

    model: str
    eligible: bool
    dropped: str = ""
    adequate: bool = False
    quality: float | None = None
    quality_basis: str = ""
    expected_cost_nusd: int | None = None
    expected_latency_ms: float | None = None
    score: float | None = None
    spread: float = 0.0
    latency_basis: str = NOT_MEASURED
    evidence: bool = True
    unsure: str = ""
    kept_out: str = ""


class Decision(Struct, frozen=True):
    """``model`` None: nobody is eligible. ``candidates``: best first, dropped ones last.

    ``by`` tells which step decided: "rule", "role", "chain", "named", "score", "cheapest",
    "fastest", "quality";
    ``manner`` which of the last four ranked the rest. ``bar``: the least adequate quality.
    ``consent``: what whoever stands in may cost, and who the first choice was.
    """

    model: str | None
    reason: str
    by: str
    task: TaskEstimate
    candidates: tuple[Candidate, ...]
    rule: int | None = None
    manner: str = "score"
    bar: float = 0.0
    consent: Consent = DEFAULT_CONSENT

    def reason_of(self, candidate: Candidate) -> str:
        """In words, why a candidate stands where it stands."""
        if candidate.dropped:
            return candidate.dropped
        if candidate.unsure and any(c.eligible and not c.unsure for c in self.candidates):
            return f"not known to have {candidate.unsure}; others are"
        return _reason(self.manner, self.bar, candidate)

    def ranked(self) -> list[str]:
        """Eligible models, the chosen one first."""
        rest = [c.model for c in self.candidates if c.eligible and c.model != self.model]
        return rest if self.model is None else [self.model, *rest]


class CompiledRule(Struct, frozen=True):
    rule: Rule
    tree: Node


_Entry = tuple[Contender, "int | None"]


def decide(
    query: Query, contenders: Sequence[Contender], rules: Iterable[CompiledRule] = ()
) -> Decision:
    """Choose among ``contenders``. Raises nothing: no eligible model gives ``model=None``.

    Whoever is down, or has no budget left, is passed over; who then stands in must be within
    ``query.consent``, measured against the one who would have been chosen.
    """
    present: list[_Entry] = []
    absent: list[_Entry] = []
    dropped: list[Candidate] = []
    for contender in contenders:
        cost = _expected_cost(query, contender)
        why, kept_out = _barrier(query, contender, cost), ""
        if not why and (contender.down or contender.budgets):
            why, kept_out = _absence(query, contender, cost)
            if why:
                absent.append((contender, cost))
        if why:
            dropped.append(_dropped(contender, cost, why, kept_out))
        else:
            present.append((contender, cost))
    eligible = present
    rules, consent = tuple(rules), query.consent
    if query.role is not None and not query.order:
        consent = replace(consent, listed=tuple(item.model for item in query.role.models))
    meant: Candidate | None = None
    if absent:
        first = _pick(query, [*present, *absent], rules).ranked[0]
        if any(first.model == contender.model.id for contender, _ in absent):
            meant = first
            consent = replace(consent, first=first.model, first_nusd=first.expected_cost_nusd)
            eligible, refused = _consented(consent, present)
            dropped += refused
    dropped.sort(key=lambda c: c.model)
    if not eligible:
        reason = "no model is eligible" if contenders else "the fleet has no active model"
        return Decision(None, reason, "filters", query.task, tuple(dropped), consent=consent)
    pick = _pick(query, eligible, rules, "" if meant is None else meant.model)
    first = pick.ranked[0]
    if meant is None:
        consent = replace(consent, first=first.model, first_nusd=first.expected_cost_nusd)
    reason = pick.reason
    if meant is not None:
        why = next(c.dropped for c in dropped if c.model == meant.model)
        reason += f"; in place of {meant.model} ({why})"
    return Decision(
        first.model,
        reason,
        pick.by,
        query.task,
        (*pick.ranked, *dropped),
        pick.rule,
        pick.manner,
        pick.bar,
        consent,
    )


def _consented(consent: Consent, entries: Sequence[_Entry]) -> tuple[list[_Entry], list[Candidate]]:
    """Those who may stand in for the first choice, and those who may not."""
    may: list[_Entry] = []
    refused: list[Candidate] = []
    for contender, cost in entries:
        refusal = consent.refusal(contender.model.id, cost)
        if refusal is None:
            may.append((contender, cost))
        else:
            refused.append(_dropped(contender, cost, refusal.why, "consent"))
    return may, refused


class _Pick(Struct, frozen=True):
    """Candidates in the order in which they are asked, and why the first one is the first."""

    ranked: list[Candidate]
    reason: str
    by: str
    manner: str
    bar: float
    rule: int | None = None


def _pick(
    query: Query, eligible: list[_Entry], rules: Sequence[CompiledRule], meant: str = ""
) -> _Pick:
    """Who is asked, one after the other: the models of a chain or role in their order and then
    whoever is cheapest; otherwise by rank.

    Args:
        eligible: at least one.
        meant: who would come first, and is down.
    """
    ranked, by, bar = _rank(query, eligible)
    names = {candidate.model for candidate in ranked}
    unsure = {candidate.model for candidate in ranked if candidate.unsure}
    notes: list[str] = []
    if len(unsure) == len(ranked):
        notes.append("no model is known to have all that is needed, this one not to lack it")
    role = None if query.order else query.role
    listed = query.order
    if role is not None:
        models = [item.model for item in role.models]
        listed = tuple(sorted(models, key=lambda model: model in unsure))
    called = [model for model in listed if model in names]
    if called or query.order_name or meant in listed:
        ranked = _listed_first(ranked, listed, by_cost=role is not None or bool(query.order_name))

    def pick(reason: str, step: str, rule: int | None = None) -> _Pick:
        return _Pick(ranked, "; ".join([reason, *notes]), step, by, bar, rule)

    if rules and not query.order:  # few have any, and the language costs 5 ms to load
        from omni_cli.domain.rules import evaluate

        for compiled in rules:
            wanted = compiled.rule.model
            if not evaluate(compiled.tree, query.facts):
                continue
            if wanted in names:
                ranked.sort(key=lambda c: c.model != wanted)  # stable: only it moves up
                reason = f"rule {compiled.rule.id} holds: {compiled.rule.condition}"
                return pick(reason, "rule", compiled.rule.id)
            notes.append(f"rule {compiled.rule.id} prefers {wanted}, not eligible")
    whose = query.order_name if role is None else f"role {role.name}"
    for model in listed:
        if model not in names:
            notes.append(f"{whose or 'the caller'} prefers {model}, not eligible")
        elif role is not None:
            place = next(item.priority for item in role.models if item.model == model)
            return pick(f"{whose}, priority {place}", "role")
        elif whose:
            return pick(f"{whose}, first callable link", "chain")
        else:
            return pick(f"named; {_reason(by, bar, ranked[0])}", "named")
    if called or query.order_name or meant in listed:
        return pick(_reason("cheapest", bar, ranked[0]), "cheapest")
    first = _stay(query, ranked, by) or ranked[0]
    if first is not ranked[0]:
        notes.append(f"the conversation stays; {ranked[0].model} would not pay for a cold cache")
        ranked.sort(key=lambda c: c.model != first.model)
    elif query.cached_tokens and first.model == query.conversation_model:
        notes.append(
            f"the conversation stays: some {query.cached_tokens:,} tokens of it are cached there"
        )
    return pick(_reason(by, bar, first), by)


def _listed_first(
    ranked: list[Candidate], listed: Sequence[str], *, by_cost: bool
) -> list[Candidate]:
    """Models that somebody listed, in that order; the others after them as they are ranked or,
    ``by_cost``, cheapest first: those that are known to have what is needed before the rest, and
    in each those that are good enough: a hopeless model is no stand-in for being free."""
    place = {model: number for number, model in enumerate(listed)}
    last = len(place)

    def key(candidate: Candidate) -> tuple[int, bool, bool, bool, int]:
        at, cost = place.get(candidate.model, last), candidate.expected_cost_nusd
        if at < last or not by_cost:
            return at, False, False, False, 0
        return at, bool(candidate.unsure), not candidate.adequate, cost is None, cost or 0

    return sorted(ranked, key=key)


def _absence(query: Query, contender: Contender, cost: int | None) -> tuple[str, str]:
    """Why a model that could take this is passed over just now, and by what it is kept out."""
    if contender.down:
        return contender.down, "breaker"
    for status in contender.budgets if cost != 0 else ():
        label = status.budget.label
        if cost is None:
            if not status.budget.allow_unknown:
                return f"price unknown, so the {label} cannot hold it", "budget"
            continue
        if status.left_nusd <= 0:
            return f"the {label} is spent", "budget"
        least = _expected_cost(query, replace(contender, output_tokens=LEAST_OUTPUT))
        if least is not None and least > status.left_nusd:
            left, least_usd = format_usd(status.left_nusd), format_usd(least)
            return f"the {label} has {left} left, and this takes {least_usd} at least", "budget"
    return "", ""


def _stay(query: Query, ranked: list[Candidate], by: str) -> Candidate | None:
    """The model that a conversation stays with, where leaving it does not pay.

    Its prompt cache is in its expected cost, and lost to any other model.
    """
    if query.conversation_model is None or by in ("fastest", "quality"):
        return None
    for candidate in ranked:
        if candidate.unsure and not ranked[0].unsure:
            continue
        if candidate.model == query.conversation_model and candidate.adequate:
            stay, leave = candidate.expected_cost_nusd, ranked[0].expected_cost_nusd
            if stay is not None and leave is not None and leave < stay * LEAVE_SHARE:
                return None
            return candidate
    return None


def _expected_cost(query: Query, contender: Contender) -> int | None:
    if contender.price_state == "free":
        return 0
    if contender.rates is None:
        return None
    cached = query.cached_tokens if contender.model.id == query.conversation_model else 0
    output = contender.output_tokens
    if query.max_output_tokens is not None:
        output = min(output, query.max_output_tokens)
    return contender.rates.cost_nusd(query.input_tokens, min(cached, query.input_tokens), output)


def _barrier(query: Query, contender: Contender, cost: int | None) -> str:
    """Why the model cannot take this request, or ""."""
    if contender.blocked:
        return contender.blocked
    model = contender.model
    if (query.needs or query.image_input) and (missing := _missing(query, model)):
        return missing
    if model.type == "vision" and not query.image_input:
        return "answers images only"
    if "text" not in model.output_types and not (
        "labels" in model.output_types and model.id in query.listed
    ):
        return f"writes {' and '.join(model.output_types) or 'nothing'}, not text"
    if model.context_window is not None:
        room = model.context_window - query.input_tokens
        answer = min(query.max_output_tokens or 1, model.max_output or model.context_window)
        if room < answer:
            counted = f"about {query.input_tokens:,}" + f" and {answer:,} to answer" * (answer > 1)
            return f"context of {model.context_window:,} tokens is too small for {counted}"
    if query.max_cost_nusd is not None:
        if cost is None:
            return "price unknown, so the maximum cost cannot be promised"
        if cost > query.max_cost_nusd:
            most = format_usd(query.max_cost_nusd)
            return f"expected {format_usd(cost)} is above the maximum {most}"
    elif cost is None and not query.allow_unknown_price:
        return "price unknown (prices.allow_unknown is off)"
    if query.min_quality is not None:
        quality = NO_EVIDENCE if contender.quality is None else contender.quality
        if quality < query.min_quality:
            own, least = apart(quality, query.min_quality)
            known = "not measured" if contender.quality is None else own
            return f"quality {known} is below {least}"
    return ""


def _missing(query: Query, model: ModelInfo) -> str:
    """What a source says the model has not, of what the request wants, or ""."""
    lacking = sorted(badge for badge in query.wanted if model.has(badge) is False)
    if "vision" in lacking:
        return "takes no images"
    return f"has no {' and no '.join(lacking)}" if lacking else ""


def _not_known(wanted: frozenset[str], model: ModelInfo) -> str:
    return ", ".join(sorted(badge for badge in wanted if model.has(badge) is None))


def _dropped(contender: Contender, cost: int | None, why: str, kept_out: str = "") -> Candidate:
    return Candidate(
        contender.model.id,
        eligible=False,
        dropped=why,
        quality=contender.quality,
        quality_basis=contender.quality_basis,
        expected_cost_nusd=cost,
        expected_latency_ms=contender.latency_ms,
        spread=contender.spread,
        latency_basis=contender.latency_basis,
        evidence=contender.evidence,
        kept_out=kept_out,
    )


def _rank(
    query: Query, eligible: list[tuple[Contender, int | None]]
) -> tuple[list[Candidate], str, float]:
    """Candidates best first, adequate ones before the others; the word for how; the bar.

    Cost and latency stand on fixed scales, and only models with evidence set the bar: who else
    is there, measured or not, does not turn the order of two models around. A missing badge
    means unknown: models known to have it come first, those not known to lack it after them.
    """
    caution = SURENESS[query.priority]
    cautious = [
        (NO_EVIDENCE if c.quality is None else c.quality) - caution * c.spread for c, _ in eligible
    ]
    wanted = query.wanted
    unsure = [_not_known(wanted, c.model) if wanted else "" for c, _ in eligible]
    tiers = [
        _LABELS if "text" not in c.model.output_types else _UNSURE if missing else 0.0
        for (c, _), missing in zip(eligible, unsure, strict=True)
    ]
    front = min(tiers)
    shown = [c.evidence and c.quality is not None for c, _ in eligible]
    share = min(ADEQUATE_SHARE[query.priority] + COMPLEXITY_SHIFT[query.task.complexity], 1.0)
    leading = [i for i, tier in enumerate(tiers) if tier == front]
    proven = [cautious[i] for i in leading if shown[i]]
    bar = max(proven or [cautious[i] for i in leading]) * share
    # Hard work is for models that can show what they are good for, while there is one.
    must_show = bool(proven) and query.task.complexity == "high"
    weights = query.weights
    by = _manner(query)
    rows: list[tuple[tuple[float, ...], str, Candidate]] = []
    for (contender, cost), surely, known, tier, missing in zip(
        eligible, cautious, shown, tiers, unsure, strict=True
    ):
        quality = NO_EVIDENCE if contender.quality is None else contender.quality
        score = round(
            weights.cost * (1.0 - cost_norm(cost))
            + weights.latency
            * (1.0 - latency_norm(weighed_ms(contender.latency_ms, contender.latency_basis)))
            + weights.task_match * quality,
            6,
        )
        nothing_known = bool(proven) and contender.quality is None
        adequate = surely >= bar and not nothing_known and (known or not must_show)
        adequate = adequate and (tier < _LABELS or tier == front)
        money = float("inf") if cost is None else float(cost)
        key: tuple[float, ...]
        if not adequate:
            # What does not clear the bar comes after what does, and its quality decides.
            key = (tier + (1.0 if known else 2.0), -round(surely, 6), money)
        elif by == "cheapest":
            key = (tier, money, -quality)
        elif by == "fastest":
            latency = contender.latency_ms
            key = (tier, TYPICAL_LATENCY_MS if latency is None else latency, money)
        elif by == "quality":
            key = (tier, -round(quality, 6), money)
        else:
            key = (tier, -score, money)
        model_id = contender.model.id
        candidate = Candidate(
            model_id,
            True,
            "",
            adequate,
            contender.quality,
            contender.quality_basis,
            cost,
            contender.latency_ms,
            score,
            contender.spread,
            contender.latency_basis,
            contender.evidence,
            missing,
        )
        rows.append((key, model_id, candidate))
    rows.sort()  # ids differ, so candidates are never compared
    return [row[-1] for row in rows], by, bar


def _manner(query: Query) -> str:
    if query.latency_pref == "fast":
        return "fastest"
    if query.priority == "cheap":
        return "cheapest"
    return "quality" if query.priority == "best" else "score"


def _reason(by: str, bar: float, candidate: Candidate) -> str:
    quality = _percent(candidate.quality)
    cost = candidate.expected_cost_nusd
    price = "price unknown" if cost is None else f"{format_usd(cost)} expected"
    if not candidate.adequate:
        off = f" ± {candidate.spread:.0%}" if candidate.spread else ""
        if candidate.quality is None:
            return f"quality {quality} does not clear the bar of {bar:.0%} for this task"
        if candidate.quality >= bar:  # its mean does, with caution it does not
            return f"quality {quality}{off} is too uncertain to clear the bar of {bar:.0%}"
        own, least = apart(candidate.quality, bar)
        return f"quality {own}{off} does not clear the bar of {least} for this task"
    if by == "cheapest":
        return f"{price}, quality {quality} is adequate"
    if by == "fastest":
        latency = candidate.expected_latency_ms
        speed = "speed not measured" if latency is None else f"{latency / 1000:.1f} s expected"
        return f"{speed}, quality {quality} is adequate"
    if by == "quality":
        return f"quality {quality}, {price}"
    return f"score {candidate.score:.3f}: {price}, quality {quality}"


def _percent(quality: float | None) -> str:
    return "not measured" if quality is None else f"{quality:.0%}"
