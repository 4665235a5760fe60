"""What a request of one protocol becomes for a model of another, field by field."""

import base64
import json
import re
from typing import Any

import pytest

from omni_cli.domain.chat import ChatChunk, Completion, ToolCall, ToolCallDelta
from omni_cli.domain.errors import BadRequest
from omni_cli.domain.models import ModelInfo, ProtocolName, Provider
from omni_cli.gateway.plans import written
from omni_cli.ports import Endpoint, HttpCall
from omni_cli.services.engine.attempts import Target
from omni_cli.services.engine.sending import Sending, fields_of
from omni_cli.wire.anthropic.server import AnthropicMessages
from omni_cli.wire.faults import is_foreign_thought
from omni_cli.wire.gemini.server import GeminiContent
from omni_cli.wire.ollama.server import OllamaChat
from omni_cli.wire.openai.server import OpenAiChat
from omni_cli.wire.reader import AnswerReader
from omni_cli.wire.registry import adapter, callers
from omni_cli.wire.responses.server import OpenAiResponses
from omni_cli.wire.server import Answered, one_text_of
from tests.unit.providers.wire import completion

Body = dict[str, Any]
CALLERS = {
    "openai": OpenAiChat(),
    "openai-responses": OpenAiResponses(),
    "anthropic": AnthropicMessages(),
    "gemini": GeminiContent(),
    "ollama": OllamaChat(),
}
PROTOCOLS: tuple[ProtocolName, ...] = (
    "openai",
    "openai-responses",
    "anthropic",
    "gemini",
    "ollama",
)
MODELS = {
    "openai": "gpt-4o",
    "openai-responses": "gpt-4o",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-3-pro",
    "ollama": "qwen3",
}
PNG = "iVBORw0KGgo="
SCHEMA = {"type": "object", "properties": {"p": {"type": "string"}}}


def model_of(wire_name: str, **fields: Any) -> ModelInfo:
    fields.setdefault("badges", frozenset({"reasoning"}))
    return ModelInfo(f"p/{wire_name}", "p", wire_name, wire_name, **fields)


def call_of(
    caller: str,
    body: Body,
    protocol: ProtocolName,
    wire_name: str = "",
    base_url: str = "https://models.example/v1",
    **fields: Any,
) -> HttpCall:
    model = model_of(wire_name or MODELS[protocol], **fields)
    parsed = CALLERS[caller].parse(body)
    return written(parsed, model, protocol, Endpoint(base_url, "k"), stream=False)


def sent(*args: Any, **fields: Any) -> Any:
    return json.loads(call_of(*args, **fields).body or b"")


# --- small requests of each protocol --------------------------------------------------------------


def ask(caller: str, **more: Any) -> Body:
    """One question."""
    if caller == "openai-responses":
        return {"model": "m", "input": "hi", **more}
    if caller == "gemini":
        return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], **more}
    body: Body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **more}
    return {"max_tokens": 99, **body} if caller == "anthropic" else body


def tools(caller: str, schema: Body | None = None, name: str = "read", **more: Any) -> list[Body]:
    schema = SCHEMA if schema is None else schema
    if caller == "anthropic":
        return [{"name": name, "description": "reads", "input_schema": schema, **more}]
    if caller == "openai-responses":
        return [{"type": "function", "name": name, "parameters": schema, **more}]
    if caller == "gemini":
        return [{"functionDeclarations": [{"name": name, "parametersJsonSchema": schema}]}]
    return [{"type": "function", "function": {"name": name, "parameters": schema, **more}}]


