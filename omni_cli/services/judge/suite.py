"""Test suites: TOML, YAML, JSON, JSONL, a folder of prompts, or promptfoo's configuration.

A suite holds ``cases`` (each a ``prompt`` or ``messages``, and what to expect), and defaults for
all of them: ``system``, ``scorer``, ``models``.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct, field

from omni_cli.domain.chat import MediaPart, Message, MessageRole, Part, TextPart, image_part
from omni_cli.domain.errors import UsageError, file_errors
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
        return _from_promptfoo(document, path)
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
    with file_errors("read", path):
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} is larger than {MAX_BYTES // 2**20} MiB")
        return path.read_text("utf-8")


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
    with file_errors("read", path):
        return image_part(path.read_bytes(), path.name, str(path))


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


# --- promptfoo's configuration, where it maps ---------------------------------------------
# Source: promptfoo's configuration reference (prompts, providers, tests, assertions). What has no
# like here is listed, never passed over in silence.

_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
#: promptfoo's assertion types to scorers that compare texts.
_COMPARED = {
    "equals": "exact",
    "contains": "contains",
    "icontains": "icontains",
    "contains-all": "contains",
    "icontains-all": "icontains",
    "contains-any": "contains-any",
    "icontains-any": "icontains-any",
    "regex": "regex",
}
_JUDGED = ("llm-rubric", "model-graded-closedqa", "factuality", "model-graded-factuality")
#: Middle words of promptfoo's provider names that say which endpoint, not which model.
_ENDPOINTS = ("chat", "messages", "completion", "responses")


def _from_promptfoo(document: Mapping[str, Any], path: Path) -> Suite:
    """
    Raises:
        UsageError: it holds no prompts, or a prompt's file cannot be read.
    """
    unmapped: list[str] = []
    prompts = [text for item in _several(document["prompts"]) for text in _prompt(item, path)]
    base = document.get("defaultTest")
    if isinstance(base, str):
        unmapped.append(f"defaultTest: {base}")
    base = base if isinstance(base, dict) else {}
    tests = document.get("tests") or [{}]
    if not isinstance(tests, list):
        unmapped.append(f"tests: {tests}")
        tests = [{}]
    cases: list[Case] = []
    for number, test in enumerate(tests, 1):
        if not isinstance(test, dict):
            unmapped.append(f"test {number}: {test}")
            continue
        asserts = [*_several(base.get("assert")), *_several(test.get("assert"))]
        for variables in _combinations({**base.get("vars", {}), **test.get("vars", {})}, path):
            scorers = tuple(
                scorer
                for item in asserts
                if (scorer := _scorer(item, variables, f"test {number}", unmapped)) is not None
            )
            name = str(test.get("description", ""))
            cases += [
                Case(_prompt_messages(_fill(text, variables), path), scorers, name)
                for text in prompts
            ]
    if not cases:
        raise UsageError(f"{path} has no prompts and tests that omni can read")
    models = [_model(item, unmapped) for item in _several(document.get("providers"))]
    return Suite(
        tuple(cases),
        tuple(model for model in models if model),
        str(document.get("description", path.stem)),
        tuple(dict.fromkeys(unmapped)),
    )


def _prompt(item: Any, path: Path) -> Iterator[str]:
    text = item.get("raw") or item.get("id") if isinstance(item, dict) else item
    if not isinstance(text, str):
        raise UsageError(f"{path}: a prompt is a text or file://PATH")
    if not text.startswith("file://"):
        yield text
        return
    file = path.parent / text.removeprefix("file://")
    if file.suffix in (".py", ".js", ".ts"):
        raise UsageError(f"{path}: prompts made by a program ({file.name}) are not run")
    content = read_text(file)
    if file.suffix == ".json":
        yield content
    else:
        yield from (part.strip() for part in re.split(r"(?m)^---$", content) if part.strip())


def _prompt_messages(text: str, path: Path) -> tuple[Message, ...]:
    """A prompt that is a JSON list of messages is a conversation."""
    if text.lstrip().startswith("["):
        try:
            found = json.loads(text)
        except ValueError:
            found = None
        if isinstance(found, list) and found and isinstance(found[0], dict) and "role" in found[0]:
            return chat_messages(found, str(path))
    return (Message.text_of("user", text),)


def _combinations(variables: Mapping[str, Any], path: Path) -> Iterator[dict[str, Any]]:
    """A variable that is a list stands for each of its values."""
    names = list(variables)
    choices = []
    for name in names:
        values = variables[name] if isinstance(variables[name], list) else [variables[name]]
        choices.append(
            [
                read_text(path.parent / value.removeprefix("file://")).strip()
                if isinstance(value, str) and value.startswith("file://")
                else value
                for value in values
            ]
        )
    for values in itertools.product(*choices):
        yield dict(zip(names, values, strict=True))


def _fill(text: str, variables: Mapping[str, Any]) -> str:
    def value(match: re.Match[str]) -> str:
        found = variables.get(match[1], match[0])
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return _VARIABLE.sub(value, text)


def _scorer(
    item: Any, variables: Mapping[str, Any], where: str, unmapped: list[str]
) -> Scorer | None:
    kind = str(item.get("type", "")) if isinstance(item, dict) else ""
    plain, negate = kind.removeprefix("not-"), kind.startswith("not-")
    value = item.get("value") if isinstance(item, dict) else None
    texts = tuple(
        _fill(v if isinstance(v, str) else json.dumps(v), variables) for v in _several(value)
    )
    if plain in _COMPARED and texts:
        return Scorer(_COMPARED[plain], texts, negate=negate)
    if plain == "starts-with" and texts:
        return Scorer("regex", tuple(rf"\A\s*{re.escape(t)}" for t in texts), negate=negate)
    if plain == "is-json":
        schema = value if isinstance(value, dict) else {}
        return Scorer("json-schema", (), {"schema": schema}, negate)
    if plain in _JUDGED and texts and not negate:
        return Scorer("judge", (), {"rubric": texts[0]})
    unmapped.append(f"{where}: assertion {kind or item!r}")
    return None


def _model(item: Any, unmapped: list[str]) -> str:
    """``openai:chat:gpt-4o`` is ``openai/gpt-4o`` here."""
    name = item.get("id") if isinstance(item, dict) else item
    if not isinstance(name, str) or ":" not in name or name.startswith(("file:", "exec:", "http")):
        unmapped.append(f"provider {name!r}")
        return ""
    slug, _, rest = name.partition(":")
    head, _, tail = rest.partition(":")
    return f"{slug}/{tail if tail and head in _ENDPOINTS else rest}"


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
