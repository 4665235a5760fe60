"""The way to the terminal and from it, for hours and over slow lines."""

import os
import select
import time
from codecs import getincrementaldecoder
from typing import Any, cast

from textual._xterm_parser import XTermParser
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver

from omni_cli.tui.sent import Sent

#: After a key it is looked so often whether a lone Escape was meant, seconds, for so long.
_TICK_S, _TICKING_S = 0.1, 1.0


class WaitingDriver(LinuxDriver):
    """Textual's wakes ten times a second to ask whether it should end, which is 0.13 % of a
    processor for as long as it is open; here it is told."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # For as long as the process lives: one that is suspended is closed, and goes on.
        self._bell, self._ring = os.pipe()

    def run_input_thread(self) -> None:
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        ending, heard = False, time.monotonic()
        while not self.exit_event.is_set():
            ticking = ending or time.monotonic() - heard < _TICKING_S
            places = [self.fileno] if ending else [self.fileno, self._bell]
            ready, _, _ = select.select(places, [], [], _TICK_S if ticking else None)
            if self._bell in ready:
                os.read(self._bell, 1)
                ending = True  # the event is set in a moment
            if self.fileno in ready and (typed := decode(os.read(self.fileno, 4_096))):
                heard = time.monotonic()
                for event in parser.feed(typed):
                    self.process_message(event)
            for event in parser.tick():
                self.process_message(event)

    def disable_input(self) -> None:
        if self._key_thread is not None and self._key_thread.is_alive():
            os.write(self._ring, b".")
        super().disable_input()


def sparing(kind: type[Driver], sent: Sent) -> type[Driver]:
    """A driver that writes to one terminal what ``sent`` leaves of it. Not on Windows, where what
    is drawn comes in pieces that may end within a code."""
    base = WaitingDriver if kind is LinuxDriver else kind
    plain = base.write

    def write(self: Driver, data: str) -> None:
        out = sent.spare(data)
        if out:
            plain(self, out)

    return cast(type[Driver], type(kind.__name__, (base,), {"write": write}))
