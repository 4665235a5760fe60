"""What a body of Converse bounds.

Source: Amazon Bedrock API reference, "Converse"; "Amazon Bedrock pricing", service tiers.
"""

from typing import Any

from omni_cli.domain.bounds import CallBound
from omni_cli.ports import SentBody
from omni_cli.wire.bedrock import BedrockFacts
from omni_cli.wire.bounding import (
    TOOLS_FRAME,
    Draft,
    Fields,
    begin,
    count,
    folded,
    limit,
    objects,
    says_nothing,
    stored,
)
from omni_cli.wire.values import as_object

_LIMIT = "maxTokens"
#: Least budget of thinking that Claude takes.
_LEAST_THINKING = 1_024
_SETTINGS = Fields(folded("temperature topP stopSequences"), {"maxtokens": limit})
_MORE = frozenset({"thinking", "output_config", "top_k", "inferenceConfig"})


def _settings(draft: Draft, name: str, value: Any) -> None:  # noqa: ARG001  # as every reader
    settings = as_object(value)
    _SETTINGS.read(draft, settings, settings.get)


def _more(draft: Draft, name: str, value: Any) -> None:
    """Fields of the model's own: what is not known may cost anything."""
    for key, item in as_object(value).items():
        if key not in _MORE and not says_nothing(item):
            draft.refuse(f"{name}.{key}", "not a field whose cost omni knows")


def _tier(draft: Draft, name: str, value: Any) -> None:
    said = as_object(value)
    if said.get("type", "default") not in ("default", "flex") or said.get("latency") == "optimized":
        draft.refuse(name, "it costs more than the list price")


_FIELDS = Fields(
    folded("messages system toolConfig requestMetadata additionalModelResponseFieldPaths"),
    {
        "inferenceconfig": _settings,
        "additionalmodelrequestfields": _more,
        "servicetier": _tier,
        "performanceconfig": _tier,
        "guardrailconfig": stored,
        "promptvariables": stored,
    },
)


def bound(sent: SentBody) -> CallBound:
    draft = begin(sent, BedrockFacts)
    _FIELDS.read(draft, sent.names, sent.value)
    if as_object(sent.value("toolConfig")).get("tools"):
        draft.input_tokens += TOOLS_FRAME
    for message in objects(sent.value("messages")):
        _content(draft, message.get("content"))
    return draft.done(plain=False)


def write(sent: SentBody, each: int, bound: CallBound) -> None:  # noqa: ARG001  # as every protocol
    settings = {**as_object(sent.value("inferenceConfig")), _LIMIT: each}
    sent.put("inferenceConfig", settings)
    more = as_object(sent.value("additionalModelRequestFields"))
    budget = count(as_object(more.get("thinking")).get("budget_tokens"))
    if budget is not None and budget >= each:
        # The API refuses a budget of thinking that is not below the limit.
        thinks = {"type": "enabled", "budget_tokens": max(_LEAST_THINKING, each // 2)}
        if each <= _LEAST_THINKING:
            thinks = {"type": "disabled"}
        sent.put("additionalModelRequestFields", {**more, "thinking": thinks})


def _content(draft: Draft, content: Any) -> None:
    for block in objects(content):
        if "image" in block:
            data = as_object(as_object(block["image"]).get("source")).get("bytes")
            draft.media("messages[].content: image", "image", data)
        elif "toolResult" in block:
            _content(draft, as_object(block["toolResult"]).get("content"))
        elif not block.keys() & {"text", "json", "toolUse", "reasoningContent", "cachePoint"}:
            draft.reach(f"messages[].content: {next(iter(block), '')}")