def loop(caller: str, ident: str = "call_1", result: Any = "ok", **more: Any) -> Body:
    """A question, a call of a tool, and its result."""
    args = {"p": "a"}
    if caller == "anthropic":
        return {
            "max_tokens": 99,
            "tools": tools(caller),
            "messages": [
                {"role": "user", "content": "go"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": ident, "name": "read", "input": args}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": ident, "content": result}],
                },
            ],
            **more,
        }
    if caller == "openai-responses":
        call = {"type": "function_call", "call_id": ident, "name": "read"}
        return {
            "tools": tools(caller),
            "input": [
                {"role": "user", "content": "go"},
                {**call, "arguments": json.dumps(args)},
                {"type": "function_call_output", "call_id": ident, "output": result},
            ],
            **more,
        }
    function = {"name": "read", "arguments": json.dumps(args)}
    return {
        "tools": tools(caller),
        "messages": [
            {"role": "user", "content": "go"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": ident, "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": ident, "content": result},
        ],
        **more,
    }


def ids_in(value: Any) -> list[str]:
    """Every id of a call and of a result, in the order of the body."""
    found: list[str] = []
    if isinstance(value, list):
        return [ident for item in value for ident in ids_in(item)]
    if not isinstance(value, dict):
        return found
    if value.get("type") in ("tool_use", "function") and "id" in value:
        found.append(value["id"])
    for name in ("tool_use_id", "tool_call_id", "call_id"):
        found += [value[name]] if name in value else []
    return found + ids_in(list(value.values()))


# --- ids and names --------------------------------------------------------------------------------


@pytest.mark.parametrize("ident", ["functions.read:0", "", "llm:0", "x" * 90, "call 1", "ü"])
@pytest.mark.parametrize(
    ("protocol", "base_url", "pattern"),
    [
        ("anthropic", "https://api.anthropic.com", r"[a-zA-Z0-9_-]{1,64}"),
        ("openai", "https://api.openai.com/v1", r"\S{1,40}"),
        ("openai", "https://api.mistral.ai/v1", r"[a-zA-Z0-9]{9}"),
        ("openai-responses", "https://api.openai.com/v1", r"\S{1,64}"),
    ],
)
@pytest.mark.parametrize("caller", ["openai", "anthropic", "openai-responses"])
def test_ids_are_made_fit_and_stay_pairs(
    caller: str, protocol: ProtocolName, base_url: str, pattern: str, ident: str
) -> None:
    body = sent(caller, loop(caller, ident), protocol, base_url=base_url)
    call, result = ids_in(body.get("messages") or body.get("input"))
    assert re.fullmatch(pattern, call)
    assert call == result
    again = sent(caller, loop(caller, ident), protocol, base_url=base_url)
    assert ids_in(again) == ids_in(body), "a cache of the prompt wants the same every time"


def test_an_id_that_is_fit_stays() -> None:
    assert ids_in(sent("openai", loop("openai", "toolu_01AbC-9"), "anthropic")) == [
        "toolu_01AbC-9",
        "toolu_01AbC-9",
    ]


def test_ids_that_return_in_every_turn_become_different_ones() -> None:
    """Some servers number the calls of each answer from 0."""
    turns = loop("openai", "call_0")["messages"]
    body = sent("openai", {"messages": [*turns, *turns[1:]], "tools": tools("openai")}, "anthropic")
    first, first_result, second, second_result = ids_in(body["messages"])
    assert (first, second) == (first_result, second_result)
    assert first != second


def test_gemini_calls_without_ids_meet_their_results_in_order() -> None:
    cities = ("Paris", "Oslo")
    calls = [{"functionCall": {"name": "weather", "args": {"city": c}}} for c in cities]
    results = [
        {"functionResponse": {"name": "weather", "response": {"output": f"{c} is fine"}}}
        for c in cities
    ]
    body = {
        "contents": [
            {"role": "user", "parts": [{"text": "weather?"}]},
            {"role": "model", "parts": calls},
            {"role": "user", "parts": results},
        ]
    }
    messages = sent("gemini", body, "openai")["messages"]
    asked = {c["id"]: c["function"]["arguments"] for c in messages[1]["tool_calls"]}
    told = {m["tool_call_id"]: m["content"] for m in messages[2:]}
    assert asked.keys() == told.keys()
    assert len(asked) == 2
    assert all(json.loads(asked[i])["city"] in told[i] for i in asked)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["mcp__" + "a" * 80, "read.file/now", "9lives", "größe"])
def test_names_are_made_fit_and_told_back(protocol: ProtocolName, name: str) -> None:
    request = ask("openai", tools=tools("openai", name=name), tool_choice="auto")
    call = call_of("openai", request, protocol)
    text = (call.body or b"").decode()
    (new,) = {*re.findall(r'"name":"([^"]*)"', text)} - {"answer"} or {name}
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", new) or protocol == "gemini"
    assert len(new) <= 64 or protocol == "anthropic"
    assert call.renamed.get(new, new) == name


# --- turns ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", ["openai", "openai-responses", "anthropic"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_later_instruction_keeps_its_place(caller: str, protocol: ProtocolName) -> None:
    turns = [
        {"role": "user", "content": "FIRST"},
        {"role": "assistant", "content": "SECOND"},
        {"role": "system" if caller != "openai-responses" else "developer", "content": "LATER"},
        {"role": "user", "content": "LAST"},
    ]
    body: Body = {"input" if caller == "openai-responses" else "messages": turns}
    if caller == "anthropic":
        body["max_tokens"] = 9
    text = json.dumps(sent(caller, body, protocol))
    places = [text.index(word) for word in ("FIRST", "SECOND", "LATER", "LAST")]
    assert places == sorted(places)
    assert "LATER" not in json.dumps(sent(caller, body, protocol).get("system", ""))


