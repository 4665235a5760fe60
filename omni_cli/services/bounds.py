"""The most that a call can cost, and the longest answer that fits into what is left."""

from dataclasses import dataclass, replace

from omni_cli.domain.chat import ChatRequest, MediaPart
from omni_cli.domain.errors import UnknownPrice
from omni_cli.domain.models import ModelInfo, ProtocolName
from omni_cli.domain.pricing import Price, worst_case_nusd
from omni_cli.domain.tokens import LEAST_OUTPUT, image_token_bound, upper_bound_tokens

#: Output bound used for reservations where neither request nor model names one, tokens.
DEFAULT_MAX_OUTPUT = 4_096
#: Covers every provider's framing of a message or a tool, tokens.
_FRAME = 16
#: Least that a sound or a document is taken for, tokens.
_LEAST_MEDIA = 4_000


@dataclass(frozen=True, slots=True)
class Bounds:
    """``request`` as it may go out: its output bounded where a budget applies.

    ``reserve_nusd`` is the most it can cost there, None where the price is unknown.
    ``cut_from``: tokens that the answer might have had, where a budget leaves room for fewer.
    """

    request: ChatRequest
    reserve_nusd: int | None
    cut_from: int | None = None


def bounds(
    request: ChatRequest,
    model: ModelInfo,
    protocol: ProtocolName,
    price: Price | None,
    room_nusd: int | None,
    input_estimate: int,
) -> Bounds:
    """Bound a request to what budgets leave.

    Args:
        price: None or of unknown state: nothing can be reserved.
        room_nusd: the least money left in the budgets that cover it; None: no budget, and the
            request goes out as it is.
        input_estimate: tokens, by the estimator; the bound is never below it.

    Returns:
        The worst case may exceed the room: the reservation then refuses the call.
    """
    if price is None or price.state == "unknown":
        return Bounds(request, None)
    most_in = max(input_bound(request, model, protocol), input_estimate)
    most_out = request.max_output_tokens or model.max_output or DEFAULT_MAX_OUTPUT
    try:
        worst = worst_case_nusd(most_in, most_out, price)
    except UnknownPrice:
        return Bounds(request, None)
    if room_nusd is None or not worst:
        return Bounds(request, worst)
    if worst > room_nusd:
        fitting = _fitting_output(most_in, most_out, price, room_nusd)
        if fitting >= min(LEAST_OUTPUT, most_out):
            return Bounds(
                replace(request, max_output_tokens=fitting),
                worst_case_nusd(most_in, fitting, price),
                cut_from=most_out,
            )
    return Bounds(replace(request, max_output_tokens=most_out), worst)


def input_bound(request: ChatRequest, model: ModelInfo, protocol: ProtocolName) -> int:
    """The most tokens that the request's input can be counted as."""
    texts = [message.text for message in request.messages]
    texts += [c.name + c.arguments for message in request.messages for c in message.tool_calls]
    texts += [f"{tool.name}{tool.description}{tool.parameters}" for tool in request.tools]
    texts.append(str(request.json_schema or ""))
    media = sum(
        _media_bound(part, model, protocol)
        for message in request.messages
        for part in message.parts
        if isinstance(part, MediaPart)
    )
    if model.context_window is not None:
        media = min(media, model.context_window)
    frames = _FRAME * (len(request.messages) + len(request.tools) + 1)
    return sum(map(upper_bound_tokens, texts)) + frames + media


def _media_bound(part: MediaPart, model: ModelInfo, protocol: ProtocolName) -> int:
    if part.kind == "image":
        return image_token_bound(protocol, model=model.wire_name)
    # No vendor states a bound by size; a token for each character sent is beyond any measured.
    return max(_LEAST_MEDIA, len(part.data or ""))


def _fitting_output(input_tokens: int, most: int, price: Price, room: int) -> int:
    """The largest output bound whose worst case fits into ``room`` nano-dollars; may be 0."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if worst_case_nusd(input_tokens, middle, price) <= room:
            low = middle
        else:
            high = middle - 1
    return low
