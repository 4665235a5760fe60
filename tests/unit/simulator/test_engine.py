import json
from collections.abc import Mapping
from random import Random
from typing import Any

import pytest

from omni_cli.simulator import engine
from omni_cli.simulator.ask import Ask, Reply, ToolSpec, Turn
from omni_cli.simulator.text import answer, sample
from omni_cli.simulator.tokens import PromptCache, prompt_hash
from omni_cli.simulator.vendors import VENDORS

OPENAI = VENDORS["openai"]


def _ask(text: str, model: str = "gpt-4o", **fields: Any) -> Ask:
    return Ask(model=model, turns=(Turn("user", text),), **fields)


def _reply(ask: Ask, seed: int = 0, shape: Mapping[str, float | None] | None = None) -> Reply:
    return engine.reply(
        ask,
        vendor=OPENAI,
        provider="openai",
        seed=seed,
        ident="0",
        cache=PromptCache(),
        shape=shape or {},
        input_tokens=engine.input_tokens(ask, OPENAI),
        prompt_hash=prompt_hash(ask),
    )


def test_answers_depend_on_seed_model_and_prompt_alone() -> None:
    ask = _ask("Explain how budgets and leases keep spending below its limit")
    assert _reply(ask).whole_text == _reply(ask).whole_text
    seeds = {_reply(ask, seed).whole_text for seed in range(8)}
    assert len(seeds) > 1
    assert _reply(ask).whole_text != _reply(_ask(ask.last_user, "gpt-4")).whole_text


@pytest.mark.parametrize("prompt", ["hi", "Write a python function", "Summarise this", "?", ""])
def test_every_answer_says_that_it_is_simulated(prompt: str) -> None:
    assert _reply(_ask(prompt)).whole_text.startswith("[simulated gpt-4o] ")


@pytest.mark.parametrize(
    ("prompt", "part"),
    [
        ("What is 12 * 12?", "144"),
        ("What is 7 / 2?", "3.5"),
        ("What is 1 / 0?", "no value"),
        ("Reply with exactly: OK", "] OK"),
        ("Say just 'pong'.", "] pong"),
        ("Write a python function that parses dates", "```python"),
        ("I get this traceback: KeyError", "likely cause"),
        ("Summarize the meeting notes", "Summary:"),
        ("List three steps", "1. "),
    ],
)
def test_the_kind_of_prompt_decides_the_kind_of_answer(prompt: str, part: str) -> None:
    assert part in answer("m", prompt, 0, Random(0))


def test_the_limit_cuts_and_counts() -> None:
    whole = _reply(_ask("Explain caching"))
    cut = _reply(_ask("Explain caching", max_tokens=7))
    assert whole.finish == "stop"
    assert cut.finish == "length"
    assert cut.usage is not None
    assert cut.usage.output_tokens == 7
    assert whole.whole_text.startswith(cut.whole_text)


def test_thoughts_count_first_and_may_use_up_the_limit() -> None:
    whole = _reply(_ask("Explain caching", "o3"))
    assert whole.usage is not None
    assert 0 < whole.usage.reasoning_tokens < whole.usage.output_tokens
    cut = _reply(_ask("Explain caching", "o3", max_tokens=5))
    assert (cut.finish, cut.whole_text) == ("length", "")
    assert cut.usage is not None
    assert cut.usage.reasoning_tokens == cut.usage.output_tokens == 5


@pytest.mark.parametrize(
    ("model", "thinks"),
    [
        ("o1", True),
        ("openai/o3-mini", True),
        ("gpt-5", True),
        ("deepseek-reasoner", True),
        ("kimi-k2-thinking", True),
        ("gemini-2.5-pro", True),
        ("gpt-4o", False),
        ("deepseek-chat", False),
        ("gemini-2.0-flash", False),
        ("claude-3-opus-20240229", False),
    ],
)
def test_reasoning_models_are_known_by_name(model: str, thinks: bool) -> None:
    assert engine.is_reasoning(model) is thinks


def test_a_stop_sequence_ends_the_answer() -> None:
    text = _reply(_ask("Explain caching", stop=("] ",))).whole_text
    assert text == "[simulated gpt-4o"


