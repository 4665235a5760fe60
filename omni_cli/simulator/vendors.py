"""What vendors do beyond their protocols: their words for what goes wrong, who tells its thoughts,
what a picture counts, whose prompts are cached.

How a request is read and an answer is written is the protocol's own server side (``wire/``).
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec import Struct

from omni_cli.domain.chat import ChatRequest
from omni_cli.simulator import clouds
from omni_cli.simulator.ask import Problem, Turn
from omni_cli.wire.bedrock import framing
from omni_cli.wire.registry import callers
from omni_cli.wire.server import Caller, encode, sse

Json = dict[str, Any]
#: By kind of fault: the words of an error, and what else a protocol's errors say of it.
Words = Mapping[str, tuple[str, ...]]


class Vendor(Struct, frozen=True):
    """One protocol's vendor.

    ``problem``: status and body of an error. ``image_tokens``: of one picture. Google documents 258
    for a small one; the others are of the size that the providers' pages give for a small picture.
    The simulator does not decode images. ``caches``: "unasked", "marked" by the request, or "".
    ``step``: tokens that come in one chunk. ``turns``: the prompt with its cache marks, where it
    can have any. ``thinks``: whether the request asks for thoughts, None where it does not say.
    ``tells``: whether it is told them. ``strict``: refuses fields of embeddings that it does not
    know. ``speaker``: its server side where the gateway has none. ``type_header``: the header that
    tells an error's kind.
    """

    protocol: str
    problem: Callable[[Problem], tuple[int, Json]]
    image_tokens: int = 0
    caches: str = "unasked"
    step: int = 1
    turns: Callable[[Json], Iterator[Turn]] | None = None
    thinks: Callable[[Json, ChatRequest], bool | None] = lambda _body, _request: None
    tells: Callable[[Json, str], bool] = lambda _body, _model: True
    strict: bool = False
    speaker: Caller | None = None
    type_header: tuple[str, Callable[[Problem], str]] | None = None

    @property
    def caller(self) -> Caller | None:
        """Its protocol's server side; None of those that do not chat."""
        return self.speaker or next(iter(callers(self.protocol)), None)

    @property
    def stream_type(self) -> str:
        return self.caller.stream_type if self.caller else "text/event-stream"

    def frame(self, text: str) -> bytes:
        """An event of raw text, for the faults that send bad data."""
        if self.protocol == "bedrock":
            return framing.message("contentBlockDelta", text.encode())
        lines = self.stream_type == "application/x-ndjson"
        return f"{text}\n".encode() if lines else f"data: {text}\n\n".encode()

    def error_event(self, problem: Problem) -> bytes:
        """An error in a stream that has begun."""
        if self.protocol == "bedrock":
            return clouds.error_event(problem)
        body = self.problem(problem)[1]
        if self.protocol in _NAMED:
            return sse(_NAMED[self.protocol](body), "error")
        return self.frame(encode(body).decode())


def _told(words: Words, problem: Problem, *, keys: str = "401") -> tuple[int, str, tuple[str, ...]]:
    """Status, message, and the other words of an error.

    Args:
        keys: the kind that stands for a bad key.
    """
    bad_key = problem.kind == "400-key"
    message, *rest = words.get(keys if bad_key else problem.kind, words["500"])
    text = problem.message or message.format(
        model=problem.model, limit=problem.limit, tokens=problem.tokens, retry=problem.retry_after_s
    )
    return int(keys.partition("-")[0]) if bad_key else problem.status, text, tuple(rest)


def _body_of(marked: Mapping[str, Any], name: str) -> Json:
    value = marked.get(name)
    return value if isinstance(value, dict) else {}


# --- OpenAI, and those that speak its protocols ---------------------------------------------------

