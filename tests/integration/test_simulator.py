"""The simulator over real sockets: each protocol, the record it keeps, many clients at once."""

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.domain.chat import ChatRequest, Completion, MediaPart, Message, TextPart, Tool
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import Endpoint
from omni_cli.simulator import Simulator, fleet
from omni_cli.wire.framing import splitter
from omni_cli.wire.registry import adapter
from tests.paths import REPO

Json = dict[str, Any]

#: One client, for its TLS setup takes longer than most tests; no connection outlives a test.
http = httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0))

#: protocol -> (provider slug, a model of it)
TALKERS: Mapping[ProtocolName, tuple[str, str]] = {
    "openai": ("openai", "gpt-4o"),
    "openai-responses": ("openai", "gpt-4o"),
    "anthropic": ("anthropic", "claude-sonnet-4-20250514"),
    "gemini": ("google", "gemini-2.0-flash"),
    "ollama": ("ollama", "mistral:7b"),
}
PROTOCOLS = tuple(TALKERS)
LONG = "The house rules are long and never change. " * 400


def ask(
    sim: Simulator,
    protocol: ProtocolName,
    request: ChatRequest,
    *,
    model: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Completion:
    """Send ``request`` with omni's own adapter and fold the answer."""
    slug, usual = TALKERS[protocol]
    speaker = adapter(protocol)
    endpoint = Endpoint(sim.base_url(slug), "sk-test", headers or {})
    call = speaker.build(request, model or usual, endpoint)
    answer = http.request(call.method, call.url, headers=dict(call.headers), content=call.body)
    assert answer.headers["x-omni-simulator"] == "1"
    if answer.status_code != 200:
        raise speaker.explain(answer.status_code, dict(answer.headers), answer.text)
    split = splitter(call.framing)
    parser = speaker.parser(stream=request.stream)
    events = [*split.feed(answer.content), *split.finish()]
    chunks = [chunk for event in events for chunk in parser.feed(event)]
    return Completion.from_chunks([*chunks, *parser.finish()])


def question(text: str = "Explain caching", **fields: Any) -> ChatRequest:
    return ChatRequest(messages=(Message.text_of("user", text),), **fields)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "plain"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
class TestProtocols:
    def test_text_finish_and_usage(
        self, sim: Simulator, protocol: ProtocolName, stream: bool
    ) -> None:
        got = ask(sim, protocol, question(stream=stream))
        assert got.text.startswith(f"[simulated {TALKERS[protocol][1]}] ")
        assert got.finish_reason == "stop"
        assert got.usage is not None
        assert got.usage.input_tokens > 0
        entry = sim.answered()[-1]
        assert entry["completed_at"] is not None
        assert got.usage.input_tokens == entry["input_tokens"]
        assert got.usage.output_tokens == entry["output_tokens"]

    def test_the_token_limit(self, sim: Simulator, protocol: ProtocolName, stream: bool) -> None:
        # Responses take no less than 16.
        got = ask(sim, protocol, question(stream=stream, max_output_tokens=16))
        assert got.finish_reason == "length"
        assert got.usage is not None
        assert got.usage.output_tokens == 16

    def test_a_tool_call_and_its_answer(
        self, sim: Simulator, protocol: ProtocolName, stream: bool
    ) -> None:
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        tools = (Tool("get_weather", "Weather of a city", schema),)
        first = question("Call get_weather for Oslo", stream=stream, tools=tools)
        got = ask(sim, protocol, first)
        assert got.finish_reason == "tool_calls"
        assert [call.name for call in got.tool_calls] == ["get_weather"]
        assert json.loads(got.tool_calls[0].arguments) == {"city": "Oslo"}
        result = Message(
            "tool", (TextPart("12 degrees"),), tool_call_id=got.tool_calls[0].id, name="get_weather"
        )
        messages = (*first.messages, got.as_message(), result)
        after = ask(sim, protocol, ChatRequest(messages, tools=tools, stream=stream))
        assert after.finish_reason == "stop"
        assert after.text

    def test_json_mode(self, sim: Simulator, protocol: ProtocolName, stream: bool) -> None:
        if protocol == "anthropic":
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
            request = question("A name for Anna", stream=stream, json_schema=schema)
            got = ask(sim, protocol, request, model="claude-sonnet-4-5")  # before: in words
            assert json.loads(got.text) == {"name": "Anna"}
        else:
            got = ask(sim, protocol, question("Give me JSON", stream=stream, json_mode=True))
            assert json.loads(got.text)["simulated"] is True

    def test_an_image_is_seen(self, sim: Simulator, protocol: ProtocolName, stream: bool) -> None:
        picture = MediaPart("image/png", data="iVBORw0KGgo=")
        message = Message("user", (TextPart("What is this?"), picture))
        got = ask(sim, protocol, ChatRequest((message,), stream=stream))
        assert "1 image" in got.text
        assert got.usage is not None
        plain = ask(sim, protocol, question("What is this?", stream=stream)).usage
        assert plain is not None
        if protocol != "ollama":
            assert got.usage.input_tokens >= plain.input_tokens + 200

    def test_the_same_question_gets_the_same_answer(
        self, sim: Simulator, protocol: ProtocolName, stream: bool
    ) -> None:
        here = ask(sim, protocol, question(stream=stream)).text
        with Simulator(seed=7) as twin, Simulator(seed=8) as other:
            assert ask(twin, protocol, question(stream=stream)).text == here
            others = {ask(other, protocol, question(f"Why {n}?")).text for n in range(6)}
            ours = {ask(twin, protocol, question(f"Why {n}?")).text for n in range(6)}
            assert others != ours


@pytest.mark.parametrize("protocol", ["openai", "openai-responses", "gemini"])
def test_a_long_prefix_is_reported_as_cached(sim: Simulator, protocol: ProtocolName) -> None:
    first, second = (
        ask(sim, protocol, question(f"{LONG}\n\nQuestion {n}")).usage for n in ("one", "two")
    )
    assert first is not None
    assert second is not None
    assert first.cached_tokens == 0
    assert 1024 <= second.cached_tokens < second.input_tokens


def test_anthropic_caches_what_is_marked(sim: Simulator) -> None:
    block = {"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    body = {
        "model": "claude-sonnet-4-20250514",
        "max_tokens": 50,
        "system": [block],
        "messages": [{"role": "user", "content": "hi"}],
    }
    url = sim.url + "/anthropic/v1/messages"
    first, second = (http.post(url, json=body).json()["usage"] for _ in range(2))
    written = first["cache_creation_input_tokens"]
    assert written > 1024
    assert first["cache_creation"]["ephemeral_1h_input_tokens"] == written
    assert first["cache_read_input_tokens"] == 0
    assert second["cache_read_input_tokens"] == written
    assert second["cache_creation_input_tokens"] == 0
    assert second["input_tokens"] == first["input_tokens"] < 20


def test_reasoning_is_told_as_each_protocol_tells_it(sim: Simulator) -> None:
    hidden = ask(sim, "openai", question(), model="o3")
    assert hidden.reasoning == ""
    assert hidden.usage is not None
    assert 0 < hidden.usage.reasoning_tokens < hidden.usage.output_tokens
    shown = ask(sim, "openai", question(), model="deepseek-reasoner")
    assert shown.reasoning.startswith("[simulated thoughts]")
    gemini = ask(sim, "gemini", question(), model="gemini-2.5-pro")
    assert gemini.usage is not None
    assert gemini.usage.reasoning_tokens > 0
    body = {
        "model": "claude-sonnet-4-20250514",
        "max_tokens": 2000,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "messages": [{"role": "user", "content": "hi"}],
    }
    content = http.post(sim.url + "/anthropic/v1/messages", json=body).json()["content"]
    assert [block["type"] for block in content] == ["thinking", "text"]
    assert content[0]["signature"]


@pytest.mark.parametrize("provider", fleet.PROVIDERS, ids=lambda p: p.slug)
def test_each_provider_lists_its_own_models(sim: Simulator, provider: fleet.SimProvider) -> None:
    speaker = adapter(provider.protocol)
    call = speaker.list_models(Endpoint(sim.base_url(provider.slug), "sk-test"))
    assert call is not None
    answer = http.request(call.method, call.url, headers=dict(call.headers))
    listed = [model.wire_name for model in speaker.parse_models(answer.text)]
    assert listed == [model.wire_name for model in provider.models]


def test_counting_and_embedding(sim: Simulator) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "count me"}]}
    counted = http.post(sim.url + "/v1/messages/count_tokens", json=body).json()
    used = http.post(sim.url + "/v1/messages", json=body | {"max_tokens": 9}).json()["usage"]
    assert counted == {"input_tokens": used["input_tokens"]}
    gemini = {"contents": [{"role": "user", "parts": [{"text": "count me"}]}]}
    url = sim.url + "/v1beta/models/gemini-2.0-flash:countTokens"
    assert http.post(url, json=gemini).json()["totalTokens"] == used["input_tokens"]

    texts = {"model": "text-embedding-3-small", "input": ["red cat", "a red cat", "tax law"]}
    data = http.post(sim.url + "/v1/embeddings", json=texts).json()["data"]
    near, far = (
        sum(a * b for a, b in zip(data[0]["embedding"], item["embedding"], strict=True))
        for item in data[1:]
    )
    assert near > far
    packed = http.post(sim.url + "/v1/embeddings", json=texts | {"encoding_format": "base64"})
    assert isinstance(packed.json()["data"][0]["embedding"], str)


