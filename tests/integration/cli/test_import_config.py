"""Configurations of other tools, written as their documentation writes them, become a fleet."""

import json
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest

from omni_cli.providers.presets import PRESETS
from omni_cli.simulator import Simulator
from tests.gateway_server import serving
from tests.integration.cli.conftest import Omni

SECRET = "sk-ant-literal-0123456789abcdef"
LITELLM = """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_key: os.environ/OPENAI_API_KEY}
  - model_name: fast
    litellm_params: {model: anthropic/claude-haiku-4-5, api_key: SECRET}
  - model_name: old
    litellm_params: {model: sagemaker/x, api_base: https://a.example, api_key: sk-123}
router_settings:
  fallbacks: [{gpt-4o: [fast, old]}]
  model_group_alias: {smart: gpt-4o, gpt-4: gpt-4o}
litellm_settings: {max_budget: 100, budget_duration: 1mo, drop_params: true}
general_settings: {master_key: sk-1234}
""".replace("SECRET", SECRET)
ROUTER = {
    "Providers": [
        {
            "name": "deepseek",
            "api_base_url": "https://api.deepseek.com/chat/completions",
            "api_key": "$DEEPSEEK_API_KEY",
            "models": ["deepseek-chat", "deepseek-reasoner"],
            "transformer": {"use": ["deepseek", ["maxtoken", {"max_tokens": 1}]]},
        }
    ],
    "Router": {
        "default": "deepseek,deepseek-chat",
        "think": "deepseek,deepseek-reasoner",
        "longContext": "deepseek,deepseek-reasoner",
        "longContextThreshold": 70000,
        "webSearch": "gone,model",
    },
}
AICHAT = """
model: claude:claude-sonnet-4-20250514
temperature: null
clients:
  - type: claude
  - type: openai-compatible
    name: local
    api_base: http://localhost:8081/v1
    api_key: none
    models: [{name: llama3, max_input_tokens: 8192}]
  - type: bedrock
"""
LLM = """
- model_id: orca
  model_name: orca-mini-3b.ggmlv3
  api_base: "http://localhost:8082"
- model_id: claude-2-far
  model_name: anthropic/claude-2
  api_base: "https://openrouter.ai/api/v1"
  api_key_name: openrouter
  headers: {X-Title: LLM}
"""
OPENCODE = """{
  // as people write it
  "provider": {"mine": {"npm": "@ai-sdk/openai-compatible", "name": "Mine",
    "options": {"baseURL": "https://ai.example/v1", "apiKey": "{env:MINE_KEY}"},
    "models": {"m-1": {"limit": {"context": 8000, "output": 100},
      "cost": {"input": 0.5, "output": 2}}}}},
  "model": "mine/m-1", "theme": "dark",
}"""
CRUSH = json.dumps(
    {
        "providers": {
            "deepseek": {
                "type": "openai",
                "base_url": "https://api.deepseek.com/v1",
                "api_key": "$DEEPSEEK_API_KEY",
                "models": [{"id": "deepseek-chat", "cost_per_1m_in": 0.27, "cost_per_1m_out": 1.1}],
            }
        },
        "models": {"large": {"provider": "deepseek", "model": "deepseek-chat"}},
    }
)
HELLO = [{"role": "user", "content": "hello"}]
LONG = [{"role": "user", "content": "one two three four five six. " * 900}]
_DOT = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)
PICTURE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "what is it?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_DOT}"}},
        ],
    }
]
TOOL = {"type": "function", "function": {"name": "Read", "parameters": {"type": "object"}}}
ALL = {
    "litellm": (LITELLM, "model_list[3].litellm_params.model"),
    "claude-code-router": (json.dumps(ROUTER), "Router.webSearch"),
    "aichat": (AICHAT, "clients[3].type"),
    "llm": (LLM, "[2].api_key_name"),
    "opencode": (OPENCODE, "theme"),
    "crush": (CRUSH, ""),
}