def test_an_instruction_among_results_stands_behind_them() -> None:
    body = loop("openai")
    body["messages"].insert(2, {"role": "system", "content": "be quick"})
    messages = sent("openai", body, "anthropic")["messages"]
    assert [b["type"] for b in messages[2]["content"]] == ["tool_result", "text"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_instructions_alone_are_a_question(protocol: ProtocolName) -> None:
    body = sent("openai", {"messages": [{"role": "system", "content": "say hi"}]}, protocol)
    assert "say hi" in json.dumps(body.get("messages") or body.get("input") or body["contents"])


def test_texts_do_not_run_together() -> None:
    system = [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Use JSON."}]
    body = sent("anthropic", {**ask("anthropic"), "system": system}, "openai")
    assert body["messages"][0]["content"] == "Be brief.\n\nUse JSON."


def test_a_cited_sentence_stays_whole() -> None:
    cut = [{"type": "text", "text": "The grass is "}, {"type": "text", "text": "green"}]
    cut.append({"type": "text", "text": ", the sky blue."})
    turns = [
        {"role": "user", "content": "?"},
        {"role": "assistant", "content": cut},
        {"role": "user", "content": "!"},
    ]
    body = sent("anthropic", {"max_tokens": 9, "messages": turns}, "openai")
    assert body["messages"][1]["content"] == "The grass is green, the sky blue."


# --- results of tools -----------------------------------------------------------------------------

IMAGES = {
    "anthropic": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
    },
    "openai": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    "openai-responses": {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
}


@pytest.mark.parametrize("caller", IMAGES)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_image_of_a_result_reaches_the_model(caller: str, protocol: ProtocolName) -> None:
    kind = "input_text" if caller == "openai-responses" else "text"
    result = [{"type": kind, "text": "Read image"}, IMAGES[caller]]
    body = loop(caller, result=result)
    call = call_of(caller, body, protocol)
    assert PNG.encode() in (call.body or b"")
    assert b"Read image" in (call.body or b"")
    held = protocol in ("anthropic", "openai-responses", "gemini")
    assert any("image" in what for what in call.told) is not held


def test_images_stand_behind_all_results_of_a_turn() -> None:
    calls = [{"type": "tool_use", "id": f"t{n}", "name": "read", "input": {}} for n in (1, 2)]
    results = [
        {"type": "tool_result", "tool_use_id": f"t{n}", "content": [IMAGES["anthropic"]]}
        for n in (1, 2)
    ]
    turns = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": calls},
        {"role": "user", "content": [*results, {"type": "text", "text": "and now?"}]},
    ]
    messages = sent("anthropic", {"max_tokens": 9, "messages": turns}, "openai")["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "tool", "tool", "user"]
    assert json.dumps(messages[-1]).count(PNG) == 2
    assert "and now?" in json.dumps(messages[-1])
    assert all(m["content"] for m in messages[2:4])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_failed_tool_is_known_to_have_failed(protocol: ProtocolName) -> None:
    body = loop("anthropic", result="no such file")
    body["messages"][2]["content"][0]["is_error"] = True
    text = json.dumps(sent("anthropic", body, protocol)).lower()
    assert "no such file" in text
    assert '"is_error": true' in text if protocol == "anthropic" else "error" in text


def test_a_reference_in_a_result_is_text_to_gemini() -> None:
    result = json.dumps({"schema": {"$ref": "#/$defs/X"}})
    body = sent("openai", loop("openai", result=result), "gemini")
    assert '"$ref"' not in json.dumps([p for c in body["contents"] for p in c["parts"]])
    assert "$defs/X" in json.dumps(body)


# --- tools ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"properties": {}},
        {"anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}}]},
        {"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {}}}}},
    ],
)
def test_parameters_are_an_object(protocol: ProtocolName, schema: Body) -> None:
    body = sent("openai", ask("openai", tools=tools("openai", schema)), protocol)
    text = json.dumps(body)
    if protocol == "gemini" and not schema:
        assert "parametersJsonSchema" not in text  # a function of nothing
        return
    (tool,) = body["tools"]
    tool = tool.get("functionDeclarations", [tool])[0]
    tool = tool.get("function", tool)
    found = next(
        tool[n] for n in ("parameters", "input_schema", "parametersJsonSchema") if n in tool
    )
    assert found["type"] == "object"
    assert not {"anyOf", "$ref"} & found.keys()
    assert "a" in found["properties"] or "a" not in json.dumps(schema.get("anyOf", ""))


def test_references_are_followed_for_ollama() -> None:
    schema = {
        "type": "object",
        "properties": {"at": {"$ref": "#/$defs/P"}},
        "$defs": {"P": {"type": "object", "properties": {"x": {"type": "number"}}}},
    }
    body = sent("openai", ask("openai", tools=tools("openai", schema)), "ollama")
    parameters = body["tools"][0]["function"]["parameters"]
    assert parameters["properties"]["at"]["properties"] == {"x": {"type": "number"}}
    assert "$ref" not in json.dumps(body)


PATCH = {"type": "custom", "name": "apply_patch", "description": "patches"}
GRAMMAR = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/s"}


@pytest.mark.parametrize("protocol", ["openai", "anthropic", "gemini", "ollama"])
def test_a_custom_tool_is_a_function_of_one_text(protocol: ProtocolName) -> None:
    patch = "*** Begin Patch\n*** End Patch"
    body: Body = {
        "tools": [{**PATCH, "format": GRAMMAR}],
        "input": [
            {"role": "user", "content": "patch it"},
            {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": patch},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done!"},
        ],
    }
    text = json.dumps(sent("openai-responses", body, protocol))
    assert "start: /.+/s" in text
    assert "Begin Patch" in text
    assert "Done!" in text
    assert '"input"' in text


@pytest.mark.parametrize("caller", ["openai", "anthropic", "openai-responses"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_one_call_at_a_time(caller: str, protocol: ProtocolName) -> None:
    more: Body = {"parallel_tool_calls": False}
    if caller == "anthropic":
        more = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    call = call_of(caller, ask(caller, tools=tools(caller), **more), protocol)
    body = json.loads(call.body or b"")
    if protocol == "anthropic":
        assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    elif protocol in ("openai", "openai-responses"):
        assert body["parallel_tool_calls"] is False
    else:
        assert "parallel_tool_calls" in call.told
    alone = call_of(caller, ask(caller, **more), protocol)
    assert b"parallel" not in (alone.body or b"")
    assert alone.told == ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_forced_tool(protocol: ProtocolName) -> None:
    choice = {"type": "function", "function": {"name": "read"}}
    body = sent("openai", ask("openai", tools=tools("openai"), tool_choice=choice), protocol)
    assert json.dumps(body).count("read") >= (1 if protocol == "ollama" else 2)


def test_a_providers_own_tool_is_left_out_beside_functions_and_refused_alone() -> None:
    own = {"type": "web_search"}
    both = ask("openai-responses", tools=[own, *tools("openai-responses")])
    call = call_of("openai-responses", both, "anthropic")
    assert "web_search" in call.told[0]
    with pytest.raises(BadRequest, match="web_search"):
        call_of("openai-responses", ask("openai-responses", tools=[own]), "anthropic")


# --- reasoning ------------------------------------------------------------------------------------

THOUGHT = {
    "anthropic": [
        {"type": "thinking", "thinking": "I must read", "signature": "sig"},
        {"type": "tool_use", "id": "call_1", "name": "read", "input": {}},
    ],
    "unsigned": [
        {"type": "thinking", "thinking": "I must read", "signature": ""},
        {"type": "tool_use", "id": "call_1", "name": "read", "input": {}},
    ],
}


@pytest.mark.parametrize("whose", THOUGHT)
@pytest.mark.parametrize(
    "base_url", ["https://api.deepseek.com", "https://api.moonshot.ai/v1", "http://127.0.0.1:1/v1"]
)
def test_thoughts_go_back_to_who_wants_them(whose: str, base_url: str) -> None:
    body = loop("anthropic")
    body["messages"][1]["content"] = THOUGHT[whose]
    messages = sent("anthropic", body, "openai", "deepseek-v4-pro", base_url)["messages"]
    assert messages[1]["reasoning_content"] == "I must read"


def test_a_turn_without_thoughts_says_so_to_who_wants_them() -> None:
    body = sent("anthropic", loop("anthropic"), "openai", "kimi-k2", "https://api.moonshot.ai/v1")
    assert body["messages"][1]["reasoning_content"] == ""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_foreign_signatures_stay_away(protocol: ProtocolName) -> None:
    encrypted = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "SECRET"}
    body = loop("openai-responses")
    body["input"].insert(1, encrypted)
    text = json.dumps(sent("openai-responses", body, protocol))
    assert ("SECRET" in text) is (protocol == "openai-responses")


@pytest.mark.parametrize(
    ("caller", "more"),
    [
        ("openai", {"reasoning_effort": "high"}),
        ("openai-responses", {"reasoning": {"effort": "high"}}),
        ("anthropic", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        ("gemini", {"generationConfig": {"thinkingConfig": {"thinkingLevel": "HIGH"}}}),
        ("ollama", {"think": True}),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_no_effort_to_a_model_that_does_not_reason(
    caller: str, more: Body, protocol: ProtocolName
) -> None:
    call = call_of(caller, ask(caller, **more), protocol, "plain", badges=frozenset())
    text = (call.body or b"").decode()
    assert not re.search("effort|think|budget", text)
    assert "reasoning_effort" in call.told
    assert re.search("effort|think", json.dumps(sent(caller, ask(caller, **more), protocol)))


def test_output_within_the_models_own_limit() -> None:
    body = ask("anthropic") | {"max_tokens": 32_000}
    call = call_of("anthropic", body, "openai", "gpt-4o", max_output=16_384)
    assert json.loads(call.body or b"")["max_tokens"] == 16_384
    assert call.told == ("max_output_tokens: 16384",)
    thinks = ask("openai", reasoning_effort="high", max_completion_tokens=8_000)
    body = sent("openai", thinks, "anthropic", max_output=8_192)
    assert body["max_tokens"] == 8_192
    assert 1_024 <= body["thinking"]["budget_tokens"] < body["max_tokens"]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (loop("openai", reasoning_effort="medium"), "without thinking"),
        (
            ask("openai", tools=tools("openai"), tool_choice="required", reasoning_effort="high"),
            "forced",
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "a fact"},
                    {"role": "assistant", "content": "{"},
                ],
                "reasoning_effort": "low",
            },
            "beginning",
        ),
    ],
)
def test_thinking_gives_way(body: Body, why: str) -> None:
    call = call_of("openai", body, "anthropic", "claude-sonnet-4-5")
    assert b"thinking" not in (call.body or b"")
    assert any(why in what for what in call.told)


@pytest.mark.parametrize(
    ("name", "effort", "said"),
    [
        ("o3", "none", "low"),
        ("gpt-5", "none", "minimal"),
        ("gpt-5.2", "max", "xhigh"),
        ("gpt-5.1", "minimal", "none"),
        ("gpt-oss-120b", "xhigh", "high"),
        ("claude-opus-4-7", "max", "max"),
        ("claude-opus-4-6", "xhigh", "high"),
    ],
)
def test_the_nearest_effort_that_a_model_knows(name: str, effort: str, said: str) -> None:
    if name.startswith("claude"):
        body = sent("openai", ask("openai", reasoning_effort=effort), "anthropic", name)
        assert body["output_config"]["effort"] == said
        return
    body = sent(
        "openai-responses", ask("openai-responses", reasoning={"effort": effort}), "openai", name
    )
    assert body["reasoning_effort"] == said


# --- sampling -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "asked", "kept"),
    [
        ("claude-sonnet-4-5", {"temperature": 0.7, "top_p": 1}, {"temperature": 0.7}),
        (
            "claude-3-5-haiku-latest",
            {"temperature": 0.7, "top_p": 1},
            {"temperature": 0.7, "top_p": 1},
        ),
        ("claude-sonnet-4-5", {"temperature": 1.5}, {"temperature": 1}),
        ("claude-sonnet-4-5", {"top_p": 0.5}, {"top_p": 0.5}),
        ("claude-opus-4-7", {"temperature": 0.2, "top_p": 0.5, "top_k": 3}, {}),
        ("claude-opus-4-8", {"temperature": 1}, {}),
        ("claude-sonnet-5", {"temperature": 1}, {}),
        ("claude-mythos-5", {"temperature": 1}, {}),
        ("glm-4.6", {"temperature": 1.5, "top_p": 0.5}, {"temperature": 1, "top_p": 0.5}),
    ],
)
def test_sampling_as_claudes_versions_take_it(name: str, asked: Body, kept: Body) -> None:
    call = call_of("openai", ask("openai", **asked), "anthropic", name)
    body = json.loads(call.body or b"")
    assert {k: body[k] for k in ("temperature", "top_p", "top_k") if k in body} == kept
    assert bool(call.told) is (kept != asked)


