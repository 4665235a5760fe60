"""Paths of clients whose base URL has too much or too little."""

import pytest

from omni_cli.gateway.routes import meant


@pytest.mark.parametrize(
    ("path", "right"),
    [
        ("/v1/v1/messages", "/v1/messages"),
        ("//v1/messages", "/v1/messages"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/v1beta/models/m:generateContent", "/v1beta/models/m:generateContent"),
        ("/v1beta/p/m:generateContent", "/v1beta/models/p/m:generateContent"),
        ("/v1/p/a/b:streamGenerateContent", "/v1/models/p/a/b:streamGenerateContent"),
        ("/v1/api/chat", "/api/chat"),
        ("/api/api/tags", "/api/tags"),
    ],
)
def test_what_is_meant(path: str, right: str) -> None:
    assert right in list(meant(path))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/health", "/x/v1/messages"])
def test_no_other_beginning_is_dropped(path: str) -> None:
    """A proxy before omni may keep paths from callers: an odd one does not become another."""
    assert all(other.startswith(("/chat", "/completions")) for other in meant(path))
