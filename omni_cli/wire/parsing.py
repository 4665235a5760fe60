"""What the stream parsers share: tool-call slots, the cut-off check, refusing garbage."""

from collections.abc import Iterable

from omni_cli.domain.chat import ChatChunk, FinishReason, ToolCallDelta
from omni_cli.domain.errors import Malformed, ProviderError
from omni_cli.ports import WireEvent


def cut_off(events: int, chars: int) -> Malformed:
    """The error for an answer that ends before its protocol's end marker."""
    if not events:
        return Malformed("The answer is empty", hint="Try again.")
    return Malformed(
        f"The answer was cut off after {chars} characters ({events} events)", hint="Try again."
    )


class StreamParser:
    """Counts what was received and says whether the answer is whole.

    Subclasses read events in ``read`` and set ``complete`` at their protocol's end marker.
    """

    def __init__(self) -> None:
        self.complete = False
        self._events = 0
        self._chars = 0

    def feed(self, event: WireEvent) -> Iterable[ChatChunk]:
        self._events += 1
        chunks = self.read(event)
        for chunk in chunks:
            self._chars += len(chunk.text) + len(chunk.reasoning)
        return chunks

    def finish(self) -> Iterable[ChatChunk]:
        if not self.complete:
            raise self.cut_off()
        return self.tail()

    def cut_off(self) -> ProviderError:
        return cut_off(self._events, self._chars)

    def read(self, event: WireEvent) -> tuple[ChatChunk, ...]:
        raise NotImplementedError

    def tail(self) -> tuple[ChatChunk, ...]:
        """What is known only once the whole answer is read."""
        return ()


class CallSlots:
    """Gives each tool call of an answer its own index.

    Servers differ: some number their calls, some send no number, some number every call 0 and
    tell them apart by id only.
    """

    def __init__(self) -> None:
        self._by_index: dict[int, int] = {}
        self._ids: list[str | None] = []

    def __len__(self) -> int:
        return len(self._ids)

    def delta(
        self, index: object, call_id: str | None, name: str | None, arguments: str
    ) -> ToolCallDelta:
        """The delta in omni's numbering. ``index`` is the wire's own, of any type."""
        return ToolCallDelta(self._slot(index, call_id, name), call_id, name, arguments)

    def knows(self, index: int) -> bool:
        """True once a call came under the wire's number ``index``."""
        return index in self._by_index

    def _slot(self, index: object, call_id: str | None, name: str | None) -> int:
        if isinstance(index, int) and not isinstance(index, bool):
            slot = self._by_index.get(index)
            if slot is None or (call_id and self._ids[slot] not in (None, call_id)):
                slot = self._new(call_id)
                self._by_index[index] = slot
        elif call_id and call_id in self._ids:
            slot = self._ids.index(call_id)
        elif call_id or name or not self._ids:
            slot = self._new(call_id)
        else:
            slot = len(self._ids) - 1
        if call_id:
            self._ids[slot] = call_id
        return slot

    def _new(self, call_id: str | None) -> int:
        self._ids.append(call_id)
        return len(self._ids) - 1


def finished_as(reason: FinishReason, slots: CallSlots, *, refused: bool = False) -> FinishReason:
    """``reason``, except that "stop" with tool calls or a refusal in hand means these."""
    if reason != "stop":
        return reason
    if len(slots):
        return "tool_calls"
    return "refusal" if refused else reason
