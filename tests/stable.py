"""Keys of the stable JSON interface (issue 2): scripts rely on them."""

CHAT = [
    "id",
    "output",
    "model_used",
    "task_type",
    "complexity",
    "usage",
    "cost_usd",
    "premium_cost_usd",
    "savings_usd",
    "price_state",
    "latency_ms",
    "ttft_ms",
    "finish_reason",
    "tool_calls",
    "attempts",
]
USAGE = [
    "input_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "output_tokens",
]
ATTEMPT = ["model", "outcome", "error", "latency_ms", "cost_usd"]
ERROR = ["code", "message", "hint"]
#: ``omni route --json`` holds these and may hold more.
ROUTE = {
    "model",
    "reason",
    "task_type",
    "type_probabilities",
    "complexity",
    "difficulty",
    "candidates",
}
CANDIDATE = {
    "model",
    "eligible",
    "reason",
    "quality",
    "expected_cost_usd",
    "expected_latency_ms",
    "latency_basis",
    "score",
}
