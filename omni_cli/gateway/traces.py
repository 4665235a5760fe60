"""OpenTelemetry traces, when they are configured: a span for each request, one for each attempt.

Named by the GenAI conventions (domain/semconv.py). No prompt, no answer and no key is in a span.
The SDK exports from a thread of its own; nothing of it is imported unless an endpoint is set by
OpenTelemetry's own variables (OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT).
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from omni_cli.domain import semconv
from omni_cli.domain.errors import OmniError
from omni_cli.plugins import install_line
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.settlement import Reading

_log = logging.getLogger(__name__)

#: How long the last spans are waited for, seconds.
_LAST_S = 2.0
_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Traces:
    """Raises ImportError: the extra ``otel`` is not installed."""

    def __init__(self) -> None:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._api = trace
        # Service name and attributes come from OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES.
        resource = Resource.create({"service.name": "omni"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("omni")
        self._propagator = TraceContextTextMapPropagator()

    @classmethod
    def of(cls, env: Mapping[str, str]) -> "Traces | None":
        """None where no endpoint is set, or the SDK is switched off or not installed.

        Clusters set the endpoint for everything that runs in them: it is no reason not to serve.
        """
        if env.get("OTEL_SDK_DISABLED", "").lower() == "true":
            return None
        name = next((name for name in _VARIABLES if env.get(name)), None)
        if name is None:
            return None
        try:
            return cls()
        except ImportError:
            _log.warning(
                "%s is set, but OpenTelemetry is not installed: no traces are sent; to have"
                " them: %s (to silence this: OTEL_SDK_DISABLED=true)",
                name,
                install_line("otel"),
            )
            return None

    def request(self, headers: Mapping[str, str], asked: str, operation: str) -> "RequestTrace":
        """A request's span, a child of the caller's where ``traceparent`` names one."""
        parent = self._propagator.extract(dict(headers))
        span = self._tracer.start_span(
            f"{operation} {asked}",
            context=parent,
            kind=self._api.SpanKind.SERVER,
            attributes={semconv.OPERATION_NAME: operation, semconv.REQUEST_MODEL: asked},
        )
        return RequestTrace(self, span, operation)

    def close(self) -> None:
        """Send what is left, for a while: a collector that is down must not keep the gateway."""
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        last.join(_LAST_S)


class RequestTrace:
    """One request's spans; ``end`` exactly once."""

    def __init__(self, traces: Traces, span: Any, operation: str) -> None:
        self._traces = traces
        self._span = span
        self._operation = operation
        self._attempt: Any = None

    def attempt(self, target: Target, number: int) -> bytes:
        """Begin an attempt's span; the header lines that tell the provider of it."""
        api = self._traces._api
        self._attempt = self._traces._tracer.start_span(
            f"{self._operation} {target.model.wire_name}",
            context=api.set_span_in_context(self._span),
            kind=api.SpanKind.CLIENT,
            attributes={
                semconv.OPERATION_NAME: self._operation,
                semconv.PROVIDER_NAME: semconv.provider_name(target.provider.slug),
                semconv.REQUEST_MODEL: target.model.wire_name,
                "omni.attempt": number,
            },
        )
        carrier: dict[str, str] = {}
        self._traces._propagator.inject(carrier, api.set_span_in_context(self._attempt))
        return "".join(f"{name}: {value}\r\n" for name, value in carrier.items()).encode()

    def attempt_over(self, reading: Reading, error: BaseException | None) -> None:
        """End the attempt's span with what is known of its answer."""
        span, self._attempt = self._attempt, None
        if span is None:
            return
        folder = reading.folder
        if folder.usage is not None:
            span.set_attribute(semconv.USAGE_INPUT_TOKENS, folder.usage.input_tokens)
            span.set_attribute(semconv.USAGE_OUTPUT_TOKENS, folder.usage.output_tokens)
        if folder.finish_reason is not None:
            span.set_attribute(semconv.FINISH_REASONS, (folder.finish_reason,))
        if folder.model is not None:
            span.set_attribute(semconv.RESPONSE_MODEL, folder.model)
        self._fail(span, error)
        span.end()

    def end(self, receipt: str, cost_nusd: int | None, error: BaseException | None) -> None:
        """End the request's span. ``receipt``: its id, as ``omni why`` takes it."""
        span = self._span
        span.set_attribute("omni.request.id", receipt)
        if cost_nusd is not None:
            span.set_attribute("omni.cost.nano_usd", cost_nusd)
        self._fail(span, error)
        span.end()

    def _fail(self, span: Any, error: BaseException | None) -> None:
        if error is None:
            return
        # The code, not the words: a provider's may repeat what was sent.
        code = error.code if isinstance(error, OmniError) else type(error).__name__
        span.set_attribute(semconv.ERROR_TYPE, code)
        span.set_status(self._traces._api.Status(self._traces._api.StatusCode.ERROR))
