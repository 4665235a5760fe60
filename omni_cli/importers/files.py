"""Reads other tools' files and tables a line or an element at a time, never a whole log at once."""

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any, TypeVar

import msgspec

from omni_cli.domain.imports import ImportProblem, LogFile
from omni_cli.importers.values import Skips, Unreadable, digest

#: A longer line is reported and skipped: it would be held in memory whole.
MAX_LINE_BYTES = 64 << 20
#: A longer JSON document that cannot be streamed is reported and skipped.
MAX_DOCUMENT_BYTES = 256 << 20
_BUFFER_BYTES = 1 << 20
#: So much of a log is read at once: it stays in a processor's cache until it is parsed.
_BLOCK_BYTES = 1 << 18
_TAIL_BYTES = 64
_ELEMENT_END = re.compile(r"[ \t\r\n]*[,\]]")
_NO_TEXT = re.compile("[\udc80-\udcff]")
_BOM = b"\xef\xbb\xbf"
#: What lines are passed over for that say nothing of use.
WITHOUT_USAGE = "lines without usage"
_T = TypeVar("_T")


def io_reason(exc: OSError) -> str:
    """Why a file could not be read, without its path (the problem names it)."""
    if isinstance(exc, FileNotFoundError):
        return "the file disappeared"
    return f"cannot be read: {exc.strerror or type(exc).__name__}"


def walk(root: Path | str, accept: Callable[[str], bool]) -> list[str]:
    """Files below ``root`` whose name passes, sorted; symbolic links to folders not followed, nor
    what is no file: a pipe would be waited for. Their names alone: to make a Path of each of ten
    thousands takes as long as to look at them all."""
    try:
        with os.scandir(root) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []
    found = [entry.path for entry in inside if accept(entry.name) and entry.is_file()]
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            found += walk(entry.path, accept)
    return found


def _open(path: Path) -> IO[bytes]:
    """For reading; what zstd compressed (``.zst``) as its text."""
    if path.suffix != ".zst":
        return path.open("rb")
    from omni_cli.http.coding import zstandard

    return io.BufferedReader(zstandard().ZstdFile(path), _BUFFER_BYTES)


#: Whole lines of a file, the 1-based number of the first and how many have an end.
Block = tuple[int, int, bytes]


def blocks(path: Path, mark: LogFile | None = None) -> Iterator[Block | ImportProblem]:
    """A file's whole lines, many at a time, without a leading BOM; what follows the last end of a
    line comes alone, last.

    ``mark``: where to begin; it is brought on to the last line that has an end.
    """
    number, rest = 0, b""
    mark = mark or LogFile("")
    try:
        with _open(path) as file:
            if mark.offset:
                if tail_of(file, mark.offset) == mark.tail:
                    number = mark.line
                else:  # another file under this name
                    mark.offset, mark.line, mark.state = 0, 0, ""
                file.seek(mark.offset)
            # As much again as there is of a line, so that it is not looked through again and again.
            while piece := file.read(max(_BLOCK_BYTES, len(rest))):
                block = rest + piece
                cut = block.rfind(b"\n") + 1
                rest = block[cut:]
                if cut:
                    block = block[:cut] if rest else block
                    count = _line_ends(block)
                    _bring_on(mark, cut, number + count)
                    yield number + 1, count, block if number else block.removeprefix(_BOM)
                    number += count
                if len(rest) > MAX_LINE_BYTES:
                    size, number = len(rest), number + 1
                    while rest and not rest.endswith(b"\n"):
                        rest = file.readline(_BLOCK_BYTES)
                        size += len(rest)
                    if rest:
                        _bring_on(mark, size, number)
                        rest = b""
                    yield _too_long(path, number)
            if rest:
                mark.partial = True
                yield number + 1, 0, rest if number else rest.removeprefix(_BOM)
            mark.tail = tail_of(file, mark.offset)
    except OSError as exc:
        yield ImportProblem(str(path), number or None, io_reason(exc))
    except Exception as exc:
        if type(exc).__name__ != "ZstdError":
            raise
        yield ImportProblem(str(path), number or None, f"not whole zstd data: {exc}")


def _line_ends(block: bytes) -> int:
    """How many lines end in it; from end to end, since lines are long: a sixth of the time that
    ``count`` takes, which looks at each byte."""
    count, at, find = 0, 0, block.find
    while at := find(b"\n", at) + 1:
        count += 1
    return count


def _bring_on(mark: LogFile, size: int, number: int) -> None:
    mark.partial = False
    mark.offset += size
    mark.line = number


def _too_long(path: Path, number: int) -> ImportProblem:
    return ImportProblem(str(path), number, f"line longer than {MAX_LINE_BYTES >> 20} MiB")


def lines(
    path: Path, *, strip: bool = True, mark: LogFile | None = None
) -> Iterator[tuple[int, bytes] | ImportProblem]:
    """Lines with their 1-based numbers; ``strip`` takes white space off both ends and leaves blank
    lines out. ``mark``: as of ``blocks``."""
    for item in blocks(path, mark):
        if isinstance(item, ImportProblem):
            yield item
        else:
            yield from _lines_of(path, item, strip=strip)


