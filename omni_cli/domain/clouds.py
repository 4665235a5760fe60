"""Azure, Amazon Bedrock and Google Vertex AI: what their addresses look like and are made of; and
which places cost more.

Sources: Microsoft Learn, "Azure OpenAI REST API reference" and "v1 API lifecycle"; AWS General
Reference, "Amazon Bedrock endpoints"; Google Cloud, "Deployments and endpoints" of Vertex AI;
variables as the vendors' own SDKs read them.
"""

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import Provider
from omni_cli.domain.patterns import Pattern

#: Whose credentials a call needs that are no plain key.
Cloud = Literal["aws", "azure", "google"]

_AZURE = Pattern(
    r"\.(?:openai\.azure|cognitiveservices\.azure|services\.ai\.azure)\.(?:com|us|cn)(?:[:/?]|$)"
    r"|\?api-version="
)
_VERTEX = Pattern(r"/projects/[^/?#]+/locations/([^/?#]+)/*$", signs=("/locations/",))
_BEDROCK = Pattern(r"\bbedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.", signs=("bedrock-runtime",))


def is_azure(base_url: str) -> bool:
    return _AZURE.search(base_url) is not None


def vertex_location(base_url: str) -> str | None:
    """Where Vertex AI computes at this address; None where it is not Vertex AI's."""
    found = _VERTEX.search(base_url)
    return None if found is None else found[1]


def bedrock_region(base_url: str) -> str | None:
    found = _BEDROCK.search(base_url)
    return None if found is None else found[1]


def cloud_of(provider: Provider) -> Cloud | None:
    """Whose way to authorize calls a provider has; None: a key of its own, or none."""
    if provider.protocol == "bedrock":
        return "aws"
    if vertex_location(provider.base_url) is not None:
        return "google"
    return "azure" if is_azure(provider.base_url) else None


class Part(Struct, frozen=True):
    """Something an address is made of: as an option is called, the variables that hold it, and
    what it is. ``usual``: where nobody says; None: it has to be said."""

    name: str
    variables: tuple[str, ...]
    words: str
    usual: str | None = None


class Address(Struct, frozen=True):
    """How a cloud's address is made."""

    name: str
    protocol: str
    parts: tuple[Part, ...]
    url: Callable[[Mapping[str, str]], str]
    #: The variable that holds it whole.
    whole: str = ""
    #: Variables that leave no doubt that it is meant, once all are set.
    sure: tuple[str, ...] = ()

    def of(
        self,
        slug: str,
        given: Mapping[str, str],
        env: Mapping[str, str],
        ask: Callable[[Part], str],
    ) -> str:
        """The base URL out of what is given, else the environment's, else asked for.

        Raises UsageError: a part is missing, or is none.
        """
        if self.whole and not given and (whole := env.get(self.whole, "").strip()):
            version = env.get("OPENAI_API_VERSION", "").strip()
            return f"{whole.rstrip('/')}?api-version={version}" if version else whole
        found: dict[str, str] = {}
        missing: list[Part] = []
        for part in self.parts:
            held = next((env[name] for name in part.variables if env.get(name, "").strip()), "")
            value = (given.get(part.name) or held or part.usual or "").strip()
            if not value and part.usual is None:
                value = ask(part).strip()
            if not value and part.usual is None:
                missing.append(part)
            elif value and not _WORD.fullmatch(value):
                raise UsageError(f"--{part.name}: {value!r} is no {part.words}")
            found[part.name] = value
        if missing:
            line = " ".join(f"--{part.name} {part.name.upper()}" for part in missing)
            raise UsageError(
                f"{slug} needs {' and '.join(part.words for part in missing)}",
                hint=f"omni providers add {slug} {line}",
            )
        return self.url(found)


_WORD = Pattern(r"[A-Za-z0-9][A-Za-z0-9._:-]*")
_VERSION = Part("api-version", ("OPENAI_API_VERSION",), "version of the API", "")


def _azure(said: Mapping[str, str]) -> str:
    base = f"https://{said['resource']}.openai.azure.com/openai"
    version = said["api-version"]
    return f"{base}?api-version={version}" if version else f"{base}/v1"


def _bedrock(said: Mapping[str, str]) -> str:
    end = "amazonaws.com.cn" if said["region"].startswith("cn-") else "amazonaws.com"
    return f"https://bedrock-runtime.{said['region']}.{end}"


