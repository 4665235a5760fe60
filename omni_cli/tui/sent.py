"""What the terminal was sent, so that a frame sends only the cells that look otherwise.

Textual sends whole lines of a widget, and all colours with each piece of text: a cursor step is
then some 8 to 30 KB, which is slow over SSH. What is written here passes through ``Sent``, which
knows the cells on the terminal, and sends those that change and of their colours what differs.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import ne

from rich.cells import get_character_cell_size

#: Attributes, foreground, background, as SGR codes; "" is the terminal's own colour. A foreground
#: of None may be any: of a space it is not seen.
Ink = tuple[tuple[str, ...], str | None, str]

#: The cells of a line and their inks.
Line = tuple[list[str], list[Ink]]

_PLAIN: Ink = ((), "", "")
#: A cell of which nothing is known; looks like no other.
_UNKNOWN = "\0"
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
#: A frame of fewer lines is not looked at for lines that moved.
_TALL = 6
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
        self._rows: dict[int, Line] = {}
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
        drawn, ink, frame, ends = False, _PLAIN, dict[int, Line](), dict[int, int]()
        for token in _TOKENS.finditer(data):
            kind, what = token.lastgroup, token.group()
            if kind == "text":
                ends[y] = x = x + self._put(frame, x, y, what, ink)
            elif kind == "ink":
                ink = _ink(token["ink"])
            elif kind == "move":
                row, _, column = token["move"].partition(";")
                x, y, drawn = int(column) - 1, int(row) - 1, True
                if x < ends.get(y, 0):  # written twice, which may cut a wide character
                    self._draw(frame)
                    frame, ends = {}, {}
            elif kind == "down":
                y += 1
            elif _HARMLESS.fullmatch(what):
                out.append(what)
            else:
                self._draw(frame)
                self._turn(_PLAIN)
                out.append(what)
                self.forget()
                frame, ends = {}, {}
        self._draw(frame)
        self._turn(_PLAIN)
        if drawn:
            self._go(x, y)
        return "".join(out)

    def _put(self, frame: dict[int, Line], x: int, y: int, text: str, ink: Ink) -> int:
        """Write a text into the lines of a frame; its width in cells."""
        cells = list(text) if text.isascii() else _cells(text)
        line = frame.get(y)
        if line is None:
            chars, inks = self._rows.get(y, ((), ()))
            line = frame[y] = list(chars), list(inks)
        chars, inks = line
        after = x + len(cells)
        if len(chars) < after:
            inks += [_PLAIN] * (after - len(chars))
            chars += [_UNKNOWN] * (after - len(chars))
        chars[x:after] = cells
        if " " in text:
            blank = _blank(ink)
            inks[x:after] = [blank if cell == " " else ink for cell in cells]
        else:
            inks[x:after] = [ink] * len(cells)
        return len(cells)

    def _draw(self, frame: Mapping[int, Line]) -> None:
        """Send what is otherwise in these lines."""
        if len(frame) >= _TALL:
            frame = self._scrolled(frame)
        for y, line in frame.items():
            old = self._rows.get(y)
            if old != line:
                self._send_line(y, old or ([], []), line)
                self._rows[y] = line

    def _send_line(self, y: int, old: Line, line: Line) -> None:
        chars, inks = line
        more = len(chars) - len(old[0])
        was, was_inks = old[0] + [_UNKNOWN] * more, old[1] + [_PLAIN] * more
        new = [
            x
            for x, (a, b, c, d) in enumerate(zip(chars, was, inks, was_inks, strict=True))
            if a != b or c != d
        ]
        first = before = new[0]
        for x in new[1:]:
            if x > before + 1 and not self._cheap(chars[before + 1 : x], inks[before:x]):
                self._send(y, chars, inks, first, before + 1)
                first = x
            before = x
        self._send(y, chars, inks, first, before + 1)

    def _scrolled(self, frame: Mapping[int, Line]) -> Mapping[int, Line]:
        """Let the terminal move lines that only stand higher or lower than before, where that
        leaves less than half to send; what is to be compared then."""
        old = self._rows
        new = [y for y, line in frame.items() if y in old and old[y] != line]
        if len(new) < _TALL:
            return frame
        top, after = min(new), max(new) + 1
        if any(y not in old or len(old[y][0]) != len(old[top][0]) for y in range(top, after)):
            return frame
        # What stands beside it and stays is no part of it.
        left = min(_same(old[y][0], frame[y][0]) for y in new)
        right = min(_same(reversed(old[y][0]), reversed(frame[y][0])) for y in new)
        width = len(old[top][0])
        stood: dict[str, list[int]] = {}
        for y in range(top, after):
            stood.setdefault("".join(old[y][0][left : width - right]), []).append(y)
        moves = Counter(
            was - y
            for y in new
            if (text := "".join(frame[y][0][left : width - right])).strip()
            for was in stood.get(text, ())
            if was != y
        )
        by, lines = next(iter(moves.most_common(1)), (0, 0))
        if 2 * lines < len(new):
            return frame
        empty = [_UNKNOWN] * width, [_PLAIN] * width
        whole = {y: frame.get(y, old[y]) for y in range(top, after)}
        moved = {y: old[y + by] if top <= y + by < after else empty for y in whole}
        if 2 * _unlike(moved, whole) > _unlike(old, whole):
            return frame
        self._turn(_PLAIN)
        self._out.append(
            f"\x1b[{top + 1};{after}r\x1b[{top + 1}H\x1b[{abs(by)}{'M' if by > 0 else 'L'}\x1b[r"
        )
        self._at = None
        self._rows = {**old, **moved}
        return {**frame, **whole}

    @staticmethod
    def _cheap(cells: Sequence[str], inks: Sequence[Ink]) -> bool:
        """Whether cells that stay, between two that do not, are sent sooner than passed over."""
        few = len(cells) <= _SKIP and len("".join(cells)) <= _SKIP and _UNKNOWN not in cells
        seen = [ink for ink in inks if ink[1] is not None]
        return few and all(ink == seen[0] for ink in seen) and len({ink[2] for ink in inks}) == 1

    def _send(
        self, y: int, cells: Sequence[str], inks: Sequence[Ink], first: int, after: int
    ) -> None:
        """Some cells of a line."""
        while first and cells[first] == "":  # the second half of a wide character
            first -= 1
        while after < len(cells) and cells[after] == "":
            after += 1
        self._go(first, y)
        for at in range(first + 1, after + 1):
            if at == after or inks[at] != inks[first]:
                self._turn(inks[first])
                self._out.append("".join(cells[first:at]))
                first = at
        self._at = after, y

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


def _same(a: Iterable[str], b: Iterable[str]) -> int:
    """How many cells are the same at the beginning."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, (mine, its) in pairs if mine != its), 10_000)


def _unlike(a: Mapping[int, Line], b: Mapping[int, Line]) -> int:
    """Cells and colours of the lines of ``b`` that are others in ``a``."""
    return sum(
        sum(map(ne, a[y][0], chars)) + sum(map(ne, a[y][1], inks)) for y, (chars, inks) in b.items()
    )


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
