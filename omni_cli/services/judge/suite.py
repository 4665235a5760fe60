"""Test suites: TOML, YAML, JSON, JSONL, a folder of prompts, or promptfoo's configuration.

A suite holds ``cases`` (each a ``prompt`` or ``messages``, and what to expect), and defaults for
all of them: ``system``, ``scorer``, ``models``.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.chat import MediaPart, Message, MessageRole, Part, TextPart
from omni_cli.domain.errors import UsageError
from omni_cli.domain.media import image_part
from omni_cli.domain.scoring import KINDS, Scorer
from omni_cli.plugins import plugins

_TEXTS = (".txt", ".md", ".prompt")
_IMAGES = (".png", ".jpg", ".jpeg", ".gif", ".webp")
_EXPECTED = ".expected"
MAX_BYTES = 20 * 1024 * 1024


class Case(Struct, frozen=True):
    """One thing to ask. ``name`` is what reports call it."""

    messages: tuple[Message, ...]
    scorers: tuple[Scorer, ...] = ()
    name: str = ""

    @property
    def prompt(self) -> str:
        """The last user turn's text."""
        return next((m.text for m in reversed(self.messages) if m.role == "user"), "")


class Suite(Struct, frozen=True):
    """``unmapped``: what a foreign configuration asks for and omni has no word for."""

    cases: tuple[Case, ...]
    models: tuple[str, ...] = ()
    name: str = ""
    unmapped: tuple[str, ...] = field(default=())


def load(path: Path) -> Suite:
    """Read a suite file or folder.

    Raises:
        UsageError: it cannot be read, does not parse, or says what omni does not know.
    """
    if path.is_dir():
        return _folder(path)
    document = _parse(path)
    if isinstance(document, list):
        document = {"cases": document}
    if isinstance(document, dict) and "prompts" in document:
        from omni_cli.services.judge.promptfoo import convert

        return convert(document, path)
    return _suite(document, path)


def _parse(path: Path) -> Any:
    text = read_text(path)
    suffix = path.suffix.lower()
    try:
        if suffix == ".toml":
            import tomllib

            return tomllib.loads(text)
        if suffix in (".yaml", ".yml"):
            import yaml

            return yaml.safe_load(text)
        if suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if suffix == ".json":
            return json.loads(text)
    except Exception as exc:
        # Each format's library has its own tree of errors, one of them with no common base.
        raise UsageError(f"{path} does not parse: {exc}") from exc
    raise UsageError(
        f"{path} is no suite by its name", hint="suites end in .toml, .yaml, .json or .jsonl"
    )


