"""What every adapter needs to write a body and to read JSON that may have any shape."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from omni_cli.domain.chat import MediaPart, Message, ToolCall
from omni_cli.domain.errors import BadRequest, Malformed
from omni_cli.domain.money import figure
from omni_cli.domain.patterns import Pattern
from omni_cli.ports import Endpoint, Framing, HttpCall

JsonObject = dict[str, Any]

ChoiceKind = Literal["auto", "none", "required", "named"]

_CHOICES: tuple[ChoiceKind, ...] = ("auto", "none", "required")
_NO_OBJECT: JsonObject = {}
_NO_LIST: list[Any] = []
#: An escaped UTF-16 surrogate; unpaired ones parse into text that cannot be written out.
_SURROGATE = Pattern(r"\\u[dD][89a-fA-F]")
_NANO = Decimal(1_000_000_000)


def as_object(value: object) -> JsonObject:
    """``value`` if it is a JSON object, else an empty one (not to be written to)."""
    return value if isinstance(value, dict) else _NO_OBJECT


def as_list(value: object) -> list[Any]:
    """``value`` if it is a JSON array, else an empty one (not to be written to)."""
    return value if isinstance(value, list) else _NO_LIST


def as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def as_count(value: object) -> int:
    """A token count: a number that is not negative, also written as text, else 0."""
    if value is None:
        return 0
    if type(value) is int:
        return value if value > 0 else 0
    if isinstance(value, float) and 0 <= value < 1e15:
        return int(value)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 15:
        return int(value)
    return 0


def as_limit(value: object) -> int | None:
    """A token limit: None where it is missing, not a number or not positive."""
    return as_count(value) or None


def usd_to_nusd(value: object) -> int | None:
    """Nano-dollars of an amount in US dollars (number or decimal text); None if it is none."""
    amount = figure(value)
    if amount is None or not 0 <= amount < 1_000_000:
        return None
    return int((amount * _NANO).to_integral_value())


def load_json(text: str, what: str = "answer") -> Any:
    """Parse ``text``. Raises Malformed naming ``what`` when it is not JSON."""
    value, parsed = _parse(text)
    if not parsed:  # raised here, not chained: the library's error holds the whole text
        shown = " ".join(text[:60].split())
        raise Malformed(f"The {what} is not JSON: {shown!r}")
    if "\\u" in text and _SURROGATE.search(text):
        return _whole_characters(value)
    return value


def _parse(text: str) -> tuple[Any, bool]:
    try:
        return json.loads(text), True
    except (ValueError, RecursionError):
        return None, False


def load_object(text: str, what: str = "answer") -> JsonObject:
    """Parse ``text``, which must be a JSON object. Raises Malformed."""
    value = load_json(text, what)
    if not isinstance(value, dict):
        raise Malformed(f"The {what} is JSON but not an object")
    return value


def _whole_characters(value: Any) -> Any:
    """``value`` with unpaired surrogates in its strings replaced by U+FFFD."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole_characters(item) for item in value]
    if isinstance(value, dict):
        return {_whole_characters(key): _whole_characters(item) for key, item in value.items()}
    return value


def compact(value: object) -> str:
    """``value`` as JSON text without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def arguments_object(call: ToolCall) -> Any:
    """The call's arguments for protocols that want an object, not text.

    Text that is no JSON object is wrapped, so that the model sees what it wrote.
    """
    if call.arguments.strip() in ("", "null"):
        return {}
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return {"INVALID_JSON": call.arguments}
    return value if isinstance(value, dict) else {"INVALID_JSON": call.arguments}


def arguments_text(value: object) -> str:
    """A call's arguments as JSON text, whether the wire has text, an object or nothing."""
    if isinstance(value, str):
        return value
    return "" if value is None else compact(value)


