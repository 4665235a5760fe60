"""Environment variables that vendors' own documentation and SDKs use, by omni's provider slug.

Keys: each provider's API documentation. Addresses: what the vendor's SDK reads (openai
``OPENAI_BASE_URL``, anthropic ``ANTHROPIC_BASE_URL``, google-genai ``GOOGLE_GEMINI_BASE_URL``, groq
``GROQ_BASE_URL``, cerebras ``CEREBRAS_BASE_URL``, clarifai ``CLARIFAI_API_BASE``), else the two
spellings that tools have settled on, ``NAME_BASE_URL`` and LangChain's, aider's and LiteLLM's
``NAME_API_BASE``.
"""

import urllib.parse
from collections.abc import Mapping

KEY_ENVS: Mapping[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "azure": ("AZURE_OPENAI_API_KEY", "AZURE_API_KEY", "AZURE_OPENAI_AD_TOKEN"),
    "bedrock": ("AWS_BEARER_TOKEN_BEDROCK",),
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

#: Where an SDK's variable is not the slug's; the first one set wins.
_URL_ENVS: Mapping[str, tuple[str, ...]] = {
    "clarifai": ("CLARIFAI_API_BASE", "CLARIFAI_BASE_URL"),
    "google": ("GOOGLE_GEMINI_BASE_URL", "GEMINI_BASE_URL", "GEMINI_API_BASE"),
}
#: SDKs of these append the version themselves, so people write the address with and without it.
_APPENDED: Mapping[str, str] = {"anthropic": "/v1", "clarifai": "/v2"}


def url_variables(slug: str) -> tuple[str, ...]:
    """The variables that say where a vendor's API is; none for a slug that is no vendor's."""
    if slug not in KEY_ENVS:
        return ()
    name = slug.upper().replace("-", "_")
    return _URL_ENVS.get(slug, (f"{name}_BASE_URL", f"{name}_API_BASE"))


def base_url_of(slug: str, text: str, usual: str) -> str:
    """An address as the vendor's SDK takes it, as omni writes it.

    Args:
        usual: the vendor's own base URL in omni. An address without a path gets its path: SDKs
            append it. OpenAI's does not, so that one is taken as it stands.
    """
    url = text.rstrip("/")
    if slug in _APPENDED:
        return url.removesuffix(_APPENDED[slug])
    try:
        bare = not urllib.parse.urlsplit(url).path
    except ValueError:
        bare = False
    return url + urllib.parse.urlsplit(usual).path if bare and slug != "openai" else url


_ADC = (
    "GOOGLE_APPLICATION_CREDENTIALS names a service account's JSON key; or: gcloud auth "
    "application-default login"
)
#: What stands for a key where there is more than one way.
_NO_ONE_KEY: Mapping[str, str] = {
    "bedrock": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_BEARER_TOKEN_BEDROCK; of "
    'SSO and roles: eval "$(aws configure export-credentials --format env)"',
    "vertex": _ADC,
    "vertex-anthropic": _ADC,
}


def no_key_hint(slug: str, key_env: str | None = None) -> str:
    """What to type where a provider's key is missing."""
    if key_env is None and slug in _NO_ONE_KEY:
        return f"{_NO_ONE_KEY[slug]}; then: omni providers test {slug}"
    variable = key_env or next(iter(KEY_ENVS.get(slug, ())), None)
    either = f"set {variable}, or: " if variable else ""
    return f"{either}omni keys set {slug} < FILE; then: omni providers test {slug}"


def refused_key_hint(slug: str) -> str:
    """What to type where a provider refused the key."""
    return f"correct the key (omni keys list shows where it is), then: omni providers test {slug}"
