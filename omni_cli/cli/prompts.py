"""From arguments, stdin, files and options to a ChatRequest and RouteOptions."""

import base64
import mimetypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from msgspec import Struct

from omni_cli.bootstrap import App
from omni_cli.cli.common import complete_roles, money
from omni_cli.cli.render import note
from omni_cli.domain.chat import (
    ChatRequest,
    MediaPart,
    Message,
    Part,
    TextPart,
    image_part,
    media_type,
)
from omni_cli.domain.errors import UsageError, file_errors
from omni_cli.domain.hosts import is_here
from omni_cli.domain.models import BADGES
from omni_cli.domain.money import usd_to_nusd
from omni_cli.domain.tasks import COMPLEXITIES, LATENCY_PREFS, PRIORITIES, TASK_TYPES
from omni_cli.domain.words import meant
from omni_cli.services.engine.routing import RouteOptions

#: Larger files are refused: a slip of the shell, and no model takes them.
MAX_FILE_BYTES = 20 * 1024 * 1024
#: After so long without an end of stdin, omni says that it waits for it, seconds.
_PATIENCE_S = 3.0
#: How long a server on this machine may take, seconds.
_FETCH_S = 10.0
#: A folder's own settings may name a program that git runs to see what changed.
_GIT = ("git", "-c", "core.fsmonitor=false")
_T = TypeVar("_T", bound=str)
_MEDIA = ("image/", "audio/", "application/pdf")
_SVG = "image/svg+xml"  # is text, and models read it as such


class RequestFacts(Struct, frozen=True):
    """What a rule may ask of a request, as options."""

    role: Annotated[
        str | None, typer.Option(autocompletion=complete_roles, help="The role it is for.")
    ] = None
    agent: Annotated[str | None, typer.Option(help="Name of the calling agent.")] = None
    priority: Annotated[str | None, typer.Option(help="cheap, balanced or best.")] = None
    latency: Annotated[str | None, typer.Option(help="fast or normal.")] = None
    max_cost: Annotated[str | None, typer.Option(help="US dollars for this request.")] = None
    task: Annotated[str | None, typer.Option(help="Skip detection: the task type.")] = None
    complexity: Annotated[str | None, typer.Option(help="low, medium or high.")] = None


class Consent(Struct, frozen=True):
    """What the caller lets the router do, as options."""

    min_quality: Annotated[float | None, typer.Option(help="Expected, at least.")] = None
    any_cost: Annotated[
        bool, typer.Option("--any-cost", help="Whoever stands in may cost anything.")
    ] = False
    free_to_paid: Annotated[
        bool, typer.Option("--free-to-paid", help="A paid model may stand in for a free one.")
    ] = False


def read_prompt(
    words: Sequence[str],
    files: Sequence[str | Path],
    images: Sequence[str],
    *,
    needed: bool = True,
) -> tuple[Part, ...]:
    """Parts of the user's turn: piped text first, then files, then the arguments, then images.

    ``-`` among the words names stdin explicitly; ``files`` may be folders, or URLs that lead to
    this machine. There may be none at all unless they are ``needed``.

    Raises:
        UsageError: a file cannot be read, or there is nothing to ask.
    """
    texts: list[str] = []
    asked = [_encodable(word) for word in words if word != "-"]
    if "-" in words or (not sys.stdin.isatty() and _is_piped()):
        piped = _stdin()
        if piped.strip():
            texts.append(piped)
    media: list[Part] = []
    for source in files:
        for part in read_source(str(source)):
            if isinstance(part, TextPart):
                texts.append(part.text)
            else:
                media.append(part)
    if any(word.strip() for word in asked):
        texts.append(" ".join(asked))
    media += [read_image(source) for source in images]
    if needed and not texts and not media:
        raise UsageError("nothing to ask", hint='omni chat "your question", or pipe text into it')
    head: tuple[Part, ...] = (TextPart("\n\n".join(texts)),) if texts else ()
    return head + tuple(media)


