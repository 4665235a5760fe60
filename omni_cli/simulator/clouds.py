"""Amazon Bedrock as it is spoken to, and what the clouds ask of whoever calls them.

A signature is worked out again from what arrived; a token has to be one that was given here for a
signed wish. Sources: as of ``wire/access.py`` and ``wire/bedrock/client.py``.
"""

import base64
import calendar
import json
import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, quote

from omni_cli.domain.chat import (
    ChatChunk,
    ChatRequest,
    Completion,
    MediaPart,
    Message,
    TextPart,
    Tool,
    ToolCall,
    Usage,
)
from omni_cli.simulator.ask import Problem
from omni_cli.wire.access import SigV4
from omni_cli.wire.bedrock import BedrockFacts
from omni_cli.wire.bedrock.framing import message
from omni_cli.wire.server import Answered, Caller, Parsed, encode
from omni_cli.wire.values import arguments_object, as_list, as_object, as_text

#: Amazon's own example of a key, whose calls are taken (IAM user guide, signing examples).
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#: Seconds that a signature's time, or a wish for a token, may be off.
_SKEW_S = 300
_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<id>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/(?P<service>[^/]+)"
    r"/aws4_request, SignedHeaders=(?P<names>[^,]+), Signature=(?P<made>[0-9a-f]{64})"
)
#: A model's name is one segment of a path, whatever stands in it.
_MODEL = re.compile(r"(.*/model/)(.+)(/converse(?:-stream)?)")
_GRANTS = {"refresh_token": "refresh_token", "client_credentials": "client_secret"}


class Converse(BedrockFacts, Caller):
    """Converse, from the side of who is asked."""

    def parse(self, body: dict[str, Any]) -> Parsed:
        settings = as_object(body.get("inferenceConfig"))
        tools = as_object(body.get("toolConfig"))
        turns = [Message("system", tuple(_parts(as_list(body.get("system")))))]
        for turn in map(as_object, as_list(body.get("messages"))):
            turns += _messages(as_text(turn.get("role")), as_list(turn.get("content")))
        choice = as_object(tools.get("toolChoice"))
        named = as_text(as_object(choice.get("tool")).get("name"))
        request = ChatRequest(
            messages=tuple(turn for turn in turns if turn.parts or turn.tool_calls),
            tools=tuple(
                Tool(spec["name"], spec.get("description", ""), spec["inputSchema"]["json"])
                for item in as_list(tools.get("tools"))
                if (spec := item.get("toolSpec"))
            ),
            tool_choice=named or ("required" if "any" in choice else None),
            max_output_tokens=settings.get("maxTokens"),
            stop=tuple(as_list(settings.get("stopSequences"))),
        )
        return Parsed(request)

    def whole(self, completion: Completion, about: Answered) -> bytes:
        content: list[dict[str, Any]] = []
        if completion.reasoning:
            text = {"text": completion.reasoning, "signature": "simulated-signature"}
            content.append({"reasoningContent": {"reasoningText": text}})
        if completion.text:
            content.append({"text": completion.text})
        content += [
            {"toolUse": {"toolUseId": call.id, "name": call.name, "input": arguments_object(call)}}
            for call in completion.tool_calls
        ]
        return encode(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": self.finish_word(completion.finish_reason),
                "usage": _usage(completion.usage),
                "metrics": {"latencyMs": about.latency_ms or 1},
            }
        )

    def writer(self, about: Answered) -> "_Writer":
        del about
        return _Writer()


