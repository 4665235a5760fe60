"""Coding agents that ``omni launch`` starts: what each needs set to ask omni's gateway.

In texts ``{url}`` stands for the gateway, ``{key}`` for the session's client key, ``{model}`` for
the model asked for, ``{small}`` for that of side tasks (titles, summaries), and ``{folder}`` for a
folder of this session alone, which is removed at its end.

Sources: each agent's own documentation of its settings (Claude Code "Settings" and "LLM gateway",
Codex "Configuration", Gemini CLI and Qwen Code "Configuration" and "Authentication", opencode
"Config" and "Providers", aider "OpenAI compatible APIs", Crush's README, goose "Providers", Cline
CLI "Installation & Setup" and what its auth command writes, Continue CLI "Configuration", GitHub
Copilot CLI "Using your own LLM models").
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct

_FIELD = re.compile(r"\{(url|key|model|small|folder)\}")


class Own(Struct, frozen=True):
    """How an agent is led through omni with its own login: variables set and left out, arguments.
    Its vendor gets all of it (gateway/subscriptions.py)."""

    env: Mapping[str, str]
    unset: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


class Home(Struct, frozen=True):
    """An agent's own settings: files below the folder that ``variable`` names (``within``: below
    ``folder`` in it), else below ``folder`` in the user's home; and what to lay into each."""

    variable: str
    folder: str
    files: Mapping[str, Mapping[str, Any]]
    within: bool = False

    def path(self, env: Mapping[str, str], home: Path) -> Path:
        named = env.get(self.variable)
        if not named:
            return home / self.folder
        path = Path(named).expanduser()
        return path / self.folder if self.within else path


class Mirror(Struct, frozen=True):
    """A home of the session's own, below its folder at ``at``, for an agent that takes settings
    from nowhere else: all that is in the user's is there by links, but for the files that omni
    lays its settings over."""

    at: str
    files: Mapping[str, Mapping[str, Any]]


class Agent(Struct, frozen=True):
    """``program``: what is run, with ``args`` before the user's. ``known_as``: what its importer
    and reports call it. ``env``: variables set; ``unset``: variables that would lead past omni.
    ``files``: JSON files of the session's folder, by name. ``get``: how to install it. ``auto``:
    how it is told "auto", where that word is its own. ``own``: with its own login, where it has
    one that can be led through. ``home``: where its settings are, where omni can write them.
    ``mirror``: the home that it is given meanwhile."""

    program: str
    title: str
    known_as: str
    get: str
    env: Mapping[str, str]
    unset: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    files: Mapping[str, Any] = {}
    auto: str = "auto"
    own: Own | None = None
    home: Home | None = None
    mirror: Mirror | None = None


#: For any program that reads these: the variables of OpenAI's and Anthropic's packages.
OPENAI: Mapping[str, str] = {
    "OPENAI_API_KEY": "{key}",
    "OPENAI_BASE_URL": "{url}/v1",
    "OPENAI_API_BASE": "{url}/v1",
    "OPENAI_MODEL": "{model}",
}
ANTHROPIC: Mapping[str, str] = {
    "ANTHROPIC_API_KEY": "{key}",
    "ANTHROPIC_BASE_URL": "{url}",
    "ANTHROPIC_MODEL": "{model}",
}

_CLAUDE: Mapping[str, str] = {
    "ANTHROPIC_BASE_URL": "{url}",
    "ANTHROPIC_AUTH_TOKEN": "{key}",
    "ANTHROPIC_MODEL": "{model}",
    "ANTHROPIC_DEFAULT_OPUS_MODEL": "{model}",
    "ANTHROPIC_DEFAULT_SONNET_MODEL": "{model}",
    "ANTHROPIC_DEFAULT_HAIKU_MODEL": "{small}",
}


_QWEN: Mapping[str, Any] = {"security": {"auth": {"selectedType": "openai"}}}
_GEMINI: Mapping[str, Any] = {"security": {"auth": {"selectedType": "gemini-api-key"}}}


def _opencode(key: str) -> Mapping[str, Any]:
    return {
        "model": "omni/{model}",
        "small_model": "omni/{small}",
        "provider": {
            "omni": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "omni",
                "options": {"baseURL": "{url}/v1", "apiKey": key},
                "models": {name: {"name": name} for name in ("{model}", "{small}")},
            }
        },
    }


