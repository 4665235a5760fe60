"""What Vertex AI's publishers offer: one list for each, whatever protocol its models speak.

Source: Vertex AI API reference, v1beta1, "publishers.models.list".
"""

from typing import Any
from urllib.parse import urlsplit

from omni_cli.ports import Endpoint, RemoteModel
from omni_cli.wire.values import as_list, as_object, as_text


def published(endpoint: Endpoint, publisher: str) -> str:
    """The URL of a publisher's list: it is of no project and no place."""
    parts = urlsplit(endpoint.base_url)
    before = parts.path.partition("/projects/")[0].rpartition("/v1")[0]
    return f"{parts.scheme}://{parts.netloc}{before}/v1beta1/publishers/{publisher}/models"


def published_models(said: dict[str, Any]) -> list[RemoteModel]:
    names = [as_text(as_object(m).get("name")) for m in as_list(said.get("publisherModels"))]
    return [RemoteModel(name.rpartition("/")[2]) for name in names if name]
