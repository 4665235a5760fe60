"""Whoever writes a request: the provider's own bill stays within a budget and a maximum cost.

Set OMNI_BILL_CASES=10000 for the long run.
"""

import json
import os
import random
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.bootstrap import App
from omni_cli.domain.bounds import worst_nusd
from omni_cli.domain.budgets import Budget
from omni_cli.domain.chat import ChatRequest, MediaPart, Message, TextPart, Tool
from omni_cli.domain.errors import OmniError
from omni_cli.domain.models import ModelInfo, Provider
from omni_cli.domain.prices import Price, Rate
from omni_cli.gateway.asks import Ask, Thoughts
from omni_cli.records import StoredPrice
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.chat_plan import ChatJob
from omni_cli.services.engine.names import Selector
from omni_cli.services.engine.routing import RouteOptions
from omni_cli.simulator import Simulator
from omni_cli.wire.registry import adapter as adapter_of
from tests.gateway_server import Served, serving
from tests.greedy_upstream import IN_NUSD, MOST_OUT, OUT_NUSD, WINDOW, Upstream, upstream, usage
from tests.unit.gateway.test_asks import CALLERS

CASES = int(os.environ.get("OMNI_BILL_CASES", "100"))
#: Protocol -> the last part of a wire name, and the path its own callers ask.
PROTOCOLS = {
    "openai": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{}:generateContent",
    "ollama": "/api/chat",
}
#: Before 4.6: its adapter adds a budget of thinking to the limit.
WIRE = {"anthropic": "claude-sonnet-4-20250514", "gemini": "gemini-2.5-flash"}
_PRICE = Price(
    "priced",
    input=Rate(Decimal(IN_NUSD) / 1000),
    output=Rate(Decimal(OUT_NUSD) / 1000),
)


def _model(protocol: str) -> str:
    return f"g-{protocol}/{WIRE.get(protocol, 'm')}"


def _fleet(app: App, url: str) -> None:
    with app.fleet.change("test", "greedy", None, "test"):
        for protocol in PROTOCOLS:
            slug, wire = _model(protocol).split("/")
            base = f"{url}/v1" if protocol.startswith("openai") else url
            app.fleet.put_provider(
                Provider(slug, slug, protocol, base, auth_method="none", max_concurrency=512)  # type: ignore[arg-type]  # a protocol's name
            )
            app.models.put(
                ModelInfo(
                    f"{slug}/{wire}",
                    slug,
                    wire,
                    wire,
                    context_window=WINDOW,
                    max_output=MOST_OUT,
                    input_types=("text", "image", "audio", "document"),
                    badges=frozenset({"vision", "function-calling", "json-mode", "reasoning"}),
                ),
                now_ms=0,
            )
            app.models.set_price(f"{slug}/{wire}", _PRICE, origin="user", now_ms=0)


@pytest.fixture(scope="module")
def greedy() -> Iterator[Upstream]:
    with upstream() as there:
        yield there