def _is_piped() -> bool:
    """Whether stdin is a pipe or a file; what a scheduler hands over (/dev/null) is neither."""
    import select
    import stat

    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return True  # replaced by a test or a caller: read it
    if stat.S_ISSOCK(mode):
        # ssh and CI runners hand one over and keep it open; no shell builds a pipeline of them.
        return bool(select.select([sys.stdin], [], [], 0.25)[0])
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def _stdin() -> str:
    """All of stdin. Whoever forgot to close a pipe is told what omni waits for.

    Raises UsageError when it is not UTF-8.
    """
    import threading

    told = threading.Timer(_PATIENCE_S, note, ["waiting for the end of stdin (none: < /dev/null)"])
    told.daemon = True
    told.start()
    try:
        data = getattr(sys.stdin, "buffer", sys.stdin).read()
    finally:
        told.cancel()
    if isinstance(data, str):
        return data
    try:
        return bytes(data).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UsageError(
            f"stdin is not UTF-8 text (byte {exc.start + 1})", hint="give other files with -f"
        ) from exc


def _encodable(text: str) -> str:
    """An argument that is not UTF-8 reaches Python as lone surrogates, which nobody can send."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as exc:
        raise UsageError("the prompt is not UTF-8 text") from exc
    return text


def read_source(source: str) -> list[Part]:
    """A file, the texts of a folder, or what a URL of this machine answers.

    Raises UsageError: it cannot be read, or the URL leads elsewhere.
    """
    if source.startswith(("http://", "https://")):
        return [_fetched(source)]
    path = Path(source).expanduser()
    return _folder(path) if path.is_dir() else [read_file(path)]


def _folder(folder: Path) -> list[Part]:
    """Its texts, in the order of their paths: what git would add, or all that is not hidden."""
    import subprocess

    found: list[Path] = []
    try:
        listed = subprocess.run(  # noqa: S603  # git, and nothing that the folder's settings name
            [*_GIT, "-C", str(folder), "ls-files", "-z", "-co", "--exclude-standard"],
            capture_output=True,
            check=True,
        ).stdout
        found = [folder / name for name in os.fsdecode(listed).split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        for place, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            found += [Path(place) / name for name in names if not name.startswith(".")]
    parts: list[Part] = []
    size = odd = 0
    for path in sorted(found):
        if not path.is_file() or path.is_symlink():
            continue
        size += path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UsageError(f"{folder} holds more than {MAX_FILE_BYTES // 2**20} MiB")
        try:
            text = _bytes(path).decode("utf-8")
        except UnicodeDecodeError:
            odd += 1
            continue
        parts.append(TextPart(f"{path.relative_to(folder)}:\n```\n{text}\n```"))
    if odd:
        note(f"{folder}: left out {odd} that {'is' if odd == 1 else 'are'} no text")
    if not parts:
        raise UsageError(f"{folder} holds no text")
    return parts


def _fetched(url: str) -> TextPart:
    """What a server on this machine answers; no redirection is followed."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection
    from urllib.parse import urlsplit

    if not is_here(url):
        raise UsageError(
            f"-f reads URLs of this machine only, not {url}", hint=f"curl -s {url} | omni chat ..."
        )
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=_FETCH_S)
        connection.request("GET", f"{parts.path or '/'}{parts.query and '?' + parts.query}")
        answer = connection.getresponse()
        data = answer.read(MAX_FILE_BYTES + 1)
        connection.close()
    except (OSError, HTTPException, ValueError) as exc:
        raise UsageError(f"cannot read {url}: {exc}") from exc
    if answer.status != 200:
        raise UsageError(f"cannot read {url}: it answers with status {answer.status}")
    if len(data) > MAX_FILE_BYTES:
        raise UsageError(f"{url} is larger than {MAX_FILE_BYTES // 2**20} MiB")
    try:
        return TextPart(f"{url}:\n```\n{data.decode('utf-8')}\n```")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{url} is no UTF-8 text") from exc