def test_sampling_is_left_out_for_openais_models_that_reason() -> None:
    wishes = {"temperature": 0.2, "top_p": 0.5, "stop_sequences": ["X"]}
    call = call_of("anthropic", ask("anthropic", **wishes), "openai", "gpt-5-mini")
    assert not {"temperature", "top_p", "stop"} & json.loads(call.body or b"").keys()
    assert set(call.told) == {"temperature", "top_p", "stop"}


def _at(body: Any, path: str) -> Any:
    for step in path.split("."):
        body = body[step] if isinstance(body, dict) and step in body else None
    return body


TOP_K = {"anthropic": "top_k", "gemini": "generationConfig.topK", "ollama": "options.top_k"}
PENALTY = {
    "openai": "presence_penalty",
    "gemini": "generationConfig.presencePenalty",
    "ollama": "options.presence_penalty",
}
SEED = {"openai": "seed", "gemini": "generationConfig.seed", "ollama": "options.seed"}
STOP = {
    "openai": "stop",
    "anthropic": "stop_sequences",
    "gemini": "generationConfig.stopSequences",
    "ollama": "options.stop",
}


@pytest.mark.parametrize(
    ("wish", "fields", "value"),
    [
        ("top_k", TOP_K, 40),
        ("presence_penalty", PENALTY, 0.5),
        ("seed", SEED, 7),
        ("stop", STOP, ["END"]),
    ],
)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_wish_is_carried_or_said_to_be_left_out(
    wish: str, fields: dict[str, str], value: Any, protocol: ProtocolName
) -> None:
    for caller, path in fields.items():
        place, _, name = path.rpartition(".")
        more = {place: {name: value}} if place else {name: value}
        call = call_of(caller, ask(caller, **more), protocol)
        if protocol in fields:
            assert _at(json.loads(call.body or b""), fields[protocol]) == value
            assert call.told == ()
        else:
            assert call.told == (wish,)


