"""A call of the command line, bound to the money that is left for it."""

import json
from collections.abc import KeysView
from typing import Any

from msgspec import Struct

from omni_cli.domain.bounds import CallBound, fitting, most_of, worst_nusd
from omni_cli.domain.errors import BudgetExceeded, UnknownPrice
from omni_cli.domain.models import ModelInfo
from omni_cli.domain.pricing import Price
from omni_cli.domain.record import replace
from omni_cli.ports import HttpCall, ProviderAdapter


class JsonBody:
    """ports.SentBody of a body that omni wrote itself."""

    operation = "chat"

    def __init__(self, call: HttpCall, base_url: str) -> None:
        body = call.body or b"{}"
        self.size = len(body)
        self.base_url = base_url
        self.headers = call.headers
        self._fields: dict[str, Any] = json.loads(body)
        self.names: KeysView[str] = self._fields.keys()

    def texts_only(self, name: str) -> bool:
        return isinstance(self._fields.get(name), str)

    def value(self, name: str) -> Any:
        return self._fields.get(name)

    def put(self, name: str, value: object) -> None:
        self._fields[name] = value

    def drop(self, name: str) -> None:
        self._fields.pop(name, None)

    def written(self) -> bytes:
        text = json.dumps(self._fields, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


class Bounds(Struct, frozen=True):
    """``call`` as it may go out: its output bounded where money is limited.

    ``reserve_nusd`` is the most it can cost there, None where the price is unknown;
    ``output_bound`` the most tokens of answer, None where nothing bounds them. ``cut_from``: tokens
    that the answer might have had, where there is room for fewer. ``why``: what makes its input the
    whole context window.
    """

    call: HttpCall
    reserve_nusd: int | None
    output_bound: int | None = None
    cut_from: int | None = None
    why: str = ""


def bounds(
    adapter: ProviderAdapter,
    call: HttpCall,
    base_url: str,
    model: ModelInfo,
    price: Price | None,
    room_nusd: int | None,
) -> Bounds:
    """Bound a call to the money that is left.

    Args:
        price: None or of unknown state: nothing can be reserved.
        room_nusd: the least money left in the budgets and the maximum that cover it; None: there
            are none, and the call goes out as it is.

    Returns:
        The worst case may exceed the room: the reservation then refuses the call.

    Raises:
        BudgetExceeded: money is limited, and nothing bounds what the call may cost.
    """
    body = JsonBody(call, base_url)
    found = adapter.bound(body)
    if price is None or price.state == "unknown":
        return Bounds(call, None, found.output_tokens)
    if price.state == "free":
        return Bounds(call, 0, found.output_tokens)
    try:
        most = most_of(found, model, price)
        worst = worst_nusd(most, price, most.each)
    except BudgetExceeded:
        if room_nusd is None:
            return Bounds(call, None, found.output_tokens)
        raise
    except UnknownPrice:
        return Bounds(call, None, found.output_tokens)
    if room_nusd is None:
        return Bounds(call, worst, found.output_tokens, why=most.why)
    cut = fitting(most, price, room_nusd) if worst > room_nusd else 0
    each = cut or most.each
    return Bounds(
        _limited(adapter, call, body, found, each),
        worst_nusd(most, price, each),
        each * most.choices if found.writes else None,
        most.each if cut else None,
        most.why,
    )


def _limited(
    adapter: ProviderAdapter, call: HttpCall, body: JsonBody, found: CallBound, each: int
) -> HttpCall:
    if not found.writes or (found.plain and each == found.output_tokens):
        return call
    adapter.limit(body, each, found)
    return replace(call, body=body.written())
