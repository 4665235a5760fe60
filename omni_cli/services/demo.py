"""The demo's throw-away fleet: the specs' models, chains and roles on simulated providers."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from omni_cli.domain.models import Chain, Provider
from omni_cli.repositories import Providers
from omni_cli.services.fleet import FleetService

#: Role, description, models in order of priority (the fleet spec's assignments).
ROLES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "primary_coder",
        "Medium complexity coding, debugging",
        ("anthropic/claude-sonnet-4-20250514", "deepseek/deepseek-chat"),
    ),
    ("strategy", "Complex decisions, planning", ("anthropic/claude-opus-4-20250514",)),
    ("research_lead", "Research and data analysis", ("openai/gpt-4-turbo", "openai/gpt-4")),
    ("heartbeat", "Fast status checks", ("anthropic/claude-3-haiku-20240307",)),
    (
        "photo_analysis",
        "Images and vision",
        ("google/gemini-1.5-flash", "google/gemini-1.5-pro"),
    ),
    ("general_assistant", "Default", ("moonshot/kimi-k2.5",)),
)
#: The fleet spec's own rules.
RULES: tuple[tuple[str, str, int], ...] = (
    (
        "taskType == 'coding' && complexity == 'medium'",
        "anthropic/claude-sonnet-4-20250514",
        1,
    ),
    ("taskType == 'debugging'", "anthropic/claude-sonnet-4-20250514", 2),
)
PREMIUM = "anthropic/claude-opus-4-20250514"


def build(
    fleet: FleetService,
    providers: Providers,
    *,
    simulated: Iterable[Provider],
    active: Sequence[str],
    chains: Iterable[Chain],
) -> None:
    """Fill an empty store: providers without keys, ``active`` models, roles, rules, chains."""
    with fleet.change("demo.build", "demo fleet", None, "simulated"):
        for provider in simulated:
            fleet.put_provider(replace(provider, auth_method="none", key_env=None))
            providers.record_test(
                provider.slug, "connected", at_ms=fleet.now_ms(), latency_ms=None, error=None
            )
        for model in active:
            fleet.set_status(model, "active")
        for name, description, models in ROLES:
            for priority, model in enumerate(models, 1):
                fleet.assign_role(name, model, priority, description)
        for condition, model, priority in RULES:
            fleet.add_rule(condition, model, priority)
        for chain in chains:
            fleet.put_chain(chain)