def post(
    url: str,
    body: Mapping[str, Any],
    *,
    endpoint: Endpoint,
    auth: Mapping[str, str],
    framing: Framing,
    told: tuple[str, ...] = (),
    renamed: Mapping[str, str] | None = None,
    called: str = "",
) -> HttpCall:
    """A POST of JSON. Raises BadRequest when the body cannot be written as JSON."""
    try:
        text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise BadRequest(f"The request cannot be written as JSON: {exc}") from None
    headers = {
        "content-type": "application/json",
        "accept": "application/json" if framing == "json" else _ACCEPT[framing],
        **auth,
        **endpoint.headers,
    }
    # Unpaired surrogates (from undecodable command-line bytes) have no UTF-8 form.
    data = text.encode("utf-8", "replace")
    access = endpoint.access
    return HttpCall("POST", url, headers, data, framing, told, renamed or {}, called, access)


_ACCEPT: dict[Framing, str] = {
    "sse": "text/event-stream",
    "ndjson": "application/x-ndjson",
    "json": "application/json",
    "aws": "application/vnd.amazon.eventstream",
}


def get(url: str, *, endpoint: Endpoint, auth: Mapping[str, str]) -> HttpCall:
    headers = {"accept": "application/json", **auth, **endpoint.headers}
    return HttpCall("GET", url, headers, None, "json", access=endpoint.access)


def bearer(endpoint: Endpoint) -> dict[str, str]:
    return {"authorization": f"Bearer {endpoint.key}"} if endpoint.key else {}


def host_of(url: str) -> str:
    """The lower-case host name of ``url``, without user, port or brackets."""
    authority = place_of(url)
    if authority.startswith("["):
        return authority[1:].partition("]")[0]
    return authority.partition(":")[0]


def place_of(url: str) -> str:
    """Host and port of ``url``, as it names them."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2].lower()


def registered(media_type: str) -> str:
    """A media type in its registered spelling, which providers insist on."""
    return {"image/jpg": "image/jpeg", "audio/x-wav": "audio/wav"}.get(media_type, media_type)


def data_url(part: MediaPart) -> str:
    """The part's own URL, or a ``data:`` URL of its bytes."""
    if part.url is not None:
        return part.url
    kind = registered(part.media_type) or "application/octet-stream"
    return f"data:{kind};base64,{part.data or ''}"


def media_of_data_url(url: str) -> MediaPart:
    """A received image: inline when ``url`` is a ``data:`` URL, else by reference."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:")):
        return MediaPart("", url=url)
    return MediaPart(head[5:].partition(";")[0] or "image/png", data=data)


def unsupported(thing: str, protocol: str = "") -> BadRequest:
    """The error for what a protocol cannot say."""
    subject = f"The {protocol} protocol" if protocol else "This provider's protocol"
    return BadRequest(
        f"{subject} cannot carry {thing}", hint="Choose a model of another provider for this."
    )


def own_blocks(message: Message, protocol: str) -> list[Mapping[str, Any]]:
    """The message's reasoning blocks that ``protocol`` itself once produced."""
    return [block for block in message.reasoning if block.get("protocol") == protocol]


def tool_choice_kind(choice: str | None, tool_names: Sequence[str]) -> ChoiceKind | None:
    """What kind of choice this is. Raises BadRequest for a name that no tool has."""
    if choice is None:
        return None
    for kind in _CHOICES:
        if choice == kind:
            return kind
    if choice not in tool_names:
        raise BadRequest(f"tool_choice names {choice!r}, which is not among the tools")
    return "named"


def is_strict_schema(schema: object) -> bool:
    """True where OpenAI's strict mode takes the schema: closed objects, all keys required.

    Source: OpenAI's structured outputs guide, "Supported schemas".
    """
    if isinstance(schema, list):
        return all(is_strict_schema(item) for item in schema)
    if not isinstance(schema, dict):
        return True
    properties = schema.get("properties")
    if schema.get("type") == "object" or isinstance(properties, dict):
        names = set(as_object(properties))
        if schema.get("additionalProperties") is not False:
            return False
        if set(as_list(schema.get("required"))) != names:
            return False
    return all(is_strict_schema(value) for value in schema.values())


def listed(entries: object) -> list[JsonObject]:
    """The entries of a list of models. Raises Malformed: it is none."""
    if not isinstance(entries, list):
        raise Malformed("The model list holds no list of models")
    return [as_object(entry) for entry in entries]
