"""Outcomes from agents' next turns (domain/aftermath.py), where the user wants to learn from them.

An agent sends its whole conversation anew each time, so a request is known again by what stands
before the last answer in it. Digests of prompts are kept in memory, texts nowhere.
"""

from collections.abc import Callable

from omni_cli.domain.aftermath import Hint, asked_before, digest, hint
from omni_cli.gateway.asks import Ask

#: Prompts that are known again.
_KNOWN = 4096


class Aftermath:
    """Args:
    note: writes an outcome of a request down, with the next batch.
    """

    def __init__(self, note: Callable[[int, Hint], None]) -> None:
        self._note = note
        self._answered: dict[bytes, int] = {}

    def look(self, ask: Ask) -> bytes:
        """What a request tells of the one before; returns the mark to keep once it is answered.

        Raises BadRequest: the body cannot be read.
        """
        messages = ask.parsed().request.messages
        mark = digest(messages)
        again = self._answered.pop(mark, None)
        if again is not None:
            self._note(again, Hint("retry", 0.0, "the same prompt came again"))
            return mark
        before = asked_before(messages)
        request = self._answered.pop(digest(before), None) if before else None
        found = None if request is None else hint(messages)
        if request is not None and found is not None:
            self._note(request, found)
        return mark

    def answered(self, mark: bytes, request: int) -> None:
        while len(self._answered) >= _KNOWN:
            del self._answered[next(iter(self._answered))]
        self._answered[mark] = request