@pytest.fixture(scope="module")
def gateway(greedy: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Simulator(seed=1) as sim, serving(tmp_path_factory.mktemp("bill"), sim) as served:
        _fleet(served.app, greedy.url)
        with httpx.Client(base_url=served.url, trust_env=False) as http:
            for _ in range(200):  # the gateway looks at its store a few times a second
                if _model("ollama") in http.get("/v1/models").text:
                    break
        yield served


# --- requests -------------------------------------------------------------------------------------


def _spelled(dice: random.Random, name: str) -> str:
    """A field's name as one server or another takes it."""
    parts = name.split("_")
    camel = parts[0] + "".join(part.title() for part in parts[1:])
    return dice.choice([name] * 6 + [camel] * 2 + [name.upper(), camel[:1].upper() + camel[1:]])


def _count(dice: random.Random) -> Any:
    n = dice.choice([1, 2, 5, 50, 200, 1_000, 5_000, 100_000])
    return dice.choice(
        [n] * 4
        + [str(n), f" {n} ", float(n), f"{n}.0", hex(n), f"{n:_}", n + 0.5, -1, 0, None, -2, True]
        + [f"{n}e1", [n], {"n": n}, "many", 10**12]
    )


_URL = "https://example.org/a"


def _openai(dice: random.Random) -> dict[str, Any]:
    content: Any = "Say it"
    if dice.random() < 0.3:
        part = dice.choice(
            [
                {"type": "image_url", "image_url": {"url": _URL}},
                {"type": "file", "file": {"file_id": "file-1"}},
                {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
                {"type": "document_url", "file_url": _URL},
            ]
        )
        content = [{"type": "text", "text": "Say it"}, part]
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    for name in ("max_tokens", "max_completion_tokens", "n", "best_of", "n_predict"):
        if dice.random() < 0.3:
            body[_spelled(dice, name)] = _count(dice)
    extras: list[tuple[str, Any]] = [
        ("prediction", {"type": "content", "content": "x " * 3_000}),
        ("service_tier", dice.choice(["priority", "default", "auto"])),
        ("reasoning", {"max_tokens": _count(dice)}),
        ("thinking_budget", _count(dice)),
        ("made_up", _count(dice)),
        ("num_generations", _count(dice)),
        ("modalities", ["text", "audio"]),
        ("web_search_options", {}),
        ("conversation", "conv_1"),
        ("top_p", 0.5),
        ("user", "me"),
    ]
    for name, value in dice.sample(extras, dice.choice([0, 0, 1, 2])):
        body[_spelled(dice, name)] = value
    return body


def _responses(dice: random.Random) -> dict[str, Any]:
    item = dice.choice(
        [
            {"type": "item_reference", "id": "msg_1"},
            {"role": "user", "content": [{"type": "input_file", "file_url": _URL}]},
            {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]},
            {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
            {"type": "compaction", "encrypted_content": "AA"},
        ]
    )
    asked: Any = dice.choice(["Say it", [{"role": "user", "content": "Say it"}, item]])
    body: dict[str, Any] = {"input": asked}
    if dice.random() < 0.7:
        body[_spelled(dice, "max_output_tokens")] = _count(dice)
    extras: list[tuple[str, Any]] = [
        ("previous_response_id", "resp_1"),
        ("conversation", {"id": "conv_1"}),
        ("prompt", {"id": "pmpt_1"}),
        (
            "tools",
            [{"type": dice.choice(["web_search", "file_search", "mcp", "image_generation"])}],
        ),
        ("tools", [{"type": "function", "name": "f", "parameters": {}}]),
        ("max_tool_calls", _count(dice)),
        ("service_tier", "priority"),
        ("max_tokens", _count(dice)),
        ("n", _count(dice)),
        ("context_management", [{"type": "compaction", "compact_threshold": 1_000}]),
        ("truncation", "auto"),
        ("store", True),
    ]
    for name, value in dice.sample(extras, dice.choice([0, 1, 1, 2, 3])):
        body[_spelled(dice, name)] = value
    return body


def _anthropic(dice: random.Random) -> dict[str, Any]:
    block = dice.choice(
        [
            {"type": "text", "text": "hi"},
            {"type": "document", "source": {"type": "url", "url": _URL}},
            {"type": "document", "source": {"type": "file", "file_id": "file_1"}},
            {"type": "image", "source": {"type": "url", "url": _URL}},
            {"type": "container_upload", "file_id": "file_1"},
        ]
    )
    content: Any = dice.choice(["Say it", [{"type": "text", "text": "Say it"}, block]])
    body: dict[str, Any] = {"messages": [{"role": "user", "content": content}]}
    body["max_tokens"] = _count(dice)
    if dice.random() < 0.2:
        body[_spelled(dice, "max_tokens")] = _count(dice)
    extras: list[tuple[str, Any]] = [
        ("thinking", {"type": "enabled", "budget_tokens": dice.choice([1_024, 20_000, "9000"])}),
        ("tools", [{"type": "web_search_20250305", "name": "web_search"}]),
        ("tools", [{"type": "web_search_20250305", "name": "web_search", "max_uses": 2}]),
        ("tools", [{"type": "code_execution_20250825", "name": "code_execution"}]),
        ("tools", [{"type": "advisor_20260301", "model": "claude-opus-4-8"}]),
        ("mcp_servers", [{"type": "url", "url": _URL, "name": "m"}]),
        ("container", "container_1"),
        ("thread", {"id": "thread_1"}),
        ("fallbacks", [{"model": "claude-opus-4-8"}]),
        ("speed", "fast"),
        ("n", _count(dice)),
        ("context_management", {"edits": [{"type": "clear_thinking_20251015"}]}),
    ]
    for name, value in dice.sample(extras, dice.choice([0, 1, 1, 2])):
        body[_spelled(dice, name)] = value
    return body


def _gemini(dice: random.Random) -> dict[str, Any]:
    part = dice.choice(
        [
            {"text": "hi"},
            {"fileData": {"fileUri": _URL, "mimeType": "video/mp4"}},
            {"file_data": {"file_uri": _URL}},
            {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
        ]
    )
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": [{"text": "Say it"}, part]}]}
    for name in dice.sample(["generationConfig", "generation_config"], dice.choice([0, 1, 1, 2])):
        config = body[name] = {}
        for key in ("max_output_tokens", "candidate_count", "made_up_count"):
            if dice.random() < 0.4:
                config[_spelled(dice, key)] = _count(dice)
        if dice.random() < 0.2:
            config["thinkingConfig"] = {"thinkingBudget": dice.choice([-1, 0, 512, 30_000])}
    extras: list[tuple[str, Any]] = [
        ("cached_content", "cachedContents/1"),
        ("tools", [{dice.choice(["googleSearch", "google_search", "urlContext"]): {}}]),
        ("tools", [{"functionDeclarations": [{"name": "f"}]}]),
        ("safety_settings", []),
        ("service_tier", "priority"),
    ]
    for name, value in dice.sample(extras, dice.choice([0, 0, 1, 2])):
        body[_spelled(dice, name)] = value
    return body


def _ollama(dice: random.Random) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Say it"}], "stream": False}
    for name in dice.sample(["options", "Options", "OPTIONS"], dice.choice([0, 1, 1, 2])):
        body[name] = {_spelled(dice, "num_predict"): _count(dice), "num_ctx": 1_000_000}
    extras: list[tuple[str, Any]] = [
        ("max_tokens", _count(dice)),
        ("n", _count(dice)),
        ("think", True),
        ("template", "{{ .Prompt }}"),
    ]
    return body | dict(dice.sample(extras, dice.choice([0, 0, 1])))


_WRITERS = {
    "openai": _openai,
    "openai-responses": _responses,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}


def _bytes(dice: random.Random, body: dict[str, Any]) -> bytes:
    """As JSON; now and then a field is there twice, the second time with another value."""
    text = json.dumps(body)
    if dice.random() < 0.1:
        name = dice.choice(list(body))
        value = (
            _count(dice) if name not in ("messages", "contents", "input", "model") else body[name]
        )
        first = json.dumps({name: value})[1:-1]
        text = "{" + first + ", " + text[1:]
    return text.encode()


def _case(dice: random.Random) -> tuple[str, str, bytes]:
    """(path, target protocol, body) of a request."""
    caller = dice.choice(list(PROTOCOLS))
    target = caller if dice.random() < 0.75 else dice.choice(list(PROTOCOLS))
    body = _WRITERS[caller](dice)
    if caller == "anthropic" or caller != target:
        body.setdefault("max_tokens", 100)
    if caller != target and caller == "openai" and dice.random() < 0.5:
        messages = [{"role": "user", "content": "Say it"}]
        body = {"messages": messages, "max_tokens": dice.choice([10, 100, 4_000])}
        body["reasoning_effort"] = dice.choice(["low", "medium", "high"])
    model = _model(target)
    if caller != "gemini":
        body = {"model": model, **body}
    return PROTOCOLS[caller].format(model), target, _bytes(dice, body)


def _held(greedy: Upstream, limit: int, asked: str) -> None:
    if greedy.bill_nusd > limit:
        bodies = "\n".join(map(repr, greedy.bodies))
        pytest.fail(f"{greedy.bill_nusd} of {limit}\n{asked}\n{bodies}", pytrace=False)


# --- the laws -------------------------------------------------------------------------------------


def test_what_goes_out_costs_no_more_than_its_bound() -> None:
    """Without a gateway between: the bytes as they are limited, at their dearest reading."""
    dice, seen = random.Random("bytes" + os.environ.get("OMNI_BILL_SEED", "")), Counter[str]()
    price = StoredPrice(1, "user", _PRICE)
    for _ in range(CASES * 10):
        protocol = dice.choice(list(PROTOCOLS))
        body = _bytes(dice, {"model": "m", **_WRITERS[protocol](dice)})
        model = ModelInfo("x/m", "x", "m", "m", context_window=WINDOW, max_output=MOST_OUT)
        provider = Provider("x", "x", protocol, "http://127.0.0.1:9/v1")  # type: ignore[arg-type]  # a protocol's name
        adapter = adapter_of(provider.protocol)
        try:
            ask = Ask(CALLERS[protocol], body, model="m", stream=False)
            sent, _ = ask.passed(Target(model, provider, price, 0, 1_000), adapter, {}, Thoughts())
            most = sent.most()
        except OmniError as exc:
            seen[exc.code] += 1
            continue
        each = dice.choice([most.each, most.each, dice.randint(1, most.each)])
        sent.limit(each)
        into, out = usage(sent.written())
        bill, bound = into * IN_NUSD + out * OUT_NUSD, worst_nusd(most, _PRICE, each)
        if bill > bound:
            pytest.fail(f"{bill} of {bound}: {body!r} as {sent.written()!r}", pytrace=False)
        seen["held"] += 1
    print(f"bytes: {dict(seen)}")  # noqa: T201  # the long run's figure
    assert seen["held"] > CASES
    assert seen["budget_exceeded"] > CASES // 10


def test_a_providers_bill_stays_within_a_budget(gateway: Served, greedy: Upstream) -> None:
    """Also where answers break off when they have been made, and are asked for again."""
    dice, seen = random.Random("bill" + os.environ.get("OMNI_BILL_SEED", "")), Counter[int]()
    greedy.fate = lambda: dice.choice(["", "", "", "", "", "cut", "500"])
    number = 0
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as http:
        while number < CASES:
            limit = dice.choice([3_000_000, 20_000_000, 150_000_000, 2_000_000_000])
            agent = f"case-{number}"
            gateway.app.budgets.put(Budget(0, "agent", agent, "day", limit))
            greedy.forget()
            for _ in range(3):
                number += 1
                path, _, body = _case(dice)
                answer = http.post(path, content=body, headers={"x-omni-agent": agent})
                seen[answer.status_code] += 1
                if answer.status_code not in (200, 400, 402, 502, 503):
                    pytest.fail(f"{answer.status_code} {answer.text} {body!r}", pytrace=False)
                _held(greedy, limit, f"{path} {body!r}")
            gateway.app.budgets.delete(gateway.app.budgets.all()[-1].id)
    print(f"budgets: {number} requests, by status {dict(seen)}")  # noqa: T201  # the long run's figure
    assert seen[200] > number // 5
    assert seen[402] > number // 50


def test_a_providers_bill_stays_within_a_maximum(gateway: Served, greedy: Upstream) -> None:
    """With retries of answers that broke off when they had been made, and hedges."""
    dice, seen = random.Random("most" + os.environ.get("OMNI_BILL_SEED", "")), Counter[int]()
    greedy.fate = lambda: dice.choice(["", "", "cut", "500"])
    with httpx.Client(base_url=gateway.url, timeout=20, trust_env=False) as http:
        for _ in range(CASES // 4):
            limit = dice.choice([3_000_000, 20_000_000, 150_000_000])
            greedy.forget()
            path, _, body = _case(dice)
            headers = {"x-omni-max-cost": str(Decimal(limit).scaleb(-9))}
            if dice.random() < 0.3:
                headers["x-omni-hedge"] = "50"
            answer = http.post(path, content=body, headers=headers)
            seen[answer.status_code] += 1
            _held(greedy, limit, f"{path} {body!r}")
    print(f"maximum: {CASES // 4} requests, by status {dict(seen)}")  # noqa: T201  # the long run's figure
    assert seen[200]


def _request(dice: random.Random) -> ChatRequest:
    parts: tuple[Any, ...] = (TextPart("Say it " * dice.choice([1, 50])),)
    if dice.random() < 0.2:
        parts += (
            dice.choice(
                [
                    MediaPart("application/pdf", url=_URL),
                    MediaPart("image/png", data="AAAA"),
                    MediaPart("application/pdf", data="AAAA"),
                ]
            ),
        )
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    return ChatRequest(
        (Message("user", parts),),
        tools=(Tool("f", "does it", schema),) if dice.random() < 0.2 else (),
        max_output_tokens=dice.choice([None, 10, 300, 5_000, 100_000]),
        reasoning_effort=dice.choice([None, None, "low", "high"]),
        json_schema=schema if dice.random() < 0.1 else None,
        stream=False,
    )


async def _no_wait(_: float) -> None:
    """Between two tries."""


@pytest.mark.parametrize("kind", ["budget", "maximum"])
def test_the_command_lines_calls_hold_to_it_too(
    greedy: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    dice, outcomes = random.Random(kind + os.environ.get("OMNI_BILL_SEED", "")), Counter[str]()
    monkeypatch.setattr("omni_cli.services.engine.own.pause", _no_wait)
    greedy.fate = lambda: dice.choice(["", "", "cut", "500"])
    with App({"OMNI_HOME": str(tmp_path), "USER": "test"}, durable=False) as app:
        _fleet(app, greedy.url)
        for number in range(CASES // 4):
            limit = dice.choice([3_000_000, 20_000_000, 150_000_000])
            agent = f"case-{number}"
            if kind == "budget":
                app.budgets.put(Budget(0, "agent", agent, "day", limit))
            most = limit if kind == "maximum" else None
            greedy.forget()
            for _ in range(2 if kind == "budget" else 1):
                job = ChatJob(
                    _request(dice),
                    Selector("model", _model(dice.choice(list(PROTOCOLS)))),
                    options=RouteOptions(agent=agent, max_cost_nusd=most),
                    keep=False,
                )
                try:
                    run = app.chat.start(app.chat.plan(job))
                    list(app.chat.chunks(run))
                except OmniError as exc:
                    outcomes[exc.code] += 1
                else:
                    outcomes["ok"] += 1
                _held(greedy, limit, repr(job))
            if kind == "budget":
                app.budgets.delete(app.budgets.all()[-1].id)
    print(f"command line, {kind}: {dict(outcomes)}")  # noqa: T201  # the long run's figure
    assert outcomes["ok"]
    assert outcomes["budget_exceeded"]
