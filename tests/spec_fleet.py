"""The fleet of the specs: nine models, their roles and rules, and the provider plan's chains.

Most of its models are retired by now; the catalogue keeps them, so that these tests stay as the
specs are.
"""

from omni_cli.domain.models import Chain, ChainLink
from omni_cli.services.fleet.demo import DemoFleet

OPUS = "anthropic/claude-opus-4-20250514"
SONNET = "anthropic/claude-sonnet-4-20250514"

SPECS = DemoFleet(
    active=(
        OPUS,
        SONNET,
        "anthropic/claude-3-haiku-20240307",
        "openai/gpt-4",
        "openai/gpt-4-turbo",
        "deepseek/deepseek-chat",
        "google/gemini-1.5-pro",
        "google/gemini-1.5-flash",
        "moonshot/kimi-k2.5",
    ),
    chains=(
        Chain(
            "Production Chain",
            (
                ChainLink(SONNET, 3, 30_000),
                ChainLink("openai/gpt-4o", 2, 30_000),
                ChainLink("google/gemini-2.0-flash", 1, 60_000),
            ),
        ),
        Chain(
            "Fast Chain",
            (
                ChainLink("anthropic/claude-3-5-haiku-20241022", 2, 15_000),
                ChainLink("openai/gpt-4o-mini", 2, 15_000),
            ),
        ),
    ),
    roles=(
        (
            "primary_coder",
            "Medium complexity coding, debugging",
            (SONNET, "deepseek/deepseek-chat"),
        ),
        ("strategy", "Complex decisions, planning", (OPUS,)),
        ("research_lead", "Research and data analysis", ("openai/gpt-4-turbo", "openai/gpt-4")),
        ("heartbeat", "Fast status checks", ("anthropic/claude-3-haiku-20240307",)),
        (
            "photo_analysis",
            "Images and vision",
            ("google/gemini-1.5-flash", "google/gemini-1.5-pro"),
        ),
        ("general_assistant", "Default", ("moonshot/kimi-k2.5",)),
    ),
    rules=(
        ("taskType == 'coding' && complexity == 'medium'", SONNET, 1),
        ("taskType == 'debugging'", SONNET, 2),
    ),
    premium=OPUS,
)
