"""Secrets: masked, not pickled, and removed from any text (A2)."""

import copy
import json
import pickle
import random

import pytest

from omni_cli.domain.secrets import _KEY_LIKE, _LABELLED, REDACTED, Secret, mask, scrub
from tests.cost import cpu_s

KEY = "sk-proj-Zx81kQpL0vNd93mTqR7s"


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        (KEY, "sk-...qR7s"),
        ("AIzaSyD4nQ1x8KkVb7ZpR2m", "AIza...pR2m"),
        ("gsk_0123456789abcdefghij", "gsk_...ghij"),
        ("0123456789abcdef", "...cdef"),
        ("sk-0123456789ab", "****"),
        ("longlong-0123456789", "****"),
        ("hunter2", "****"),
        ("", "****"),
    ],
)
def test_mask(secret: str, shown: str) -> None:
    assert mask(secret) == mask(Secret(secret)) == shown


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret(KEY)
    assert secret.reveal() == KEY
    for shown in (repr(secret), str(secret), f"{secret}", f"{secret!r:>40}", repr([secret])):
        assert "Zx81" not in shown
    assert copy.deepcopy({"key": secret})["key"] is secret
    assert secret == Secret(KEY)
    assert secret != Secret(KEY + "x")
    assert secret != KEY
    assert len({secret, Secret(KEY)}) == 1
    assert secret
    assert not Secret("")
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        json.dumps({"key": secret})


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Incorrect API key provided: sk-abc123def456.", "Incorrect API key provided: [key]"),
        ("key sk-ant-api03-AbC_d-9xYz123", "key [key]"),
        ("sk-or-v1-0123abcd4567", "[key]"),
        ("AIzaSyD4nQ1x8KkVb7", "[key]"),
        ("(gsk_abcdef123456) xai-abcdef123456", "([key]) [key]"),
        ("Authorization: Bearer abcdefgh", "Authorization: Bearer [key]"),
        ('{"Authorization": "bearer  t0ken.part"}', '{"Authorization": "bearer  [key]"}'),
        ("GET https://x.test/v1?key=abcd1234&alt=sse", "GET https://x.test/v1?key=[key]&alt=sse"),
        ("x-api-key: plainsecret, next", "x-api-key: [key], next"),
        ('{"api_key": "plainsecret"}', '{"api_key": "[key]"}'),
        ("OPENAI_API_KEY=plainsecret omni", "OPENAI_API_KEY=[key] omni"),
        ("https://user:hunter22@host/x", "https://user:[key]@host/x"),
        ("Incorrect API key: abcd********wxyz", "Incorrect API key: [key]"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "[key]"),
    ],
)
def test_scrub_finds_what_looks_like_a_key(text: str, clean: str) -> None:
    assert scrub(text) == clean
    assert scrub(clean) == clean


@pytest.mark.parametrize(
    "text",
    [
        "pip install sk-learn-contrib",
        "the task-1234567890 is done",
        "max_tokens: 4096, keyboard: yes",
        "https://docs.test/keys?page=2",
        "no key for openai; set OPENAI_API_KEY",
        "model gpt-4o-mini-2024-07-18 answered in 812 ms",
        "**bold** and ***",
        "",
    ],
)
def test_scrub_leaves_other_text_alone(text: str) -> None:
    assert scrub(text) == text


def test_scrub_removes_known_secrets() -> None:
    odd = "p@ss/word+with%odd"
    assert scrub(f"a {odd} b", [odd]) == f"a {REDACTED} b"
    assert scrub("a p%40ss%2Fword%2Bwith%25odd b", [Secret(odd)]) == f"a {REDACTED} b"
    assert scrub("x is not xylophone", ["x"]) == f"{REDACTED} is not xylophone"
    assert scrub("nothing", ["", Secret("")]) == "nothing"


def test_scrub_removes_a_secret_that_was_cut_short() -> None:
    secret = "abcdefghijklmnopqrstuvwxyz"
    assert scrub(f"was: {secret[:17]}...", [secret]) == f"was: {REDACTED}..."
    assert scrub(secret + secret[:12], [secret]) == REDACTED * 2


@pytest.mark.parametrize(
    "piece", ["sk-", "sk-a", "bearer ", "a*", "***", "://a:", "api_key=", "eyJ"]
)
def test_scrub_is_linear(piece: str) -> None:
    short, long = (piece * (size // len(piece)) for size in (20_000, 200_000))
    # Ten times the text: ten times the work, where a square of it would be a hundred times.
    assert cpu_s(lambda: scrub(long, [KEY])) < 30 * cpu_s(lambda: scrub(short, [KEY]))


def test_a_quick_look_finds_all_that_the_patterns_find() -> None:
    pieces = (
        *("sk-", "hf_", "tgp_v1-", "AIza", "ya29.", "AKIA", "eyJ", "***", "Bearer ", "BASIC "),
        *("?key=", "&token=", "apiKey: ", "Client-Secret=", "password=", "http://me:", "@h/"),
        *("passw\u017ford=", "api_\u212aey=", *"aZ09.-_ ", "x1y2z3w4q5r6"),
    )
    chance = random.Random(7)
    changed = 0
    for _ in range(20_000):
        text = "".join(chance.choices(pieces, k=chance.randint(1, 12)))
        whole = _KEY_LIKE.sub(REDACTED, _LABELLED.sub(rf"\1{REDACTED}", text))
        changed += whole != text
        assert scrub(text) == whole, text
    assert changed > 2_000
