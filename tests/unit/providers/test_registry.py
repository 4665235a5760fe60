"""Naming a protocol is cheap; speaking one loads its module alone (A1, F1)."""

import subprocess
import sys

import pytest

from omni_cli.domain.errors import ConfigError
from omni_cli.providers.presets import PRESETS
from omni_cli.wire.registry import adapter, protocols

PROGRAM = """
import sys
{code}
print(*sorted(name for name in sys.modules if name.split(".")[0] in (
    "httpx", "httpcore", "rich", "click", "pydantic", "ssl", "anyio", "omni_cli"
)))
"""


def _loaded(code: str) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(code=code)],
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.split()


def test_the_registry_loads_no_adapter() -> None:
    loaded = _loaded("import omni_cli.wire.registry, omni_cli.providers.presets")
    adapters = [
        name for name in loaded if name.startswith(("omni_cli.wire.", "omni_cli.providers."))
    ]
    assert adapters == [
        "omni_cli.providers.presets",
        "omni_cli.wire.facts",
        "omni_cli.wire.registry",
    ]
    assert not {"httpx", "rich", "pydantic", "ssl"} & set(loaded)


@pytest.mark.parametrize("protocol", protocols())
def test_an_adapter_loads_no_http_library(protocol: str) -> None:
    loaded = _loaded(f"from omni_cli.wire.registry import adapter; adapter({protocol!r})")
    assert not {"httpx", "httpcore", "rich", "pydantic", "ssl", "anyio"} & set(loaded)


def test_the_transport_loads_httpx_once_it_is_needed_and_without_its_command_line() -> None:
    assert "httpx" not in _loaded("import omni_cli.providers.http")
    loaded = _loaded("from omni_cli.providers.http import _timeout; _timeout(1.0)")
    assert "httpx" in loaded
    assert not {"httpx._main", "rich", "click", "pydantic"} & set(loaded)


def test_an_adapter_is_made_once() -> None:
    assert adapter("openai") is adapter("openai")


def test_an_unknown_protocol_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="telepathy") as caught:
        adapter("telepathy")
    assert "anthropic" in caught.value.hint


def test_presets_are_whole() -> None:
    wanted = "anthropic openai google openrouter groq deepseek moonshot mistral perplexity xai"
    wanted += " cerebras together zai ollama lmstudio vllm llamacpp clarifai google-vision"
    assert set(PRESETS) == set(wanted.split())
    for slug, preset in PRESETS.items():
        assert preset.slug == slug
        assert preset.protocol in protocols()
        assert preset.base_url.startswith("http://127." if preset.local else "https://")
        assert preset.auth_method == ("none" if preset.local else "api_key")
        assert bool(preset.key_envs) is not preset.local
        assert preset.docs_url.startswith("https://")
    assert PRESETS["google"].key_envs == ("GEMINI_API_KEY", "GOOGLE_API_KEY")
    ports = {"ollama": 11434, "lmstudio": 1234, "vllm": 8000, "llamacpp": 8080}
    assert all(f":{port}" in PRESETS[slug].base_url for slug, port in ports.items())