TOOLS = (
    ToolSpec("get_time", {}),
    ToolSpec(
        "get_weather",
        {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
            "required": ["city"],
        },
    ),
)


def test_a_named_tool_is_called_with_arguments_of_its_schema() -> None:
    reply = _reply(_ask("Please get weather for Oslo, 3 days", tools=TOOLS))
    assert reply.finish == "tool_calls"
    assert reply.calls[0].name == "get_weather"
    assert json.loads(reply.calls[0].arguments) == {"city": "Oslo", "days": 3}


@pytest.mark.parametrize(
    ("choice", "called"),
    [("none", None), ("required", "get_time"), ("get_weather", "get_weather"), ("auto", None)],
)
def test_the_tool_choice_decides(choice: str, called: str | None) -> None:
    reply = _reply(_ask("Hello", tools=TOOLS, tool_choice=choice))
    assert (reply.calls[0].name if reply.calls else None) == called


def test_a_tool_result_is_answered_in_words() -> None:
    turns = (Turn("user", "use get_time"), Turn("assistant", "{}"), Turn("tool", "12:00"))
    assert _reply(Ask(model="m", turns=turns, tools=TOOLS)).finish == "stop"


def test_calls_that_the_prompt_dictates_are_made_one_a_turn() -> None:
    prompt = (
        """Work. [[call:get_time {"zone": "[a]"}]] [[call:nobody {}]] [[call:get_weather {}]]"""
    )
    turns = [Turn("system", "get_time"), Turn("user", prompt)]
    made = []
    for _ in range(4):
        reply = _reply(Ask(model="m", turns=tuple(turns), tools=TOOLS))
        made.append([(call.name, call.arguments) for call in reply.calls])
        turns += [Turn("assistant", ""), Turn("tool", "done"), Turn("user", "get_time or not?")]
    assert made == [[("get_time", '{"zone": "[a]"}')], [("get_weather", "{}")], [], []]
    assert reply.finish == "stop"


def test_json_mode_gives_json_that_says_it_is_simulated() -> None:
    value = json.loads(_reply(_ask("Give me JSON", json_mode=True)).whole_text)
    assert value["simulated"] is True


def test_a_schema_is_followed() -> None:
    schema = {
        "$defs": {"line": {"type": "object", "properties": {"sku": {"type": "string"}}}},
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "colour": {"enum": ["red", "blue"]},
            "count": {"type": "integer", "minimum": 2, "maximum": 5},
            "ratio": {"type": ["number", "null"]},
            "when": {"type": "string", "format": "date"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}, "minItems": 2},
            "ok": {"type": "boolean"},
            "either": {"anyOf": [{"const": 4}, {"type": "null"}]},
        },
    }
    value = sample(schema, "make it blue for Anna, 9 pieces", Random(1), schema)
    assert value["name"] == "Anna"
    assert value["colour"] == "blue"
    assert value["count"] == 5
    assert value["ratio"] == 9.0
    assert value["when"] == "2026-01-31"
    assert [set(line) for line in value["lines"]] == [{"sku"}, {"sku"}]
    assert isinstance(value["ok"], bool)
    assert value["either"] == 4


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert isinstance(sample(schema, "", Random(0), schema), dict)


def test_faults_shape_the_answer() -> None:
    ask = _ask("Explain caching", max_tokens=50)
    assert _reply(ask, shape={"no-usage": None}).usage is None
    empty = _reply(ask, shape={"empty": None})
    assert (empty.whole_text, empty.finish) == ("", "stop")
    huge = _reply(ask, shape={"huge": 5000.0})
    assert huge.usage is not None
    assert huge.usage.output_tokens == 5000
    assert len(huge.whole_text) > 20_000


def test_images_are_seen_and_counted() -> None:
    ask = Ask(model="gpt-4o", turns=(Turn("user", "What is this?", 2),))
    assert "2 images" in _reply(ask).whole_text
    without = Ask(model="gpt-4o", turns=(Turn("user", "What is this?"),))
    more = engine.input_tokens(ask, OPENAI) - engine.input_tokens(without, OPENAI)
    assert more == 2 * OPENAI.image_tokens