def _lines_of(
    path: Path, block: Block, *, strip: bool = True
) -> Iterator[tuple[int, bytes] | ImportProblem]:
    for number, whole in enumerate(io.BytesIO(block[2]), block[0]):
        raw = whole.strip() if strip else whole
        if len(raw) > MAX_LINE_BYTES:
            yield _too_long(path, number)
        elif raw:
            yield number, raw


def tail_of(file: IO[bytes], offset: int) -> str:
    """A digest of what stands before ``offset``, to know the file again by."""
    if not offset or not file.seekable():
        return ""
    start = max(offset - _TAIL_BYTES, 0)
    file.seek(start)
    return digest(file.read(offset - start))


def parse_object(raw: bytes | str) -> dict[str, Any]:
    """One JSON object.

    Raises:
        Unreadable: not JSON, not UTF-8, nested too deeply, or not an object.
    """
    try:
        # Half the time, and for what it does not take the other's words.
        value = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = _slowly(raw)
    if not isinstance(value, dict):
        raise Unreadable("not a JSON object")
    return value


def _slowly(raw: bytes | str) -> Any:
    try:
        return json.loads(raw)
    except UnicodeDecodeError:
        raise Unreadable("not valid UTF-8") from None
    except json.JSONDecodeError as exc:
        raise Unreadable(f"not valid JSON (cut off or damaged): {exc.msg}") from None
    except (ValueError, RecursionError):
        raise Unreadable("not usable JSON: nested too deeply or a number too long") from None


def json_lines(
    path: Path,
    markers: Sequence[bytes],
    skips: Skips,
    mark: LogFile | None = None,
) -> Iterator[tuple[int, dict[str, Any]] | ImportProblem]:
    """Objects of a JSONL file that contain one of ``markers``, with their 1-based numbers.

    Lines without a marker are not parsed, which is most of a transcript; they are counted in
    ``skips``, or reported when they are visibly cut off.
    """
    for item in blocks(path, mark):
        if isinstance(item, ImportProblem):
            yield item
        else:
            yield from _parsed(path, item, markers, skips, parse_object)


def json_blocks(
    path: Path,
    markers: Sequence[bytes],
    skips: Skips,
    mark: LogFile | None = None,
    *,
    parse: Callable[[bytes], _T],
    at_once: Callable[[bytes], Sequence[_T]],
) -> Iterator[tuple[int, Sequence[_T]] | ImportProblem]:
    """The same of many lines at a time, those without a marker too: the number of the first, and
    what ``at_once`` makes of them in a fraction of the time. Where it cannot, ``parse`` reads each.
    """
    for item in blocks(path, mark):
        if isinstance(item, ImportProblem):
            yield item
            continue
        first, count, block = item
        if count and len(block) <= MAX_LINE_BYTES:
            found: Sequence[_T]
            try:
                found = at_once(block)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                found = []
            # Blank lines are not among what it finds, and would not be counted.
            if len(found) == count:
                yield first, found
                continue
        for line in _parsed(path, item, markers, skips, parse):
            yield line if isinstance(line, ImportProblem) else (line[0], [line[1]])


def _parsed(
    path: Path,
    block: Block,
    markers: Sequence[bytes],
    skips: Skips,
    parse: Callable[[bytes], _T],
) -> Iterator[tuple[int, _T] | ImportProblem]:
    for line in _lines_of(path, block):
        if isinstance(line, ImportProblem):
            yield line
            continue
        number, raw = line
        is_wanted = any(marker in raw for marker in markers)
        if not is_wanted and raw[0] == 0x7B and raw[-1] == 0x7D:  # { ... }
            skips[WITHOUT_USAGE] += 1
            continue
        try:
            if is_wanted:
                yield number, parse(raw)
            else:
                parse_object(raw)
        except Unreadable as exc:
            yield ImportProblem(str(path), number, str(exc))


def document(path: Path) -> Any:
    """A whole JSON document.

    Raises:
        Unreadable: too large, missing, not UTF-8 or not JSON.
    """
    try:
        if path.stat().st_size > MAX_DOCUMENT_BYTES:
            raise Unreadable(f"larger than {MAX_DOCUMENT_BYTES >> 20} MiB")
        raw = path.read_bytes()
    except OSError as exc:
        raise Unreadable(io_reason(exc)) from exc
    try:
        return json.loads(raw.removeprefix(_BOM))
    except UnicodeDecodeError:
        raise Unreadable("not valid UTF-8") from None
    except json.JSONDecodeError as exc:
        raise Unreadable(f"not valid JSON, line {exc.lineno}: {exc.msg}") from None
    except (ValueError, RecursionError):
        raise Unreadable("not usable JSON: nested too deeply or a number too long") from None


