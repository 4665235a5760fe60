"""Findings about how requests are sent, whichever model answers: caches and batches."""

from msgspec import Struct

from omni_cli.domain.analytics import Totals, per_day
from omni_cli.domain.batches import BATCH_PRICES, HALF
from omni_cli.domain.money import format_usd
from omni_cli.domain.recommend import (
    DAYS_PER_MONTH,
    LEAST_CALLS,
    LEAST_MONTHLY_NUSD,
    Action,
    Finding,
    Work,
    sure_above,
)
from omni_cli.domain.words import counted

#: Kinds of task that people seldom wait for.
BULK_TASKS = frozenset({"extraction", "summarization", "translation"})
#: From so many calls a day on, collecting them is worth the trouble.
_BULK_CALLS_PER_DAY = 48
#: From this share of repeated questions on, remembering answers is worth it.
_REPEATED = 0.1


class Repeats(Struct, frozen=True):
    """Stored first questions of a role at a model: how many, how many of them were asked before
    word for word, and what these repetitions cost, nano-dollars. ``today``, ``today_nusd``:
    today's part of ``asked`` and of ``cost_nusd``."""

    role: str
    model: str
    asked: int
    repeated: int
    cost_nusd: int
    today: int = 0
    today_nusd: int = 0


def prompt_caching(
    scope: str,
    model: str,
    totals: Totals,
    today: Totals,
    days: int,
    uncached_usd_1m: float,
    cached_usd_1m: float,
) -> Finding | None:
    """Long inputs that are hardly ever cached, at a model whose cache costs less.

    What could be cached is not known without the prompts: half of the input is assumed, and the
    reasoning says so.
    """
    if totals.calls < LEAST_CALLS or not totals.input_tokens or uncached_usd_1m <= cached_usd_1m:
        return None
    mean_input = totals.input_tokens / totals.calls
    cached_share = totals.cached_tokens / totals.input_tokens
    if mean_input < 2_000 or cached_share > 0.1:
        return None
    spare_tokens = (totals.input_tokens - totals.cached_tokens) // 2
    saved = round(spare_tokens * (uncached_usd_1m - cached_usd_1m) * 1_000)
    daily = int(per_day(totals.cost_nusd, today.cost_nusd, days))
    after = daily * max(totals.cost_nusd - saved, 0) // max(totals.cost_nusd, 1)
    if (daily - after) * DAYS_PER_MONTH < LEAST_MONTHLY_NUSD:
        return None
    return Finding(
        key=f"caching:{scope}:{model}",
        type="prompt_caching",
        title=f"Cache the prompts of {scope} at {model}",
        reasoning=(
            f"{totals.calls:,} calls carry {mean_input:,.0f} input tokens each; "
            f"{cached_share:.0%} of them come from the cache, at ${cached_usd_1m:g} instead of "
            f"${uncached_usd_1m:g} per 1M. If half of the input is the same from call to call (an "
            "assumption: prompts are not stored), this is what it saves."
        ),
        action=Action("none", command="put what never changes first in the prompt"),
        effort="reorder the prompt",
        sample=totals.calls,
        days=days,
        current=model,
        recommended=model,
        calls_per_day=float(per_day(totals.calls, today.calls, days)),
        daily_nusd=daily,
        recommended_daily_nusd=after,
    )


def response_caching(repeats: Repeats, days: int) -> Finding | None:
    """Questions that come again word for word; those that may be compared are stored ones."""
    if repeats.asked < LEAST_CALLS or not repeats.repeated:
        return None
    share = repeats.repeated / repeats.asked
    daily = int(per_day(repeats.cost_nusd, repeats.today_nusd, days))
    if share < _REPEATED or daily * DAYS_PER_MONTH < LEAST_MONTHLY_NUSD:
        return None
    return Finding(
        key=f"answers:{repeats.role}:{repeats.model}",
        type="response_caching",
        title=f"Remember the answers of role {repeats.role}",
        reasoning=(
            f"{repeats.repeated:,} of {repeats.asked:,} stored questions ({share:.0%}) had been "
            f"asked before, word for word; asking again cost {format_usd(repeats.cost_nusd)} in "
            f"{counted(days, 'day')}. A remembered answer costs nothing, and is as old as you "
            "allow."
        ),
        action=Action("none", command=f"omni roles cache {repeats.role} --ttl 1h"),
        effort="one command",
        sample=repeats.asked,
        days=days,
        confidence=sure_above(_REPEATED, repeats.repeated, repeats.asked),
        current=repeats.model,
        recommended=repeats.model,
        calls_per_day=float(per_day(repeats.asked, repeats.today, days)),
        daily_nusd=daily,
        recommended_daily_nusd=0,
        scope={"role": repeats.role},
    )


def batching(work: Work) -> Finding | None:
    """Much work of a kind that nobody waits for, at a provider with a batch interface."""
    provider = work.model.partition("/")[0]
    price, totals = BATCH_PRICES.get(provider), work.totals
    # Where it takes another share, not all models can be asked so.
    if (
        price is None
        or price.share != HALF
        or totals.calls < LEAST_CALLS
        or totals.unknown_attempts
    ):
        return None
    if work.calls_per_day < _BULK_CALLS_PER_DAY or work.bulk_share < 0.8:
        return None
    daily = work.daily_nusd
    after = daily // 2
    if (daily - after) * DAYS_PER_MONTH < LEAST_MONTHLY_NUSD:
        return None
    return Finding(
        key=f"batch:{work.scope}:{work.name}:{work.model}",
        type="batching",
        title=f"Send {work.scope} {work.name} to {provider} in batches",
        reasoning=(
            f"{work.calls_per_day:,.0f} calls a day, {work.bulk_share:.0%} of them extraction, "
            f"summarization or translation. {provider}'s batch interface costs half "
            f"({price.source}) and answers within 24 hours. Whether somebody waits for these "
            "answers is not known."
        ),
        action=Action("none", command="collect them and send them to the provider's batch API"),
        effort="a change in the program that sends them",
        sample=totals.calls,
        days=work.days,
        current=work.model,
        recommended=work.model,
        calls_per_day=work.calls_per_day,
        daily_nusd=daily,
        recommended_daily_nusd=after,
        scope={work.scope: work.name},
    )