def test_images_are_labelled_by_their_bytes(sim: Simulator) -> None:
    def labels(data: str) -> list[str]:
        body = {"inputs": [{"data": {"image": {"base64": data}}}]}
        answer = http.post(sim.url + "/clarifai/v2/models/general/outputs", json=body).json()
        assert answer["status"]["code"] == 10000
        return [concept["name"] for concept in answer["outputs"][0]["data"]["concepts"]]

    assert labels("aaaa") == labels("aaaa")
    assert len({tuple(labels(data * 4)) for data in "abcdef"}) > 1
    features = [{"type": "LABEL_DETECTION", "maxResults": 2}, {"type": "TEXT_DETECTION"}]
    body = {"requests": [{"image": {"content": "aaaa"}, "features": features}]}
    answer = http.post(sim.url + "/v1/images:annotate", json=body).json()["responses"][0]
    assert len(answer["labelAnnotations"]) == 2
    assert answer["fullTextAnnotation"]["text"].startswith("[simulated")


def test_ollama_tells_its_version_and_models(sim: Simulator) -> None:
    assert "simulated" in http.get(sim.url + "/ollama/api/version").json()["version"]
    shown = http.post(sim.url + "/ollama/api/show", json={"model": "mistral:7b"}).json()
    assert shown["model_info"]["mistral.context_length"] == 32768