def _vertex(said: Mapping[str, str]) -> str:
    project, place = said["project"], said["region"]
    if place == "global":
        host = "aiplatform.googleapis.com"
    elif place in ("us", "eu"):
        host = f"aiplatform.{place}.rep.googleapis.com"
    else:
        host = f"{place}-aiplatform.googleapis.com"
    return f"https://{host}/v1/projects/{project}/locations/{place}"


_PROJECT = Part(
    "project",
    ("GOOGLE_CLOUD_PROJECT", "ANTHROPIC_VERTEX_PROJECT_ID", "GCLOUD_PROJECT"),
    "project of Google Cloud",
)
_PLACE = Part(
    "region",
    ("GOOGLE_CLOUD_LOCATION", "CLOUD_ML_REGION", "GOOGLE_CLOUD_REGION"),
    "location",
    "global",
)
#: By the slug of a well-known provider.
ADDRESSES: Mapping[str, Address] = {
    "azure": Address(
        "Azure OpenAI",
        "openai",
        (Part("resource", (), "resource (NAME of https://NAME.openai.azure.com)"), _VERSION),
        _azure,
        "AZURE_OPENAI_ENDPOINT",
        ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"),
    ),
    "bedrock": Address(
        "Amazon Bedrock",
        "bedrock",
        (Part("region", ("AWS_REGION", "AWS_DEFAULT_REGION"), "region of AWS"),),
        _bedrock,
        sure=("AWS_BEARER_TOKEN_BEDROCK", "AWS_REGION"),
    ),
    "vertex": Address(
        "Vertex AI",
        "gemini",
        (_PROJECT, _PLACE),
        _vertex,
        sure=(
            "GOOGLE_GENAI_USE_VERTEXAI",
            "GOOGLE_CLOUD_PROJECT",
            "GOOGLE_APPLICATION_CREDENTIALS",
        ),
    ),
    "vertex-anthropic": Address("Claude on Vertex AI", "anthropic", (_PROJECT, _PLACE), _vertex),
}


def azure_base(url: str) -> str:
    """An address of Azure's OpenAI as omni keeps it: of the current API, or with the version of
    the older one, whose paths name deployments."""
    base, _, query = url.partition("?")
    base = re.sub(r"/deployments(?:/.*)?$", "", base.rstrip("/"))
    version = re.search(r"(?:^|&)api-version=([\w-]+)", query)
    if version is not None and not base.endswith("/v1"):
        return f"{base if _has_path(base) else base + '/openai'}?{version[0].lstrip('&')}"
    if not is_azure(base):
        return url
    return base if _has_path(base) else f"{base}/openai/v1"


def _has_path(url: str) -> bool:
    return "/" in url.partition("://")[2]


# Where a call is worked out: places whose vendors charge more than their list price. Sources:
# Anthropic, "Pricing", third-party platforms (regional and multi-region endpoints of Amazon Bedrock
# and Vertex AI), and "Data residency"; OpenAI, "Pricing", regional processing: a tenth more each.

#: How much more, per cent.
SURCHARGE_PERCENT = 10
#: Amazon's profiles of a region, and Google's places; ``global`` is neither.
_IN_REGION = Pattern(
    r"(?:^|/)(?:[a-z]{2}|apac|us-gov)\.anthropic\.claude|"
    r"/locations/(?!global/).+/claude-|/locations/(?!global/)[^/]+/publishers/anthropic/",
    signs=(".anthropic.claude", "/locations/"),
)
_CLAUDE = Pattern(r"claude-(?:opus|sonnet|haiku)-(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
#: What Anthropic's usage says of answers that were worked out at the usual rates; elsewhere they
#: cost more ("Data residency").
USUAL_PLACES = (None, "", "global", "not_available")
#: OpenAI's hosts that keep data in a place, and Google's of one region.
_OPENAI_PLACE = Pattern(r"://[a-z]{2}\.api\.openai\.com(?:[:/]|$)", signs=(".api.openai.com",))
_VERTEX_PLACE = Pattern(
    r"://[a-z]+-[a-z]+\d+-aiplatform\.googleapis\.com(?:[:/]|$)", signs=("-aiplatform.",)
)
#: Models of OpenAI that its surcharge is for: those of March 2026 and later.
_OPENAI_SINCE = Pattern(r"gpt-(\d{1,2})(?:\.(\d{1,2}))?")


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
