"""A model's Markdown on a terminal, while it still comes.

What is unfinished stands as it came; once a block is whole (a paragraph, a list, a fenced piece of
code), its rendering takes its place. Nothing above the block is touched, so scrolling back works.
"""

import shutil
import sys

from omni_cli.cli.render import width_of
from omni_cli.domain.patterns import Pattern

_FENCE = Pattern(r" {0,3}(```+|~~~+)")


def whole_blocks(text: str) -> tuple[list[str], str]:
    """The blocks that no later text can change, and the rest.

    A block ends at an empty line outside a fence, once something not indented follows: an indented
    line would still be a list's.
    """
    found: list[str] = []
    fence, place, start = "", 0, 0
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        place += len(line)
        if mark := _FENCE.match(line):
            if not fence:
                fence = mark[1]
            elif mark[1].startswith(fence) and not line.strip(f"{fence[0]} \n"):
                fence = ""
        elif not fence and not line.strip() and line.endswith("\n"):
            after = lines[number + 1] if number + 1 < len(lines) else ""
            if after and not after[0].isspace():
                found.append(text[start:place])
                start = place
    return found, text[start:]


class Rendered:
    """Write pieces of Markdown with ``write``; ``close`` renders what is left."""

    def __init__(self) -> None:
        from rich.console import Console

        size = shutil.get_terminal_size()
        self._width, self._height = size.columns, size.lines
        self._console = Console(file=sys.stdout, width=self._width, highlight=False)
        self._rest = ""
        self._raw = ""
        self._fits = self._first = True

    def write(self, text: str) -> None:
        self._rest += text
        done, rest = whole_blocks(self._rest)
        if done:
            self._erase()
            for block in done:
                self._render(block)
            self._rest = rest
            self._preview(rest)
        else:
            self._preview(text)
        sys.stdout.flush()

    def close(self) -> None:
        self._erase()
        self._render(self._rest)
        self._rest = ""
        sys.stdout.flush()

    def _preview(self, text: str) -> None:
        """As it came, while the block fits the screen: nothing replaces what has scrolled away."""
        self._fits = self._fits and self._rows(self._raw + text) < self._height - 1
        if self._fits:
            self._raw += text
            sys.stdout.write(text)

    def _rows(self, text: str) -> int:
        return sum(max(1, -(-width_of(line) // self._width)) for line in text.split("\n"))

    def _erase(self) -> None:
        if self._raw:
            up = self._rows(self._raw) - 1
            sys.stdout.write(f"\r\x1b[{up}A\x1b[J" if up else "\r\x1b[J")
            self._raw = ""
        self._fits = True

    def _render(self, text: str) -> None:
        if not text.strip():
            return
        from rich.markdown import Markdown

        if not self._first:
            sys.stdout.write("\n")
        self._first = False
        with self._console.capture() as rendered:
            self._console.print(Markdown(text, code_theme="ansi_dark", hyperlinks=False))
        sys.stdout.write(rendered.get().strip("\n") + "\n")


class Raw:
    """The same for text as it is; ends it with a line break where there was any."""

    def __init__(self) -> None:
        self._wrote = False

    def write(self, text: str) -> None:
        self._wrote = True
        sys.stdout.write(text)
        sys.stdout.flush()

    def close(self) -> None:
        if self._wrote:
            sys.stdout.write("\n")
        sys.stdout.flush()  # what is said on stderr about it comes below
