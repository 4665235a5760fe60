"""From what a machine has (keys, local servers) to a fleet worth starting with.

Nothing here goes by a model's name: the choice rests on the catalogue's prices and on the
shipped estimates of quality, and it says so.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct, field

from omni_cli.domain.document import document
from omni_cli.domain.hosts import RUNNERS, is_here, is_near
from omni_cli.domain.models import Chain, ChainLink, ModelInfo, Provider, outputs_of
from omni_cli.domain.prices import Price, Rate
from omni_cli.domain.pricing import blended
from omni_cli.domain.quality import Prior, plainness
from omni_cli.domain.record import replace
from omni_cli.domain.routing import ADEQUATE_SHARE, COMPLEXITY_SHIFT
from omni_cli.ports import RemoteModel
from omni_cli.repositories import Assignments, Models, Providers
from omni_cli.services.fleet.fleet import FleetService
from omni_cli.services.money.prices import PriceBook
from omni_cli.wire.registry import facts

Tier = Literal["best", "balanced", "cheap", "local"]
#: A cheaper model stands in for the best while its estimated quality (0..1) is this much lower.
BALANCED_SLACK, CHEAP_SLACK = 0.02, 0.10
#: Priors of this strength rest on published results of the model itself, weaker ones on kin.
_EVIDENCE = 10.0
#: A stand-in, and a model for the easiest role, is at least this share as good as the best for
#: it: the router's bar for easy work where money counts most.
_LEAST_SHARE = ADEQUATE_SHARE["cheap"] + COMPLEXITY_SHIFT["low"]
_MOST_LOCAL = 8
_CHAIN_LINKS = 3
DEFAULT_CHAIN = "default"
LOCAL_SOURCE = "runs on your own machine"
#: Vendors whose models nobody else can run: a server that lists one passes it on.
_CLOSED = ("openai", "anthropic", "google", "xai")

PriorOf = Callable[[str, str], Prior | None]


class RoleWish(Struct, frozen=True):
    """The cheapest model within ``slack`` of the best at ``task`` gets the role."""

    name: str
    description: str
    task: str
    slack: float
    needs: frozenset[str] = frozenset()


#: Roles of the fleet spec and of the provider spec's feature assignments.
ROLES: tuple[RoleWish, ...] = (
    RoleWish("primary_coder", "writes and mends code", "coding", 0.02),
    RoleWish("general_assistant", "everyday questions", "chat", 0.03),
    RoleWish("strategy", "hard problems, planning", "reasoning", 0.0),
    RoleWish("heartbeat", "frequent status checks", "chat", 1.0),
    RoleWish("photo_analysis", "looks at images", "image", 0.05, frozenset({"vision"})),
)


class Found(Struct, frozen=True):
    """A provider that could be used. ``how``: the variable or place of its key, or that a local
    server answered; ``served``: what a local server lists; ``address``: the variable that says
    where it is."""

    provider: Provider
    how: str
    served: tuple[RemoteModel, ...] = ()
    address: str | None = None


class Pick(Struct, frozen=True):
    """A model to activate. ``average_usd`` per 1M tokens, half input and half output.
    ``local``: it runs here, free of charge; ``listed``: it has the price of its server's list."""

    model: ModelInfo
    tier: Tier
    quality: float | None
    average_usd: Decimal | None
    local: bool = False
    listed: RemoteModel | None = None


class Proposal(Struct, frozen=True):
    providers: tuple[Provider, ...] = ()
    picks: tuple[Pick, ...] = ()
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    chain: Chain | None = None
    premium: str | None = None
    #: Whether any model would be at work.
    at_work: bool = False
    #: Served by a server on this machine, at a price that nobody tells: not activated.
    unpriced: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        """Nothing to change; a premium model alone is a setting, not the fleet."""
        return not (self.providers or self.picks or self.roles or self.chain)


class Fleet(Struct, frozen=True):
    """What is there already: it stays as it is."""

    providers: frozenset[str]
    active: tuple[ModelInfo, ...]
    roles: frozenset[str]
    chains: frozenset[str]


