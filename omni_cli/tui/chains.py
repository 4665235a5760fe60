"""What the Failover screen reads and does. Everything here runs in a worker thread."""

from collections.abc import Mapping
from decimal import Decimal

from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.domain.models import Chain, ModelInfo
from omni_cli.domain.prices import rate_text
from omni_cli.domain.pricing import blended
from omni_cli.domain.record import replace
from omni_cli.records import Takeover
from omni_cli.tui.overview import ModelState, Overview

#: A form's words for no limit: for whoever stands in, and for the chain's own models.
ANY_COST, AS_LISTED = "any", "listed"
#: And for going from a free model to a paid one: the chain's own, any, none.
FREE_TO_PAID = {"listed": None, "yes": True, "no": False}
#: And for no second model.
NO_HEDGE = "never"


class Member(Struct, frozen=True):
    """A model that a chain may hold. ``note``: why it cannot be called now, or "". ``average_usd``
    a 1M tokens, half of them output, and ``latency_ms``, the mean of good answers: None where
    unknown."""

    model: ModelInfo
    provider: str
    facts: str
    note: str
    state: ModelState = "unknown"
    average_usd: Decimal | None = None
    latency_ms: float | None = None


class Chains(Struct, frozen=True):
    """``members`` by model id: all models of connected providers. ``takeovers``: of the newest
    attempts, newest first."""

    chains: tuple[Chain, ...]
    members: Mapping[str, Member]
    takeovers: tuple[Takeover, ...] = ()
    now_ms: int = 0


def read_chains(omni: App, overview: Overview) -> Chains:
    """Raises OmniError."""
    providers = {provider.slug: provider for provider in omni.providers.all()}
    models = omni.models.of_providers(providers)
    omni.browser.prices.load(model.id for model in models)
    cards = {card.model.id: card for card in overview.models}
    members = {}
    for model in models:
        row = omni.browser.prices.current(model.id)
        price = None if row is None else row.price
        card = cards.get(model.id)
        note = "" if card is None else card.why
        if not note and model.status == "disabled":
            note = "disabled"
        members[model.id] = Member(
            model=model,
            provider=providers[model.provider].name,
            facts=f"{rate_text(price, 'input')} in, {rate_text(price, 'output')} out",
            note=note,
            state=card.state if card else "unknown" if model.status == "active" else model.status,
            average_usd=None if price is None else blended(price),
            latency_ms=None if card is None else card.latency_ms,
        )
    chains, took = tuple(omni.assignments.chains()), tuple(omni.glance.takeovers())
    return Chains(chains, members, took, omni.now_ms())


def save_chain(omni: App, chain: Chain) -> str:
    """Make or change it, one revision; returns what was done. Raises UsageError."""
    omni.fleet.put_chain(chain)
    return f"saved as revision {omni.audit.revisions(limit=1)[0].number}; u takes it back"


def change_chain(omni: App, name: str, values: Mapping[str, str]) -> None:
    """Name and consent from a form's texts, one revision. Raises UsageError."""
    chain = omni.fleet.chain(name)
    multiple = values["multiple"]
    fresh = replace(
        chain,
        max_cost_multiple=None if multiple in (ANY_COST, AS_LISTED) else float(multiple),
        any_cost=multiple == ANY_COST,
        allow_free_to_paid=FREE_TO_PAID[values["free_to_paid"]],
        hedge_ms=None if values["hedge"] == NO_HEDGE else int(values["hedge"]),
    )
    with omni.fleet.change("chain.edit", name, None, None):
        if fresh != chain:
            omni.fleet.put_chain(fresh)
        if values["name"] != name:
            omni.fleet.rename_chain(name, values["name"])


def remove_chain(omni: App, name: str) -> str:
    omni.fleet.remove_chain(name)
    return f"deleted {name}; u brings it back"