def json_array(path: Path) -> Iterator[tuple[int, Any] | ImportProblem]:
    """Elements of a file that is one JSON array, with the line each begins on.

    An element is parsed once it is whole, so memory holds one of them. Text after a damaged
    element cannot be told apart any more: it is reported and reading stops.
    """
    decoder = json.JSONDecoder()
    buffer, line, started = "", 1, False
    try:
        # A byte that is no text stands for itself, so that the element it is in can be named.
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
            wanted = _BUFFER_BYTES
            at_end = False
            while True:
                if not at_end:
                    piece = file.read(wanted)
                    at_end = not piece
                    buffer += piece
                position = 0
                while True:
                    start = position
                    while start < len(buffer) and buffer[start] in " \t\r\n,":
                        start += 1
                    if not started and start < len(buffer):
                        if buffer[start] != "[":
                            yield ImportProblem(str(path), line, "not a JSON array")
                            return
                        started, start = True, start + 1
                        line += buffer.count("\n", position, start)
                        position = start
                        continue
                    line += buffer.count("\n", position, start)
                    position = start
                    if position < len(buffer) and buffer[position] == "]":
                        return
                    if position >= len(buffer):
                        break
                    try:
                        value, end = decoder.raw_decode(buffer, position)
                    except (ValueError, RecursionError):
                        break  # not whole yet, or damaged: decided at the end of the file
                    if not _ELEMENT_END.match(buffer, end):
                        break  # a number that goes on in the next piece, or damage
                    if _NO_TEXT.search(buffer, position, end) is None:
                        yield line, value
                    else:
                        yield ImportProblem(str(path), line, "not valid UTF-8")
                    line += buffer.count("\n", position, end)
                    position = end
                buffer = buffer[position:]
                if at_end:
                    yield ImportProblem(str(path), line, "not valid JSON (cut off or damaged)")
                    return
                if len(buffer) > MAX_DOCUMENT_BYTES:
                    yield ImportProblem(str(path), line, "an element is too large or damaged")
                    return
                # Doubling keeps re-parsing a large element linear over all.
                wanted = max(_BUFFER_BYTES, len(buffer))
    except OSError as exc:
        yield ImportProblem(str(path), None, io_reason(exc))


Row = dict[str, str]


class _Decoder:
    """Feeds decoded lines to ``csv.reader`` and remembers what could not be decoded."""

    def __init__(self, path: Path) -> None:
        self._source = lines(path, strip=False)
        self.number = 0
        self.damaged = False
        self.problems: list[ImportProblem] = []

    def __iter__(self) -> Iterator[str]:
        for item in self._source:
            if isinstance(item, ImportProblem):
                self.problems.append(item)
                continue
            self.number, raw = item
            try:
                yield raw.decode("utf-8")
            except UnicodeDecodeError:
                self.damaged = True
                yield raw.decode("utf-8", "replace")


def header_of(path: Path) -> tuple[list[str], str]:
    """Column names of a CSV file and its delimiter; no names when it does not begin with text.

    The delimiter is a comma, or the semicolon or tab that some spreadsheets write instead.
    """
    for item in lines(path):
        if isinstance(item, ImportProblem):
            break
        try:
            head = item[1].decode("utf-8")
            delimiter = max(",;\t", key=head.count)
            return [
                name.strip() for name in next(csv.reader([head], delimiter=delimiter))
            ], delimiter
        except (UnicodeDecodeError, csv.Error):
            break
    return [], ","


def rows(path: Path) -> Iterator[tuple[int, Row] | ImportProblem]:
    """Rows as column -> text. Rows of another width than the header are reported."""
    # The module-wide default of 128 KiB is less than one logged prompt.
    csv.field_size_limit(MAX_LINE_BYTES)
    columns, delimiter = header_of(path)
    decoder = _Decoder(path)
    reader = csv.reader(decoder, delimiter=delimiter, strict=True)
    name = str(path)
    last, seen_header = 0, False
    while True:
        try:
            values = next(reader)
        except StopIteration:
            break
        except csv.Error as exc:
            yield ImportProblem(name, last + 1, f"not valid CSV: {exc}")
            last = decoder.number
            continue
        finally:
            yield from decoder.problems
            decoder.problems.clear()
        first, last = last + 1, decoder.number
        damaged, decoder.damaged = decoder.damaged, False
        if not values:
            continue
        if not seen_header:
            seen_header = True
            if damaged or not columns:
                yield ImportProblem(name, 1, "the header is not UTF-8 text (save as CSV UTF-8)")
                return
            if len(set(columns)) != len(columns):
                yield ImportProblem(name, 1, "a column name occurs twice")
                return
            continue
        if damaged:
            yield ImportProblem(name, first, "not valid UTF-8")
        elif len(values) != len(columns):
            reason = f"{len(values)} fields where the header has {len(columns)}"
            yield ImportProblem(name, first, reason)
        else:
            yield first, dict(zip(columns, values, strict=True))
