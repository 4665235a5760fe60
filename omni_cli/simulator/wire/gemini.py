"""Gemini: generateContent and streamGenerateContent, the latter always as SSE."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from omni_cli.simulator.ask import Ask, Delta, Event, Problem, Reply, Tally, ToolSpec, Turn
from omni_cli.simulator.engine import tools_turn
from omni_cli.simulator.tokens import count
from omni_cli.simulator.wire.common import (
    BadAsk,
    Json,
    Wire,
    dumps,
    nonce,
    sse,
    sse_raw,
    strings,
    whole,
)

FINISH = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}


def _turn(role: str, content: Any) -> Turn:
    if isinstance(content, str):
        return Turn(role, content)
    parts = [part for part in (content or {}).get("parts") or () if isinstance(part, Mapping)]
    text: list[str] = []
    images = 0
    for part in parts:
        response = part.get("functionResponse") or part.get("function_response")
        call = part.get("functionCall") or part.get("function_call")
        data = part.get("inlineData") or part.get("inline_data")
        data = data or part.get("fileData") or part.get("file_data")
        if response is not None:
            role = "tool"
            text.append(dumps(response))
        elif call is not None:
            text.append(dumps(call))
        elif data is not None:
            images += 1
        else:
            text.append(str(part.get("text", "")))
    return Turn(role, "".join(text), images)


def _choice(body: Json) -> str:
    config = (body.get("toolConfig") or body.get("tool_config") or {}).get(
        "functionCallingConfig", {}
    )
    allowed = config.get("allowedFunctionNames") or []
    if config.get("mode") == "ANY":
        return str(allowed[0]) if len(allowed) == 1 else "required"
    return "none" if config.get("mode") == "NONE" else "auto"


def parse(body: Json, target: str) -> Ask:
    """``target`` is ``MODEL:VERB``. Raises BadAsk."""
    model, _, verb = target.rpartition(":")
    if "generateContentRequest" in body:  # countTokens may wrap a whole request
        body = body["generateContentRequest"]
    contents = body.get("contents")
    if not contents:
        raise BadAsk("* GenerateContentRequest.contents: contents is not specified")
    tools = [
        function
        for tool in body.get("tools") or ()
        for function in tool.get("functionDeclarations") or tool.get("function_declarations") or ()
    ]
    turns = list(tools_turn(dumps(tools) if tools else ""))
    system = body.get("systemInstruction") or body.get("system_instruction")
    if system:
        turns.append(_turn("system", system))
    for content in contents if isinstance(contents, list) else [contents]:
        role = "assistant" if content.get("role") == "model" else "user"
        turns.append(_turn(role, content))
    config = body.get("generationConfig") or body.get("generation_config") or {}
    thinking = config.get("thinkingConfig") or {}
    budget = thinking.get("thinkingBudget")
    return Ask(
        model=model,
        turns=tuple(turns),
        stream=verb == "streamGenerateContent",
        tools=tuple(
            ToolSpec(str(t.get("name")), t.get("parameters") or t.get("parametersJsonSchema") or {})
            for t in tools
        ),
        tool_choice=_choice(body),
        max_tokens=whole(config.get("maxOutputTokens")),
        json_mode=config.get("responseMimeType") == "application/json",
        schema=config.get("responseSchema") or config.get("responseJsonSchema"),
        thinking=False if budget == 0 else None,
        effort=str(thinking.get("thinkingLevel", "")).lower() or None,
        stop=strings(config.get("stopSequences")),
        user=nonce({"metadata": body.get("labels")}),
        extra={"thoughts": bool(thinking.get("includeThoughts"))},
    )


def _usage(tally: Tally) -> Json:
    details = [{"modality": "TEXT", "tokenCount": tally.input - tally.image}]
    if tally.image:
        details.append({"modality": "IMAGE", "tokenCount": tally.image})
    usage: Json = {
        "promptTokenCount": tally.input,
        "candidatesTokenCount": tally.output - tally.reasoning,
        "totalTokenCount": tally.input + tally.output,
        "promptTokensDetails": details,
    }
    if tally.reasoning:
        usage["thoughtsTokenCount"] = tally.reasoning
    if tally.cached:
        usage["cachedContentTokenCount"] = tally.cached
        usage["cacheTokensDetails"] = [{"modality": "TEXT", "tokenCount": tally.cached}]
    return usage


def _answer(ask: Ask, reply: Reply, parts: list[Json], *, last: bool, usage: Json | None) -> Json:
    candidate: Json = {"index": 0}
    if parts or not last:
        candidate["content"] = {"parts": parts, "role": "model"}
    else:
        candidate["content"] = {"role": "model"}
    if last:
        candidate["finishReason"] = FINISH[reply.finish]
    answer: Json = {"candidates": [candidate]}
    if usage is not None:
        answer["usageMetadata"] = usage
    return answer | {"modelVersion": ask.model, "responseId": reply.ident}


def _call_parts(reply: Reply) -> list[Json]:
    parts: list[Json] = []
    for call in reply.calls:
        try:
            arguments = json.loads(call.arguments)
        except ValueError:  # cut by maxOutputTokens: Gemini has no place for half a call
            continue
        parts.append({"functionCall": {"name": call.name, "args": arguments}})
    return parts


def plain(ask: Ask, reply: Reply) -> Json:
    parts: list[Json] = []
    if reply.reasoning and ask.extra.get("thoughts"):
        parts.append({"text": reply.whole_reasoning, "thought": True})
    if reply.text:
        parts.append({"text": reply.whole_text})
    usage = _usage(reply.usage) if reply.usage else None
    return _answer(ask, reply, parts + _call_parts(reply), last=True, usage=usage)


def events(ask: Ask, reply: Reply) -> Iterator[Event]:
    usage = _usage(reply.usage) if reply.usage else None
    # Until the last chunk, Gemini reports the prompt's tokens only.
    early: Json | None = None
    if usage is not None:
        early = {key: usage[key] for key in ("promptTokenCount", "promptTokensDetails")}
        early["totalTokenCount"] = usage["promptTokenCount"]

    def chunk(part: Json) -> bytes:
        return sse(_answer(ask, reply, [part], last=False, usage=early))

    if ask.extra.get("thoughts"):
        for delta in reply.reasoning:
            yield chunk({"text": delta.text, "thought": True}), delta.tokens
    for delta in _joined(reply.text):
        yield chunk({"text": delta.text}), delta.tokens
    for part in _call_parts(reply):
        yield chunk(part), count(dumps(part["functionCall"]))
    yield sse(_answer(ask, reply, [{"text": ""}], last=True, usage=usage)), 0


def _joined(deltas: Any, size: int = 4) -> Iterator[Delta]:
    """Gemini sends several tokens a chunk."""
    for at in range(0, len(deltas), size):
        group = deltas[at : at + size]
        yield Delta("".join(d.text for d in group), sum(d.tokens for d in group))


_WORDS: Mapping[str, tuple[str, str]] = {
    "400": ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    "400-context": (
        "INVALID_ARGUMENT",
        "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit}).",
    ),
    "400-key": ("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "401": (
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected a valid API key.",
    ),
    "402": ("FAILED_PRECONDITION", "Billing is not enabled for this project."),
    "403": ("PERMISSION_DENIED", "The caller does not have permission."),
    "404": (
        "NOT_FOUND",
        (
            "models/{model} is not found for API version v1beta, or is not supported for "
            "generateContent."
        ),
    ),
    "429": ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    "429-quota": (
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "500": ("INTERNAL", "An internal error has occurred. Please retry."),
    "503": ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    "529": ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


def describe(problem: Problem) -> tuple[int, Json]:
    if problem.kind == "400-filter":  # not an HTTP error here: an answer without candidates
        usage = {"promptTokenCount": problem.tokens, "totalTokenCount": problem.tokens}
        feedback = {"blockReason": "PROHIBITED_CONTENT"}
        return 200, {"promptFeedback": feedback, "usageMetadata": usage}
    status, message = _WORDS.get(problem.kind, _WORDS["500"])
    text = problem.message or message.format(
        model=problem.model, limit=problem.limit, tokens=problem.tokens
    )
    error: Json = {"code": problem.status, "message": text, "status": status}
    if problem.kind == "429":
        kind = "type.googleapis.com/google.rpc.RetryInfo"
        error["details"] = [{"@type": kind, "retryDelay": f"{problem.retry_after_s:g}s"}]
    if problem.kind == "400-key":
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        reason = {"@type": kind, "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        error["details"] = [reason]
    return problem.status, {"error": error}


def error_event(problem: Problem) -> bytes:
    return sse(describe(problem)[1])


WIRE = Wire("gemini", parse, plain, events, describe, error_event, sse_raw)