def propose(
    found: Sequence[Found],
    known: Iterable[ModelInfo],
    *,
    retired: frozenset[str],
    price: Callable[[str], Price | None],
    prior: PriorOf,
    tasks: Sequence[str],
    here: Callable[[Provider, RemoteModel], bool],
    there: Fleet,
) -> Proposal:
    """
    Args:
        known: the catalogue's models.
        retired: ids of models that their provider has shut down or means to.
        price: the price in force of a model id.
        prior: (task type, model id) to the estimated quality.
        tasks: the task types.
        here: whether a listed model runs on this machine (``runs_here``).
        there: the fleet so far; a second run proposes only what is missing.
    """
    chooser = Chooser(price, prior, tasks, here)
    by_provider: dict[str, list[ModelInfo]] = {}
    for model in known:
        if model.id not in retired and model.chats:
            by_provider.setdefault(model.provider, []).append(model)
    active = {model.provider for model in there.active}
    picks: list[Pick] = []
    unpriced: list[str] = []
    for item in found:
        slug = item.provider.slug
        if slug in active:
            continue  # the user has chosen
        picks += chooser.local(item) if item.served else chooser.tiers(by_provider.get(slug, []))
        unpriced += [
            f"{slug}/{remote.wire_name}"
            for remote in item.served
            if not (here(item.provider, remote) or _has_price(remote))
        ]
    staying = [model for model in there.active if model.id not in retired]
    every = [*picks, *(chooser.pick(model, "balanced") for model in staying)]
    chain = None if there.chains else chooser.chain(every)
    return Proposal(
        providers=tuple(f.provider for f in found if f.provider.slug not in there.providers),
        picks=tuple(picks),
        roles={
            wish.name: models
            for wish in ROLES
            if wish.name not in there.roles and (models := chooser.role(wish, every))
        },
        chain=chain,
        premium=chooser.premium(every),
        unpriced=tuple(unpriced),
        at_work=bool(every),
    )


def proposal_for(
    found: Sequence[Found],
    *,
    providers: Providers,
    models: Models,
    assignments: Assignments,
    deprecated: Iterable[ModelInfo],
    prior_with: Callable[[Mapping[str, float]], PriorOf],
    tasks: Sequence[str],
    now_ms: int,
) -> Proposal:
    """What ``omni init`` would set up beside what is there.

    Args:
        deprecated: the catalogue's models that their provider has shut down or means to.
        prior_with: the estimates, given the sizes of models that are not in the store yet, in
            billions of parameters, by id.
        tasks: the task types.
    """
    there = providers.all()
    slugs = [provider.slug for provider in there]
    simulated = {provider.slug for provider in there if provider.simulated}
    known = models.all()
    prices = PriceBook(models, now_ms=now_ms)
    prices.load(model.id for model in known)
    sizes = {
        f"{item.provider.slug}/{remote.wire_name}": remote.parameters_b
        for item in found
        for remote in item.served
        if remote.parameters_b is not None
    }
    return propose(
        found,
        known,
        retired=frozenset(model.id for model in deprecated if model.provider not in simulated),
        price=prices.of,
        prior=prior_with(sizes),
        tasks=tasks,
        here=lambda provider, remote: runs_here(provider, remote, models),
        there=Fleet(
            providers=frozenset(slugs),
            active=tuple(m for m in models.of_providers(slugs) if m.status == "active"),
            roles=frozenset(role.name for role in assignments.roles()),
            chains=frozenset(chain.name for chain in assignments.chains()),
        ),
    )


