"""Well-known providers: what ``omni init`` and ``omni providers add`` propose. Plain data.

Source: each provider's API documentation, at ``docs_url``.
"""

from dataclasses import dataclass

from omni_cli.domain.models import AuthMethod, ProtocolName


@dataclass(frozen=True, slots=True)
class Preset:
    """``key_envs``: variables that usually hold the key, the first one set wins.

    ``local``: a server on this machine, found by asking its port.
    """

    slug: str
    name: str
    protocol: ProtocolName
    base_url: str
    key_envs: tuple[str, ...]
    docs_url: str
    auth_method: AuthMethod = "api_key"
    local: bool = False


def _local(slug: str, name: str, protocol: ProtocolName, base_url: str, docs_url: str) -> Preset:
    return Preset(slug, name, protocol, base_url, (), docs_url, auth_method="none", local=True)


_ALL = (
    Preset(
        "anthropic",
        "Anthropic",
        "anthropic",
        "https://api.anthropic.com",
        ("ANTHROPIC_API_KEY",),
        "https://platform.claude.com/settings/keys",
    ),
    Preset(
        "openai",
        "OpenAI",
        "openai",
        "https://api.openai.com/v1",
        ("OPENAI_API_KEY",),
        "https://platform.openai.com/api-keys",
    ),
    Preset(
        "google",
        "Google Gemini",
        "gemini",
        "https://generativelanguage.googleapis.com/v1beta",
        ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        "https://aistudio.google.com/apikey",
    ),
    Preset(
        "openrouter",
        "OpenRouter",
        "openai",
        "https://openrouter.ai/api/v1",
        ("OPENROUTER_API_KEY",),
        "https://openrouter.ai/keys",
    ),
    Preset(
        "groq",
        "Groq",
        "openai",
        "https://api.groq.com/openai/v1",
        ("GROQ_API_KEY",),
        "https://console.groq.com/keys",
    ),
    Preset(
        "deepseek",
        "DeepSeek",
        "openai",
        "https://api.deepseek.com",
        ("DEEPSEEK_API_KEY",),
        "https://platform.deepseek.com/api_keys",
    ),
    Preset(
        "moonshot",
        "Moonshot (Kimi)",
        "openai",
        "https://api.moonshot.ai/v1",
        ("MOONSHOT_API_KEY",),
        "https://platform.moonshot.ai/console/api-keys",
    ),
    Preset(
        "mistral",
        "Mistral",
        "openai",
        "https://api.mistral.ai/v1",
        ("MISTRAL_API_KEY",),
        "https://console.mistral.ai/api-keys",
    ),
    Preset(
        "perplexity",
        "Perplexity",
        "openai",
        "https://api.perplexity.ai",
        ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
        "https://www.perplexity.ai/settings/api",
    ),
    Preset(
        "xai",
        "xAI",
        "openai",
        "https://api.x.ai/v1",
        ("XAI_API_KEY",),
        "https://console.x.ai",
    ),
    Preset(
        "cerebras",
        "Cerebras",
        "openai",
        "https://api.cerebras.ai/v1",
        ("CEREBRAS_API_KEY",),
        "https://cloud.cerebras.ai",
    ),
    Preset(
        "together",
        "Together AI",
        "openai",
        "https://api.together.xyz/v1",
        ("TOGETHER_API_KEY",),
        "https://api.together.ai/settings/api-keys",
    ),
    Preset(
        "zai",
        "Z.ai",
        "openai",
        "https://api.z.ai/api/paas/v4",
        ("ZAI_API_KEY", "ZHIPUAI_API_KEY"),
        "https://z.ai/manage-apikey/apikey-list",
    ),
    Preset(
        "clarifai",
        "Clarifai",
        "clarifai",
        "https://api.clarifai.com",
        ("CLARIFAI_PAT", "CLARIFAI_API_KEY"),
        "https://clarifai.com/settings/security",
    ),
    Preset(
        "google-vision",
        "Google Cloud Vision",
        "google-vision",
        "https://vision.googleapis.com/v1",
        ("GOOGLE_VISION_API_KEY", "GOOGLE_CLOUD_API_KEY"),
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
