"""Traces to a real OTLP receiver: what is in them, whose children they are, what is not (E3)."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from omni_cli.domain.ids import id_text
from omni_cli.domain.record import replace
from omni_cli.simulator import Simulator
from tests.gateway_server import Served, serving
from tests.integration.gateway.test_failures import _ask

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def received() -> Iterator[tuple[str, list[Any]]]:
    """A collector's address, and the spans that came."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            message = ExportTraceServiceRequest.FromString(body)
            spans.extend(
                span
                for resource in message.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            )
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", spans
    server.shutdown()
    server.server_close()


@pytest.fixture
def traced(
    tmp_path: Path,
    sim: Simulator,
    received: tuple[str, list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Served]:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received[0])
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": received[0]}
    with serving(tmp_path, sim, env=env) as served:
        yield served


def wait(truth: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not truth():
        assert time.monotonic() < end
        time.sleep(0.02)


def attributes(span: Any) -> dict[str, Any]:
    return {pair.key: pair.value.string_value or pair.value.int_value for pair in span.attributes}


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_and_its_attempts(
    traced: Served, received: tuple[str, list[Any]], stream: bool
) -> None:
    spans = received[1]
    traced.sim.fault("503", "anthropic/*")
    body = _ask("chain:Fast Chain", stream=stream)
    with httpx.Client(base_url=traced.url, timeout=20, trust_env=False) as http:
        answer = http.post("/v1/chat/completions", json=body, headers={"traceparent": PARENT})
        assert answer.status_code == 200
    traced.settle(1)
    wait(lambda: any(span.name.startswith("chat chain:") for span in spans))
    (request,) = [span for span in spans if span.name == "chat chain:Fast Chain"]
    attempts = [span for span in spans if span is not request]
    assert request.trace_id.hex() == PARENT.split("-")[1]
    assert request.parent_span_id.hex() == PARENT.split("-")[2]
    assert {span.parent_span_id for span in attempts} == {request.span_id}
    (row,) = traced.app.ledger.recent(limit=2)
    told = attributes(request)
    assert told["omni.request.id"] == id_text(row.id)
    assert told["omni.cost.nano_usd"] == row.total_nusd
    last = attributes(attempts[-1])
    assert last["gen_ai.provider.name"] == "openai"
    assert last["gen_ai.usage.input_tokens"] == row.usage.input_tokens
    assert last["gen_ai.usage.output_tokens"] == row.usage.output_tokens
    assert [attributes(span).get("error.type") for span in attempts[:-1]] == ["overloaded"] * (
        len(attempts) - 1
    )
    assert len(attempts) == len(traced.app.ledger.attempts(row.id))
    everything = "".join(str(span) for span in spans)
    assert "Is all well" not in everything
    assert "simulated" not in everything


def test_the_caller_and_the_provider_are_in_one_trace(traced: Served) -> None:
    """A provider is told whose child its own span is, and nothing else of the caller's."""
    heads: list[dict[str, str]] = []

    class Upstream(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            heads.append({name.lower(): value for name, value in self.headers.items()})
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    provider = traced.app.providers.get("openai")
    assert provider is not None
    url = f"http://127.0.0.1:{server.server_port}/v1"
    traced.app.fleet.put_provider(replace(provider, base_url=url))
    time.sleep(0.6)
    with httpx.Client(base_url=traced.url, timeout=20, trust_env=False) as http:
        given = {"traceparent": PARENT, "tracestate": "a=1", "baggage": "user=jo", "cookie": "c=1"}
        http.post("/v1/chat/completions", json=_ask(), headers=given)
    server.shutdown()
    server.server_close()
    (head,) = heads
    version, trace, span, flags = head["traceparent"].split("-")
    assert (version, trace, flags) == ("00", PARENT.split("-")[1], "01")
    assert span != PARENT.split("-")[2]
    assert not {"baggage", "cookie"} & head.keys()


def test_a_collector_that_is_down_costs_nobody_anything(
    tmp_path: Path, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    with serving(tmp_path, sim, env={"OTEL_EXPORTER_OTLP_ENDPOINT": url}) as served:
        with httpx.Client(base_url=served.url, timeout=5, trust_env=False) as http:
            for _ in range(20):
                assert http.post("/v1/chat/completions", json=_ask()).status_code == 200
        served.settle(20)
    # serving() has seen it stop in good time.


def test_without_an_endpoint_nothing_is_imported(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, omni_cli.gateway.app as a; from omni_cli.gateway.traces import Traces;"
        "assert Traces.of({}) is None;"
        "off = {'OTEL_SDK_DISABLED': 'true', 'OTEL_EXPORTER_OTLP_ENDPOINT': 'x'};"
        "assert Traces.of(off) is None;"
        "assert not any(m.startswith('opentelemetry') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
