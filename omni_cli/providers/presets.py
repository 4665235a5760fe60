"""Well-known providers: what ``omni init`` and ``omni providers add`` propose. Plain data.

Source: each provider's API documentation, at ``docs_url``.
"""

from msgspec import Struct

from omni_cli.domain.models import AuthMethod, ProtocolName
from omni_cli.domain.vendor_env import KEY_ENVS


class Preset(Struct, frozen=True):
    """``local``: a server on this machine, found by asking its port."""

    slug: str
    name: str
    protocol: ProtocolName
    base_url: str
    docs_url: str
    auth_method: AuthMethod = "api_key"
    local: bool = False

    @property
    def key_envs(self) -> tuple[str, ...]:
        """Variables that usually hold the key, the first one set wins."""
        return KEY_ENVS.get(self.slug, ())


def _local(slug: str, name: str, protocol: ProtocolName, base_url: str, docs_url: str) -> Preset:
    return Preset(slug, name, protocol, base_url, docs_url, auth_method="none", local=True)


_ALL = (
    Preset(
        "anthropic",
        "Anthropic",
        "anthropic",
        "https://api.anthropic.com",
        "https://platform.claude.com/settings/keys",
    ),
    Preset(
        "openai",
        "OpenAI",
        "openai",
        "https://api.openai.com/v1",
        "https://platform.openai.com/api-keys",
    ),
    Preset(
        "google",
        "Google Gemini",
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        "https://aistudio.google.com/apikey",
    ),
    Preset(
        "openrouter",
        "OpenRouter",
        "openai",
        "https://openrouter.ai/api/v1",
        "https://openrouter.ai/keys",
    ),
    Preset(
        "groq",
        "Groq",
        "openai",
        "https://api.groq.com/openai/v1",
        "https://console.groq.com/keys",
    ),
    Preset(
        "deepseek",
        "DeepSeek",
        "openai",
        "https://api.deepseek.com",
        "https://platform.deepseek.com/api_keys",
    ),
    Preset(
        "moonshot",
        "Moonshot (Kimi)",
        "openai",
        "https://api.moonshot.ai/v1",
        "https://platform.moonshot.ai/console/api-keys",
    ),
    Preset(
        "mistral",
        "Mistral",
        "openai",
        "https://api.mistral.ai/v1",
        "https://console.mistral.ai/api-keys",
    ),
    Preset(
        "perplexity",
        "Perplexity",
        "openai",
        "https://api.perplexity.ai",
        "https://www.perplexity.ai/settings/api",
    ),
    Preset(
        "xai",
        "xAI",
        "openai",
        "https://api.x.ai/v1",
        "https://console.x.ai",
    ),
    Preset(
        "cerebras",
        "Cerebras",
        "openai",
        "https://api.cerebras.ai/v1",
        "https://cloud.cerebras.ai",
    ),
    Preset(
        "together",
        "Together AI",
        "openai",
        "https://api.together.xyz/v1",
        "https://api.together.ai/settings/api-keys",
    ),
    Preset(
        "zai",
        "Z.ai",
        "openai",
        "https://api.z.ai/api/paas/v4",
        "https://z.ai/manage-apikey/apikey-list",
    ),
    Preset(
        "clarifai",
        "Clarifai",
        "clarifai",
        "https://api.clarifai.com",
        "https://clarifai.com/settings/security",
    ),
    Preset(
        "google-vision",
        "Google Cloud Vision",
        "google-vision",
        "https://vision.googleapis.com/v1",
        "https://console.cloud.google.com/apis/credentials",
    ),
    _local("ollama", "Ollama", "ollama", "http://127.0.0.1:11434", "https://ollama.com"),
    _local("lmstudio", "LM Studio", "openai", "http://127.0.0.1:1234/v1", "https://lmstudio.ai"),
    _local("vllm", "vLLM", "openai", "http://127.0.0.1:8000/v1", "https://docs.vllm.ai"),
    _local(
        "llamacpp",
        "llama.cpp",
        "openai",
        "http://127.0.0.1:8080/v1",
        "https://github.com/ggml-org/llama.cpp",
    ),
)

PRESETS: dict[str, Preset] = {preset.slug: preset for preset in _ALL}
