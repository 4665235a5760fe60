"""A base URL as people paste it: with the endpoint of an example behind it, or spaces around it."""

import pytest

from omni_cli.domain.hosts import base_url_in


@pytest.mark.parametrize(
    ("pasted", "meant"),
    [
        ("https://api.example.com/v1", "https://api.example.com/v1"),
        (" https://api.example.com/v1 ", "https://api.example.com/v1"),
        ("https://api.example.com/v1/chat/completions", "https://api.example.com/v1"),
        ("https://ark.example.com/api/v3/chat/completions/", "https://ark.example.com/api/v3"),
        ("https://api.example.com/v1/responses", "https://api.example.com/v1"),
        ("https://api.example.com/anthropic/v1/messages", "https://api.example.com/anthropic/v1"),
        ("http://127.0.0.1:11434/api/chat", "http://127.0.0.1:11434"),
        ("https://x.example.com/v1beta/models/m:generateContent", "https://x.example.com/v1beta"),
        # Paths that servers really have.
        ("https://x.example.com/models", "https://x.example.com/models"),
        ("https://x.example.com/completions-api/v1", "https://x.example.com/completions-api/v1"),
    ],
)
def test_the_endpoint_is_no_part_of_it(pasted: str, meant: str) -> None:
    assert base_url_in(pasted) == meant