def read_file(path: Path) -> Part:
    """A file as a part of a turn. Raises UsageError: it cannot be read, or sent."""
    data = _bytes(path)
    named = mimetypes.guess_type(path.name)[0] or ""
    kind = media_type(data)
    if kind:
        return MediaPart(kind, base64.b64encode(data).decode(), name=path.name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as exc:
        if named.startswith("audio/"):
            return MediaPart(named, base64.b64encode(data).decode(), name=path.name)
        raise UsageError(
            f"{path} is neither UTF-8 text nor an image, a sound or a PDF",
            hint="convert it to text first",
        ) from exc
    if named.startswith(_MEDIA) and named != _SVG:
        raise UsageError(
            f"{path} is named as {named}, and holds text",
            hint="rename it to .txt to send it as text",
        )
    return TextPart(f"{path.name}:\n```\n{text}\n```")


def read_image(source: str) -> MediaPart:
    """Raises UsageError: it cannot be read, or is no picture."""
    if source.startswith(("https://", "http://")):
        return MediaPart(mimetypes.guess_type(source)[0] or "", url=source)
    path = Path(source)
    return image_part(_bytes(path), path.name, str(path))


def _bytes(path: Path) -> bytes:
    with file_errors("read", path):
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_FILE_BYTES // 2**20} MiB")
        return path.read_bytes()


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
    # Of a conversation's system prompts the newest holds.
    head = [m for m in earlier if m.role == "system"][-1:]
    if system:
        head = [Message.text_of("system", system)]
    turns = [message for message in earlier if message.role != "system"]
    return ChatRequest(
        messages=(*head, *turns, Message("user", parts)),
        max_output_tokens=max_tokens,
        temperature=temperature,
        json_mode=json_mode or schema is not None,
        json_schema=None if schema is None else _schema(schema),
        stream=stream,
    )


def new_turns(request: ChatRequest, earlier: Sequence[Message]) -> list[Message]:
    """What a request adds to its conversation: its last turn, and a system prompt not yet in it."""
    head = [m for m in request.messages if m.role == "system" and m not in earlier]
    return [*head, request.messages[-1]]


def _schema(path: Path) -> dict[str, object]:
    import json

    try:
        value = json.loads(_bytes(path))
    except (ValueError, RecursionError) as exc:
        raise UsageError(f"{path} is no JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise UsageError(f"{path} holds no JSON Schema object")
    return value


def route_options(
    app: App, facts: RequestFacts, consent: Consent | None = None, needs: Sequence[str] = ()
) -> RouteOptions:
    """Checked options, the configuration's defaults where none was given."""
    consent = consent or Consent()
    routing = app.config.routing
    cost = money(facts.max_cost, "--max-cost")
    if consent.min_quality is not None and not 0 <= consent.min_quality <= 1:
        raise UsageError("--min-quality lies between 0 and 1")
    if facts.role is not None:
        app.fleet.role(facts.role)
    for need in needs:
        if need not in BADGES:
            raise UsageError(f"unknown need {need!r}", hint=f"one of {', '.join(BADGES)}")
    return RouteOptions(
        priority=_one("--priority", facts.priority or routing.priority, PRIORITIES),
        latency_pref=_one("--latency", facts.latency or routing.latency_pref, LATENCY_PREFS),
        max_cost_nusd=None if cost is None else usd_to_nusd(cost),
        min_quality=consent.min_quality,
        task_type=None if facts.task is None else _one("--task", facts.task, TASK_TYPES),
        complexity=None
        if facts.complexity is None
        else _one("--complexity", facts.complexity, COMPLEXITIES),
        role=facts.role,
        agent=facts.agent,
        needs=frozenset(needs),
        weights=routing.weights,
        allow_unknown_price=app.config.prices.allow_unknown,
        any_cost=consent.any_cost,
        free_to_paid=consent.free_to_paid,
    )


def _one(option: str, value: str, known: tuple[_T, ...]) -> _T:
    for item in known:
        if item == value:
            return item
    raise UsageError(
        f"{option} is one of {', '.join(known)}, not {value!r}", hint=meant(value, known)
    )
