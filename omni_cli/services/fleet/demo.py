"""The demo's throw-away fleet on simulated providers: models in service, chains, roles, rules."""

from collections.abc import Iterable

from msgspec import Struct

from omni_cli.domain.models import Chain, ChainLink, Provider
from omni_cli.domain.record import replace
from omni_cli.services.fleet.fleet import FleetService


class DemoFleet(Struct, frozen=True):
    """``roles``: name, description, models in order of priority. ``rules``: condition, model,
    priority. ``premium``: the baseline of savings."""

    active: tuple[str, ...]
    chains: tuple[Chain, ...]
    roles: tuple[tuple[str, str, tuple[str, ...]], ...]
    rules: tuple[tuple[str, str, int], ...]
    premium: str


DEMO = DemoFleet(
    active=(
        "anthropic/claude-opus-5-5",
        "anthropic/claude-sonnet-5-5",
        "anthropic/claude-haiku-4-5",
        "openai/gpt-5.5",
        "openai/gpt-6-sol",
        "openai/gpt-6-luna",
        "deepseek/deepseek-v4-flash",
        "google/gemini-3.5-flash",
        "google/gemini-3.1-flash-lite",
        "moonshot/kimi-k2.6",
    ),
    chains=(
        Chain(
            "Production Chain",
            (
                ChainLink("anthropic/claude-sonnet-5-5", 3, 30_000),
                ChainLink("openai/gpt-6-sol", 2, 30_000),
                ChainLink("google/gemini-3.5-flash", 1, 60_000),
            ),
        ),
        Chain(
            "Fast Chain",
            (
                ChainLink("anthropic/claude-haiku-4-5", 2, 15_000),
                ChainLink("openai/gpt-6-luna", 2, 15_000),
            ),
        ),
    ),
    roles=(
        (
            "primary_coder",
            "Medium complexity coding, debugging",
            ("anthropic/claude-sonnet-5-5", "deepseek/deepseek-v4-flash"),
        ),
        ("strategy", "Complex decisions, planning", ("anthropic/claude-opus-5-5",)),
        ("research_lead", "Research and data analysis", ("openai/gpt-5.5", "openai/gpt-6-sol")),
        ("heartbeat", "Fast status checks", ("openai/gpt-6-luna", "anthropic/claude-haiku-4-5")),
        (
            "photo_analysis",
            "Images and vision",
            ("google/gemini-3.1-flash-lite", "google/gemini-3.5-flash"),
        ),
        ("general_assistant", "Default", ("moonshot/kimi-k2.6",)),
    ),
    rules=(
        (
            "taskType == 'coding' && complexity == 'medium'",
            "anthropic/claude-sonnet-5-5",
            1,
        ),
        ("taskType == 'debugging'", "anthropic/claude-sonnet-5-5", 2),
    ),
    premium="anthropic/claude-opus-5-5",
)


def build(
    fleet: FleetService,
    *,
    simulated: Iterable[Provider],
    what: DemoFleet = DEMO,
) -> None:
    """Fill an empty store: providers without keys, active models, roles, rules, chains."""
    with fleet.change("demo.build", "demo fleet", None, "simulated"):
        for provider in simulated:
            fleet.put_provider(replace(provider, auth_method="none", key_env=None))
        for model in what.active:
            fleet.set_status(model, "active")
        for name, description, models in what.roles:
            for priority, model in enumerate(models, 1):
                fleet.assign_role(name, model, priority, description)
        for condition, model, priority in what.rules:
            fleet.add_rule(condition, model, priority)
        for chain in what.chains:
            fleet.put_chain(chain)
