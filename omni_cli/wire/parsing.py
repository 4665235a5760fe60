"""What the stream parsers share: tool-call slots, the cut-off check, refusing garbage."""

import json
import os
from collections.abc import Iterable
from typing import Any

from omni_cli.domain.chat import ChatChunk, FinishReason, ToolCallDelta
from omni_cli.domain.errors import Malformed, Overloaded, ProviderError
from omni_cli.domain.record import replace
from omni_cli.ports import WireEvent


def cut_off(events: int, chars: int) -> Malformed:
    """The error for an answer that ends before its protocol's end marker."""
    if not events:
        return Malformed("The answer is empty", hint="Try again.")
    return Malformed(
        f"The answer was cut off after {chars} characters ({events} events)", hint="Try again."
    )


_NO_CONTENT: dict[str, Any] = {"text": "", "reasoning": "", "tool_calls": (), "images": ()}


class StreamParser:
    """Counts what was received and says whether the answer is whole.

    Subclasses read events in ``read`` and set ``complete`` at their protocol's end marker.
    """

    def __init__(self) -> None:
        self.complete = False
        self._events = 0
        self._chars = 0
        self._fault: ProviderError | None = None
        self._stream = True

    def feed(self, event: WireEvent) -> Iterable[ChatChunk]:
        self._events += 1
        chunks = self.read(event)
        if self._fault is not None and not self._stream:
            # Nobody has seen any of it: another model may answer, but what it took is charged.
            chunks = tuple(replace(chunk, **_NO_CONTENT) for chunk in chunks)
        for chunk in chunks:
            self._chars += len(chunk.text) + len(chunk.reasoning)
        return chunks

    def ended(self, finish: FinishReason | None, raw: str, *, empty: bool = False) -> None:
        """How the answer ended, as its last events say.

        Args:
            raw: the protocol's own word.
            empty: it has nothing in it, though its server calls it whole.
        """
        if finish == "error":
            why = f"The provider ended the answer with an error ({raw})"
            self._fault = Overloaded(why, hint="Try again.", provider_code=raw or None)
        elif empty:
            self._fault = Malformed("The answer is empty", hint="Try again.")
        else:
            self._fault = None

    def finish(self) -> Iterable[ChatChunk]:
        if not self.complete:
            raise self.cut_off()
        if self._fault is not None:
            raise self._fault
        return self.tail()

    def cut_off(self) -> ProviderError:
        return cut_off(self._events, self._chars)

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        raise NotImplementedError

    def tail(self) -> tuple[ChatChunk, ...]:
        """What is known only once the whole answer is read."""
        return ()


class CallSlots:
    """Gives each tool call of an answer its own index and an id.

    Servers differ: some number their calls, some send no number, some number every call 0 and
    tell them apart by id, or by name, only. Some send no ids, or a new one with each piece, or the
    word "null" for none. A new call comes with its name; a call without an id gets one of its own,
    which no other answer repeats, and keeps it.
    """

    def __init__(self) -> None:
        self._by_index: dict[object, int] = {}
        self._ids: list[str | None] = []
        self._told: list[str | None] = []
        self._names: list[str] = []
        self._arguments: list[list[str]] = []
        self._made: set[int] = set()

    def __len__(self) -> int:
        return len(self._ids)

    def delta(
        self, index: object, call_id: str | None, name: str | None, arguments: str
    ) -> ToolCallDelta:
        """The delta in omni's numbering. ``index`` is the wire's own, of any type."""
        call_id = None if call_id in _NOTHING else call_id
        name = None if name in _NOTHING else name
        known = len(self._ids)
        slot = self._slot(index, call_id, name, arguments)
        if slot in self._made:
            call_id = None  # it comes too late: somebody may have been told of the other
        elif slot == known and call_id is None:
            self._made.add(slot)
            call_id = self._ids[slot] = self._told[slot] = made_id()
        elif call_id is not None:
            self._ids[slot] = self._ids[slot] or call_id
            if self._told[slot] is None:  # two calls of one id: their results would be one
                self._told[slot] = made_id() if call_id in self._told else call_id
            call_id = self._told[slot]
        self._names[slot] = self._names[slot] or name or ""
        return ToolCallDelta(slot, call_id, name, self._more(slot, arguments))

    def _more(self, slot: int, arguments: str) -> str:
        """What a piece adds to a call's arguments; to whole ones nothing, which are told again."""
        before = self._arguments[slot]
        if before not in ([], ["{}"]) and before[-1][-1:] == "}" and is_whole("".join(before)):
            return ""
        if arguments:
            before.append(arguments)
        return arguments

    def knows(self, index: object) -> bool:
        """True once a call came under the wire's number, or name, ``index``."""
        return index in self._by_index

    def _slot(self, index: object, call_id: str | None, name: str | None, arguments: str) -> int:
        if isinstance(index, int | str) and not isinstance(index, bool):
            slot = self._by_index.get(index)
            if slot is None or (name and self._another(slot, call_id, name, arguments)):
                slot = self._by_index[index] = self._new(call_id)
        elif call_id and call_id in self._ids:
            slot = self._ids.index(call_id)
        elif call_id or name or not self._ids:
            slot = self._new(call_id)
        else:
            slot = len(self._ids) - 1
        return slot

    def _another(self, slot: int, call_id: str | None, name: str, arguments: str) -> bool:
        """Whether a piece with a name and a known number is another call's all the same."""
        if call_id and self._ids[slot] == call_id:
            return False
        if self._names[slot] not in ("", name):
            return True
        if call_id and slot not in self._made:
            return True
        return bool(arguments) and is_whole("".join(self._arguments[slot]))

    def _new(self, call_id: str | None) -> int:
        self._ids.append(call_id)
        self._told.append(None)
        self._names.append("")
        self._arguments.append([])
        return len(self._ids) - 1


#: What some send in place of an id or a name that is not there.
_NOTHING = (None, "", "null", "None", "undefined")


def made_id() -> str:
    """An id for a call that came without one: letters, digits and "_", as all vendors take."""
    return f"call_{os.urandom(8).hex()}"


def is_whole(arguments: str) -> bool:
    """Whether a call's arguments are a JSON object to its end."""
    if not arguments.rstrip().endswith("}"):
        return False
    try:
        return isinstance(json.loads(arguments), dict)
    except (ValueError, RecursionError):
        return False


def finished_as(reason: FinishReason, slots: CallSlots, *, refused: bool = False) -> FinishReason:
    """``reason``, except that "stop" with tool calls or a refusal in hand means these."""
    if reason != "stop":
        return reason
    if len(slots):
        return "tool_calls"
    return "refusal" if refused else reason
