"""What a token estimate is, whatever the text."""

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.tokens import estimate_tokens

texts = st.text(max_size=120) | st.text("ab .\n1é漢🙂", max_size=120)


@given(texts, st.floats(0.5, 1.0))
def test_an_estimate_is_positive_and_at_most_a_token_a_byte(text: str, weight: float) -> None:
    """A tokenizer with bytes among its tokens takes no more, but for a space in front."""
    estimate = estimate_tokens(text, weight)
    assert (estimate > 0) == bool(text)
    assert estimate <= len(text.encode()) + 1
    assert estimate <= estimate_tokens(text)
