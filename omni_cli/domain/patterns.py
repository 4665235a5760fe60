"""Regular expressions that most processes never ask."""

import re
from typing import Any


class Pattern:
    """A regular expression that is compiled once it is asked.

    To compile the wordings of all vendors' errors takes longer than to load asyncio; a call that
    goes well meets none of them.

    Args:
        signs: texts of which each match of ``search`` holds one; without any it is not compiled.
    """

    __slots__ = ("_flags", "_made", "_signs", "_text")

    def __init__(
        self, text: str, flags: re.RegexFlag = re.NOFLAG, *, signs: tuple[str, ...] = ()
    ) -> None:
        self._text = text
        self._flags = flags
        self._signs = signs
        self._made: re.Pattern[str] | None = None

    def _compiled(self) -> re.Pattern[str]:
        if self._made is None:
            self._made = re.compile(self._text, self._flags)
        return self._made

    def search(self, text: str) -> re.Match[str] | None:
        if self._signs and not any(sign in text for sign in self._signs):
            return None
        return self._compiled().search(text)

    def match(self, text: str) -> re.Match[str] | None:
        return self._compiled().match(text)

    def fullmatch(self, text: str) -> re.Match[str] | None:
        return self._compiled().fullmatch(text)

    def findall(self, text: str) -> list[Any]:
        return self._compiled().findall(text)

    def sub(self, new: str, text: str) -> str:
        return self._compiled().sub(new, text)
