"""A terminal that is sent only what changes shows what one that is sent everything shows."""

import random
import re

import pytest

from omni_cli.tui.sent import Sent

_SIZE = 30, 10
_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([^\x1b])", re.DOTALL)
_WIDE = "漢字🙂"
_COLOURS = (
    "",
    "1;38;2;9;8;7;48;2;1;2;3",
    "38;5;200",
    "2;31;44",
    "7;91",
    "4",
    "1;2",
    "3;39;49",
    "0",
)
_WORDS = ("abc", "a b  c", "── ●", "漢字", "x🙂y", "e\u0301a", "          ", "│", "1234567890")


class Terminal:
    """Cells with their colours, by the rules of ECMA-48 for what Textual and omni write."""

    def __init__(self) -> None:
        self.cells: dict[tuple[int, int], tuple[str, frozenset[str], str, str]] = {}
        self.x = self.y = self.top = 0
        self.after = _SIZE[1]
        self.on, self.front, self.back = set[str](), "", ""

    def write(self, data: str) -> None:
        for given, letter, character in _TOKEN.findall(data):
            if character == "\n":
                self.y += 1
            elif character:
                self._put(character)
            elif letter == "H":
                row, _, column = given.partition(";")
                self.x, self.y = int(column or 1) - 1, int(row) - 1
            elif letter == "C":
                self.x += int(given or 1)
            elif letter == "G":
                self.x = int(given) - 1
            elif letter == "r":
                first, _, last = given.partition(";")
                self.top, self.after = int(first or 1) - 1, int(last or _SIZE[1])
                self.x = self.y = 0
            elif letter in "ML":
                self._move(int(given), 1 if letter == "M" else -1)
            elif letter == "m":
                self._ink(given.split(";"))
            else:
                assert given in ("?2026", "?25")

    def _put(self, character: str) -> None:
        if character == "\u0301":
            old, *ink = self.cells[self.x - 1, self.y]
            self.cells[self.x - 1, self.y] = (old + character, *ink)  # type: ignore[assignment]  # as it was
            return
        seen = self.on if character != " " or "7" in self.on else self.on & {"4", "7", "9"}
        front = self.front if character != " " or "7" in self.on else ""
        for half in (character, "") if character in _WIDE else (character,):
            self.cells[self.x, self.y] = half, frozenset(seen), front, self.back
            self.x += 1

    def _move(self, count: int, way: int) -> None:
        """Delete or insert lines where the cursor stands, within the region that scrolls."""
        assert self.y == self.top
        lines = [
            {x: cell for (x, at), cell in self.cells.items() if at == y}
            for y in range(self.top, self.after)
        ]
        blank = [dict.fromkeys(line, ("?", frozenset[str](), "", "")) for line in lines[:count]]
        lines = [*lines[count:], *blank] if way > 0 else [*blank, *lines[:-count]]
        for y, line in enumerate(lines, self.top):
            self.cells.update({(x, y): cell for x, cell in line.items()})

    def _ink(self, codes: list[str]) -> None:
        while codes:
            code = codes.pop(0)
            if code in ("38", "48"):
                colour = [code, *(codes.pop(0) for _ in range(4 if codes[0] == "2" else 2))]
                setattr(self, "front" if code == "38" else "back", ";".join(colour))
            elif code in ("", "0"):
                self.on, self.front, self.back = set(), "", ""
            elif code[0] in "39" and len(code) > 1:
                self.front = "" if code == "39" else code
            elif code[0] == "4" and len(code) > 1:
                self.back = "" if code == "49" else code
            elif len(code) > 1:
                self.on -= {"22": {"1", "2"}}.get(code, {code[1]})
            else:
                self.on.add(code)


def _frame(chance: random.Random) -> str:
    parts = []
    for _ in range(chance.randint(1, 12)):
        y, x = chance.randrange(_SIZE[1]), chance.randrange(0, _SIZE[0], 10)
        parts.append(f"\x1b[{y + 1};{x + 1}H")
        for _ in range(chance.randint(1, 3)):
            codes, words = chance.choice(_COLOURS), chance.choice(_WORDS)
            parts.append(f"\x1b[{codes}m{words}\x1b[0m" if codes else words)
        # Whole lines, as widgets are: a wide character is not cut in halves.
        parts.append(" " * 30 + "\n")
    return "".join(parts) + f"\x1b[{chance.randint(1, 6)};1H"


