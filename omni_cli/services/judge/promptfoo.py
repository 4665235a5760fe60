"""promptfoo's configuration as a suite, where it maps.

Source: promptfoo's configuration reference (prompts, providers, tests, assertions). What has no
like here is listed, never passed over in silence.
"""

import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omni_cli.domain.chat import Message
from omni_cli.domain.errors import UsageError
from omni_cli.domain.scoring import Scorer
from omni_cli.services.judge.suite import Case, Suite, chat_messages, read_text

_VARIABLE = re.compile(r"\{\{\s*(\w+)\s*\}\}")
#: promptfoo's assertion types to scorers that compare texts.
_TEXTS = {
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


def convert(document: Mapping[str, Any], path: Path) -> Suite:
    """
    Raises:
        UsageError: it holds no prompts, or a prompt's file cannot be read.
    """
    unmapped: list[str] = []
    prompts = [text for item in _list(document["prompts"]) for text in _prompt(item, path)]
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
        asserts = [*_list(base.get("assert")), *_list(test.get("assert"))]
        for variables in _combinations({**base.get("vars", {}), **test.get("vars", {})}, path):
            scorers = tuple(
                scorer
                for item in asserts
                if (scorer := _scorer(item, variables, f"test {number}", unmapped)) is not None
            )
            name = str(test.get("description", ""))
            cases += [
                Case(_messages(_fill(text, variables), path), scorers, name) for text in prompts
            ]
    if not cases:
        raise UsageError(f"{path} has no prompts and tests that omni can read")
    models = [_model(item, unmapped) for item in _list(document.get("providers"))]
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


def _messages(text: str, path: Path) -> tuple[Message, ...]:
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
        _fill(v if isinstance(v, str) else json.dumps(v), variables) for v in _list(value)
    )
    if plain in _TEXTS and texts:
        return Scorer(_TEXTS[plain], texts, negate=negate)
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


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
