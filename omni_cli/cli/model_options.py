"""What is said of a model on the command line, as values."""

from decimal import Decimal
from typing import TYPE_CHECKING

from omni_cli.cli.common import (
    money,
    numbers,
    words,
)

if TYPE_CHECKING:  # lists, the common case, change nothing
    from omni_cli.services.fleet.model_changes import ModelChange


def rates_of(
    price_in: str | None,
    price_out: str | None,
    cached: str | None,
    cache_write: str | None,
    reasoning: str | None = None,
) -> dict[str, Decimal]:
    options = {
        "input": money(price_in, "--price-in"),
        "output": money(price_out, "--price-out"),
        "cached": money(cached, "--price-cached"),
        "cache_write": money(cache_write, "--price-cache-write"),
        "reasoning": money(reasoning, "--price-reasoning"),
    }
    return {kind: amount for kind, amount in options.items() if amount is not None}


def change_of(
    *,
    name: str | None,
    alias: list[str] | None,
    context: int | None,
    max_output: int | None,
    capability: list[str] | None,
    badge: list[str] | None,
    parameters_b: float | None,
    kind: str | None,
    strength: list[str] | None,
    recommended_for: list[str] | None,
    token_weight: list[str] | None,
    gives: list[str] | None,
) -> "ModelChange":
    from omni_cli.services.fleet.model_changes import ModelChange

    return ModelChange(
        name=name,
        aliases=[text.lower() for text in words(alias)],
        context_window=context,
        max_output=max_output,
        type=kind,
        badges=words(badge),
        scores=numbers(capability, "--capability"),
        parameters_b=parameters_b,
        strengths=words(strength),
        recommended_for=words(recommended_for),
        token_weights=numbers(token_weight, "--token-weight"),
        gives=words(gives),
    )
