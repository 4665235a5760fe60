"""Bodies of forms with files (RFC 7578, RFC 2046 section 5.1): read, and one field written anew.

Their bytes go on as they came but for the model's name: a file may be large, and nobody here needs
more of it than its length.
"""

import re
from mmap import mmap
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import BadRequest

_BOUNDARY = re.compile(r'boundary=(?:"([^"\\]{1,70})"|([^\s;,"]{1,70}))', re.IGNORECASE)
_DISPOSITION = re.compile(rb"form-data", re.IGNORECASE)
_PARAMETER = re.compile(rb';\s*([\w*-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))\s*')
#: Of a part's bytes: they are what they say.
_AS_THEY_ARE = (b"binary", b"8bit", b"7bit")
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
        stated = [word.strip() for word in content_type.split(";")[1:]]
        stated = [word for word in stated if word[:8].lower() == "boundary"]
        found = _BOUNDARY.fullmatch(stated[0]) if len(stated) == 1 else None
        if found is None:
            raise wrong("multipart/form-data needs one boundary")
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
        alike = [p for p in self.parts if p.name.strip().casefold() == name]
        if not isinstance(value, str) or not value or "\0" in value or len(alike) > 1:
            raise wrong(f"{name!r} must be one text of the form")
        return value

    def replaced(self, name: str, text: str) -> bytes:
        """The body with another text in the one field of that name."""
        (part,) = (part for part in self.parts if part.name == name)
        return self.body[: part.start] + text.encode() + self.body[part.end :]


def _parts(body: Body, delimiter: bytes) -> list[Part]:
    """Raises BadRequest: where a part ends is not the same to every reader. Some take a boundary
    after any end of a line, or within a head, for one."""
    parts: list[Part] = []
    at = body.find(delimiter)
    if at < 0 or (at and body[max(at - 2, 0) : at] != b"\r\n"):
        raise wrong("the form's boundary is not in its body")
    while True:
        at += len(delimiter)
        after = body.find(delimiter, at)
        if body[at : at + 2] == b"--" and after < 0:
            return parts
        if body[at : at + 2] != b"\r\n" or len(parts) == _MOST_PARTS:
            raise wrong("the form's parts cannot be read")
        start = body.find(b"\r\n\r\n", at) + 4
        if start < 4 or after < 0:
            raise wrong("the form is cut off")
        end = after - 2
        if end < start or body[end:after] != b"\r\n":
            raise wrong("the form's boundary is in one of its parts")
        parts.append(_part(body, at + 2, start, end))
        at = after


def _part(body: Body, head: int, start: int, end: int) -> Part:
    found: dict[bytes, bytes] = {}
    for line in body[head : start - 4].split(b"\r\n"):
        key, colon, value = line.partition(b":")
        key = key.lower()
        if not colon or key in found or key != key.strip() or b"\n" in line or b"\r" in line:
            raise wrong("the head of a part of the form cannot be read in one way")
        found[key] = value.strip()
    if found.get(b"content-transfer-encoding", b"binary").lower() not in _AS_THEY_ARE:
        raise wrong("a part of the form is encoded: its bytes are sent as they are")
    told = _parameters(found.get(b"content-disposition", b""))
    name = told.get(b"name")
    if name is None:
        raise wrong("a part of the form has no name, or none that every server reads alike")
    is_file = b"filename" in told or b"filename*" in told
    return Part(name.decode("utf-8", "replace"), is_file, body, start, end)


def _parameters(disposition: bytes) -> dict[bytes, bytes]:
    """What stands in a part's disposition; {} where readers may differ on it."""
    told: dict[bytes, bytes] = {}
    kind = _DISPOSITION.match(disposition)
    at = 0 if kind is None else kind.end()
    rest = disposition.rstrip(b"; ")
    while at and at < len(rest):
        found = _PARAMETER.match(rest, at)
        name = b"" if found is None else found[1].lower()
        if found is None or name in told or name == b"name*":
            return {}
        value = found[2] if found[2] is not None else found[3]
        if name == b"name":
            value = value.replace(b'\\"', b'"')
            if b"\\" in value:
                return {}
        told[name] = value
        at = found.end()
    return told
