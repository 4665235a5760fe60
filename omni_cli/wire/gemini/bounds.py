"""What a body of Gemini's API bounds.

Source: Gemini API reference, "Generating content" (types of google-genai 3.x), "Thinking", "Tools",
"Pricing" (grounding by the query or the prompt).
"""

from typing import Any

from omni_cli.domain.bounds import CallBound
from omni_cli.ports import SentBody
from omni_cli.wire.bounding import (
    TOOLS_FRAME,
    Draft,
    Fields,
    among,
    begin,
    choices,
    count,
    fold,
    folded,
    kinds_of,
    limit,
    names_like,
    objects,
    stored,
)
from omni_cli.wire.gemini import GeminiFacts
from omni_cli.wire.values import as_object

_LIMITS = folded("max_output_tokens")
_COUNTS = folded("candidate_count")
_CONFIG = folded("generation_config")


_THINKING = folded("thinking_config")
_BUDGET = folded("thinking_budget")


def _thinking(draft: Draft, name: str, value: Any) -> None:
    for key, item in as_object(value).items():
        if fold(key) in _BUDGET:
            if item is not None and count(item) is None:
                draft.refuse(f"{name}.{key}", "no number of tokens")
        elif fold(key) not in ("includethoughts", "thinkinglevel"):
            draft.refuse(f"{name}.{key}", "not a field whose cost omni knows")


_SETTINGS = Fields(
    folded(
        "temperature top_p top_k stop_sequences seed presence_penalty frequency_penalty logprobs",
        "response_mime_type response_schema response_json_schema response_logprobs",
        "media_resolution enable_enhanced_civic_answers image_config audio_timestamp",
        "speech_config",
    ),
    {
        **dict.fromkeys(_LIMITS, limit),
        **dict.fromkeys(_COUNTS, choices),
        "responsemodalities": kinds_of,
        "thinkingconfig": _thinking,
    },
)


def _config(draft: Draft, name: str, value: Any) -> None:  # noqa: ARG001  # as every reader
    settings = as_object(value)
    _SETTINGS.read(draft, settings, settings.get)


_FIELDS = Fields(
    folded("model contents system_instruction tool_config safety_settings labels store tools"),
    {
        "generationconfig": _config,
        "cachedcontent": stored,
        "servicetier": among("auto", "default", "standard", "flex", "batch", "unspecified"),
    },
)
#: Tools that Google runs, with what a query or a prompt is charged, nano-dollars.
_SEARCH_FEE = 35_000_000
_SERVERS = {
    "googlesearch": _SEARCH_FEE,
    "googlesearchretrieval": _SEARCH_FEE,
    "googlemaps": 25_000_000,
    "enterprisewebsearch": 45_000_000,
    "urlcontext": 0,
    "codeexecution": 0,
    "filesearch": 0,
}
_CALLERS_OWN = folded("function_declarations computer_use")
#: Of a part: what stands in it and nowhere else.
_WHOLE = folded(
    "text thought thought_signature function_call executable_code code_execution_result",
    "video_metadata part_metadata media_resolution",
)


def bound(sent: SentBody) -> CallBound:
    draft = begin(sent, GeminiFacts)
    names = sent.names
    _FIELDS.read(draft, names, sent.value)
    for name in names:
        folded_name = fold(name)
        if folded_name == "tools":
            _tools(draft, name, sent.value(name))
        elif folded_name in ("contents", "systeminstruction"):
            value = sent.value(name)
            for turn in [value] if isinstance(value, dict) else objects(value):
                _parts(draft, as_object(turn).get("parts"))
    # A configuration is an object that a server may merge with another, or take the first of: it
    # is always written anew.
    return draft.done(plain=False)


def write(sent: SentBody, each: int, bound: CallBound) -> None:
    settings: dict[str, Any] = {}
    for name in names_like(sent.names, _CONFIG):
        settings.update(as_object(sent.value(name)))
        sent.drop(name)
    for name in [*names_like(settings, _LIMITS), *names_like(settings, _COUNTS)]:
        del settings[name]
    settings["maxOutputTokens"] = each
    # Thoughts are part of the limit; a budget of theirs above it would say something else.
    for name in names_like(settings, _THINKING):
        thinking = {**as_object(settings[name])}
        for key in names_like(thinking, _BUDGET):
            budget = count(thinking[key])
            if budget is not None and budget > each:
                thinking[key] = each
        settings[name] = thinking
    if bound.choices > 1:
        settings["candidateCount"] = bound.choices
    sent.put("generationConfig", settings)


def _tools(draft: Draft, name: str, value: Any) -> None:
    if value:
        draft.input_tokens += TOOLS_FRAME
    for tool in [value] if isinstance(value, dict) else objects(value):
        for kind, setting in tool.items():
            if setting is None or fold(kind) in _CALLERS_OWN:
                continue
            fee = _SERVERS.get(fold(kind))
            if fee is None:
                draft.refuse(f"{name}: {kind}", "a tool whose cost omni does not know")
            else:
                draft.run(f"{name}: {kind}", fee_nusd=fee)


def _parts(draft: Draft, parts: Any) -> None:
    for part in [parts] if isinstance(parts, dict) else objects(parts):
        for key, value in part.items():
            known = fold(key)
            if known in _WHOLE or value is None:
                continue
            if known == "inlinedata":
                blob = {fold(name): item for name, item in as_object(value).items()}
                kind = str(blob.get("mimetype", "")).partition("/")[0]
                draft.media(f"contents[].{key}", kind, blob.get("data"))
            elif known == "functionresponse":
                _parts(draft, as_object(value).get("parts"))
            else:
                draft.reach(f"contents[].{key}")
