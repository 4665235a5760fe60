"""Names of OpenTelemetry's GenAI conventions, in one place: they are still moving.

Source: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics and gen-ai-spans, read
2026-11-21. Their
form for Prometheus (dots to underscores, the unit in the name) follows
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics.
"""

TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105  # a metric's name
OPERATION_DURATION = "gen_ai.client.operation.duration"

PROVIDER_NAME = "gen_ai.provider.name"
OPERATION_NAME = "gen_ai.operation.name"
REQUEST_MODEL = "gen_ai.request.model"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105  # an attribute's name

RESPONSE_MODEL = "gen_ai.response.model"
FINISH_REASONS = "gen_ai.response.finish_reasons"
USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
ERROR_TYPE = "error.type"

OPERATION_CHAT = "chat"
TOKEN_INPUT = "input"  # noqa: S105  # an attribute's value
TOKEN_OUTPUT = "output"  # noqa: S105  # an attribute's value

#: Providers that the conventions name otherwise than omni does.
_PROVIDERS = {"google": "gcp.gemini", "mistral": "mistral_ai", "xai": "x_ai"}


def provider_name(slug: str) -> str:
    """A provider as the conventions call it; others keep their slug."""
    return _PROVIDERS.get(slug, slug)


def prometheus_name(name: str, unit: str = "") -> str:
    """A metric's or attribute's name in Prometheus' form."""
    return name.replace(".", "_") + (f"_{unit}" if unit else "")
