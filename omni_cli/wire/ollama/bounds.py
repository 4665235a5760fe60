"""What a body of Ollama's API bounds.

Source: ollama/ollama docs/api.md and api/types.go. Its decoder takes names in any case.
"""

from typing import Any

from omni_cli.domain.bounds import CallBound
from omni_cli.ports import SentBody
from omni_cli.wire.bounding import (
    TOOLS_FRAME,
    Draft,
    Fields,
    begin,
    fold,
    folded,
    limit,
    names_like,
    objects,
    stored,
)
from omni_cli.wire.ollama import OllamaFacts
from omni_cli.wire.openai import bounds
from omni_cli.wire.values import as_list, as_object

_LIMIT = "num_predict"
_OPTIONS = folded("options")
_SETTINGS = Fields(
    folded(
        "num_keep seed top_k top_p min_p tfs_z typical_p repeat_last_n temperature repeat_penalty",
        "presence_penalty frequency_penalty mirostat mirostat_tau mirostat_eta penalize_newline",
        "stop numa num_ctx num_batch num_gpu main_gpu low_vram vocab_only use_mmap use_mlock",
        "num_thread f16_kv logits_all embedding_only draft_num_predict",
    ),
    {fold(_LIMIT): limit},
)


def _options(draft: Draft, name: str, value: Any) -> None:  # noqa: ARG001  # as every reader
    settings = as_object(value)
    _SETTINGS.read(draft, settings, settings.get)


_FIELDS = Fields(
    folded(
        "model messages prompt system suffix images format stream keep_alive think raw context",
        "tools truncate shift logprobs top_logprobs",
    ),
    {"options": _options, "template": stored},
)


def bound(sent: SentBody) -> CallBound:
    if sent.operation == "embeddings":
        return bounds.bound(sent)
    draft = begin(sent, OllamaFacts)
    _FIELDS.read(draft, sent.names, sent.value)
    for name in names_like(sent.names, folded("tools")):
        draft.input_tokens += TOOLS_FRAME if sent.value(name) else 0
    if not sent.texts_only("messages"):
        for name in names_like(sent.names, folded("messages")):
            for message in objects(sent.value(name)):
                for key in names_like(message, folded("images")):
                    for image in as_list(message[key]):
                        draft.media("messages[].images", "image", image)
    # Options are an object that a server may merge with another: they are always written anew.
    return draft.done(plain=False)


def write(sent: SentBody, each: int, bound: CallBound) -> None:  # noqa: ARG001  # as every protocol
    settings: dict[str, Any] = {}
    for name in names_like(sent.names, _OPTIONS):
        settings.update(as_object(sent.value(name)))
        sent.drop(name)
    for name in names_like(settings, folded(_LIMIT)):
        del settings[name]
    settings[_LIMIT] = each
    sent.put("options", settings)