def _crush(key: str) -> Mapping[str, Any]:
    return {
        "providers": {
            "omni": {
                "type": "openai-compat",
                "name": "omni",
                "base_url": "{url}/v1",
                "api_key": key,
                "models": [
                    {
                        "id": name,
                        "name": name,
                        "context_window": 128_000,
                        "default_max_tokens": 8_192,
                    }
                    for name in ("{model}", "{small}")
                ],
            }
        },
        "models": {
            "large": {"provider": "omni", "model": "{model}"},
            "small": {"provider": "omni", "model": "{small}"},
        },
    }


AGENTS: Mapping[str, Agent] = {
    "claude": Agent(
        "claude",
        "Claude Code",
        "claude-code",
        "npm install -g @anthropic-ai/claude-code",
        _CLAUDE,
        unset=("ANTHROPIC_API_KEY", "CLAUDE_CODE_USE_BEDROCK", "CLAUDE_CODE_USE_VERTEX"),
        own=Own(
            {
                "ANTHROPIC_BASE_URL": "{url}/subscription/anthropic",
                "ANTHROPIC_CUSTOM_HEADERS": "x-omni-key: {key}",
            },
            # A key would be billed by the call.
            unset=(
                "ANTHROPIC_API_KEY",
                "ANTHROPIC_AUTH_TOKEN",
                "CLAUDE_CODE_USE_BEDROCK",
                "CLAUDE_CODE_USE_VERTEX",
            ),
        ),
        home=Home("CLAUDE_CONFIG_DIR", ".claude", {"settings.json": {"env": _CLAUDE}}),
    ),
    "codex": Agent(
        "codex",
        "Codex",
        "codex",
        "npm install -g @openai/codex",
        {"OMNI_LAUNCH_KEY": "{key}"},
        args=tuple(
            word
            for setting in (
                'model="{model}"',
                'model_provider="omni"',
                'web_search="disabled"',
                'model_providers.omni.name="omni"',
                'model_providers.omni.base_url="{url}/v1"',
                'model_providers.omni.env_key="OMNI_LAUNCH_KEY"',
                'model_providers.omni.wire_api="responses"',
            )
            for word in ("-c", setting)
        ),
        own=Own(
            {"OMNI_LAUNCH_KEY": "{key}"},
            args=tuple(
                word
                for setting in (
                    'model_provider="omni"',
                    'model_providers.omni.name="omni"',
                    'model_providers.omni.base_url="{url}/subscription/chatgpt"',
                    "model_providers.omni.requires_openai_auth=true",
                    'model_providers.omni.env_http_headers={"x-omni-key"="OMNI_LAUNCH_KEY"}',
                    'model_providers.omni.wire_api="responses"',
                )
                for word in ("-c", setting)
            ),
        ),
        home=Home(
            "CODEX_HOME",
            ".codex",
            {
                "config.toml": {
                    "model": "{model}",
                    "model_provider": "omni",
                    "web_search": "disabled",
                    "model_providers": {
                        "omni": {
                            "name": "omni",
                            "base_url": "{url}/v1",
                            "experimental_bearer_token": "{key}",
                            "wire_api": "responses",
                        }
                    },
                }
            },
        ),
    ),
    "gemini": Agent(
        "gemini",
        "Gemini CLI",
        "gemini-cli",
        "npm install -g @google/gemini-cli",
        {
            "GOOGLE_GEMINI_BASE_URL": "{url}",
            "GEMINI_API_KEY": "{key}",
            "GEMINI_MODEL": "{model}",
            "GEMINI_CLI_HOME": "{folder}/home",
        },
        unset=("GOOGLE_API_KEY", "GOOGLE_GENAI_USE_VERTEXAI", "GOOGLE_GENAI_USE_GCA"),
        auto="auto:balanced",
        # A system's settings it takes from root's files alone.
        mirror=Mirror("home/.gemini", {"settings.json": _GEMINI}),
        home=Home(
            "GEMINI_CLI_HOME",
            ".gemini",
            {
                "settings.json": {**_GEMINI, "model": {"name": "{model}"}},
                ".env": {"GEMINI_API_KEY": "{key}", "GOOGLE_GEMINI_BASE_URL": "{url}"},
            },
            within=True,
        ),
    ),
    "opencode": Agent(
        "opencode",
        "opencode",
        "opencode",
        "npm install -g opencode-ai",
        {
            "OMNI_LAUNCH_KEY": "{key}",
            "OPENCODE_CONFIG_CONTENT": json.dumps(_opencode("{env:OMNI_LAUNCH_KEY}")),
        },
        home=Home("", ".config/opencode", {"opencode.json": _opencode("{key}")}),
    ),
    "aider": Agent(
        "aider",
        "aider",
        "aider",
        "python -m pip install aider-install && aider-install",
        {
            "OPENAI_API_KEY": "{key}",
            "OPENAI_API_BASE": "{url}/v1",
            "AIDER_MODEL": "openai/{model}",
            "AIDER_WEAK_MODEL": "openai/{small}",
        },
    ),
    "qwen": Agent(
        "qwen",
        "Qwen Code",
        "qwen-code",
        "npm install -g @qwen-code/qwen-code",
        {
            "OPENAI_API_KEY": "{key}",
            "OPENAI_BASE_URL": "{url}/v1",
            "OPENAI_MODEL": "{model}",
            "QWEN_CODE_SYSTEM_SETTINGS_PATH": "{folder}/settings.json",
        },
        files={"settings.json": _QWEN},
        home=Home(
            "QWEN_HOME",
            ".qwen",
            {
                "settings.json": {
                    **_QWEN,
                    "model": {"name": "{model}"},
                    "env": {"OPENAI_API_KEY": "{key}", "OPENAI_BASE_URL": "{url}/v1"},
                }
            },
        ),
    ),
    "crush": Agent(
        "crush",
        "Crush",
        "crush",
        "npm install -g @charmland/crush",
        {
            "CRUSH_GLOBAL_CONFIG": "{folder}",
            "CRUSH_GLOBAL_DATA": "{folder}/data",
            "OMNI_LAUNCH_KEY": "{key}",
        },
        files={"crush.json": _crush("$OMNI_LAUNCH_KEY")},
        home=Home("", ".config/crush", {"crush.json": _crush("{key}")}),
    ),
    "goose": Agent(
        "goose",
        "goose",
        "goose",
        "see its own page: github.com/block/goose",
        {
            "GOOSE_PROVIDER": "openai",
            "GOOSE_MODEL": "{model}",
            "OPENAI_HOST": "{url}",
            "OPENAI_API_KEY": "{key}",
        },
        unset=("OPENAI_BASE_PATH", "OPENAI_BASE_URL"),
    ),
    "cline": Agent(
        "cline",
        "Cline",
        "cline",
        "npm install -g cline",
        {},
        args=("--data-dir", "{folder}/data", "-P", "openai-compatible", "-m", "{model}"),
        files={
            "data/settings/providers.json": {
                "version": 1,
                "lastUsedProvider": "openai-compatible",
                "modes": {},
                "providers": {
                    "openai-compatible": {
                        "settings": {
                            "provider": "openai-compatible",
                            "apiKey": "{key}",
                            "model": "{model}",
                            "baseUrl": "{url}/v1",
                        },
                        "updatedAt": "2026-01-01T00:00:00.000Z",
                        "tokenSource": "manual",
                    }
                },
            }
        },
    ),
    "cn": Agent(
        "cn",
        "Continue",
        "continue",
        "npm install -g @continuedev/cli",
        {},
        args=("--config", "{folder}/config.yaml"),
        files={
            "config.yaml": {  # YAML takes JSON
                "name": "omni",
                "version": "1.0.0",
                "schema": "v1",
                "models": [
                    {
                        "name": "omni",
                        "provider": "openai",
                        "model": "{model}",
                        "apiBase": "{url}/v1",
                        "apiKey": "{key}",
                        "roles": ["chat", "edit", "apply"],
                        "capabilities": ["tool_use", "image_input"],
                    }
                ],
            }
        },
    ),
    "copilot": Agent(
        "copilot",
        "GitHub Copilot CLI",
        "copilot",
        "npm install -g @github/copilot",
        {
            "COPILOT_PROVIDER_BASE_URL": "{url}/v1",
            "COPILOT_PROVIDER_TYPE": "openai",
            "COPILOT_PROVIDER_API_KEY": "{key}",
            "COPILOT_MODEL": "{model}",
        },
        unset=(
            "COPILOT_PROVIDER_BEARER_TOKEN",
            "COPILOT_PROVIDER_WIRE_API",
            "COPILOT_PROVIDER_MODEL_ID",
            "COPILOT_PROVIDER_WIRE_MODEL",
        ),
    ),
}


def filled(value: Any, words: Mapping[str, str]) -> Any:
    """A text, or JSON value with texts in it, whose fields are replaced by ``words``."""
    if isinstance(value, str):
        return _FIELD.sub(lambda found: words[found[1]], value)
    if isinstance(value, Mapping):
        return {filled(name, words): filled(item, words) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [filled(item, words) for item in value]
    return value


def small_model(model: str) -> str:
    """Side tasks go to the cheapest that will do, unless the user chose a model."""
    return "auto:cheap" if model.partition(":")[0] == "auto" else model