HARMLESS: list[tuple[str, Body]] = [
    ("anthropic", {"cache_control": {"type": "ephemeral"}}),
    ("anthropic", {"service_tier": "priority"}),
    ("anthropic", {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}),
    ("anthropic", {"a_field_of_tomorrow": {"x": 1}}),
    ("openai-responses", {"truncation": "auto"}),
    ("openai-responses", {"text": {"verbosity": "low"}}),
    ("openai-responses", {"prompt_cache_retention": "24h"}),
    ("openai", {"service_tier": "flex"}),
    ("openai", {"user": "u1"}),
    ("openai", {"prediction": {"type": "content", "content": "x"}}),
    ("gemini", {"safetySettings": [{"category": "HARM", "threshold": "BLOCK_NONE"}]}),
    ("gemini", {"generationConfig": {"topK": 64}}),
    ("ollama", {"options": {"mirostat": 2}}),
]
NEEDED: list[tuple[str, Body, str]] = [
    ("openai", {"n": 3}, "n"),
    ("openai", {"logit_bias": {"1": 5}}, "logit_bias"),
    ("openai", {"modalities": ["text", "audio"], "audio": {"voice": "x"}}, "modalities|audio"),
    ("openai-responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
    ("openai-responses", {"background": True}, "background"),
    ("anthropic", {"container": "c"}, "container"),
    ("anthropic", {"mcp_servers": [{"url": "x"}]}, "mcp_servers"),
    ("anthropic", {"inference_geo": "eu"}, "inference_geo"),
    ("gemini", {"cachedContent": "cachedContents/1"}, "cached_content"),
    ("gemini", {"generationConfig": {"candidateCount": 2}}, "n"),
]


@pytest.mark.parametrize(("caller", "more"), HARMLESS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_harmless_wish_is_never_refused(caller: str, more: Body, protocol: ProtocolName) -> None:
    if caller == protocol:
        return  # passed on as it is
    call = call_of(caller, ask(caller, **more), protocol)
    (field,) = more
    said = json.loads(call.body or b"")
    carried = field in said or _at(said, "metadata.user_id") or _at(said, "options.top_k")
    carried = carried or _at(said, "verbosity") or _at(said, "top_k")
    assert call.told or carried


@pytest.mark.parametrize(("caller", "more", "field"), NEEDED)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_changes_the_question_is_refused_by_its_name(
    caller: str, more: Body, field: str, protocol: ProtocolName
) -> None:
    with pytest.raises(BadRequest, match=field):
        call_of(caller, ask(caller, **more), protocol)


# --- how likely each token was --------------------------------------------------------------------

LIKELY: list[Body] = [
    {
        "token": "h\u00e9",
        "logprob": -0.25,
        "bytes": [104, 195, 169],
        "top_logprobs": [{"token": "h\u00e9", "logprob": -0.25, "bytes": [104, 195, 169]}],
    }
]
_GOOGLES = {"token": "h\u00e9", "logProbability": -0.25}
#: By protocol: how it asks for them, where it says so to a provider, and how its answer tells.
TOLD: dict[str, tuple[Body, tuple[str, str], Body]] = {
    "openai": (
        {"logprobs": True, "top_logprobs": 1},
        ("logprobs", "top_logprobs"),
        {
            "choices": [
                {
                    "index": 0,
                    "message": {"content": "h\u00e9"},
                    "finish_reason": "stop",
                    "logprobs": {"content": LIKELY},
                }
            ]
        },
    ),
    "openai-responses": (
        {"include": ["message.output_text.logprobs"], "top_logprobs": 1},
        ("include", "top_logprobs"),
        {
            "status": "completed",
            "output": [
                {
                    "type": "message",
                    "content": [{"type": "output_text", "text": "h\u00e9", "logprobs": LIKELY}],
                }
            ],
        },
    ),
    "gemini": (
        {"generationConfig": {"responseLogprobs": True, "logprobs": 1}},
        ("generationConfig.responseLogprobs", "generationConfig.logprobs"),
        {
            "candidates": [
                {
                    "content": {"parts": [{"text": "h\u00e9"}]},
                    "finishReason": "STOP",
                    "logprobsResult": {
                        "chosenCandidates": [_GOOGLES],
                        "topCandidates": [{"candidates": [_GOOGLES]}],
                    },
                }
            ]
        },
    ),
    "ollama": (
        {"logprobs": True, "top_logprobs": 1, "stream": False},
        ("logprobs", "top_logprobs"),
        {
            "message": {"content": "h\u00e9"},
            "done": True,
            "done_reason": "stop",
            "logprobs": LIKELY,
        },
    ),
}


@pytest.mark.parametrize("protocol", TOLD)
@pytest.mark.parametrize("caller", TOLD)
def test_likelihoods_are_asked_for_in_each_protocols_words(
    caller: str, protocol: ProtocolName
) -> None:
    call = call_of(caller, ask(caller, **TOLD[caller][0]), protocol)
    body, (flag, number) = json.loads(call.body or b""), TOLD[protocol][1]
    asked = _at(body, flag)
    assert asked == ["message.output_text.logprobs"] if flag == "include" else asked is True
    assert _at(body, number) == 1
    assert not call.told


@pytest.mark.parametrize("streams", [False, True])
@pytest.mark.parametrize("protocol", TOLD)
@pytest.mark.parametrize("caller", TOLD)
def test_likelihoods_are_told_in_each_protocols_words(
    caller: ProtocolName, protocol: ProtocolName, streams: bool
) -> None:
    """Read of one protocol's answer, written for another's caller, and read again by its client."""
    found = completion(adapter(protocol), json.dumps(TOLD[protocol][2]).encode(), stream=False)
    assert [dict(token) for token in found.logprobs] == LIKELY
    about = Answered("id", "m", 0)
    server = callers(caller)[0]
    if not streams:
        written = server.whole(found, about)
    else:
        writer = server.writer(about)
        chunk = ChatChunk(text=found.text, logprobs=found.logprobs)
        written = writer.chunk(chunk) + writer.end(found)
    framing = "ndjson" if caller == "ollama" else "sse"
    again = completion(adapter(caller), written, stream=streams, framing=framing)
    assert again.text == found.text
    assert [dict(token) for token in again.logprobs] == LIKELY


def test_who_has_no_likelihoods_is_not_asked_for_them() -> None:
    with pytest.raises(BadRequest, match="logprobs"):
        call_of("openai", ask("openai", logprobs=True), "anthropic")


def test_mistral_is_sent_nothing_that_it_refuses() -> None:
    body = ask("openai-responses", text={"verbosity": "low"}, store=False, prompt_cache_key="k")
    body = sent("openai-responses", body, "openai", "mistral-large", "https://api.mistral.ai/v1")
    assert not {"verbosity", "store", "prompt_cache_key", "stream_options"} & body.keys()


# --- caches, forms and beginnings -----------------------------------------------------------------

MARK = {"type": "ephemeral"}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": [{"type": "text", "text": "S", "cache_control": MARK}]},
        {"role": "system", "content": "S", "cache_control": MARK},
        {"role": "user", "content": [{"type": "text", "text": "S", "cache_control": MARK}]},
    ],
)
def test_markers_of_the_cache_reach_claude(message: Body) -> None:
    body = {"messages": [message, {"role": "user", "content": "hi"}]}
    assert json.dumps(sent("openai", body, "anthropic")).count('"cache_control"') == 1
    assert "cache_control" not in json.dumps(sent("openai", body, "gemini"))
    routed = sent(
        "anthropic",
        ask("anthropic", system=[{"type": "text", "text": "S", "cache_control": MARK}]),
        "openai",
        base_url="https://openrouter.ai/api/v1",
    )
    assert "cache_control" in json.dumps(routed)


