"""From arguments, stdin, files and options to a ChatRequest and RouteOptions."""

import base64
import mimetypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from omni_cli.bootstrap import App
from omni_cli.cli.common import money
from omni_cli.domain.chat import ChatRequest, MediaPart, Message, Part, TextPart
from omni_cli.domain.errors import UsageError
from omni_cli.domain.models import BADGES
from omni_cli.domain.preferences import LATENCY_PREFS, PRIORITIES
from omni_cli.domain.pricing import usd_to_nusd
from omni_cli.domain.tasks import COMPLEXITIES, TASK_TYPES
from omni_cli.services.routing import RouteOptions

#: Larger files are refused: a slip of the shell, and no model takes them.
MAX_FILE_BYTES = 20 * 1024 * 1024
_T = TypeVar("_T", bound=str)
_MEDIA = ("image/", "audio/", "application/pdf")


def read_prompt(
    words: Sequence[str], files: Sequence[Path], images: Sequence[str]
) -> tuple[Part, ...]:
    """Parts of the user's turn: piped text first, then files, then the arguments, then images.

    ``-`` among the words names stdin explicitly.

    Raises:
        UsageError: a file cannot be read, or there is nothing to ask.
    """
    texts: list[str] = []
    asked = [word for word in words if word != "-"]
    if "-" in words or (not sys.stdin.isatty() and _has_input()):
        piped = sys.stdin.read()
        if piped.strip():
            texts.append(piped)
    media: list[Part] = []
    for path in files:
        part = _file(path)
        if isinstance(part, TextPart):
            texts.append(part.text)
        else:
            media.append(part)
    if asked:
        texts.append(" ".join(asked))
    media += [_image(source) for source in images]
    if not texts and not media:
        raise UsageError("nothing to ask", hint='omni chat "your question", or pipe text into it')
    head: tuple[Part, ...] = (TextPart("\n\n".join(texts)),) if texts else ()
    return head + tuple(media)


def _has_input() -> bool:
    """Whether stdin is a pipe or a file; a CI's closed stdin must not be waited for."""
    import select
    import stat

    try:
        handle = sys.stdin.fileno()
        mode = os.fstat(handle).st_mode
    except (OSError, ValueError):
        return True  # replaced by a test or a caller: read it
    if stat.S_ISREG(mode):
        return True
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        # A pipe whose writer never writes nor closes (some CI runners) would hang for ever.
        return bool(select.select([handle], [], [], 0.25)[0])
    return False


def _file(path: Path) -> Part:
    data = _bytes(path)
    kind = mimetypes.guess_type(path.name)[0] or ""
    if kind.startswith(_MEDIA):
        return MediaPart(kind, base64.b64encode(data).decode(), name=path.name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(
            f"{path} is neither UTF-8 text nor an image, a sound or a PDF",
            hint="convert it to text first",
        ) from exc
    return TextPart(f"{path.name}:\n```\n{text}\n```")


def _image(source: str) -> MediaPart:
    if source.startswith(("https://", "http://")):
        return MediaPart(mimetypes.guess_type(source)[0] or "", url=source)
    path = Path(source)
    data = _bytes(path)
    kind = mimetypes.guess_type(path.name)[0] or _sniff(data)
    if not kind.startswith("image/"):
        raise UsageError(f"{path} is no image", hint="PNG, JPEG, GIF and WebP are taken")
    return MediaPart(kind, base64.b64encode(data).decode(), name=path.name)


def _sniff(data: bytes) -> str:
    for head, kind in (
        (b"\x89PNG", "image/png"),
        (b"\xff\xd8", "image/jpeg"),
        (b"GIF8", "image/gif"),
    ):
        if data.startswith(head):
            return kind
    return "image/webp" if data[8:12] == b"WEBP" else ""


def _bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return path.read_bytes()
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc


def chat_request(
    parts: tuple[Part, ...],
    *,
    system: str | None = None,
    earlier: Sequence[Message] = (),
    max_tokens: int | None = None,
    temperature: float | None = None,
    json_mode: bool = False,
    schema: Path | None = None,
    stream: bool = True,
) -> ChatRequest:
    """Raises UsageError when the schema file is no JSON object."""
    head = [Message.text_of("system", system)] if system else []
    if head:
        earlier = [message for message in earlier if message.role != "system"]
    return ChatRequest(
        messages=(*head, *earlier, Message("user", parts)),
        max_output_tokens=max_tokens,
        temperature=temperature,
        json_mode=json_mode or schema is not None,
        json_schema=None if schema is None else _schema(schema),
        stream=stream,
    )


def _schema(path: Path) -> dict[str, object]:
    import json

    try:
        value = json.loads(_bytes(path))
    except ValueError as exc:
        raise UsageError(f"{path} is no JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no JSON Schema object")
    return value


def route_options(
    app: App,
    *,
    priority: str | None = None,
    latency: str | None = None,
    max_cost: str | None = None,
    min_quality: float | None = None,
    task: str | None = None,
    complexity: str | None = None,
    role: str | None = None,
    agent: str | None = None,
    needs: Sequence[str] = (),
) -> RouteOptions:
    """Checked options, the configuration's defaults where none was given."""
    routing = app.config.routing
    cost = money(max_cost, "--max-cost")
    if min_quality is not None and not 0 <= min_quality <= 1:
        raise UsageError("--min-quality lies between 0 and 1")
    if role is not None:
        app.fleet.role(role)
    for need in needs:
        if need not in BADGES:
            raise UsageError(f"unknown need {need!r}", hint=f"one of {', '.join(BADGES)}")
    return RouteOptions(
        priority=_one("--priority", priority or routing.priority, PRIORITIES),
        latency_pref=_one("--latency", latency or routing.latency_pref, LATENCY_PREFS),
        max_cost_nusd=None if cost is None else usd_to_nusd(cost),
        min_quality=min_quality,
        task_type=None if task is None else _one("--task", task, TASK_TYPES),
        complexity=None if complexity is None else _one("--complexity", complexity, COMPLEXITIES),
        role=role,
        agent=agent,
        needs=frozenset(needs),
        weights=routing.weights,
        allow_unknown_price=app.config.prices.allow_unknown,
    )


def _one(option: str, value: str, known: tuple[_T, ...]) -> _T:
    for item in known:
        if item == value:
            return item
    raise UsageError(f"{option} is one of {', '.join(known)}, not {value!r}")