_OPENAI: Words = {
    # kind: (message, type, code)
    "400": ("The request could not be processed.", "invalid_request_error", ""),
    "400-context": (
        (
            "This model's maximum context length is {limit} tokens. However, your messages "
            "resulted in {tokens} tokens. Please reduce the length of the messages."
        ),
        "invalid_request_error",
        "context_length_exceeded",
    ),
    "400-filter": (
        "The response was filtered due to the prompt triggering the content management policy.",
        "invalid_request_error",
        "content_filter",
    ),
    "401": ("Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "402": ("Insufficient Balance", "unknown_error", "invalid_request_error"),
    "403": ("The key may not use this model.", "invalid_request_error", "permission_denied"),
    "404": (
        "The model `{model}` does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
    ),
    "429": (
        "Rate limit reached for {model}. Please try again in {retry:g}s.",
        "requests",
        "rate_limit_exceeded",
    ),
    "429-quota": (
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "500": ("The server had an error while processing your request.", "server_error", ""),
    "503": ("The engine is currently overloaded.", "server_error", "service_unavailable"),
    "529": ("That model is currently overloaded.", "server_error", "overloaded"),
}


def _openai(problem: Problem) -> tuple[int, Json]:
    status, text, (kind, code) = _told(_OPENAI, problem)
    error = {"message": text, "type": kind, "param": None, "code": code or None}
    return status, {"error": error}


def _responses_event(body: Json) -> Json:
    error = body["error"]
    # The number does not continue the stream's: it is made without knowing how far that got.
    told = {"code": error["code"], "message": error["message"], "param": None}
    return {"type": "error", "sequence_number": 0, **told}


def _shows_thoughts(_: Json, model: str) -> bool:
    """OpenAI keeps its thoughts to itself; DeepSeek, Kimi and others send them."""
    return not model.rsplit("/", 1)[-1].startswith(("o1", "o3", "o4", "gpt-"))


# --- Anthropic ------------------------------------------------------------------------------------

_ANTHROPIC: Words = {
    # kind: (message, type)
    "400": ("The request could not be processed.", "invalid_request_error"),
    "400-context": (
        "prompt is too long: {tokens} tokens > {limit} maximum",
        "invalid_request_error",
    ),
    "400-filter": ("Output blocked by content filtering policy", "invalid_request_error"),
    "401": ("invalid x-api-key", "authentication_error"),
    "402": ("Your credit balance is too low to access the Anthropic API.", "billing_error"),
    "403": ("Your API key does not have permission to use this model.", "permission_error"),
    "404": ("model: {model}", "not_found_error"),
    "429": ("This request would exceed your account's rate limit.", "rate_limit_error"),
    "429-quota": ("You have reached your specified API usage limits.", "rate_limit_error"),
    "500": ("Internal server error", "api_error"),
    "503": ("Service unavailable", "api_error"),
    "529": ("Overloaded", "overloaded_error"),
}


def _anthropic(problem: Problem) -> tuple[int, Json]:
    status, text, (kind,) = _told(_ANTHROPIC, problem)
    error = {"type": kind, "message": text}
    return status, {"type": "error", "error": error, "request_id": f"req_{problem.ident}"}


def _marked_turns(body: Json) -> Iterator[Turn]:
    """Tools, system and messages, a turn for each block: a mark stands after one."""
    for tool in body.get("tools") or ():
        yield Turn("tools", encode(tool).decode(), 0, _mark(tool))
    yield from _blocks("system", body.get("system"))
    for message in body.get("messages") or ():
        yield from _blocks(str(message.get("role", "user")), message.get("content"))


def _blocks(role: str, content: Any) -> Iterator[Turn]:
    if isinstance(content, str):
        yield Turn(role, content)
        return
    for block in content or ():
        kind, mark = block.get("type"), _mark(block)
        if kind == "text":
            yield Turn(role, str(block.get("text", "")), 0, mark)
        elif kind == "image":
            yield Turn(role, "", 1, mark)
        elif kind == "tool_result":
            inner = block.get("content")
            text = inner if isinstance(inner, str) else encode(inner).decode()
            yield Turn("tool", text, 0, mark)
        else:
            rest = {name: value for name, value in block.items() if name != "signature"}
            yield Turn(role, encode(rest).decode(), 0, mark)


def _mark(block: Json) -> str | None:
    control = block.get("cache_control")
    if not isinstance(control, dict):
        return None
    return "1h" if control.get("ttl") == "1h" else "5m"


def _anthropic_turns(body: Json) -> Iterator[Turn]:
    turns = list(_marked_turns(body))
    if isinstance(body.get("cache_control"), dict):  # the whole prompt, to its last block
        last = turns[-1]
        turns[-1] = Turn(last.role, last.text, last.images, _mark(body))
    return iter(turns)


# --- Google ---------------------------------------------------------------------------------------

_GOOGLE: Words = {
    # kind: (message, status)
    "400": ("Request contains an invalid argument.", "INVALID_ARGUMENT"),
    "400-context": (
        "The input token count ({tokens}) exceeds the maximum number of tokens allowed ({limit}).",
        "INVALID_ARGUMENT",
    ),
    "400-key": ("API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
    "401": (
        "Request had invalid authentication credentials. Expected a valid API key.",
        "UNAUTHENTICATED",
    ),
    "402": ("Billing is not enabled for this project.", "FAILED_PRECONDITION"),
    "403": ("The caller does not have permission.", "PERMISSION_DENIED"),
    "404": (
        (
            "models/{model} is not found for API version v1beta, or is not supported for "
            "generateContent."
        ),
        "NOT_FOUND",
    ),
    "429": ("Resource has been exhausted (e.g. check quota).", "RESOURCE_EXHAUSTED"),
    "429-quota": (
        "You exceeded your current quota, please check your plan and billing details.",
        "RESOURCE_EXHAUSTED",
    ),
    "500": ("An internal error has occurred. Please retry.", "INTERNAL"),
    "503": ("The model is overloaded. Please try again later.", "UNAVAILABLE"),
    "529": ("The model is overloaded. Please try again later.", "UNAVAILABLE"),
}
_DETAILS = "type.googleapis.com/google.rpc."


def _google(problem: Problem) -> tuple[int, Json]:
    if problem.kind == "400-filter":  # not an HTTP error here: an answer without candidates
        usage = {"promptTokenCount": problem.tokens, "totalTokenCount": problem.tokens}
        feedback = {"blockReason": "PROHIBITED_CONTENT"}
        return 200, {"promptFeedback": feedback, "usageMetadata": usage}
    status, text, (word,) = _told(_GOOGLE, problem, keys="400-key")
    error: Json = {"code": status, "message": text, "status": word}
    if problem.kind == "429":
        retry = f"{problem.retry_after_s:g}s"
        error["details"] = [{"@type": f"{_DETAILS}RetryInfo", "retryDelay": retry}]
    if problem.kind == "400-key":
        reason = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        error["details"] = [{"@type": f"{_DETAILS}ErrorInfo", **reason}]
    return status, {"error": error}


def _thinking_config(body: Json) -> Json:
    config = _body_of(body, "generationConfig") or _body_of(body, "generation_config")
    return _body_of(config, "thinkingConfig")


# --- Ollama and Clarifai --------------------------------------------------------------------------

_OLLAMA: Words = {
    "400": ("invalid request",),
    "400-context": ("the input length ({tokens}) exceeds the context length ({limit})",),
    "400-filter": ("the request was filtered",),
    "401": ("unauthorized",),
    "402": ("payment required",),
    "403": ("forbidden",),
    "404": ('model "{model}" not found, try pulling it first',),
    "429": ("too many requests",),
    "429-quota": ("you have reached your usage limit",),
    "500": ("llama runner process has terminated: exit status 2",),
    "503": ("server busy, please try again.  maximum pending requests exceeded",),
    "529": ("server overloaded",),
}
_CLARIFAI: Words = {
    # kind: (description, Clarifai's own code)
    "401": ("Invalid API key or Invalid API key/application pair", "11009"),
    "402": ("Insufficient credits", "11005"),
    "404": ("Model does not exist", "21200"),
    "429": ("Request throttled", "11008"),
    "500": ("Internal error", "98004"),
}


def _ollama(problem: Problem) -> tuple[int, Json]:
    status, text, _ = _told(_OLLAMA, problem)
    return status, {"error": text}


def _clarifai(problem: Problem) -> tuple[int, Json]:
    status, text, (code,) = _told(_CLARIFAI, problem)
    return status, {"status": {"code": int(code), "description": text}}


#: Events of errors that carry a name, and what of the error they say.
_NAMED: Mapping[str, Callable[[Json], Json]] = {
    "anthropic": lambda body: body,
    "openai-responses": _responses_event,
}

VENDORS: Mapping[str, Vendor] = {
    vendor.protocol: vendor
    for vendor in (
        Vendor("openai", _openai, 255, tells=_shows_thoughts, strict=True),
        Vendor(
            "openai-responses",
            _openai,
            255,
            tells=lambda body, _: bool(_body_of(body, "reasoning").get("summary")),
        ),
        Vendor(
            "anthropic",
            _anthropic,
            200,
            "marked",
            turns=_anthropic_turns,
            thinks=lambda body, _: _body_of(body, "thinking").get("type", "disabled") != "disabled",
        ),
        Vendor(
            "gemini",
            _google,
            258,
            step=4,
            thinks=lambda body, _: (
                False if _thinking_config(body).get("thinkingBudget") == 0 else None
            ),
            tells=lambda body, _: bool(_thinking_config(body).get("includeThoughts")),
        ),
        Vendor(
            "ollama",
            _ollama,
            caches="",
            thinks=lambda body, _: None if body.get("think") is None else bool(body["think"]),
        ),
        Vendor(
            "bedrock",
            clouds.told,
            200,
            "",
            thinks=lambda body, _: (
                _body_of(_body_of(body, "additionalModelRequestFields"), "thinking").get(
                    "type", "disabled"
                )
                != "disabled"
            ),
            speaker=clouds.Converse(),
            type_header=("x-amzn-errortype", clouds.kind_of),
        ),
        Vendor("clarifai", _clarifai),
        Vendor("google-vision", _google),
    )
}
