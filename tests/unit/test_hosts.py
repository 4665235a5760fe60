"""A base URL as people paste it: with the endpoint of an example behind it, or spaces around it."""

import pytest

from omni_cli.domain.hosts import base_url_in, is_public


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


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::8.8.8.8", True),  # how a network of IPv6 alone reaches it
        ("2002:808:808::1", True),
        ("169.254.169.254", False),
        ("0.0.0.0", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b:1::1", False),
        ("2002:a9fe:a9fe::", False),
        ("2002:7f00:1::1", False),
        ("::127.0.0.1", False),
        ("::ffff:0:10.0.0.1", False),
        ("fec0::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("ff0e::1", False),
        ("5f00::1", False),
        ("::", False),
    ],
)
def test_whatever_leads_within_is_not_public(address: str, public: bool) -> None:
    """By any way to write an IPv4 address as one of IPv6, too."""
    assert is_public(address) is public
