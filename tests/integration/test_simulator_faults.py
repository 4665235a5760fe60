"""Every fault of the simulator, as a raw client sees it, and as omni's adapters read it."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from omni_cli.domain import errors
from omni_cli.domain.chat import ChatRequest, Message
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import Endpoint
from omni_cli.simulator import Simulator
from omni_cli.simulator.faults import KINDS
from omni_cli.wire.framing import splitter
from omni_cli.wire.registry import adapter

Json = dict[str, Any]

http = httpx.Client(timeout=10, limits=httpx.Limits(max_keepalive_connections=0))

MESSAGES = [{"role": "user", "content": "Explain caching"}]
CONTENTS = [{"role": "user", "parts": [{"text": "Explain caching"}]}]
GEMINI = "/google/v1beta/models/gemini-2.0-flash"
#: protocol -> (path, body) of a plain and of a streamed request.
PLAIN: dict[ProtocolName, tuple[str, Json]] = {
    "openai": ("/openai/v1/chat/completions", {"model": "gpt-4o", "messages": MESSAGES}),
    "openai-responses": ("/openai/v1/responses", {"model": "gpt-4o", "input": "Explain caching"}),
    "anthropic": (
        "/anthropic/v1/messages",
        {"model": "claude-3-haiku-20240307", "messages": MESSAGES, "max_tokens": 200},
    ),
    "gemini": (f"{GEMINI}:generateContent", {"contents": CONTENTS}),
    "ollama": ("/ollama/api/chat", {"model": "mistral:7b", "messages": MESSAGES, "stream": False}),
}
STREAM: dict[ProtocolName, tuple[str, Json]] = {
    protocol: (path, body | {"stream": True}) for protocol, (path, body) in PLAIN.items()
}
STREAM["gemini"] = (f"{GEMINI}:streamGenerateContent?alt=sse", {"contents": CONTENTS})
PROTOCOLS = tuple(PLAIN)
STATUSES = {kind: about.status for kind, about in KINDS.items() if about.status}

each_protocol = pytest.mark.parametrize("protocol", PROTOCOLS)
each_way = pytest.mark.parametrize("ways", [PLAIN, STREAM], ids=["plain", "stream"])


def post(sim: Simulator, way: tuple[str, Json], fault: str) -> httpx.Response:
    return http.post(sim.url + way[0], json=way[1], headers={"x-sim-fault": fault})


def read_stream(
    sim: Simulator, way: tuple[str, Json], fault: str, timeout: float = 10
) -> tuple[bytes, type[Exception] | None]:
    """What arrived, and the error that ended it."""
    got = b""
    headers = {"x-sim-fault": fault}
    try:
        with http.stream(
            "POST", sim.url + way[0], json=way[1], headers=headers, timeout=timeout
        ) as answer:
            assert answer.status_code == 200
            for piece in answer.iter_bytes():
                got += piece
    except httpx.HTTPError as exc:
        return got, type(exc)
    return got, None


@each_way
@each_protocol
@pytest.mark.parametrize("kind", sorted(STATUSES.keys() - {"502", "400-filter", "400-key"}))
def test_error_statuses_in_the_protocols_own_form(
    sim: Simulator, protocol: ProtocolName, ways: dict[ProtocolName, tuple[str, Json]], kind: str
) -> None:
    answer = post(sim, ways[protocol], kind)
    assert answer.status_code == STATUSES[kind]
    assert answer.headers["x-omni-simulator"] == "1"
    assert ("retry-after" in answer.headers) == (kind == "429")
    error = answer.json()["error"]
    assert error if protocol == "ollama" else error["message"]
    assert sim.answered() == []
    assert sim.stats()["faulted"] == {kind: 1}


EXPECTED: dict[str, type[errors.ProviderError]] = {
    "400": errors.BadRequest,
    "400-context": errors.ContextTooLong,
    "400-key": errors.AuthError,
    "401": errors.AuthError,
    "402": errors.QuotaExceeded,
    "403": errors.AuthError,
    "404": errors.ModelNotFound,
    "429": errors.RateLimited,
    "500": errors.Overloaded,
    "502": errors.Overloaded,
    "503": errors.Overloaded,
    "529": errors.Overloaded,
}


@each_protocol
@pytest.mark.parametrize("kind", EXPECTED)
def test_the_adapters_understand_the_errors(
    sim: Simulator, protocol: ProtocolName, kind: str
) -> None:
    answer = post(sim, PLAIN[protocol], f"{kind}:7" if kind == "429" else kind)
    error = adapter(protocol).explain(answer.status_code, dict(answer.headers), answer.text)
    assert type(error) is EXPECTED[kind], error
    assert error.retry_after_s == (7 if kind == "429" else None)


def test_quota_and_filter_where_the_protocols_have_words_for_them(sim: Simulator) -> None:
    def explained(kind: str, protocol: ProtocolName) -> errors.ProviderError:
        answer = post(sim, PLAIN[protocol], kind)
        return adapter(protocol).explain(answer.status_code, dict(answer.headers), answer.text)

    assert type(explained("429-quota", "openai")) is errors.QuotaExceeded
    assert type(explained("400-filter", "openai")) is errors.ContentFiltered
    assert type(explained("400-filter", "anthropic")) is errors.ContentFiltered


def test_gemini_filters_with_a_200(sim: Simulator) -> None:
    plain = post(sim, PLAIN["gemini"], "400-filter")
    assert plain.status_code == 200
    assert plain.json()["promptFeedback"]["blockReason"]
    streamed = post(sim, STREAM["gemini"], "400-filter")
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert json.loads(streamed.text.removeprefix("data: "))["promptFeedback"]


def test_a_proxys_error_page_is_html(sim: Simulator) -> None:
    answer = post(sim, PLAIN["openai"], "502")
    assert (answer.status_code, answer.headers["content-type"]) == (502, "text/html")
    assert answer.text.startswith("<html>")


def test_hang_accepts_and_never_answers(sim: Simulator) -> None:
    path, body = PLAIN["openai"]
    with pytest.raises(httpx.ReadTimeout):
        http.post(sim.url + path, json=body, headers={"x-sim-fault": "hang"}, timeout=0.2)
    assert sim.answered() == []


def test_hang_mid_stops_after_some_chunks(sim: Simulator) -> None:
    got, ended = read_stream(sim, STREAM["openai"], "hang-mid:3", timeout=0.2)
    assert ended is httpx.ReadTimeout
    assert contents(got) == 3


def contents(raw: bytes) -> int:
    """Chunks with text in an OpenAI stream."""
    return raw.count(b'"content":"') - raw.count(b'"content":""')


def test_slow_first_waits_before_the_head(sim: Simulator) -> None:
    begin = time.monotonic()
    post(sim, PLAIN["openai"], "slow-first:0.2")
    assert time.monotonic() - begin >= 0.2


def test_slow_tokens_sets_the_speed(sim: Simulator) -> None:
    path, body = STREAM["openai"]
    begin = time.monotonic()
    answer = post(sim, (path, body | {"max_tokens": 6}), "slow-tokens:20")
    assert time.monotonic() - begin >= 5 / 20
    assert contents(answer.content) == 6


@each_way
def test_reset_before_the_head(sim: Simulator, ways: dict[ProtocolName, tuple[str, Json]]) -> None:
    with pytest.raises(httpx.ReadError):  # a clean close would be RemoteProtocolError
        post(sim, ways["openai"], "reset-before")
    assert sim.answered() == []


@each_protocol
@pytest.mark.parametrize("chunks", [0, 2])
def test_reset_in_mid_stream(sim: Simulator, protocol: ProtocolName, chunks: int) -> None:
    got, ended = read_stream(sim, STREAM[protocol], f"reset-mid:{chunks}")
    assert ended is httpx.ReadError
    if protocol == "openai":
        assert contents(got) == chunks
    (entry,) = sim.answered()
    assert entry["started_at"] is not None
    assert entry["completed_at"] is None
    assert entry["chunks"] == chunks


@each_protocol
def test_reset_in_the_middle_of_a_plain_answer(sim: Simulator, protocol: ProtocolName) -> None:
    with pytest.raises(httpx.ReadError):
        post(sim, PLAIN[protocol], "reset-mid")
    assert sim.stats()["answered"] == 0


@each_protocol
def test_truncate_ends_the_body_well_but_too_early(sim: Simulator, protocol: ProtocolName) -> None:
    got, ended = read_stream(sim, STREAM[protocol], "truncate:2")
    assert ended is None
    for word in (b"[DONE]", b"message_stop", b"response.completed", b"finishReason", b'done":true'):
        assert word not in got
    assert b"simul" in got or protocol == "gemini"
    with pytest.raises(ValueError):
        post(sim, PLAIN[protocol], "truncate").json()


@each_way
def test_cut_leaves_the_http_body_incomplete(
    sim: Simulator, ways: dict[ProtocolName, tuple[str, Json]]
) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        post(sim, ways["openai"], "cut:2")


@each_protocol
def test_malformed_is_not_json(sim: Simulator, protocol: ProtocolName) -> None:
    with pytest.raises(ValueError):
        post(sim, PLAIN[protocol], "malformed").json()
    got, _ = read_stream(sim, STREAM[protocol], "malformed")
    lines = [line.removeprefix("data: ") for line in got.decode().splitlines() if "{" in line]
    bad = [line for line in lines if not _is_json(line)]
    assert len(bad) == 1
    assert lines.index(bad[0]) > 0


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@each_protocol
def test_wrong_json_has_another_shape(sim: Simulator, protocol: ProtocolName) -> None:
    assert post(sim, PLAIN[protocol], "wrong-json").json()["object"] == "unexpected"
    assert b'"unexpected"' in read_stream(sim, STREAM[protocol], "wrong-json")[0]


@each_protocol
def test_an_error_inside_the_stream(sim: Simulator, protocol: ProtocolName) -> None:
    got, ended = read_stream(sim, STREAM[protocol], "error-in-stream:1")
    assert ended is None
    assert b"overloaded" in got.lower()
    plain = post(sim, PLAIN[protocol], "error-in-stream")
    assert plain.status_code == 200
    assert plain.json()["error"]


def omni_reads(sim: Simulator, protocol: ProtocolName, fault: str) -> Iterator[str]:
    """The text that omni's adapter reads before it raises."""
    speaker = adapter(protocol)
    path, body = STREAM[protocol]
    request = ChatRequest((Message.text_of("user", "Explain caching"),))
    slug = path.split("/")[1]
    call = speaker.build(
        request, body.get("model", "gemini-2.0-flash"), Endpoint(sim.base_url(slug), "k")
    )
    headers = {**call.headers, "x-sim-fault": fault}
    answer = http.request(call.method, call.url, headers=headers, content=call.body)
    split, parser = splitter(call.framing), speaker.parser(stream=True)
    for event in (*split.feed(answer.content), *split.finish()):
        yield from (chunk.text for chunk in parser.feed(event))
    yield from (chunk.text for chunk in parser.finish())


