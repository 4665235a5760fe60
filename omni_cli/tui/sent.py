"""What the terminal was sent, so that a frame sends only the cells that look otherwise.

Textual sends whole lines of a widget, and all colours with each piece of text: a cursor step is
then some 8 to 30 KB, which is slow over SSH. What is written here passes through ``Sent``, which
knows the cells on the terminal, and sends those that change and of their colours what differs.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

from rich.cells import get_character_cell_size
from textual.driver import Driver

#: Attributes, foreground, background, as SGR codes; "" is the terminal's own colour. A foreground
#: of None may be any: of a space it is not seen.
Ink = tuple[tuple[str, ...], str | None, str]

_PLAIN: Ink = ((), "", "")
_TOKENS = re.compile(
    r"(?P<text>[^\x00-\x1f]+)|\x1b\[(?P<ink>[\d;]*)m|\x1b\[(?P<move>\d+;\d+)H"
    r"|(?P<down>\n)|(?P<other>\x1b\[[0-?]*[ -/]*[@-~]|\x1b\].*?(?:\x07|\x1b\\)|\x1b?.)",
    re.DOTALL,
)
#: Modes and questions, which change no cell; but the other screen is another screen.
_HARMLESS = re.compile(r"\x1b\[(?!\?(?:47|1047|1049)[hl])[<=>?][\d;]*\$?[hlpu]|\x1b\]52;.*|\x07")
#: A link's address and what else is no CSI: then a frame is sent as it is.
_RAW = ("\x1b]8;", "\x1bP")
_SYNC_START, _SYNC_END = "\x1b[?2026h", "\x1b[?2026l"
#: What is seen of a space: blinking, underlined, reversed, struck out, doubly so, overlined.
_ON_SPACES = frozenset(("4", "5", "6", "7", "9", "21", "53"))
#: So many bytes at least lead over cells that stay.
_SKIP = 4
#: How an attribute ends.
_ENDS = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "6": "25", "7": "27", "8": "28",
         "9": "29", "21": "24", "51": "54", "52": "54", "53": "55"}  # fmt: skip


class Sent:
    """The cells of one terminal. ``forget`` when they may have become others."""

    def __init__(self) -> None:
        self._held = False
        self.forget()

    def forget(self) -> None:
        """From now on every cell is sent again."""
        self._rows: dict[int, tuple[list[str | None], list[Ink]]] = {}
        self._at: tuple[int, int] | None = None

    def spare(self, data: str) -> str:
        """What is to be written instead of ``data``; "" where that changes nothing."""
        if data == _SYNC_START:
            self._held = True
            return ""
        if data == _SYNC_END and self._held:
            self._held = False
            return ""
        out = self._spared(data)
        if out and self._held:
            self._held = False
            return _SYNC_START + out
        return out

    def _spared(self, data: str) -> str:
        if any(mark in data for mark in _RAW):
            self.forget()
            return data
        # Its own list: a signal that suspends may write in the midst of this.
        out = self._out = list[str]()
        self._pen = _PLAIN
        x, y = self._at or (0, 0)
        drawn, ink = False, _PLAIN
        for token in _TOKENS.finditer(data):
            kind, what = token.lastgroup, token.group()
            if kind == "text":
                x += self._put(x, y, what, ink)
            elif kind == "ink":
                ink = _ink(token["ink"])
            elif kind == "move":
                row, _, column = token["move"].partition(";")
                x, y, drawn = int(column) - 1, int(row) - 1, True
            elif kind == "down":
                y += 1
            else:
                self._turn(_PLAIN)
                self._out.append(what)
                if not _HARMLESS.fullmatch(what):
                    self.forget()
        self._turn(_PLAIN)
        if drawn:
            self._go(x, y)
        return "".join(out)

    def _put(self, x: int, y: int, text: str, ink: Ink) -> int:
        """Send what is otherwise of a text; its width in cells."""
        cells = list(text) if text.isascii() else _cells(text)
        chars, inks = self._rows.setdefault(y, ([], []))
        after = x + len(cells)
        if len(chars) < after:
            inks += [_PLAIN] * (after - len(chars))
            chars += [None] * (after - len(chars))
        blank = _blank(ink)
        want = (
            [blank if cell == " " else ink for cell in cells] if " " in text else [ink] * len(cells)
        )
        old, old_inks = chars[x:after], inks[x:after]
        if old == cells and old_inks == want:
            return len(cells)
        new = [at for at in range(len(cells)) if old[at] != cells[at] or old_inks[at] != want[at]]
        first = before = new[0]
        for at in new[1:]:
            if not self._cheap(cells[before + 1 : at], want[before:at]):
                self._send(x, y, cells, want, first, before + 1)
                first = at
            before = at
        self._send(x, y, cells, want, first, before + 1)
        chars[x:after], inks[x:after] = cells, want
        return len(cells)

    @staticmethod
    def _cheap(cells: Sequence[str], inks: Sequence[Ink]) -> bool:
        """Whether cells that stay, between two that do not, are sent sooner than passed over."""
        few = len(cells) <= _SKIP and len("".join(cells)) <= _SKIP
        seen = [ink for ink in inks if ink[1] is not None]
        return few and all(ink == seen[0] for ink in seen) and len({ink[2] for ink in inks}) == 1

    def _send(
        self, x: int, y: int, cells: Sequence[str], inks: Sequence[Ink], first: int, after: int
    ) -> None:
        """Some cells of a text that begins at ``x``."""
        while first and cells[first] == "":  # the second half of a wide character
            first -= 1
        while after < len(cells) and cells[after] == "":
            after += 1
        self._go(x + first, y)
        for at in range(first + 1, after + 1):
            if at == after or inks[at] != inks[first]:
                self._turn(inks[first])
                self._out.append("".join(cells[first:at]))
                first = at
        self._at = x + after, y

    def _go(self, x: int, y: int) -> None:
        """Move the terminal's cursor."""
        if self._at == (x, y):
            return
        if self._at is not None and self._at[1] == y:
            right = x - self._at[0]
            self._out.append(
                f"\x1b[{right if right > 1 else ''}C" if right > 0 else f"\x1b[{x + 1}G"
            )
        else:
            self._out.append(f"\x1b[{y + 1};{x + 1}H")
        self._at = x, y

    def _turn(self, ink: Ink) -> None:
        codes, self._pen = _change(self._pen, ink)
        self._out.append(codes)