CLOUDS = """
model_list:
  - model_name: mine
    litellm_params: {model: azure/my-gpt, api_base: "https://a.openai.azure.com/",
      api_version: 2024-10-21, api_key: os.environ/AZURE_API_KEY}
  - model_name: haiku
    litellm_params: {model: bedrock/converse/us.anthropic.claude-haiku-4-5-20251001-v1:0,
      aws_region_name: eu-west-1, aws_access_key_id: os.environ/AWS_ACCESS_KEY_ID}
  - model_name: flash
    litellm_params: {model: vertex_ai/gemini-2.5-flash, vertex_project: p-1}
  - model_name: claude
    litellm_params: {model: vertex_ai/claude-haiku-4-5@20251001, vertex_project: p-1,
      vertex_location: us-east5}
  - model_name: nowhere
    litellm_params: {model: vertex_ai/gemini-2.5-flash}
"""


def test_litellms_clouds_come_along(omni: Omni) -> None:
    done = omni("import-config", "litellm", "-", "--yes", "--json", stdin=CLOUDS)
    assert done.code == 0, done.err
    found = fleet(omni)["providers"]
    assert {slug: (p["protocol"], p["base_url"]) for slug, p in found.items()} == {
        "azure": ("openai", "https://a.openai.azure.com/openai?api-version=2024-10-21"),
        "bedrock": ("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com"),
        "vertex": (
            "gemini",
            "https://aiplatform.googleapis.com/v1/projects/p-1/locations/global",
        ),
        "vertex-anthropic": (
            "anthropic",
            "https://us-east5-aiplatform.googleapis.com/v1/projects/p-1/locations/us-east5",
        ),
    }
    assert {p["auth_method"] for p in found.values()} == {"api_key"}
    assert found["azure"]["key_env"] == "AZURE_API_KEY"
    left = {one["place"]: one["why"] for one in done.data["left_out"]}
    assert "needs project" in left["model_list[5].litellm_params.model"]
    assert "--like" in left["model_list[1].litellm_params.model"]
    assert "model_list[2].litellm_params.aws_access_key_id" in left
    priced = omni("models", "add", "haiku", "--json")
    assert priced.data["price"]["state"] == "priced"
    mine = omni("models", "add", "mine", "--like", "openai/gpt-5.5", "--json")
    assert mine.data["price"]["state"] == "priced"
    assert mine.data["aliases"] == ["mine"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (
            "aichat",
            """
clients:
  - {type: azure-openai, name: azure, api_base: https://a.openai.azure.com}
  - {type: bedrock, region: eu-west-1, models: [{name: anthropic.claude-haiku-4-5}]}
  - {type: vertexai, project_id: p-1, location: us-east5, adc_file: x.json}
  - {type: vertexai-claude, project_id: p-1, location: us-east5}
  - {type: bedrock, name: nowhere}
""",
        ),
        (
            "opencode",
            """{"provider": {
  "azure": {"options": {"resourceName": "a"}, "models": {"gpt-4o": {}}},
  "amazon-bedrock": {"options": {"region": "eu-west-1", "profile": "mine"}},
  "google-vertex": {"options": {"project": "p-1", "location": "us-east5"}},
  "google-vertex-anthropic": {"options": {"project": "p-1", "location": "us-east5"}}
}}""",
        ),
    ],
)
def test_other_tools_clouds_come_along(omni: Omni, source: str, text: str) -> None:
    done = omni("import-config", source, "-", "--yes", "--json", stdin=text)
    assert done.code == 0, done.err
    found = fleet(omni)["providers"]
    place = "https://us-east5-aiplatform.googleapis.com/v1/projects/p-1/locations/us-east5"
    assert {slug: (p["protocol"], p["base_url"]) for slug, p in found.items()} == {
        "azure": ("openai", "https://a.openai.azure.com/openai/v1"),
        "bedrock": ("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com"),
        "vertex": ("gemini", place),
        "vertex-anthropic": ("anthropic", place),
    }
    left = {one["place"]: one["why"] for one in done.data["left_out"]}
    if source == "aichat":
        assert left["clients[5].type"] == "bedrock needs region of AWS"
        assert "clients[3].adc_file" in left
    else:
        assert "provider.amazon-bedrock.options.profile" in left


def fleet(omni: Omni) -> dict[str, Any]:
    return tomllib.loads(omni("fleet", "export").out)