def test_no_more_markers_than_are_taken() -> None:
    parts = [{"type": "text", "text": f"{n}", "cache_control": MARK} for n in range(9)]
    body = sent("openai", {"messages": [{"role": "user", "content": parts}]}, "anthropic")
    marked = [b["text"] for b in body["messages"][0]["content"] if "cache_control" in b]
    assert len(marked) == 4
    assert (marked[0], marked[-1]) == ("0", "8")


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_googles_schema_is_json_schema_elsewhere(protocol: ProtocolName) -> None:
    schema = {
        "type": "OBJECT",
        "properties": {"a": {"type": "STRING", "nullable": True}, "type": {"type": "INTEGER"}},
        "propertyOrdering": ["a"],
        "required": ["a"],
    }
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    text = json.dumps(sent("gemini", ask("gemini", generationConfig=config), protocol))
    assert '"type": ["string", "null"]' in text
    assert "nullable" not in text
    assert "STRING" not in text
    assert "propertyOrdering" not in text


def test_a_form_is_asked_for_in_words_of_who_has_no_field_for_it() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
    old = call_of("openai", ask("openai", response_format=form), "anthropic", "claude-3-haiku")
    assert "output_config" not in json.loads(old.body or b"")
    assert b"JSON Schema" in (old.body or b"")
    assert old.told == ("response_format: asked for in words",)
    new = sent("openai", ask("openai", response_format=form), "anthropic")
    assert new["output_config"]["format"]["schema"]["additionalProperties"] is False
    both = ask("openai", response_format=form, tools=tools("openai"))
    assert "responseMimeType" not in json.dumps(sent("openai", both, "gemini", "gemini-2.5-pro"))