@each_protocol
@pytest.mark.parametrize("fault", ["truncate:2", "malformed", "error-in-stream:1", "truncate:0"])
def test_the_adapters_raise_a_typed_error_for_a_broken_stream(
    sim: Simulator, protocol: ProtocolName, fault: str
) -> None:
    with pytest.raises(errors.ProviderError) as caught:
        list(omni_reads(sim, protocol, fault))
    expected = errors.Overloaded if fault.startswith("error") else errors.Malformed
    assert isinstance(caught.value, expected)


@each_way
@each_protocol
def test_no_usage_and_empty(
    sim: Simulator, protocol: ProtocolName, ways: dict[ProtocolName, tuple[str, Json]]
) -> None:
    answer = post(sim, ways[protocol], "no-usage,empty")
    assert answer.status_code == 200
    for word in ("prompt_tokens", "input_tokens", "promptTokenCount", "eval_count", "[simul"):
        assert word not in answer.text
    assert sim.stats()["answered"] == 1


def test_huge_is_as_large_as_asked(sim: Simulator) -> None:
    plain = post(sim, PLAIN["openai"], "huge:20000").json()
    assert plain["usage"]["completion_tokens"] == 20_000
    path, body = STREAM["openai"]
    options = {"stream_options": {"include_usage": True}}
    streamed = post(sim, (path, body | options), "huge:20000").content
    assert b'"completion_tokens":20000' in streamed
    assert len(streamed) > 200_000