CHAT_PATH = "/v1/chat/completions"
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}


def test_the_record_holds_what_the_client_sent_to_be_found_by(sim: Simulator) -> None:
    headers = {"x-request-id": "r-1", "x-omni-attempt": "a-2"}
    body = CHAT | {"user": "nonce-3"}
    answer = http.post(sim.url + "/openai/v1/chat/completions", json=body, headers=headers)
    http.post(sim.url + CHAT_PATH, json=CHAT, headers={"x-sim-fault": "500"})
    (entry,) = http.get(sim.url + "/__sim/answered").json()["answered"]
    assert entry == sim.answered()[0]
    assert (entry["request_id"], entry["attempt"], entry["user"]) == ("r-1", "a-2", "nonce-3")
    assert entry["id"] == answer.headers["x-request-id"]
    assert entry["received_at"] <= entry["started_at"] <= entry["completed_at"]
    stats = http.get(sim.url + "/__sim/stats").json()
    assert stats == sim.stats()
    assert stats["by_model"] == {"openai/gpt-4o": 2}
    assert (stats["started"], stats["answered"], stats["faulted"]) == (1, 1, {"500": 1})
    assert stats["output_tokens"] == {"openai/gpt-4o": entry["output_tokens"]}
    assert stats["prompts"] == {entry["prompt_hash"]: 2}
    http.post(sim.url + "/__sim/reset")
    assert (sim.answered(), sim.stats()["requests"]) == ([], 0)


def test_a_client_that_leaves_is_started_but_not_completed() -> None:
    with (
        Simulator(tokens_per_second=20) as sim,
        http.stream("POST", sim.url + CHAT_PATH, json=CHAT | {"stream": True}) as answer,
    ):
        next(answer.iter_lines())
        answer.close()
        deadline = time.monotonic() + 5
        while sim.stats()["in_flight"] and time.monotonic() < deadline:
            time.sleep(0.01)
        (entry,) = sim.answered()
        assert entry["started_at"] is not None
        assert entry["completed_at"] is None
        assert sim.stats()["answered"] == 0


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/chat/completions", b"{", "parse the JSON"),
        ("/v1/chat/completions", b"[]", "JSON object"),
        ("/v1/chat/completions", b'{"model": "m"}', "messages"),
        ("/v1/messages", b'{"model": "m", "messages": [{"content": "x"}]}', "max_tokens"),
        ("/v1/responses", b'{"model": "m"}', "input"),
        ("/v1beta/models/m:generateContent", b"{}", "contents"),
        ("/api/chat", b'{"messages": []}', "model"),
        (
            "/v1/chat/completions",
            b'{"model": "m", "messages": ["x"], "tools": [1]}',
            "list of objects",
        ),
    ],
)
def test_a_request_that_the_protocol_forbids_is_refused(
    sim: Simulator, path: str, body: bytes, words: str
) -> None:
    answer = http.post(sim.url + path, content=body)
    assert answer.status_code == 400
    assert words in answer.text