@pytest.mark.parametrize("source", ALL)
def test_a_plan_writes_nothing_and_a_second_run_changes_nothing(
    omni: Omni, home: Path, source: str
) -> None:
    text, left = ALL[source]
    planned = omni("import-config", source, "-", "--plan", "--json", stdin=text)
    assert planned.code == 0, planned.err
    assert planned.data["changes"]
    assert left in {"", *(one["place"] for one in planned.data["left_out"])}
    assert fleet(omni) == {}
    assert not (home / "keys.enc").exists()
    done = omni("import-config", source, "-", "--yes", stdin=text)
    assert done.code == 0, done.err
    assert "applied as revision 1" in done.err
    again = omni("import-config", source, "-", "--plan", "--json", stdin=text)
    assert again.data["changes"] == []
    for ran in (planned, done, again):
        assert SECRET not in ran.out + ran.err
    assert SECRET not in omni("fleet", "export").out


#: Addresses that stand in variables, and a variable without which nothing comes along.
VARIABLES = {
    "litellm": """
model_list:
  - model_name: gpt-4o
    litellm_params: {model: azure/mine, api_base: os.environ/ADDRESS, api_key: os.environ/KEY,
      api_version: os.environ/VERSION}
""",
    "claude-code-router": """{"Providers": [{"name": "near", "api_key": "$KEY", "models": ["m"],
  "api_base_url": "${ADDRESS}/v1/chat/completions"}]}""",
    "opencode": """{"provider": {"near": {"npm": "@ai-sdk/openai-compatible", "models": {"m": {}},
  "options": {"baseURL": "{env:ADDRESS}/v1", "apiKey": "{env:KEY}"}}}}""",
    "crush": """{"providers": {"near": {"type": "openai-compat", "base_url": "$ADDRESS/v1",
  "api_key": "$KEY", "models": [{"id": "m"}]}}}""",
}


