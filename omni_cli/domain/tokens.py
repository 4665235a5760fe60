"""How many tokens a text or an image is: a fast estimate, and a bound that holds.

The estimate counts what byte-pair tokenizers cut apart: words, groups of digits, runs of
punctuation, line ends, indentation; and characters by script beyond ASCII. Its rates for English
prose, Markdown and code were fitted to the output token counts that providers reported for
recorded answers (Claude, GPT-5, Gemini, DeepSeek, Llama, Mistral; tests/unit/test_tokens.py
measures them); those for other scripts follow the o200k_base counts per language that OpenAI
gives in "Hello GPT-4o" (May 2024), raised by a tenth. Older tokenizers cut other scripts
finer: a model's own token weight makes up for that.
"""

import math

#: Least output that is worth asking for when a budget leaves little room, tokens.
LEAST_OUTPUT = 256
_LETTERS = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
_DIGITS = frozenset(b"0123456789")
_LINE_ENDS = frozenset(b"\r\n")
_BLANKS = frozenset(b" \t")
_BEYOND_ASCII = frozenset(range(0x80, 0x100))


def _only(kept: frozenset[int]) -> bytes:
    """A translation table: bytes of the class become "x", all others "."."""
    return bytes(ord("x") if byte in kept else ord(".") for byte in range(256))


_WORDS = _only(_LETTERS | _BEYOND_ASCII)
_ASCII_WORDS = _only(_LETTERS)
_NUMBERS = _only(_DIGITS)
_MARKS = _only(
    frozenset(range(0x80)) - _LETTERS - _DIGITS - _LINE_ENDS - _BLANKS
)  # control characters count as punctuation
_LINES = _only(_LINE_ENDS)
_INDENTS = bytes(
    ord("n") if byte in _LINE_ENDS else ord("x") if byte in _BLANKS else ord(".")
    for byte in range(256)
)

_CASES = bytes(
    ord("U") if 0x41 <= byte <= 0x5A else ord("x") if byte in _LETTERS else ord(".")
    for byte in range(256)
)

#: Twentieths of a token a character, on top of one token a word, by the first byte in UTF-8.
_RATES: tuple[tuple[range, int], ...] = (
    (range(0xC2, 0xCE), 10),  # accented Latin, IPA
    (range(0xCE, 0xD0), 8),  # Greek
    (range(0xD0, 0xD6), 3),  # Cyrillic, Armenian
    (range(0xD6, 0xE0), 6),  # Hebrew, Arabic
    (range(0xE0, 0xE2), 10),  # scripts of India, Thai, Georgian, Khmer
    (range(0xE2, 0xE3), 20),  # typographic punctuation, arrows, symbols
    (range(0xE3, 0xE4), 12),  # kana, CJK punctuation
    (range(0xE4, 0xEA), 16),  # Han
    (range(0xEA, 0xEE), 13),  # Hangul
    (range(0xEE, 0xF0), 20),  # full-width forms
    (range(0xF0, 0xF5), 40),  # emoji, rare Han
)
_RATE = bytes(next((rate for leads, rate in _RATES if b in leads), 0) for b in range(256))
_NO_RATE = bytes(byte for byte in range(256) if not _RATE[byte])


def estimate_tokens(text: str, weight: float = 1.0) -> int:
    """About how many tokens the text alone is, rounded up; 0 for an empty text.

    Args:
        weight: the model's token weight: how many of its tokens one of the estimate's is.
    """
    if not text:
        return 0
    raw = text.encode("utf-8", "surrogatepass")
    # The added first byte gives every run a byte before it: runs are found as ".x".
    cut = b" " + raw
    letters = cut.translate(_ASCII_WORDS)
    numbers = cut.translate(_NUMBERS)
    marks = cut.translate(_MARKS)
    tokens = (
        1.05 * cut.translate(_WORDS).count(b".x")
        + 0.25 * letters.count(b"x" * 8)
        # camelCase, and the mixture that encoded data are
        + 0.8 * cut.translate(_CASES).count(b"xU")
        # No word has 24 letters: names run together, or encoded data.
        + 6.0 * letters.count(b"x" * 24)
        # Tokenizers take up to three digits together.
        + 1.1 * (numbers.count(b".x") + numbers.count(b"xxxx"))
        + 1.05 * marks.count(b".x")
        + 0.5 * marks.count(b"xxxx")
        + 0.6 * cut.translate(_LINES).count(b".x")
        + 0.5 * cut.translate(_INDENTS).count(b"nxx")
    )
    if not text.isascii():
        tokens += sum(raw.translate(_RATE, _NO_RATE)) / 20
    return max(1, math.ceil(min(tokens, len(raw) + 1) * weight))


#: Side in pixels assumed of an image whose size is not known.
ASSUMED_SIDE = 4_096


def image_token_bound(
    width: int | None = None, height: int | None = None, *, model: str = ""
) -> int:
    """The most tokens that one input image is: the greatest of the formulas that OpenAI and others
    whose models speak its protocol, or Ollama's, publish. Other protocols have their own (wire/).

    Args:
        width, height: pixels; where they are not known, ASSUMED_SIDE.
        model: the wire name; only needed to see a gpt-4o-mini, which counts 33 times gpt-4o's.

    Sources: OpenAI, "Images and vision" (tiles; patches of 32 px, budgets and multipliers; the
    1.2 of GPT-5.4 and later as measured by the data set "image-token-cost", 2026);
    Qwen2-VL's model card (patches of 28 px, at most 16,384).
    """
    w, h = image_sides(width, height)
    patches = image_patches(w, h, 32)
    bounds = [
        85 + 170 * _tiles(w, h),
        math.ceil(2.46 * min(patches, 1_536)),
        math.ceil(1.2 * min(patches, 30_000)),
        min(image_patches(w, h, 28), 16_384),
    ]
    if "gpt-4o-mini" in model:
        bounds.append(2_833 + 5_667 * _tiles(w, h))
    return max(bounds)


def image_sides(width: int | None, height: int | None) -> tuple[int, int]:
    """Pixels, ASSUMED_SIDE where they are not known."""
    return max(1, width or ASSUMED_SIDE), max(1, height or ASSUMED_SIDE)


def image_patches(width: int, height: int, side: int) -> int:
    """Squares of ``side`` pixels that cover an image."""
    return -(-width // side) * -(-height // side)


def _tiles(width: int, height: int) -> int:
    """Squares of 512 px, of the image fitted into 2,048 px and then to 768 px across."""
    scale = min(1.0, 2_048 / max(width, height))
    scale = min(scale, 768 / min(width, height))
    return math.ceil(width * scale / 512) * math.ceil(height * scale / 512)
