"""Request ids: 63-bit integers that sort by time, shown as 13 base-32 characters.

43 bits of milliseconds since 2020-01-01 UTC (good until 2298) above 20 random bits. An integer
key keeps ledger rows small and appended in order; no process needs another's consent.
"""

EPOCH_MS = 1_577_836_800_000
RANDOM_BITS = 20
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's: no i, l, o, u
_VALUES = {char: value for value, char in enumerate(_ALPHABET)}
TEXT_LENGTH = 13
_LARGEST = (1 << 63) - 1
#: Two characters at a time.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


def make_id(now_ms: int, random_bits: int) -> int:
    """``random_bits`` in 0..2**20-1. Times before 2020 count as 2020."""
    return max(now_ms - EPOCH_MS, 0) << RANDOM_BITS | random_bits & (1 << RANDOM_BITS) - 1


def id_time_ms(value: int) -> int:
    """When an id was made, ms since the epoch, UTC."""
    return (value >> RANDOM_BITS) + EPOCH_MS


def id_text(value: int) -> str:
    """13 characters, most significant first."""
    pairs = _PAIRS
    return (
        f"{_ALPHABET[value >> 60 & 31]}{pairs[value >> 50 & 1023]}{pairs[value >> 40 & 1023]}"
        f"{pairs[value >> 30 & 1023]}{pairs[value >> 20 & 1023]}{pairs[value >> 10 & 1023]}"
        f"{pairs[value & 1023]}"
    )


def parse_id(text: str) -> tuple[int, int] | None:
    """The inclusive range of ids that ``text``, whole or the first part of an id, stands for.

    None when ``text`` cannot begin an id.
    """
    clean = text.strip().lower().removeprefix("req_")
    if not clean or len(clean) > TEXT_LENGTH or any(char not in _VALUES for char in clean):
        return None
    value = 0
    for char in clean:
        value = value << 5 | _VALUES[char]
    missing = 5 * (TEXT_LENGTH - len(clean))
    low = value << missing
    # 13 characters hold 65 bits, an id has 63.
    return None if low > _LARGEST else (low, min(low + (1 << missing) - 1, _LARGEST))


def fingerprint(data: bytes) -> str:
    """64 bits that tell one thing from another, as 16 digits."""
    try:
        from _blake2 import blake2b  # as random.py does: hashlib loads OpenSSL first
    except ImportError:
        from hashlib import blake2b

    return blake2b(data, digest_size=8).hexdigest()
