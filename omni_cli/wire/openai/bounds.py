"""What a Chat Completions body bounds, and a body of embeddings.

Sources: OpenAI API reference, "Create chat completion" and "Create embeddings" (types of openai
2.x); vLLM, "OpenAI-compatible server", extra parameters; llama.cpp, server README; OpenRouter,
"API reference"; Groq, xAI, Mistral, DeepSeek, Z.ai, Alibaba Model Studio, Perplexity, Jina, Voyage.
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
    beside,
    choices,
    count,
    fold,
    folded,
    kinds_of,
    limit,
    names_like,
    objects,
    size_of,
    sound,
    stored,
    usual,
    within,
)
from omni_cli.wire.openai import OpenAiFacts
from omni_cli.wire.quirks import quirks_of
from omni_cli.wire.values import as_list

#: Every server reads these alike, and they cost nothing beyond the bytes.
_PLAIN = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "stop",
        "seed",
        "user",
        "metadata",
        "store",
        "frequency_penalty",
        "presence_penalty",
        "response_format",
        "reasoning_effort",
        "prompt_cache_key",
        "max_tokens",
        "max_completion_tokens",
    }
)
#: The limit, as servers spell it: llama.cpp and TGI have names of their own.
_LIMITS = folded("max_tokens max_completion_tokens max_new_tokens max_output_tokens n_predict")
_COUNTS = folded("n best_of")
_HARMLESS = folded(
    # OpenAI
    "model messages stream stream_options temperature top_p stop seed user metadata store",
    "frequency_penalty presence_penalty logit_bias logprobs top_logprobs response_format",
    "reasoning_effort tool_choice parallel_tool_calls functions function_call verbosity",
    "prompt suffix",
    "safety_identifier prompt_cache_key prompt_cache_retention prompt_cache_options",
    # vLLM, SGLang, TGI, llama.cpp: sampling and output, within the limit
    "top_k min_p top_a typical_p tfs_z repetition_penalty repeat_penalty repeat_last_n min_tokens",
    "ignore_eos stop_token_ids include_stop_str_in_output skip_special_tokens",
    "spaces_between_special_tokens length_penalty prompt_logprobs allowed_token_ids bad_words",
    "truncate_prompt_tokens add_generation_prompt continue_final_message add_special_tokens echo",
    "guided_json guided_regex guided_choice guided_grammar guided_decoding_backend",
    "guided_whitespace_pattern structured_outputs structural_tag regex ebnf grammar json_schema",
    "chat_template_kwargs chat_template_args priority request_id return_token_ids documents",
    "return_tokens_as_token_ids cache_salt no_stop_trim separate_reasoning stream_reasoning",
    "mirostat mirostat_tau mirostat_eta mirostat_mode penalize_nl samplers n_probs n_keep min_keep",
    "dynatemp_range dynatemp_exponent xtc_probability xtc_threshold dry_multiplier dry_base",
    "dry_allowed_length dry_penalty_last_n dry_sequence_breakers cache_prompt id_slot slot_id",
    "timings_per_token return_progress post_sampling_probs reasoning_format thinking_forced_open",
    "parse_tool_calls do_sample ttl keep_alive",
    # OpenRouter, Groq, xAI, Mistral, Fireworks, Cerebras, Alibaba, Z.ai, Perplexity
    "usage transforms include_reasoning session_id trace cache_control disable_tool_validation",
    "citation_options random_seed safe_prompt prompt_mode context_length_exceeded_behavior",
    "prompt_truncate_len prompt_cache_isolation_key raw_output perf_metrics_in_response",
    "disable_reasoning clear_thinking enable_thinking tool_stream user_id search_mode",
    "search_domain_filter search_recency_filter search_after_date_filter search_before_date_filter",
    "last_updated_after_filter last_updated_before_filter return_images return_related_questions",
    "image_domain_filter image_format_filter disable_search language_preference",
    "vl_high_resolution_images incremental_output translation_options",
)
_SEARCH_FEE = 50_000_000  # $50 a 1,000: the dearest of OpenAI's for search models ("Pricing")


def _prediction(draft: Draft, name: str, value: Any) -> None:  # noqa: ARG001  # as every reader
    """Tokens of it that the answer does not take are billed as output (OpenAI, "Predicted
    Outputs"); there are no more of them than bytes."""
    if value:
        draft.beside += size_of(value)


def _searches(draft: Draft, name: str, value: Any) -> None:
    """Search models search once before they answer."""
    if value is not None:
        draft.run(name, 2, _SEARCH_FEE)


def _provider(draft: Draft, name: str, value: Any) -> None:
    """OpenRouter's choice among its providers; some are dearer than the one that is priced."""
    if isinstance(value, dict):
        for key, item in value.items():
            if fold(key) not in _ROUTING and item not in (None, False, "", [], {}):
                draft.refuse(f"{name}.{key}", "it may choose a dearer provider")
    elif value:
        draft.refuse(name, "no object")


_ROUTING = folded("data_collection zdr require_parameters allow_fallbacks max_price")
_REASONING = Fields(
    folded("effort exclude enabled summary generate_summary"),
    {"maxtokens": beside, "budgettokens": beside},
)
_THINKING = Fields(
    folded("type keep clear_thinking enabled"), {"budgettokens": beside, "maxtokens": beside}
)
_TIERS = among("auto", "default", "flex", "on_demand", "standard", "batch")


def _tools(draft: Draft, name: str, value: Any) -> None:
    if not value:
        return
    draft.input_tokens += TOOLS_FRAME
    for tool in objects(value):
        kind = tool.get("type", "function")
        if kind not in ("function", "custom"):
            draft.refuse(f"{name}: {kind}", "a tool that the provider runs")


_READERS = {
    **dict.fromkeys(_LIMITS, limit),
    **dict.fromkeys(_COUNTS, choices),
    "tools": _tools,
    "prediction": _prediction,
    "speculation": _prediction,
    "modalities": kinds_of,
    "audio": sound,
    "servicetier": _TIERS,
    "websearchoptions": _searches,
    "reasoning": within(_REASONING),
    "thinking": within(_THINKING),
    "thinkingbudget": beside,
    "reasoningbudget": beside,
    "thinkingtokenbudget": beside,
    "provider": _provider,
    # A template may repeat what it is given; a picture's size may be raised.
    "chattemplate": stored,
    "mmprocessorkwargs": stored,
    "datasources": stored,
}
_FIELDS = Fields(_HARMLESS, _READERS)
#: Of a message: what stands in it and nowhere else.
_OF_MESSAGE = folded(
    "role content name tool_calls tool_call_id function_call refusal reasoning reasoning_content",
    "reasoning_details annotations prefix partial cache_control thinking_blocks signature",
    "encrypted_content weight tool_name recipient channel",
)
_TEXTS = frozenset({"text", "refusal", "thinking", "input_text", "output_text"})


def bound(sent: SentBody) -> CallBound:
    if sent.operation != "chat":
        return _beside_chat(sent)
    names, limit_name = sent.names, quirks_of(sent.base_url).max_tokens
    if names <= _PLAIN and sent.texts_only("messages"):
        other = "max_tokens" if limit_name == _COMPLETION else _COMPLETION
        found = None if other in names else usual(sent, sent.value(limit_name), plain=True)
        if found is not None:
            return found
    draft = begin(sent, OpenAiFacts)
    _FIELDS.read(draft, names, sent.value)
    stated = draft.limits.get(limit_name)
    plain = len(draft.limits) == 1 and type(stated) is int and stated > 0
    if not sent.texts_only("messages"):
        for name in names_like(names, _MESSAGES):
            for message in objects(sent.value(name)):
                _message(draft, message)
    return draft.done(plain)


_COMPLETION = "max_completion_tokens"
_MESSAGES = folded("messages")


def _message(draft: Draft, message: dict[str, Any]) -> None:
    for name, value in message.items():
        if fold(name) not in _OF_MESSAGE and value not in (None, "", [], {}, False):
            draft.reach(f"messages[].{name}")
    content = message.get("content")
    if isinstance(content, dict):
        content = [content]
    for part in objects(content):
        _part(draft, part)
    for detail in objects(message.get("annotations")):
        if detail.get("type") == "file":  # OpenRouter: a file that was read before
            draft.reach("messages[].annotations")


def _part(draft: Draft, part: dict[str, Any]) -> None:
    kind = part.get("type", "text")
    if kind in _TEXTS:
        return
    name = f"messages[].content: {kind}"
    if kind in ("image_url", "input_image", "image"):
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        draft.media(name, "image", url if isinstance(url, str) and url[:5] == "data:" else "")
    elif kind == "tool_reference":
        return
    else:
        draft.media(name, "document", "")


def write(sent: SentBody, each: int, bound: CallBound) -> None:  # noqa: ARG001  # as every protocol
    usual = quirks_of(sent.base_url).max_tokens
    for name in names_like(sent.names, _LIMITS):
        if name != usual:
            sent.drop(name)
    sent.put(usual, each)
    for name in names_like(sent.names, _COUNTS):
        value = sent.value(name)
        if type(value) is int and value > 0:
            continue
        asked = count(value)
        if asked is not None and asked > 0:
            sent.put(name, asked)
        else:
            sent.drop(name)


# --- what is no chat ------------------------------------------------------------------------------

_VECTORS = Fields(
    folded(
        "model input dimensions encoding_format user task input_type truncate truncation",
        "embedding_type embedding_types normalized late_chunking output_dimension output_dtype",
        "truncate_prompt_tokens add_special_tokens priority request_id keep_alive options texts",
        "prompt_name normalize instruction return_multivector",
        # Rankings: Cohere, Jina, Voyage
        "query documents top_n top_k return_documents rank_fields max_tokens_per_doc",
        "max_chunks_per_doc",
    ),
    {"provider": _provider, "servicetier": _TIERS},
)


#: A part of a text that is ranked by itself, with the question before it: the shortest, in bytes.
_CHUNK = 256


def _beside_chat(sent: SentBody) -> CallBound:
    """Vectors, rankings and judgements: their answers have no tokens that are charged."""
    from omni_cli.wire.openai import media  # nobody who chats needs it

    draft = begin(sent, OpenAiFacts)
    if sent.operation in media.MADE:
        media.bound(draft)
        return draft.done(plain=True, writes=False)
    _VECTORS.read(draft, sent.names, sent.value)
    if sent.operation == "rerank":
        parts = media.searches(sent, names_like(sent.names, _DOCUMENTS))
        draft.units = (("searches", parts),)
        _ranking(draft)
    for name in names_like(sent.names, _SHOWN):
        value = sent.value(name)
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict) and not item.keys() <= _OF_TEXT:  # an image by URL, a file
                draft.reach(name)
    return draft.done(plain=True, writes=False)


_SHOWN = folded("input query documents texts")
_OF_TEXT = frozenset({"type", "text"})
_QUERIES, _DOCUMENTS = folded("query"), folded("documents texts input")


def _ranking(draft: Draft) -> None:
    """The question is read, and charged, again before each text, and before each part of a long
    one (Voyage, "Pricing": query tokens times documents; Jina, "Reranker API")."""
    sent = draft.sent
    query = sum(size_of(sent.value(name)) for name in names_like(sent.names, _QUERIES))
    for name in names_like(sent.names, _DOCUMENTS):
        for document in as_list(sent.value(name)):
            draft.input_tokens += query * (1 + size_of(document) // _CHUNK)