class Chooser(Struct, frozen=True):
    price: Callable[[str], Price | None]
    prior: PriorOf
    tasks: Sequence[str]
    here: Callable[[Provider, RemoteModel], bool]

    def pick(self, model: ModelInfo, tier: Tier) -> Pick:
        price = self.price(model.id)
        average = None if price is None else blended(price)
        return Pick(model, tier, self.quality(model.id), average)

    def quality(self, model_id: str) -> float | None:
        """Mean over the task types with an estimate."""
        means = [p.mean for task in self.tasks if (p := self.prior(task, model_id))]
        return sum(means) / len(means) if means else None

    def at(self, task: str, model_id: str) -> float | None:
        """Estimated quality at one task, 0..1."""
        found = self.prior(task, model_id)
        return None if found is None else found.mean

    def local(self, item: Found) -> list[Pick]:
        """All that a server on this machine serves for chat: it is there because it is used.
        What does not run here and has no price in the list is not activated."""
        picks = []
        for remote in item.served:
            model = _from_listing(item.provider.slug, remote)
            here = self.here(item.provider, remote)
            if "text" not in model.output_types or not (here or _has_price(remote)):
                continue
            average = Decimal(0) if here else blended(listed_price(item.provider, remote))
            quality = self.quality(model.id)
            listed = None if here else remote
            picks.append(Pick(model, "local", quality, average, local=here, listed=listed))
        return picks[:_MOST_LOCAL]

    def tiers(self, models: Sequence[ModelInfo]) -> list[Pick]:
        """One best, one balanced, one cheap; fewer where one model is all of it."""
        rows = [pick for model in models if (pick := self.pick(model, "best")).average_usd]
        for wanted in (_documented, self._evident, _rated):
            rows = [row for row in rows if wanted(row)] or rows
        if not rows:
            return [self.pick(model, "balanced") for model in models[:1]]
        best = min(
            rows,
            key=lambda r: (
                -round(r.quality or 0, 2),
                _passing(r),
                r.average_usd,
                plainness(r.model.wire_name),
            ),
        )
        picks = {best.model.id: best}
        lesser: tuple[tuple[Tier, float], ...] = (
            ("balanced", BALANCED_SLACK),
            ("cheap", CHEAP_SLACK),
        )
        for tier, slack in lesser:
            near = _within(rows, best.quality, slack)
            choice = min(
                near,
                key=lambda r: (
                    _passing(r),
                    r.average_usd,
                    -(r.quality or 0),
                    plainness(r.model.wire_name),
                ),
            )
            picks.setdefault(choice.model.id, replace(choice, tier=tier))
        return list(picks.values())

    def _evident(self, row: Pick) -> bool:
        return any(
            (found := self.prior(task, row.model.id)) and found.strength >= _EVIDENCE
            for task in self.tasks
        )

    def role(self, wish: RoleWish, picks: Sequence[Pick]) -> tuple[str, ...]:
        """The model for a role, and a second from another provider where one is good enough."""
        able = [
            replace(p, quality=None if found is None else found.mean)
            for p in picks
            if wish.needs <= p.model.badges
            for found in (self.prior(wish.task, p.model.id),)
        ]
        if not able:
            return ()
        fit = _good_enough(able)
        first = min(_within(fit, _top(fit), wish.slack), key=_cheapest)
        kin = [p for p in fit if p.model.provider == first.model.provider]
        others = [p for p in fit if p not in kin] or [p for p in kin if p != first]
        if not others and len({p.model.provider for p in able}) == 1:
            others = [p for p in able if p != first]  # nobody else could stand in at all
        second = min(_within(others, _top(others), wish.slack), key=_cheapest, default=None)
        return (first.model.id,) if second is None else (first.model.id, second.model.id)

    def chain(self, picks: Sequence[Pick]) -> Chain | None:
        """The good and cheap model of each provider, best first; within one where it is alone."""
        rank = {"balanced": 0, "best": 1, "local": 1, "cheap": 2}
        if len({p.model.provider for p in picks}) > 1:
            picks = _good_enough(picks)
        ordered = sorted(picks, key=lambda p: (rank[p.tier], -(p.quality or 0), p.model.id))
        firsts = {p.model.provider: p for p in reversed(ordered)}
        links = sorted(firsts.values(), key=lambda p: -(p.quality or 0))
        if len(links) == 1:
            links = ordered
        if len(links) < 2:
            return None
        return Chain(DEFAULT_CHAIN, tuple(ChainLink(p.model.id) for p in links[:_CHAIN_LINKS]))

    def premium(self, picks: Sequence[Pick]) -> str | None:
        """The best that costs something: what one would use if money were no matter. Of equals the
        cheaper, so that no saving comes from the choice of what it is counted against."""
        paid = [p for p in picks if p.average_usd]
        rated = [p for p in paid if p.quality is not None] or paid
        best = min(
            rated,
            key=lambda p: (
                -round(p.quality or 0.0, 2),
                p.average_usd or 0,
                plainness(p.model.wire_name),
            ),
            default=None,
        )
        return None if best is None else best.model.id


def _top(picks: Sequence[Pick]) -> float | None:
    return max((p.quality for p in picks if p.quality is not None), default=None)


def _good_enough(picks: Sequence[Pick]) -> list[Pick]:
    """Those not hopeless beside the best; all where no quality is known."""
    top = _top(picks)
    if top is None:
        return list(picks)
    return [p for p in picks if p.quality is not None and p.quality >= top * _LEAST_SHARE]


def _within(picks: Sequence[Pick], top: float | None, slack: float) -> list[Pick]:
    """Those at most ``slack`` below ``top``; all where no quality is known."""
    near = [p for p in picks if p.quality is not None and top is not None]
    near = [p for p in near if (p.quality or 0) >= (top or 0) - slack]
    return near or list(picks)


def _cheapest(pick: Pick) -> tuple[Any, ...]:
    """Unknown prices last, then quality, then name, so that the choice is always the same."""
    unknown = pick.average_usd is None
    return unknown, pick.average_usd or 0, -(pick.quality or 0), pick.model.id


def _documented(pick: Pick) -> bool:
    """The catalogue knows its abilities, so it is known to speak the usual protocol."""
    return {"streaming", "function-calling"} <= pick.model.badges


def _rated(pick: Pick) -> bool:
    return pick.quality is not None


def _passing(pick: Pick) -> bool:
    """A preview changes or goes without notice: nothing to start with, where others are as good."""
    return "preview" in pick.model.wire_name


# --- carrying it out ------------------------------------------------------------------------