def test_faults_by_a_mark_in_the_prompt(sim: Simulator) -> None:
    path, body = PLAIN["openai"]
    marked = {"role": "user", "content": "Explain [[sim:429:3*2]]"}
    answers = [
        http.post(sim.url + path, json=body | {"messages": [marked]}).status_code for _ in range(3)
    ]
    assert answers == [429, 429, 200]
    # Only the newest question counts: a conversation gets over its failures.
    later = [marked, {"role": "assistant", "content": "x"}, {"role": "user", "content": "go on"}]
    assert http.post(sim.url + path, json=body | {"messages": later}).status_code == 200


def test_faults_by_rule_and_healing(sim: Simulator) -> None:
    sim.fault("529", "anthropic/*", first=1)
    sim.fault("401", "openai/gpt-4o")
    assert post(sim, PLAIN["openai"], "").status_code == 401
    assert post(sim, PLAIN["anthropic"], "").status_code == 529
    assert post(sim, PLAIN["anthropic"], "").status_code == 200
    assert post(sim, PLAIN["ollama"], "").status_code == 200
    sim.heal()
    assert post(sim, PLAIN["openai"], "").status_code == 200


def test_a_provider_that_is_down_lists_no_models(sim: Simulator) -> None:
    sim.fault("503", "openai/*")
    assert http.get(sim.url + "/openai/v1/models").status_code == 503
    assert http.get(sim.url + "/deepseek/v1/models").status_code == 200


def test_rules_over_http(sim: Simulator) -> None:
    url = sim.url + "/__sim/faults"
    rules = ["gpt-4o=429:2*1", {"fault": "500", "match": "ollama/*"}]
    assert http.post(url, json=rules).status_code == 200
    assert post(sim, PLAIN["openai"], "").headers["retry-after"] == "2"
    assert post(sim, PLAIN["ollama"], "").status_code == 500
    listed = http.get(url).json()
    assert [rule["asked"] for rule in listed["rules"]] == [1, 1]
    assert set(listed["kinds"]) == set(KINDS)
    assert http.post(url, json={"fault": "nope"}).status_code == 400
    http.delete(url)
    assert post(sim, PLAIN["ollama"], "").status_code == 200


@pytest.mark.parametrize("fault", ["nope", "429:x"])
def test_an_unknown_fault_is_refused_with_the_known_ones(sim: Simulator, fault: str) -> None:
    answer = post(sim, PLAIN["openai"], fault)
    assert answer.status_code == 400
    assert "reset-mid" in answer.json()["error"]["message"]


def test_a_whole_server_may_fail() -> None:
    with Simulator(faults=["500"]) as broken:
        assert post(broken, PLAIN["openai"], "").status_code == 500
        assert post(broken, PLAIN["gemini"], "").status_code == 500
