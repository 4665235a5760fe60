"""Bodies of forms with files (RFC 7578, RFC 2046 section 5.1): read, and one field written anew.

Their bytes go on as they came but for the model's name: a file may be large, and nobody here needs
more of it than its length.
"""

import re
from mmap import mmap
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import BadRequest

_BOUNDARY = re.compile(r'boundary=(?:"([^"]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\]|\\.)*)"|[;\s]name=([^\s;"]+)', re.IGNORECASE)
_FILE = re.compile(rb"[;\s]filename\*?=", re.IGNORECASE)
_MOST_PARTS = 1_000
#: A body, in memory or in a file.
Body = bytes | mmap


def wrong(message: str) -> BadRequest:
    return BadRequest(message, status=400)


class Part(Struct, frozen=True):
    """A field of the form whose ``body`` has its bytes from ``start`` to ``end``."""

    name: str
    is_file: bool
    body: Body
    start: int
    end: int

    @property
    def data(self) -> bytes:
        return self.body[self.start : self.end]

    @property
    def text(self) -> str:
        """Raises BadRequest: it is no text."""
        try:
            return self.data.decode()
        except UnicodeDecodeError:
            raise wrong(f"{self.name!r} must be a text in UTF-8") from None


class Form:
    """Raises BadRequest: the body is no form, or cannot be read in one way only."""

    def __init__(self, body: Body, content_type: str) -> None:
        found = _BOUNDARY.search(content_type)
        if found is None:
            raise wrong("multipart/form-data needs a boundary")
        self.body = body
        self.content_type = content_type
        self.parts = tuple(_parts(body, b"--" + (found[1] or found[2]).encode("latin-1")))

    def value(self, name: str) -> Any:
        """A field: its text, or the file's part; a list where it is there more than once; None
        where it is not. Raises BadRequest: it is no text."""
        found = [p if p.is_file else p.text for p in self.parts if p.name == name]
        return found if len(found) > 1 else next(iter(found), None)

    def one(self, name: str) -> str:
        """The text of a field that is there once. Raises BadRequest: it is not, or twice, which
        servers read differently, or is a file."""
        value = self.value(name)
        if not isinstance(value, str) or not value:
            raise wrong(f"{name!r} must be one text of the form")
        return value

    def replaced(self, name: str, text: str) -> bytes:
        """The body with another text in the one field of that name."""
        (part,) = (part for part in self.parts if part.name == name)
        return self.body[: part.start] + text.encode() + self.body[part.end :]


def _parts(body: Body, delimiter: bytes) -> list[Part]:
    parts: list[Part] = []
    at = 0 if body[: len(delimiter)] == delimiter else body.find(b"\r\n" + delimiter) + 2
    if at == 1:
        raise wrong("the form's boundary is not in its body")
    while True:
        at += len(delimiter)
        if body[at : at + 2] == b"--":
            return parts
        if body[at : at + 2] != b"\r\n" or len(parts) == _MOST_PARTS:
            raise wrong("the form's parts cannot be read")
        head_end = body.find(b"\r\n\r\n", at)
        end = body.find(b"\r\n" + delimiter, max(head_end, 0))
        if head_end < 0 or end < 0:
            raise wrong("the form is cut off")
        start = head_end + 4
        parts.append(_part(body, at + 2, start, max(end, start)))
        at = end + 2


def _part(body: Body, head: int, start: int, end: int) -> Part:
    for line in body[head:start].split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.strip().lower() == b"content-disposition" and (found := _NAME.search(value)):
            name = (found[1] if found[1] is not None else found[2]).replace(b'\\"', b'"')
            is_file = bool(_FILE.search(value))
            return Part(name.decode("utf-8", "replace"), is_file, body, start, end)
    raise wrong("a part of the form has no name")
