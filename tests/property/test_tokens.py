"""The upper bound holds for tokenizers of both kinds, whatever their vocabulary."""

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.tokens import estimate_tokens, upper_bound_tokens

texts = st.text(max_size=120) | st.text("ab .\n1é漢🙂", max_size=120)
merges = st.lists(st.tuples(st.binary(min_size=1, max_size=3), st.binary(min_size=1, max_size=3)))


def byte_level_bpe(text: str, ranks: list[tuple[bytes, bytes]]) -> int:
    parts = [bytes((byte,)) for byte in text.encode()]
    for left, right in ranks:
        at = 0
        while at < len(parts) - 1:
            if (parts[at], parts[at + 1]) == (left, right):
                parts[at : at + 2] = [left + right]
            at += 1
    return len(parts)


def pieces_with_byte_fallback(text: str, vocabulary: set[str]) -> int:
    """Greedy SentencePiece with the space in front that Llama 2 adds."""
    text, at, count = " " + text, 0, 0
    while at < len(text):
        for length in (3, 2, 1):
            if text[at : at + length] in vocabulary and at + length <= len(text):
                count += 1
                at += length
                break
        else:
            count += len(text[at].encode())
            at += 1
    return count


@given(texts, merges)
def test_the_bound_holds_for_byte_level_bpe(text: str, ranks: list[tuple[bytes, bytes]]) -> None:
    assert byte_level_bpe(text, ranks) <= upper_bound_tokens(text)


@given(st.text(min_size=1, max_size=120), st.sets(st.text(min_size=1, max_size=3)))
def test_the_bound_holds_for_sentencepiece(text: str, vocabulary: set[str]) -> None:
    assert pieces_with_byte_fallback(text, vocabulary) <= upper_bound_tokens(text)


@given(texts, st.floats(0.5, 1.0))
def test_an_estimate_is_positive_and_below_the_bound(text: str, weight: float) -> None:
    estimate = estimate_tokens(text, weight)
    assert (estimate > 0) == bool(text)
    assert estimate <= upper_bound_tokens(text)
    assert estimate <= estimate_tokens(text)
