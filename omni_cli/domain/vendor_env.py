"""Environment variables that vendors' own documentation and SDKs use, by omni's provider slug.

Keys: each provider's API documentation. Addresses: the variables that the official SDKs of the
vendor read, or, where it has none of its own, that its documentation or the usual tools name:
openai-python and openai-node ``OPENAI_BASE_URL`` (older versions, LangChain and aider
``OPENAI_API_BASE``), anthropic-sdk ``ANTHROPIC_BASE_URL``, google-genai
``GOOGLE_GEMINI_BASE_URL`` (older: ``GEMINI_BASE_URL``), groq-sdk ``GROQ_BASE_URL``,
together-python ``TOGETHER_BASE_URL``, cerebras-cloud-sdk ``CEREBRAS_BASE_URL``, perplexity-sdk
``PERPLEXITY_BASE_URL``, clarifai ``CLARIFAI_API_BASE``; LiteLLM reads ``NAME_API_BASE`` for most.
"""

from collections.abc import Mapping

KEY_ENVS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "cerebras": ("CEREBRAS_API_KEY",),
    "clarifai": ("CLARIFAI_PAT", "CLARIFAI_API_KEY"),
    "deepseek": ("DEEPSEEK_API_KEY",),
    "fireworks": ("FIREWORKS_API_KEY",),
    "gemini": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "google": ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
    "google-vision": ("GOOGLE_VISION_API_KEY", "GOOGLE_CLOUD_API_KEY"),
    "groq": ("GROQ_API_KEY",),
    "mistral": ("MISTRAL_API_KEY",),
    "moonshot": ("MOONSHOT_API_KEY", "KIMI_API_KEY"),
    "openai": ("OPENAI_API_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
    "perplexity": ("PERPLEXITY_API_KEY", "PPLX_API_KEY"),
    "together": ("TOGETHER_API_KEY",),
    "xai": ("XAI_API_KEY",),
    "zai": ("ZAI_API_KEY", "ZHIPUAI_API_KEY"),
}


def no_key_hint(slug: str, key_env: str | None = None) -> str:
    """What to type where a provider's key is missing."""
    variable = key_env or next(iter(KEY_ENVS.get(slug, ())), None)
    either = f"set {variable}, or: " if variable else ""
    return f"{either}omni keys set {slug} < FILE; then: omni providers test {slug}"


def refused_key_hint(slug: str) -> str:
    """What to type where a provider refused the key."""
    return f"correct the key (omni keys list shows where it is), then: omni providers test {slug}"
