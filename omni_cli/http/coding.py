"""Bodies that callers send compressed, made plain within a bound.

Codex sends zstd, other agents gzip (RFC 9110, "Content-Encoding"; RFC 8878; RFC 7932).
"""

import importlib
import io
import zlib
from typing import Any

from omni_cli.wire.server import Refused

#: What is taken, best first; and "br" where its library is installed.
CODINGS = ("zstd", "gzip", "deflate")
#: Most memory that a zstd frame may ask for, bytes (RFC 8878 recommends to support 8 MB).
_WINDOW = 64 * 1024 * 1024


def plain(body: bytes, codings: str, most: int) -> bytes:
    """The body as it was before it was compressed.

    Args:
        codings: of Content-Encoding, in the order in which they were applied.
        most: bytes that it may become.

    Raises:
        Refused: a coding is not known (415), the body is not in it (400), or it is too large (413).
    """
    for coding in reversed([word.strip().lower() for word in codings.split(",")]):
        if coding in ("", "identity"):
            continue
        body = _decoded(body, coding.removeprefix("x-"), most)
        if len(body) > most:
            raise Refused(
                413, "too_large", f"the body unpacks to more than {most // (1024 * 1024)} MB"
            )
    return body


def _decoded(body: bytes, coding: str, most: int) -> bytes:
    """At most a byte more than ``most``."""
    try:
        if coding == "zstd":
            return _zstd(body, most)
        if coding == "gzip":
            return _inflated(body, 16 + zlib.MAX_WBITS, most)
        if coding == "deflate":
            try:
                return _inflated(body, zlib.MAX_WBITS, most)
            except zlib.error:  # many mean the raw form by it
                return _inflated(body, -zlib.MAX_WBITS, most)
        if coding == "br":
            return _brotli(body, most)
    except (zlib.error, EOFError, ValueError) as exc:
        message = f"the body is not in the {coding} coding that its Content-Encoding names: {exc}"
        raise Refused(400, "bad_request", message) from None
    except ImportError:
        pass
    more = "; br too, once the gateway has its library" if coding == "br" else ""
    raise Refused(
        415,
        "unsupported_coding",
        f"a body in the coding {coding[:40]!r} cannot be read",
        hint=f"send it plain, or in one of: {', '.join(CODINGS)}{more}",
    )


def _inflated(body: bytes, bits: int, most: int) -> bytes:
    out = b""
    while body:
        stream = zlib.decompressobj(bits)
        out += stream.decompress(body, most + 1 - len(out))
        if len(out) > most:
            return out
        if not stream.eof:
            raise EOFError("it is cut off")
        body = stream.unused_data  # a gzip body may be several, one after the other
        if bits != 16 + zlib.MAX_WBITS:
            return out
    return out


def _brotli(body: bytes, most: int) -> bytes:
    import brotli

    stream = brotli.Decompressor()
    out = io.BytesIO()
    try:
        while not stream.is_finished() and out.tell() <= most:
            piece = stream.process(body, output_buffer_limit=most + 1 - out.tell())
            if not piece and stream.can_accept_more_data():
                raise EOFError("it is cut off")
            out.write(piece)
            body = b""
    except brotli.error as exc:
        raise ValueError(str(exc)) from None
    return out.getvalue()


def _zstd(body: bytes, most: int) -> bytes:
    zstd = zstandard()
    out = bytearray()
    try:
        while body:
            frame = zstd.ZstdDecompressor(
                options={zstd.DecompressionParameter.window_log_max: _WINDOW.bit_length() - 1}
            )
            out += frame.decompress(body, most + 1 - len(out))
            if len(out) > most:
                return bytes(out)
            if not frame.eof:
                raise EOFError("it is cut off")
            body = frame.unused_data  # a body may be several frames, one after the other
    except zstd.ZstdError as exc:
        raise ValueError(str(exc)) from None
    return bytes(out)


def zstandard() -> Any:
    """Python's own module of it, since 3.14, or the same for those before."""
    try:
        return importlib.import_module("compression.zstd")
    except ModuleNotFoundError:
        return importlib.import_module("backports.zstd")