class _Writer:
    """ConverseStream: a block is begun, filled and ended before the next."""

    def __init__(self) -> None:
        self._begun = False
        self._open: tuple[str, int] | None = None
        self._index = -1

    def chunk(self, chunk: ChatChunk) -> bytes:
        out = b"" if self._begun else _event("messageStart", {"role": "assistant"})
        self._begun = True
        if chunk.reasoning:
            out += self._delta(("thought", 0), {"reasoningContent": {"text": chunk.reasoning}})
        if chunk.reasoning_blocks and self._open == ("thought", 0):
            signed = {"reasoningContent": {"signature": "simulated-signature"}}
            out += self._delta(("thought", 0), signed)
        if chunk.text:
            out += self._delta(("text", 0), {"text": chunk.text})
        for call in chunk.tool_calls:
            if call.id is not None:
                out += self._close() + self._begin(("call", call.index))
                start = {"toolUse": {"toolUseId": call.id, "name": call.name or ""}}
                said = {"contentBlockIndex": self._index, "start": start}
                out += _event("contentBlockStart", said)
            if call.arguments:
                out += self._delta(("call", call.index), {"toolUse": {"input": call.arguments}})
        return out

    def _begin(self, block: tuple[str, int]) -> bytes:
        self._open = block
        self._index += 1
        return b""

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        self._open = None
        return _event("contentBlockStop", {"contentBlockIndex": self._index})

    def _delta(self, block: tuple[str, int], delta: dict[str, Any]) -> bytes:
        out = b""
        if self._open != block:
            out = self._close() + self._begin(block)
        said = {"contentBlockIndex": self._index, "delta": delta}
        return out + _event("contentBlockDelta", said)

    def end(self, completion: Completion) -> bytes:
        reason = {"stopReason": BedrockFacts.finish_word(completion.finish_reason)}
        out = self._close() + _event("messageStop", reason)
        if completion.usage is not None:
            about = {"usage": _usage(completion.usage), "metrics": {"latencyMs": 1}}
            out += _event("metadata", about)
        return out


def _event(name: str, value: dict[str, Any]) -> bytes:
    return message(name, encode(value))


def _usage(usage: Usage | None) -> dict[str, int]:
    used = usage or Usage()
    fresh = used.input_tokens - used.cached_tokens - used.cache_write_tokens
    return {
        "inputTokens": fresh,
        "outputTokens": used.output_tokens,
        "totalTokens": used.input_tokens + used.output_tokens,
        "cacheReadInputTokens": used.cached_tokens,
        "cacheWriteInputTokens": used.cache_write_tokens,
    }


def _parts(content: list[Any]) -> list[TextPart | MediaPart]:
    found: list[TextPart | MediaPart] = []
    for block in map(as_object, content):
        if "text" in block:
            found.append(TextPart(as_text(block["text"])))
        elif "image" in block:
            image = as_object(block["image"])
            data = as_text(as_object(image.get("source")).get("bytes"))
            found.append(MediaPart(f"image/{image.get('format')}", data=data))
    return found


def _messages(role: str, content: list[Any]) -> list[Message]:
    blocks = list(map(as_object, content))
    results = [as_object(block["toolResult"]) for block in blocks if "toolResult" in block]
    turns = [
        Message(
            "tool",
            tuple(_parts(as_list(result.get("content")))),
            tool_call_id=as_text(result.get("toolUseId")),
        )
        for result in results
    ]
    calls = tuple(
        ToolCall(
            as_text(call.get("toolUseId")), as_text(call.get("name")), json.dumps(call["input"])
        )
        for block in blocks
        if (call := as_object(block.get("toolUse")))
    )
    parts = tuple(_parts(blocks))
    if parts or calls:
        turns.append(Message("assistant" if role == "assistant" else "user", parts, calls))
    return turns


# --- errors ---------------------------------------------------------------------------------------

_AMAZON: Mapping[str, tuple[str, str]] = {
    # kind: (message, type)
    "400": ("The request is not valid.", "ValidationException"),
    "400-context": ("Input is too long for requested model.", "ValidationException"),
    "400-filter": ("The content was blocked by a content filter.", "ValidationException"),
    "401": (
        "The security token included in the request is invalid.",
        "UnrecognizedClientException",
    ),
    "403": (
        "You don't have access to the model with the specified model ID.",
        "AccessDeniedException",
    ),
    "404": ("The provided model identifier is invalid.", "ResourceNotFoundException"),
    "429": ("Too many requests, please wait before trying again.", "ThrottlingException"),
    "429-quota": (
        "You have reached your service quota for today.",
        "ServiceQuotaExceededException",
    ),
    "500": ("The system encountered an unexpected error.", "InternalServerException"),
    "503": ("Bedrock is unable to process your request.", "ServiceUnavailableException"),
}


