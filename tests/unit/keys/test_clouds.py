"""Whose addresses a machine's cloud credentials go to, and whose they do not."""

import pytest

from omni_cli.domain.models import Provider
from omni_cli.keys.clouds import CloudKeys

ENV = {
    "HOME": "/nowhere",
    "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
    "AWS_SECRET_ACCESS_KEY": "a-secret",
    "GOOGLE_APPLICATION_CREDENTIALS": "/nowhere/account.json",
}
AMAZON = "https://bedrock-runtime.us-east-1.amazonaws.com"
PLACE = "/v1/projects/p/locations/global"


@pytest.mark.parametrize(
    ("slug", "protocol", "url", "key_env", "place"),
    [
        (
            "b",
            "bedrock",
            "https://bedrock-runtime.us-east-1.amazonaws.com",
            None,
            "AWS_ACCESS_KEY_ID",
        ),
        ("b", "bedrock", "http://127.0.0.1:9", None, "AWS_ACCESS_KEY_ID"),
        ("b", "bedrock", "https://amazonaws.com.evil.example", None, None),
        ("b", "bedrock", "https://evil-amazonaws.com", None, None),
        ("b", "bedrock", "https://proxy.example", "AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY_ID"),
        ("b@acme", "bedrock", AMAZON, None, None),
        (
            "v",
            "gemini",
            f"https://aiplatform.googleapis.com{PLACE}",
            None,
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
        ("v", "gemini", f"https://evil.example{PLACE}", None, None),
        ("v@acme", "anthropic", f"https://aiplatform.googleapis.com{PLACE}", None, None),
        ("v", "gemini", "https://generativelanguage.googleapis.com/v1beta", None, None),
    ],
)
def test_who_is_told_what(
    slug: str, protocol: str, url: str, key_env: str | None, place: str | None
) -> None:
    provider = Provider(slug, slug, protocol, url, key_env=key_env)
    found = CloudKeys(ENV).place(provider)
    assert found == (None if place is None else f"env:{place}")
