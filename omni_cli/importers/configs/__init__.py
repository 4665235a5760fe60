"""Configurations of other tools, read into a fleet document: one module a format."""

import json
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from msgspec import Struct

from omni_cli.domain.errors import UsageError
from omni_cli.importers.configs.draft import Draft


class ConfigFormat(Struct, frozen=True):
    """``module`` has ``read(config, draft)``; ``kind``: how the file is written; ``file``: its
    usual name."""

    name: str
    title: str
    module: str
    kind: str
    file: str


FORMATS: Mapping[str, ConfigFormat] = {
    one.name: one
    for one in (
        ConfigFormat("litellm", "LiteLLM proxy", "litellm", "yaml", "config.yaml"),
        ConfigFormat(
            "claude-code-router", "claude-code-router", "claude_code_router", "json", "config.json"
        ),
        ConfigFormat("aichat", "aichat", "aichat", "yaml", "config.yaml"),
        ConfigFormat("llm", "llm", "llm", "yaml", "extra-openai-models.yaml"),
        ConfigFormat("opencode", "opencode", "opencode", "json", "opencode.json"),
        ConfigFormat("crush", "crush", "crush", "json", "crush.json"),
    )
}
#: A text, which stays, or a comment or a last comma, which goes: files people write have both.
_COMMENT = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
_LAST_COMMA = re.compile(r'("(?:\\.|[^"\\])*")|,(?=\s*[}\]])')


def read_config(name: str, text: str, draft: Draft) -> None:
    """Write what a configuration says into ``draft``.

    Raises:
        UsageError: no such format, or the text is not written so; no value of it is quoted.
    """
    found = FORMATS.get(name)
    if found is None:
        raise UsageError(
            f"no configurations of {name!r} are read", hint=f"one of: {', '.join(FORMATS)}"
        )
    config = _parsed(found, text)
    import_module(f"{__name__}.{found.module}").read(config, draft)


def _parsed(found: ConfigFormat, text: str) -> Any:
    if found.kind == "json":
        try:
            plain = _LAST_COMMA.sub(lambda m: m[1] or "", _COMMENT.sub(lambda m: m[1] or "", text))
            config = json.loads(plain)
        except (ValueError, RecursionError) as exc:
            where = f" (line {exc.lineno})" if isinstance(exc, json.JSONDecodeError) else ""
            raise UsageError(f"the file is no JSON{where}") from None
    else:
        import yaml

        try:
            config = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as exc:
            mark = getattr(exc, "problem_mark", None)
            where = f" (line {mark.line + 1})" if mark is not None else ""
            # The error itself shows the line, in which a key may stand.
            raise UsageError(f"the file is no YAML{where}") from None
    wanted = (list, dict) if found.name == "llm" else dict
    if not isinstance(config, wanted):
        raise UsageError(
            f"this is no {found.file} of {found.title}: "
            f"{'a list' if found.name == 'llm' else 'a table'} is expected at its top"
        )
    return config