@lru_cache(1_024)
def _cells(text: str) -> list[str]:
    """A text by cells: what is two cells wide is followed by "", what has no width belongs to the
    cell before it."""
    cells: list[str] = []
    for character in text:
        width = get_character_cell_size(character)
        if width == 0 and cells:
            at = -2 if cells[-1] == "" and len(cells) > 1 else -1
            cells[at] += character
        else:
            cells += [character, *[""] * (width - 1)]
    return cells


@lru_cache(1_024)
def _ink(codes: str) -> Ink:
    attributes, front, back = set[str](), "", ""
    given = iter(codes.split(";"))
    for code in given:
        if code in ("38", "48"):
            form = next(given, "")
            parts = [next(given, "") for _ in range(3 if form == "2" else 1)]
            colour = ";".join((code, form, *parts))
            front, back = (colour, back) if code == "38" else (front, colour)
        elif code in ("", "0"):
            attributes, front, back = set(), "", ""
        elif code[:-1] in ("3", "9"):
            front = "" if code == "39" else code
        elif code[:-1] in ("4", "10"):
            back = "" if code == "49" else code
        else:
            attributes.add(code)
    return tuple(sorted(attributes)), front, back


@lru_cache(1_024)
def _blank(ink: Ink) -> Ink:
    """What is seen of a space."""
    attributes, _, back = ink
    if "7" in attributes:
        return ink
    return tuple(a for a in attributes if a in _ON_SPACES), None, back


@lru_cache(4_096)
def _change(pen: Ink, ink: Ink) -> tuple[str, Ink]:
    """The shortest codes that lead from one ink to another, and what that is then."""
    attributes, front, back = ink
    if front is None:
        attributes = tuple(sorted({*attributes, *(a for a in pen[0] if a not in _ON_SPACES)}))
        front = pen[1]
    if (attributes, front, back) == pen:
        return "", pen
    ends = dict.fromkeys(_ENDS.get(a, "0") for a in pen[0] if a not in attributes)
    begins = [a for a in attributes if a not in pen[0] or _ENDS.get(a) in ends]
    colours = [
        now or own
        for before, now, own in ((pen[1], front, "39"), (pen[2], back, "49"))
        if now != before
    ]
    whole = ["0", *attributes, *filter(None, (front, back))]
    found = [whole] if "0" in ends else [[*ends, *begins, *colours], whole]
    codes = min((";".join(one) for one in found), key=len)
    return f"\x1b[{'' if codes == '0' else codes}m", (attributes, front, back)


def sparing(kind: type[Driver], sent: Sent) -> type[Driver]:
    """A driver that writes to one terminal what ``sent`` leaves of it."""
    plain = kind.write

    def write(self: Driver, data: str) -> None:
        out = sent.spare(data)
        if out:
            plain(self, out)

    return cast(type[Driver], type(kind.__name__, (kind,), {"write": write}))
