"""Where a call is worked out: places whose vendors charge more than their list price.

Sources: Anthropic, "Pricing", third-party platforms (regional and multi-region endpoints of Amazon
Bedrock and Vertex AI), and "Data residency"; OpenAI, "Pricing", regional processing: a tenth more
each.
"""

import re
from functools import lru_cache

from omni_cli.domain.clouds import bedrock_region, vertex_location

#: How much more, per cent.
SURCHARGE_PERCENT = 10
#: Amazon's profiles of a region, and Google's places; ``global`` is neither.
_IN_REGION = re.compile(
    r"(?:^|/)(?:[a-z]{2}|apac|us-gov)\.anthropic\.claude|"
    r"/locations/(?!global/).+/claude-|/locations/(?!global/)[^/]+/publishers/anthropic/"
)
_CLAUDE = re.compile(r"claude-(?:opus|sonnet|haiku)-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
#: OpenAI's hosts that keep data in a place, and Google's of one region.
_OPENAI_PLACE = re.compile(r"://[a-z]{2}\.api\.openai\.com(?:[:/]|$)")
_VERTEX_PLACE = re.compile(r"://[a-z]+-[a-z]+\d+-aiplatform\.googleapis\.com(?:[:/]|$)")
#: Models of OpenAI that its surcharge is for: those of March 2026 and later.
_OPENAI_SINCE = re.compile(r"gpt-(\d{1,2})(?:\.(\d{1,2}))?")


@lru_cache(maxsize=1024)
def in_dearer_region(name: str | None) -> bool:
    """Whether a model's name says that the call was kept in a region, which costs a tenth more
    than the list price with Claude 4.5 and later."""
    return name is not None and _IN_REGION.search(name) is not None and _is_charged_more(name)


def _is_charged_more(name: str) -> bool:
    version = _CLAUDE.search(name)
    if version is None:
        return "claude-3" not in name and "claude-v" not in name
    return (int(version[1]), int(version[2] or 0)) >= (4, 5)


@lru_cache(maxsize=1024)
def charged_more(name: str, base_url: str) -> bool:
    """Whether a live call of this model at this address costs a tenth more than its list price."""
    if in_dearer_region(name):
        return True
    if _OPENAI_PLACE.search(base_url):
        found = _OPENAI_SINCE.match(name)
        return found is None or (int(found[1]), int(found[2] or 0)) >= (5, 4)
    if "claude" not in name or not _is_charged_more(name):
        return False
    if bedrock_region(base_url):  # in the region itself, unless a profile says the whole world
        return not name.startswith("global.") and "/global." not in name
    place = vertex_location(base_url)
    return place != "global" if place else bool(_VERTEX_PLACE.search(base_url))
