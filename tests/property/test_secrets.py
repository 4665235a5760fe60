"""Whatever surrounds a secret, scrub takes it out, and a second pass finds nothing more."""

from hypothesis import given
from hypothesis import strategies as st

from omni_cli.domain.secrets import mask, scrub

secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=8, max_size=60)


@given(st.text(max_size=60), secrets, st.text(max_size=60))
def test_a_known_secret_never_survives(before: str, secret: str, after: str) -> None:
    if secret in "[key]":
        return
    assert secret not in scrub(before + secret + after, [secret])


@given(st.text(max_size=60), st.text("0123456789abcXYZ", min_size=12, max_size=40), st.integers(10))
def test_no_long_part_of_a_known_secret_survives(before: str, secret: str, cut: int) -> None:
    left = scrub(f"{before} {secret[:cut]}", [secret + secret])
    assert secret[:10] not in left


@given(st.text(max_size=200))
def test_scrubbing_twice_is_scrubbing_once(text: str) -> None:
    assert scrub(scrub(text)) == scrub(text)


@given(secrets)
def test_a_mask_hides_at_least_half_of_what_it_shows(secret: str) -> None:
    shown = mask(secret)
    assert secret not in shown
    if shown != "****":
        head, _, tail = shown.partition("...")
        assert secret.startswith(head)
        assert len(head) <= 9
        assert len(tail) <= 4
        assert len(secret) - len(head) - 4 >= 8