PREFILL = [{"role": "user", "content": "a fact"}, {"role": "assistant", "content": "{ "}]


def test_a_beginning_of_the_answer() -> None:
    old = sent("openai", {"messages": PREFILL}, "anthropic", "claude-sonnet-4-5")["messages"]
    assert old[-1] == {"role": "assistant", "content": [{"type": "text", "text": "{"}]}
    new = call_of("openai", {"messages": PREFILL}, "anthropic", "claude-opus-4-6")
    assert json.loads(new.body or b"")["messages"][-1]["role"] == "user"
    assert any("prefill" in what for what in new.told)
    body = {"max_tokens": 9, "messages": PREFILL}
    mistral = sent("anthropic", body, "openai", "m", "https://api.mistral.ai/v1")
    assert mistral["messages"][-1]["prefix"] is True


@pytest.mark.parametrize("protocol", ["anthropic", "gemini"])
def test_the_user_begins(protocol: ProtocolName) -> None:
    turns = [{"role": "assistant", "content": "Hello!"}, {"role": "user", "content": "hi"}]
    body = sent("openai", {"messages": turns}, protocol)
    assert (body.get("messages") or body["contents"])[0]["role"] == "user"


# --- a caller's own body to a provider of its own protocol ----------------------------------------


def passed(caller: str, body: Body, base_url: str, *, forget: bool = False) -> Body:
    """What is sent of it."""
    client = adapter(caller)  # type: ignore[arg-type]  # one of the protocols
    data = json.dumps(body).encode()
    provider = Provider("p", "p", caller, base_url)  # type: ignore[arg-type]  # as above
    target = Target(model_of("m"), provider, None, 0, 1000)
    sending = Sending(data, target, client, "chat", {}, fields_of(data))
    client.mend(sending, data)
    if forget:
        assert client.forget_thoughts(sending, bool)
    return json.loads(sending.written())


def test_a_sound_body_is_passed_as_it_came() -> None:
    for caller in ("anthropic", "openai"):
        body = loop(caller)
        assert passed(caller, body, "https://api.openai.com/v1") == body


def test_ids_of_a_session_that_comes_from_elsewhere() -> None:
    body = passed("openai", loop("openai", "call_abcdef0123456789"), "https://api.mistral.ai/v1")
    call, result = ids_in(body["messages"])
    assert re.fullmatch("[a-zA-Z0-9]{9}", call)
    assert call == result


def test_a_clients_turn_without_thoughts_to_who_wants_them() -> None:
    body = passed("openai", loop("openai"), "https://api.deepseek.com")
    assert body["messages"][1]["reasoning_content"] == ""
    kept = loop("openai")
    kept["messages"][1]["reasoning_content"] = "I must read"
    assert passed("openai", kept, "https://api.deepseek.com") == kept


def test_encrypted_thoughts_are_forgotten() -> None:
    body = loop("openai-responses")
    body["input"].insert(1, {"type": "reasoning", "encrypted_content": "SECRET"})
    left = passed("openai-responses", body, "https://api.openai.com/v1", forget=True)
    assert [item.get("type", "message") for item in left["input"]] == [
        "message",
        "function_call",
        "function_call_output",
    ]
    call = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "SECRET"}
    turns = [{"role": "model", "parts": [{"text": "x", "thoughtSignature": "SECRET"}, call]}]
    text = json.dumps(passed("gemini", {"contents": turns}, "https://x", forget=True))
    assert "SECRET" not in text
    assert "skip_thought_signature_validator" in text


@pytest.mark.parametrize(
    ("message", "foreign"),
    [
        ("messages.1.content.0: Invalid `signature` in `thinking` block", True),
        ("The encrypted content gAAA could not be verified", True),
        ("Thought signature is not valid", True),
        ("`thinking` blocks in the latest assistant message cannot be modified", True),
        ("max_tokens: must be at least 1", False),
        ("thinking.budget_tokens: must be at least 1024", False),
    ],
)
def test_a_refused_thought_is_known_by_its_words(message: str, foreign: bool) -> None:
    assert is_foreign_thought(BadRequest(message, status=400)) is foreign