@pytest.mark.parametrize("seed", range(30))
def test_the_same_is_shown(seed: int) -> None:
    chance, sent = random.Random(seed), Sent()
    whole, spared = Terminal(), Terminal()
    for _ in range(30):
        if chance.random() < 0.05:
            sent.forget()
        data = _frame(chance)
        whole.write(data)
        spared.write(sent.spare(data))
        assert spared.cells == whole.cells
        assert (spared.x, spared.y) == (whole.x, whole.y)


@pytest.mark.parametrize("seed", range(20))
def test_lines_that_only_moved_are_not_sent_again(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scrolling Costs sent 12 KB a step. A panel and a scrollbar beside it stay."""
    chance, sent, still = random.Random(seed), Sent(), Sent()
    monkeypatch.setattr(still, "_scrolled", lambda frame: frame)
    whole, spared = Terminal(), Terminal()
    words = "漢字 ", "── ● ", "a b c"
    lines = [f"{n:3} {chance.choice(words)} {n * 7919 % 9973:<9}" for n in range(99)]
    at, beside, given, got = 40, "│ stays" if seed % 2 else "", 0, 0
    for _ in range(25):
        at += chance.choice((-2, -1, 0, 1, 1, 2, 3))
        data = "".join(
            f"\x1b[{y + 1};1H\x1b[38;5;{40 + (at + y) % 7}m{lines[at + y]}\x1b[0m{beside}"
            + ("\x1b[7m \x1b[0m" if y == at % _SIZE[1] else " ")
            for y in range(_SIZE[1])
        )
        data += "\x1b[1;1H"
        whole.write(data)
        out = sent.spare(data)
        spared.write(out)
        assert spared.cells == whole.cells
        assert (spared.x, spared.y) == (whole.x, whole.y)
        given, got = given + len(still.spare(data)), got + len(out)
    assert got < 0.85 * given


def test_what_is_sent() -> None:
    sent = Sent()
    assert sent.spare("\x1b[?2026h") == ""
    assert sent.spare("\x1b[2;3H\x1b[1;31mab\x1b[0m cd\x1b[1;1H") == (
        "\x1b[?2026h\x1b[2;3H\x1b[1;31mab \x1b[mcd\x1b[1;1H"
    )
    assert sent.spare("\x1b[?2026l") == "\x1b[?2026l"
    assert sent.spare("\x1b[?2026h") == ""
    assert sent.spare("\x1b[2;3H\x1b[1;31mab\x1b[0m cd\x1b[1;1H") == ""
    assert sent.spare("\x1b[?2026l") == ""
    # Of a line the letter that changed; of its colour, what differs.
    assert sent.spare("\x1b[2;3H\x1b[1;31mab\x1b[0m cx\x1b[1;1H") == "\x1b[2;7Hx\x1b[1;1H"
    assert sent.spare("\x1b[2;3H\x1b[1;31ma\x1b[1;32mb\x1b[0m cx\x1b[1;1H") == (
        "\x1b[2;4H\x1b[1;32mb\x1b[m\x1b[1;1H"
    )


@pytest.mark.parametrize(
    "other", ["\x1b[?1049h", "\x1b[2J", "\x1b[1;3r", "\x1b]8;id=1;http://x\x1b\\y\x1b]8;;\x1b\\"]
)
def test_what_may_change_cells_is_passed_on_and_all_sent_again(other: str) -> None:
    sent, line = Sent(), "\x1b[1;1Habc\x1b[1;1H"
    sent.spare(line)
    assert sent.spare("\x07") == "\x07"
    assert sent.spare("\x1b[?1003h\x1b[?2026$p") == "\x1b[?1003h\x1b[?2026$p"
    assert sent.spare(line) == ""
    assert sent.spare(other) == other
    assert "abc" in sent.spare(line)
