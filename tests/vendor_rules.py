"""What each vendor's API answers 400 to: rules that a body can be held against without asking one.

``broken(protocol, body, model)`` names the rules that a body breaks, none where a vendor would take
it. Each rule stands for reports of users whose gateway or framework wrote such a body; the words
are those of the vendor's error.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_GEMINI_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
_PICTURES = ("image/jpeg", "image/png", "image/gif", "image/webp")


def broken(protocol: str, body: Body, model: str = "") -> list[str]:
    rules = {
        "anthropic": _anthropic,
        "openai": _openai,
        "openai-responses": _responses,
        "gemini": _gemini,
        "ollama": _ollama,
    }
    return list(dict.fromkeys(rules[protocol](body, model)))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _schema(schema: Any, where: str, *, closed: bool = False) -> Iterator[str]:
    """JSON Schema as every vendor reads it."""
    if isinstance(schema, list):
        for item in schema:
            yield from _schema(item, where, closed=closed)
        return
    if not isinstance(schema, dict):
        return
    required = schema.get("required")
    if required is not None:
        if not isinstance(required, list) or not all(isinstance(r, str) for r in required):
            yield f"{where}: 'required' must be a list of names (draft 3 has true here)"
        elif len(set(required)) != len(required):
            yield f"{where}: JSON schema is invalid: 'required' holds a name twice"
    kind = schema.get("type")
    kinds = kind if isinstance(kind, list) else [kind]
    if "array" in kinds and "items" not in schema and "prefixItems" not in schema:
        yield f"{where}: array schema missing items"
    if kind == "":
        yield f"{where}: type is empty"
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            for item in value.values():
                yield from _schema(item, where, closed=closed)
        elif key in ("items", "anyOf", "oneOf", "allOf", "additionalProperties", "not"):
            yield from _schema(value, where, closed=closed)


def _function(schema: Any, where: str) -> Iterator[str]:
    if not isinstance(schema, dict) or schema.get("type") != "object":
        yield f"{where}: schema must be of type object"
        return
    if any(word in schema for word in ("anyOf", "oneOf", "allOf", "enum", "not")):
        yield f"{where}: anyOf, oneOf, allOf, enum or not at the top level"
    if not isinstance(schema.get("properties", {}), dict):
        yield f"{where}: object schema missing properties"
    yield from _schema(schema, where)


# --- Anthropic ------------------------------------------------------------------------------------


def _anthropic(body: Body, model: str) -> Iterator[str]:
    turns = _list(body.get("messages"))
    if not turns:
        yield "messages: at least one message is required"
        return
    if turns[0].get("role") != "user":
        yield "messages: first message must use the user role"
    if not isinstance(body.get("max_tokens"), int) or body["max_tokens"] < 1:
        yield "max_tokens: must be at least 1"
    yield from _anthropic_turns(turns)
    for block in _list(body.get("system")):
        if not block.get("text", "").strip():
            yield "system: text content blocks must be non-empty"
    yield from _anthropic_tools(body, turns)
    version = re.search(r"claude-(?:opus|sonnet|haiku|fable)-(\d+)-?(\d)?", model)
    at = (int(version[1]), int(version[2] or 0)) if version else (0, 0)
    heat, top = body.get("temperature"), body.get("top_p")
    if heat is not None and not 0 <= heat <= 1:
        yield "temperature: range: 0..1"
    if heat is not None and top is not None and at >= (4, 1):
        yield "temperature and top_p cannot both be specified for this model"
    if at >= (4, 7) and (heat is not None or top is not None or "top_k" in body):
        yield "temperature is deprecated for this model"
    thinking = body.get("thinking") or {}
    if thinking.get("type") in ("enabled", "adaptive"):
        if heat not in (None, 1):
            yield "temperature may only be set to 1 when thinking is enabled"
        if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            yield "Thinking may not be enabled when tool_choice forces tool use"
        budget = thinking.get("budget_tokens")
        if budget is not None and not 1024 <= budget < body["max_tokens"]:
            yield "max_tokens must be greater than thinking.budget_tokens, which is at least 1024"
        if thinking["type"] == "adaptive" and at and at < (4, 6):
            yield "adaptive thinking is not supported on this model"
    if any(not stop.strip() for stop in _list(body.get("stop_sequences"))):
        yield "stop_sequences: each stop sequence must contain non-whitespace"
    markers = json.dumps(body).count('"cache_control"')
    if markers > 4:
        yield "A maximum of 4 blocks with cache_control may be provided"
    user = (body.get("metadata") or {}).get("user_id")
    if user is not None and not (isinstance(user, str) and 0 < len(user) <= 256):
        yield "metadata.user_id: at most 256 characters"
    if "output_config" in body and body["output_config"].get("format"):
        yield from _closed(body["output_config"]["format"].get("schema"))


def _closed(schema: Any) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _closed(item)
    elif isinstance(schema, dict):
        if "properties" in schema and schema.get("additionalProperties") is not False:
            yield "output_config.format: additionalProperties must be false"
        if isinstance(schema.get("minimum"), int | float) or "maxLength" in schema:
            yield "output_config.format: a bound that structured outputs do not take"
        for value in schema.values():
            yield from _closed(value)


def _anthropic_turns(turns: list[Any]) -> Iterator[str]:
    waiting: set[str] = set()
    used: set[str] = set()
    for number, turn in enumerate(turns):
        role, content = turn.get("role"), turn.get("content")
        if role not in ("user", "assistant"):
            yield f'messages: Unexpected role "{role}"'
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else _list(content)
        last = number == len(turns) - 1
        if not blocks and not (last and role == "assistant"):
            yield "all messages must have non-empty content except for the optional final assistant"
        given = {b.get("tool_use_id") for b in blocks if b.get("type") == "tool_result"}
        if waiting - given:
            yield "tool_use ids were found without tool_result blocks immediately after"
        if given - waiting:
            yield "unexpected tool_use_id found in tool_result blocks"
        results = [b.get("type") == "tool_result" for b in blocks]
        if True in results and False in results[: len(given)]:
            yield "tool_result blocks must come first in the turn"
        if results.count(True) != len(given):
            yield "each tool_use must have a single result"
        waiting = set()
        thoughts = [b.get("type") in ("thinking", "redacted_thinking") for b in blocks]
        for block in blocks:
            yield from _anthropic_block(block, role)
            if block.get("type") == "tool_use":
                waiting.add(block["id"])
                if block["id"] in used:
                    yield "tool_use ids must be unique"
                used.add(block["id"])
        if thoughts and thoughts[-1] and not last:
            yield "The final block in an assistant message cannot be thinking"
        end = blocks[-1].get("text", "") if blocks and last and role == "assistant" else ""
        if end != end.rstrip():
            yield "final assistant content cannot end with trailing whitespace"
    if waiting:
        yield "tool_use ids were found without tool_result blocks immediately after"


def _anthropic_block(block: Body, role: Any) -> Iterator[str]:
    kind = block.get("type")
    if kind == "text" and not block.get("text", "").strip():
        yield "text content blocks must contain non-whitespace text"
    elif kind == "thinking" and not block.get("signature"):
        yield "thinking.signature: Field required"
    elif kind == "tool_use":
        if not _ID.fullmatch(block.get("id", "")):
            yield "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
        if not isinstance(block.get("input"), dict):
            yield "tool_use.input: Input should be a valid dictionary"
        if not _NAME.fullmatch(block.get("name", "")):
            yield "tool_use.name: String should match pattern"
    elif kind == "tool_result":
        for inner in _list(block.get("content")):
            yield from _anthropic_block(inner, role)
    elif kind == "image":
        if role == "assistant":
            yield "image blocks are not permitted in assistant turns"
        source = block["source"]
        if source["type"] == "base64":
            if source.get("media_type") not in _PICTURES:
                yield f"image.source.media_type: {source.get('media_type')}"
            if not source.get("data") or not re.fullmatch(r"[A-Za-z0-9+/=]+", source["data"]):
                yield "image.source.base64: invalid base64 data"


def _anthropic_tools(body: Body, turns: list[Any]) -> Iterator[str]:
    tools = _list(body.get("tools"))
    names = [tool.get("name") for tool in tools]
    if len(set(names)) != len(names):
        yield "tools: Tool names must be unique"
    for tool in tools:
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,128}", tool.get("name", "")):
            yield "tools.name: String should match pattern"
        yield from _function(tool.get("input_schema"), "tools.input_schema")
    if not tools and "tool_choice" in body:
        yield "tool_choice may only be specified while providing tools"
    if not tools and '"tool_use"' in json.dumps(turns):
        yield "Requests which include tool_use or tool_result blocks must define tools"


# --- OpenAI ---------------------------------------------------------------------------------------


def _openai(body: Body, model: str) -> Iterator[str]:
    turns = _list(body.get("messages"))
    if not turns:
        yield "messages: empty array"
    if not any(turn.get("role") in ("user", "system", "developer") for turn in turns):
        yield "messages: no user turn"
    waiting: set[str] = set()
    for turn in turns:
        role, content = turn.get("role"), turn.get("content")
        if role == "tool":
            if turn.get("tool_call_id") not in waiting:
                yield "messages with role 'tool' must follow a message with 'tool_calls'"
            waiting.discard(turn.get("tool_call_id"))
        elif waiting:
            yield "an assistant message with 'tool_calls' must be followed by tool messages"
            waiting = set()
        calls = _list(turn.get("tool_calls"))
        if "tool_calls" in turn and not calls:
            yield "messages.tool_calls: empty array"
        if content is None and not calls:
            yield "messages.content: expected a string, got null"
        if content == []:
            yield "messages.content: empty array"
        if "name" in turn and not re.fullmatch(r"[^\s<|\\/>]{1,64}", turn["name"]):
            yield "messages.name: does not match pattern"
        for part in _list(content):
            if part.get("type") == "image_url":
                url = part["image_url"]["url"]
                if not re.match(r"https?://|data:image/(png|jpeg|gif|webp);base64,\S+$", url):
                    yield f"image_url: unsupported image {url[:40]!r}"
                if role not in ("user",):
                    yield f"image_url is only allowed in messages of role user, not {role}"
        for call in calls:
            waiting.add(call.get("id"))
            if not 0 < len(call.get("id", "")) <= 40:
                yield "tool_calls.id: string too long"
            if not _NAME.fullmatch(call["function"].get("name", "")):
                yield "tool_calls.function.name: does not match pattern"
            if not isinstance(call["function"].get("arguments"), str):
                yield "tool_calls.function.arguments: expected a string"
    if waiting:
        yield "an assistant message with 'tool_calls' must be followed by tool messages"
    tools = _list(body.get("tools"))
    if "tools" in body and not tools:
        yield "tools: empty array"
    for tool in tools:
        function = tool["function"]
        if not _NAME.fullmatch(function.get("name", "")):
            yield "tools.function.name: does not match pattern"
        yield from _function(function.get("parameters"), "tools.function.parameters")
        if function.get("strict"):
            yield from _strict(function["parameters"], "tools.function.parameters")
    yield from _openai_rest(body, tools, model)
    shape = body.get("response_format") or {}
    if shape.get("type") == "json_object" and "json" not in json.dumps(turns).lower():
        yield "'messages' must contain the word 'json' to use response_format json_object"
    if shape.get("type") == "json_schema":
        yield from _answer_schema(shape["json_schema"])


def _openai_rest(body: Body, tools: list[Any], model: str) -> Iterator[str]:
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in body and not tools:
            yield f"{name} is only allowed when tools are specified"
    if len(_list(body.get("stop"))) > 4 or body.get("stop") == []:
        yield "stop: array too long or empty"
    heat = body.get("temperature")
    if heat is not None and not 0 <= heat <= 2:
        yield "temperature: above the maximum of 2"
    if re.search(r"(^|/)(o[1-9]|gpt-5)", model):
        for name in ("temperature", "top_p", "stop", "max_tokens", "presence_penalty"):
            if name in body and body.get("reasoning_effort") != "none":
                yield f"Unsupported parameter: {name} is not supported with this model"
    if "reasoning_effort" in body and re.search(r"(^|/)gpt-[34]", model):
        yield "Unrecognized request argument: reasoning_effort"


def _strict(schema: Any, where: str) -> Iterator[str]:
    if isinstance(schema, list):
        for item in schema:
            yield from _strict(item, where)
    elif isinstance(schema, dict):
        names = schema.get("properties")
        if isinstance(names, dict):
            if schema.get("additionalProperties") is not False:
                yield f"{where}: strict needs additionalProperties false"
            if set(_list(schema.get("required"))) != set(names):
                yield f"{where}: strict needs every property in required"
        for value in schema.values():
            yield from _strict(value, where)


def _answer_schema(shape: Body) -> Iterator[str]:
    if not _NAME.fullmatch(shape.get("name", "")):
        yield "json_schema.name: does not match pattern"
    if shape.get("strict"):
        yield from _strict(shape.get("schema"), "json_schema.schema")
    yield from _schema(shape.get("schema"), "json_schema.schema")


def _responses(body: Body, model: str) -> Iterator[str]:
    items = body.get("input")
    items = [{"role": "user", "content": items}] if isinstance(items, str) else _list(items)
    if not items:
        yield "input: empty array"
    waiting: list[str] = []
    for number, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            waiting.append(item.get("call_id", ""))
            if not 0 < len(item.get("call_id", "")) <= 64:
                yield "input.call_id: string too long or empty"
            if not _NAME.fullmatch(item.get("name", "")):
                yield "input.name: does not match pattern"
        elif kind == "function_call_output":
            if item.get("call_id") not in waiting:
                yield "No tool call found for function call output"
            else:
                waiting.remove(item["call_id"])
        elif kind == "reasoning":
            if number == len(items) - 1:
                yield "reasoning item was provided without its required following item"
        elif kind == "message":
            for part in _list(item.get("content")):
                word = "output_" if item.get("role") == "assistant" else "input_"
                if not part.get("type", "").startswith(word):
                    yield f"input.content: invalid value {part.get('type')!r}"
            if item.get("content") in (None, []):
                yield "input.content: missing"
    if waiting:
        yield "No tool output found for function call"
    most = body.get("max_output_tokens")
    if most is not None and most < 16:
        yield "max_output_tokens: integer below minimum value, expected >= 16"
    tools = _list(body.get("tools"))
    for tool in tools:
        if not _NAME.fullmatch(tool.get("name", "")):
            yield "tools.name: does not match pattern"
        yield from _function(tool.get("parameters"), "tools.parameters")
        if tool.get("strict", True):
            yield from _strict(tool["parameters"], "tools.parameters")
    yield from _openai_rest(body, tools, model)
    for name in ("stop", "seed", "max_tokens", "n", "logprobs", "frequency_penalty"):
        if name in body:
            yield f"Unknown parameter: {name}"
    shape = (body.get("text") or {}).get("format") or {}
    if shape.get("type") == "json_object" and "json" not in json.dumps(items).lower():
        yield "input must contain the word 'json' to use text.format json_object"
    if shape.get("type") == "json_schema":
        yield from _answer_schema(shape)


# --- Gemini ---------------------------------------------------------------------------------------


def _gemini(body: Body, model: str) -> Iterator[str]:
    turns = _list(body.get("contents"))
    if not turns:
        yield "contents: contents is not specified"
    open_calls: list[str] = []
    before = ""
    for turn in turns:
        parts = _list(turn.get("parts"))
        if not parts:
            yield "contents.parts: must not be empty"
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        given = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if calls and before not in ("user", "response"):
            yield "function call turn comes immediately after a user turn or a function response"
        if given:
            if len(given) != len(open_calls):
                yield "number of function response parts must equal that of function call parts"
            if len(given) != len(parts):
                yield "the turn of function responses holds something else"
            if [answer.get("name") for answer in given] != open_calls:
                yield "function responses do not name the functions that were called"
        elif open_calls:
            yield "function response turn comes immediately after a function call turn"
        open_calls = [call["name"] for call in calls]
        for call in [*calls, *given]:
            if not _GEMINI_NAME.fullmatch(call.get("name", "")):
                yield "function name: invalid"
        for answer in given:
            if not isinstance(answer.get("response"), dict):
                yield "function_response.response: must be an object"
            if '"$ref"' in json.dumps(answer):
                yield "function_response.response: $ref"
        if calls and re.search(r"gemini-[3-9]", model):
            first = next(part for part in parts if "functionCall" in part)
            if not first.get("thoughtSignature"):
                yield "Function call is missing a thought_signature"
        for part in parts:
            if part.get("text") == "":
                yield "contents.parts: text must not be empty"
            inline = part.get("inlineData")
            if inline is not None and not (inline.get("mimeType") and inline.get("data")):
                yield "inlineData: mimeType and data are required"
        before = "response" if given else turn.get("role", "user")
    if open_calls:
        yield "function response turn comes immediately after a function call turn"
    yield from _gemini_rest(body, model)


def _gemini_rest(body: Body, model: str) -> Iterator[str]:
    names: list[str] = []
    for tool in _list(body.get("tools")):
        declared = _list(tool.get("functionDeclarations"))
        names += [function.get("name", "") for function in declared]
        for function in declared:
            if "parametersJsonSchema" in function:
                yield from _function(function["parametersJsonSchema"], "parametersJsonSchema")
    if len(set(names)) != len(names):
        yield "Duplicate function declaration found"
    if any(not _GEMINI_NAME.fullmatch(name) for name in names):
        yield "function_declarations.name: Invalid function name"
    chosen = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if set(_list(chosen.get("allowedFunctionNames"))) - set(names):
        yield "allowed_function_names should be a subset of the declared names"
    settings = body.get("generationConfig") or {}
    if len(_list(settings.get("stopSequences"))) > 5:
        yield "stopSequences: at most 5"
    if settings.get("maxOutputTokens") is not None and settings["maxOutputTokens"] < 1:
        yield "maxOutputTokens: must be positive"
    thinking = settings.get("thinkingConfig") or {}
    budget, level = thinking.get("thinkingBudget"), thinking.get("thinkingLevel")
    if thinking and re.search(r"gemini-(1|2\.0)", model):
        yield "Thinking is not supported by this model"
    if budget is not None and "2.5-pro" in model and not 128 <= budget <= 32768:
        yield "The thinking budget 0 is invalid. This model only works in thinking mode"
    if budget is not None and "flash" in model and not 0 <= budget <= 24576:
        yield "The thinking budget is invalid. Please choose a value between 0 and 24576"
    if budget is not None and "flash-lite" in model and 0 < budget < 512:
        yield "The thinking budget is invalid. Please choose a value between 512 and 24576"
    if level is not None and re.search(r"gemini-3-pro", model) and level not in ("low", "high"):
        yield f"Thinking level {level.upper()} is not supported for this model"
    if level == "minimal" and "pro" in model:
        yield "Thinking level MINIMAL is not supported for this model"


# --- Ollama ---------------------------------------------------------------------------------------


def _ollama(body: Body, model: str) -> Iterator[str]:
    del model
    for turn in _list(body.get("messages")):
        if not isinstance(turn.get("content"), str):
            yield "json: cannot unmarshal into messages.content of type string"
        if turn.get("role") not in ("system", "user", "assistant", "tool"):
            yield f"invalid role: {turn.get('role')}"
        for call in _list(turn.get("tool_calls")):
            if not isinstance(call["function"].get("arguments"), dict):
                yield "json: cannot unmarshal string into arguments"
        for image in _list(turn.get("images")):
            if not re.fullmatch(r"[A-Za-z0-9+/=]+", image):
                yield "illegal base64 data"
    for tool in _list(body.get("tools")):
        schema = tool["function"].get("parameters")
        if not isinstance(schema, dict) or schema.get("type") != "object":
            yield "tools.function.parameters: type is required"
        if '"$ref"' in json.dumps(schema):
            yield "tools.function.parameters: $ref is not followed"
    if isinstance(body.get("format"), str) and body["format"] not in ("", "json"):
        yield "invalid format"
