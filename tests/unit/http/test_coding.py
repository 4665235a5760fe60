"""Compressed bodies: unpacked within a bound, or refused with what is wrong."""

import gzip
import sys
import zlib
from collections.abc import Callable

import pytest

from omni_cli.http.coding import plain, zstandard
from omni_cli.wire.server import Refused

ZSTD = zstandard()
TEXT = b'{"model":"m","messages":[]}' * 40
MOST = 100_000


def _raw_deflate(data: bytes) -> bytes:
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(data) + made.flush()


def _streamed_zstd(data: bytes) -> bytes:
    made = ZSTD.ZstdCompressor()  # writes no size into its head
    return made.compress(data) + made.flush()


PACKED: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("GZIP", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", _raw_deflate),
    ("zstd", ZSTD.compress),
    ("zstd", _streamed_zstd),
    ("gzip, zstd", lambda data: ZSTD.compress(gzip.compress(data))),
    ("identity", bytes),
]


@pytest.mark.parametrize(("coding", "pack"), PACKED)
def test_each_coding(coding: str, pack: Callable[[bytes], bytes]) -> None:
    assert plain(pack(TEXT), coding, MOST) == TEXT


def test_several_frames_are_one_body() -> None:
    pack = ZSTD.compress
    assert plain(pack(b"ab") + pack(b"cd"), "zstd", MOST) == b"abcd"
    assert plain(gzip.compress(b"ab") + gzip.compress(b"cd"), "gzip", MOST) == b"abcd"


@pytest.mark.parametrize(("coding", "pack"), PACKED[:-1])
def test_a_bomb_stops_at_the_bound(coding: str, pack: Callable[[bytes], bytes]) -> None:
    with pytest.raises(Refused) as caught:
        plain(pack(bytes(MOST * 50)), coding, MOST)
    assert caught.value.status == 413


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize("body", [b"{}", gzip.compress(TEXT)[:20], b"\x28\xb5\x2f\xfd"])
def test_what_is_not_in_its_coding(coding: str, body: bytes) -> None:
    with pytest.raises(Refused, match=coding) as caught:
        plain(body, coding, MOST)
    assert caught.value.status == 400


def test_a_coding_that_nobody_knows() -> None:
    with pytest.raises(Refused, match="lzma") as caught:
        plain(b"x", "lzma", MOST)
    assert caught.value.status == 415
    assert "zstd, gzip, deflate" in caught.value.hint


def test_brotli_where_it_is_installed() -> None:
    brotli = pytest.importorskip("brotli")
    assert plain(brotli.compress(TEXT), "br", MOST) == TEXT
    for body, status in [(brotli.compress(bytes(MOST * 50)), 413), (b"{}", 400)]:
        with pytest.raises(Refused) as caught:
            plain(body, "br", MOST)
        assert caught.value.status == status
    with pytest.raises(Refused, match="cut off"):
        plain(brotli.compress(TEXT)[:-4], "br", MOST)


def test_brotli_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "brotli", None)
    with pytest.raises(Refused, match="br") as caught:
        plain(b"x", "br", MOST)
    assert caught.value.status == 415
    assert "zstd, gzip, deflate" in caught.value.hint
    assert "br too, once" in caught.value.hint
