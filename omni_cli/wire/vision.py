"""What the image-recognition protocols share: images go in, and nothing of a chat else."""

from omni_cli.domain.chat import ChatRequest, MediaPart
from omni_cli.domain.errors import BadRequest
from omni_cli.wire.values import unsupported


def images_of(request: ChatRequest, protocol: str) -> list[MediaPart]:
    """The images of the last user turn. Raises BadRequest when it has none, or other media."""
    parts = next((m.parts for m in reversed(request.messages) if m.role == "user"), ())
    images = [part for part in parts if isinstance(part, MediaPart)]
    for part in images:
        if part.kind != "image":
            raise unsupported(f"{part.kind} input", protocol)
    if not images:
        raise BadRequest(
            f"The {protocol} protocol recognises images, and the request has none",
            hint="Attach an image, or choose a chat model.",
        )
    return images


def refuse_chat_features(request: ChatRequest, protocol: str) -> None:
    """Raises BadRequest for tools or a schema, which recognition cannot honour.

    A prompt's words are let through, unread: roles such as photo_analysis send one along.
    """
    if request.tools:
        raise unsupported("tools", protocol)
    if request.json_schema is not None:
        raise unsupported("a JSON schema", protocol)
