"""What a file is by its content: names lie, and a provider bills what it is sent."""

import base64

from omni_cli.domain.chat import MediaPart
from omni_cli.domain.errors import UsageError

#: First bytes of files (their formats' specifications).
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"\xff\xfb", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_BRANDS = {
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"avif": "image/avif",
    b"M4A ": "audio/mp4",
}


def media_type(data: bytes) -> str:
    """What a file is by its first bytes, whatever it is called; "" where they do not tell."""
    if data[:4] == b"RIFF":
        return {b"WEBP": "image/webp", b"WAVE": "audio/wav"}.get(data[8:12], "")
    if data[4:8] == b"ftyp":
        return _BRANDS.get(data[8:12], "")
    return next((kind for head, kind in _HEADS if data.startswith(head)), "")


def image_part(data: bytes, name: str, where: str) -> MediaPart:
    """An image to send, as what it really is.

    Args:
        where: how the error names the file.

    Raises UsageError where it is none.
    """
    kind = media_type(data)
    if not kind.startswith("image/"):
        holds = f"it holds {kind}" if kind else "its content is none that omni knows"
        raise UsageError(
            f"{where} is no image: {holds}", hint="PNG, JPEG, GIF, WebP, BMP, TIFF, HEIC are taken"
        )
    return MediaPart(kind, base64.b64encode(data).decode(), name=name)
