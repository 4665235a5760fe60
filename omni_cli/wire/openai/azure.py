"""Where Azure's OpenAI differs: the older API names deployments in its paths and its version in the
query, and keys travel in a header of their own.

Source: Microsoft Learn, "Azure OpenAI REST API reference", "Azure OpenAI v1 API".
"""

import re
from urllib.parse import quote

from omni_cli.domain.clouds import is_azure
from omni_cli.ports import Endpoint
from omni_cli.wire.values import bearer

#: A token of Microsoft Entra; keys are plain letters and digits.
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*")


def url_of(endpoint: Endpoint, path: str, deployment: str = "") -> str:
    """Args:
    path: beneath the base URL, without a slash before it.
    deployment: whose path it is, where the address names deployments.
    """
    base, mark, query = endpoint.base_url.partition("?")
    base = base.rstrip("/")
    if not mark:
        return f"{base}/{path}"
    inside = f"deployments/{quote(deployment, safe='')}/" if deployment else ""
    path, _, more = path.partition("?")
    return f"{base}/{inside}{path}?{query}" + (f"&{more}" if more else "")


def auth_of(endpoint: Endpoint) -> dict[str, str]:
    key = endpoint.key
    if key and is_azure(endpoint.base_url) and not _TOKEN.fullmatch(key):
        return {"api-key": key}
    return bearer(endpoint)