def read_text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is larger than {MAX_BYTES // 2**20} MiB")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot read {path}: {exc}") from exc


def _suite(document: object, path: Path) -> Suite:
    from omni_cli.services.judge.suite_file import SuiteFile
    from omni_cli.written import read

    file = read(SuiteFile, document, within=str(path))
    values = file.model_dump(by_alias=True, exclude_unset=True)
    cases, models = values.pop("cases"), values.pop("models", None)
    name = values.pop("name", path.stem)
    return Suite(
        tuple(
            case_of(
                {"prompt": case} if isinstance(case, str) else case,
                values,
                path.parent,
                f"{path} case {number}",
            )
            for number, case in enumerate(cases, 1)
        ),
        tuple(_texts(models)),
        str(name),
    )


def case_of(case: Mapping[str, Any], defaults: Mapping[str, Any], folder: Path, where: str) -> Case:
    """A case from its table, as ``suite_file.CaseTable`` has it.

    Raises:
        UsageError: named by ``where``.
    """
    values = {**defaults, **case}
    messages = _messages(values, folder, where)
    return Case(messages, scorers_of(values, folder, where), str(case.get("name", "")))


def _messages(values: Mapping[str, Any], folder: Path, where: str) -> tuple[Message, ...]:
    system = values.get("system")
    head = (Message.text_of("system", str(system)),) if system else ()
    if "messages" in values:
        return head + chat_messages(values["messages"], where)
    prompt = values.get("prompt")
    images = [image(folder / name) for name in _texts(values.get("images"))]
    if not isinstance(prompt, str) or not (prompt.strip() or images):
        raise UsageError(f"{where} has no prompt")
    parts: tuple[Part, ...] = ((TextPart(prompt),) if prompt.strip() else ()) + tuple(images)
    return (*head, Message("user", parts))


def chat_messages(value: Any, where: str) -> tuple[Message, ...]:
    """``[{role, content}, ...]`` of plain texts."""
    found = []
    for item in value if isinstance(value, list) else [None]:
        role = item.get("role") if isinstance(item, dict) else None
        content = item.get("content") if isinstance(item, dict) else None
        roles: tuple[MessageRole, ...] = ("system", "user", "assistant")
        known = next((name for name in roles if name == role), None)
        if known is None or not isinstance(content, str):
            raise UsageError(f"{where}: messages are tables with role and content, both texts")
        found.append(Message.text_of(known, content))
    return tuple(found)


def image(path: Path) -> MediaPart:
    """Raises UsageError."""
    try:
        return image_part(path.read_bytes(), path.name, str(path))
    except OSError as exc:
        raise UsageError(f"cannot read {path}: {exc.strerror}") from exc


def scorers_of(values: Mapping[str, Any], folder: Path, where: str) -> tuple[Scorer, ...]:
    """What a case's ``expect``, ``scorer`` and their like ask for."""
    expect = tuple(
        str(text) for text in _list(values.get("expect")) if not isinstance(text, dict | list)
    )
    kinds = [str(kind) for kind in _list(values.get("scorers") or values.get("scorer"))]
    if not kinds:
        kinds = [
            kind
            for kind, key in (
                ("json-schema", "schema"),
                ("command", "command"),
                ("judge", "rubric"),
            )
            if values.get(key)
        ]
        if expect:
            kinds.insert(0, "contains")
    found = []
    for kind in kinds:
        negate = kind.startswith("not-")
        name = kind.removeprefix("not-")
        if name not in KINDS:
            added = plugins("omni.scorers")
            if name not in added:
                known = ", ".join([*KINDS, *added])
                raise UsageError(f"{where}: unknown scorer {kind!r}", hint=f"one of {known}")
            added[name].load()  # fails before anything is paid
        settings = _settings(name, values, folder, where)
        found.append(Scorer(name, expect, settings, negate))
    return tuple(found)


def _settings(kind: str, values: Mapping[str, Any], folder: Path, where: str) -> dict[str, Any]:
    if kind == "numeric" and values.get("tolerance") is not None:
        try:
            return {"tolerance": float(values["tolerance"])}
        except (TypeError, ValueError) as exc:
            raise UsageError(f"{where}: tolerance is a number") from exc
    if kind == "json-schema":
        schema = values.get("schema") or {}
        if isinstance(schema, str):
            schema = _parse_json(folder / schema)
        if not isinstance(schema, dict):
            raise UsageError(f"{where}: schema is a JSON Schema object or its file")
        return {"schema": schema}
    if kind == "command":
        if not values.get("command"):
            raise UsageError(f"{where}: scorer command needs a command")
        return {"command": str(values["command"])}
    if kind == "judge":
        return {"rubric": str(values.get("rubric") or "")}
    return {}


def _parse_json(path: Path) -> Any:
    try:
        return json.loads(read_text(path))
    except ValueError as exc:
        raise UsageError(f"{path} is no JSON: {exc}") from exc


def _folder(path: Path) -> Suite:
    """Texts are prompts; ``NAME.expected`` beside one is what its answer must contain. Images
    are asked about with the prompt in ``prompt.txt``, or alone with a plain question."""
    texts = sorted(p for p in path.iterdir() if p.suffix.lower() in _TEXTS)
    images = sorted(p for p in path.iterdir() if p.suffix.lower() in _IMAGES)
    shared = next((p for p in texts if p.stem == "prompt"), None) if images else None
    cases = [
        case_of(
            {"prompt": read_text(text), "name": text.name, **_expected(text)}, {}, path, str(text)
        )
        for text in texts
        if text is not shared
    ]
    question = "What is in this image?" if shared is None else read_text(shared)
    cases += [
        case_of(
            {"prompt": question, "images": [p.name], "name": p.name, **_expected(p)},
            {},
            path,
            str(p),
        )
        for p in images
    ]
    if not cases:
        raise UsageError(
            f"{path} holds no prompts", hint=f"files ending in {', '.join(_TEXTS + _IMAGES)}"
        )
    return Suite(tuple(cases), name=path.name)


def _expected(path: Path) -> dict[str, Any]:
    beside = path.with_name(path.name + _EXPECTED)
    if not beside.exists():
        beside = path.with_suffix(_EXPECTED)
    return {"expect": read_text(beside).strip()} if beside.exists() else {}


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _texts(value: Any) -> list[str]:
    return [str(item) for item in _list(value)]
