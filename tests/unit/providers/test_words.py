"""What providers say: without keys, on one line, and with the wait they ask for (A2, A3)."""

import pytest

from omni_cli.wire.scrub import MAX_MESSAGE, scrub, secrets_in
from omni_cli.wire.waits import duration_s, retry_after_s

KEY = "plainkeywithoutprefix0123456789"


@pytest.mark.parametrize(
    "echo",
    [
        "Incorrect API key provided: sk-proj-AbCdEfGh********WxYz.",
        "invalid key sk-ant-api03-AbCdEfGhIjKl",
        "AIzaSyAbCdEfGh0123456789 is not valid",
        "key gsk_AbCdEfGh0123456789 expired",
        "header 'Authorization: Bearer AbCdEfGh0123456789'",
        "GET https://x.example.test/v1?key=AbCdEfGh&alt=sse",
        "Your api key: ****AbCd is invalid",
        "xai-AbCdEfGh0123456789",
    ],
)
def test_anything_like_a_key_is_taken_out(echo: str) -> None:
    assert "AbCd" not in scrub(echo)
    assert "WxYz" not in scrub(echo)
    assert "[key]" in scrub(echo)


@pytest.mark.parametrize(
    "echo", [f"no {KEY}!", f"got '{KEY[:12]}...'", f"key={KEY}", f"({KEY[:9]}****)"]
)
def test_the_calls_own_key_is_taken_out(echo: str) -> None:
    assert KEY[:9] not in scrub(echo, [KEY])


@pytest.mark.parametrize(
    "words",
    [
        "The model `gpt-5.2-proo` does not exist or you do not have access to it.",
        "Rate limit reached for task-force in organization org-abc on tokens per min (TPM)",
        "max_tokens: 4096 > 2048, which is the maximum",
        "**bold** words are kept",
    ],
)
def test_ordinary_words_stay(words: str) -> None:
    assert scrub(words) == words


def test_one_printable_line() -> None:
    assert scrub("a\nb\t\x1b[31mc\u202ed") == "a b [31mc d"
    assert len(scrub("x" * 5000)) == MAX_MESSAGE


def test_secrets_are_found_by_their_headers() -> None:
    headers = {
        "authorization": "Bearer abc",
        "x-goog-api-key": "def",
        "accept": "text/plain",
        "X-Custom-Token": "ghi",
    }
    assert secrets_in(headers) == ("abc", "def", "ghi")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20", 20.0),
        ("1.5", 1.5),
        ("20ms", 0.02),
        ("7.66s", 7.66),
        ("6m0s", 360.0),
        ("1h2m3s", 3723.0),
        ("2m59.56s", 179.56),
        ("-1", None),
        ("soon", None),
        ("5 apples", None),
        ("nan", None),
        ("1e99", None),
        ("", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    assert duration_s(text) == (None if seconds is None else pytest.approx(seconds))


def test_only_a_429_reads_the_limits() -> None:
    headers = {"x-ratelimit-reset-requests": "5s"}
    assert retry_after_s(429, headers) == 5
    assert retry_after_s(500, headers) is None
    assert retry_after_s(503, {"retry-after": "3"}) == 3
    assert retry_after_s(429, {}, "Please try again in 2.5s.") == 2.5
    assert retry_after_s(429, {}, "Try again in about 3 s") == 3
    assert retry_after_s(429, {}) is None


def test_a_date_in_the_past_means_now() -> None:
    headers = {
        "retry-after": "Wed, 21 Oct 2026 07:28:00 GMT",
        "date": "Wed, 21 Oct 2026 07:29:00 GMT",
    }
    assert retry_after_s(429, headers) == 0