def apply(fleet: FleetService, models: Models, proposal: Proposal) -> None:
    """The whole proposal as one revision."""
    with fleet.change("fleet.init", "fleet", None, None):
        for provider in proposal.providers:
            fleet.put_provider(provider)
        for pick in proposal.picks:
            if pick.local and models.get(pick.model.id) is None:
                fleet.put_model(pick.model, set_fields=("status",))
                fleet.set_price(pick.model.id, {}, free=True, source=LOCAL_SOURCE)
            elif pick.listed is not None and models.get(pick.model.id) is None:
                provider = fleet.provider(pick.model.provider)
                add_listed(fleet, models, provider, [pick.listed], status="active")
            else:
                fleet.set_status(pick.model.id, "active")
        for role, ids in proposal.roles.items():
            wish = next(wish for wish in ROLES if wish.name == role)
            for priority, model_id in enumerate(ids, 1):
                fleet.assign_role(role, model_id, priority, wish.description)
        if proposal.chain is not None:
            fleet.put_chain(proposal.chain)


def runs_here(provider: Provider, remote: RemoteModel, models: Models) -> bool:
    """Whether a listed model runs on the user's own machine or in a private network, so that
    nobody is paid for its answers.

    An address on this machine says nothing of that: a proxy listens here, too. The server must
    say that it runs weights, or be of a known kind whose list says nothing else.
    """
    if provider.simulated or remote.prices or not is_near(provider.base_url):
        return False
    if remote.own_weights:
        return True
    if not is_here(provider.base_url):
        return False
    if (
        provider.slug not in RUNNERS
        or facts(provider.protocol).tells_weights
        or remote.owner in _CLOSED
    ):
        return False
    return all(models.get(f"{slug}/{remote.wire_name}") is None for slug in _CLOSED)


def add_listed(
    fleet: FleetService,
    models: Models,
    provider: Provider,
    served: Iterable[RemoteModel],
    *,
    status: Literal["active", "standby"],
) -> list[str]:
    """Add models that a provider lists, with what the listing says of them. One revision.

    Returns their ids. Prices are the listing's where it has any (origin "provider").
    """
    added = []
    with fleet.change("models.add_listed", provider.slug, None, None):
        for remote in served:
            model = replace(_from_listing(provider.slug, remote), status=status)
            fleet.put_model(model, set_fields=())
            if _has_price(remote):
                models.set_price(
                    model.id,
                    listed_price(provider, remote),
                    origin="provider",
                    now_ms=fleet.now_ms(),
                )
            added.append(model.id)
    return added


def _from_listing(slug: str, remote: RemoteModel) -> ModelInfo:
    inputs = remote.input_types or ("text",)
    return ModelInfo(
        id=f"{slug}/{remote.wire_name}",
        provider=slug,
        wire_name=remote.wire_name,
        name=remote.name or remote.wire_name,
        type="multimodal" if "image" in inputs else "text",
        context_window=remote.context_window,
        max_output=remote.max_output,
        input_types=inputs,
        output_types=remote.output_types or outputs_of(remote.wire_name),
        badges=remote.badges,
        lacks=frozenset(() if "image" in inputs or not remote.input_types else ("vision",)),
        parameters_b=remote.parameters_b,
    )


def _has_price(remote: RemoteModel) -> bool:
    return {"input", "output"} <= remote.prices.keys()


def listed_price(provider: Provider, remote: RemoteModel) -> Price:
    rates: dict[str, Any] = {
        kind: Rate(Decimal(text))
        for kind, text in remote.prices.items()
        if kind in ("input", "output", "cached", "cache_write", "reasoning")
    }
    free = not any(rate.base for rate in rates.values())
    return Price(
        state="free" if free else "priced",
        **({} if free else rates),
        source=f"{provider.name}'s model list",
    )


def proposal_document(
    found: Sequence[Found],
    proposal: Proposal,
    baseline: str | None,
    address_from: Callable[[Provider], str],
    *,
    applied: bool,
) -> dict[str, Any]:
    return {
        "applied": applied,
        "found": [
            {
                "provider": item.provider.slug,
                "name": item.provider.name,
                "how": item.how,
                "base_url": item.provider.base_url,
                "base_url_from": address_from(item.provider),
                "served": [remote.wire_name for remote in item.served],
            }
            for item in found
        ],
        "providers": [provider.slug for provider in proposal.providers],
        "models": [
            {
                "model": pick.model.id,
                "tier": pick.tier,
                "quality": None if pick.quality is None else round(pick.quality, 4),
                "average_usd_per_1m": None if pick.average_usd is None else str(pick.average_usd),
            }
            for pick in proposal.picks
        ],
        "roles": {role: list(models) for role, models in proposal.roles.items()},
        "chain": None if proposal.chain is None else document(proposal.chain),
        "premium_model": baseline,
        "unpriced": list(proposal.unpriced),
    }
