"""Which module speaks a protocol. Imports none of them until one is asked for."""

from importlib import import_module
from typing import cast

from omni_cli.domain.errors import ConfigError
from omni_cli.domain.models import ProtocolName
from omni_cli.ports import ProviderAdapter

_PACKAGE = "omni_cli.wire."

ADAPTERS: dict[ProtocolName, str] = {
    "openai": "openai.client:OpenAiCompatible",
    "openai-responses": "responses.client:OpenAiResponses",
    "anthropic": "anthropic.client:Anthropic",
    "gemini": "gemini.client:Gemini",
    "ollama": "ollama.client:Ollama",
    "clarifai": "clarifai.client:Clarifai",
    "google-vision": "google_vision.client:GoogleVision",
}


_MADE: dict[ProtocolName, ProviderAdapter] = {}


def adapter(protocol: ProtocolName) -> ProviderAdapter:
    """The adapter that speaks ``protocol``. Raises ConfigError for an unknown one."""
    made = _MADE.get(protocol)
    if made is None:
        if protocol not in ADAPTERS:
            known = ", ".join(ADAPTERS)
            raise ConfigError(f"Unknown protocol {protocol!r}", hint=f"One of: {known}")
        module, name = ADAPTERS[protocol].split(":")
        made = cast("ProviderAdapter", getattr(import_module(_PACKAGE + module), name)())
        _MADE[protocol] = made
    return made