def test_a_prompt_beyond_the_context_window_is_refused(sim: Simulator) -> None:
    body = {"model": "gpt-4", "messages": [{"role": "user", "content": "word " * 9000}]}
    answer = http.post(sim.url + "/openai/v1/chat/completions", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "context_length_exceeded"
    assert "8192" in answer.text


def test_only_the_right_key_opens_a_server_that_has_one() -> None:
    with Simulator(key="sk-right") as sim:
        for headers in (
            {"authorization": "Bearer sk-right"},
            {"x-api-key": "sk-right"},
            {"x-goog-api-key": "sk-right"},
        ):
            good = http.post(sim.url + CHAT_PATH, json=CHAT, headers=headers)
            assert good.status_code == 200
        wrong = {"authorization": "Bearer sk-wrong"}
        bad = http.post(sim.url + CHAT_PATH, json=CHAT, headers=wrong)
        assert bad.status_code == 401
        assert "sk-" not in bad.text
        gemini = {"contents": [{"parts": [{"text": "hi"}]}]}
        bad = http.post(sim.url + "/v1beta/models/m:generateContent", json=gemini)
        assert (bad.status_code, "API_KEY_INVALID" in bad.text) == (400, True)


def test_answers_come_at_the_set_speed() -> None:
    with Simulator(tokens_per_second=100) as sim:
        for stream in (True, False):
            begin = time.monotonic()
            http.post(sim.url + CHAT_PATH, json=CHAT | {"stream": stream})
            took = time.monotonic() - begin
            assert took >= sim.answered()[-1]["output_tokens"] / 100 * 0.9


def test_fleet_models_wait_their_own_latency_when_asked() -> None:
    with Simulator(latency=0.1) as sim:
        begin = time.monotonic()
        http.post(sim.url + CHAT_PATH, json=CHAT | {"model": "o1", "stream": True})
        assert time.monotonic() - begin >= 4.0 * 0.1 * 0.8


def test_one_connection_carries_many_requests(sim: Simulator) -> None:
    with httpx.Client(base_url=sim.url) as client:
        for n in range(20):
            assert client.post(CHAT_PATH, json=CHAT).status_code == 200, n
            with client.stream("POST", CHAT_PATH, json=CHAT | {"stream": True}) as answer:
                assert answer.read().endswith(b"data: [DONE]\n\n")


async def _raw_stream(port: int, number: int) -> bytes:
    body = json.dumps(
        {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"Why {number}?"}]}
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n{body}".encode())
    answer = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_two_hundred_streams_at_once() -> None:
    with Simulator(tokens_per_second=25) as sim:
        answers = await asyncio.gather(*(_raw_stream(sim.port, n) for n in range(200)))
        stats = sim.stats()
    assert all(b"data: [DONE]" in answer for answer in answers)
    assert stats["answered"] == 200
    assert stats["peak_in_flight"] == 200
    assert stats["in_flight"] == 0


def _open_files() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def test_stopping_leaves_no_thread_no_socket_and_no_waiting_client() -> None:
    threads, files = threading.active_count(), _open_files()
    sim = Simulator().start()
    errors: list[type[Exception]] = []

    def hang() -> None:
        try:
            http.post(sim.url + CHAT_PATH, json=CHAT, headers={"x-sim-fault": "hang"})
        except httpx.HTTPError as exc:
            errors.append(type(exc))

    clients = [threading.Thread(target=hang) for _ in range(3)]
    for client in clients:
        client.start()
    deadline = time.monotonic() + 5
    while sim.stats()["in_flight"] < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    sim.stop()
    sim.stop()
    for client in clients:
        client.join(5)
    assert len(errors) == 3
    assert threading.active_count() == threads
    assert _open_files() == files


def test_a_taken_port_is_said_at_once(sim: Simulator) -> None:
    with pytest.raises(OSError, match="in use"):
        Simulator(port=sim.port).start()


@pytest.fixture
def command() -> Iterator[subprocess.Popen[str]]:
    words = [sys.executable, "-m", "omni_cli.simulator", "--seed", "3", "--fault", "gpt-4=503:9"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=REPO) as process:
        yield process
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_until_a_signal(
    command: subprocess.Popen[str], number: signal.Signals
) -> None:
    assert command.stdout is not None
    line = command.stdout.readline()
    assert line.startswith("simulator listening on http://127.0.0.1:")
    url = line.split()[-1]
    with http.stream("POST", url + CHAT_PATH, json=CHAT | {"stream": True}) as answer:
        assert answer.status_code == 200
    failed = http.post(url + CHAT_PATH, json=CHAT | {"model": "gpt-4"})
    assert (failed.status_code, failed.headers["retry-after"]) == (503, "9")
    command.send_signal(number)
    assert command.wait(5) == 0


def test_the_command_explains_a_bad_fault() -> None:
    command = [sys.executable, "-m", "omni_cli.simulator", "--fault", "nope"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO, check=False)
    assert done.returncode == 2
    assert "unknown fault 'nope'" in done.stderr