def test_newer_names_of_openais_to_other_vendors() -> None:
    turns = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "hi"}]
    body: Body = {"messages": turns, "max_completion_tokens": 9}
    sent_on = passed("openai", body, "https://api.deepseek.com")
    assert sent_on["messages"][0]["role"] == "system"
    assert (sent_on["max_tokens"], "max_completion_tokens" in sent_on) == (9, False)
    assert passed("openai", body, "https://api.openai.com/v1") == body
    assert passed("openai", body, "http://127.0.0.1:1/v1") == body


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_small_things_that_are_refused(protocol: ProtocolName) -> None:
    image = {"type": "image_url", "image_url": {"url": f"data:image/jpg;base64,{PNG}"}}
    parts = [{"type": "text", "text": ""}, {"type": "text", "text": "look"}, image]
    twice = [*tools("openai"), *tools("openai")]
    body = sent(
        "openai", {"messages": [{"role": "user", "content": parts}], "tools": twice}, protocol
    )
    text = json.dumps(body)
    assert "image/jpg" not in text
    assert text.count('"name": "read"') == 1
    if protocol in ("anthropic", "gemini"):
        assert '"text": ""' not in text


CALLED = Completion(
    tool_calls=(
        ToolCall("c1", "apply_patch", '{"input":"*** Begin"}'),
        ToolCall("c2", "f", '{"a":1}'),
    ),
    finish_reason="tool_calls",
)
DELTAS = [
    ToolCallDelta(0, "c1", "apply_patch", '{"inp'),
    ToolCallDelta(0, None, None, 'ut":"*** Begin"}'),
    ToolCallDelta(1, "c2", "f", '{"a":1}'),
]


def _streamed(caller: Any, about: Answered) -> str:
    writer = caller.writer(about)
    pieces = [writer.chunk(ChatChunk(tool_calls=(delta,))) for delta in DELTAS]
    return b"".join([*pieces, writer.end(CALLED)]).decode()


def test_codex_is_told_of_its_custom_tools_call() -> None:
    about = Answered("resp_1", "m", 1, {"tools": [PATCH, *tools("openai-responses", name="f")]})
    whole = json.loads(OpenAiResponses().whole(CALLED, about))["output"]
    assert [(i["type"], i["call_id"]) for i in whole] == [
        ("custom_tool_call", "c1"),
        ("function_call", "c2"),
    ]
    assert whole[0]["input"] == "*** Begin"
    events = [
        json.loads(e[6:])
        for e in _streamed(OpenAiResponses(), about).split("\n")
        if e[:5] == "data:"
    ]
    kinds = [event["type"] for event in events]
    assert "response.custom_tool_call_input.done" in kinds
    assert kinds.count("response.function_call_arguments.done") == 1
    assert [i["type"] for i in events[-1]["response"]["output"]] == [i["type"] for i in whole]


def test_a_chat_client_is_told_of_its_custom_tools_call() -> None:
    custom = {"type": "custom", "custom": {"name": "apply_patch"}}
    about = Answered("c", "m", 1, {"tools": [custom, *tools("openai", name="f")]})
    calls = json.loads(OpenAiChat().whole(CALLED, about))["choices"][0]["message"]["tool_calls"]
    wanted = {"id": "c1", "type": "custom", "custom": {"name": "apply_patch", "input": "*** Begin"}}
    assert calls[0] == wanted
    assert calls[1]["type"] == "function"
    text = _streamed(OpenAiChat(), about)
    assert json.dumps({"index": 0, **wanted}, separators=(",", ":")) in text
    assert text.index('"c1"') < text.index('"finish_reason":"tool_calls"')


@pytest.mark.parametrize("given", ['{"input":"x"}', '{"patch":"x"}', '"x"'])
def test_what_models_make_of_a_tool_of_one_text(given: str) -> None:
    assert one_text_of(given) == "x"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_document_of_plain_text_is_read_by_every_model(protocol: ProtocolName) -> None:
    data = base64.b64encode(b"a,b\n1,2").decode()
    file = {"filename": "t.csv", "file_data": f"data:text/csv;base64,{data}"}
    turns = [{"role": "user", "content": [{"type": "file", "file": file}]}]
    text = json.dumps(sent("openai", {"messages": turns}, protocol))
    assert "a,b\\n1,2" in text or data in text
    assert data not in text or protocol == "gemini"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "read"}}])
def test_a_forced_call_is_the_form_of_ollamas_answer(choice: Any, stream: bool) -> None:
    """Ollama cannot force a call, but a form: frameworks' structured output by tools (LangChain,
    instructor, pydantic-ai, smolagents) works with local models all the same."""
    offered = tools("openai", {"type": "object", "properties": {"p": {}}})
    asked = CALLERS["openai"].parse(ask("openai", tools=offered, tool_choice=choice))
    model = ModelInfo("p/qwen3", "p", "qwen3", "qwen3")
    call = written(asked, model, "ollama", Endpoint("http://h"), stream=stream)
    body = json.loads(call.body or b"")
    assert "tools" not in body
    assert body["format"] == {"type": "object", "properties": {"p": {}}}
    assert any("tool_choice" in word for word in call.told)
    pieces = ['{"p":', '"a"}'] if stream else ['{"p":"a"}']
    lines = [{"model": "m", "message": {"role": "assistant", "content": t}} for t in pieces]
    lines[-1] |= {"done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2}
    reader = AnswerReader(adapter("ollama"), call)
    said = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    got = Completion.from_chunks([*reader.feed(said), *reader.end()])
    assert got.text == ""
    assert [(c.name, c.arguments) for c in got.tool_calls] == [("read", '{"p":"a"}')]
    assert got.finish_reason == "tool_calls"
