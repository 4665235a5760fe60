"""C7 as properties: order and repetition change no total, and no input makes a reader fail."""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni_cli.domain.chat import Usage
from omni_cli.domain.imports import ImportedCall, ImportProblem, InvoiceLine, collapse, split_usage
from omni_cli.importers import files, importers, load
from omni_cli.importers.values import Unreadable, count, make_usage, nusd
from omni_cli.services.money.reconciling import compare

TOKENS = st.integers(0, 10**7)
DAYS = st.sampled_from(["2026-03-01", "2026-03-02", "2026-03-03"])
MODELS = st.sampled_from(["a", "b", None])


@contextmanager
def folder() -> Iterator[Path]:
    # Hypothesis forbids a function's tmp_path, which would be shared by its examples.
    with TemporaryDirectory() as name:
        yield Path(name)


@st.composite
def answers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Transcript lines of some answers, each streamed as several growing lines."""
    lines = []
    for number in range(draw(st.integers(1, 5))):
        fresh, reads = draw(TOKENS), draw(TOKENS)
        states = sorted(draw(st.lists(TOKENS, min_size=1, max_size=4)))
        for step, out in enumerate(states):
            usage = {
                "input_tokens": fresh,
                "cache_read_input_tokens": reads,
                "cache_creation_input_tokens": 0,
                "output_tokens": out,
            }
            lines.append(
                {
                    "type": "assistant",
                    "timestamp": f"2026-03-01T10:0{number}:0{step}.000Z",
                    "sessionId": "s",
                    "requestId": f"req_{number}",
                    "isSidechain": draw(st.booleans()),
                    "message": {"id": f"msg_{number}", "model": "claude-x", "usage": usage},
                }
            )
    return lines


def totals(path: Path) -> tuple[int, int, int, int]:
    calls = load("claude-code", [path]).calls
    found = [call.usage for call in calls if call.usage]
    return (
        len(found),
        sum(u.input_tokens for u in found),
        sum(u.cached_tokens for u in found),
        sum(u.output_tokens for u in found),
    )


@given(answers(), st.randoms(use_true_random=False), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_shuffled_repeated_and_scattered_lines_give_the_same_totals(
    lines: list[dict[str, Any]], rng: random.Random, parts: int
) -> None:
    # A line's own flag must not differ within one answer for the sums to be comparable.
    for line in lines:
        line["isSidechain"] = lines[0]["isSidechain"]
    best: dict[str, dict[str, int]] = {}
    for line in lines:
        usage = line["message"]["usage"]
        known = best.setdefault(line["requestId"], usage)
        if usage["output_tokens"] > known["output_tokens"]:
            best[line["requestId"]] = usage
    want = (
        len(best),
        sum(u["input_tokens"] + u["cache_read_input_tokens"] for u in best.values()),
        sum(u["cache_read_input_tokens"] for u in best.values()),
        sum(u["output_tokens"] for u in best.values()),
    )
    texts = [json.dumps(line) for line in lines]
    texts += [rng.choice(texts) for _ in range(rng.randrange(6))]
    rng.shuffle(texts)
    with folder() as root:
        for part in range(parts):
            (root / f"{part}.jsonl").write_text("\n".join(texts[part::parts]) + "\n", "utf-8")
        assert totals(root) == want


CALLS = st.builds(
    ImportedCall,
    source=st.sampled_from(["x", "y"]),
    external_id=st.sampled_from(["1", "2", "3"]),
    at_ms=st.integers(0, 3),
    provider=st.none(),
    model=MODELS,
    usage=st.none() | st.builds(Usage, input_tokens=st.integers(0, 2), output_tokens=st.just(1)),
    recorded_cost_nusd=st.none() | st.integers(0, 2),
    message_id=st.none() | st.sampled_from(["m1", "m2"]),
    replay=st.booleans(),
    revision=st.integers(0, 1),
)


@given(st.lists(CALLS, max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_collapse_does_not_depend_on_order_or_repetition(
    calls: list[ImportedCall], rng: random.Random
) -> None:
    once = collapse(calls)
    mixed = [*calls, *(rng.choice(calls) for _ in calls)]
    rng.shuffle(mixed)
    assert collapse(mixed) == once
    assert collapse(once) == once
    keys = [(call.source, call.external_id) for call in once]
    assert len(set(keys)) == len(keys)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
#: For each format a good record, whose values are then replaced by anything.
RECORDS: dict[str, tuple[str, dict[str, Any]]] = {
    "claude-code": (
        ".jsonl",
        {
            "timestamp": "2026-03-01T10:00:00Z",
            "requestId": "r",
            "costUSD": 0.5,
            "cwd": "/w",
            "message": {
                "id": "m",
                "model": "claude-x",
                "usage": {"input_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 1}},
            },
        },
    ),
    "codex": (
        ".jsonl",
        {
            "timestamp": "2026-03-01T10:00:00Z",
            "type": "event_msg",
            "payload": {
                "type": "token_count",
                "model": "m",
                "info": {"total_token_usage": {"input_tokens": 5, "output_tokens": 1}},
            },
        },
    ),
    "gemini-cli": (
        ".jsonl",
        {
            "id": "m",
            "timestamp": "2026-03-01T10:00:00Z",
            "type": "gemini",
            "sessionId": "s",
            "tokens": {"input": 1, "output": 2, "cached": 3, "total": 6},
        },
    ),
    "opencode": (
        ".json",
        {
            "id": "m",
            "role": "assistant",
            "cost": 0.1,
            "time": {"created": 1_795_221_539_816, "completed": 1_795_221_540_816},
            "path": {"cwd": "/w"},
            "tokens": {"input": 1, "output": 2, "cache": {"read": 1, "write": 0}},
        },
    ),
    "litellm": (
        ".jsonl",
        {
            "request_id": "r",
            "startTime": "2026-03-01T09:00:03Z",
            "endTime": "2026-03-01T09:00:05Z",
            "model": "m",
            "spend": 0.1,
            "prompt_tokens": 1,
            "metadata": '{"usage_object": {"prompt_tokens_details": {"cached_tokens": 1}}}',
        },
    ),
    "aider": (
        ".jsonl",
        {
            "event": "message_send",
            "time": 1_755_100_406,
            "properties": {"main_model": "m", "prompt_tokens": 1, "cost": 0.1},
        },
    ),
    "openrouter": (
        ".json",
        {"data": [{"date": "2026-03-01", "usage": 0.1, "requests": 1, "prompt_tokens": 2}]},
    ),
    "openai": (
        ".json",
        {
            "data": [
                {
                    "start_time": 1,
                    "end_time": 2,
                    "results": [{"input_tokens": 1, "amount": {"value": 1, "currency": "usd"}}],
                }
            ]
        },
    ),
    "anthropic": (
        ".json",
        {
            "data": [
                {
                    "starting_at": "2026-03-01",
                    "ending_at": "2026-03-02",
                    "results": [{"uncached_input_tokens": 1, "amount": "1", "model": "m"}],
                }
            ]
        },
    ),
}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    if isinstance(value, dict | list):
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            yield from places(value[key], (*path, key))


def replaced(record: Any, path: tuple[Any, ...], value: Any) -> Any:
    copy = json.loads(json.dumps(record))
    target = copy
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return copy


@pytest.mark.parametrize("tool", list(RECORDS))
@given(data=st.data())
@settings(max_examples=80, deadline=None)
def test_no_value_in_any_place_makes_a_reader_fail(tool: str, data: st.DataObject) -> None:
    suffix, record = RECORDS[tool]
    place = data.draw(st.sampled_from(list(places(record))))
    damaged = replaced(record, place, data.draw(JSON))
    with folder() as root:
        path = root / f"msg_1{suffix}"
        path.write_text(json.dumps(damaged) + "\n", "utf-8")
        importer = importers[tool]
        items: list[Any] = list(importer.read(path))
        if importer.reports:
            items += importer.read_invoice(path)
    assert all(isinstance(i, ImportedCall | ImportProblem | InvoiceLine) for i in items)
    for item in items:
        if isinstance(item, ImportedCall):
            item.external_id.encode("utf-8")
            if item.usage is not None:
                assert min(split_usage(item.usage).values()) >= 0
                assert sum(split_usage(item.usage).values()) == item.usage.total_tokens


@pytest.mark.parametrize("tool", ["claude-code", "codex", "litellm", "csv", "llm", "opencode"])
@given(raw=st.binary(max_size=200))
@settings(max_examples=40, deadline=None)
def test_no_bytes_make_a_reader_fail(tool: str, raw: bytes) -> None:
    suffix = {"csv": ".csv", "llm": ".db", "opencode": ".db"}.get(tool, ".jsonl")
    with folder() as root:
        path = root / f"x{suffix}"
        path.write_bytes(raw)
        assert not [i for i in importers[tool].read(path) if isinstance(i, ImportedCall)]


@given(st.lists(JSON, max_size=6), st.integers(1, 40), st.sampled_from([None, 1]))
@example([0.5, -1.25e-7, 12, "]", {}], 1, None)
@settings(max_examples=60, deadline=None)
def test_an_array_read_in_pieces_is_the_array(
    values: list[Any], buffer: int, indent: int | None
) -> None:
    text = json.dumps(values, indent=indent)
    before = files._BUFFER_BYTES
    with folder() as root:
        path = root / "a.json"
        path.write_text(text, "utf-8")
        try:
            files._BUFFER_BYTES = buffer
            items = list(files.json_array(path))
        finally:
            files._BUFFER_BYTES = before
    found = [item[1] for item in items if isinstance(item, tuple)]
    assert json.dumps(found) == json.dumps(values)
    assert len(found) == len(items)


@given(st.decimals(0, 10**6, allow_nan=False, places=9))
def test_money_keeps_every_nano_dollar(amount: Decimal) -> None:
    assert nusd(str(amount), "cost") == int(amount * 10**9)


@given(JSON)
def test_a_count_is_a_whole_number_or_refused(value: Any) -> None:
    try:
        found = count(value, "n")
    except Unreadable:
        return
    assert found is None or (type(found) is int and found >= 0)


PART = st.none() | TOKENS


@given(PART, PART, PART, PART, PART, PART)
def test_parts_never_exceed_their_whole(
    given_in: int | None,
    given_out: int | None,
    cached: int | None,
    write: int | None,
    long: int | None,
    reasoning: int | None,
) -> None:
    usage, unstated = make_usage(
        given_in,
        given_out,
        cached=cached,
        cache_write=write,
        cache_write_1h=long,
        reasoning=reasoning,
    )
    assert (usage is None) == (given_in is None and given_out is None)
    assert ("input_tokens" in unstated) == (given_in is None)
    if usage is not None:
        assert usage.cached_tokens + usage.cache_write_tokens <= usage.input_tokens
        assert usage.cache_write_1h_tokens <= usage.cache_write_tokens
        assert usage.reasoning_tokens <= usage.output_tokens


KINDS = st.sampled_from(["input", "cached", "cache_write", "cache_write_1h", "output"])
LINES = st.builds(
    InvoiceLine,
    day=DAYS,
    model=MODELS,
    kind=KINDS,
    tokens=st.none() | TOKENS,
    cost_nusd=st.none() | TOKENS,
)


@given(st.lists(LINES, max_size=12), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_perfect_copy_has_no_drift(lines: list[InvoiceLine], rng: random.Random) -> None:
    copy = list(lines)
    rng.shuffle(copy)
    assert compare(lines, copy) == []


@given(st.lists(LINES, min_size=1, max_size=12), LINES, st.integers(1, 10**6))
@settings(deadline=None)
def test_every_added_token_and_nano_dollar_is_found(
    lines: list[InvoiceLine], base: InvoiceLine, extra: int
) -> None:
    invoice = [*lines, InvoiceLine(base.day, base.model, base.kind, 5, 5)]
    added = InvoiceLine(base.day, base.model, base.kind, extra, extra)
    drifts = compare([*invoice, added], invoice)
    assert {(d.measure, d.difference) for d in drifts} == {("tokens", extra), ("cost", extra)}