def told(problem: Problem) -> tuple[int, dict[str, Any]]:
    kind = "401" if problem.kind == "400-key" else problem.kind
    words, _ = _AMAZON.get(kind, _AMAZON["500"])
    status = 403 if kind == "401" else problem.status
    return status, {"message": problem.message or words}


def kind_of(problem: Problem) -> str:
    kind = "401" if problem.kind == "400-key" else problem.kind
    return _AMAZON.get(kind, _AMAZON["500"])[1]


def error_event(problem: Problem) -> bytes:
    name = kind_of(problem)
    return message(name[:1].lower() + name[1:], encode(told(problem)[1]), exception=True)


# --- who may call ---------------------------------------------------------------------------------


def unsigned(
    method: str, path: str, query: str, headers: Mapping[str, str], body: bytes, now_s: float
) -> str:
    """Why Amazon would refuse a call's signature; "" where it would not. A bearer's key is taken.

    Args:
        path: decoded.
    """
    path = _MODEL.sub(lambda match: match[1] + quote(match[2], safe="") + match[3], path)
    said = headers.get("authorization", "")
    if said.startswith("Bearer "):
        return ""
    found = _SIGNED.fullmatch(said)
    if found is None:
        return "Missing Authentication Token"
    if found["id"] != KEY_ID:
        return "The security token included in the request is invalid."
    stamp = headers.get("x-amz-date", "")
    try:
        signed_at = calendar.timegm(time.strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return "Date must be in ISO-8601 'basic format'."
    if signed_at < now_s - _SKEW_S:
        return f"Signature expired: {stamp} is now earlier than the time allowed"
    if signed_at > now_s + _SKEW_S:
        return f"Signature not yet current: {stamp} is still later than the time allowed"
    names = found["names"].split(";")
    if not {"host", "x-amz-date"} <= set(names):
        return "'Host' and 'X-Amz-Date' must be signed headers"
    signer = SigV4(KEY_ID, SECRET, "", found["region"], found["service"])
    url = f"http://{headers.get('host', '')}{path}" + (f"?{query}" if query else "")
    again = signer.signature(method, url, {name: headers.get(name, "") for name in names}, body)
    if again != said:
        return (
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method."
        )
    return ""


class TokenDesk:
    """Gives tokens for signed wishes, as Google and Microsoft do."""

    def __init__(self) -> None:
        self.given: set[str] = set()
        #: The public key of a service account, as PEM; without one a signature is not checked.
        self.public = ""
        #: Seconds that a token lives.
        self.life_s = 3600

    def give(self, method: str, body: bytes, now_s: float) -> tuple[int, dict[str, Any]]:
        """Status and answer of a wish for a token."""
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        grant = form.get("grant_type", "")
        if method == "POST" and not grant.endswith("jwt-bearer") and grant not in _GRANTS:
            return 400, {"error": "unsupported_grant_type"}
        why = self._wrong(form.get("assertion", ""), now_s) if grant.endswith("bearer") else ""
        if grant in _GRANTS and form.get(_GRANTS[grant], "") in ("", "wrong"):
            why = "Bad Request"
        if why:
            return 400, {"error": "invalid_grant", "error_description": why}
        token = f"ya29.simulated-{len(self.given)}"
        self.given.add(token)
        return 200, {"access_token": token, "expires_in": self.life_s, "token_type": "Bearer"}

    def _wrong(self, text: str, now_s: float) -> str:
        try:
            head, claims, signature = (_unpacked(part) for part in text.split("."))
            said = json.loads(claims)
            if json.loads(head)["alg"] != "RS256" or said["exp"] - said["iat"] > 3600:
                return "Invalid JWT"
            issued = float(said["iat"])
        except (ValueError, KeyError):
            return "Invalid JWT"
        if abs(issued - now_s) > _SKEW_S:
            return (
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable "
                "timeframe. Check your iat and exp values in the JWT claim."
            )
        if self.public and not _signed_by(self.public, text, signature):
            return "Invalid JWT Signature."
        return ""


def _unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _signed_by(pem: str, text: str, signature: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    key = load_pem_public_key(pem.encode())
    assert isinstance(key, RSAPublicKey)
    try:
        key.verify(signature, text.rpartition(".")[0].encode(), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