@pytest.mark.parametrize("source", VARIABLES)
def test_an_address_in_a_variable_is_taken_from_there(
    omni: Omni, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    missing = omni("import-config", source, "-", "--plan", "--json", stdin=VARIABLES[source])
    assert missing.data["changes"] == []
    assert any("ADDRESS is not set here" in one["why"] for one in missing.data["left_out"])
    monkeypatch.setenv("ADDRESS", "https://a.openai.azure.com")
    monkeypatch.setenv("VERSION", "2024-10-21")
    monkeypatch.setenv("KEY", SECRET)
    done = omni("import-config", source, "-", "--yes", "--json", stdin=VARIABLES[source])
    (made,) = fleet(omni)["providers"].values()
    assert made["base_url"].startswith("https://a.openai.azure.com/")
    assert made["key_env"] == "KEY"  # a key stays a reference
    assert SECRET not in done.out


def test_crushs_clouds_come_along(omni: Omni, monkeypatch: pytest.MonkeyPatch) -> None:
    text = """{"providers": {"bedrock": {"models": [{"id": "anthropic.claude-haiku-4-5"}]},
  "vertexai": {"models": [{"id": "claude-haiku-4-5@20251001"}]}}}"""
    alone = omni("import-config", "crush", "-", "--plan", "--json", stdin=text)
    assert {one["place"] for one in alone.data["left_out"]} == {
        "providers.bedrock", "providers.vertexai"
    }  # fmt: skip
    said = {"VERTEXAI_PROJECT": "p-1", "VERTEXAI_LOCATION": "us-east5", "AWS_REGION": "eu-west-1"}
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert omni("import-config", "crush", "-", "--yes", stdin=text).code == 0
    assert {slug: p["base_url"] for slug, p in fleet(omni)["providers"].items()} == {
        "bedrock": "https://bedrock-runtime.eu-west-1.amazonaws.com",
        "vertex-anthropic":
            "https://us-east5-aiplatform.googleapis.com/v1/projects/p-1/locations/us-east5",
    }  # fmt: skip


#: Of each tool, more of what people's files have, and of the fleet that comes of it: the path of a
#: value and the value (None: there is none); then places that are named as not carried over.
MORE: dict[str, tuple[str, str, dict[str, Any], tuple[str, ...]]] = {
    "limits of calls": (
        "litellm",
        """
model_list:
  - model_name: pool
    litellm_params: {model: gpt-5.5, api_key: os.environ/ONE, rpm: 480}
  - {model_name: pool, litellm_params: {model: gpt-5.5, api_key: os.environ/TWO}, rpm: "3"}
  - {model_name: again, litellm_params: {model: openai/gpt-5.5, api_key: os.environ/ONE, rpm: 60}}
  - {model_name: "*", litellm_params: {model: groq/*, rpm: 5}}
litellm_settings: {max_budget: 10}
general_settings: {master_key: os.environ/MASTER}
""",
        {
            "models.openai/gpt-5.5.settings.rate_limit_rpm": 480,
            "models.openai-2/gpt-5.5.settings.rate_limit_rpm": 3,
            "providers.openai-2.key_env": "TWO",
            "chains.pool.links.1.model": "openai-2/gpt-5.5",
        },
        (
            "model_list[4].litellm_params.rpm", "litellm_settings.max_budget",
            "general_settings.master_key",
        ),
    ),
    "who takes over by default": (
        "litellm",
        """
model_list:
  - {model_name: one, litellm_params: {model: openai/gpt-5.5}}
  - {model_name: two, litellm_params: {model: openai/gpt-6-luna}}
  - {model_name: far, litellm_params: {model: anthropic/claude-haiku-4-5}}
  - {model_name: vectors, litellm_params: {model: text-embedding-3-small}}
  - {model_name: "*", litellm_params: {model: "openrouter/*"}}
litellm_settings: {fallbacks: [{two: [one]}], default_fallbacks: [far, gone]}
""",
        {
            "chains.one.links.1.model": "anthropic/claude-haiku-4-5",
            "chains.two.links.1.model": "openai/gpt-5.5",
            "chains.two.links.2": None,
            "chains.far": None,
            "chains.vectors": None,
            "models.anthropic/claude-haiku-4-5.aliases.0": "far",
        },
        ("model_list[5].model_name", "litellm_settings.default_fallbacks[2]"),
    ),
    "two providers of one name": (
        "claude-code-router",
        json.dumps(
            {
                "Providers": [
                    {"name": "near", "api_base_url": f"http://127.0.0.1:{port}/v1/chat/completions",
                     "api_key": "$KEY", "models": ["m"]}
                    for port in (8, 9)
                ],
                "Router": {"default": "near,m"},
            }
        ),
        {"roles.default.models.0.model": "near-2/m", "models.near/m.status": "active"},
        ("Providers[2].name",),
    ),
    "vendors of LiteLLM's own": (
        "litellm",
        """
model_list:
  - {model_name: nim, litellm_params: {model: nvidia_nim/meta/llama3, api_key: os.environ/NIM}}
  - {model_name: fire, litellm_params: {model: fireworks_ai/accounts/x}}
  - {model_name: picture, litellm_params: {model: dall-e-3}}
  - {model_name: nothing, litellm_params: {model: azure/, api_base: "https://a.openai.azure.com"}}
router_settings: {fallbacks: [{nim: [fire]}]}
""",
        {
            "providers.nvidia.base_url": "https://integrate.api.nvidia.com/v1",
            "providers.nvidia.key_env": "NIM",
            "providers.fireworks.key_env": "FIREWORKS_AI_API_KEY",
            "chains.nim.links.1.model": "fireworks/accounts/x",
            "models.openai/dall-e-3.status": "active",
            "providers.azure": None,
        },
        ("model_list[4].litellm_params.model",),
    ),
    "slots with a second model": (
        "claude-code-router",
        json.dumps(
            {
                **ROUTER,
                "Router": {**ROUTER["Router"], "longContextThreshold": "80000"},
                "fallback": {
                    "default": ["deepseek,deepseek-reasoner", "gone,model"], "nothing": ["a,b"],
                },
            }
        ),
        {
            "roles.default.models.0.model": "deepseek/deepseek-chat",
            "roles.default.models.1.model": "deepseek/deepseek-reasoner",
            "roles.default.models.2": None,
            "rules.0.condition": "role == 'default' && inputTokens > 80000",
        },
        ("fallback.default[2]", "fallback.nothing"),
    ),
    "clients of one type": (
        "aichat",
        """
model: openai
clients:
  - {type: openai, api_key: sk-1}
  - {type: openai, name: work, models: [{name: gpt-5.5, max_output_tokens: 9, supports_vision: true,
     input_price: 2, output_price: 3.5}]}
agents: [{name: coder, model: "work:gpt-5.5"}]
""",
        {
            "providers.openai-2.name": "work",
            "providers.openai-2.key_env": "WORK_API_KEY",
            "roles.coder.models.0.model": "openai-2/gpt-5.5",
            "models.openai-2/gpt-5.5.max_output": 9,
            "models.openai-2/gpt-5.5.price.output": "3.5",
        },
        ("model", "clients[2].models[1].supports_vision"),
    ),
    "the key file of llm": (
        "llm",
        json.dumps({"// Note": "secret", "claude": SECRET, "openai": "sk-2", "weather": "w"}),
        {"providers.anthropic.auth_method": "api_key", "providers.openai.key_env": None},
        ("weather",),
    ),
    "opencode of the second version": (
        "opencode",
        """{"model": "acme/coder", "enabled_providers": ["acme", "fast", "amazon-bedrock"],
  "agents": {"title": {"model": "acme/m"}, "plan": {"disable": true, "model": "acme/m"}},
  "providers": {
    "acme": {"name": "Acme", "env": ["ACME_API_KEY"],
      "package": "@opencode/ai/providers/openai-compatible", "headers": {"X-Team": "e"},
      "settings": {"baseURL": "https://llm.acme.example/v1"},
      "models": {"coder": {"modelID": "coder-9", "capabilities": {"tools": true}}}},
    "other": {"package": "aisdk:@ai-sdk/anthropic", "settings": {"baseURL": "https://o.example/v1"}},
    "fast": {"npm": "@ai-sdk/groq", "options": {"apiKey": "{env:FAST}"}, "models": {"m": {}}},
    "amazon-bedrock": {"options": {"region": "us-east-1", "endpoint": "https://vpce.example"}}
  }}""",
        {
            "providers.acme.base_url": "https://llm.acme.example/v1",
            "providers.acme.key_env": "ACME_API_KEY",
            "providers.acme.headers.X-Team": "e",
            "roles.default.models.0.model": "acme/coder-9",
            "roles.title.models.0.model": "acme/m",
            "roles.plan": None,
            "providers.groq.key_env": "FAST",
            "providers.other": None,
            "providers.bedrock.base_url": "https://vpce.example",
        },
        ("providers.other", "agents.plan", "providers.acme.models.coder.capabilities"),
    ),
    "prices of a cache": (
        "crush",
        json.dumps(
            {
                "providers": {
                    "near": {
                        "type": "openai-compat", "base_url": "http://127.0.0.1:9/v1",
                        "models": [
                            {
                                "id": name, "cost_per_1m_in": 1, "cost_per_1m_out": 5,
                                "cost_per_1m_in_cached": first, "cost_per_1m_out_cached": second,
                            }
                            for name, first, second in (
                                ("write", 1.25, 0.1), ("first", 0.2, 5), ("second", 0, 0.3),
                                ("both", 0.4, 0.5), ("none", 0, 0),
                            )
                        ],
                    },
                    "azure": {
                        "type": "azure", "base_url": "https://a.openai.azure.com/",
                        "api_key": "$A", "extra_params": {"apiVersion": "2025-01-01-preview"},
                    },
                }
            }
        ),
        {
            "models.near/write.price.cached": "0.1",
            "models.near/write.price.cache_write": "1.25",
            "models.near/first.price.cached": "0.2",
            "models.near/first.price.cache_write": None,
            "models.near/second.price.cached": "0.3",
            "models.near/both.price.cached": "0.5",
            "models.near/none.price.cached": None,
            "providers.azure.base_url":
                "https://a.openai.azure.com/openai?api-version=2025-01-01-preview",
        },
        ("providers.near.models[2].cost_per_1m_out_cached",),
    ),
    "every vendor at once": (
        "crush",
        json.dumps({"providers": {slug: {"api_key": "$KEY"} for slug in PRESETS}}),
        {f"providers.{slug}.key_env": "KEY" for slug in PRESETS},
        (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", MORE)
def test_what_more_files_have_comes_along_or_is_named(omni: Omni, what: str) -> None:
    source, text, expected, places = MORE[what]
    done = omni("import-config", source, "-", "--yes", "--json", stdin=text)
    assert done.code == 0, done.err
    assert SECRET not in done.out + done.err
    assert set(places) <= {one["place"] for one in done.data["left_out"]}
    made = fleet(omni)
    assert {path: found(made, path) for path in expected} == expected


def found(made: Any, path: str) -> Any:
    """What is at a path of names that may have points in them, else None."""
    if not path:
        return made
    if isinstance(made, list):
        head, _, rest = path.partition(".")
        return found(made[int(head)], rest) if int(head) < len(made) else None
    names = [name for name in made if path == name or path.startswith(f"{name}.")]
    return found(made[max(names, key=len)], path[len(max(names, key=len)) + 1 :]) if names else None


def test_llms_aliases_name_models_of_the_fleet(omni: Omni) -> None:
    key_file = json.dumps({"// Note": "secret", "openai": "sk-2"})
    assert omni("import-config", "llm", "-", "--yes", stdin=key_file).code == 0
    assert omni("import-config", "llm", "-", "--yes", stdin="- model_id: mine-1").code == 0
    names = json.dumps({"mini": "gpt-4o-mini", "m": "mine-1", "far": "claude-haiku-4-5"})
    done = omni("import-config", "llm", "-", "--yes", "--json", stdin=names)
    assert [one["place"] for one in done.data["left_out"]] == ["far"]
    models = fleet(omni)["models"]
    assert models["openai/gpt-4o-mini"]["aliases"] == ["mini"]
    assert models["openai/mine-1"]["aliases"] == ["m"]


def test_what_the_fleets_are(omni: Omni) -> None:
    for source, (text, _) in ALL.items():
        ran = omni("import-config", source, "-", "--yes", stdin=text)
        assert ran.code == 0, (source, ran.err)
    made = fleet(omni)
    links = made["chains"]["gpt-4o"]["links"]
    assert [link["model"] for link in links] == ["openai/gpt-4o", "anthropic/claude-haiku-4-5"]
    assert made["chains"]["smart"]["links"] == links
    assert made["models"]["anthropic/claude-haiku-4-5"]["aliases"] == ["fast"]
    assert made["budgets"]["month all"]["limit_usd"] == "100"
    assert made["providers"]["deepseek"]["key_env"] == "DEEPSEEK_API_KEY"
    assert {"default", "think", "long-context", "large"} <= made["roles"].keys()
    assert made["providers"]["local"]["auth_method"] == "none"
    assert made["providers"]["mine"]["key_env"] == "MINE_KEY"
    assert made["models"]["mine/m-1"]["price"]["input"] == "0.5"


@pytest.mark.parametrize("text", ["model_list: [", "- 1", f"a: {SECRET}: {{"])
def test_a_file_that_is_none_is_said_to_be_without_its_text(omni: Omni, text: str) -> None:
    ran = omni("import-config", "litellm", "-", "--yes", stdin=text)
    assert ran.code == 2
    assert SECRET not in ran.err + ran.out


#: Of each tool, a file as its documentation writes it whose addresses are the simulator's, and who
#: answers what is asked of a name there: the caller's model, more of its request, the model.
ASKED: dict[str, tuple[str, tuple[tuple[str, dict[str, Any], str], ...]]] = {
    "litellm": (
        """
model_list:
  - model_name: bot
    litellm_params: {model: openai/down, api_base: "http://127.0.0.1:9/v1", api_key: none}
  - model_name: gpt-4o
    litellm_params: {model: openai/gpt-4o, api_base: "SIM/openai/v1", api_key: none}
  - model_name: helper
    litellm_params: {model: openai/gpt-4o-mini, api_base: "SIM/openai/v1", api_key: none}
router_settings:
  num_retries: 0
  fallbacks: [{bot: [helper]}]
  model_group_alias: {smart: gpt-4o}
""",
        (
            ("bot", {}, "gpt-4o-mini"),
            ("helper", {}, "gpt-4o-mini"),
            ("smart", {}, "gpt-4o"),
        ),
    ),
    "claude-code-router": (
        json.dumps(
            {
                "Providers": [
                    {
                        "name": "deepseek",
                        "api_base_url": "SIM/deepseek/v1/chat/completions",
                        "api_key": "none",
                        "models": ["deepseek-chat", "deepseek-reasoner"],
                    },
                    {
                        "name": "openai",
                        "api_base_url": "SIM/openai/v1/chat/completions",
                        "api_key": "none",
                        "models": ["gpt-4o", "gpt-4o-mini", "gpt-6-luna"],
                    },
                ],
                "Router": {
                    "default": "deepseek,deepseek-chat",
                    "background": "openai,gpt-4o-mini",
                    "think": "deepseek,deepseek-reasoner",
                    "longContext": "openai,gpt-6-luna",
                    "longContextThreshold": 4000,
                    "image": "openai,gpt-4o",
                },
            }
        ),
        (
            ("role:default", {"tools": [TOOL]}, "deepseek-chat"),
            ("role:default", {}, "gpt-4o-mini"),  # Claude Code's, without tools: a side task
            ("role:default", {"tools": [TOOL], "reasoning_effort": "high"}, "deepseek-reasoner"),
            ("role:default", {"tools": [TOOL], "messages": LONG}, "gpt-6-luna"),
            ("role:default", {"tools": [TOOL], "messages": PICTURE}, "gpt-4o"),
            ("role:background", {"tools": [TOOL]}, "gpt-4o-mini"),
        ),
    ),
    "aichat": (
        """
model: near:gpt-4o
clients:
  - type: openai-compatible
    name: near
    api_base: SIM/openai/v1
    api_key: none
    models: [{name: gpt-4o, max_input_tokens: 128000}, {name: gpt-4o-mini}]
agents: [{name: reviewer, model: "near:gpt-4o-mini"}]
""",
        (("role:default", {}, "gpt-4o"), ("role:reviewer", {}, "gpt-4o-mini")),
    ),
    "llm": (
        """
- model_id: orca
  model_name: gpt-4o-mini
  api_base: SIM/openai/v1
  aliases: [o]
""",
        (("orca", {}, "gpt-4o-mini"), ("o", {}, "gpt-4o-mini")),
    ),
    "opencode": (
        """{"provider": {"mine": {"npm": "@ai-sdk/openai-compatible", "name": "Mine",
    "options": {"baseURL": "SIM/openai/v1", "apiKey": "none"},
    "models": {"big": {"id": "gpt-4o"}, "gpt-4o-mini": {}}}},
  "model": "mine/gpt-4o", "small_model": "mine/gpt-4o-mini"}""",
        (
            ("role:default", {}, "gpt-4o"),
            ("role:small", {}, "gpt-4o-mini"),
            ("big", {}, "gpt-4o"),
        ),
    ),
    "crush": (
        json.dumps(
            {
                "providers": {
                    "near": {
                        "type": "openai-compat",
                        "base_url": "SIM/openai/v1",
                        "api_key": "none",
                        "models": [{"id": "gpt-4o"}, {"id": "gpt-4o-mini"}],
                    }
                },
                "models": {
                    "large": {"provider": "near", "model": "gpt-4o"},
                    "small": {"provider": "near", "model": "gpt-4o-mini"},
                },
            }
        ),
        (("role:large", {}, "gpt-4o"), ("role:small", {}, "gpt-4o-mini")),
    ),
}


@pytest.mark.parametrize("source", ASKED)
def test_the_gateway_answers_as_the_tool_would_have(
    omni: Omni, home: Path, sim: Simulator, source: str
) -> None:
    text, asked = ASKED[source]
    with serving(home, sim) as served:
        ran = omni("import-config", source, "-", "--yes", stdin=text.replace("SIM", sim.url))
        assert ran.code == 0, ran.err
        headers = {"user-agent": "claude-cli/2.1.197"}
        for name, more, answers in asked:
            body = {"model": name, "messages": HELLO, **more}
            said = httpx.post(
                f"{served.url}/v1/chat/completions", json=body, headers=headers, timeout=20
            )
            assert said.status_code == 200, (name, said.text)
            assert said.json()["model"].rpartition("/")[2] == answers, (name, more)
